//! Which proxy a request goes through: `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` as Go reads them.
//!
//! Invariant: the machine itself is never reached through a proxy.
//! Absent on purpose: the environment (the caller's), and SOCKS, which is refused by name.

use std::net::IpAddr;

use dhow_spec::percent::unescape;

use super::cidr::Cidr;
use crate::config::ConfigError;
use crate::credentials::basic;
use crate::url::{Origin, Scheme, Url};

/// The proxies of a machine.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    none: Vec<Rule>,
}

/// One proxy.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proxy {
    pub(crate) origin: Origin,
    /// What it must be told to let us through.
    pub(crate) authorization: Option<String>,
}

/// One entry of `NO_PROXY`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    Everything,
    Range(Cidr),
    Address(IpAddr, Option<u16>),
    /// A domain and what is below it; `bare` includes the domain itself.
    Domain {
        name: String,
        bare: bool,
        port: Option<u16>,
    },
}

impl Proxies {
    /// From the three texts, as the environment or a configuration file has them; empty means none.
    pub fn parse(http: &str, https: &str, none: &str) -> Result<Self, ConfigError> {
        let rules = none.split([',', ' ']).map(str::trim).filter(|text| !text.is_empty());
        Ok(Self {
            http: Proxy::parse(http)?,
            https: Proxy::parse(https)?,
            none: rules.filter_map(Rule::parse).collect(),
        })
    }

    /// Without proxies.
    pub fn none() -> Self {
        Self::default()
    }

    pub(crate) fn for_origin(&self, origin: &Origin) -> Option<&Proxy> {
        let proxy = match origin.scheme {
            Scheme::Http => self.http.as_ref()?,
            Scheme::Https => self.https.as_ref()?,
        };
        let host = origin.bare_host().trim_end_matches('.');
        let address: Option<IpAddr> = host.parse().ok();
        let own = host == "localhost" || address.is_some_and(|address| address.is_loopback());
        let excepted = self.none.iter().any(|rule| rule.covers(host, address, origin.port));
        (!own && !excepted).then_some(proxy)
    }
}

impl Proxy {
    fn parse(text: &str) -> Result<Option<Self>, ConfigError> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let bad = || ConfigError::Proxy { text: without_password(text) };
        let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let (scheme, rest) = full.split_once("://").ok_or_else(bad)?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        let mut origin = Url::parse(&format!("{scheme}://{host}")).ok_or_else(bad)?.origin;
        origin.host = origin.host.trim_end_matches('.').to_owned();
        let authorization = user.map(|user| {
            let (name, password) = user.split_once(':').unwrap_or((user, ""));
            basic(&unescape(name, false), &unescape(password, false))
        });
        Ok(Some(Self { origin, authorization }))
    }
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Proxy({})", self.origin)
    }
}

impl Rule {
    fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        if text == "*" {
            return Some(Self::Everything);
        }
        if let Some(range) = Cidr::parse(&text) {
            return Some(Self::Range(range));
        }
        if let Ok(address) = text.trim_matches(['[', ']']).parse() {
            return Some(Self::Address(address, None));
        }
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => (name, Some(port.parse().ok()?)),
            None => (text.as_str(), None),
        };
        if let Ok(address) = name.trim_matches(['[', ']']).parse() {
            return Some(Self::Address(address, port));
        }
        let name = name.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(name);
        let bare = !name.starts_with('.');
        let name = name.trim_start_matches('.').to_owned();
        (!name.is_empty()).then_some(Self::Domain { name, bare, port })
    }

    fn covers(&self, host: &str, address: Option<IpAddr>, port: u16) -> bool {
        let fits = |own: &Option<u16>| own.is_none_or(|own| own == port);
        match self {
            Self::Everything => true,
            Self::Range(range) => address.is_some_and(|address| range.contains(address)),
            Self::Address(own, rule_port) => address == Some(*own) && fits(rule_port),
            Self::Domain { name, bare, port } => {
                let below = host.strip_suffix(name.as_str());
                let below =
                    below.is_some_and(|rest| rest.ends_with('.') || *bare && rest.is_empty());
                below && fits(port)
            }
        }
    }
}

fn without_password(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, host)) => format!("…@{host}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxied(none: &str, url: &str) -> Option<String> {
        let proxies = Proxies::parse("p:3128", "https://u:p%40ss@Q:1/", none).expect("proxies");
        let origin = Url::parse(url).expect(url).origin;
        proxies.for_origin(&origin).map(|proxy| proxy.origin.to_string())
    }

    #[test]
    fn by_scheme() {
        assert_eq!(proxied("", "http://h/").as_deref(), Some("http://p:3128"));
        assert_eq!(proxied("", "https://h/").as_deref(), Some("https://q:1"));
        let proxies = Proxies::parse("", "u:p%40ss@q", "").expect("proxies");
        let https = proxies.https.expect("a proxy");
        assert_eq!(https.authorization, Some(basic("u", "p@ss")));
        assert_eq!(https.origin.to_string(), "http://q");
        assert_eq!(proxies.http, None);
        for bad in ["socks5://h:1", "http://", "u:secret@h:x"] {
            let error = Proxies::parse(bad, "", "").expect_err(bad).to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn exceptions() {
        let check = |none: &str, url: &str, through: bool| {
            assert_eq!(proxied(none, url).is_some(), through, "{none:?} {url}");
        };
        check("", "http://localhost:5000/", false);
        check("", "http://127.0.0.9/", false);
        check("", "https://[::1]:5/", false);
        check("*", "http://h/", false);
        check("example.com", "http://example.com/", false);
        check("example.com", "http://a.example.com/", false);
        check("example.com", "http://badexample.com/", true);
        check(".example.com", "http://example.com/", true);
        check(".example.com", "http://a.example.com/", false);
        check("*.example.com", "http://a.example.com/", false);
        check("EXAMPLE.com:81", "http://example.com/", true);
        check("EXAMPLE.com:81", "http://example.com:81/", false);
        check("a, 10.0.0.0/8 b", "http://10.9.9.9/", false);
        check("10.0.0.0/8", "http://11.0.0.1/", true);
        check("10.0.0.1", "http://10.0.0.1/", false);
        check("10.0.0.1:81", "http://10.0.0.1/", true);
        check("fd00::1", "http://[fd00::1]/", false);
        check("[fd00::1]:80", "http://[fd00::1]/", false);
    }
}
