//! Addresses: where a request goes, and where an answer sends it next.
//!
//! Invariant: a [`Url`] is absolute, `http` or `https`, without user information and fragment, and
//! its path holds only characters that may stand in a request line.
//! Absent on purpose: everything that a registry's answers never need (other schemes, passwords).

use std::fmt::{self, Write as _};

use hyper::Uri;

/// How bytes travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Scheme {
    Http,
    Https,
}

/// Scheme, host and port: credentials for one are for no other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    pub(crate) scheme: Scheme,
    /// Lower case; an IPv6 address in brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// An absolute address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) origin: Origin,
    /// Path and query, beginning with a slash.
    pub(crate) path: String,
}

impl Scheme {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    pub(crate) const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl Origin {
    /// A host with an optional port, as references have it.
    pub(crate) fn of_authority(scheme: Scheme, authority: &str) -> Option<Self> {
        let (host, port) = split_authority(authority)?;
        Some(Self { scheme, host, port: port.unwrap_or_else(|| scheme.port()) })
    }

    pub(crate) fn join(&self, path: &str) -> Url {
        Url { origin: self.clone(), path: clean(path) }
    }

    /// The host without brackets, as resolvers want it.
    pub(crate) fn bare_host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// Host and, unless it is the scheme's own, port.
    pub(crate) fn authority(&self) -> String {
        if self.port == self.scheme.port() {
            self.host.clone()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl Url {
    /// Reads an absolute address.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return None,
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let origin = Origin::of_authority(scheme, authority)?;
        let slash = if path.starts_with('/') { "" } else { "/" };
        Some(Self { origin, path: clean(&format!("{slash}{path}")) })
    }

    /// Where `location`, absolute or relative, leads from here.
    pub(crate) fn join(&self, location: &str) -> Option<Self> {
        let location = location.trim();
        if is_absolute(location) {
            return Self::parse(location);
        }
        if location.starts_with("//") {
            return Self::parse(&format!("{}:{location}", self.origin.scheme.as_str()));
        }
        let base = self.path.split('?').next().unwrap_or("/");
        let path = match location.chars().next() {
            None => return None,
            Some('/') => location.to_owned(),
            Some('?') => format!("{base}{location}"),
            Some(_) => {
                let folder = base.rfind('/').map_or("/", |slash| &base[..=slash]);
                format!("{folder}{location}")
            }
        };
        Some(self.origin.join(&remove_dots(&path)))
    }

    /// The same with one more member of the query.
    pub(crate) fn with_query(&self, key: &str, value: &str) -> Self {
        let separator = match self.path.find('?') {
            None => "?",
            Some(at) if at + 1 == self.path.len() || self.path.ends_with('&') => "",
            Some(_) => "&",
        };
        let path = format!("{}{separator}{key}={}", self.path, escape(value));
        Self { origin: self.origin.clone(), path }
    }

    /// For the HTTP library; `None` for what even [`clean`] cannot help.
    pub(crate) fn to_uri(&self) -> Option<Uri> {
        self.to_string().parse().ok()
    }
}

fn is_absolute(location: &str) -> bool {
    let scheme = location.split([':', '/', '?', '#']).next().unwrap_or_default();
    location[scheme.len()..].starts_with("://")
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Host and port; user information is refused: nobody may hand us names to send.
fn split_authority(authority: &str) -> Option<(String, Option<u16>)> {
    let port_at = match authority.rfind(']') {
        Some(end) => authority[end..].find(':').map(|at| end + at),
        None => authority.find(':'),
    };
    let (host, port) = match port_at {
        Some(at) => (&authority[..at], Some(&authority[at + 1..])),
        None => (authority, None),
    };
    let port = match port {
        None | Some("") => None,
        Some(digits) => Some(digits.parse().ok().filter(|&port: &u16| port != 0)?),
    };
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b".-_[]:%".contains(&byte);
    if host.is_empty() || !host.bytes().all(known) {
        return None;
    }
    Some((host.to_ascii_lowercase(), port))
}

/// Drops the fragment and escapes what may not stand in a request line.
fn clean(path: &str) -> String {
    let path = path.split('#').next().unwrap_or_default();
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => {
                push_escaped(&mut out, byte)
            }
            0x21..=0x7e => out.push(byte.into()),
            _ => push_escaped(&mut out, byte),
        }
    }
    out
}

/// A value as a query or a form has it.
pub(crate) fn escape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte.into());
        } else {
            push_escaped(&mut out, byte);
        }
    }
    out
}

fn push_escaped(out: &mut String, byte: u8) {
    write!(out, "%{byte:02X}").expect("a string takes any text");
}

/// `a/./b/../c` → `a/c`.
fn remove_dots(path: &str) -> String {
    let (path, query) = path.split_at(path.find('?').unwrap_or(path.len()));
    let mut kept: Vec<&str> = Vec::new();
    let last = path.rsplit('/').next().unwrap_or_default();
    for part in path.split('/').skip(1) {
        match part {
            "." => {}
            ".." => {
                kept.pop();
            }
            part => kept.push(part),
        }
    }
    if matches!(last, "." | "..") {
        kept.push("");
    }
    format!("/{}{query}", kept.join("/"))
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.authority())
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.path)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_are_read() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(Url::parse(text).map(|url| url.to_string()).as_deref(), expected, "{text}");
        };
        check("https://Example.com", Some("https://example.com/"));
        check("https://example.com:443/a?b=c#d", Some("https://example.com/a?b=c"));
        check("http://example.com:443?x", Some("http://example.com:443/?x"));
        check("http://[::1]:5000/v2/", Some("http://[::1]:5000/v2/"));
        check("https://h/a b\u{e9}|", Some("https://h/a%20b%C3%A9%7C"));
        check("https://h:/x", Some("https://h/x"));
        for bad in
            ["ftp://h/", "https://", "https://u:p@h/", "/x", "h/x", "https://h:0/", "https://h:x/"]
        {
            check(bad, None);
        }
    }

    #[test]
    fn locations_lead_on() {
        let check = |location: &str, expected: Option<&str>| {
            let base = Url::parse("https://h:1/v2/a/uploads/7?state=x").expect("an address");
            let next = base.join(location).map(|url| url.to_string());
            assert_eq!(next.as_deref(), expected, "{location}");
        };
        check("/v2/b?_state=y:/z", Some("https://h:1/v2/b?_state=y:/z"));
        check("8", Some("https://h:1/v2/a/uploads/8"));
        check("../8/./x", Some("https://h:1/v2/a/8/x"));
        check("../../../../..", Some("https://h:1/"));
        check("?state=z", Some("https://h:1/v2/a/uploads/7?state=z"));
        check("//other/x", Some("https://other/x"));
        check("http://other:99/x", Some("http://other:99/x"));
        check("file:///etc/passwd", None);
        check("", None);
    }

    #[test]
    fn queries_grow() {
        let base = Url::parse("https://h/x").expect("an address");
        let url = base.with_query("digest", "sha256:a").with_query("b", "c d");
        assert_eq!(url.path, "/x?digest=sha256%3Aa&b=c%20d");
        let base = Url::parse("https://h/x?").expect("an address");
        assert_eq!(base.with_query("a", "b").path, "/x?a=b");
    }

    proptest! {
        /// Whatever a registry says, what we take for an address is one, and reading it again gives
        /// the same.
        #[test]
        fn addresses_are_addresses(
            location in r"(https?:)?(//)?([a-zA-Z0-9.@:%\[\]_-]{0,12})(/|\?|#)?\PC{0,24}",
            path in r"/[a-z./]{0,12}",
        ) {
            let base = Url::parse(&format!("https://h:1{path}")).expect("an address");
            if let Some(url) = base.join(&location) {
                let text = url.to_string();
                prop_assert_eq!(Url::parse(&text).map(|again| again.to_string()), Some(text.clone()));
                prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{}", text);
                prop_assert!(!url.origin.host.contains('@'));
                if let Some(uri) = url.to_uri() {
                    prop_assert_eq!(uri.port_u16().unwrap_or(url.origin.scheme.port()), url.origin.port);
                    prop_assert_eq!(uri.host().map(str::to_owned), Some(url.origin.host.clone()));
                }
            }
        }
    }
}
