//! Docker's frames taken apart: which stream said what, in the order in which it was said.
//!
//! Invariant: however the bytes are cut, nothing is held back but the eight bytes of a header.

use dhow_builder::OutputStream;

const HEADER_BYTES: usize = 8;

/// A multiplexed stream that is being read.
#[derive(Debug, Default)]
pub(super) struct Frames {
    header: [u8; HEADER_BYTES],
    filled: usize,
    left: usize,
}

impl Frames {
    /// Gives what some more bytes say.
    pub(super) fn take(&mut self, mut bytes: &[u8], say: &mut dyn FnMut(OutputStream, &[u8])) {
        while !bytes.is_empty() {
            if self.left == 0 {
                let count = bytes.len().min(HEADER_BYTES - self.filled);
                self.header[self.filled..self.filled + count].copy_from_slice(&bytes[..count]);
                self.filled += count;
                bytes = &bytes[count..];
                if self.filled == HEADER_BYTES {
                    let [_, _, _, _, a, b, c, d] = self.header;
                    self.left = u32::from_be_bytes([a, b, c, d]) as usize;
                    self.filled = 0;
                }
                continue;
            }
            let (said, rest) = bytes.split_at(bytes.len().min(self.left));
            let stream =
                if self.header[0] == 2 { OutputStream::Error } else { OutputStream::Output };
            say(stream, said);
            self.left -= said.len();
            bytes = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_it_is_cut() {
        let whole =
            b"\x01\0\0\0\0\0\0\x03out\x02\0\0\0\0\0\0\x02er\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\x01!";
        for size in 1..whole.len() {
            let (mut frames, mut out, mut error) = (Frames::default(), Vec::new(), Vec::new());
            for piece in whole.chunks(size) {
                frames.take(piece, &mut |stream, bytes| match stream {
                    OutputStream::Output => out.extend_from_slice(bytes),
                    OutputStream::Error => error.extend_from_slice(bytes),
                });
            }
            assert_eq!((&out[..], &error[..]), (&b"out!"[..], &b"er"[..]), "{size}");
        }
    }
}
