//! Digests: the name of bytes by their hash.
//!
//! Invariant: a [`Digest`] has a registered algorithm and as many bytes as that gives; its text is
//! canonical (lower case), so equal digests print equally.
//! Absent on purpose: computing one.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The registered hash algorithms that we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256, what nearly all content uses.
    Sha256,
    /// SHA-512.
    Sha512,
}

/// The hash of some content; copied freely, since it is bytes and not text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Digest {
    /// By SHA-256.
    Sha256([u8; 32]),
    /// By SHA-512.
    Sha512([u8; 64]),
}

/// A text that is no digest; worded as Docker words it, since clients look for that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DigestError {
    /// Not `algorithm:hex` in lower case.
    Format {
        /// The beginning of the text.
        text: String,
    },
    /// The algorithm gives another number of bytes.
    Length {
        /// The algorithm.
        algorithm: Algorithm,
        /// How many hexadecimal digits there were.
        digits: usize,
    },
    /// Well-formed, of an algorithm that we do not know.
    Unsupported {
        /// The algorithm's name.
        algorithm: String,
    },
}

impl Algorithm {
    /// The name before the colon.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Bytes of a hash.
    pub const fn size_bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    fn of(name: &str) -> Option<Self> {
        [Self::Sha256, Self::Sha512].into_iter().find(|known| known.as_str() == name)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Digest {
    /// Reads `algorithm:hex`.
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        let format = || DigestError::Format { text: excerpt(text) };
        let (name, hex) = text.split_once(':').ok_or_else(format)?;
        if !is_algorithm_name(name) || hex.is_empty() || !hex.bytes().all(is_encoded) {
            return Err(format());
        }
        let algorithm = Algorithm::of(name)
            .ok_or_else(|| DigestError::Unsupported { algorithm: excerpt(name) })?;
        if hex.len() != algorithm.size_bytes() * 2 {
            return Err(DigestError::Length { algorithm, digits: hex.len() });
        }
        let parsed = match algorithm {
            Algorithm::Sha256 => decode(hex).map(Self::Sha256),
            Algorithm::Sha512 => decode(hex).map(Self::Sha512),
        };
        parsed.ok_or_else(format)
    }

    /// Wraps a finished hash; `None` if it is not as long as the algorithm's are.
    pub fn from_bytes(algorithm: Algorithm, bytes: &[u8]) -> Option<Self> {
        match algorithm {
            Algorithm::Sha256 => bytes.try_into().ok().map(Self::Sha256),
            Algorithm::Sha512 => bytes.try_into().ok().map(Self::Sha512),
        }
    }

    /// By which algorithm.
    pub const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// The hash itself.
    pub const fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Sha256(bytes) => bytes,
            Self::Sha512(bytes) => bytes,
        }
    }

    /// The hash in hexadecimal digits, as file names use it.
    pub fn hex(&self) -> String {
        let mut hex = String::with_capacity(self.as_bytes().len() * 2);
        self.write_hex(&mut hex).expect("a string takes any text");
        hex
    }

    fn write_hex(&self, out: &mut impl fmt::Write) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        for byte in self.as_bytes() {
            out.write_char(DIGITS[usize::from(byte >> 4)].into())?;
            out.write_char(DIGITS[usize::from(byte & 15)].into())?;
        }
        Ok(())
    }
}

/// Components of lower-case letters and digits between single separators.
fn is_algorithm_name(name: &str) -> bool {
    let is_component = |component: &str| {
        !component.is_empty()
            && component.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    name.split(['+', '.', '_', '-']).all(is_component)
}

fn is_encoded(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"=_-".contains(&byte)
}

fn decode<const N: usize>(hex: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let (pairs, []) = hex.as_bytes().as_chunks::<2>() else { return None };
    if pairs.len() != N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        *byte = (nibble(pair[0])? << 4) | nibble(pair[1])?;
    }
    Some(bytes)
}

/// Upper case is refused: two spellings of one digest would be two names of one content.
fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// The beginning of a hostile text, for an error message.
pub(crate) fn excerpt(text: &str) -> String {
    const CHARACTERS_MAX: usize = 200;
    match text.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.algorithm().as_str())?;
        f.write_char(':')?;
        self.write_hex(f)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        Self::parse(text)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, printer: S) -> Result<S::Ok, S::Error> {
        printer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(reader)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for DigestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format { text } => write!(f, "invalid checksum digest format: {text:?}"),
            Self::Length { algorithm, digits } => {
                write!(f, "invalid checksum digest length: {digits} digits for {algorithm}")
            }
            Self::Unsupported { algorithm } => {
                write!(f, "unsupported digest algorithm: {algorithm:?}")
            }
        }
    }
}

impl std::error::Error for DigestError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn reads_what_it_prints() {
        let digest = Digest::parse(EMPTY).expect("a digest");
        assert_eq!(digest.to_string(), EMPTY);
        assert_eq!(digest.hex(), EMPTY[7..]);
        assert_eq!(digest.as_bytes()[..2], [0xe3, 0xb0]);
        assert_eq!(Digest::from_bytes(Algorithm::Sha256, digest.as_bytes()), Some(digest));
        assert_eq!(Digest::from_bytes(Algorithm::Sha512, digest.as_bytes()), None);
    }

    #[test]
    fn refusals() {
        let check = |text: &str, expected: &str| {
            let error = Digest::parse(text).expect_err(text);
            assert_eq!(error.to_string(), expected);
        };
        check("", r#"invalid checksum digest format: """#);
        check("sha256:", r#"invalid checksum digest format: "sha256:""#);
        check("sha256", r#"invalid checksum digest format: "sha256""#);
        check("sha256:xx yy", r#"invalid checksum digest format: "sha256:xx yy""#);
        check("SHA256:00", r#"invalid checksum digest format: "SHA256:00""#);
        check("sha256:00", "invalid checksum digest length: 2 digits for sha256");
        check("md5:00", r#"unsupported digest algorithm: "md5""#);
        check("sha256+b64:AA==", r#"unsupported digest algorithm: "sha256+b64""#);
        let upper = EMPTY.to_uppercase().replace("SHA", "sha");
        check(&upper, &format!("invalid checksum digest format: {upper:?}"));
        check(
            &"é".repeat(300),
            &format!("invalid checksum digest format: \"{}…\"", "é".repeat(200)),
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_hash_comes_back(bytes in any::<[u8; 64]>()) {
            for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
                let hash = &bytes[..algorithm.size_bytes()];
                let digest = Digest::from_bytes(algorithm, hash).expect("a hash");
                prop_assert_eq!(Digest::parse(&digest.to_string()), Ok(digest));
            }
        }

        #[test]
        fn what_is_read_prints_the_same(text in "(sha(256|512)|[a-z+]{1,4}):[a-f0-9A-F=]{0,130}") {
            if let Ok(digest) = Digest::parse(&text) {
                prop_assert_eq!(digest.to_string(), text);
            }
        }
    }
}
