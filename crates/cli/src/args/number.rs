//! Checks of single values, complaining in the words of Go's `strconv` and `time`.
//!
//! Scripts that match on Docker's messages see the same ones. Absent on purpose: the values; those
//! come from `units` and from `str::parse` once the line is known to be good.

use crate::units;

/// What Go's `strconv.ParseBool` takes.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// What Go's `strconv.ParseInt(text, 0, 64)` takes: decimal, `0x`, `0o`, `0b`, underscores between.
pub(crate) fn parse_int(text: &str) -> Result<i64, &'static str> {
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let magnitude = parse_digits(digits)?;
    let value = if negative { -i128::from(magnitude) } else { i128::from(magnitude) };
    i64::try_from(value).map_err(|_| "value out of range")
}

fn parse_digits(text: &str) -> Result<u64, &'static str> {
    let lower = text.to_ascii_lowercase();
    let (radix, digits) = match lower.get(..2) {
        Some("0x") => (16, &lower[2..]),
        Some("0o") => (8, &lower[2..]),
        Some("0b") => (2, &lower[2..]),
        _ if lower.len() > 1 && lower.starts_with('0') => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    let plain: String = digits.chars().filter(|letter| *letter != '_').collect();
    if plain.is_empty() || !plain.chars().all(|letter| letter.is_digit(radix)) {
        return Err("invalid syntax");
    }
    u64::from_str_radix(&plain, radix).map_err(|_| "value out of range")
}

pub(super) fn boolean(text: &str) -> Result<(), String> {
    let wrong = || format!("strconv.ParseBool: parsing {text:?}: invalid syntax");
    parse_bool(text).map(drop).ok_or_else(wrong)
}

pub(super) fn int(text: &str) -> Result<(), String> {
    let wrong = |why| format!("strconv.ParseInt: parsing {text:?}: {why}");
    parse_int(text).map(drop).map_err(wrong)
}

/// A number of 16 bits without a sign.
pub(crate) fn uint16(text: &str) -> Result<(), String> {
    unsigned(text, u64::from(u16::MAX))
}

/// A number of 64 bits without a sign.
pub(crate) fn uint64(text: &str) -> Result<(), String> {
    unsigned(text, u64::MAX)
}

fn unsigned(text: &str, max: u64) -> Result<(), String> {
    let in_range = |value: u64| if value > max { Err("value out of range") } else { Ok(()) };
    parse_digits(text)
        .and_then(in_range)
        .map_err(|why| format!("strconv.ParseUint: parsing {text:?}: {why}"))
}

pub(super) fn bytes(text: &str) -> Result<(), String> {
    units::parse_ram(text).map(drop).map_err(|error| error.to_string())
}

/// A size, or -1 for "no limit".
pub(crate) fn bytes_or_unlimited(text: &str) -> Result<(), String> {
    if text == "-1" { Ok(()) } else { bytes(text) }
}

pub(super) fn span(text: &str) -> Result<(), String> {
    units::parse_duration(text).map(drop).map_err(|error| error.to_string())
}

pub(super) fn filter(text: &str) -> Result<(), String> {
    if text.is_empty() || text.contains('=') {
        return Ok(());
    }
    Err("bad format of filter (expected name=value)".to_owned())
}

/// A number of CPUs with at most nine decimal places.
pub(crate) fn cpus(text: &str) -> Result<(), String> {
    units::parse_cpus(text).map(drop).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_go_reads_them() {
        assert_eq!(parse_int("-10"), Ok(-10));
        assert_eq!(parse_int("0x10"), Ok(16));
        assert_eq!(parse_int("010"), Ok(8));
        assert_eq!(parse_int("1_000"), Ok(1000));
        assert_eq!(parse_int("9223372036854775808"), Err("value out of range"));
        assert_eq!(parse_int(""), Err("invalid syntax"));
        assert_eq!(parse_int("1x"), Err("invalid syntax"));
    }

    #[test]
    fn complaints_are_go_s() {
        assert_eq!(boolean("x").unwrap_err(), "strconv.ParseBool: parsing \"x\": invalid syntax");
        assert_eq!(
            uint16("99999").unwrap_err(),
            "strconv.ParseUint: parsing \"99999\": value out of range"
        );
        assert_eq!(filter("x").unwrap_err(), "bad format of filter (expected name=value)");
    }
}
