//! Both sides of a layer in one pass: the blob as registries have it, and the tar in it.

use std::io::{self, Read, Write};

use dhow_spec::Algorithm;
use dhow_spec::image::Compression;

use super::decoder::{Decoder, Limits};
use super::encoder::{Encoder, Encoding};
use crate::hash::{HashingReader, HashingWriter, Measured};

/// What a layer comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packed {
    /// The blob: what a descriptor says of it.
    pub blob: Measured,
    /// The tar in it: its digest is the diff-id.
    pub tar: Measured,
}

/// Reads the tar in a blob.
#[derive(Debug)]
pub struct LayerReader<R: Read> {
    inner: HashingReader<Decoder<HashingReader<R>>>,
}

impl<R: Read> LayerReader<R> {
    /// Reads `blob`, whose digest and diff-id may be of different algorithms.
    pub fn new(
        blob: R,
        limits: Limits,
        blob_algorithm: Algorithm,
        tar_algorithm: Algorithm,
    ) -> io::Result<Self> {
        let decoder = Decoder::new(HashingReader::new(blob, blob_algorithm), limits)?;
        Ok(Self { inner: HashingReader::new(decoder, tar_algorithm) })
    }

    /// How the blob is compressed, whatever its media type says; `None` for a way that images do not have.
    pub fn compression(&self) -> Option<Compression> {
        self.inner.get_ref().compression()
    }

    /// Reads what is left, and tells what all of it comes to.
    pub fn finish(mut self) -> io::Result<(R, Packed)> {
        io::copy(&mut self.inner, &mut io::sink())?;
        let (decoder, tar) = self.inner.finish();
        let (source, blob) = decoder.into_inner().finish();
        Ok((source, Packed { blob, tar }))
    }
}

impl<R: Read> Read for LayerReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer)
    }
}

/// Makes a blob of the tar that is written to it; [`LayerWriter::finish`] must be called.
#[derive(Debug)]
pub struct LayerWriter<W: Write> {
    inner: HashingWriter<Encoder<HashingWriter<W>>>,
}

impl<W: Write> LayerWriter<W> {
    /// Writes the blob to `sink`.
    pub fn new(sink: W, encoding: Encoding, algorithm: Algorithm) -> io::Result<Self> {
        let encoder = Encoder::new(HashingWriter::new(sink, algorithm), encoding)?;
        Ok(Self { inner: HashingWriter::new(encoder, algorithm) })
    }

    /// Ends the blob, and tells what it comes to.
    pub fn finish(self) -> io::Result<(W, Packed)> {
        let (encoder, tar) = self.inner.finish();
        let (sink, blob) = encoder.finish()?.finish();
        Ok((sink, Packed { blob, tar }))
    }
}

impl<W: Write> Write for LayerWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
