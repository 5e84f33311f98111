//! The files that a client sent: one archive, kept as it came, and an index of it.
//!
//! Nothing of it is made as a file: what `COPY` wants is read out of the archive, so a hostile name or link has
//! nowhere to lead. Each file's digest is known when the last byte has come.
//! Invariants: names are relative and clean; memory grows with the number of entries, up to a bound; what the
//! ignore file excludes is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use dhow_archive::compress::{Decoder, Limits};
use dhow_archive::hash::Hasher;
use dhow_archive::ignore::{PatternError, Patterns};
use dhow_archive::tar::{Entry, Kind, Metadata, Options, Reader, TarError};
use dhow_spec::{Algorithm, Digest};

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
    data: File,
    entries: BTreeMap<Vec<u8>, Item>,
    /// What is in which directory.
    children: BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>>,
    /// What the ignore file says.
    ignored: Patterns,
}

#[derive(Debug, Clone)]
struct Item {
    info: FileInfo,
    /// Where its bytes begin in the kept file.
    offset: u64,
}

/// A context that is refused.
#[derive(Debug)]
pub enum ContextError {
    /// It is no archive, or one in no form that is known.
    Tar(TarError),
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
    /// No files at all.
    pub fn empty(data: File) -> Self {
        let mut entries = BTreeMap::new();
        entries.insert(Vec::new(), directory());
        Self { data, entries, children: BTreeMap::new(), ignored: Patterns::default() }
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
        let mut context = Self::empty(data);
        let mut offset = 0;
        while let Some(entry) = reader.next_entry().map_err(ContextError::Tar)? {
            if context.entries.len() >= limits.entries_max {
                return Err(ContextError::TooLarge { what: "entries" });
            }
            context.add(entry, &mut reader, &mut offset)?;
        }
        context.link_up();
        Ok(context)
    }

    /// Takes over the files of a tree, from a directory of it on; links in it lead nowhere out of that.
    pub fn of(
        files: &dyn Files,
        directory: &[u8],
        data: File,
        limits: ContextLimits,
    ) -> Result<Self, ContextError> {
        let mut context = Self::empty(data);
        let (mut todo, mut offset) = (vec![Vec::new()], 0);
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
                let Some(mut info) = files.look(&from).map_err(unreadable)? else { continue };
                match info.kind {
                    FileKind::Directory => todo.push(path.clone()),
                    FileKind::File(_) => {
                        let mut source = files.open(&from).map_err(unreadable)?;
                        let (size, digest) = context.keep(&mut source, offset)?;
                        info.kind = FileKind::File(size);
                        info.digest = Some(digest);
                    }
                    FileKind::Other => continue,
                    _ => {}
                }
                if context.entries.len() >= limits.entries_max {
                    return Err(ContextError::TooLarge { what: "entries" });
                }
                let size = if let FileKind::File(size) = info.kind { size } else { 0 };
                context.entries.insert(path, Item { info, offset });
                offset += size;
            }
        }
        context.link_up();
        Ok(context)
    }

    fn add<R: Read>(
        &mut self,
        entry: Entry,
        reader: &mut Reader<R>,
        offset: &mut u64,
    ) -> Result<(), ContextError> {
        let name = || String::from_utf8_lossy(&entry.path).into_owned();
        if entry.path.split(|byte| *byte == b'/').any(|part| part == b"..") {
            return Err(ContextError::Name { path: name() });
        }
        let path = clean(&entry.path);
        let metadata = Metadata { accessed: None, changed: None, ..entry.metadata.clone() };
        let mut item = Item {
            info: FileInfo { kind: FileKind::Directory, metadata, digest: None },
            offset: *offset,
        };
        match entry.kind {
            Kind::Directory => {}
            Kind::File(_) => {
                let (size, digest) = self.keep(&mut reader.body(), *offset)?;
                item.info.kind = FileKind::File(size);
                item.info.digest = Some(digest);
                *offset += size;
            }
            Kind::Symlink { target } => item.info.kind = FileKind::Symlink(target),
            Kind::CharDevice(device) => item.info.kind = FileKind::CharDevice(device),
            Kind::BlockDevice(device) => item.info.kind = FileKind::BlockDevice(device),
            Kind::Fifo => item.info.kind = FileKind::Fifo,
            Kind::HardLink { ref target } => {
                let Some(first) = self.entries.get(&clean(target)) else {
                    return Err(ContextError::Name { path: name() });
                };
                item = first.clone();
            }
        }
        if path.is_empty() {
            if item.info.kind == FileKind::Directory {
                self.entries.insert(path, item);
            }
            return Ok(());
        }
        self.make_parents(&path)?;
        // What comes later counts; a directory that was told again keeps what is in it.
        let is_directory = item.info.kind == FileKind::Directory;
        if !is_directory && self.has_below(&path) {
            return Err(ContextError::Name { path: name() });
        }
        self.entries.insert(path, item);
        Ok(())
    }

    fn link_up(&mut self) {
        self.children.clear();
        for path in self.entries.keys().filter(|path| !path.is_empty()) {
            let names = self.children.entry(parent(path).to_vec()).or_default();
            names.insert(base_name(path).to_vec());
        }
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
                Some(_) => {
                    let path = String::from_utf8_lossy(path).into_owned();
                    return Err(ContextError::Name { path });
                }
                None => {
                    self.entries.insert(above.to_vec(), directory());
                }
            }
            above = parent(above);
        }
        Ok(())
    }

    fn keep(&self, body: &mut dyn Read, offset: u64) -> Result<(u64, Digest), ContextError> {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let mut buffer = vec![0; 128 << 10];
        let mut size = 0;
        loop {
            let count = match body.read(&mut buffer) {
                Ok(0) => return Ok((size, hasher.finish().digest)),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(ContextError::Io(error)),
            };
            hasher.update(&buffer[..count]);
            self.data.write_all_at(&buffer[..count], offset + size).map_err(ContextError::Io)?;
            size += count as u64;
        }
    }

    /// Adds one file, as if it had been sent; what was there before is replaced.
    pub fn put(&mut self, path: &str, bytes: &[u8]) -> Result<(), ContextError> {
        // Behind everything: parts that were split off have theirs in the same file.
        let offset = self.data.metadata().map_err(ContextError::Io)?.len();
        self.data.write_all_at(bytes, offset).map_err(ContextError::Io)?;
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(bytes);
        let info = FileInfo {
            kind: FileKind::File(bytes.len() as u64),
            metadata: Metadata { mode: 0o644, ..Metadata::default() },
            digest: Some(hasher.finish().digest),
        };
        let path = clean(path.as_bytes());
        self.make_parents(&path)?;
        self.entries.insert(path, Item { info, offset });
        self.link_up();
        Ok(())
    }

    /// Takes a file away.
    pub fn remove(&mut self, path: &str) {
        self.entries.remove(&clean(path.as_bytes()));
        self.link_up();
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
        let mut kept: BTreeMap<Vec<u8>, Item> = BTreeMap::new();
        for (path, item) in std::mem::take(&mut self.entries) {
            if path.is_empty() || !patterns.matches(&path) {
                kept.insert(path, item);
            } else if item.info.kind == FileKind::Directory && patterns.may_except_below(&path) {
                // Perhaps something in it is wanted; if not, it goes below.
                kept.insert(path, Item { offset: u64::MAX, ..item });
            }
        }
        let wanted: Vec<Vec<u8>> = kept
            .iter()
            .filter(|(_, item)| item.offset != u64::MAX)
            .map(|(path, _)| path.clone())
            .collect();
        for path in wanted {
            let mut above = parent(&path);
            while let Some(item) = kept.get_mut(above).filter(|item| item.offset == u64::MAX) {
                item.offset = 0;
                above = parent(above);
            }
        }
        kept.retain(|_, item| item.offset != u64::MAX);
        self.entries = kept;
        self.ignored = patterns;
        self.link_up();
        Ok(())
    }

    /// Whether a path was left out, or would have been.
    pub fn is_ignored(&self, path: &str) -> bool {
        !self.ignored.is_empty() && self.ignored.matches(&clean(path.as_bytes()))
    }

    /// Takes what is below a directory out of it, as a context of its own; the directory goes too.
    pub fn split_off(&mut self, directory: &str) -> Result<Self, ContextError> {
        let prefix = clean(directory.as_bytes());
        let start = [&prefix[..], b"/"].concat();
        let mut part = Self::empty(self.data.try_clone().map_err(ContextError::Io)?);
        for (path, item) in std::mem::take(&mut self.entries) {
            match path.strip_prefix(&start[..]) {
                Some(below) => drop(part.entries.insert(below.to_vec(), item)),
                None if path == prefix => {}
                None => drop(self.entries.insert(path, item)),
            }
        }
        self.link_up();
        part.link_up();
        Ok(part)
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
    Item { info: FileInfo { kind: FileKind::Directory, metadata, digest: None }, offset: 0 }
}

/// The part of the kept file that is one file.
struct Part<'a> {
    data: &'a File,
    offset: u64,
    left: u64,
}

impl Read for Part<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let count = self.data.read_at(&mut buffer[..most], self.offset)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.offset += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

impl Files for Context {
    fn look(&self, path: &[u8]) -> Result<Option<FileInfo>, FilesError> {
        Ok(self.entries.get(path).map(|item| item.info.clone()))
    }

    fn names(&self, path: &[u8]) -> Result<Vec<Vec<u8>>, FilesError> {
        Ok(self.children.get(path).map(|names| names.iter().cloned().collect()).unwrap_or_default())
    }

    fn open(&self, path: &[u8]) -> Result<Box<dyn Read + '_>, FilesError> {
        match self.entries.get(path) {
            Some(Item { info: FileInfo { kind: FileKind::File(size), .. }, offset }) => {
                Ok(Box::new(Part { data: &self.data, offset: *offset, left: *size }))
            }
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
mod tests {
    use dhow_archive::tar::{Content, Writer};

    use super::*;

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

    fn file(path: &'static str, body: &'static [u8]) -> (&'static str, Kind, &'static [u8]) {
        (path, Kind::File(Content::plain(body.len() as u64)), body)
    }

    fn read(entries: &[(&str, Kind, &[u8])]) -> Result<Context, ContextError> {
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
}
