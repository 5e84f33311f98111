//! From a header and what extends it to one entry, or to the reason why there is not one reading.
//!
//! Invariant: nothing is guessed. Where two fields speak of one thing, either the format says
//! which one counts and all readers know it, or they agree, or the entry is refused.

use super::entry::{Content, Device, Entry, Kind, Metadata, Time};
use super::error::Fault;
use super::header::{self, Format, Header, SIZE};
use super::options::Options;
use super::pax::{Keyword, Records};
use super::sparse::Builder;

/// The largest size that eleven octal digits hold.
pub(super) const OCTAL_SIZE_MAX: u64 = 0o777_7777_7777;
/// The kernel takes the last number for "leave it as it is".
const ID_MAX: u64 = u32::MAX as u64 - 1;
/// Device numbers of Linux: 12 and 20 bits; more would be cut off and name another device.
pub(super) const MAJOR_MAX: u32 = 0xfff;
pub(super) const MINOR_MAX: u32 = 0xf_ffff;

/// What stood before an entry's header.
#[derive(Debug, Default)]
pub(super) struct Extensions {
    pub(super) records: Option<Records>,
    pub(super) long_path: Option<Vec<u8>>,
    pub(super) long_link: Option<Vec<u8>>,
}

/// An entry, and what to read before its data.
#[derive(Debug)]
pub(super) struct Resolved {
    /// The entry; a map that must be read first is missing in it.
    pub(super) entry: Entry,
    /// Bytes that follow in the archive, without padding.
    pub(super) size: u64,
    /// Where its map is.
    pub(super) map: Map,
}

/// Where the map of a file's holes is to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Map {
    /// In the entry, or there are no holes.
    Done,
    /// In the header and in blocks behind it.
    Header,
    /// In front of the data.
    Leading,
}

impl Extensions {
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_none() && self.long_path.is_none() && self.long_link.is_none()
    }

    /// The path, for a message, whatever else is wrong.
    pub(super) fn path_hint(&self, header: &Header<'_>) -> Vec<u8> {
        let records = self.records.as_ref();
        let text = |keyword| records.and_then(|records| records.text(keyword)).map(<[u8]>::to_vec);
        text(Keyword::SparseName)
            .or_else(|| text(Keyword::Path))
            .or_else(|| self.long_path.clone())
            .or_else(|| header.path().ok())
            .unwrap_or_else(|| header.text(&header::NAME).to_vec())
    }
}

/// Makes one entry of a header and what extends it.
pub(super) fn resolve(
    header: &Header<'_>,
    extensions: Extensions,
    globals: &Records,
    options: &Options,
) -> Result<Resolved, Fault> {
    let Extensions { records, long_path, long_link } = extensions;
    let mut records = records.unwrap_or_default();
    records.inherit(globals);
    check_charset(&records)?;
    let path = path(header, &records, long_path, options)?;
    let size = size(header, &records)?;
    let target = || link_target(header, &records, long_link, options);

    let mut map = Map::Done;
    let is_file = matches!(header.flag(), 0 | b'0' | b'7');
    if records.is_sparse() && !is_file {
        return Err(Fault::Conflict { field: "type" });
    }
    let kind = match header.flag() {
        0 if path.ends_with(b"/") => Kind::Directory,
        0 | b'0' | b'7' | b'S' if path.ends_with(b"/") => return Err(Fault::Slash),
        0 | b'0' | b'7' if records.is_sparse() => {
            let content;
            (content, map) = sparse(&records, size, options)?;
            Kind::File(content)
        }
        0 | b'0' | b'7' => Kind::File(Content::plain(size)),
        b'S' => {
            map = Map::Header;
            Kind::File(Content::plain(gnu_real_size(header)?))
        }
        b'1' => Kind::HardLink { target: target()? },
        b'2' => Kind::Symlink { target: target()? },
        b'3' => Kind::CharDevice(device(header, &records)?),
        b'4' => Kind::BlockDevice(device(header, &records)?),
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        flag => return Err(Fault::Type { flag }),
    };
    match kind.content() {
        None if size != 0 => return Err(Fault::Body { size }),
        Some(content) => check_star_size(&records, content.size)?,
        None => {}
    }
    let metadata = metadata(header, records)?;
    Ok(Resolved { entry: Entry { path, kind, metadata }, size, map })
}

/// Names are bytes; a charset that asks for more is another reading of them.
fn check_charset(records: &Records) -> Result<(), Fault> {
    match records.text(Keyword::Charset) {
        None | Some(b"BINARY" | b"ISO-IR 10646 2000 UTF-8") => Ok(()),
        Some(_) => Err(Fault::Keyword { keyword: Keyword::Charset.as_str().to_owned() }),
    }
}

fn path(
    header: &Header<'_>,
    records: &Records,
    long: Option<Vec<u8>>,
    options: &Options,
) -> Result<Vec<u8>, Fault> {
    let extended = one_of("path", records.text(Keyword::Path), long)?;
    // Of a file with holes; Go takes this one, Python the one that comes last.
    let path = match one_of("path", records.text(Keyword::SparseName), extended)? {
        Some(path) => path,
        None => header.path()?,
    };
    check_name(path, "path", options)
}

fn link_target(
    header: &Header<'_>,
    records: &Records,
    long: Option<Vec<u8>>,
    options: &Options,
) -> Result<Vec<u8>, Fault> {
    let extended = one_of("link target", records.text(Keyword::LinkPath), long)?;
    let target = extended.unwrap_or_else(|| header.text(&header::LINK).to_vec());
    check_name(target, "link target", options)
}

/// POSIX's and GNU's extension for one thing: Go takes GNU's, others the last one.
fn one_of(
    field: &'static str,
    record: Option<&[u8]>,
    long: Option<Vec<u8>>,
) -> Result<Option<Vec<u8>>, Fault> {
    match (record, long) {
        (Some(record), Some(long)) if *record != *long => Err(Fault::Conflict { field }),
        (Some(record), _) => Ok(Some(record.to_vec())),
        (None, long) => Ok(long),
    }
}

fn check_name(name: Vec<u8>, field: &'static str, options: &Options) -> Result<Vec<u8>, Fault> {
    if name.is_empty() {
        return Err(Fault::Empty { field });
    }
    if name.len() > options.path_bytes_max {
        return Err(Fault::TooLong { field, max: options.path_bytes_max as u64 });
    }
    Ok(name)
}

/// The bytes that follow. A reader that knows no extended headers must come to the same number,
/// unless no header could hold it: else one file's data are the other reader's entries.
fn size(header: &Header<'_>, records: &Records) -> Result<u64, Fault> {
    let stored = header.size()?;
    let Some(extended) = records.number(Keyword::Size)? else { return Ok(stored) };
    let cannot_stand = extended > OCTAL_SIZE_MAX && matches!(stored, 0 | OCTAL_SIZE_MAX);
    if extended != stored && !cannot_stand {
        return Err(Fault::Conflict { field: SIZE.name });
    }
    if extended > i64::MAX as u64 {
        return Err(Fault::Range { field: SIZE.name });
    }
    Ok(extended)
}

fn gnu_real_size(header: &Header<'_>) -> Result<u64, Fault> {
    if header.format != Format::Gnu {
        return Err(Fault::Type { flag: header.flag() });
    }
    header.bounded(&header::GNU_REAL_SIZE, i64::MAX as u64)
}

/// A file with holes as GNU tar describes it in records.
fn sparse(records: &Records, size: u64, options: &Options) -> Result<(Content, Map), Fault> {
    let real_size =
        match (records.number(Keyword::SparseSize)?, records.number(Keyword::SparseRealSize)?) {
            (Some(one), Some(other)) if one != other => return Err(Fault::SparseMap),
            (one, other) => one.or(other).ok_or(Fault::SparseMap)?,
        };
    if real_size > i64::MAX as u64 {
        return Err(Fault::Range { field: SIZE.name });
    }
    let list = records.text(Keyword::SparseMap);
    let has_map = list.is_some() || !records.extents.is_empty();
    match (records.text(Keyword::SparseMajor), records.text(Keyword::SparseMinor)) {
        (Some(b"1"), Some(b"0")) if !has_map => {
            return Ok((Content::plain(real_size), Map::Leading));
        }
        (None, None) | (Some(b"0"), Some(b"0" | b"1")) if has_map => {}
        _ => return Err(Fault::SparseMap),
    }
    let mut builder = Builder::new(options.extents_max);
    if let Some(list) = list {
        builder.list(list)?;
    }
    let blocks = records.number(Keyword::SparseBlocks)?;
    for extent in &records.extents {
        builder.push(extent.offset, extent.length)?;
    }
    if blocks.is_some_and(|blocks| blocks != builder.len() as u64)
        || (list.is_some() && !records.extents.is_empty())
    {
        return Err(Fault::SparseMap);
    }
    let map = builder.finish(real_size, size)?;
    Ok((Content { size: real_size, map: Some(map) }, Map::Done))
}

/// star's own way of saying that there are holes, which we do not read.
fn check_star_size(records: &Records, size: u64) -> Result<(), Fault> {
    match records.number(Keyword::StarSize)? {
        Some(star) if star != size => {
            Err(Fault::Keyword { keyword: Keyword::StarSize.as_str().to_owned() })
        }
        _ => Ok(()),
    }
}

fn device(header: &Header<'_>, records: &Records) -> Result<Device, Fault> {
    let field = header::MAJOR.name;
    if header.format == Format::V7 {
        return Err(Fault::Empty { field });
    }
    let major = header.bounded(&header::MAJOR, MAJOR_MAX.into())?;
    let minor = header.bounded(&header::MINOR, MINOR_MAX.into())?;
    // libarchive writes these only where the header is too small; nobody else looks at them.
    let other = (records.number(Keyword::DeviceMajor)?, records.number(Keyword::DeviceMinor)?);
    if other.0.is_some_and(|other| other != major) || other.1.is_some_and(|other| other != minor) {
        return Err(Fault::Conflict { field });
    }
    Ok(Device { major: major as u32, minor: minor as u32 })
}

fn metadata(header: &Header<'_>, records: Records) -> Result<Metadata, Fault> {
    let id = |keyword, field| match records.number(keyword)? {
        Some(id) if id > ID_MAX => Err(Fault::Range { field: keyword.as_str() }),
        Some(id) => Ok(id as u32),
        None => Ok(header.bounded(field, ID_MAX)? as u32),
    };
    let name = |keyword, field| match (records.text(keyword), header.format) {
        (Some(name), _) => name.to_vec(),
        (None, Format::V7) => Vec::new(),
        (None, _) => header.text(field).to_vec(),
    };
    let time = |keyword, field| -> Result<Option<Time>, Fault> {
        let stored = header.gnu_time(field)?;
        Ok(records.time(keyword)?.or(stored))
    };
    let modified = match records.time(Keyword::Modified)? {
        Some(time) => time,
        None => header.time(&header::MODIFIED)?,
    };
    Ok(Metadata {
        // What lies above the permissions is the type again, as some writers have it.
        mode: (header.bounded(&header::MODE, u64::MAX)? & 0o7777) as u16,
        uid: id(Keyword::Uid, &header::UID)?,
        gid: id(Keyword::Gid, &header::GID)?,
        uname: name(Keyword::Uname, &header::UNAME),
        gname: name(Keyword::Gname, &header::GNAME),
        modified,
        accessed: time(Keyword::Accessed, &header::GNU_ACCESSED)?,
        changed: time(Keyword::Changed, &header::GNU_CHANGED)?,
        xattrs: records.xattrs,
    })
}
