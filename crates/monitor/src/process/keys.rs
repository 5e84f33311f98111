//! The keys that end a session, looked for in what a client types.
//!
//! Invariant: what was held back because it could have been the beginning of the keys comes out, in order, as
//! soon as it is not.

/// Looks for a sequence of bytes in a stream of them.
#[derive(Debug, Default)]
pub(super) struct Keys {
    sequence: Vec<u8>,
    /// How much of the sequence has come.
    matched: usize,
}

impl Keys {
    pub(super) fn new(sequence: Vec<u8>) -> Self {
        Self { sequence, matched: 0 }
    }

    /// Puts what is not part of the sequence into `out`; true when the sequence is complete.
    pub(super) fn filter(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> bool {
        if self.sequence.is_empty() {
            out.extend_from_slice(bytes);
            return false;
        }
        for byte in bytes {
            if *byte != self.sequence[self.matched] {
                out.extend_from_slice(&self.sequence[..self.matched]);
                self.matched = 0;
                if *byte != self.sequence[0] {
                    out.push(*byte);
                    continue;
                }
            }
            self.matched += 1;
            if self.matched == self.sequence.len() {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(pieces: &[&[u8]]) -> (Vec<u8>, bool) {
        let (mut keys, mut out) = (Keys::new(vec![16, 17]), Vec::new());
        let found = pieces.iter().any(|piece| keys.filter(piece, &mut out));
        (out, found)
    }

    #[test]
    fn the_sequence_is_found_however_it_is_cut() {
        assert_eq!(typed(&[b"ab\x10\x11c"]), (b"ab".to_vec(), true));
        assert_eq!(typed(&[b"ab\x10", b"\x11"]), (b"ab".to_vec(), true));
        assert_eq!(typed(&[b"\x10\x10\x11"]), (b"\x10".to_vec(), true));
        assert_eq!(typed(&[b"\x10x\x11", b"\x10"]), (b"\x10x\x11".to_vec(), false));
        let mut out = Vec::new();
        assert!(!Keys::default().filter(b"\x10\x11", &mut out));
        assert_eq!(out, b"\x10\x11");
    }
}
