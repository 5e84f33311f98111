//! Names of what is being written.

use std::fmt;

use dhow_spec::{Algorithm, Digest};

/// What is being written: a blob whose digest is known, or something whose digest will be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IngestId(Kind);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    Blob(Digest),
    Named(String),
}

impl IngestId {
    /// The blob of that digest; whoever wants it shares one ingest.
    pub const fn of(digest: Digest) -> Self {
        Self(Kind::Blob(digest))
    }

    /// A name of the caller's: up to 128 letters, digits, `-`, `_`; `None` for anything else.
    pub fn named(name: &str) -> Option<Self> {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let fits = (1..=128).contains(&name.len()) && name.bytes().all(word);
        fits.then(|| Self(Kind::Named(name.to_owned())))
    }

    /// Its digest, if that is known.
    pub const fn digest(&self) -> Option<Digest> {
        match self.0 {
            Kind::Blob(digest) => Some(digest),
            Kind::Named(_) => None,
        }
    }

    pub(super) fn file_name(&self) -> String {
        match &self.0 {
            Kind::Blob(digest) => format!("{}.{}", digest.algorithm(), digest.hex()),
            Kind::Named(name) => format!("named.{name}"),
        }
    }

    pub(super) fn of_file(name: &str) -> Option<Self> {
        let (kind, rest) = name.split_once('.')?;
        match kind {
            "named" => Self::named(rest),
            _ => Digest::parse(&format!("{kind}:{rest}")).ok().map(Self::of),
        }
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.digest().map_or(Algorithm::Sha256, |digest| digest.algorithm())
    }
}

impl fmt::Display for IngestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Blob(digest) => write!(f, "blob {digest}"),
            Kind::Named(name) => write!(f, "ingest {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_come_back() {
        let named = IngestId::named("push-1_a").expect("a name");
        for id in
            [IngestId::of(Digest::Sha256([7; 32])), IngestId::of(Digest::Sha512([7; 64])), named]
        {
            assert_eq!(IngestId::of_file(&id.file_name()), Some(id));
        }
        for name in ["", "x", "named.", "named.a.b", "named.../a", "sha256.00", "md5.00"] {
            assert_eq!(IngestId::of_file(name), None, "{name}");
        }
        assert_eq!(IngestId::named("a/b"), None);
    }
}
