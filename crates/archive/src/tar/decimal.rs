//! Numbers and moments in extended headers: decimal text.

use super::entry::Time;

const NANOSECOND_DIGITS: usize = 9;
const SECOND: i128 = 1_000_000_000;

/// Digits and nothing else; `None` if there are others, none, or too many for the type.
pub(super) fn parse(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

/// Seconds with a sign and a fraction; what is finer than a nanosecond is cut off.
pub(super) fn parse_time(text: &[u8]) -> Option<Time> {
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let (seconds, fraction) = match text.iter().position(|byte| *byte == b'.') {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &[][..]),
    };
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = fraction.iter().map(|byte| byte - b'0').chain(std::iter::repeat(0));
    let nanoseconds =
        digits.take(NANOSECOND_DIGITS).fold(0, |value, digit| value * 10 + i128::from(digit));
    let total = i128::from(parse(seconds)?) * SECOND + nanoseconds;
    let total = if negative { -total } else { total };
    Some(Time {
        seconds: total.div_euclid(SECOND).try_into().ok()?,
        nanoseconds: total.rem_euclid(SECOND) as u32,
    })
}

/// As [`parse_time`] reads it, without needless zeros.
pub(super) fn print_time(time: Time) -> String {
    let total = i128::from(time.seconds) * SECOND + i128::from(time.nanoseconds);
    let sign = if total < 0 { "-" } else { "" };
    let (seconds, fraction) = (total.abs() / SECOND, total.abs() % SECOND);
    if fraction == 0 {
        return format!("{sign}{seconds}");
    }
    let fraction = format!("{fraction:09}");
    format!("{sign}{seconds}.{}", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn moments() {
        let check = |text: &str, seconds, nanoseconds| {
            assert_eq!(parse_time(text.as_bytes()), Some(Time { seconds, nanoseconds }), "{text}");
        };
        check("0", 0, 0);
        check("1350244992.023960108", 1_350_244_992, 23_960_108);
        check("1350244992.3", 1_350_244_992, 300_000_000);
        check("1350244992.", 1_350_244_992, 0);
        check("1.9999999999", 1, 999_999_999);
        check("-1", -1, 0);
        check("-1.5", -2, 500_000_000);
        check("-0.000000001", -1, 999_999_999);
        check("9223372036854775807.999999999", i64::MAX, 999_999_999);
        check("-9223372036854775808", i64::MIN, 0);
    }

    #[test]
    fn what_is_no_moment() {
        for text in ["", "-", ".5", "1.2.3", "1e3", "+1", " 1", "1 ", "--1", "9223372036854775808"]
        {
            assert_eq!(parse_time(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn numbers() {
        assert_eq!(parse(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse(b"007"), Some(7));
        for text in ["", "18446744073709551616", "-1", "+1", "0x1", "1 "] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn moments_come_back(seconds in any::<i64>(), nanoseconds in 0..1_000_000_000_u32) {
            let time = Time { seconds, nanoseconds };
            prop_assert_eq!(parse_time(print_time(time).as_bytes()), Some(time));
        }
    }
}
