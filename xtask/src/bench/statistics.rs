//! What is said about a series of measurements.
//!
//! Medians and quartiles by linear interpolation between ranks; no means, which one interrupted run
//! would spoil.

/// Median, quartiles and the ninetieth percentile of one series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Summary {
    /// Half of the values are below.
    pub(crate) median: f64,
    /// A quarter of the values is below.
    pub(crate) low: f64,
    /// A quarter of the values is above.
    pub(crate) high: f64,
    /// A tenth of the values is above.
    pub(crate) p90: f64,
}

impl Summary {
    /// Of at least one value.
    pub(crate) fn of(values: &[f64]) -> Option<Summary> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        Some(Summary {
            median: quantile(&sorted, 0.5)?,
            low: quantile(&sorted, 0.25)?,
            high: quantile(&sorted, 0.75)?,
            p90: quantile(&sorted, 0.9)?,
        })
    }

    /// Of the ratios `ours / theirs`, taken pair by pair: values of the same round met the same weather.
    pub(crate) fn of_ratios(ours: &[f64], theirs: &[f64]) -> Option<Summary> {
        let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| a / b).collect();
        Summary::of(&ratios)
    }
}

fn quantile(sorted: &[f64], fraction: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let rank = fraction * last as f64;
    let (below, above) = (sorted[rank.floor() as usize], sorted[rank.ceil() as usize]);
    Some(below + (above - below) * rank.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_of_a_known_series() {
        let summary = Summary::of(&[5.0, 1.0, 3.0, 2.0, 4.0]).expect("five values");
        assert_eq!(summary, Summary { median: 3.0, low: 2.0, high: 4.0, p90: 4.6 });
    }

    #[test]
    fn one_value_is_its_own_summary() {
        let summary = Summary::of(&[7.0]).expect("one value");
        assert_eq!(summary, Summary { median: 7.0, low: 7.0, high: 7.0, p90: 7.0 });
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn ratios_are_paired() {
        let summary = Summary::of_ratios(&[1.0, 2.0, 30.0], &[2.0, 4.0, 60.0]).expect("pairs");
        assert_eq!((summary.median, summary.low, summary.high), (0.5, 0.5, 0.5));
    }
}
