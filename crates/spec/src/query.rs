//! What a user may mean by an image argument: a name, or an id, or the beginning of one.
//!
//! Invariant: the order of trying is Docker's — the name first, then the id — so that an image
//! called `beef` is found although ids may begin so.
//! Absent on purpose: the images; the caller looks up names and hands over the ids.

use std::fmt;

use crate::digest::{Algorithm, Digest};
use crate::reference::{Reference, ReferenceError, is_identifier};

/// Shorter beginnings of ids are taken for names only.
const DIGITS_MIN: usize = 4;

/// An image argument, read in both ways that are possible for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// Only an id: all of its digits are there.
    Id(Digest),
    /// A name, and where no image has it, perhaps the beginning of an id.
    Name {
        /// The name.
        reference: Reference,
        /// The same text as the beginning of an id.
        id: Option<IdPrefix>,
    },
}

/// The beginning of an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdPrefix {
    hex: String,
}

/// The beginning fits more than one id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AmbiguousId {
    /// What the user typed.
    pub prefix: IdPrefix,
    /// Two of the ids that begin so.
    pub ids: Box<[Digest; 2]>,
}

impl Query {
    /// Reads an image argument.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        if is_identifier(text) {
            let digest = Digest::parse(&format!("sha256:{text}"));
            return digest.map(Self::Id).map_err(ReferenceError::Digest);
        }
        if let Ok(digest) = Digest::parse(text) {
            return Ok(Self::Id(digest));
        }
        let reference = Reference::parse(text)?;
        Ok(Self::Name { reference, id: IdPrefix::parse(text) })
    }
}

impl IdPrefix {
    /// Reads four to 64 digits, perhaps behind `sha256:`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        let fits = (DIGITS_MIN..=Algorithm::Sha256.size_bytes() * 2).contains(&hex.len());
        let digits = hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (fits && digits).then(|| Self { hex: hex.to_owned() })
    }

    /// Whether the id begins so.
    pub fn fits(&self, id: &Digest) -> bool {
        id.algorithm() == Algorithm::Sha256 && id.hex().starts_with(&self.hex)
    }

    /// The one id that begins so; the same id may come more than once.
    pub fn pick(
        &self,
        ids: impl IntoIterator<Item = Digest>,
    ) -> Result<Option<Digest>, AmbiguousId> {
        let mut found = None;
        for id in ids.into_iter().filter(|id| self.fits(id)) {
            match found {
                None => found = Some(id),
                Some(first) if first == id => {}
                Some(first) => {
                    return Err(AmbiguousId { prefix: self.clone(), ids: Box::new([first, id]) });
                }
            }
        }
        Ok(found)
    }
}

impl fmt::Display for IdPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex)
    }
}

impl fmt::Display for AmbiguousId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = &*self.ids;
        write!(f, "ambiguous reference: {} begins {first} and {second}", self.prefix)
    }
}

impl std::error::Error for AmbiguousId {}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn digest(start: &str) -> Digest {
        Digest::parse(&format!("sha256:{start}{}", &HEX[start.len()..])).expect("a digest")
    }

    #[test]
    fn whole_ids_are_no_names() {
        let id = digest("");
        assert_eq!(Query::parse(HEX), Ok(Query::Id(id)));
        assert_eq!(Query::parse(&format!("sha256:{HEX}")), Ok(Query::Id(id)));
    }

    #[test]
    fn short_ids_are_names_first() {
        let check = |text: &str, name: &str, is_id: bool| {
            let Ok(Query::Name { reference, id }) = Query::parse(text) else { panic!("{text}") };
            assert_eq!((reference.to_string().as_str(), id.is_some()), (name, is_id), "{text}");
        };
        check("beef", "docker.io/library/beef:latest", true);
        check("bee", "docker.io/library/bee:latest", false);
        check("ubuntu", "docker.io/library/ubuntu:latest", false);
        check("sha256:beef", "docker.io/library/sha256:beef", true);
        check("md5:beef", "docker.io/library/md5:beef", false);
        assert!(Query::parse("BEEF").is_err());
    }

    #[test]
    fn one_id_is_picked_or_none() {
        let prefix = IdPrefix::parse("abcd").expect("a prefix");
        let (one, two, other) = (digest("abcd1"), digest("abcd2"), digest("abce"));
        assert_eq!(prefix.pick([other]), Ok(None));
        assert_eq!(prefix.pick([one, other, one]), Ok(Some(one)));
        let error = prefix.pick([other, one, two]).expect_err("two of them");
        assert_eq!(error.to_string(), format!("ambiguous reference: abcd begins {one} and {two}"));
    }
}
