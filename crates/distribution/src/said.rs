//! What a registry says when it says no: error documents, rate limits, warnings.
//!
//! Invariant: texts are bounded and hold no control characters, since they end on a terminal; a body
//! that is no error document still gives something to read.
//! Absent on purpose: deciding what follows from it.

use std::fmt;
use std::time::{Duration, SystemTime};

use hyper::header::{DATE, HeaderMap, RETRY_AFTER, WARNING};
use serde::Deserialize;

const TEXT_BYTES_MAX: usize = 300;
const ERRORS_MAX: usize = 8;

/// A registry's own words.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Said {
    /// Its errors, in its order.
    pub errors: Vec<ApiError>,
}

/// One error of an error document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// Its code as registries write it (`MANIFEST_UNKNOWN`); empty where there is only text.
    pub code: String,
    /// Its text; may be empty.
    pub message: String,
}

/// How many requests a registry still grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// In a window.
    pub limit: Option<u64>,
    /// Of those, how many are left.
    pub remaining: Option<u64>,
    /// How long a window is.
    pub window_s: Option<u64>,
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    errors: Option<Vec<BodyError>>,
    // Words of token servers and of gateways in front of registries.
    #[serde(default)]
    details: Option<serde_json::Value>,
    #[serde(default)]
    error: Option<serde_json::Value>,
    #[serde(default)]
    error_description: Option<serde_json::Value>,
    #[serde(default)]
    message: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct BodyError {
    #[serde(default)]
    code: Option<serde_json::Value>,
    #[serde(default)]
    message: Option<serde_json::Value>,
    #[serde(default)]
    detail: Option<serde_json::Value>,
}

impl Said {
    /// Reads the body of an answer that is no success.
    pub(crate) fn parse(body: &[u8]) -> Self {
        match serde_json::from_slice::<Body>(body) {
            Ok(body) => body.into(),
            Err(_) => Self::plain(&String::from_utf8_lossy(body)),
        }
    }

    fn plain(text: &str) -> Self {
        // A page for browsers tells nothing in its first lines.
        let message = tidy(text);
        if message.is_empty() || message.starts_with('<') {
            return Self::default();
        }
        Self { errors: vec![ApiError { code: String::new(), message }] }
    }

    /// Whether one of the errors has this code.
    pub fn has(&self, code: &str) -> bool {
        self.errors.iter().any(|error| error.code.eq_ignore_ascii_case(code))
    }

    /// Whether it said nothing.
    pub fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }
}

impl From<Body> for Said {
    fn from(body: Body) -> Self {
        let listed = body.errors.into_iter().flatten().take(ERRORS_MAX).map(ApiError::from);
        let mut errors: Vec<ApiError> = listed.filter(|error| !error.is_empty()).collect();
        if errors.is_empty() {
            let text = [body.error_description, body.details, body.message];
            let message = text.iter().flatten().map(text_of).find(|text| !text.is_empty());
            let code = body.error.as_ref().map(text_of).unwrap_or_default();
            let error = ApiError { code, message: message.unwrap_or_default() };
            errors.extend(Some(error).filter(|error| !error.is_empty()));
        }
        Self { errors }
    }
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        let code = error.code.as_ref().map(text_of).unwrap_or_default();
        let mut message = error.message.as_ref().map(text_of).unwrap_or_default();
        // Only a text among the details is meant for people.
        if let Some(serde_json::Value::String(detail)) = &error.detail
            && !detail.is_empty()
        {
            let detail = tidy(detail);
            message = if message.is_empty() { detail } else { format!("{message}: {detail}") };
        }
        Self { code, message }
    }
}

impl ApiError {
    fn is_empty(&self) -> bool {
        self.code.is_empty() && self.message.is_empty()
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "; " })?;
            error.fmt(f)?;
        }
        Ok(())
    }
}

/// Docker's form, which scripts look for: `manifest unknown: manifest unknown`.
impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code.to_lowercase().replace('_', " ");
        match (code.is_empty(), self.message.is_empty()) {
            (false, false) => write!(f, "{code}: {}", self.message),
            (false, true) => f.write_str(&code),
            (true, _) => f.write_str(&self.message),
        }
    }
}

impl RateLimit {
    /// Reads `RateLimit-Limit: 100;w=21600` and its sister.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let read = |name: &str| {
            let text = headers.get(name)?.to_str().ok()?;
            let mut parts = text.split([';', ',']).map(str::trim);
            let count: u64 = parts.next()?.parse().ok()?;
            let window = parts.find_map(|part| part.strip_prefix("w=")?.parse::<u64>().ok());
            Some((count, window))
        };
        let either = |name: &str| read(name).or_else(|| read(&format!("x-{name}")));
        let (limit, remaining) = (either("ratelimit-limit"), either("ratelimit-remaining"));
        let window_s = limit.or(remaining)?.1;
        let (limit, remaining) = (limit.map(|(count, _)| count), remaining.map(|(count, _)| count));
        Some(Self { limit, remaining, window_s })
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.remaining, self.limit) {
            (Some(remaining), Some(limit)) => write!(f, "{remaining} of {limit} requests left")?,
            (Some(remaining), None) => write!(f, "{remaining} requests left")?,
            (None, Some(limit)) => write!(f, "{limit} requests allowed")?,
            (None, None) => f.write_str("limited")?,
        }
        match self.window_s {
            Some(window_s) => write!(f, " per {window_s} s"),
            None => Ok(()),
        }
    }
}

/// How long to wait, in seconds or until a date; a date counts from the registry's own clock where it
/// tells that, since ours may be wrong.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(text).ok()?;
    let now = headers.get(DATE).and_then(|date| date.to_str().ok());
    let now = now.and_then(|date| httpdate::parse_http_date(date).ok());
    Some(until.duration_since(now.unwrap_or_else(SystemTime::now)).unwrap_or_default())
}

/// Texts of `Warning: 299 - "text"`, which registries use to tell of an end to come.
pub(crate) fn warnings(headers: &HeaderMap) -> impl Iterator<Item = String> {
    headers.get_all(WARNING).iter().filter_map(|value| {
        let text = value.to_str().ok()?.strip_prefix("299 ")?;
        let (_, quoted) = text.split_once('"')?;
        let text = quoted.rsplit_once('"').map_or(quoted, |(text, _)| text);
        Some(tidy(&text.replace("\\\"", "\"")))
    })
}

fn text_of(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => String::new(),
        serde_json::Value::String(text) => tidy(text),
        other => tidy(&other.to_string()),
    }
}

/// One bounded line without control characters.
pub(crate) fn tidy(text: &str) -> String {
    let mut out = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()) {
        if word.is_empty() {
            continue;
        }
        if out.len() + word.len() > TEXT_BYTES_MAX {
            let room = TEXT_BYTES_MAX.saturating_sub(out.len());
            out.push_str(if out.is_empty() { "" } else { " " });
            out.push_str(&word[..word.floor_char_boundary(room)]);
            out.push('…');
            break;
        }
        out.push_str(if out.is_empty() { "" } else { " " });
        out.push_str(word);
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (name.parse().expect("a name"), value.parse().expect("a value"))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn documents_in_dockers_form() {
        let check = |body: &str, expected: &str| {
            assert_eq!(Said::parse(body.as_bytes()).to_string(), expected, "{body}");
        };
        check(
            r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{"Tag":"x"}}]}"#,
            "manifest unknown: manifest unknown",
        );
        check(
            r#"{"errors":[{"code":"DENIED","message":"no"},{"code":"X","detail":"a\u001b[2J\nb"}]}"#,
            "denied: no; x: a [2J b",
        );
        check(r#"{"details":"incorrect username or password"}"#, "incorrect username or password");
        check(r#"{"error":"invalid_grant","error_description":"gone"}"#, "invalid grant: gone");
        check(r#"{"errors":[],"message":"slow down"}"#, "slow down");
        check(r#"{"errors":null}"#, "");
        check("busy\r\n", "busy");
        check("<html>", "");
        check("", "");
        check(&"x".repeat(1000), &format!("{}…", "x".repeat(300)));
        check(&"é".repeat(1000), &format!("{}…", "é".repeat(150)));
    }

    #[test]
    fn limits() {
        let headers =
            headers(&[("ratelimit-limit", "100;w=21600"), ("ratelimit-remaining", "0;w=21600")]);
        let limit = RateLimit::of(&headers).expect("a limit");
        assert_eq!(limit.to_string(), "0 of 100 requests left per 21600 s");
        assert_eq!(RateLimit::of(&HeaderMap::new()), None);
    }

    #[test]
    fn waits() {
        let check = |pairs: &[(&'static str, &str)], expected: Option<u64>| {
            let waited = retry_after(&headers(pairs));
            assert_eq!(waited, expected.map(Duration::from_secs), "{pairs:?}");
        };
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        check(&[("retry-after", "120")], Some(120));
        check(&[("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT"), date], Some(30));
        check(&[("retry-after", "Sun, 06 Nov 1994 08:40:07 GMT"), date], Some(0));
        check(&[("retry-after", "soon")], None);
        check(&[("retry-after", "-1")], None);
        check(&[], None);
    }

    #[test]
    fn warnings_are_told() {
        let headers = headers(&[("warning", r#"299 - "old, use \"new\"""#)]);
        assert_eq!(warnings(&headers).collect::<Vec<_>>(), [r#"old, use "new""#]);
    }

    proptest! {
        /// A terminal is safe from what a registry says.
        #[test]
        fn texts_are_one_bounded_line(text in any::<String>(), code in any::<String>()) {
            let body = serde_json::json!({ "errors": [{ "code": code, "message": text }] });
            for said in [Said::parse(body.to_string().as_bytes()), Said::parse(text.as_bytes())] {
                let line = said.to_string();
                prop_assert!(!line.chars().any(char::is_control), "{:?}", line);
                prop_assert!(line.len() < 4 * TEXT_BYTES_MAX);
            }
        }
    }
}
