//! Points in time as users write them in filters: seconds since 1970, dates, or how long ago.
//!
//! Invariant: what cannot be read is refused.

use std::time::{SystemTime, UNIX_EPOCH};

use dhow_spec::image::Timestamp;

use crate::http::error::ApiError;
use crate::http::query::quoted;

/// A time in seconds since 1970.
pub(super) fn until_s(text: &str) -> Result<i64, ApiError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    parse(text, i64::try_from(now).unwrap_or(i64::MAX))
        .ok_or_else(|| ApiError::invalid(format!("invalid time value {}", quoted(text))))
}

fn parse(text: &str, now_s: i64) -> Option<i64> {
    if text.len() < 4 && text.parse::<i64>().is_err() && go_duration_s(text).is_none() {
        return None;
    }
    if let Some(ago) = go_duration_s(text) {
        return now_s.checked_sub(ago);
    }
    let seconds = text.split('.').next().unwrap_or_default();
    if let Ok(seconds) = seconds.parse() {
        return Some(seconds);
    }
    // Docker takes shorter forms, too: `2006-01-02`, `2006-01-02T15:04`, with or without a zone.
    let rest = "0000-01-01T00:00:00Z".get(text.len()..).unwrap_or_default();
    let whole =
        [text.to_owned(), format!("{text}Z"), format!("{text}{rest}"), format!("{text}:00Z")];
    whole.iter().find_map(|text| Timestamp::parse(text).ok()).map(|time| time.unix_seconds())
}

/// `1h30m`, as Go writes durations, in whole seconds.
fn go_duration_s(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut total = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        total += number
            * match &rest[..unit] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    Some(total as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms() {
        for (text, expected) in [
            ("1000", Some(1000)),
            ("1000.5", Some(1000)),
            ("10m", Some(9400)),
            ("1h30m", Some(4600)),
            ("1.5h", Some(4600)),
            ("1970-01-02", Some(86_400)),
            ("1970-01-01T01:00", Some(3600)),
            ("1970-01-01T00:00:05", Some(5)),
            ("1970-01-01T00:00:05Z", Some(5)),
            ("yesterday", None),
            ("10x", None),
            ("", None),
        ] {
            assert_eq!(parse(text, 10_000), expected, "{text}");
        }
    }
}
