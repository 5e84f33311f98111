//! The keys that take a user out of a session and leave the container running.
//!
//! A prefix of the sequence is held back until it is clear what it becomes. Absent on purpose: who
//! types.

/// `ctrl-p,ctrl-q`, unless the user wants others.
const DEFAULT: [u8; 2] = [16, 17];

/// The sequence, and how much of it has come.
#[derive(Debug)]
pub(crate) struct DetachKeys {
    sequence: Vec<u8>,
    matched: usize,
}

/// What became of some input.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Typed {
    /// For the container.
    Through(Vec<u8>),
    /// Up to the sequence for the container; then the user left.
    Detached(Vec<u8>),
}

impl DetachKeys {
    /// Reads a list of keys, such as `ctrl-x,x`; an empty one means the default.
    pub(crate) fn parse(text: &str) -> Result<DetachKeys, String> {
        let sequence = match text {
            "" => DEFAULT.to_vec(),
            text => text.split(',').map(key).collect::<Result<_, _>>()?,
        };
        Ok(DetachKeys { sequence, matched: 0 })
    }

    /// Passes input through.
    pub(crate) fn feed(&mut self, input: &[u8]) -> Typed {
        let mut out = Vec::with_capacity(input.len() + self.matched);
        for byte in input {
            if *byte == self.sequence[self.matched] {
                self.matched += 1;
                if self.matched == self.sequence.len() {
                    self.matched = 0;
                    return Typed::Detached(out);
                }
                continue;
            }
            out.extend_from_slice(&self.sequence[..self.matched]);
            self.matched = 0;
            if *byte == self.sequence[0] {
                self.matched = 1;
            } else {
                out.push(*byte);
            }
        }
        Typed::Through(out)
    }
}

fn key(name: &str) -> Result<u8, String> {
    if let &[byte] = name.as_bytes() {
        return Ok(byte);
    }
    let control = name.strip_prefix("ctrl-").map(str::as_bytes);
    match control {
        Some(&[letter @ b'a'..=b'z']) => Ok(letter - b'a' + 1),
        Some(b"@") => Ok(0),
        Some(&[sign @ (b'[' | b'\\' | b']' | b'^' | b'_')]) => Ok(sign - b'@'),
        _ => Err(format!("Unknown character: '{name}'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_keys() {
        let read = |text| DetachKeys::parse(text).map(|keys| keys.sequence);
        assert_eq!(read(""), Ok(vec![16, 17]));
        assert_eq!(read("ctrl-x,a,ctrl-@,ctrl-["), Ok(vec![24, b'a', 0, 27]));
        assert_eq!(read("ctrl-xx"), Err("Unknown character: 'ctrl-xx'".to_owned()));
        assert!(read("ctrl-").is_err());
    }

    #[test]
    fn the_sequence_is_found_across_reads() {
        let mut keys = DetachKeys::parse("").unwrap();
        assert_eq!(keys.feed(b"ab\x10"), Typed::Through(b"ab".to_vec()));
        assert_eq!(keys.feed(b"\x11rest"), Typed::Detached(Vec::new()));
    }

    #[test]
    fn a_prefix_that_goes_on_otherwise_is_given_on() {
        let mut keys = DetachKeys::parse("").unwrap();
        assert_eq!(keys.feed(b"\x10"), Typed::Through(Vec::new()));
        assert_eq!(keys.feed(b"x"), Typed::Through(b"\x10x".to_vec()));
        assert_eq!(keys.feed(b"\x10\x10\x11"), Typed::Detached(b"\x10".to_vec()));
    }
}
