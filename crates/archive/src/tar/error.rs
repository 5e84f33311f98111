//! Why an archive was refused, and where in it.

use std::fmt;
use std::io;

/// An archive that could not be read further.
#[derive(Debug)]
pub struct TarError {
    /// Which entry, counted from one; headers that only extend the next one are not counted.
    pub index: u64,
    /// The beginning of its path, as far as that was known.
    pub path: Option<Vec<u8>>,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with an archive.
#[derive(Debug)]
pub enum Fault {
    /// The source failed, not the archive.
    Io(io::Error),
    /// The bytes end before the entry does.
    Truncated,
    /// The header's sum is not that of its bytes.
    Checksum,
    /// The header says to be of a format that nobody knows.
    Format,
    /// An entry of a type that has no one meaning: labels, continued volumes, dumps, vendors'.
    Type {
        /// The header's byte for it.
        flag: u8,
    },
    /// A field that is no number, or that not all readers take for the same one.
    Number {
        /// Its name.
        field: &'static str,
    },
    /// A number that no file system could hold there.
    Range {
        /// Its name.
        field: &'static str,
    },
    /// Nothing where something must be.
    Empty {
        /// Its name.
        field: &'static str,
    },
    /// A nul byte inside a text: readers in C would see its beginning only.
    Nul {
        /// Its name.
        field: &'static str,
    },
    /// Longer than we read.
    TooLong {
        /// Its name.
        field: &'static str,
        /// The limit in bytes, or in elements of a list.
        max: u64,
    },
    /// An extended header's record that is not `length keyword=value`.
    Record {
        /// Where it begins in the extended header.
        offset: usize,
    },
    /// Two values of one keyword.
    Twice {
        /// The keyword, or the header that came twice.
        keyword: String,
    },
    /// A keyword with which no reader but GNU tar's would see what is there.
    Keyword {
        /// The keyword.
        keyword: String,
    },
    /// A global header that would change entries: Go's reader, and so Docker, leaves it out.
    Global {
        /// The keyword.
        keyword: &'static str,
    },
    /// Header and extended header contradict each other.
    Conflict {
        /// What they speak of.
        field: &'static str,
    },
    /// An extended header that nothing follows, or not the entry that it is for.
    Dangling,
    /// A size where there is no body: some readers skip so many bytes, others do not.
    Body {
        /// The size.
        size: u64,
    },
    /// A file whose name ends in a slash: GNU tar makes a directory of it, Go a file.
    Slash,
    /// A map of data and holes that is out of order, overlaps or does not cover the data.
    SparseMap,
    /// One block of zeros, then more: some readers stop there.
    LoneZeroBlock,
    /// Something other than zeros behind the end.
    BehindEnd,
    /// Written: more data than the entry announced.
    Excess,
    /// Written: less data than the entry announced.
    Missing {
        /// How many bytes.
        size: u64,
    },
    /// This reader gave an error before; nothing can be known about what follows.
    Failed,
}

impl TarError {
    /// What the source said, if it was the source that failed.
    pub fn io(&self) -> Option<&io::Error> {
        match &self.fault {
            Fault::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for TarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tar entry {}", self.index)?;
        if let Some(path) = &self.path {
            write!(f, " {}", Quoted(path))?;
        }
        write!(f, ": {}", self.fault)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Truncated => f.write_str("the archive ends in the middle of it"),
            Self::Checksum => f.write_str("the header's checksum is wrong"),
            Self::Format => f.write_str("the header's format is unknown"),
            Self::Type { flag } => {
                write!(f, "entries of type '{}' are not supported", flag.escape_ascii())
            }
            Self::Number { field } => write!(f, "the {field} is not a number"),
            Self::Range { field } => write!(f, "the {field} is out of range"),
            Self::Empty { field } => write!(f, "the {field} is empty"),
            Self::Nul { field } => write!(f, "the {field} contains a nul byte"),
            Self::TooLong { field, max } => write!(f, "the {field} is longer than {max}"),
            Self::Record { offset } => {
                write!(f, "the extended header has a malformed record at byte {offset}")
            }
            Self::Twice { keyword } => write!(f, "two values for {keyword}"),
            Self::Keyword { keyword } => write!(f, "the keyword {keyword} is not supported"),
            Self::Global { keyword } => {
                write!(f, "a global header sets {keyword}, which not every reader would apply")
            }
            Self::Conflict { field } => {
                write!(f, "header and extended header contradict each other on the {field}")
            }
            Self::Dangling => f.write_str("an extended header without its entry"),
            Self::Body { size } => {
                write!(f, "{size} bytes are announced for an entry that has no body")
            }
            Self::Slash => f.write_str("a file whose name ends in a slash"),
            Self::SparseMap => f.write_str("the map of its holes is invalid"),
            Self::LoneZeroBlock => f.write_str("a block of zeros is followed by more entries"),
            Self::BehindEnd => f.write_str("data behind the end of the archive"),
            Self::Excess => f.write_str("more data than its size says"),
            Self::Missing { size } => write!(f, "{size} bytes less than its size says"),
            Self::Failed => f.write_str("the archive was refused before"),
        }
    }
}

impl std::error::Error for TarError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.io().map(|error| error as _)
    }
}

impl From<TarError> for io::Error {
    fn from(error: TarError) -> Self {
        let kind = error.io().map_or(io::ErrorKind::InvalidData, io::Error::kind);
        Self::new(kind, error)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A hostile name, for a message: quoted, escaped, its beginning only.
pub(crate) struct Quoted<'a>(pub(crate) &'a [u8]);

/// As much of a name as a message shows.
pub(crate) const EXCERPT_BYTES_MAX: usize = 200;

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(EXCERPT_BYTES_MAX)];
        write!(f, "{:?}", String::from_utf8_lossy(shown))?;
        f.write_str(if shown.len() < self.0.len() { "…" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_entry_and_path() {
        let error = |path: Option<&[u8]>| TarError {
            index: 12,
            path: path.map(<[u8]>::to_vec),
            fault: Fault::Truncated,
        };
        let check = |path, expected: &str| assert_eq!(error(path).to_string(), expected);
        check(None, "tar entry 12: the archive ends in the middle of it");
        check(
            Some(b"a\n\xff"),
            "tar entry 12 \"a\\n\u{fffd}\": the archive ends in the middle of it",
        );
        let long = error(Some(&[b'x'; 300])).to_string();
        assert!(long.contains(&format!("\"{}\"…:", "x".repeat(200))), "{long}");
    }

    #[test]
    fn travels_as_an_io_error() {
        let source = io::Error::new(io::ErrorKind::ConnectionReset, "reset");
        let error = TarError { index: 1, path: None, fault: Fault::Io(source) };
        let error = io::Error::from(error);
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(error.to_string(), "tar entry 1: reset");
    }
}
