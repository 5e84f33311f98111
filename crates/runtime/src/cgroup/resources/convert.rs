//! The specification speaks version 1; these turn its numbers into version 2's.

/// CPU shares (2 to 262144, usually 1024) as a weight (1 to 10000, usually 100).
///
/// The curve is the one that the OCI runtimes agreed on in 2025: quadratic in the logarithm, through both
/// ends and the default of each scale. The straight line before it made 1024 shares a weight of 39, less
/// than half of what a process beside the container gets. 0 is "not set" and stays so.
pub(in crate::cgroup) fn weight_of_shares(shares: u64) -> u64 {
    match shares {
        0 => 0,
        1..=2 => 1,
        262_144.. => 10_000,
        shares => {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            10f64.powf(exponent).ceil() as u64
        }
    }
}

/// Block I/O weight (10 to 1000) as `io.weight` (1 to 10000): a straight line.
pub(in crate::cgroup) fn io_weight(weight: u16) -> u64 {
    match u64::from(weight) {
        0 => 0,
        weight => 1 + weight.saturating_sub(10) * 9999 / 990,
    }
}

/// What becomes of the limit on memory and swap together where swap has a limit of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cgroup) enum SwapLimit {
    /// It stays as it is.
    Unset,
    /// There is none.
    Unlimited,
    /// So many bytes.
    Bytes(u64),
    /// Less than the memory limit alone.
    BelowMemory,
}

/// Splits `swap` (both together) by the memory limit that is in force with it.
///
/// −1 is "no limit", 0 and absent are "not set". Memory without a limit takes an unset swap with it, as
/// version 1 did.
pub(in crate::cgroup) fn swap_limit(swap: Option<i64>, memory: Option<i64>) -> SwapLimit {
    let memory = memory.unwrap_or(0);
    match swap.unwrap_or(0) {
        0 if memory < 0 => SwapLimit::Unlimited,
        0 => SwapLimit::Unset,
        ..0 => SwapLimit::Unlimited,
        swap if memory <= 0 => SwapLimit::Bytes(swap as u64),
        swap if swap < memory => SwapLimit::BelowMemory,
        swap => SwapLimit::Bytes((swap - memory) as u64),
    }
}

/// A number of version 2: everything below zero is `max`.
pub(in crate::cgroup) fn or_max(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_meet_the_ends_and_the_default_of_weights() {
        let table =
            [(0, 0), (1, 1), (2, 1), (100, 17), (1024, 100), (262_144, 10_000), (u64::MAX, 10_000)];
        for (shares, weight) in table {
            assert_eq!(weight_of_shares(shares), weight, "{shares}");
        }
        let weights: Vec<u64> = (2..=262_144).step_by(331).map(weight_of_shares).collect();
        assert!(weights.is_sorted() && weights.iter().all(|weight| (1..=10_000).contains(weight)));
    }

    #[test]
    fn io_weights_stretch_from_end_to_end() {
        for (given, weight) in [(0, 0), (10, 1), (500, 4950), (750, 7475), (1000, 10_000), (5, 1)] {
            assert_eq!(io_weight(given), weight, "{given}");
        }
    }

    #[test]
    fn swap_is_what_exceeds_memory() {
        let table = [
            (None, None, SwapLimit::Unset),
            (Some(0), Some(5), SwapLimit::Unset),
            (None, Some(-1), SwapLimit::Unlimited),
            (Some(-1), Some(5), SwapLimit::Unlimited),
            (Some(8), Some(5), SwapLimit::Bytes(3)),
            (Some(5), Some(5), SwapLimit::Bytes(0)),
            (Some(5), Some(-1), SwapLimit::Bytes(5)),
            (Some(4), Some(5), SwapLimit::BelowMemory),
        ];
        for (swap, memory, limit) in table {
            assert_eq!(swap_limit(swap, memory), limit, "{swap:?} {memory:?}");
        }
    }
}
