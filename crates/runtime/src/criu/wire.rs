//! Protocol buffers, as much of them as CRIU's service speaks: fields of numbers and of bytes.
//!
//! A field's number stands where it is used; an unknown field in an answer is skipped.

/// A message under construction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Message(Vec<u8>);

const NUMBER: u8 = 0;
const BYTES: u8 = 2;

impl Message {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Adds a number; negative ones take ten bytes, as the format wants.
    pub(super) fn number(&mut self, field: u32, value: i64) -> &mut Self {
        self.key(field, NUMBER);
        self.varint(value as u64);
        self
    }

    /// Adds a switch that is on; one that is off is left out.
    pub(super) fn switch(&mut self, field: u32, on: bool) -> &mut Self {
        if on {
            self.number(field, 1);
        }
        self
    }

    pub(super) fn text(&mut self, field: u32, text: &str) -> &mut Self {
        self.raw(field, text.as_bytes())
    }

    /// Adds a message within this one.
    pub(super) fn message(&mut self, field: u32, inner: &Self) -> &mut Self {
        self.raw(field, &inner.0)
    }

    fn raw(&mut self, field: u32, bytes: &[u8]) -> &mut Self {
        self.key(field, BYTES);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn key(&mut self, field: u32, kind: u8) {
        self.varint(u64::from(field) << 3 | u64::from(kind));
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Number(i64),
    Bytes(&'a [u8]),
}

/// The fields of a message; ends early where the bytes are none.
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u32, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.varint()?;
        let value = match (key & 7) as u8 {
            NUMBER => Value::Number(self.varint()? as i64),
            BYTES => {
                let count = usize::try_from(self.varint()?).ok()?;
                Value::Bytes(self.take(count)?)
            }
            // Fixed 64 and 32 bits.
            1 => Value::Bytes(self.take(8)?),
            5 => Value::Bytes(self.take(4)?),
            _ => return None,
        };
        Some((u32::try_from(key >> 3).ok()?, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_written_as_the_format_wants() {
        let mut inner = Message::default();
        inner.text(1, "ab").number(2, 300);
        let mut message = Message::default();
        message.number(1, 1).switch(3, true).switch(4, false).message(27, &inner).number(2, -1);
        let expected = [
            &[0x08, 1, 0x18, 1, 0xda, 0x01, 7, 0x0a, 2, b'a', b'b', 0x10, 0xac, 0x02][..],
            &[0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        ];
        assert_eq!(message.bytes(), expected.concat());
        let fields: Vec<_> = Fields::of(message.bytes()).collect();
        assert_eq!(
            fields,
            [
                (1, Value::Number(1)),
                (3, Value::Number(1)),
                (27, Value::Bytes(inner.bytes())),
                (2, Value::Number(-1)),
            ]
        );
    }

    #[test]
    fn broken_messages_end() {
        for bytes in [&[0x80][..], &[0x08], &[0x0a, 5, b'x'], &[0x0f, 1], &[0xff; 20]] {
            assert_eq!(Fields::of(bytes).next(), None, "{bytes:?}");
        }
        let fields: Vec<_> = Fields::of(&[0x0d, 1, 2, 3, 4, 0x08, 7]).collect();
        assert_eq!(fields, [(1, Value::Bytes(&[1, 2, 3, 4])), (1, Value::Number(7))]);
    }
}
