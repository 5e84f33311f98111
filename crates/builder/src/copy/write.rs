//! The layer that a `COPY` makes, as a tar.
//!
//! Invariants: directories come before what is in them, each once; a directory that is there already keeps what it
//! is; nothing is written through a link that the copied files bring themselves.

use std::collections::BTreeSet;
use std::io::{Read, Write};

use dhow_archive::compress::{Decoder, Limits};
use dhow_archive::tar::{Content, Entry, Kind, Metadata, Options, Reader, Time, Writer};

use super::mode::Mode;
use super::pick::{From, Kept, Picked, PickedEntry};
use crate::error::Fault;
use crate::files::{FileInfo, FileKind, Files, base_name, clean, follow, join, parent};

/// Where files go, and what becomes of them.
pub(crate) struct Target<'a> {
    /// What is there already; nothing for a layer that depends on nothing.
    pub(crate) below: Option<&'a dyn Files>,
    /// Where, absolute, as it was said.
    pub(crate) to: String,
    /// Whose they are; as they were where absent.
    pub(crate) owner: Option<(u32, u32)>,
    /// What archives hold keeps its own owners.
    pub(crate) own_in_archives: bool,
    /// Their modes.
    pub(crate) mode: Option<Mode>,
    /// The time of what is made without a model.
    pub(crate) now: Time,
    /// No time is later.
    pub(crate) epoch: Option<i64>,
}

/// Writes the layer.
pub(crate) fn write(
    files: &dyn Files,
    picked: &[Picked],
    target: &Target<'_>,
    sink: &mut dyn Write,
) -> Result<(), Fault> {
    let mut layer = Layer { tar: Writer::new(sink), target, told: BTreeSet::new() };
    let to = match target.below {
        Some(below) => follow(below, target.to.as_bytes(), true)?,
        None => clean(target.to.as_bytes()),
    };
    let is_directory = |path: &[u8]| -> Result<bool, Fault> {
        let found = match target.below {
            Some(below) => below.look(path)?,
            None => None,
        };
        Ok(found.is_some_and(|info| info.kind == FileKind::Directory))
    };
    let into = target.to.ends_with('/') || target.to.ends_with("/.") || is_directory(&to)?;
    for group in picked {
        let files = group.tree.as_deref().unwrap_or(files);
        let is_archive = group.entries.iter().any(|entry| entry.from.is_archive());
        let place = if group.is_file() && into && !is_archive {
            let place = join(&to, &group.name);
            match target.below {
                // A link of that name is written over, not through.
                Some(below) => follow(below, &place, false)?,
                None => place,
            }
        } else {
            to.clone()
        };
        if !group.is_file() || is_archive {
            // New, it is plain: Docker gives it nothing of the directory whose contents go there.
            layer.directory(&to)?;
        }
        for entry in &group.entries {
            layer.entry(files, &place, entry)?;
        }
    }
    layer.tar.finish()?;
    Ok(())
}

struct Layer<'a> {
    tar: Writer<&'a mut dyn Write>,
    target: &'a Target<'a>,
    told: BTreeSet<Vec<u8>>,
}

impl Layer<'_> {
    /// Tells a directory and those above it; new ones are plain.
    fn directory(&mut self, path: &[u8]) -> Result<(), Fault> {
        if path.is_empty() || self.told.contains(path) {
            return Ok(());
        }
        self.directory(parent(path))?;
        let there = match self.target.below {
            Some(below) => below.look(path)?,
            None => None,
        };
        let metadata = match there {
            Some(FileInfo { kind: FileKind::Directory, metadata, .. }) => metadata,
            Some(_) => {
                let path = format!("/{}", String::from_utf8_lossy(path));
                return Err(Fault::NotADirectory { path });
            }
            None => self.plain(),
        };
        self.put(path, Kind::Directory, metadata)
    }

    /// A directory that nobody described.
    fn plain(&self) -> Metadata {
        let (uid, gid) = self.target.owner.unwrap_or((0, 0));
        Metadata {
            mode: 0o755,
            uid,
            gid,
            modified: self.no_later(self.target.now),
            ..Metadata::default()
        }
    }

    fn no_later(&self, time: Time) -> Time {
        match self.target.epoch {
            Some(epoch) if time.seconds >= epoch => Time { seconds: epoch, nanoseconds: 0 },
            _ => time,
        }
    }

    fn metadata(&self, info: &FileInfo) -> Metadata {
        let own = &info.metadata;
        let (uid, gid) = self.target.owner.unwrap_or((own.uid, own.gid));
        let is_directory = info.kind == FileKind::Directory;
        let mode = match &self.target.mode {
            Some(mode) => mode.apply(own.mode, is_directory),
            None => own.mode,
        };
        let modified = if own.modified == Time::default() { self.target.now } else { own.modified };
        Metadata {
            mode,
            uid,
            gid,
            modified: self.no_later(modified),
            xattrs: own.xattrs.clone(),
            ..Metadata::default()
        }
    }

    fn put(&mut self, path: &[u8], kind: Kind, metadata: Metadata) -> Result<(), Fault> {
        if path.split(|byte| *byte == b'/').any(|name| name.starts_with(b".wh.")) {
            return Err(Fault::Name { path: String::from_utf8_lossy(path).into_owned() });
        }
        let is_directory = kind == Kind::Directory;
        self.tar.begin(&Entry { path: path.to_vec(), kind, metadata })?;
        if is_directory {
            self.told.insert(path.to_vec());
        }
        Ok(())
    }

    fn entry(&mut self, files: &dyn Files, place: &[u8], entry: &PickedEntry) -> Result<(), Fault> {
        let path = join(place, &entry.below);
        if entry.info.kind == FileKind::Directory {
            // The destination itself was told before, as it was.
            if path.is_empty() || self.told.contains(&path) {
                return Ok(());
            }
            self.directory(parent(&path))?;
            self.no_file(&path)?;
            let metadata = self.metadata(&entry.info);
            return self.put(&path, Kind::Directory, metadata);
        }
        match &entry.from {
            From::Archive(from) => return self.unpack(files.open(from)?, place),
            From::KeptArchive(file) => return self.unpack(Box::new(Kept::new(file)), place),
            From::Kept(file) => {
                self.directory(parent(&path))?;
                let FileKind::File(size) = entry.info.kind else { return Ok(()) };
                let metadata = self.metadata(&entry.info);
                self.put(&path, Kind::File(Content::plain(size)), metadata)?;
                std::io::copy(&mut Kept::new(file).take(size), &mut self.tar)?;
                return Ok(());
            }
            From::Bytes(bytes) => {
                self.directory(parent(&path))?;
                let metadata = self.metadata(&entry.info);
                self.put(&path, Kind::File(Content::plain(bytes.len() as u64)), metadata)?;
                self.tar.write_all(bytes)?;
                return Ok(());
            }
            From::Tree(_) => {}
        }
        let From::Tree(from) = &entry.from else { return Ok(()) };
        self.directory(parent(&path))?;
        let metadata = self.metadata(&entry.info);
        match &entry.info.kind {
            FileKind::File(size) => {
                self.put(&path, Kind::File(Content::plain(*size)), metadata)?;
                std::io::copy(&mut files.open(from)?.take(*size), &mut self.tar)?;
            }
            FileKind::Symlink(target) => {
                let mode = entry.info.metadata.mode;
                let target = target.clone();
                self.put(&path, Kind::Symlink { target }, Metadata { mode, ..metadata })?;
            }
            FileKind::CharDevice(device) => self.put(&path, Kind::CharDevice(*device), metadata)?,
            FileKind::BlockDevice(device) => {
                self.put(&path, Kind::BlockDevice(*device), metadata)?;
            }
            FileKind::Fifo => self.put(&path, Kind::Fifo, metadata)?,
            FileKind::Directory | FileKind::Other => {}
        }
        Ok(())
    }

    /// Refuses a directory where something else is.
    fn no_file(&self, path: &[u8]) -> Result<(), Fault> {
        let Some(below) = self.target.below else { return Ok(()) };
        match below.look(path)? {
            Some(info) if info.kind != FileKind::Directory => {
                let path = format!("/{}", String::from_utf8_lossy(path));
                Err(Fault::NotADirectory { path })
            }
            _ => Ok(()),
        }
    }

    /// Puts what an archive holds below a directory.
    fn unpack(&mut self, source: Box<dyn Read + '_>, place: &[u8]) -> Result<(), Fault> {
        let limits = Limits { output_bytes_max: 1 << 40, ..Limits::NONE };
        let decoder = Decoder::new(source, limits)?;
        let mut reader = Reader::new(decoder, Options::GENERAL);
        while let Some(entry) = reader.next_entry()? {
            let bad = || Fault::Name { path: String::from_utf8_lossy(&entry.path).into_owned() };
            if entry.path.split(|byte| *byte == b'/').any(|name| name == b"..") {
                return Err(bad());
            }
            let inside = clean(&entry.path);
            if inside.is_empty() {
                continue;
            }
            let path = join(place, &inside);
            let forced = self.target.owner.filter(|_| !self.target.own_in_archives);
            let (uid, gid) = forced.unwrap_or((entry.metadata.uid, entry.metadata.gid));
            let is_directory = entry.kind == Kind::Directory;
            let mode = match &self.target.mode {
                Some(mode) => mode.apply(entry.metadata.mode, is_directory),
                None => entry.metadata.mode,
            };
            let modified = self.no_later(entry.metadata.modified);
            let xattrs = entry.metadata.xattrs.clone();
            let metadata = Metadata { mode, uid, gid, modified, xattrs, ..Metadata::default() };
            if is_directory && self.told.contains(&path) {
                continue;
            }
            self.directory(parent(&path))?;
            let kind = match entry.kind.clone() {
                Kind::HardLink { target } => {
                    Kind::HardLink { target: join(place, &clean(&target)) }
                }
                // Holes are filled: what is unpacked is the same.
                Kind::File(content) => Kind::File(Content::plain(content.size)),
                kind => kind,
            };
            let is_file = matches!(kind, Kind::File(_));
            if base_name(&path).is_empty() {
                return Err(bad());
            }
            self.put(&path, kind, metadata)?;
            if is_file {
                std::io::copy(&mut reader.body(), &mut self.tar)?;
            }
        }
        Ok(())
    }
}
