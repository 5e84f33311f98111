//! From a file's lines to one line for each instruction: continuations, comments, empty lines in between.
//!
//! Invariant: a comment inside a continued line is no part of it; an empty line there is skipped, and told as
//! something to warn of.

/// One instruction's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Logical {
    /// The line without its continuations.
    pub(super) text: String,
    /// Its first line, from 1 on.
    pub(super) start: usize,
    /// Its last line so far.
    pub(super) end: usize,
    /// An empty line stood inside.
    pub(super) empty_continuation: bool,
    /// The comments right before it, without their `#`.
    pub(super) comments: Vec<String>,
}

/// Reads logical lines; here-documents are read in between.
pub(super) struct Lines<'a> {
    rest: std::str::SplitInclusive<'a, char>,
    number: usize,
    escape: char,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a str, escape: char) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Self { rest: text.split_inclusive('\n'), number: 0, escape }
    }

    /// The next line as it stands there, with its end.
    pub(super) fn raw(&mut self) -> Option<&'a str> {
        let line = self.rest.next()?;
        self.number += 1;
        Some(line)
    }

    /// The number of the last line that was read.
    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// The next instruction's line.
    pub(super) fn next(&mut self) -> Option<Logical> {
        let mut comments = Vec::new();
        loop {
            let line = self.raw()?;
            if let Some(comment) = comment(line) {
                comments.push(comment.to_owned());
                continue;
            }
            let line = trim_end(line).trim_start();
            let (text, mut continued) = self.cut(line);
            if text.is_empty() && !continued {
                comments.clear();
                continue;
            }
            let start = self.number;
            let mut text = text.to_owned();
            let mut empty_continuation = false;
            while continued {
                let Some(line) = self.raw() else { break };
                if comment(line).is_some() {
                    continue;
                }
                let line = trim_end(line);
                if line.trim_start().is_empty() {
                    empty_continuation = true;
                    continue;
                }
                let (more, again) = self.cut(line);
                text.push_str(more);
                continued = again;
            }
            if text.trim().is_empty() {
                comments.clear();
                continue;
            }
            return Some(Logical { text, start, end: self.number, empty_continuation, comments });
        }
    }

    /// A line without the character that continues it, and whether that was there.
    fn cut<'l>(&self, line: &'l str) -> (&'l str, bool) {
        let trimmed = line.trim_end_matches([' ', '\t']);
        match trimmed.strip_suffix(self.escape) {
            // An escaped escape is just a character.
            Some(before) if !before.ends_with(self.escape) => (before, true),
            _ => (line, false),
        }
    }
}

fn trim_end(line: &str) -> &str {
    line.trim_end_matches(['\r', '\n'])
}

fn comment(line: &str) -> Option<&str> {
    trim_end(line).trim_start().strip_prefix('#').map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        let mut lines = Lines::new(text, '\\');
        std::iter::from_fn(move || lines.next()).map(|line| line.text).collect()
    }

    #[test]
    fn lines_are_joined() {
        assert_eq!(texts("A\\\n  b \\  \n# no\n\n c\nD\\\\\nE"), ["A  b  c", "D\\\\", "E"]);
        assert_eq!(texts("\u{feff}A x\r\nB \\\r\ny\r\n"), ["A x", "B y"]);
        assert_eq!(texts("A \\"), ["A "]);
        assert_eq!(texts("\n#\n"), [""; 0]);
    }

    #[test]
    fn places_and_comments_are_known() {
        let mut lines = Lines::new("# about\nA \\\n\n b\n# lost\n\nC\n", '\\');
        let first = lines.next().expect("A");
        assert_eq!((first.start, first.end, first.empty_continuation), (2, 4, true));
        assert_eq!(first.comments, ["about"]);
        let second = lines.next().expect("C");
        assert_eq!((second.start, second.comments.len()), (7, 0));
    }
}
