//! Sizes and spans of time as people write and read them: the arithmetic and the wording of Docker's
//! CLI, so that its columns and messages come out the same to the letter.
//!
//! Absent on purpose: points in time, which are in `clock`.

use std::time::Duration;

/// Why a text is no size, span or number of CPUs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum UnitError {
    Size(String),
    Suffix(String),
    Float(String),
    Span(String),
    SpanUnitMissing(String),
    SpanUnit { unit: String, text: String },
    Rational(String),
    TooPrecise,
}

impl std::fmt::Display for UnitError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            UnitError::Size(text) => write!(out, "invalid size: '{text}'"),
            UnitError::Suffix(text) => write!(out, "invalid suffix: '{text}'"),
            UnitError::Float(text) => {
                write!(out, "strconv.ParseFloat: parsing {text:?}: invalid syntax")
            }
            UnitError::Span(text) => write!(out, "time: invalid duration {text:?}"),
            UnitError::SpanUnitMissing(text) => {
                write!(out, "time: missing unit in duration {text:?}")
            }
            UnitError::SpanUnit { unit, text } => {
                write!(out, "time: unknown unit {unit:?} in duration {text:?}")
            }
            UnitError::Rational(text) => {
                write!(out, "failed to parse {text} as a rational number")
            }
            UnitError::TooPrecise => out.write_str("value is too precise"),
        }
    }
}

/// `512m`, `1.5GiB`, `64 kb`: bytes with binary units, whose `b` and case do not count.
pub(crate) fn parse_ram(text: &str) -> Result<i64, UnitError> {
    let last = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ');
    let last = last.ok_or_else(|| UnitError::Size(text.to_owned()))?;
    let number = if text.as_bytes()[last] == b' ' { &text[..last] } else { &text[..=last] };
    let suffix = text[last + 1..].to_ascii_lowercase();
    let size: f64 = number.parse().map_err(|_| UnitError::Float(number.to_owned()))?;
    if size < 0.0 {
        return Err(UnitError::Size(text.to_owned()));
    }
    let exponent = match (suffix.as_bytes().first(), suffix.get(1..).unwrap_or_default()) {
        (None, _) | (Some(b'b'), "") => 0,
        (Some(unit), "" | "b" | "ib") => {
            let place = b"kmgtp".iter().position(|known| known == unit);
            place.ok_or_else(|| UnitError::Suffix(suffix.clone()))? as i32 + 1
        }
        _ => return Err(UnitError::Suffix(suffix)),
    };
    Ok((size * 1024f64.powi(exponent)) as i64)
}

/// `0.5`, `3/2`: CPUs in billionths, exactly.
pub(crate) fn parse_cpus(text: &str) -> Result<i64, UnitError> {
    let wrong = || UnitError::Rational(text.to_owned());
    let (above, below) = text.split_once('/').unwrap_or((text, "1"));
    let below: i128 = below.parse().ok().filter(|below| *below > 0).ok_or_else(wrong)?;
    let (whole, fraction) = above.split_once('.').unwrap_or((above, ""));
    let digits = format!("{whole}{fraction}");
    let plain = digits.strip_prefix(['-', '+']).unwrap_or(&digits);
    if plain.is_empty() || plain.len() > 24 || !plain.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let above: i128 = digits.parse().map_err(|_| wrong())?;
    let scale = 10i128.checked_pow(fraction.len() as u32).ok_or_else(wrong)?;
    let nano = above.checked_mul(1_000_000_000).ok_or_else(wrong)?;
    let scale = scale.checked_mul(below).ok_or_else(wrong)?;
    if nano % scale != 0 {
        return Err(UnitError::TooPrecise);
    }
    i64::try_from(nano / scale).map_err(|_| wrong())
}

/// `1h30m`, `300ms`, `-1.5s`: nanoseconds, by the grammar of Go's `time.ParseDuration`.
pub(crate) fn parse_duration(text: &str) -> Result<i64, UnitError> {
    let wrong = || UnitError::Span(text.to_owned());
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total = 0f64;
    let mut whole = 0i128;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number = &rest[..end];
        if number.is_empty() || number == "." || number.matches('.').count() > 1 {
            return Err(wrong());
        }
        rest = &rest[end..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = &rest[..end];
        rest = &rest[end..];
        let scale: i64 = match unit {
            "" => return Err(UnitError::SpanUnitMissing(text.to_owned())),
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => {
                return Err(UnitError::SpanUnit { unit: unit.to_owned(), text: text.to_owned() });
            }
        };
        let (integer, fraction) = number.split_once('.').unwrap_or((number, ""));
        let integer: i128 =
            if integer.is_empty() { 0 } else { integer.parse().map_err(|_| wrong())? };
        whole += integer.checked_mul(i128::from(scale)).ok_or_else(wrong)?;
        if !fraction.is_empty() {
            let part: f64 = format!("0.{fraction}").parse().map_err(|_| wrong())?;
            total += part * scale as f64;
        }
    }
    let sum = whole + total as i128;
    i64::try_from(if negative { -sum } else { sum }).map_err(|_| wrong())
}

/// `2.746GB`: decimal units, `digits` significant ones.
pub(crate) fn human_size(bytes: f64, digits: usize) -> String {
    scaled(bytes, 1000.0, digits, &["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"])
}

/// `17.5MiB`: binary units, four significant digits.
pub(crate) fn binary_size(bytes: f64) -> String {
    scaled(bytes, 1024.0, 4, &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"])
}

fn scaled(mut size: f64, base: f64, digits: usize, units: &[&str]) -> String {
    let mut place = 0;
    while size >= base && place + 1 < units.len() {
        size /= base;
        place += 1;
    }
    format!("{}{}", significant(size, digits), units[place])
}

/// C's and Go's `%.*g`: `digits` significant ones, no trailing zeros, an exponent when it is far.
fn significant(value: f64, digits: usize) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let scientific = format!("{value:.*e}", digits - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if exponent < -4 || exponent >= digits as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim(mantissa), exponent.abs());
    }
    trim(&format!("{value:.*}", (digits as i32 - 1 - exponent) as usize))
}

/// `About an hour`, `3 weeks`: a span as Docker words it.
pub(crate) fn human_duration(span: Duration) -> String {
    let seconds = span.as_secs();
    let minutes = seconds / 60;
    let hours = (seconds + 1800) / 3600;
    match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ram_as_docker_reads_it() {
        for (text, bytes) in [
            ("32", 32),
            ("32b", 32),
            ("32k", 32 << 10),
            ("32K", 32 << 10),
            ("32kb", 32 << 10),
            ("32Kib", 32 << 10),
            ("32.5kB", 33280),
            ("32 mB", 32 << 20),
            ("1.5GiB", 3 << 29),
            ("32pb", 32 << 50),
            (".3kB", 307),
            ("0", 0),
        ] {
            assert_eq!(parse_ram(text), Ok(bytes), "{text}");
        }
        for (text, message) in [
            ("", "invalid size: ''"),
            ("hello", "invalid size: 'hello'"),
            ("-32", "invalid size: '-32'"),
            ("32bm", "invalid suffix: 'bm'"),
            ("32kbi", "invalid suffix: 'kbi'"),
            ("32x", "invalid suffix: 'x'"),
            ("1.2.3", "strconv.ParseFloat: parsing \"1.2.3\": invalid syntax"),
        ] {
            assert_eq!(parse_ram(text).unwrap_err().to_string(), message, "{text}");
        }
    }

    #[test]
    fn cpus_are_exact() {
        assert_eq!(parse_cpus("1.5"), Ok(1_500_000_000));
        assert_eq!(parse_cpus("1/4"), Ok(250_000_000));
        assert_eq!(parse_cpus("0.000000001"), Ok(1));
        assert_eq!(parse_cpus("0.0000000001"), Err(UnitError::TooPrecise));
        assert!(parse_cpus("x").is_err() && parse_cpus("").is_err());
    }

    #[test]
    fn durations_as_go_reads_them() {
        for (text, nanoseconds) in [
            ("0", 0),
            ("5s", 5_000_000_000),
            ("-1.5s", -1_500_000_000),
            ("1h15m30.918s", 4_530_918_000_000),
            ("300ms", 300_000_000),
            (".5m", 30_000_000_000),
            ("2us", 2000),
        ] {
            assert_eq!(parse_duration(text), Ok(nanoseconds), "{text}");
        }
        for (text, message) in [
            ("", "time: invalid duration \"\""),
            ("x", "time: invalid duration \"x\""),
            ("3", "time: missing unit in duration \"3\""),
            ("3x", "time: unknown unit \"x\" in duration \"3x\""),
        ] {
            assert_eq!(parse_duration(text).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn sizes_as_docker_prints_them() {
        assert_eq!(human_size(0.0, 3), "0B");
        assert_eq!(human_size(1000.0, 4), "1kB");
        assert_eq!(human_size(1024.0, 4), "1.024kB");
        assert_eq!(human_size(21_500_000.0, 3), "21.5MB");
        assert_eq!(human_size(999_900.0, 3), "1e+03kB");
        assert_eq!(human_size(123.0, 4), "123B");
        assert_eq!(binary_size(1024.0 * 1024.0 * 17.5), "17.5MiB");
        assert_eq!(binary_size(1_073_741_824.0), "1GiB");
    }

    #[test]
    fn spans_as_docker_words_them() {
        for (seconds, words) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (45, "45 seconds"),
            (60, "About a minute"),
            (180, "3 minutes"),
            (3600, "About an hour"),
            (35 * 60 + 3600, "2 hours"),
            (24 * 3600, "24 hours"),
            (2 * 24 * 3600, "2 days"),
            (13 * 24 * 3600 + 5 * 3600, "13 days"),
            (14 * 24 * 3600, "2 weeks"),
            (60 * 24 * 3600, "2 months"),
            (730 * 24 * 3600, "2 years"),
        ] {
            assert_eq!(human_duration(Duration::from_secs(seconds)), words);
        }
    }
}
