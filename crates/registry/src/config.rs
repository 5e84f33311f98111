//! The configuration file: JSON, in which every key is known or refused by its path.
//!
//! Invariant: a [`Config`] that exists can be served: patterns, sizes and durations were read.
//! Absent on purpose: reading the files that it names (they may change while we serve).

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use dhow_spec::RepositoryPath;
use serde::{Deserialize, Deserializer};

use crate::pattern::Pattern;

/// How a registry is to be served.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Where to listen, if the command line does not say: `HOST:PORT`.
    pub address: Option<String>,
    /// HTTP without TLS on other addresses than loopback: somebody in front of us has the certificate.
    pub plain_http: bool,
    /// Who we are.
    pub tls: Option<TlsConfig>,
    /// Who may do what; without it, everybody everything, and on loopback only.
    pub access: Option<AccessConfig>,
    /// What holds for some repositories; the first that fits counts.
    pub repositories: Vec<RepositoryConfig>,
    /// Bounds.
    pub limits: Limits,
    /// Garbage.
    pub collect: CollectConfig,
    /// Registries that are asked for what is not here; the first that fits counts.
    pub mirrors: Vec<MirrorConfig>,
    /// Who is told of changes.
    pub webhooks: Vec<HookConfig>,
    /// What is written down.
    pub log: LogConfig,
    /// Whether there are pages for people.
    pub web: bool,
}

/// Certificate and key, PEM; read again when they change.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TlsConfig {
    /// The certificate and its chain.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// Who may do what.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AccessConfig {
    /// Users and hashes of their passwords by bcrypt; read again when it changes.
    pub htpasswd: Option<PathBuf>,
    /// What is allowed; nothing else is.
    #[serde(default)]
    pub rules: Vec<RuleConfig>,
    /// The token service.
    #[serde(default)]
    pub token: TokenConfig,
}

/// Some people may do some things in some repositories.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RuleConfig {
    /// The repositories.
    pub repositories: Vec<Pattern>,
    /// Names of users; `*` is everybody with a password, `anonymous` everybody.
    pub users: Vec<String>,
    /// What they may do.
    pub allow: Vec<Action>,
}

/// What can be done with a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Reading.
    Pull,
    /// Writing.
    Push,
    /// Removing.
    Delete,
}

/// How tokens are given.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct TokenConfig {
    /// Whether clients are sent to the token service; else they are asked for a password each time.
    pub enabled: bool,
    /// Where they find it, if not where they found us.
    pub realm: Option<String>,
    /// What we call ourselves in tokens.
    pub service: String,
    /// How long a token is good.
    pub lifetime: Span,
}

/// What holds for some repositories.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RepositoryConfig {
    /// Which.
    pub repositories: Vec<Pattern>,
    /// Most bytes of each.
    #[serde(default)]
    pub quota: Option<Size>,
    /// Tags that are there stay where they point.
    #[serde(default)]
    pub immutable_tags: bool,
    /// Manifests may name blobs that the repository does not have.
    #[serde(default)]
    pub sparse: bool,
}

/// What holds for one repository.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RepositoryRules {
    pub(crate) quota: Option<u64>,
    pub(crate) immutable_tags: bool,
    pub(crate) sparse: bool,
}

/// Bounds.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// Largest manifest; 4 MiB is the most.
    #[serde(deserialize_with = "size")]
    pub manifest_bytes: u64,
    /// Largest blob.
    #[serde(deserialize_with = "size")]
    pub blob_bytes: u64,
    /// Connections at once.
    pub connections: usize,
    /// A client that says nothing for so long in the middle of a request has gone.
    pub idle: Span,
}

/// When garbage goes.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct CollectConfig {
    /// How often.
    pub interval: Span,
    /// A blob that no manifest names stays so long after somebody pushed or asked for it.
    pub grace: Span,
    /// An upload that nobody has gone on with for so long is given up.
    pub uploads: Span,
    /// Manifests without a tag go after so long; never if absent.
    pub untagged: Option<Span>,
}

/// A registry that is asked for what is not here.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct MirrorConfig {
    /// For which repositories.
    pub repositories: Vec<Pattern>,
    /// The registry: `docker.io`, or `host:port`.
    pub upstream: String,
    /// HTTP without TLS, which only loopback should be.
    #[serde(default)]
    pub plain_http: bool,
    /// Certificate authorities to trust for it, PEM.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// Who we are there.
    #[serde(default)]
    pub username: Option<String>,
    /// The file with that user's password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// How long a tag is believed before the upstream is asked again.
    #[serde(default = "ten_minutes")]
    pub fresh: Span,
    /// What nobody asks for in so long goes; nothing does if absent.
    #[serde(default)]
    pub keep: Option<Span>,
}

/// Somebody who is told of changes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HookConfig {
    /// Where events are posted to.
    pub url: String,
    /// Changes in which repositories.
    #[serde(default = "everywhere")]
    pub repositories: Vec<Pattern>,
    /// Which changes.
    #[serde(default = "of_manifests")]
    pub events: Vec<HookEvent>,
    /// Headers that are sent along.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// A file with the key by which events are signed.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    /// Certificate authorities to trust for it, PEM.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// An answer that takes longer is none.
    #[serde(default = "ten_seconds")]
    pub timeout: Span,
    /// How often an event is sent at most.
    #[serde(default = "ten_attempts")]
    pub attempts: u32,
    /// Events that wait at most.
    #[serde(default = "a_thousand")]
    pub queue: usize,
}

/// A change that others may be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HookEvent {
    /// A manifest came, or a tag moved.
    Push,
    /// A manifest or a tag went.
    Delete,
    /// A blob came.
    BlobPush,
    /// A blob came from another repository.
    BlobMount,
    /// A blob went.
    BlobDelete,
}

/// What is written down.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LogConfig {
    /// A line for each request.
    pub access: bool,
    /// A line for each change, added to this file; to the log if absent.
    pub audit: Option<PathBuf>,
}

/// A duration: `90s`, `10m`, `24h`, `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// Bytes: `512`, `10MiB`, `2GB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

/// A configuration that says something else than it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Where in it.
    pub path: String,
    /// What is wrong there.
    pub why: String,
}

impl Config {
    /// Reads a configuration file's text.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let mut reader = serde_json::Deserializer::from_str(text);
        let config: Self = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            ConfigError { path: error.path().to_string(), why: error.inner().to_string() }
        })?;
        reader
            .end()
            .map_err(|error| ConfigError { path: ".".to_owned(), why: error.to_string() })?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let wrong =
            |path: &str, why: &str| Err(ConfigError { path: path.to_owned(), why: why.to_owned() });
        if self.collect.interval.0 < Duration::from_secs(1) {
            return wrong("collect.interval", "less than a second");
        }
        if self.limits.connections == 0 {
            return wrong("limits.connections", "nobody could connect");
        }
        for (index, mirror) in self.mirrors.iter().enumerate() {
            let path = format!("mirrors[{index}]");
            if mirror.username.is_some() != mirror.password_file.is_some() {
                return wrong(&path, "username and password-file come together");
            }
            if mirror.keep.is_some_and(|keep| keep <= mirror.fresh) {
                return wrong(&format!("{path}.keep"), "not longer than fresh");
            }
        }
        for (index, hook) in self.webhooks.iter().enumerate() {
            let path = format!("webhooks[{index}]");
            if hook.attempts == 0 || hook.queue == 0 {
                return wrong(&path, "nothing would be delivered");
            }
            if !hook.url.starts_with("http://") && !hook.url.starts_with("https://") {
                return wrong(&format!("{path}.url"), "neither http:// nor https://");
            }
        }
        if let Some(access) = &self.access
            && access.htpasswd.is_none()
            && access.rules.iter().any(|rule| rule.users.iter().any(|user| user != "anonymous"))
        {
            return wrong("access.rules", "there are users, and no htpasswd file to know them by");
        }
        Ok(())
    }

    pub(crate) fn rules_of(&self, name: &RepositoryPath) -> RepositoryRules {
        let fits = |entry: &&RepositoryConfig| Pattern::any(&entry.repositories, name);
        let found = self.repositories.iter().find(fits);
        found.map_or_else(RepositoryRules::default, |entry| RepositoryRules {
            quota: entry.quota.map(|Size(bytes)| bytes),
            immutable_tags: entry.immutable_tags,
            sparse: entry.sparse,
        })
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            address: None,
            plain_http: false,
            tls: None,
            access: None,
            repositories: Vec::new(),
            limits: Limits::default(),
            collect: CollectConfig::default(),
            mirrors: Vec::new(),
            webhooks: Vec::new(),
            log: LogConfig::default(),
            web: true,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            manifest_bytes: 4 << 20,
            blob_bytes: 1 << 40,
            connections: 4096,
            idle: Span(Duration::from_secs(60)),
        }
    }
}

impl Default for CollectConfig {
    fn default() -> Self {
        let hours = |hours: u64| Span(Duration::from_secs(hours * 3600));
        Self { interval: hours(1), grace: hours(24), uploads: hours(24), untagged: None }
    }
}

impl Default for TokenConfig {
    fn default() -> Self {
        let (service, lifetime) = ("dhow-registry".to_owned(), Span(Duration::from_secs(300)));
        Self { enabled: true, realm: None, service, lifetime }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { access: true, audit: None }
    }
}

impl Span {
    pub(crate) fn as_ms(self) -> i64 {
        i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX)
    }

    fn parse(text: &str) -> Option<Self> {
        let end = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = text.split_at(end);
        let unit: u64 = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86400,
            _ => return None,
        };
        number.parse::<u64>().ok()?.checked_mul(unit).map(|s| Self(Duration::from_secs(s)))
    }
}

impl Size {
    fn parse(text: &str) -> Option<Self> {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let unit: u64 = match unit.trim() {
            "" | "B" => 1,
            "kB" | "KB" => 1000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "TB" => 1_000_000_000_000,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "TiB" => 1 << 40,
            _ => return None,
        };
        number.parse::<u64>().ok()?.checked_mul(unit).map(Self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        let text = String::deserialize(reader)?;
        let wrong =
            || serde::de::Error::custom(format_args!("{text:?} is no duration like 90s or 24h"));
        Self::parse(&text).ok_or_else(wrong)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Number(u64),
            Text(String),
        }
        match Either::deserialize(reader)? {
            Either::Number(bytes) => Ok(Self(bytes)),
            Either::Text(text) => Self::parse(&text).ok_or_else(|| {
                serde::de::Error::custom(format_args!("{text:?} is no size like 512 or 10GiB"))
            }),
        }
    }
}

fn size<'de, D: Deserializer<'de>>(reader: D) -> Result<u64, D::Error> {
    Size::deserialize(reader).map(|Size(bytes)| bytes)
}

const fn ten_minutes() -> Span {
    Span(Duration::from_secs(600))
}

const fn ten_seconds() -> Span {
    Span(Duration::from_secs(10))
}

const fn ten_attempts() -> u32 {
    10
}

const fn a_thousand() -> usize {
    1000
}

fn everywhere() -> Vec<Pattern> {
    vec![Pattern::parse("**").expect("a pattern")]
}

fn of_manifests() -> Vec<HookEvent> {
    vec![HookEvent::Push, HookEvent::Delete]
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.why)
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_is_refused_by_its_path() {
        let check = |text: &str, expected: &str| {
            let error = Config::parse(text).expect_err(text).to_string();
            assert!(error.starts_with(expected), "{text}: {error}");
        };
        check(r#"{"adress": "x"}"#, "adress: unknown field `adress`");
        check(r#"{"limits": {"idle": "1 minute"}}"#, "limits.idle: \"1 minute\" is no duration");
        check(r#"{"limits": {"blob-bytes": "1XB"}}"#, "limits.blob-bytes: \"1XB\" is no size");
        check(
            r#"{"access": {"rules": [{"repositories": ["A"], "users": [], "allow": []}]}}"#,
            "access.rules[0].repositories[0]: ",
        );
        check(
            r#"{"access": {"rules": [{"repositories": ["**"], "users": ["x"], "allow": ["pull"]}]}}"#,
            "access.rules: there are users",
        );
        check(
            r#"{"mirrors": [{"repositories": ["**"], "upstream": "x", "username": "a"}]}"#,
            "mirrors[0]: ",
        );
        check(r#"{"webhooks": [{"url": "ftp://x"}]}"#, "webhooks[0].url: neither");
        check(r#"{"webhooks": [{"url": "http://x", "attempts": 0}]}"#, "webhooks[0]: nothing");
        check(
            r#"{"webhooks": [{"url": "http://x", "events": ["pull"]}]}"#,
            "webhooks[0].events[0]: unknown variant `pull`",
        );
        check(
            r#"{"mirrors": [{"repositories": ["**"], "upstream": "x", "keep": "5m"}]}"#,
            "mirrors[0].keep: ",
        );
        check(r#"{} x"#, ".: ");
        check(r#"{"collect": {"interval": "0s"}}"#, "collect.interval: ");
    }

    #[test]
    fn the_first_entry_that_fits_counts() {
        let text = r#"{"repositories": [
            {"repositories": ["team/*"], "quota": "10MiB", "immutable-tags": true},
            {"repositories": ["**"], "quota": 5}
        ]}"#;
        let config = Config::parse(text).expect("a configuration");
        let of = |name| config.rules_of(&RepositoryPath::parse(name).expect("a name"));
        let expected = RepositoryRules {
            quota: Some(10 << 20),
            immutable_tags: true,
            ..RepositoryRules::default()
        };
        assert_eq!(of("team/a"), expected);
        assert_eq!(of("team/a/b").quota, Some(5));
        assert_eq!(
            Config::parse("{}")
                .expect("empty")
                .rules_of(&RepositoryPath::parse("x").expect("a name")),
            RepositoryRules::default()
        );
    }
}
