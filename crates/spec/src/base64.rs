//! Base64, as credentials and tokens come in it.
//!
//! Invariant: what is no base64 is nothing; either alphabet is read, with or without padding.

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Encodes with `-` and `_`, and padding, as headers need it.
pub fn encode_url(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut block = [0; 3];
        block[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, block[0], block[1], block[2]]);
        for place in 0..4 {
            let index = (bits >> (18 - 6 * place)) & 63;
            let letter = if place > chunk.len() { b'=' } else { LETTERS[index as usize] };
            out.push(char::from(letter));
        }
    }
    out
}

/// Encodes with `+` and `/`, as files keep it.
pub fn encode(bytes: &[u8]) -> String {
    encode_url(bytes).replace('-', "+").replace('_', "/")
}

/// Decodes; `None` for what is no base64.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    let mut out = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.bytes() {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(digit);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    // A single digit is no byte.
    (count != 6).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_encoded_is_decoded() {
        assert_eq!(encode(b"{}"), "e30=");
        assert_eq!(encode(b"abcd"), "YWJjZA==");
        assert_eq!(encode(b"abc"), "YWJj");
        assert_eq!(decode(&encode(&[0, 255, 7, 9])).unwrap(), [0, 255, 7, 9]);
    }

    #[test]
    fn either_alphabet() {
        for text in ["++//+A==", "--__-A", "--__-A=="] {
            assert_eq!(decode(text).unwrap(), [0xfb, 0xef, 0xff, 0xf8], "{text}");
        }
        assert_eq!(decode("e30=").unwrap(), b"{}");
        assert_eq!(decode("").unwrap(), b"");
        for bytes in [&b""[..], b"f", b"fo", b"foo", &[0xfb, 0xff]] {
            assert_eq!(decode(&encode_url(bytes)).unwrap(), bytes);
        }
        assert_eq!(encode_url(&[0xfb, 0xff]), "-_8=");
        assert_eq!(encode(&[0xfb, 0xff]), "+/8=");
        assert_eq!((decode("a"), decode("a b")), (None, None));
    }
}
