//! Docker's `local` format: a protobuf message between two copies of its length.
//!
//! Length as four bytes, big-endian; the message; the length again, so that a reader can go backwards.
//! The message: 1 source (text), 2 time in nanoseconds, 3 line (bytes, without line end), 4 partial (bool),
//! 5 about the part: 1 last (bool), 2 id (text), 3 ordinal.

use super::entry::{Entry, Line, LogStream};

/// No entry that we or Docker write is longer; a length beyond it is damage.
const ENTRY_BYTES_MAX: usize = 1 << 20;

pub(super) fn encode(entry: &Entry<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    bytes_field(1, entry.stream.as_str().as_bytes(), out);
    number_field(2, entry.time_ns as u64, out);
    bytes_field(3, entry.bytes, out);
    if let Some(part) = entry.partial {
        number_field(4, 1, out);
        let mut about = Vec::new();
        number_field(1, u64::from(part.last), &mut about);
        bytes_field(2, format!("{:x}", part.id).as_bytes(), &mut about);
        number_field(3, u64::from(part.ordinal), &mut about);
        bytes_field(5, &about, out);
    }
    let length = ((out.len() - start - 4) as u32).to_be_bytes();
    out[start..start + 4].copy_from_slice(&length);
    out.extend_from_slice(&length);
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Zero is not written, as protobuf has it.
fn number_field(field: u64, value: u64, out: &mut Vec<u8>) {
    if value != 0 {
        varint(field << 3, out);
        varint(value, out);
    }
}

fn bytes_field(field: u64, bytes: &[u8], out: &mut Vec<u8>) {
    if !bytes.is_empty() {
        varint(field << 3 | 2, out);
        varint(bytes.len() as u64, out);
        out.extend_from_slice(bytes);
    }
}

/// What [`decode`] found at the beginning of some bytes.
pub(super) enum Found {
    /// An entry, and how many bytes it took.
    Entry(Line, usize),
    /// The rest of it has not been written yet.
    Short,
    /// No entry, and no way to find the next one.
    Damaged,
}

pub(super) fn decode(bytes: &[u8]) -> Found {
    let Some(length) = length_at(bytes, 0) else { return Found::Short };
    if length > ENTRY_BYTES_MAX {
        return Found::Damaged;
    }
    let whole = length + 8;
    if bytes.len() < whole {
        return Found::Short;
    }
    match message(&bytes[4..4 + length]) {
        Some(line) if length_at(bytes, 4 + length) == Some(length) => Found::Entry(line, whole),
        _ => Found::Damaged,
    }
}

fn length_at(bytes: &[u8], at: usize) -> Option<usize> {
    let four = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_be_bytes(four) as usize)
}

fn message(bytes: &[u8]) -> Option<Line> {
    let mut fields = Fields(bytes);
    let (mut stream, mut time_ns) = (LogStream::Stdout, 0);
    let (mut text, mut partial, mut last) = (Vec::new(), false, false);
    while !fields.0.is_empty() {
        match fields.next()? {
            (1, Value::Bytes(word)) => stream = LogStream::parse(word)?,
            (2, Value::Number(time)) => time_ns = time as i64,
            (3, Value::Bytes(line)) => text = line.to_vec(),
            (4, Value::Number(flag)) => partial = flag != 0,
            (5, Value::Bytes(about)) => {
                let mut about = Fields(about);
                while !about.0.is_empty() {
                    if let (1, Value::Number(flag)) = about.next()? {
                        last = flag != 0;
                    }
                }
            }
            _ => {}
        }
    }
    let partial = partial && !last;
    if !partial {
        text.push(b'\n');
    }
    Some(Line { time_ns, stream, bytes: text, partial, attributes: String::new() })
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Other,
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn next(&mut self) -> Option<(u64, Value<'a>)> {
        let key = self.number()?;
        let value = match key & 7 {
            0 => Value::Number(self.number()?),
            1 => self.skip(8)?,
            2 => {
                let length = usize::try_from(self.number()?).ok()?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.skip(4)?,
            _ => return None,
        };
        Some((key >> 3, value))
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn skip(&mut self, length: usize) -> Option<Value<'a>> {
        self.take(length).map(|_| Value::Other)
    }

    fn number(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::Part;
    use super::*;

    #[test]
    fn an_entry_is_what_docker_s_protobuf_makes_of_it() {
        let mut out = Vec::new();
        let entry = Entry { time_ns: 300, stream: LogStream::Stdout, bytes: b"hi", partial: None };
        encode(&entry, &mut out);
        assert_eq!(out, b"\0\0\0\x0f\x0a\x06stdout\x10\xac\x02\x1a\x02hi\0\0\0\x0f");
        let Found::Entry(line, length) = decode(&out) else { panic!("no entry") };
        assert_eq!((length, line.time_ns, &line.bytes[..]), (out.len(), 300, &b"hi\n"[..]));
        for end in 0..out.len() {
            assert!(matches!(decode(&out[..end]), Found::Short), "{end}");
        }
    }

    #[test]
    fn parts_are_told_from_lines() {
        let partial = |last| {
            let mut out = Vec::new();
            let part = Some(Part { id: 255, ordinal: 2, last });
            let entry =
                Entry { time_ns: -1, stream: LogStream::Stderr, bytes: b"x", partial: part };
            encode(&entry, &mut out);
            let Found::Entry(line, _) = decode(&out) else { panic!("no entry") };
            (line.partial, line.bytes, line.time_ns, line.stream)
        };
        assert_eq!(partial(false), (true, b"x".to_vec(), -1, LogStream::Stderr));
        assert_eq!(partial(true), (false, b"x\n".to_vec(), -1, LogStream::Stderr));
    }

    #[test]
    fn damage_is_seen() {
        assert!(matches!(decode(&[0xff; 64]), Found::Damaged));
        let mut out = Vec::new();
        let entry = Entry { time_ns: 1, stream: LogStream::Stdout, bytes: b"hi", partial: None };
        encode(&entry, &mut out);
        let last = out.len() - 1;
        out[last] ^= 1;
        assert!(matches!(decode(&out), Found::Damaged));
    }
}
