//! One header block: where its fields are, and the three formats that they come in.
//!
//! Invariant: a [`Header`] has a right checksum and a known format.

use super::entry::Time;
use super::error::Fault;
use super::number;

/// Everything in a tar comes in blocks of this size.
pub(super) const BLOCK: usize = 512;

pub(super) type Block = [u8; BLOCK];

/// Where a field is, and what messages call it.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) start: usize,
    pub(super) end: usize,
}

const fn field(name: &'static str, start: usize, length: usize) -> Field {
    Field { name, start, end: start + length }
}

pub(super) const NAME: Field = field("path", 0, 100);
pub(super) const MODE: Field = field("mode", 100, 8);
pub(super) const UID: Field = field("uid", 108, 8);
pub(super) const GID: Field = field("gid", 116, 8);
pub(super) const SIZE: Field = field("size", 124, 12);
pub(super) const MODIFIED: Field = field("mtime", 136, 12);
pub(super) const CHECKSUM: Field = field("checksum", 148, 8);
pub(super) const FLAG: usize = 156;
pub(super) const LINK: Field = field("link target", 157, 100);
pub(super) const MAGIC: Field = field("magic", 257, 8);
pub(super) const UNAME: Field = field("uname", 265, 32);
pub(super) const GNAME: Field = field("gname", 297, 32);
pub(super) const MAJOR: Field = field("device number", 329, 8);
pub(super) const MINOR: Field = field("device number", 337, 8);
pub(super) const PREFIX: Field = field("path", 345, 155);
pub(super) const GNU_ACCESSED: Field = field("atime", 345, 12);
pub(super) const GNU_CHANGED: Field = field("ctime", 357, 12);
pub(super) const GNU_REAL_SIZE: Field = field("size", 483, 12);
const STAR_PREFIX: Field = field("path", 345, 131);
const STAR_TRAILER: Field = field("magic", 508, 4);

pub(super) const POSIX_MAGIC: &[u8; 8] = b"ustar\x0000";

/// Whose header it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// From before there was a magic: no names of owners, no devices.
    V7,
    /// POSIX's: a path in two parts.
    Posix,
    /// GNU's from before that: two more times, holes.
    Gnu,
}

/// A header block that holds together.
pub(super) struct Header<'a> {
    block: &'a Block,
    pub(super) format: Format,
}

impl<'a> Header<'a> {
    /// Checks the sum and finds the format.
    pub(super) fn parse(block: &'a Block) -> Result<Self, Fault> {
        let stored = number::parse(of(block, &CHECKSUM));
        let (unsigned, signed) = checksums(block);
        if stored != Some(unsigned.into()) && stored != Some(signed.into()) {
            return Err(Fault::Checksum);
        }
        let format = match of(block, &MAGIC) {
            b"ustar  \0" => Format::Gnu,
            magic if magic.starts_with(b"ustar\0") => Format::Posix,
            magic if magic.starts_with(b"ustar") => return Err(Fault::Format),
            _ => Format::V7,
        };
        let header = Self { block, format };
        // Also those that nobody asks for in this header: Go and Python read all of them first,
        // and Python takes one that is no number for the end of the archive.
        for field in [&MODE, &UID, &GID, &MODIFIED, &MAJOR, &MINOR] {
            header.number(field)?;
        }
        Ok(header)
    }

    /// What kind of entry.
    pub(super) fn flag(&self) -> u8 {
        self.block[FLAG]
    }

    /// A field's bytes.
    pub(super) fn field(&self, field: &Field) -> &'a [u8] {
        of(self.block, field)
    }

    /// A text up to its nul.
    pub(super) fn text(&self, field: &Field) -> &'a [u8] {
        until_nul(self.field(field))
    }

    /// A number of either sign.
    pub(super) fn number(&self, field: &Field) -> Result<i128, Fault> {
        number::parse(self.field(field)).ok_or(Fault::Number { field: field.name })
    }

    /// A number that is no less than zero and no more than `max`.
    pub(super) fn bounded(&self, field: &Field, max: u64) -> Result<u64, Fault> {
        let range = || Fault::Range { field: field.name };
        let number = self.number(field)?.try_into().map_err(|_| range())?;
        if number > max { Err(range()) } else { Ok(number) }
    }

    /// How many bytes follow.
    pub(super) fn size(&self) -> Result<u64, Fault> {
        self.bounded(&SIZE, i64::MAX as u64)
    }

    /// A moment in whole seconds.
    pub(super) fn time(&self, field: &Field) -> Result<Time, Fault> {
        let seconds = self.number(field)?.try_into();
        let seconds = seconds.map_err(|_| Fault::Range { field: field.name })?;
        Ok(Time { seconds, nanoseconds: 0 })
    }

    /// A moment that need not be there, in GNU's format only.
    ///
    /// Go before 1.8 put the beginning of long paths in its place; then it is no number, and
    /// which path is meant would depend on the reader.
    pub(super) fn gnu_time(&self, field: &Field) -> Result<Option<Time>, Fault> {
        let blank = self.field(field).iter().all(|byte| matches!(byte, 0 | b' '));
        if self.format != Format::Gnu || blank {
            return Ok(None);
        }
        self.time(field).map(Some)
    }

    /// The path as far as the block holds it.
    pub(super) fn path(&self) -> Result<Vec<u8>, Fault> {
        let name = self.text(&NAME);
        let prefix = match (self.format, self.text(&PREFIX)) {
            (Format::Posix, prefix) => prefix,
            // Not there yet, but Python looks at it.
            (Format::V7, [_, ..]) => return Err(Fault::Conflict { field: "path" }),
            (Format::V7 | Format::Gnu, _) => b"",
        };
        // In star's dialect times follow a shorter prefix: then both readings must be one.
        let star = self.field(&STAR_TRAILER) == b"tar\0";
        if star && prefix.len() >= STAR_PREFIX.end - STAR_PREFIX.start {
            return Err(Fault::Conflict { field: "path" });
        }
        if prefix.is_empty() {
            return Ok(name.to_vec());
        }
        Ok([prefix, b"/", name].concat())
    }
}

/// A field's bytes in any block.
pub(super) fn of<'a>(block: &'a Block, field: &Field) -> &'a [u8] {
    &block[field.start..field.end]
}

/// What C would see of a text.
pub(super) fn until_nul(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    &text[..end]
}

/// The sum of all bytes, its own field taken for spaces; signed as some old writers have it.
pub(super) fn checksums(block: &Block) -> (u32, i32) {
    let before = &block[..CHECKSUM.start];
    let after = &block[CHECKSUM.end..];
    let blanks = (CHECKSUM.end - CHECKSUM.start) * usize::from(b' ');
    let bytes = || before.iter().chain(after);
    let unsigned = bytes().map(|byte| u32::from(*byte)).sum::<u32>() + blanks as u32;
    let signed = bytes().map(|byte| i32::from(*byte as i8)).sum::<i32>() + blanks as i32;
    (unsigned, signed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(magic: &[u8]) -> Block {
        let mut block = [0; BLOCK];
        block[..3].copy_from_slice(b"\xe9bc");
        block[MAGIC.start..][..magic.len()].copy_from_slice(magic);
        seal(&mut block, |block| checksums(block).0);
        block
    }

    fn seal(block: &mut Block, sum: impl Fn(&Block) -> u32) {
        let text = format!("{:06o}\0 ", sum(block));
        block[CHECKSUM.start..CHECKSUM.end].copy_from_slice(text.as_bytes());
    }

    #[test]
    fn formats_by_their_magic() {
        let format = |magic: &[u8]| Header::parse(&block(magic)).map(|header| header.format);
        assert_eq!(format(b"ustar\x0000").expect("known"), Format::Posix);
        assert_eq!(format(b"ustar\0\0\0").expect("known"), Format::Posix);
        assert_eq!(format(b"ustar  \0").expect("known"), Format::Gnu);
        assert_eq!(format(b"").expect("known"), Format::V7);
        assert_eq!(format(b"garbage").expect("known"), Format::V7);
        assert!(matches!(format(b"ustar 00"), Err(Fault::Format)));
    }

    #[test]
    fn either_checksum_will_do() {
        let mut signed = block(b"");
        seal(&mut signed, |block| checksums(block).1 as u32);
        assert!(Header::parse(&signed).is_ok());
        signed[3] = 1;
        assert!(matches!(Header::parse(&signed), Err(Fault::Checksum)));
    }

    #[test]
    fn a_prefix_that_star_would_cut() {
        let path = |prefix: usize, trailer: &[u8]| {
            let mut block = block(POSIX_MAGIC);
            block[PREFIX.start..][..prefix].fill(b'p');
            block[STAR_TRAILER.start..][..trailer.len()].copy_from_slice(trailer);
            seal(&mut block, |block| checksums(block).0);
            Header::parse(&block).expect("a header").path()
        };
        assert_eq!(path(155, b"").expect("posix").len(), 155 + 1 + 3);
        assert_eq!(path(130, b"tar\0").expect("both").len(), 130 + 1 + 3);
        assert!(matches!(path(131, b"tar\0"), Err(Fault::Conflict { field: "path" })));
    }
}
