//! One line of a log, whatever the format on disk.

/// Where a line was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStream {
    /// Standard output; a terminal has only this.
    Stdout,
    /// Standard error.
    Stderr,
}

impl LogStream {
    /// The word for it on disk.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }

    pub(super) fn parse(word: &[u8]) -> Option<Self> {
        match word {
            b"stdout" => Some(Self::Stdout),
            b"stderr" => Some(Self::Stderr),
            _ => None,
        }
    }
}

/// A line, or a part of one that is longer than 16 KiB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When it came, in nanoseconds after 1970.
    pub time_ns: i64,
    /// Where it was written to.
    pub stream: LogStream,
    /// What was written, with its line end if it has one.
    pub bytes: Vec<u8>,
    /// It goes on in the next line of the same stream; also the last words of a program that did not end
    /// them with a line end.
    pub partial: bool,
    /// The labels and variables that are kept with each line, as JSON; empty for none.
    pub attributes: String,
}

/// A line that is about to be written.
pub(super) struct Entry<'a> {
    pub(super) time_ns: i64,
    pub(super) stream: LogStream,
    /// Without its line end.
    pub(super) bytes: &'a [u8],
    pub(super) partial: Option<Part>,
}

/// Which part of a long line it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    /// The same for all parts of the line.
    pub(super) id: u64,
    /// From 1 on.
    pub(super) ordinal: u32,
    /// None follows; it ended with a line end.
    pub(super) last: bool,
}
