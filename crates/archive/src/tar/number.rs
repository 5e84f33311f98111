//! Numbers in a header's fields: octal text, or base 256 where the first bit is set.
//!
//! Invariant: a field that GNU tar, Go, Python and libarchive do not all read alike is no number.

/// The number in a field; a blank one is zero, as everywhere. `None` if it is not a number.
pub(super) fn parse(field: &[u8]) -> Option<i128> {
    match field {
        [0x80, digits @ ..] => Some(base_256(digits)),
        [0xff, digits @ ..] => Some(base_256(digits) - (1_i128 << (8 * digits.len()))),
        // Python takes other first bytes for text, libarchive for more digits.
        _ => octal(field),
    }
}

/// At most 11 digits, so nothing is lost.
fn base_256(digits: &[u8]) -> i128 {
    digits.iter().fold(0, |value, digit| (value << 8) | i128::from(*digit))
}

/// Spaces, digits, then a nul (after which nobody looks) or blanks to the end.
fn octal(field: &[u8]) -> Option<i128> {
    if field.iter().all(is_blank) {
        return Some(0);
    }
    let start = field.iter().position(|byte| *byte != b' ')?;
    let digits = &field[start..];
    let end = digits.iter().position(|byte| !matches!(byte, b'0'..=b'7')).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(end);
    let terminated = rest.first() == Some(&0) || rest.iter().all(is_blank);
    if digits.is_empty() || !terminated {
        return None;
    }
    Some(digits.iter().fold(0, |value, digit| (value << 3) | i128::from(digit - b'0')))
}

fn is_blank(byte: &u8) -> bool {
    matches!(byte, 0 | b' ')
}

/// Writes octal digits and a nul; false, and nothing written, if the field is too narrow.
pub(super) fn print(field: &mut [u8], value: u64) -> bool {
    let digits = field.len() - 1;
    if value >> (3 * digits) != 0 {
        return false;
    }
    for (place, byte) in field[..digits].iter_mut().rev().enumerate() {
        *byte = b'0' + (value >> (3 * place) & 7) as u8;
    }
    field[digits] = 0;
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_in_every_customary_dress() {
        for field in [&b"0000644\0"[..], b"000644 \0", b"   644 \0", b"644\0\0\0\0\0", b"00000644"]
        {
            assert_eq!(parse(field), Some(0o644), "{field:?}");
        }
        assert_eq!(parse(b"777777777777"), Some(0o777_777_777_777));
        assert_eq!(parse(b"644\0junk"), Some(0o644), "nobody looks behind the nul");
        for blank in [&b"\0\0\0\0"[..], b"    ", b"  \0 "] {
            assert_eq!(parse(blank), Some(0), "{blank:?}");
        }
    }

    #[test]
    fn what_readers_disagree_on_is_no_number() {
        // In turn: Go stops, GNU reads 1; Python reads 0; GNU reads base 64; Python reads 8.
        for field in [&b"1 2\0"[..], b"\x00644\0", b"+/AZ\0", b"0o10\0", b"8\0", b"-1\0", b"1_0\0"]
        {
            assert_eq!(parse(field), None, "{field:?}");
        }
        assert_eq!(parse(b"1 \0x"), None);
        assert_eq!(parse(&[0x81, 0, 0, 1]), None);
        assert_eq!(parse(&[0xc0, 0, 0, 1]), None);
    }

    #[test]
    fn base_256_has_a_sign() {
        assert_eq!(parse(&[0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]), Some(1 << 33));
        assert_eq!(parse(&[0xff; 12]), Some(-1));
        assert_eq!(parse(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe]), Some(-2));
        assert_eq!(parse(&[0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), Some((1 << 56) - 1));
        assert_eq!(parse(&[0xff, 0, 0, 0, 0, 0, 0, 0]), Some(-(1 << 56)));
    }

    #[test]
    fn prints_what_fits() {
        let mut field = *b"xxxxxxxx";
        assert!(print(&mut field, 0o1234567));
        assert_eq!(&field, b"1234567\0");
        assert!(!print(&mut field, 0o10_000_000));
        assert_eq!(&field, b"1234567\0");
    }
}
