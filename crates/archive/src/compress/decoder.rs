//! Reads what is compressed in a way that its first bytes tell.
//!
//! Invariant: no more comes out, and no more memory is taken, than [`Limits`] allow; the end comes
//! only when all that the source has was read and was part of the stream.

use std::fmt;
use std::io::{self, BufReader, Chain, Cursor, Read};

use bzip2::bufread::MultiBzDecoder;
use dhow_spec::image::Compression;
use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;
use zstd::stream::read::Decoder as ZstdDecoder;

use super::detect::{Format, MAGIC_BYTES, detect};

const BUFFER: usize = 64 << 10;
/// Below that much output nobody asks for a ratio: a file of zeros has any.
const RATIO_FREE_BYTES: u64 = 16 << 20;

/// What a decoder may give and take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most bytes of output.
    pub output_bytes_max: u64,
    /// Most bytes of output for one of input, once there are 16 MiB of them. gzip reaches 1,032
    /// with zeros, zstd much more.
    pub ratio_max: u64,
    /// Largest window of zstd as a power of two; the decoder takes that much memory.
    pub window_log_max: u32,
}

impl Limits {
    /// Whatever there is; windows as `zstd -d` takes them without being asked, 128 MiB.
    pub const NONE: Self =
        Self { output_bytes_max: u64::MAX, ratio_max: u64::MAX, window_log_max: 27 };
}

/// Why a stream is not read any further; inside an [`io::Error`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecodeError {
    /// Compressed in a way that we only know by name.
    Unsupported {
        /// The name.
        format: &'static str,
    },
    /// Output past the caller's limit.
    TooLarge {
        /// The limit in bytes.
        max: u64,
    },
    /// So much output for so little input that it can only be meant to do harm.
    Ratio {
        /// The limit.
        max: u64,
    },
}

impl DecodeError {
    /// The one in an [`io::Error`], if there is one.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

/// Reads what is compressed; what is not comes through as it is.
pub struct Decoder<R: Read> {
    stream: Stream<R>,
    limits: Limits,
    produced: u64,
}

type Input<R> = BufReader<Counted<R>>;

enum Stream<R: Read> {
    Plain(Input<R>),
    Gzip(Box<MultiGzDecoder<Input<R>>>),
    Bzip2(Box<MultiBzDecoder<Input<R>>>),
    Xz(Box<XzReader<Input<R>>>),
    Zstd(Box<ZstdDecoder<'static, Input<R>>>),
}

/// Counts what was taken from a source, whose first bytes have been looked at.
struct Counted<R> {
    inner: Chain<Cursor<Vec<u8>>, R>,
    taken: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.taken += count as u64;
        Ok(count)
    }
}

impl<R: Read> Decoder<R> {
    /// Looks at the first bytes of `source` and reads it accordingly.
    pub fn new(mut source: R, limits: Limits) -> io::Result<Self> {
        let mut beginning = Vec::with_capacity(MAGIC_BYTES);
        source.by_ref().take(MAGIC_BYTES as u64).read_to_end(&mut beginning)?;
        let format = detect(&beginning);
        let counted = Counted { inner: Cursor::new(beginning).chain(source), taken: 0 };
        let input = BufReader::with_capacity(BUFFER, counted);
        let stream = match format {
            Format::Unreadable(format) => return Err(DecodeError::Unsupported { format }.into()),
            Format::Readable(Compression::None) => Stream::Plain(input),
            Format::Bzip2 => Stream::Bzip2(Box::new(MultiBzDecoder::new(input))),
            Format::Xz => {
                // Its window and what the decoder needs beside it.
                let kilobytes = 1u32.checked_shl(limits.window_log_max).unwrap_or(u32::MAX) >> 9;
                Stream::Xz(Box::new(XzReader::new_mem_limit(input, true, kilobytes)))
            }
            Format::Readable(Compression::Gzip) => {
                Stream::Gzip(Box::new(MultiGzDecoder::new(input)))
            }
            Format::Readable(Compression::Zstd) => {
                let mut decoder = ZstdDecoder::with_buffer(input)?;
                decoder.window_log_max(limits.window_log_max)?;
                Stream::Zstd(Box::new(decoder))
            }
        };
        Ok(Self { stream, limits, produced: 0 })
    }

    /// How the source is compressed; `None` for a way that images do not have.
    pub fn compression(&self) -> Option<Compression> {
        match &self.stream {
            Stream::Plain(_) => Some(Compression::None),
            Stream::Gzip(_) => Some(Compression::Gzip),
            Stream::Zstd(_) => Some(Compression::Zstd),
            Stream::Bzip2(_) | Stream::Xz(_) => None,
        }
    }

    /// The source; read to its end if this was.
    pub fn into_inner(self) -> R {
        let input = match self.stream {
            Stream::Plain(input) => input,
            Stream::Gzip(decoder) => decoder.into_inner(),
            Stream::Bzip2(decoder) => decoder.into_inner(),
            Stream::Xz(decoder) => decoder.into_inner(),
            Stream::Zstd(decoder) => decoder.finish(),
        };
        input.into_inner().inner.into_inner().1
    }

    fn taken(&self) -> u64 {
        let input = match &self.stream {
            Stream::Plain(input) => input,
            Stream::Gzip(decoder) => decoder.get_ref(),
            Stream::Bzip2(decoder) => decoder.get_ref(),
            Stream::Xz(decoder) => decoder.inner(),
            Stream::Zstd(decoder) => decoder.get_ref(),
        };
        input.get_ref().taken
    }

    fn check(&self) -> Result<(), DecodeError> {
        let Limits { output_bytes_max, ratio_max, .. } = self.limits;
        if self.produced > output_bytes_max {
            return Err(DecodeError::TooLarge { max: output_bytes_max });
        }
        let free = self.produced <= RATIO_FREE_BYTES;
        if !free && self.produced / self.taken().max(1) >= ratio_max {
            return Err(DecodeError::Ratio { max: ratio_max });
        }
        Ok(())
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // One byte more than allowed tells that there is more.
        let allowed = (self.limits.output_bytes_max - self.produced).saturating_add(1);
        let length = usize::try_from(allowed).map_or(buffer.len(), |max| max.min(buffer.len()));
        let buffer = &mut buffer[..length];
        let count = match &mut self.stream {
            Stream::Plain(input) => input.read(buffer),
            Stream::Gzip(decoder) => decoder.read(buffer),
            Stream::Bzip2(decoder) => decoder.read(buffer),
            Stream::Xz(decoder) => decoder.read(buffer),
            Stream::Zstd(decoder) => decoder.read(buffer),
        }?;
        self.produced += count as u64;
        self.check()?;
        Ok(count)
    }
}

/// What images do not have is taken out of its compression; what they have comes through as it is.
pub fn as_images_have_it<'a>(
    mut source: impl Read + 'a,
    limits: Limits,
) -> io::Result<Box<dyn Read + 'a>> {
    let mut beginning = Vec::with_capacity(MAGIC_BYTES);
    source.by_ref().take(MAGIC_BYTES as u64).read_to_end(&mut beginning)?;
    let format = detect(&beginning);
    let whole = Cursor::new(beginning).chain(source);
    match format {
        Format::Bzip2 | Format::Xz => Ok(Box::new(Decoder::new(whole, limits)?)),
        Format::Readable(_) | Format::Unreadable(_) => Ok(Box::new(whole)),
    }
}

impl<R: Read> fmt::Debug for Decoder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder")
            .field("compression", &self.compression())
            .field("limits", &self.limits)
            .field("produced", &self.produced)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported { format } => write!(f, "{format} compression is not supported"),
            Self::TooLarge { max } => write!(f, "more than {max} bytes when decompressed"),
            Self::Ratio { max } => write!(f, "decompresses to more than {max} times its size"),
        }
    }
}

impl std::error::Error for DecodeError {}

impl From<DecodeError> for io::Error {
    fn from(error: DecodeError) -> Self {
        let kind = match error {
            DecodeError::Unsupported { .. } => io::ErrorKind::Unsupported,
            DecodeError::TooLarge { .. } | DecodeError::Ratio { .. } => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}
