//! The part of a request's address behind the question mark.
//!
//! Invariant: words mean what they mean to dockerd: nearly every text is true, nearly no text is an error.

use dhow_spec::percent::unescape;
use dhow_wire::Filters;

use crate::http::error::ApiError;

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

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first value of that name; empty if there is none.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.all(name).next().unwrap_or_default()
    }

    /// All values of that name.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }

    /// Everything is true but nothing and the words for no.
    pub(crate) fn flag(&self, name: &str) -> bool {
        let word = self.text(name).trim().to_ascii_lowercase();
        !matches!(word.as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// The same, with something else for a name that is not there.
    pub(crate) fn flag_or(&self, name: &str, default: bool) -> bool {
        if self.has(name) { self.flag(name) } else { default }
    }

    /// A number, if there is one and it is one.
    pub(crate) fn number_checked(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let text = self.text(name);
        if text.is_empty() {
            return Ok(None);
        }
        let invalid = |_| {
            ApiError::invalid(format!("strconv.Atoi: parsing {}: invalid syntax", quoted(text)))
        };
        text.parse().map(Some).map_err(invalid)
    }

    pub(crate) fn filters(&self) -> Result<Filters, ApiError> {
        Ok(Filters::parse(self.text("filters"))?)
    }

    /// A time in seconds since 1970 with a fraction, as nanoseconds; `None` for nothing and for zero.
    pub(crate) fn time_ns(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let text = self.text(name);
        if text.is_empty() || text == "0" {
            return Ok(None);
        }
        let invalid = || {
            ApiError::invalid(format!(
                "invalid value for \"{name}\": failed to parse {}",
                quoted(text)
            ))
        };
        let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
        if fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(invalid());
        }
        let seconds: i64 = seconds.parse().map_err(|_| invalid())?;
        let nanoseconds: i64 = format!("{fraction:0<9}").parse().map_err(|_| invalid())?;
        let total = seconds.checked_mul(1_000_000_000).and_then(|ns| ns.checked_add(nanoseconds));
        total.map(Some).ok_or_else(invalid)
    }
}

/// As Go's `%q` does it, nearly.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_docker_s() {
        let query = Query::parse("a=1&b=0&c=False&d=yes&e&f=%20none%20&t=a%2Fb+c&x=1&x=2");
        let flags = ["a", "b", "c", "d", "e", "f", "g"].map(|name| query.flag(name));
        assert_eq!(flags, [true, false, false, true, false, false, false]);
        assert!(query.flag_or("g", true) && !query.flag_or("b", true));
        assert_eq!(query.text("t"), "a/b c");
        assert_eq!(query.all("x").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(query.number_checked("x").unwrap(), Some(1));
        query.number_checked("t").unwrap_err();
    }

    #[test]
    fn times_have_nanoseconds() {
        let time = |text: &str| Query::parse(&format!("since={text}")).time_ns("since");
        assert_eq!(time("1136073600.000000001").unwrap(), Some(1_136_073_600_000_000_001));
        assert_eq!(time("1136073600.5").unwrap(), Some(1_136_073_600_500_000_000));
        assert_eq!((time("").unwrap(), time("0").unwrap()), (None, None));
        time("yesterday").unwrap_err();
        time("1.2.3").unwrap_err();
    }

    #[test]
    fn broken_escapes_stay() {
        assert_eq!(unescape("%zz%4%41+", false), "%zz%4A+");
    }
}
