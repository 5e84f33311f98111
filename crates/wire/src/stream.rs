//! Several streams in one: how output travels when there is no terminal.
//!
//! Each piece has a header of eight bytes: which stream, three zeros, the length as a big-endian number.
//! Invariant: [`FrameReader`] gives pieces as they come; a frame larger than memory is no matter.

use std::fmt;

/// Bytes before each piece.
pub const FRAME_HEADER_BYTES: usize = 8;

/// Where a piece comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Stream {
    /// Standard input, which nobody sends.
    Stdin = 0,
    /// Standard output.
    Stdout = 1,
    /// Standard error.
    Stderr = 2,
    /// An error of the server's, in the middle of a stream.
    System = 3,
}

/// A piece of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Which one.
    pub stream: Stream,
    /// What.
    pub bytes: &'a [u8],
}

/// Bytes that are no frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameError {
    /// The first byte, which names no stream.
    pub stream: u8,
}

/// Takes a multiplexed stream apart, however it is cut.
#[derive(Debug, Default)]
pub struct FrameReader {
    header: [u8; FRAME_HEADER_BYTES],
    filled: usize,
    stream: Option<Stream>,
    left: u64,
}

/// The header of a piece.
pub fn frame_header(stream: Stream, length: u32) -> [u8; FRAME_HEADER_BYTES] {
    let [a, b, c, d] = length.to_be_bytes();
    [stream as u8, 0, 0, 0, a, b, c, d]
}

impl Stream {
    /// The stream of that number.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Stdin, Self::Stdout, Self::Stderr, Self::System].get(usize::from(number)).copied()
    }
}

impl FrameReader {
    /// Takes the next piece out of `input`, which is moved behind it; `None` when more must be read.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Frame<'a>>, FrameError> {
        loop {
            if let Some(stream) = self.stream {
                if self.left == 0 {
                    self.stream = None;
                    continue;
                }
                if input.is_empty() {
                    return Ok(None);
                }
                let count = input.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
                let (bytes, rest) = input.split_at(count);
                *input = rest;
                self.left -= count as u64;
                return Ok(Some(Frame { stream, bytes }));
            }
            let count = input.len().min(FRAME_HEADER_BYTES - self.filled);
            let (bytes, rest) = input.split_at(count);
            self.header[self.filled..self.filled + count].copy_from_slice(bytes);
            self.filled += count;
            *input = rest;
            if self.filled < FRAME_HEADER_BYTES {
                return Ok(None);
            }
            let [number, _, _, _, a, b, c, d] = self.header;
            self.filled = 0;
            self.stream = Some(Stream::from_number(number).ok_or(FrameError { stream: number })?);
            self.left = u64::from(u32::from_be_bytes([a, b, c, d]));
        }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unrecognized input header: {}", self.stream)
    }
}

impl std::error::Error for FrameError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut bytes = Vec::new();
        for (stream, text) in
            [(Stream::Stdout, "hello"), (Stream::Stderr, ""), (Stream::Stderr, "x")]
        {
            bytes.extend(frame_header(stream, text.len() as u32));
            bytes.extend(text.as_bytes());
        }
        bytes
    }

    #[test]
    fn a_header_is_what_docker_documents() {
        assert_eq!(frame_header(Stream::Stderr, 0x0102), [2, 0, 0, 0, 0, 0, 1, 2]);
    }

    #[test]
    fn any_cut_gives_the_same() {
        let bytes = sample();
        for size in 1..=bytes.len() {
            let (mut reader, mut out, mut err) = (FrameReader::default(), vec![], vec![]);
            for mut piece in bytes.chunks(size) {
                while let Some(frame) = reader.next(&mut piece).unwrap() {
                    match frame.stream {
                        Stream::Stdout => out.extend(frame.bytes),
                        _ => err.extend(frame.bytes),
                    }
                }
            }
            assert_eq!((out, err), (b"hello".to_vec(), b"x".to_vec()), "pieces of {size}");
        }
    }

    #[test]
    fn text_is_refused() {
        let mut input: &[u8] = b"not frames";
        assert_eq!(
            FrameReader::default().next(&mut input).unwrap_err().to_string(),
            "Unrecognized input header: 110"
        );
    }
}
