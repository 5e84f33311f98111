//! Ranges of bytes: those that a reader asks for, and those that a writer brings.
//!
//! Absent on purpose: several ranges in one answer; who asks for several gets everything.

use std::ops::Range;

/// What a `Range` header asks of so many bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Everything: there is no header, or none that we serve.
    Everything,
    /// A part.
    Part(Range<u64>),
    /// What is not there.
    Nothing,
}

/// Reads a `Range` header.
pub(crate) fn asked(header: Option<&str>, size: u64) -> Asked {
    let Some(spec) = header.and_then(|header| header.trim().strip_prefix("bytes=")) else {
        return Asked::Everything;
    };
    let Some((first, last)) = spec.split_once('-') else { return Asked::Everything };
    let number = |text: &str| digits(text.trim());
    match (number(first), number(last), first.trim(), last.trim()) {
        (Some(first), Some(last), _, _) if first > last => Asked::Nothing,
        (Some(first), _, _, "") if first < size => Asked::Part(first..size),
        (Some(first), Some(last), _, _) if first < size => {
            Asked::Part(first..last.saturating_add(1).min(size))
        }
        (Some(_), Some(_), _, _) | (Some(_), _, _, "") => Asked::Nothing,
        (None, Some(0), "", _) => Asked::Nothing,
        (None, Some(count), "", _) if size > 0 => Asked::Part(size.saturating_sub(count)..size),
        (None, Some(_), "", _) => Asked::Nothing,
        _ => Asked::Everything,
    }
}

/// Reads a `Content-Range` of an upload: `first-last`, perhaps with `bytes` and a total around it.
pub(crate) fn brought(header: &str) -> Option<Range<u64>> {
    let spec = header.trim();
    let spec = spec.strip_prefix("bytes").map_or(spec, |rest| rest.trim_start_matches([' ', '=']));
    let spec = spec.split_once('/').map_or(spec, |(spec, _)| spec);
    let (first, last) = spec.split_once('-')?;
    let (first, last) = (digits(first)?, digits(last)?);
    // One before the beginning is how some clients write nothing at all.
    (first <= last.saturating_add(1)).then(|| first..last.saturating_add(1))
}

fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_ranges() {
        let part = |range| Asked::Part(range);
        for (header, expected) in [
            ("bytes=0-0", part(0..1)),
            ("bytes=2-5", part(2..6)),
            ("bytes=2-", part(2..10)),
            ("bytes=2-99", part(2..10)),
            ("bytes=-3", part(7..10)),
            ("bytes=-30", part(0..10)),
            ("bytes=10-", Asked::Nothing),
            ("bytes=10-20", Asked::Nothing),
            ("bytes=-0", Asked::Nothing),
            ("bytes=5-2", Asked::Nothing),
            ("bytes=0-1,3-4", Asked::Everything),
            ("bytes=+1-2", Asked::Everything),
            ("lines=0-1", Asked::Everything),
            ("bytes=0-18446744073709551615", part(0..10)),
            ("bytes=99999999999999999999-", Asked::Everything),
        ] {
            assert_eq!(asked(Some(header), 10), expected, "{header}");
        }
        assert_eq!(asked(None, 10), Asked::Everything);
        assert_eq!(asked(Some("bytes=-1"), 0), Asked::Nothing);
    }

    #[test]
    fn writers_ranges() {
        for (header, expected) in [
            ("0-9", Some(0..10)),
            ("bytes 5-9/10", Some(5..10)),
            ("bytes=5-9/*", Some(5..10)),
            ("9-5", None),
            ("a-b", None),
            ("+1-5", None),
            ("5", None),
            ("", None),
        ] {
            assert_eq!(brought(header), expected, "{header}");
        }
    }
}
