//! Whether bytes are the ones that a descriptor names, found out while they pass.
//!
//! Invariant: a [`Verifier`] never takes more bytes than the descriptor says, and is satisfied only
//! by exactly those.
//! Absent on purpose: where the bytes come from or go to.

use dhow_spec::image::Descriptor;
use dhow_spec::{Algorithm, Digest};
use sha2::{Digest as _, Sha256, Sha512};

/// A hash that is being computed, over the blob that a descriptor names.
#[derive(Debug, Clone)]
pub struct Verifier {
    hash: Hash,
    expected: Digest,
    size: u64,
    seen: u64,
}

#[derive(Debug, Clone)]
enum Hash {
    Sha256(Sha256),
    Sha512(Sha512),
}

/// Why bytes are not what their descriptor says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mismatch {
    /// Another number of bytes.
    Size {
        /// What the descriptor says.
        expected: u64,
        /// What there is, as far as it is known.
        actual: u64,
    },
    /// Other bytes.
    Digest {
        /// What the descriptor says.
        expected: Box<Digest>,
        /// What they hash to.
        actual: Box<Digest>,
    },
}

impl Mismatch {
    pub(crate) fn digest(expected: Digest, actual: Digest) -> Self {
        Self::Digest { expected: Box::new(expected), actual: Box::new(actual) }
    }
}

impl Verifier {
    /// Nothing seen yet.
    pub fn new(descriptor: &Descriptor) -> Self {
        Self::of(descriptor.digest, descriptor.size)
    }

    pub(crate) fn of(expected: Digest, size: u64) -> Self {
        let hash = Hash::new(expected.algorithm());
        Self { hash, expected, size, seen: 0 }
    }

    /// How many bytes have passed.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// How many are still to come.
    pub fn missing(&self) -> u64 {
        self.size - self.seen
    }

    /// Takes the next bytes; refuses more than the descriptor says, and has then taken none of
    /// them.
    pub fn update(&mut self, bytes: &[u8]) -> Result<(), Mismatch> {
        let count = bytes.len() as u64;
        if count > self.missing() {
            return Err(Mismatch::Size { expected: self.size, actual: self.seen + count });
        }
        self.hash.update(bytes);
        self.seen += count;
        Ok(())
    }

    /// Whether these were the bytes.
    pub fn finish(self) -> Result<(), Mismatch> {
        if self.seen != self.size {
            return Err(Mismatch::Size { expected: self.size, actual: self.seen });
        }
        let (expected, actual) = (self.expected, self.hash.finish());
        if actual == expected { Ok(()) } else { Err(Mismatch::digest(expected, actual)) }
    }

    /// Forgets all bytes, for a sink that finds out that it must do so, too.
    pub fn rewind(&mut self) {
        *self = Self::of(self.expected, self.size);
    }
}

impl Hash {
    fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Sha512::new()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Sha512(hash) => hash.update(bytes),
        }
    }

    fn finish(self) -> Digest {
        match self {
            Self::Sha256(hash) => Digest::Sha256(hash.finalize().into()),
            Self::Sha512(hash) => Digest::Sha512(hash.finalize().into()),
        }
    }
}

/// The digest of bytes at hand.
pub(crate) fn digest_of(algorithm: Algorithm, bytes: &[u8]) -> Digest {
    let mut hash = Hash::new(algorithm);
    hash.update(bytes);
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verify(text: &str, size: u64, chunks: &[&str]) -> Result<(), Mismatch> {
        let mut verifier = Verifier::of(digest_of(Algorithm::Sha512, text.as_bytes()), size);
        for chunk in chunks {
            verifier.update(chunk.as_bytes())?;
        }
        verifier.finish()
    }

    #[test]
    fn only_the_very_bytes_do() {
        assert_eq!(verify("abc", 3, &["a", "", "bc"]), Ok(()));
        let size = |expected, actual| Err(Mismatch::Size { expected, actual });
        assert_eq!(verify("abc", 3, &["ab"]), size(3, 2));
        assert_eq!(verify("abc", 3, &["ab", "cd"]), size(3, 4));
        assert_eq!(verify("abc", 2, &["abc"]), size(2, 3));
        let (expected, actual) =
            (digest_of(Algorithm::Sha512, b"abc"), digest_of(Algorithm::Sha512, b"abd"));
        assert_eq!(verify("abc", 3, &["abd"]), Err(Mismatch::digest(expected, actual)));
    }

    #[test]
    fn known_hashes() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(digest_of(Algorithm::Sha256, b"").to_string(), empty);
    }
}
