//! The part of a request's address behind the question mark.
//!
//! Invariant: what comes out is valid UTF-8 and at most as long as what came in.

use dhow_spec::percent::unescape;

/// Names and values, in order; names may come more than once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (unescape(name, true), unescape(value, true))
        });
        Self(pairs.collect())
    }

    /// The first value of that name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// All values of that name.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// The text as a value of a query.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' | b':' => {
                out.push(char::from(byte));
            }
            byte => {
                use std::fmt::Write as _;
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_come_back() {
        let query = Query::parse("digest=sha256%3Aab&n=1&tag=a&tag=b+c&x");
        assert_eq!(query.get("digest"), Some("sha256:ab"));
        assert_eq!(query.all("tag").collect::<Vec<_>>(), ["a", "b c"]);
        assert_eq!((query.get("x"), query.get("y")), (Some(""), None));
        for text in ["a/b:c", "ä & ö=%", "%zz+"] {
            assert_eq!(unescape(&escape(text), true), text);
        }
        assert_eq!(unescape("%zz%4", false), "%zz%4");
        assert_eq!(unescape("%+1", false), "%+1");
    }
}
