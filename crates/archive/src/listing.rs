//! What a directory holds, told without the bytes of its files, so that only what changed need be sent.
//!
//! A listing is a line, then entries, then a zero byte; what stands behind it is the reader's. Numbers are
//! little-endian; texts stand behind their length. Small files that are wanted in any case travel inside.
//! Invariant: a listing is read in bounded memory for each entry, and one that is cut off is an error.
//! Absent on purpose: directories of a disk, and what is done with any of it.

use std::fmt;
use std::io::{self, BufRead, Read, Write};

use crate::tar::Time;

/// The first line.
const HEAD: &[u8] = b"dhow listing 1\n";
/// The longest path or link.
const TEXT_BYTES_MAX: usize = 64 << 10;
/// The largest file that travels inside.
pub const BODY_BYTES_MAX: usize = 4 << 20;

/// What a file was like when it was told of: while this is the same, so are its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// The file system.
    pub device: u64,
    /// The file in it.
    pub inode: u64,
    /// When anything of the file was changed last; programs cannot set it.
    pub changed: Time,
}

/// One name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its path, as it is.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: ListedKind,
    /// Permissions: 12 bits.
    pub mode: u16,
    /// When its content changed.
    pub modified: Time,
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListedKind {
    /// A directory.
    Directory,
    /// A file whose bytes are asked for if they are wanted.
    File {
        /// How many there are.
        size: u64,
        /// What it is known again by; nothing where it may be changing.
        stamp: Option<Stamp>,
    },
    /// A file and its bytes.
    Body(Vec<u8>),
    /// A symbolic link to there.
    Symlink(Vec<u8>),
    /// A named pipe.
    Fifo,
}

/// A listing that makes no sense.
#[derive(Debug)]
pub enum ListingError {
    /// It does not begin as listings do.
    Head,
    /// There is no entry of this kind.
    Kind {
        /// Its number.
        kind: u8,
    },
    /// A text is longer than any may be.
    TooLong {
        /// How many bytes it is said to have.
        length: usize,
    },
    /// It could not be read.
    Io(io::Error),
}

/// Writes the first line.
pub fn begin(sink: &mut impl Write) -> io::Result<()> {
    sink.write_all(HEAD)
}

/// Writes an entry.
pub fn write(sink: &mut impl Write, listed: &Listed) -> io::Result<()> {
    let kind = match &listed.kind {
        ListedKind::Directory => 1,
        ListedKind::File { stamp: None, .. } => 2,
        ListedKind::File { stamp: Some(_), .. } => 3,
        ListedKind::Body(_) => 4,
        ListedKind::Symlink(_) => 5,
        ListedKind::Fifo => 6,
    };
    sink.write_all(&[kind])?;
    sink.write_all(&listed.mode.to_le_bytes())?;
    write_time(sink, listed.modified)?;
    write_text(sink, &listed.path)?;
    match &listed.kind {
        ListedKind::Directory | ListedKind::Fifo => Ok(()),
        ListedKind::Symlink(text) | ListedKind::Body(text) => write_text(sink, text),
        ListedKind::File { size, stamp } => {
            sink.write_all(&size.to_le_bytes())?;
            let Some(stamp) = stamp else { return Ok(()) };
            sink.write_all(&stamp.device.to_le_bytes())?;
            sink.write_all(&stamp.inode.to_le_bytes())?;
            write_time(sink, stamp.changed)
        }
    }
}

/// Writes that there is no more.
pub fn end(sink: &mut impl Write) -> io::Result<()> {
    sink.write_all(&[0])
}

/// Reads the first line.
pub fn read_head(source: &mut impl BufRead) -> Result<(), ListingError> {
    let mut head = [0; HEAD.len()];
    match source.read_exact(&mut head) {
        Ok(()) if head == *HEAD => Ok(()),
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(ListingError::Io(error)),
        _ => Err(ListingError::Head),
    }
}

/// Reads an entry; nothing at the end.
pub fn read(source: &mut impl BufRead) -> Result<Option<Listed>, ListingError> {
    let [kind] = bytes(source)?;
    if kind == 0 {
        return Ok(None);
    }
    if kind > 6 {
        return Err(ListingError::Kind { kind });
    }
    let mode = u16::from_le_bytes(bytes(source)?) & 0o7777;
    let modified = read_time(source)?;
    let path = read_text(source, TEXT_BYTES_MAX)?;
    let kind = match kind {
        1 => ListedKind::Directory,
        4 => ListedKind::Body(read_text(source, BODY_BYTES_MAX)?),
        5 => ListedKind::Symlink(read_text(source, TEXT_BYTES_MAX)?),
        6 => ListedKind::Fifo,
        kind => {
            let size = u64::from_le_bytes(bytes(source)?);
            let stamp = if kind == 3 { Some(read_stamp(source)?) } else { None };
            ListedKind::File { size, stamp }
        }
    };
    Ok(Some(Listed { path, kind, mode, modified }))
}

fn read_stamp(source: &mut impl BufRead) -> Result<Stamp, ListingError> {
    Ok(Stamp {
        device: u64::from_le_bytes(bytes(source)?),
        inode: u64::from_le_bytes(bytes(source)?),
        changed: read_time(source)?,
    })
}

fn write_time(sink: &mut impl Write, time: Time) -> io::Result<()> {
    sink.write_all(&time.seconds.to_le_bytes())?;
    sink.write_all(&time.nanoseconds.to_le_bytes())
}

fn read_time(source: &mut impl BufRead) -> Result<Time, ListingError> {
    let seconds = i64::from_le_bytes(bytes(source)?);
    let nanoseconds = u32::from_le_bytes(bytes(source)?).min(999_999_999);
    Ok(Time { seconds, nanoseconds })
}

fn write_text(sink: &mut impl Write, text: &[u8]) -> io::Result<()> {
    let length = u32::try_from(text.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    sink.write_all(&length.to_le_bytes())?;
    sink.write_all(text)
}

fn read_text(source: &mut impl BufRead, most: usize) -> Result<Vec<u8>, ListingError> {
    let length = u32::from_le_bytes(bytes(source)?) as usize;
    if length > most {
        return Err(ListingError::TooLong { length });
    }
    // Memory is taken as bytes come, not as they are promised.
    let mut text = Vec::with_capacity(length.min(512));
    let read = source.take(length as u64).read_to_end(&mut text).map_err(ListingError::Io)?;
    match read == length {
        true => Ok(text),
        false => Err(ListingError::Io(io::ErrorKind::UnexpectedEof.into())),
    }
}

fn bytes<const N: usize>(source: &mut impl BufRead) -> Result<[u8; N], ListingError> {
    let mut bytes = [0; N];
    source.read_exact(&mut bytes).map_err(ListingError::Io)?;
    Ok(bytes)
}

impl fmt::Display for ListingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head => f.write_str("it does not begin as a listing"),
            Self::Kind { kind } => write!(f, "an entry of the unknown kind {kind}"),
            Self::TooLong { length } => write!(f, "a text of {length} bytes"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ListingError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(path: &str, kind: ListedKind) -> Listed {
        let modified = Time { seconds: -3, nanoseconds: 5 };
        Listed { path: path.as_bytes().to_vec(), kind, mode: 0o4755, modified }
    }

    fn sample() -> Vec<Listed> {
        let changed = Time { seconds: 7, nanoseconds: 8 };
        let stamp = Stamp { device: 1, inode: u64::MAX, changed };
        vec![
            listed("a", ListedKind::Directory),
            listed("a/f", ListedKind::File { size: 1 << 40, stamp: Some(stamp) }),
            listed("a/g", ListedKind::File { size: 0, stamp: None }),
            listed("Dockerfile", ListedKind::Body(b"FROM x\n".to_vec())),
            listed("l\n", ListedKind::Symlink(b"../\xff".to_vec())),
            listed("p", ListedKind::Fifo),
        ]
    }

    fn print(all: &[Listed]) -> Vec<u8> {
        let mut bytes = Vec::new();
        begin(&mut bytes).expect("memory");
        for one in all {
            write(&mut bytes, one).expect("memory");
        }
        end(&mut bytes).expect("memory");
        bytes
    }

    fn parse(mut bytes: &[u8]) -> Result<(Vec<Listed>, &[u8]), ListingError> {
        read_head(&mut bytes)?;
        let mut all = Vec::new();
        while let Some(one) = read(&mut bytes)? {
            all.push(one);
        }
        Ok((all, bytes))
    }

    #[test]
    fn what_is_told_is_understood() {
        let mut bytes = print(&sample());
        bytes.extend_from_slice(b"behind");
        let (all, rest) = parse(&bytes).expect("a listing");
        assert_eq!((all, rest), (sample(), &b"behind"[..]));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let bytes = print(&sample());
        for length in 0..bytes.len() {
            parse(&bytes[..length]).expect_err("cut off");
        }
        assert!(matches!(parse(b"dhow listing 2\n\0"), Err(ListingError::Head)));
        assert!(matches!(parse(b"dhow listing 1\n\x09"), Err(ListingError::Kind { kind: 9 })));
        let long = [&b"dhow listing 1\n\x01"[..], &[0; 14], &[0xff; 4]].concat();
        assert!(matches!(parse(&long), Err(ListingError::TooLong { .. })));
    }
}
