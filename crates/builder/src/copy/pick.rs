//! Which files a `COPY` means, and what they come to.
//!
//! Invariant: the digest holds names, kinds, modes, link targets and contents, and owners where they are kept;
//! times and the order in which an archive had them are no part of it.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use dhow_archive::compress::{Decoder, Limits};
use dhow_archive::hash::Hasher;
use dhow_archive::ignore::{Patterns, Seen};
use dhow_archive::tar::{Metadata, Options, Reader};
use dhow_spec::{Algorithm, Digest};

use crate::error::Fault;
use crate::files::{
    FileInfo, FileKind, Files, FilesError, base_name, clean, follow, join, names_of,
};

/// What is looked for, and how.
pub(crate) struct Picking<'a> {
    /// Where.
    pub(crate) files: &'a dyn Files,
    /// The directories above each source come along.
    pub(crate) parents: bool,
    /// What is left out.
    pub(crate) exclude: &'a Patterns,
    /// Local archives are unpacked.
    pub(crate) unpack: bool,
    /// Owners are kept, and so are part of the digest.
    pub(crate) owners: bool,
}

/// Files that go to one place.
pub(crate) struct Picked {
    /// The tree that they are in, where it is not the one that was looked at.
    pub(crate) tree: Option<Rc<dyn Files>>,
    /// What each is called below the destination, or the destination's own name is, where that is no directory.
    pub(crate) name: Vec<u8>,
    /// It is what a directory holds, and goes right into the destination.
    pub(crate) contents: bool,
    /// Each file with its path below that; empty for the thing itself.
    pub(crate) entries: Vec<PickedEntry>,
}

/// One file.
#[derive(Debug)]
pub(crate) struct PickedEntry {
    pub(crate) below: Vec<u8>,
    pub(crate) info: FileInfo,
    pub(crate) from: From,
}

/// Where a file's bytes are.
#[derive(Debug, Clone)]
pub(crate) enum From {
    /// In the tree that was looked at.
    Tree(Vec<u8>),
    /// Here.
    Bytes(Vec<u8>),
    /// In a file without a name, from its beginning.
    Kept(Rc<File>),
    /// In the tree, and it is an archive to be unpacked.
    Archive(Vec<u8>),
    /// The same in a file without a name.
    KeptArchive(Rc<File>),
}

impl From {
    pub(crate) fn is_archive(&self) -> bool {
        matches!(self, Self::Archive(_) | Self::KeptArchive(_))
    }
}

/// A file without a name, read from its beginning by whoever wants.
pub(crate) struct Kept<'a> {
    file: &'a File,
    offset: u64,
}

impl<'a> Kept<'a> {
    pub(crate) fn new(file: &'a File) -> Self {
        Self { file, offset: 0 }
    }
}

impl Read for Kept<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

impl Picked {
    /// A file that stood in the Dockerfile, or came from somewhere else.
    pub(crate) fn inline(name: &str, bytes: Vec<u8>, mode: u16) -> Self {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(&bytes);
        let info = FileInfo {
            kind: FileKind::File(bytes.len() as u64),
            metadata: Metadata { mode, ..Metadata::default() },
            digest: Some(hasher.finish().digest),
        };
        let entries = vec![PickedEntry { below: Vec::new(), info, from: From::Bytes(bytes) }];
        Self { tree: None, name: name.as_bytes().to_vec(), contents: false, entries }
    }

    /// A file that was downloaded; unpacked if it is an archive and is to be.
    pub(crate) fn kept(
        name: &str,
        file: File,
        metadata: Metadata,
        unpack: bool,
    ) -> io::Result<Self> {
        let digest = Some(measured(&mut Kept::new(&file))?);
        let info = FileInfo { kind: FileKind::File(file.metadata()?.len()), metadata, digest };
        let unpack = unpack && is_archive(&mut Kept::new(&file));
        let file = Rc::new(file);
        let from = if unpack { From::KeptArchive(file) } else { From::Kept(file) };
        let entries = vec![PickedEntry { below: Vec::new(), info, from }];
        Ok(Self { tree: None, name: name.as_bytes().to_vec(), contents: false, entries })
    }

    /// Whether it is one thing that is no directory.
    pub(crate) fn is_file(&self) -> bool {
        !self.contents
    }
}

impl fmt::Debug for Picked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = String::from_utf8_lossy(&self.name);
        f.debug_struct("Picked").field("name", &name).field("entries", &self.entries).finish()
    }
}

/// Finds what one source means.
pub(crate) fn pick(picking: &Picking<'_>, source: &str) -> Result<Vec<Picked>, Fault> {
    let (pivot, text) = match source.split_once("/./").filter(|_| picking.parents) {
        Some((pivot, rest)) => (clean(pivot.as_bytes()), format!("{pivot}/{rest}")),
        None => (Vec::new(), source.to_owned()),
    };
    let has_pattern = text.contains(['*', '?', '[', '\\']);
    let path = clean(text.as_bytes());
    let found = if has_pattern { matching(picking.files, &path)? } else { vec![path] };
    let no_source = |ignored| Fault::NoSource { path: source.to_owned(), ignored };
    if found.is_empty() {
        return Err(no_source(true));
    }
    let mut picked = Vec::new();
    for path in found {
        let real = follow(picking.files, &path, true)?;
        let info = picking.files.look(&real)?.ok_or_else(|| no_source(false))?;
        picked.push(one(picking, &path, &real, info, &pivot)?);
    }
    Ok(picked)
}

fn one(
    picking: &Picking<'_>,
    path: &[u8],
    real: &[u8],
    info: FileInfo,
    pivot: &[u8],
) -> Result<Picked, Fault> {
    let mut entries = Vec::new();
    let is_directory = info.kind == FileKind::Directory;
    if picking.parents {
        let kept = path.strip_prefix(pivot).unwrap_or(path);
        let kept = clean(kept);
        let mut way = Vec::new();
        let names: Vec<&[u8]> = names_of(&kept).collect();
        for name in names.iter().take(names.len().saturating_sub(1)) {
            way = join(&way, name);
            let at = follow(picking.files, &join(pivot, &way), true)?;
            if let Some(info) = picking.files.look(&at)? {
                entries.push(PickedEntry { below: way.clone(), info, from: From::Tree(at) });
            }
        }
        walk(picking, real, &kept, base_name(&kept), info, &mut entries)?;
        return Ok(Picked { tree: None, name: Vec::new(), contents: true, entries });
    }
    let below: &[u8] = if is_directory { b"" } else { base_name(path) };
    walk(picking, real, b"", below, info, &mut entries)?;
    if entries.is_empty() && !is_directory {
        return Err(Fault::NoSource {
            path: String::from_utf8_lossy(path).into_owned(),
            ignored: true,
        });
    }
    let name = base_name(path).to_vec();
    Ok(Picked { tree: None, name, contents: is_directory, entries })
}

/// Adds what is at `real` and below; `name` is what exclusions call it.
fn walk(
    picking: &Picking<'_>,
    real: &[u8],
    below: &[u8],
    name: &[u8],
    info: FileInfo,
    entries: &mut Vec<PickedEntry>,
) -> Result<(), Fault> {
    let start = picking.exclude.start();
    if info.kind != FileKind::Directory {
        if !picking.exclude.check(name, &start).0 {
            add(picking, real, below.to_vec(), info, entries)?;
        }
        return Ok(());
    }
    entries.push(PickedEntry { below: below.to_vec(), info, from: From::Tree(real.to_vec()) });
    // What is still to be looked at, the next one last.
    let mut todo: Vec<(Vec<u8>, Seen)> = vec![(Vec::new(), start)];
    while let Some((directory, seen)) = todo.pop() {
        let mut deeper = Vec::new();
        for child in picking.files.names(&join(real, &directory))? {
            let path = join(&directory, &child);
            let from = join(real, &path);
            let Some(info) = picking.files.look(&from)? else { continue };
            let (excluded, seen) = picking.exclude.check(&path, &seen);
            let is_directory = info.kind == FileKind::Directory;
            if is_directory && (!excluded || picking.exclude.may_except_below(&path)) {
                deeper.push((path.clone(), seen));
            }
            if !excluded {
                add(picking, &from, join(below, &path), info, entries)?;
            }
        }
        todo.extend(deeper.into_iter().rev());
    }
    Ok(())
}

fn add(
    picking: &Picking<'_>,
    real: &[u8],
    below: Vec<u8>,
    mut info: FileInfo,
    entries: &mut Vec<PickedEntry>,
) -> Result<(), Fault> {
    let mut from = From::Tree(real.to_vec());
    match info.kind {
        FileKind::File(size) => {
            if picking.unpack
                && entries.is_empty()
                && size >= 4
                && is_archive(&mut *picking.files.open(real)?)
            {
                from = From::Archive(real.to_vec());
            }
            if info.digest.is_none() {
                info.digest = Some(measure(picking.files, real)?);
            }
        }
        // Sockets are in no archive.
        FileKind::Other => return Ok(()),
        _ => {}
    }
    entries.push(PickedEntry { below, info, from });
    Ok(())
}

fn measure(files: &dyn Files, path: &[u8]) -> Result<Digest, Fault> {
    let failed = |error| FilesError::Io { path: path.to_vec(), error };
    Ok(measured(&mut *files.open(path)?).map_err(failed)?)
}

fn measured(reader: &mut dyn Read) -> io::Result<Digest> {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut buffer = vec![0; 128 << 10];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(hasher.finish().digest),
            count => hasher.update(&buffer[..count]),
        }
    }
}

/// Whether it can be unpacked, as Docker tells: by what is in it, not by its name. A compressed file that is no tar
/// is just a file.
fn is_archive(source: &mut dyn Read) -> bool {
    let Ok(decoder) = Decoder::new(source, Limits { output_bytes_max: 1 << 40, ..Limits::NONE })
    else {
        return false;
    };
    let is_compressed = decoder.compression() != Some(dhow_spec::image::Compression::None);
    match Reader::new(decoder, Options::GENERAL).next_entry() {
        Ok(Some(_)) => true,
        // Nothing but zeros is an archive of nothing only where somebody compressed it.
        Ok(None) => is_compressed,
        Err(_) => false,
    }
}

/// Paths that a pattern means, in order; what is in a directory that it means comes with that.
pub(crate) fn matching(files: &dyn Files, pattern: &[u8]) -> Result<Vec<Vec<u8>>, Fault> {
    let pattern =
        if pattern.starts_with(b"!") { [b"\\", pattern].concat() } else { pattern.to_vec() };
    let patterns = Patterns::new([pattern])?;
    let mut found = Vec::new();
    let mut todo: Vec<(Vec<u8>, Seen)> = vec![(Vec::new(), patterns.start())];
    while let Some((directory, seen)) = todo.pop() {
        let mut deeper = Vec::new();
        for name in files.names(&directory)? {
            let path = join(&directory, &name);
            let (matches, seen) = patterns.check(&path, &seen);
            if matches {
                found.push(path);
            } else if files.look(&path)?.is_some_and(|info| info.kind == FileKind::Directory) {
                deeper.push((path, seen));
            }
        }
        todo.extend(deeper.into_iter().rev());
    }
    found.sort();
    Ok(found)
}

/// Adds to a key everything that the files' results depend on.
pub(crate) fn add_to_key(hasher: &mut Hasher, picked: &[Picked], owners: bool) {
    let mut field = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    for group in picked {
        field(&group.name);
        field(&[u8::from(group.contents)]);
        let mut entries: Vec<_> = group.entries.iter().collect();
        entries.sort_by(|a, b| a.below.cmp(&b.below));
        for entry in entries {
            let Metadata { mode, uid, gid, xattrs, .. } = &entry.info.metadata;
            field(&entry.below);
            field(&mode.to_le_bytes());
            if owners {
                field(&uid.to_le_bytes());
                field(&gid.to_le_bytes());
            }
            for (name, value) in xattrs {
                field(name);
                field(value);
            }
            match &entry.info.kind {
                FileKind::Directory => field(b"d"),
                FileKind::File(_) => {
                    let unpacked = entry.from.is_archive();
                    field(if unpacked { b"a" } else { b"f" });
                    if let Some(digest) = &entry.info.digest {
                        field(digest.to_string().as_bytes());
                    }
                }
                FileKind::Symlink(target) => {
                    field(b"l");
                    field(target);
                }
                FileKind::CharDevice(device) | FileKind::BlockDevice(device) => {
                    field(b"c");
                    field(&device.major.to_le_bytes());
                    field(&device.minor.to_le_bytes());
                }
                FileKind::Fifo => field(b"p"),
                FileKind::Other => field(b"o"),
            }
        }
    }
}
