//! Who the user is, as values that somebody else read.
//!
//! Invariant: secrets are never printed, not even for debugging.
//! Absent on purpose: `config.json` and credential helpers, which are the command line's.

use std::collections::BTreeMap;
use std::fmt;

/// What a registry is told to know the user.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Credentials {
    /// A name and a password (or an access token in its place).
    Password {
        /// The name.
        username: String,
        /// The password.
        password: String,
    },
    /// What an earlier login gave, for the token server.
    Identity {
        /// The token.
        token: String,
    },
    /// A token for the registry itself.
    Registry {
        /// The token.
        token: String,
    },
}

/// Credentials by registry, under the names that references use (`docker.io`, `localhost:5000`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keyring(BTreeMap<String, Credentials>);

impl Keyring {
    /// Without credentials: every registry is asked anonymously.
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// Credentials for one registry or mirror.
    pub fn insert(&mut self, registry: &str, credentials: Credentials) {
        self.0.insert(registry.to_ascii_lowercase(), credentials);
    }

    /// With credentials for one registry and nobody else.
    pub fn of(registry: &str, credentials: Credentials) -> Self {
        let mut keyring = Self::anonymous();
        keyring.insert(registry, credentials);
        keyring
    }

    pub(crate) fn get(&self, registry: &str) -> Option<&Credentials> {
        self.0.get(registry)
    }
}

impl Credentials {
    /// For the header `Authorization`; `None` for what only a token server understands.
    pub(crate) fn header(&self) -> Option<String> {
        match self {
            Self::Password { username, password } => Some(basic(username, password)),
            Self::Registry { token } => Some(format!("Bearer {token}")),
            Self::Identity { .. } => None,
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { username, .. } => write!(f, "Password({username:?}, …)"),
            Self::Identity { .. } => f.write_str("Identity(…)"),
            Self::Registry { .. } => f.write_str("Registry(…)"),
        }
    }
}

/// RFC 7617.
pub(crate) fn basic(username: &str, password: &str) -> String {
    format!("Basic {}", base64(format!("{username}:{password}").as_bytes()))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for index in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * index)) as usize & 63];
            out.push(if index <= group.len() { digit.into() } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_authentication() {
        assert_eq!(basic("Aladdin", "open sesame"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(base64(b""), "");
        assert_eq!(base64(b"f"), "Zg==");
        assert_eq!(base64(b"fo"), "Zm8=");
        assert_eq!(base64(b"foo"), "Zm9v");
        assert_eq!(base64(&[0xff, 0xfe]), "//4=");
    }

    #[test]
    fn secrets_stay_secret() {
        let password = Credentials::Password { username: "u".into(), password: "geheim".into() };
        let keyring = Keyring::of("h", password);
        let identity = Credentials::Identity { token: "geheim".into() };
        let text = format!("{keyring:?} {identity:?}");
        assert!(!text.contains("geheim"), "{text}");
    }
}
