//! Digest and size of what flows by.
//!
//! Invariant: a [`Measured`] is of all bytes that were given on, no more and no less.

use std::io::{self, Read, Write};

use dhow_spec::{Algorithm, Digest};
use sha2::{Digest as _, Sha256, Sha512};

/// What some bytes come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// Their digest.
    pub digest: Digest,
    /// How many there are.
    pub size: u64,
}

/// A hash in the making.
#[derive(Debug, Clone)]
pub struct Hasher {
    state: State,
    size: u64,
}

#[derive(Debug, Clone)]
enum State {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    /// A hash of nothing yet.
    pub fn new(algorithm: Algorithm) -> Self {
        let state = match algorithm {
            Algorithm::Sha256 => State::Sha256(Sha256::new()),
            Algorithm::Sha512 => State::Sha512(Sha512::new()),
        };
        Self { state, size: 0 }
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        match &mut self.state {
            State::Sha256(state) => state.update(bytes),
            State::Sha512(state) => state.update(bytes),
        }
    }

    /// How many bytes were added.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What all bytes come to.
    pub fn finish(self) -> Measured {
        let digest = match self.state {
            State::Sha256(state) => Digest::Sha256(state.finalize().into()),
            State::Sha512(state) => Digest::Sha512(state.finalize().into()),
        };
        Measured { digest, size: self.size }
    }
}

/// Hashes what is read through it.
#[derive(Debug)]
pub struct HashingReader<R> {
    inner: R,
    hasher: Hasher,
}

impl<R> HashingReader<R> {
    /// Hashes what is read from `inner` from here on.
    pub fn new(inner: R, algorithm: Algorithm) -> Self {
        Self { inner, hasher: Hasher::new(algorithm) }
    }

    /// The source.
    pub fn get_ref(&self) -> &R {
        &self.inner
    }

    /// The source, and what was read from it.
    pub fn finish(self) -> (R, Measured) {
        (self.inner, self.hasher.finish())
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

/// Hashes what is written through it.
#[derive(Debug)]
pub struct HashingWriter<W> {
    inner: W,
    hasher: Hasher,
}

impl<W> HashingWriter<W> {
    /// Hashes what is written to `inner` from here on.
    pub fn new(inner: W, algorithm: Algorithm) -> Self {
        Self { inner, hasher: Hasher::new(algorithm) }
    }

    /// The sink, and what was written to it.
    pub fn finish(self) -> (W, Measured) {
        (self.inner, self.hasher.finish())
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC_256: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    const ABC_512: &str = "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
        2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";

    #[test]
    fn known_digests() {
        for (algorithm, expected) in [(Algorithm::Sha256, ABC_256), (Algorithm::Sha512, ABC_512)] {
            let mut hasher = Hasher::new(algorithm);
            hasher.update(b"a");
            hasher.update(b"bc");
            let Measured { digest, size } = hasher.finish();
            assert_eq!((digest.to_string(), size), (expected.to_owned(), 3));
        }
    }

    /// Takes one byte at a time.
    struct Narrow(Vec<u8>);

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.extend(bytes.first());
            Ok(bytes.len().min(1))
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_was_given_on_counts() {
        let mut writer = HashingWriter::new(Narrow(Vec::new()), Algorithm::Sha256);
        writer.write_all(b"abc").expect("a sink");
        let (sink, measured) = writer.finish();
        assert_eq!((&sink.0[..], measured.digest.to_string()), (&b"abc"[..], ABC_256.to_owned()));

        let mut reader = HashingReader::new(&b"abcdef"[..], Algorithm::Sha256);
        reader.read_exact(&mut [0; 3]).expect("a source");
        let (rest, measured) = reader.finish();
        assert_eq!((rest, measured.digest.to_string()), (&b"def"[..], ABC_256.to_owned()));
    }
}
