//! Percent signs of addresses (RFC 3986, section 2.1), undone.
//!
//! Invariant: what comes out is valid UTF-8, and no more bytes than went in unless some were no UTF-8.
//! Absent on purpose: writing them, for what needs an escape differs from place to place.

/// Undoes percent signs, and in queries plus signs; what is no escape stays as it is.
pub fn unescape(text: &str, plus: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let code = hex.filter(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        let code = code.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (bytes[at], code) {
            (_, Some(code)) => {
                out.push(code);
                at += 3;
                continue;
            }
            (b'+', None) if plus => out.push(b' '),
            (byte, None) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_escapes_stay() {
        assert_eq!(unescape("%zz%4%41+", false), "%zz%4A+");
        assert_eq!(unescape("%+1", false), "%+1");
        assert_eq!(unescape("a%2Fb+c", true), "a/b c");
    }
}
