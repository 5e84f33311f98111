//! The files that a client sent: their bytes in one file (`data`), and an index of it.
//!
//! They come as an archive, or as a listing first and then what of it is wanted (`listed`, `known`). Nothing of it
//! is made as a file: what `COPY` wants is read out of the one file, so a hostile name or link has nowhere to lead.
//! Each file's digest is known when the last byte has come.
//! Invariants: names are relative and clean, and the directories of each are there; memory grows with the number
//! of entries, up to a bound; what the ignore file excludes is not there.

mod data;
mod known;
mod listed;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Bound;
use std::sync::Arc;

use dhow_archive::compress::{Decoder, Limits};
use dhow_archive::hash::Hasher;
use dhow_archive::ignore::{PatternError, Patterns};
use dhow_archive::listing::{ListingError, Stamp};
use dhow_archive::tar::{Entry, Kind, Metadata, Options, Reader, TarError};
use dhow_spec::Algorithm;

pub use data::Data;
pub use known::Known;

use crate::files::{FileInfo, FileKind, Files, FilesError, base_name, clean, join, parent};

/// How much is taken.
#[derive(Debug, Clone, Copy)]
pub struct ContextLimits {
    /// Most bytes, unpacked.
    pub bytes_max: u64,
    /// Most entries.
    pub entries_max: usize,
}

/// The files of a build.
#[derive(Debug)]
pub struct Context {
    data: Arc<Data>,
    entries: BTreeMap<Vec<u8>, Item>,
    /// What the ignore file says.
    ignored: Patterns,
}

#[derive(Debug, Clone)]
struct Item {
    info: FileInfo,
    bytes: Bytes,
    /// What the file is known again by.
    stamp: Option<Stamp>,
}

/// Where a file's bytes are.
#[derive(Debug, Clone)]
enum Bytes {
    /// It has none.
    None,
    /// In the one file, from there on.
    At(u64),
    /// Here.
    Here(Arc<[u8]>),
    /// With the client, under this number of its listing.
    Told(u32),
}

/// A context that is refused.
#[derive(Debug)]
pub enum ContextError {
    /// It is no archive, or one in no form that is known.
    Tar(TarError),
    /// It is no listing.
    Listing(ListingError),
    /// It could not be read or kept.
    Io(io::Error),
    /// A name that leads out of it, or a link to what is not there.
    Name {
        /// Which.
        path: String,
    },
    /// It is too large.
    TooLarge {
        /// What there is too much of.
        what: &'static str,
    },
    /// The ignore file.
    Ignore(PatternError),
}

impl Context {
    /// No files at all; `data` is an empty file that may be written to.
    pub fn empty(data: File) -> io::Result<Self> {
        Ok(Self::on(Arc::new(Data::new(data)?)))
    }

    fn on(data: Arc<Data>) -> Self {
        let entries = BTreeMap::from([(Vec::new(), directory())]);
        Self { data, entries, ignored: Patterns::default() }
    }

    /// Reads an archive to its end; `data` is an empty file that it may write to.
    pub fn read(
        source: impl Read,
        data: File,
        limits: ContextLimits,
    ) -> Result<Self, ContextError> {
        let decoder =
            Decoder::new(source, Limits { output_bytes_max: limits.bytes_max, ..Limits::NONE })
                .map_err(ContextError::Io)?;
        let mut reader = Reader::new(decoder, Options::GENERAL);
        let mut context = Self::empty(data).map_err(ContextError::Io)?;
        while let Some(entry) = reader.next_entry().map_err(ContextError::Tar)? {
            if context.entries.len() >= limits.entries_max {
                return Err(ContextError::TooLarge { what: "entries" });
            }
            context.add(entry, &mut reader)?;
        }
        Ok(context)
    }

    /// Takes over the files of a tree, from a directory of it on; links in it lead nowhere out of that.
    pub fn of(
        files: &dyn Files,
        directory: &[u8],
        data: File,
        limits: ContextLimits,
    ) -> Result<Self, ContextError> {
        let mut context = Self::empty(data).map_err(ContextError::Io)?;
        let mut todo = vec![Vec::new()];
        let unreadable = |error: FilesError| ContextError::Io(io::Error::other(error));
        let start = files.look(directory).map_err(unreadable)?;
        if start.is_none_or(|info| info.kind != FileKind::Directory) {
            let path = String::from_utf8_lossy(directory).into_owned();
            return Err(ContextError::Name { path });
        }
        while let Some(below) = todo.pop() {
            let place = join(directory, &below);
            for name in files.names(&place).map_err(unreadable)? {
                let path = join(&below, &name);
                let from = join(directory, &path);
                let Some(info) = files.look(&from).map_err(unreadable)? else { continue };
                let mut item = Item { info, bytes: Bytes::None, stamp: None };
                match item.info.kind {
                    FileKind::Directory => todo.push(path.clone()),
                    FileKind::File(size) => {
                        let mut source = files.open(&from).map_err(unreadable)?;
                        item.keep(&context.data, &mut source, size)?;
                    }
                    FileKind::Other => continue,
                    _ => {}
                }
                if context.entries.len() >= limits.entries_max {
                    return Err(ContextError::TooLarge { what: "entries" });
                }
                context.entries.insert(path, item);
            }
        }
        Ok(context)
    }

    fn add<R: Read>(&mut self, entry: Entry, reader: &mut Reader<R>) -> Result<(), ContextError> {
        let metadata = Metadata { accessed: None, changed: None, ..entry.metadata.clone() };
        let info = FileInfo { kind: FileKind::Directory, metadata, digest: None };
        let mut item = Item { info, bytes: Bytes::None, stamp: None };
        match entry.kind {
            Kind::Directory => {}
            Kind::File(content) => item.keep(&self.data, &mut reader.body(), content.size)?,
            Kind::Symlink { target } => item.info.kind = FileKind::Symlink(target),
            Kind::CharDevice(device) => item.info.kind = FileKind::CharDevice(device),
            Kind::BlockDevice(device) => item.info.kind = FileKind::BlockDevice(device),
            Kind::Fifo => item.info.kind = FileKind::Fifo,
            Kind::HardLink { ref target } => {
                let Some(first) = self.entries.get(&clean(target)) else {
                    return Err(name_error(&entry.path));
                };
                item = first.clone();
            }
        }
        self.insert(&entry.path, item)
    }

    /// Puts something where it says that it is.
    fn insert(&mut self, told: &[u8], item: Item) -> Result<(), ContextError> {
        if told.split(|byte| *byte == b'/').any(|part| part == b"..") {
            return Err(name_error(told));
        }
        let path = clean(told);
        let is_directory = item.info.kind == FileKind::Directory;
        if path.is_empty() {
            if is_directory {
                self.entries.insert(path, item);
            }
            return Ok(());
        }
        self.make_parents(&path)?;
        // What comes later counts; a directory that was told again keeps what is in it.
        if !is_directory && self.entries.contains_key(&path) && self.has_below(&path) {
            return Err(name_error(told));
        }
        self.entries.insert(path, item);
        Ok(())
    }

    fn has_below(&self, path: &[u8]) -> bool {
        let start = [path, b"/"].concat();
        self.entries.range(start.clone()..).next().is_some_and(|(name, _)| name.starts_with(&start))
    }

    /// Directories that nobody told of; what is no directory has nothing in it.
    fn make_parents(&mut self, path: &[u8]) -> Result<(), ContextError> {
        let mut above = parent(path);
        while !above.is_empty() {
            match self.entries.get(above) {
                Some(item) if item.info.kind == FileKind::Directory => return Ok(()),
                Some(_) => return Err(name_error(path)),
                None => {
                    self.entries.insert(above.to_vec(), directory());
                }
            }
            above = parent(above);
        }
        Ok(())
    }

    /// Adds one file, as if it had been sent; what was there before is replaced.
    pub fn put(&mut self, path: &str, bytes: &[u8]) -> Result<(), ContextError> {
        let path = clean(path.as_bytes());
        self.make_parents(&path)?;
        let metadata = Metadata { mode: 0o644, ..Metadata::default() };
        let info = FileInfo { kind: FileKind::Directory, metadata, digest: None };
        let mut item = Item { info, bytes: Bytes::None, stamp: None };
        item.hold(bytes);
        self.entries.insert(path, item);
        Ok(())
    }

    /// Takes a file away.
    pub fn remove(&mut self, path: &str) {
        self.entries.remove(&clean(path.as_bytes()));
    }

    /// A file's bytes, if there is a file, links followed.
    pub fn file(&self, path: &str) -> Result<Option<Vec<u8>>, FilesError> {
        let path = crate::files::follow(self, path.as_bytes(), true)?;
        match self.entries.get(&path).map(|item| &item.info.kind) {
            Some(FileKind::File(_)) => {}
            _ => return Ok(None),
        }
        let mut bytes = Vec::new();
        let read = self.open(&path)?.read_to_end(&mut bytes);
        read.map_err(|error| FilesError::Io { path, error })?;
        Ok(Some(bytes))
    }

    /// Leaves out what an ignore file excludes.
    pub fn ignore(&mut self, file: &[u8]) -> Result<(), ContextError> {
        let patterns = Patterns::parse(file).map_err(ContextError::Ignore)?;
        if patterns.is_empty() {
            return Ok(());
        }
        let (mut kept, mut perhaps) = (BTreeMap::new(), BTreeMap::new());
        for (path, item) in std::mem::take(&mut self.entries) {
            if path.is_empty() || !patterns.matches(&path) {
                kept.insert(path, item);
            } else if item.info.kind == FileKind::Directory && patterns.may_except_below(&path) {
                // Only if something in it is wanted.
                perhaps.insert(path, item);
            }
        }
        let mut back = Vec::new();
        for path in kept.keys() {
            let mut above = parent(path);
            while let Some(entry) = perhaps.remove_entry(above) {
                back.push(entry);
                above = parent(above);
            }
        }
        kept.extend(back);
        self.entries = kept;
        self.ignored = patterns;
        Ok(())
    }

    /// Whether a path was left out, or would have been.
    pub fn is_ignored(&self, path: &str) -> bool {
        !self.ignored.is_empty() && self.ignored.matches(&clean(path.as_bytes()))
    }

    /// Takes what is below a directory out of it, as a context of its own; the directory goes too.
    pub fn split_off(&mut self, directory: &str) -> Self {
        let prefix = clean(directory.as_bytes());
        let start = [&prefix[..], b"/"].concat();
        let mut part = Self::on(self.data.clone());
        for (path, item) in std::mem::take(&mut self.entries) {
            match path.strip_prefix(&start[..]) {
                Some(below) => drop(part.entries.insert(below.to_vec(), item)),
                None if path == prefix => {}
                None => drop(self.entries.insert(path, item)),
            }
        }
        part
    }

    /// How many entries there are, the root not counted.
    pub fn len(&self) -> usize {
        self.entries.len() - 1
    }

    /// Whether nothing was sent.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn directory() -> Item {
    let metadata = Metadata { mode: 0o755, ..Metadata::default() };
    let info = FileInfo { kind: FileKind::Directory, metadata, digest: None };
    Item { info, bytes: Bytes::None, stamp: None }
}

fn name_error(path: &[u8]) -> ContextError {
    ContextError::Name { path: String::from_utf8_lossy(path).into_owned() }
}

impl Item {
    /// Makes a file of it whose bytes go to the one file.
    fn keep(&mut self, data: &Data, body: &mut dyn Read, size: u64) -> Result<(), ContextError> {
        let place = data.keep(body, size).map_err(ContextError::Io)?;
        self.info.kind = FileKind::File(place.size);
        self.info.digest = Some(place.digest);
        self.bytes = Bytes::At(place.offset);
        Ok(())
    }

    /// Makes a file of it whose bytes are here.
    fn hold(&mut self, bytes: &[u8]) {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(bytes);
        self.info.kind = FileKind::File(bytes.len() as u64);
        self.info.digest = Some(hasher.finish().digest);
        self.bytes = Bytes::Here(bytes.into());
    }
}

impl Files for Context {
    fn look(&self, path: &[u8]) -> Result<Option<FileInfo>, FilesError> {
        Ok(self.entries.get(path).map(|item| item.info.clone()))
    }

    fn names(&self, path: &[u8]) -> Result<Vec<Vec<u8>>, FilesError> {
        let start = if path.is_empty() { Vec::new() } else { [path, b"/"].concat() };
        let (mut names, mut from) = (Vec::new(), Some(start.clone()));
        while let Some(first) = from.take() {
            let range = (Bound::Included(&first[..]), Bound::Unbounded);
            for (key, _) in self.entries.range::<[u8], _>(range) {
                let Some(below) = key.strip_prefix(&start[..]) else { break };
                match below.iter().position(|byte| *byte == b'/') {
                    None if below.is_empty() => {}
                    None => names.push(below.to_vec()),
                    Some(slash) => {
                        // What is in a directory that was named already; behind that goes on what sorts after "/".
                        from = Some([&start[..], &below[..slash], b"0"].concat());
                        break;
                    }
                }
            }
        }
        Ok(names)
    }

    fn open(&self, path: &[u8]) -> Result<Box<dyn Read + '_>, FilesError> {
        let item = self.entries.get(path);
        match item.map(|item| (&item.info.kind, &item.bytes)) {
            Some((FileKind::File(size), Bytes::At(offset))) => {
                Ok(Box::new(self.data.open(*offset, *size)))
            }
            Some((FileKind::File(_), Bytes::Here(bytes))) => Ok(Box::new(&bytes[..])),
            _ => Err(FilesError::Io {
                path: base_name(path).to_vec(),
                error: io::ErrorKind::NotFound.into(),
            }),
        }
    }
}

impl fmt::Display for ContextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tar(error) => write!(f, "the build context: {error}"),
            Self::Listing(error) => write!(f, "the build context's listing: {error}"),
            Self::Io(error) => write!(f, "the build context: {error}"),
            Self::Name { path } => {
                write!(f, "the build context has an entry {path:?} that leads nowhere")
            }
            Self::TooLarge { what } => write!(f, "the build context has too many {what}"),
            Self::Ignore(error) => write!(f, "the ignore file: {error}"),
        }
    }
}

impl std::error::Error for ContextError {}

#[cfg(test)]
pub(crate) mod tests {
    use dhow_archive::listing::{self, Listed, ListedKind};
    use dhow_archive::tar::{Content, Time, Writer};

    use super::*;
    use crate::reads::Reads;

    const LIMITS: ContextLimits = ContextLimits { bytes_max: 1 << 20, entries_max: 100 };

    fn data() -> File {
        let path = std::env::temp_dir().join(format!(
            "dhow-context-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .expect("a file");
        std::fs::remove_file(&path).expect("removed");
        file
    }

    fn tar(entries: &[(&str, Kind, &[u8])]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        for (path, kind, body) in entries {
            let entry = Entry {
                path: path.as_bytes().to_vec(),
                kind: kind.clone(),
                metadata: Metadata { mode: 0o644, ..Metadata::default() },
            };
            writer.append(&entry, *body).expect("an entry");
        }
        writer.finish().expect("an archive")
    }

    pub(crate) fn file(
        path: &'static str,
        body: &'static [u8],
    ) -> (&'static str, Kind, &'static [u8]) {
        (path, Kind::File(Content::plain(body.len() as u64)), body)
    }

    pub(crate) fn read(entries: &[(&str, Kind, &[u8])]) -> Result<Context, ContextError> {
        Context::read(&*tar(entries), data(), LIMITS)
    }

    #[test]
    fn files_come_back() {
        let link = ("l", Kind::Symlink { target: b"../../a/x".to_vec() }, &b""[..]);
        let context = read(&[file("a/x", b"one"), file("./a-b", b"two"), link]).expect("a context");
        assert_eq!(context.file("a/x").expect("read"), Some(b"one".to_vec()));
        assert_eq!(context.file("/l").expect("followed"), Some(b"one".to_vec()));
        assert_eq!(context.file("none").expect("nothing"), None);
        let names = context.names(b"").expect("names");
        assert_eq!(names, [b"a".to_vec(), b"a-b".to_vec(), b"l".to_vec()]);
        assert_eq!(context.names(b"a").expect("names"), [b"x".to_vec()]);
        assert_eq!(context.len(), 4);
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        read(&[file("../x", b"")]).expect_err("above");
        read(&[file("a/../../x", b"")]).expect_err("above");
        let link = ("d", Kind::Symlink { target: b"/etc".to_vec() }, &b""[..]);
        read(&[link, file("d/passwd", b"")]).expect_err("through a link");
        let hard = ("h", Kind::HardLink { target: b"/etc/passwd".to_vec() }, &b""[..]);
        read(&[hard]).expect_err("a link to nothing");
        let many: Vec<_> = (0..200).map(|n| format!("f{n}")).collect();
        let many: Vec<_> = many
            .iter()
            .map(|name| (name.as_str(), Kind::File(Content::plain(0)), &b""[..]))
            .collect();
        read(&many).expect_err("too many");
    }

    #[test]
    fn what_is_ignored_is_gone() {
        let mut context = read(&[
            file("keep", b""),
            file("logs/a.log", b""),
            file("logs/wanted.log", b""),
            file("gone/x", b""),
        ])
        .expect("a context");
        context.ignore(b"logs\n!logs/wanted.log\ngone\n").expect("patterns");
        assert_eq!(context.names(b"").expect("names"), [b"keep".to_vec(), b"logs".to_vec()]);
        assert_eq!(context.names(b"logs").expect("names"), [b"wanted.log".to_vec()]);
        context.ignore(b"[").expect_err("no pattern");
    }

    fn listing(files: &[(&str, &[u8], u64)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        listing::begin(&mut bytes).expect("memory");
        for (path, body, inode) in files {
            let stamp = Stamp { device: 1, inode: *inode, changed: Time::default() };
            let stamp = Some(stamp).filter(|_| *inode > 0);
            let kind = ListedKind::File { size: body.len() as u64, stamp };
            let (path, modified) = (path.as_bytes().to_vec(), Time::default());
            let listed = Listed { path, kind, mode: 0o644, modified };
            listing::write(&mut bytes, &listed).expect("memory");
        }
        listing::end(&mut bytes).expect("memory");
        bytes
    }

    #[test]
    fn only_what_is_not_known_is_sent() {
        let data = Arc::new(Data::new(data()).expect("a file"));
        let take = |bytes: &[u8], known: &Known| {
            Context::listed(&mut &bytes[..], data.clone(), known, LIMITS).expect("a listing")
        };
        let told = listing(&[("a/x", b"one", 1), ("y", b"two", 2), ("racy", b"now", 0)]);
        let mut context = take(&told, &Known::default());
        assert_eq!(context.absent(&Reads::All), [0, 1, 2]);
        assert_eq!(context.absent(&Reads::Below(vec![b"a".to_vec()])), [0]);
        context.fill(&*tar(&[file("y", b"two"), file("racy", b"now")])).expect("files");
        assert_eq!(context.absent(&Reads::All), [0]);
        context.fill(&*tar(&[file("y", b"other")])).expect("here already");
        assert_eq!(context.file("y").expect("read"), Some(b"two".to_vec()));
        context.fill(&*tar(&[file("z", b"two")])).expect_err("nobody told of it");
        context.fill(&*tar(&[file("a/x", b"longer")])).expect("it has grown");
        assert_eq!(context.file("a/x").expect("read"), Some(b"longer".to_vec()));

        let mut kept = Vec::new();
        context.known().write(&mut kept).expect("memory");
        let known = Known::read(&mut &kept[..]).expect("what was written");
        let changed = listing(&[("a/x", b"longer", 1), ("y", b"two", 3), ("racy", b"now", 0)]);
        let context = take(&changed, &known);
        assert_eq!(context.absent(&Reads::All), [1, 2]);
        assert_eq!(context.file("a/x").expect("read"), Some(b"longer".to_vec()));
        // What has another size is another file, whatever else is the same.
        assert_eq!(take(&told, &known).absent(&Reads::All), [0, 2]);
        let out = listing(&[("../x", b"one", 1)]);
        Context::listed(&mut &out[..], data.clone(), &known, LIMITS).expect_err("above");
    }

    #[test]
    fn names_are_those_right_below() {
        let context = read(&[
            file("a/x/deep", b""),
            file("a-b/y", b""),
            file("a.c", b""),
            file("a/z", b""),
            file("a/x.y", b""),
            file("b", b""),
        ])
        .expect("a context");
        let names = |path: &[u8]| {
            let names = context.names(path).expect("names");
            names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(b""), ["a", "a-b", "a.c", "b"]);
        assert_eq!(names(b"a"), ["x", "x.y", "z"]);
        assert_eq!(names(b"a/x"), ["deep"]);
        assert_eq!(names(b"b"), [""; 0]);
    }
}
