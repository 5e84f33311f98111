//! From an entry to its header blocks.
//!
//! Invariant: the same entry gives the same bytes, always; and what our reader reads from them is
//! that entry. A plain ustar header where one suffices, an extended one before it where not.

use std::collections::BTreeMap;

use super::body::padding;
use super::decimal;
use super::entry::{Content, Device, Entry, Kind, Metadata, Time};
use super::error::Fault;
use super::header::{self, BLOCK, Block, CHECKSUM, FLAG, Field, MAGIC, POSIX_MAGIC};
use super::number;
use super::options::Options;
use super::pax::{self, Keyword};
use super::sparse;

/// What a header cannot hold, by keyword: in their order they are printed.
type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// All that stands before an entry's data, and how much of that must follow.
pub(super) struct Head {
    pub(super) bytes: Vec<u8>,
    pub(super) data: u64,
    pub(super) padding: u64,
}

/// An entry's headers, and the map of its holes if it has one.
pub(super) fn encode(entry: &Entry) -> Result<Head, Fault> {
    check_name(&entry.path, "path")?;
    let content = entry.kind.content();
    let sparse = content.and_then(|content| content.map.as_ref().map(|map| (content.size, map)));
    let leading = sparse.map(|(size, map)| sparse::print_leading(map, size)).unwrap_or_default();
    let data = content.map_or(0, Content::data_size);
    let size = data.checked_add(leading.len() as u64).filter(|size| *size <= i64::MAX as u64);
    let size = size.ok_or(Fault::Range { field: header::SIZE.name })?;

    let mut draft = Draft::default();
    match sparse {
        Some((real_size, _)) => draft.sparse_path(&entry.path, real_size)?,
        None => draft.path(&with_slash(entry)?),
    }
    draft.number(&header::SIZE, Keyword::Size, size);
    draft.kind(&entry.kind)?;
    draft.metadata(&entry.metadata)?;
    let mut bytes = draft.finish()?;
    bytes.extend_from_slice(&leading);
    Ok(Head { bytes, data, padding: padding(size) })
}

/// Directories end in a slash, files never do.
fn with_slash(entry: &Entry) -> Result<Vec<u8>, Fault> {
    let mut path = entry.path.clone();
    match (&entry.kind, path.ends_with(b"/")) {
        (Kind::Directory, false) => path.push(b'/'),
        (Kind::File(_), true) => return Err(Fault::Slash),
        _ => {}
    }
    Ok(path)
}

fn check_name(name: &[u8], field: &'static str) -> Result<(), Fault> {
    let max = Options::LAYER.path_bytes_max;
    match name {
        [] => Err(Fault::Empty { field }),
        _ if name.contains(&0) => Err(Fault::Nul { field }),
        _ if name.len() > max => Err(Fault::TooLong { field, max: max as u64 }),
        _ => Ok(()),
    }
}

/// A header in the making, and what it cannot hold.
struct Draft {
    block: Block,
    records: Records,
}

impl Default for Draft {
    fn default() -> Self {
        let mut block = [0; BLOCK];
        block[MAGIC.start..MAGIC.end].copy_from_slice(POSIX_MAGIC);
        Self { block, records: Records::new() }
    }
}

impl Draft {
    fn path(&mut self, path: &[u8]) {
        if let Some((prefix, name)) = split(path) {
            self.put(&header::PREFIX, prefix);
            self.put(&header::NAME, name);
            return;
        }
        self.record_text(Keyword::Path, path);
        self.put_beginning(&header::NAME, path);
    }

    /// Under its name in the header, a reader that does not know the form stores what it got.
    fn sparse_path(&mut self, path: &[u8], real_size: u64) -> Result<(), Fault> {
        if path.ends_with(b"/") {
            return Err(Fault::Slash);
        }
        let (directory, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => path.split_at(slash + 1),
            None => (&b""[..], path),
        };
        // Never a path record: some readers would take that one.
        self.put_beginning(&header::NAME, &[directory, b"GNUSparseFile.0/", name].concat());
        self.record_text(Keyword::SparseName, path);
        self.record(Keyword::SparseMajor, "1");
        self.record(Keyword::SparseMinor, "0");
        self.record(Keyword::SparseRealSize, &real_size.to_string());
        Ok(())
    }

    fn kind(&mut self, kind: &Kind) -> Result<(), Fault> {
        self.block[FLAG] = match kind {
            Kind::File(_) => b'0',
            Kind::HardLink { .. } => b'1',
            Kind::Symlink { .. } => b'2',
            Kind::CharDevice(_) => b'3',
            Kind::BlockDevice(_) => b'4',
            Kind::Directory => b'5',
            Kind::Fifo => b'6',
        };
        match kind {
            Kind::HardLink { target } | Kind::Symlink { target } => {
                check_name(target, "link target")?;
                self.text(
                    &header::LINK,
                    header::LINK.end - header::LINK.start,
                    Keyword::LinkPath,
                    target,
                );
            }
            Kind::CharDevice(device) | Kind::BlockDevice(device) => self.device(*device)?,
            Kind::File(_) | Kind::Directory | Kind::Fifo => {}
        }
        Ok(())
    }

    fn device(&mut self, Device { major, minor }: Device) -> Result<(), Fault> {
        let fits = major <= super::resolve::MAJOR_MAX
            && minor <= super::resolve::MINOR_MAX
            && number::print(self.slice(&header::MAJOR), major.into())
            && number::print(self.slice(&header::MINOR), minor.into());
        if fits { Ok(()) } else { Err(Fault::Range { field: header::MAJOR.name }) }
    }

    fn metadata(&mut self, metadata: &Metadata) -> Result<(), Fault> {
        for (field, id) in [(&header::UID, metadata.uid), (&header::GID, metadata.gid)] {
            if id == u32::MAX {
                return Err(Fault::Range { field: field.name });
            }
        }
        number::print(self.slice(&header::MODE), (metadata.mode & 0o7777).into());
        self.number(&header::UID, Keyword::Uid, metadata.uid.into());
        self.number(&header::GID, Keyword::Gid, metadata.gid.into());
        for (field, keyword, name) in [
            (&header::UNAME, Keyword::Uname, &metadata.uname),
            (&header::GNAME, Keyword::Gname, &metadata.gname),
        ] {
            if name.contains(&0) {
                return Err(Fault::Nul { field: field.name });
            }
            // Other than paths these want their nul.
            self.text(field, field.end - field.start - 1, keyword, name);
        }
        self.modified(metadata.modified);
        for (keyword, time) in
            [(Keyword::Accessed, metadata.accessed), (Keyword::Changed, metadata.changed)]
        {
            if let Some(time) = time {
                self.record(keyword, &decimal::print_time(time));
            }
        }
        for (name, value) in &metadata.xattrs {
            let (keyword, value) = pax::xattr(name, value)?;
            self.records.insert(keyword, value);
        }
        Ok(())
    }

    /// Whole seconds stand in the header too, for readers that know no more.
    fn modified(&mut self, time: Time) {
        let seconds = u64::try_from(time.seconds).ok();
        let fits =
            seconds.is_some_and(|seconds| number::print(self.slice(&header::MODIFIED), seconds));
        if !fits {
            number::print(self.slice(&header::MODIFIED), 0);
        }
        if !fits || time.nanoseconds != 0 {
            self.record(Keyword::Modified, &decimal::print_time(time));
        }
    }

    fn number(&mut self, field: &Field, keyword: Keyword, value: u64) {
        if !number::print(self.slice(field), value) {
            number::print(self.slice(field), 0);
            self.record(keyword, &value.to_string());
        }
    }

    fn text(&mut self, field: &Field, max: usize, keyword: Keyword, text: &[u8]) {
        if text.len() <= max && text.is_ascii() {
            return self.put(field, text);
        }
        self.record_text(keyword, text);
        self.put_beginning(field, text);
    }

    fn record(&mut self, keyword: Keyword, value: &str) {
        self.records.insert(keyword.as_str().into(), value.into());
    }

    fn record_text(&mut self, keyword: Keyword, text: &[u8]) {
        if str::from_utf8(text).is_err() {
            self.record(Keyword::Charset, "BINARY");
        }
        self.records.insert(keyword.as_str().into(), text.to_vec());
    }

    fn put(&mut self, field: &Field, text: &[u8]) {
        self.block[field.start..][..text.len()].copy_from_slice(text);
    }

    /// For readers that know no extended headers: better a part than nothing.
    fn put_beginning(&mut self, field: &Field, text: &[u8]) {
        let width = field.end - field.start - 1;
        let ascii = text.iter().map(|byte| if byte.is_ascii() { *byte } else { b'_' });
        let mut beginning: Vec<u8> = ascii.take(width).collect();
        while beginning.ends_with(b"/") {
            beginning.pop();
        }
        self.put(field, &beginning);
    }

    fn slice(&mut self, field: &Field) -> &mut [u8] {
        &mut self.block[field.start..field.end]
    }

    fn finish(mut self) -> Result<Vec<u8>, Fault> {
        seal(&mut self.block);
        if self.records.is_empty() {
            return Ok(self.block.to_vec());
        }
        let mut body = Vec::new();
        for (keyword, value) in &self.records {
            pax::print(&mut body, keyword, value);
        }
        let max = Options::LAYER.extension_bytes_max;
        if body.len() as u64 > max {
            return Err(Fault::TooLong { field: "extended header", max });
        }
        let mut bytes = extension_header(body.len() as u64).to_vec();
        bytes.append(&mut body);
        bytes.resize(bytes.len() + padding(bytes.len() as u64) as usize, 0);
        bytes.extend_from_slice(&self.block);
        Ok(bytes)
    }
}

/// The header of an extended header: only type and size matter.
fn extension_header(size: u64) -> Block {
    let mut draft = Draft::default();
    draft.put(&header::NAME, b"././@PaxHeader");
    draft.block[FLAG] = b'x';
    for field in [&header::MODE, &header::UID, &header::GID, &header::MODIFIED] {
        number::print(draft.slice(field), 0);
    }
    number::print(draft.slice(&header::SIZE), size);
    seal(&mut draft.block);
    draft.block
}

fn seal(block: &mut Block) {
    let (sum, _) = header::checksums(block);
    // Six digits, a nul and a space, as the first tar of all had it.
    let field = &mut block[CHECKSUM.start..CHECKSUM.end];
    number::print(&mut field[..7], sum.into());
    field[7] = b' ';
}

/// The two parts of a path that ustar can hold, the first one as short as possible.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let width = |field: &Field| field.end - field.start;
    if !path.is_ascii() {
        return None;
    }
    if path.len() <= width(&header::NAME) {
        return Some((b"", path));
    }
    let earliest = path.len() - width(&header::NAME) - 1;
    let slash = earliest + path[earliest..].iter().position(|byte| *byte == b'/')?;
    let (prefix, name) = (&path[..slash], &path[slash + 1..]);
    (!name.is_empty() && !prefix.is_empty() && prefix.len() <= width(&header::PREFIX))
        .then_some((prefix, name))
}
