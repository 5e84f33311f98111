//! Points in time as documents write them (RFC 3339).
//!
//! Invariant: a [`Timestamp`] prints exactly as it was read, so that a document that is read and
//! printed keeps its digest where it can.
//! Absent on purpose: a clock.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::excerpt;

const SECONDS_PER_DAY: i64 = 86_400;

/// A point in time and its spelling.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Timestamp {
    text: String,
    seconds: i64,
    nanoseconds: u32,
}

/// A text that is no point in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimestampError {
    /// The beginning of the text.
    pub text: String,
}

impl Timestamp {
    /// Reads `2024-01-02T03:04:05.678Z`, or with an offset in place of the `Z`.
    pub fn parse(text: &str) -> Result<Self, TimestampError> {
        let parsed = parse(text).ok_or_else(|| TimestampError { text: excerpt(text) });
        let (seconds, nanoseconds) = parsed?;
        Ok(Self { text: text.to_owned(), seconds, nanoseconds })
    }

    /// From seconds and nanoseconds since 1970, in UTC; `None` outside the years 0 to 9999.
    pub fn from_unix(seconds: i64, nanoseconds: u32) -> Option<Self> {
        let (day, second) =
            (seconds.div_euclid(SECONDS_PER_DAY), seconds.rem_euclid(SECONDS_PER_DAY));
        let (year, month, day) = civil(day);
        if !(0..=9999).contains(&year) || nanoseconds >= 1_000_000_000 {
            return None;
        }
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let mut text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
        if nanoseconds != 0 {
            let fraction = format!(".{nanoseconds:09}");
            text.push_str(fraction.trim_end_matches('0'));
        }
        text.push('Z');
        Some(Self { text, seconds, nanoseconds })
    }

    /// As it was read.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Seconds since 1970 in UTC, rounded down.
    pub fn unix_seconds(&self) -> i64 {
        self.seconds
    }

    /// Nanoseconds beyond those seconds.
    pub fn subsecond_nanoseconds(&self) -> u32 {
        self.nanoseconds
    }
}

fn parse(text: &str) -> Option<(i64, u32)> {
    let bytes = text.as_bytes();
    if bytes.len() < 20 || !text.is_ascii() {
        return None;
    }
    let separators = [(4, b"--"), (7, b"--"), (10, b"Tt"), (13, b"::"), (16, b"::")];
    if separators.iter().any(|&(at, either)| !either.contains(&bytes[at])) {
        return None;
    }
    let field = |start: usize, end: usize, range: std::ops::RangeInclusive<i64>| {
        number(&text[start..end]).filter(|value| range.contains(value))
    };
    let (year, month) = (field(0, 4, 0..=9999)?, field(5, 7, 1..=12)?);
    let day = field(8, 10, 1..=days_in(year, month))?;
    let (hour, minute) = (field(11, 13, 0..=23)?, field(14, 16, 0..=59)?);
    let second = field(17, 19, 0..=59)?;
    let (nanoseconds, zone) = fraction(&text[19..])?;
    let local = days(year, month, day) * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second;
    Some((local - offset(zone)?, nanoseconds))
}

fn number(text: &str) -> Option<i64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Splits off the fraction of a second; digits beyond nanoseconds do not count.
fn fraction(text: &str) -> Option<(u32, &str)> {
    let Some(rest) = text.strip_prefix('.') else { return Some((0, text)) };
    let end = rest.find(|character: char| !character.is_ascii_digit())?;
    let digits = &rest[..end];
    if digits.is_empty() {
        return None;
    }
    let nine: String = digits.chars().chain("000000000".chars()).take(9).collect();
    Some((nine.parse().ok()?, &rest[end..]))
}

/// Seconds east of UTC.
fn offset(zone: &str) -> Option<i64> {
    let (sign, rest) = match zone.split_at_checked(1)? {
        ("Z" | "z", "") => return Some(0),
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hour, minute) = rest.split_once(':').filter(|_| rest.len() == 5)?;
    let (hour, minute) = (number(hour)?, number(minute)?);
    (hour <= 23 && minute <= 59).then_some(sign * (hour * 3600 + minute * 60))
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970 to a date. Years begin in March here, so that a leap day ends one.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let of_year = (153 * month + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year
        - 719_468
}

/// The date of a day counted from 1970.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = (year + era * 400, if month < 10 { month + 3 } else { month - 9 });
    (if month <= 2 { year + 1 } else { year }, month, day)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, printer: S) -> Result<S::Ok, S::Error> {
        printer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(reader)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for TimestampError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a point in time (RFC 3339)", self.text)
    }
}

impl std::error::Error for TimestampError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_moments() {
        let check = |text: &str, seconds: i64, nanoseconds: u32| {
            let time = Timestamp::parse(text).expect(text);
            let parts = (time.unix_seconds(), time.subsecond_nanoseconds());
            assert_eq!((parts, time.as_str()), ((seconds, nanoseconds), text));
        };
        check("1970-01-01T00:00:00Z", 0, 0);
        check("1969-12-31T23:59:59.5Z", -1, 500_000_000);
        check("2000-02-29T00:00:00z", 951_782_400, 0);
        check("2024-01-02T03:04:05.123456789Z", 1_704_164_645, 123_456_789);
        check("2024-01-02T03:04:05.1234567899Z", 1_704_164_645, 123_456_789);
        check("2024-01-02T03:04:05+01:30", 1_704_159_245, 0);
        check("0001-01-01T00:00:00Z", -62_135_596_800, 0);
        check("9999-12-31t23:59:59-00:00", 253_402_300_799, 0);
    }

    #[test]
    fn refusals() {
        for text in [
            "",
            "2024",
            "2024-13-01T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "2024-01-02 03:04:05Z",
            "2024-01-02T24:00:00Z",
            "2024-01-02T03:04:05",
            "2024-01-02T03:04:05.Z",
            "2024-01-02T03:04:05+0130",
            "2024-01-02T03:04:05Zx",
            "2024-01-02T03:04:05.1",
            "+024-01-02T03:04:05Z",
            "2024-01-02T03:04:60Z",
            "2024-01-02T03:04:05é",
            "2024-01-0é:03:04:05Z",
        ] {
            assert!(Timestamp::parse(text).is_err(), "{text}");
        }
        assert_eq!(Timestamp::from_unix(253_402_300_800, 0), None);
        assert_eq!(Timestamp::from_unix(0, 1_000_000_000), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_printed_is_read(
            seconds in -62_167_219_200_i64..=253_402_300_799,
            nanoseconds in prop_oneof![Just(0), 0..1_000_000_000_u32],
        ) {
            let time = Timestamp::from_unix(seconds, nanoseconds).expect("a year of four digits");
            prop_assert_eq!(Timestamp::parse(time.as_str()), Ok(time));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[0-9TZ:.+é -]{0,30}") {
            if let Ok(time) = Timestamp::parse(&text) {
                prop_assert_eq!(time.as_str(), text);
            }
        }
    }
}
