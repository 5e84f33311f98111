//! D-Bus values, and how they are written down and read again (little endian).
//!
//! Of the types, those that systemd's manager takes and answers with. What comes in is bounded by the
//! message that it comes in; a text that does not hold together is `None`, never a panic.

/// One value of D-Bus.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Byte(u8),
    Bool(bool),
    Int16(i16),
    Uint16(u16),
    Int32(i32),
    Uint32(u32),
    Int64(i64),
    Uint64(u64),
    Double(f64),
    Text(String),
    Path(String),
    Signature(String),
    /// A descriptor beside the message, by its position among those that go with it.
    Descriptor(u32),
    /// The elements' signature, for an array that has none to show it.
    Array(String, Vec<Value>),
    Tuple(Vec<Value>),
    Variant(Box<Value>),
}

impl Value {
    pub(in crate::cgroup) fn text(text: impl Into<String>) -> Value {
        Value::Text(text.into())
    }

    pub(in crate::cgroup) fn variant(value: Value) -> Value {
        Value::Variant(Box::new(value))
    }

    /// `ay`, as bit masks are written.
    pub(super) fn bytes(bytes: &[u8]) -> Value {
        Value::Array("y".to_owned(), bytes.iter().map(|byte| Value::Byte(*byte)).collect())
    }

    /// The text of a string, a path or a variant of one.
    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text) | Value::Path(text) | Value::Signature(text) => Some(text),
            Value::Variant(value) => value.as_text(),
            _ => None,
        }
    }

    pub(super) fn signature(&self) -> String {
        match self {
            Value::Byte(_) => "y".to_owned(),
            Value::Bool(_) => "b".to_owned(),
            Value::Int16(_) => "n".to_owned(),
            Value::Uint16(_) => "q".to_owned(),
            Value::Int32(_) => "i".to_owned(),
            Value::Uint32(_) => "u".to_owned(),
            Value::Int64(_) => "x".to_owned(),
            Value::Uint64(_) => "t".to_owned(),
            Value::Double(_) => "d".to_owned(),
            Value::Text(_) => "s".to_owned(),
            Value::Path(_) => "o".to_owned(),
            Value::Signature(_) => "g".to_owned(),
            Value::Descriptor(_) => "h".to_owned(),
            Value::Array(element, _) => format!("a{element}"),
            Value::Tuple(parts) => {
                let inside: String = parts.iter().map(Value::signature).collect();
                format!("({inside})")
            }
            Value::Variant(_) => "v".to_owned(),
        }
    }

    /// Appends the value, aligned from the start of `out`.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Value::Byte(value) => out.push(*value),
            Value::Bool(value) => put(out, &u32::from(*value).to_le_bytes()),
            Value::Int16(value) => put(out, &value.to_le_bytes()),
            Value::Uint16(value) => put(out, &value.to_le_bytes()),
            Value::Int32(value) => put(out, &value.to_le_bytes()),
            Value::Uint32(value) | Value::Descriptor(value) => put(out, &value.to_le_bytes()),
            Value::Int64(value) => put(out, &value.to_le_bytes()),
            Value::Uint64(value) => put(out, &value.to_le_bytes()),
            Value::Double(value) => put(out, &value.to_le_bytes()),
            Value::Text(text) | Value::Path(text) => {
                put(out, &(text.len() as u32).to_le_bytes());
                out.extend(text.as_bytes());
                out.push(0);
            }
            Value::Signature(text) => {
                out.push(text.len() as u8);
                out.extend(text.as_bytes());
                out.push(0);
            }
            Value::Array(element, values) => {
                put(out, &[0; 4]);
                let length_at = out.len() - 4;
                align(out, alignment(element.as_bytes().first().copied()));
                let start = out.len();
                values.iter().for_each(|value| value.write(out));
                let length = (out.len() - start) as u32;
                out[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
            }
            Value::Tuple(parts) => {
                align(out, 8);
                parts.iter().for_each(|part| part.write(out));
            }
            Value::Variant(value) => {
                Value::Signature(value.signature()).write(out);
                value.write(out);
            }
        }
    }
}

/// Appends a number at its own alignment.
fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    align(out, bytes.len());
    out.extend(bytes);
}

pub(super) fn align(out: &mut Vec<u8>, to: usize) {
    out.resize(out.len().next_multiple_of(to), 0);
}

fn alignment(kind: Option<u8>) -> usize {
    match kind {
        Some(b'y' | b'g' | b'v') | None => 1,
        Some(b'n' | b'q') => 2,
        Some(b'x' | b't' | b'd' | b'(' | b'{') => 8,
        Some(_) => 4,
    }
}

/// Reads values from a message, by signature.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Containers within containers, which the protocol bounds too.
    depth: u32,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0, depth: 0 }
    }

    /// Reads one value for each complete type of `signature`.
    pub(super) fn read_all(&mut self, signature: &str) -> Option<Vec<Value>> {
        let mut rest = signature;
        let mut values = Vec::new();
        while !rest.is_empty() {
            let (first, after) = split_type(rest)?;
            values.push(self.read(first)?);
            rest = after;
        }
        Some(values)
    }

    fn read(&mut self, signature: &str) -> Option<Value> {
        if self.depth > 32 {
            return None;
        }
        self.depth += 1;
        let value = self.read_inside(signature);
        self.depth -= 1;
        value
    }

    fn read_inside(&mut self, signature: &str) -> Option<Value> {
        Some(match *signature.as_bytes().first()? {
            b'y' => Value::Byte(self.number::<1>()?[0]),
            b'b' => Value::Bool(u32::from_le_bytes(self.number()?) != 0),
            b'n' => Value::Int16(i16::from_le_bytes(self.number()?)),
            b'q' => Value::Uint16(u16::from_le_bytes(self.number()?)),
            b'i' => Value::Int32(i32::from_le_bytes(self.number()?)),
            b'u' => Value::Uint32(u32::from_le_bytes(self.number()?)),
            b'h' => Value::Descriptor(u32::from_le_bytes(self.number()?)),
            b'x' => Value::Int64(i64::from_le_bytes(self.number()?)),
            b't' => Value::Uint64(u64::from_le_bytes(self.number()?)),
            b'd' => Value::Double(f64::from_le_bytes(self.number()?)),
            b's' => Value::Text(self.long_text()?),
            b'o' => Value::Path(self.long_text()?),
            b'g' => Value::Signature(self.short_text()?),
            b'v' => {
                let inside = self.short_text()?;
                let (one, rest) = split_type(&inside)?;
                if !rest.is_empty() {
                    return None;
                }
                Value::variant(self.read(one)?)
            }
            b'a' => self.array(&signature[1..])?,
            b'(' | b'{' => {
                self.skip_to(8)?;
                Value::Tuple(self.read_all(signature.get(1..signature.len() - 1)?)?)
            }
            _ => return None,
        })
    }

    fn array(&mut self, element: &str) -> Option<Value> {
        let length = u32::from_le_bytes(self.number()?) as usize;
        self.skip_to(alignment(element.as_bytes().first().copied()))?;
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len())?;
        let mut values = Vec::new();
        while self.at < end {
            values.push(self.read(element)?);
        }
        (self.at == end).then_some(Value::Array(element.to_owned(), values))
    }

    fn skip_to(&mut self, alignment: usize) -> Option<()> {
        self.at = self.at.next_multiple_of(alignment);
        (self.at <= self.bytes.len()).then_some(())
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn number<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.skip_to(N)?;
        self.take(N)?.try_into().ok()
    }

    fn long_text(&mut self) -> Option<String> {
        let length = u32::from_le_bytes(self.number()?) as usize;
        self.text(length)
    }

    fn short_text(&mut self) -> Option<String> {
        let length = self.number::<1>()?[0].into();
        self.text(length)
    }

    fn text(&mut self, length: usize) -> Option<String> {
        let text = std::str::from_utf8(self.take(length)?).ok()?.to_owned();
        self.take(1)?;
        Some(text)
    }
}

/// Splits the first complete type off a signature.
fn split_type(signature: &str) -> Option<(&str, &str)> {
    let bytes = signature.as_bytes();
    let mut at = 0;
    while bytes.get(at) == Some(&b'a') {
        at += 1;
    }
    let mut open = 0u32;
    loop {
        match bytes.get(at)? {
            b'(' | b'{' => open += 1,
            b')' | b'}' => open = open.checked_sub(1)?,
            _ => {}
        }
        at += 1;
        if open == 0 {
            return Some((signature.get(..at)?, signature.get(at..)?));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(value: &Value) {
        let mut bytes = Vec::new();
        value.write(&mut bytes);
        let read = Reader::new(&bytes).read_all(&value.signature());
        assert_eq!(read.as_deref(), Some(std::slice::from_ref(value)), "{bytes:?}");
        for end in 0..bytes.len() {
            assert_eq!(
                Reader::new(&bytes[..end]).read_all(&value.signature()),
                None,
                "cut at {end}"
            );
        }
    }

    #[test]
    fn values_come_back_and_cut_ones_do_not() {
        let pair = |name: &str, value| Value::Tuple(vec![Value::text(name), Value::variant(value)]);
        round_trip(&Value::Tuple(vec![
            Value::Byte(1),
            Value::Bool(true),
            Value::Int16(-2),
            Value::Uint64(u64::MAX),
            Value::Descriptor(1),
            Value::Double(0.5),
            Value::text("a"),
            Value::Signature("a(sv)".to_owned()),
        ]));
        round_trip(&Value::Array(
            "(sv)".to_owned(),
            vec![
                pair("PIDs", Value::Array("u".to_owned(), vec![Value::Uint32(7)])),
                pair("Slice", Value::text("a.slice")),
                pair("AllowedCPUs", Value::bytes(&[3])),
            ],
        ));
    }

    #[test]
    fn the_bytes_are_the_protocol_s() {
        let mut bytes = vec![0xff];
        Value::Array("t".to_owned(), vec![Value::Uint64(1)]).write(&mut bytes);
        // Padding to the length, the length, padding to the first element (not counted), the element.
        assert_eq!(bytes[..8], [0xff, 0, 0, 0, 8, 0, 0, 0]);
        assert_eq!(bytes[8..], [1, 0, 0, 0, 0, 0, 0, 0]);
        let mut empty = vec![0; 4];
        Value::Array("(sv)".to_owned(), Vec::new()).write(&mut empty);
        assert_eq!(empty.len(), 8);
    }

    #[test]
    fn noise_is_refused_or_read_and_nothing_else() {
        let mut state = 1u64;
        let mut random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize
        };
        let mut read = 0;
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..random() % 48).map(|_| (random() % 24) as u8).collect();
            let letters = b"ybnqiuxtdsogvah(){}z";
            let signature: String =
                (0..random() % 6).map(|_| letters[random() % letters.len()] as char).collect();
            read += usize::from(Reader::new(&bytes).read_all(&signature).is_some());
        }
        assert!(read > 100);
    }

    #[test]
    fn signatures_are_split_and_broken_ones_refused() {
        assert_eq!(split_type("a(sa(sv))u"), Some(("a(sa(sv))", "u")));
        assert_eq!(split_type("aas"), Some(("aas", "")));
        for broken in ["a", "(s", ")", ""] {
            assert_eq!(split_type(broken), None, "{broken}");
        }
        let deep = "v".repeat(64);
        let nested: Vec<u8> = std::iter::repeat_n([1, b'v', 0], 64).flatten().collect();
        assert_eq!(Reader::new(&nested).read_all(&deep[..1]), None);
    }
}
