//! Keys that detach a client: as users write them, and as terminals send them.
//!
//! Invariant: a sequence that exists can be typed.

use crate::error::Error;

/// Docker's, where nobody says otherwise: ctrl-p, ctrl-q.
const STANDARD: &[u8] = &[16, 17];

/// Reads `ctrl-a,b,ctrl-@`; absent or empty is the standard one.
pub(super) fn parse(text: Option<&str>) -> Result<Vec<u8>, Error> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(STANDARD.to_vec()) };
    text.split(',').map(|key| parse_one(key).ok_or_else(|| refused(key))).collect()
}

fn parse_one(key: &str) -> Option<u8> {
    match key.as_bytes() {
        [one] => Some(*one),
        [b'c' | b'C', b't' | b'T', b'r' | b'R', b'l' | b'L', b'-', letter] => {
            match letter.to_ascii_lowercase() {
                letter @ b'a'..=b'z' => Some(letter - b'a' + 1),
                b'@' => Some(0),
                b'[' => Some(27),
                b'\\' => Some(28),
                b']' => Some(29),
                b'^' => Some(30),
                b'_' => Some(31),
                _ => None,
            }
        }
        _ if key.eq_ignore_ascii_case("del") => Some(127),
        _ => None,
    }
}

fn refused(key: &str) -> Error {
    Error::Invalid { message: format!("Invalid detach keys (unknown character: '{key}')") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_as_terminals_send_them() {
        let check = |text: &str, expected: &[u8]| {
            assert_eq!(parse(Some(text)).expect(text), expected);
        };
        check("", &[16, 17]);
        check("ctrl-p,ctrl-q", &[16, 17]);
        check("a,B,ctrl-@,ctrl-[,DEL", &[b'a', b'B', 0, 27, 127]);
        assert_eq!(parse(None).expect("the standard"), STANDARD);
        for bad in ["ctrl-", "ctrl-1", "ab", "a,,b"] {
            parse(Some(bad)).expect_err(bad);
        }
    }
}
