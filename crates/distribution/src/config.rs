//! How registries are reached, as values: who fills them in reads the files.
//!
//! Invariant: what parses can be used; a wrong text is refused here and not at the first pull.
//! Absent on purpose: files, the environment, and defaults that a caller would not notice.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use crate::net::{Cidr, Proxies};
use crate::url::{Origin, Scheme, Url};

/// Everything that a client must be told.
#[derive(Debug, Clone)]
pub struct Config {
    /// How we introduce ourselves (`dhow/1.2 (linux amd64)`).
    pub user_agent: String,
    /// The machine's certificate authorities, PEM; what cannot be read of them is left out, as
    /// everybody does.
    pub roots_pem: Vec<u8>,
    /// What is special about a registry, by the name that references use; `*.example.com` and `*`
    /// stand for all that have no entry of their own.
    pub registries: BTreeMap<String, RegistryConfig>,
    /// Registries whose certificates prove nothing, or that have none.
    pub insecure: Insecure,
    /// The machine's proxies.
    pub proxies: Proxies,
    /// How long and how often.
    pub limits: Limits,
}

/// What is special about one registry.
#[derive(Debug, Clone, Default)]
pub struct RegistryConfig {
    /// Certificate authorities besides the machine's, PEM.
    pub ca_pem: Vec<u8>,
    /// Who we are, for registries that want to see a certificate.
    pub identity: Option<Identity>,
    /// Asked before the registry itself, in this order; never pushed to.
    pub mirrors: Vec<Mirror>,
}

/// A client certificate.
#[derive(Clone)]
pub struct Identity {
    /// The certificate and its chain, PEM.
    pub certificates_pem: Vec<u8>,
    /// Its private key, PEM, not encrypted.
    pub key_pem: Vec<u8>,
}

/// Who else serves a registry's repositories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    pub(crate) origin: Origin,
    /// Goes before the repository's path; ends with a slash, or is empty.
    pub(crate) prefix: String,
    pub(crate) names_registry: bool,
}

/// Registries whose certificates prove nothing: by name, with or without port, or by address.
#[derive(Debug, Clone, Default)]
pub struct Insecure {
    names: Vec<String>,
    ranges: Vec<Cidr>,
}

/// How long and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Attempts at one request, or at one blob without a byte arriving.
    pub attempts_max: u32,
    /// The first wait after a failure; it doubles.
    pub back_off: Duration,
    /// The longest of those waits.
    pub back_off_max: Duration,
    /// The longest wait that a registry may ask for before we give up instead.
    pub retry_after_max: Duration,
    /// For a connection to stand, TLS included.
    pub connect: Duration,
    /// Without a byte either way.
    pub stall: Duration,
    /// For the last answer of an upload, while the registry may still be hashing and copying.
    pub commit: Duration,
    /// Requests to one host at a time.
    pub per_host_max: usize,
    /// How long a mirror that failed is not asked; doubles with every failure, up to 32 times.
    pub mirror_pause: Duration,
    /// Bytes of an upload's piece, where a registry does not take blobs whole.
    pub chunk_bytes: u64,
}

/// A text of a configuration that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigError {
    /// A proxy's address.
    Proxy {
        /// The text, without password.
        text: String,
    },
    /// A mirror's address.
    Mirror {
        /// The text.
        text: String,
    },
    /// An entry of the list of insecure registries.
    Insecure {
        /// The text.
        text: String,
    },
    /// A registry's certificates.
    Certificates {
        /// The registry.
        registry: String,
        /// Which of its files, and what is wrong with it.
        fault: String,
    },
    /// The user agent is no header.
    UserAgent,
}

impl Config {
    /// Nothing special about anything.
    pub fn new(user_agent: &str, roots_pem: Vec<u8>) -> Self {
        Self {
            user_agent: user_agent.to_owned(),
            roots_pem,
            registries: BTreeMap::new(),
            insecure: Insecure::default(),
            proxies: Proxies::none(),
            limits: Limits::standard(),
        }
    }

    /// The entry for a registry: its own, that of the longest domain above it, or everybody's.
    pub(crate) fn registry(&self, name: &str) -> Option<&RegistryConfig> {
        let exact = self.registries.get(name);
        exact.or_else(|| {
            let dots = name.match_indices('.').map(|(at, _)| &name[at..]);
            let mut above = dots.filter_map(|domain| self.registries.get(&format!("*{domain}")));
            above.next().or_else(|| self.registries.get("*"))
        })
    }
}

impl Mirror {
    /// Reads `https://host`, `host:port` or `https://host/path`; the path goes before that of the
    /// repository, which is how registries name what they mirror for others.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let bad = || ConfigError::Mirror { text: text.to_owned() };
        let full = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let url = Url::parse(&full).ok_or_else(bad)?;
        if full.contains(['?', '#']) {
            return Err(bad());
        }
        let prefix = url.path.trim_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Ok(Self { origin: url.origin, prefix, names_registry: false })
    }

    /// Tells the mirror with every request which registry is meant (`?ns=docker.io`), for mirrors of
    /// many.
    pub fn naming_registry(mut self) -> Self {
        self.names_registry = true;
        self
    }
}

impl Insecure {
    /// Reads what Docker's configuration has: host names, `host:port`, and ranges of addresses.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, ConfigError> {
        let mut list = Self::default();
        for text in texts {
            let bad = || ConfigError::Insecure { text: text.to_owned() };
            // Docker takes (and warns of) a scheme before the name.
            let name = text.trim().to_ascii_lowercase();
            let name = ["http://", "https://"]
                .iter()
                .find_map(|scheme| name.strip_prefix(scheme))
                .unwrap_or(&name);
            if let Some(range) = Cidr::parse(name) {
                list.ranges.push(range);
            } else if Origin::of_authority(Scheme::Https, name).is_some() && !name.contains('/') {
                list.names.push(name.to_owned());
            } else {
                return Err(bad());
            }
        }
        Ok(list)
    }

    /// By name alone: with the port of the entry, or on any.
    pub(crate) fn names(&self, registry: &str) -> bool {
        let host = Origin::of_authority(Scheme::Https, registry);
        self.names.iter().any(|name| {
            name == registry || host.as_ref().is_some_and(|origin| *name == origin.host)
        })
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.ranges.iter().any(|range| range.contains(address))
    }

    pub(crate) fn has_ranges(&self) -> bool {
        !self.ranges.is_empty()
    }
}

impl Limits {
    /// What suits a machine on today's Internet.
    pub const fn standard() -> Self {
        Self {
            attempts_max: 5,
            back_off: Duration::from_millis(500),
            back_off_max: Duration::from_secs(30),
            retry_after_max: Duration::from_secs(60),
            connect: Duration::from_secs(30),
            stall: Duration::from_secs(30),
            commit: Duration::from_secs(300),
            per_host_max: 6,
            mirror_pause: Duration::from_secs(15),
            chunk_bytes: 32 << 20,
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(…)")
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proxy { text } => {
                write!(f, "invalid proxy {text:?}: http:// or https:// and a host is wanted")
            }
            Self::Mirror { text } => {
                write!(f, "invalid mirror {text:?}: http:// or https:// and a host is wanted")
            }
            Self::Insecure { text } => {
                write!(f, "invalid insecure registry {text:?}: a host or a range is wanted")
            }
            Self::Certificates { registry, fault } => {
                write!(f, "certificates of {registry}: {fault}")
            }
            Self::UserAgent => f.write_str("the user agent is no header"),
        }
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_entry_counts() {
        let mut config = Config::new("test", Vec::new());
        for name in ["*", "*.example.com", "*.a.example.com", "b.example.com"] {
            let mirror = Mirror::parse(&name.replace('*', "any")).expect(name);
            let entry = RegistryConfig { mirrors: vec![mirror], ..RegistryConfig::default() };
            config.registries.insert(name.to_owned(), entry);
        }
        let check = |name: &str, expected: &str| {
            let entry = config.registry(name).expect(name);
            assert_eq!(entry.mirrors[0].origin.host, expected, "{name}");
        };
        check("b.example.com", "b.example.com");
        check("x.a.example.com", "any.a.example.com");
        check("a.example.com", "any.example.com");
        check("example.com", "any");
        check("docker.io", "any");
        assert!(Config::new("test", Vec::new()).registry("docker.io").is_none());
    }

    #[test]
    fn mirrors() {
        let check = |text: &str, expected: Option<(&str, &str)>| {
            let mirror = Mirror::parse(text).ok();
            let read = mirror.map(|mirror| (mirror.origin.to_string(), mirror.prefix));
            let expected = expected.map(|(origin, prefix)| (origin.to_owned(), prefix.to_owned()));
            assert_eq!(read, expected, "{text}");
        };
        check("https://m.example", Some(("https://m.example", "")));
        check("http://m:5000/", Some(("http://m:5000", "")));
        check("m:5000/hub/", Some(("https://m:5000", "hub/")));
        for bad in ["", "https://", "ftp://m", "https://m/?x", "https://u:p@m"] {
            check(bad, None);
        }
    }

    #[test]
    fn insecure_registries() {
        let list = Insecure::parse(["h", "http://H2:5000", "10.0.0.0/8"]).expect("a list");
        assert!(list.names("h") && list.names("h:5000") && list.names("h2:5000"));
        assert!(!list.names("h2") && !list.names("h3"));
        assert!(list.contains("10.1.2.3".parse().expect("an address")));
        for bad in ["", "a/b", "10.0.0.0/99", "h:x"] {
            assert!(Insecure::parse([bad]).is_err(), "{bad}");
        }
    }
}
