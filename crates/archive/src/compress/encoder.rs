//! Writes one of the compressions that images have.

use std::fmt;
use std::io::{self, Write};
use std::num::NonZeroUsize;

use dhow_spec::image::Compression;
use zstd::stream::write::Encoder as ZstdEncoder;

use super::gzip::GzipWriter;

/// How to compress.
#[derive(Debug, Clone, Copy)]
pub struct Encoding {
    /// What to make.
    pub compression: Compression,
    /// How hard to try: 0 to 9 for gzip, 1 to 22 for zstd.
    pub level: i32,
    /// How many threads work on it, without a difference in what comes out.
    pub threads: NonZeroUsize,
}

impl Encoding {
    /// As images are made by everyone, or quick and small enough where that is zstd.
    pub const fn customary(compression: Compression, threads: NonZeroUsize) -> Self {
        let level = match compression {
            Compression::None => 0,
            Compression::Gzip => 6,
            Compression::Zstd => 3,
        };
        Self { compression, level, threads }
    }
}

/// Compresses what is written to it; [`Encoder::finish`] must be called.
pub struct Encoder<W: Write> {
    stream: Stream<W>,
}

enum Stream<W: Write> {
    Plain(W),
    Gzip(Box<GzipWriter<W>>),
    Zstd(Box<ZstdEncoder<'static, W>>),
}

impl<W: Write> Encoder<W> {
    /// Compresses into `sink`.
    pub fn new(sink: W, encoding: Encoding) -> io::Result<Self> {
        let Encoding { compression, level, threads } = encoding;
        let stream = match compression {
            Compression::None => Stream::Plain(sink),
            Compression::Gzip => {
                let level = level.clamp(0, 9) as u32;
                Stream::Gzip(Box::new(GzipWriter::new(sink, level, threads)?))
            }
            Compression::Zstd => {
                let mut encoder = ZstdEncoder::new(sink, level.clamp(1, 22))?;
                encoder.include_checksum(true)?;
                // Never none: one worker makes the same bytes as many, but none makes others.
                encoder.multithread(u32::try_from(threads.get()).unwrap_or(u32::MAX))?;
                Stream::Zstd(Box::new(encoder))
            }
        };
        Ok(Self { stream })
    }

    /// Ends the stream, and gives back what was written to.
    pub fn finish(self) -> io::Result<W> {
        match self.stream {
            Stream::Plain(sink) => Ok(sink),
            Stream::Gzip(writer) => writer.finish(),
            Stream::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Plain(sink) => sink.write(bytes),
            Stream::Gzip(writer) => writer.write(bytes),
            Stream::Zstd(encoder) => encoder.write(bytes),
        }
    }

    /// Of the sink only: ending a block here would make the bytes depend on it.
    fn flush(&mut self) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(sink) => sink.flush(),
            Stream::Gzip(writer) => writer.flush(),
            Stream::Zstd(encoder) => encoder.get_mut().flush(),
        }
    }
}

impl<W: Write> fmt::Debug for Encoder<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let compression = match &self.stream {
            Stream::Plain(_) => Compression::None,
            Stream::Gzip(_) => Compression::Gzip,
            Stream::Zstd(_) => Compression::Zstd,
        };
        f.debug_struct("Encoder").field("compression", &compression).finish_non_exhaustive()
    }
}
