//! A stream of bytes cut into lines, as Docker cuts them.
//!
//! Invariant: no more than [`PART_BYTES_MAX`] are kept; a longer line comes in parts of that size, which all
//! have the time of the first.

use super::entry::{Entry, LogStream, Part};

/// What is kept of a line that has not ended.
const PART_BYTES_MAX: usize = 16 * 1024;

#[derive(Debug)]
pub(super) struct Splitter {
    stream: LogStream,
    kept: Vec<u8>,
    /// The time of the line that parts of have gone.
    time_ns: i64,
    /// How many parts of it have gone.
    parts: u32,
    /// Which line it is.
    id: u64,
}

impl Splitter {
    pub(super) fn new(stream: LogStream) -> Self {
        Self { stream, kept: Vec::new(), time_ns: 0, parts: 0, id: 0 }
    }

    /// Takes what was read at `time_ns` and gives every line, or part of one, that is whole now.
    pub(super) fn push(
        &mut self,
        mut bytes: &[u8],
        time_ns: i64,
        give: &mut impl FnMut(&Entry<'_>),
    ) {
        while !bytes.is_empty() {
            let room = PART_BYTES_MAX - self.kept.len();
            let window = &bytes[..bytes.len().min(room)];
            match window.iter().position(|byte| *byte == b'\n') {
                Some(end) if self.kept.is_empty() => {
                    self.line(&window[..end], time_ns, give);
                    bytes = &bytes[end + 1..];
                }
                Some(end) => {
                    self.kept.extend_from_slice(&window[..end]);
                    let kept = std::mem::take(&mut self.kept);
                    self.line(&kept, time_ns, give);
                    bytes = &bytes[end + 1..];
                }
                None => {
                    self.kept.extend_from_slice(window);
                    bytes = &bytes[window.len()..];
                    if self.kept.len() == PART_BYTES_MAX {
                        self.part(time_ns, give);
                    }
                }
            }
        }
    }

    /// The stream has ended: what is left has no line end.
    pub(super) fn end(&mut self, time_ns: i64, give: &mut impl FnMut(&Entry<'_>)) {
        if !self.kept.is_empty() {
            self.part(time_ns, give);
        }
        self.parts = 0;
    }

    fn line(&mut self, bytes: &[u8], time_ns: i64, give: &mut impl FnMut(&Entry<'_>)) {
        let goes_on = self.parts > 0;
        let time_ns = if goes_on { self.time_ns } else { time_ns };
        let ordinal = self.parts + 1;
        let partial = goes_on.then_some(Part { id: self.id, ordinal, last: true });
        give(&Entry { time_ns, stream: self.stream, bytes, partial });
        self.parts = 0;
    }

    fn part(&mut self, time_ns: i64, give: &mut impl FnMut(&Entry<'_>)) {
        if self.parts == 0 {
            self.time_ns = time_ns;
            self.id = time_ns as u64;
        }
        self.parts += 1;
        let partial = Some(Part { id: self.id, ordinal: self.parts, last: false });
        let kept = std::mem::take(&mut self.kept);
        give(&Entry { time_ns: self.time_ns, stream: self.stream, bytes: &kept, partial });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Time, text or length, part.
    type Cut = (i64, String, Option<(u32, bool)>);

    /// What comes out.
    fn cut(pieces: &[&[u8]]) -> Vec<Cut> {
        let mut splitter = Splitter::new(LogStream::Stdout);
        let mut all = Vec::new();
        let mut give = |entry: &Entry<'_>| {
            let text = match entry.bytes.len() {
                0..=40 => String::from_utf8_lossy(entry.bytes).into_owned(),
                length => format!("{length} bytes"),
            };
            all.push((entry.time_ns, text, entry.partial.map(|part| (part.ordinal, part.last))));
        };
        for (at, piece) in pieces.iter().enumerate() {
            splitter.push(piece, at as i64, &mut give);
        }
        splitter.end(99, &mut give);
        all
    }

    fn whole(time_ns: i64, text: &str) -> Cut {
        (time_ns, text.to_owned(), None)
    }

    #[test]
    fn lines_are_cut_wherever_they_were_read() {
        let expected = [whole(0, "one"), whole(0, ""), whole(1, "two three"), whole(2, "four")];
        assert_eq!(cut(&[b"one\n\ntwo ", b"three\nfo", b"ur\n"]), expected);
        assert_eq!(cut(&[]), []);
    }

    #[test]
    fn what_has_no_end_is_a_part() {
        assert_eq!(cut(&[b"a\nb"])[1], (99, "b".to_owned(), Some((1, false))));
    }

    #[test]
    fn a_long_line_comes_in_parts_of_one_time() {
        let long = [vec![b'x'; 2 * PART_BYTES_MAX + 10], b"\nnext\n".to_vec()].concat();
        let (first, rest) = long.split_at(PART_BYTES_MAX + 5);
        let part = |text: &str, ordinal, last| (0, text.to_owned(), Some((ordinal, last)));
        let size = format!("{PART_BYTES_MAX} bytes");
        assert_eq!(
            cut(&[first, rest]),
            [
                part(&size, 1, false),
                part(&size, 2, false),
                part("xxxxxxxxxx", 3, true),
                whole(1, "next")
            ]
        );
    }
}
