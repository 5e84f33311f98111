//! A directory as the context of a build: walked by its ignore file, and read as an archive.
//!
//! Invariant: what the ignore file excludes is not looked into, unless an exception may be for something in it; the
//! Dockerfile and the ignore file travel all the same, for the engine needs them and leaves them out itself. Owners
//! do not travel: they mean nothing elsewhere.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use dhow_archive::ignore::{Patterns, Seen};
use dhow_archive::tar::{Content, Entry, Kind, Metadata, Time, Writer};

use crate::failure::Failure;

/// Bytes of a file that are read at once.
const PIECE_BYTES: usize = 256 << 10;

/// A directory on its way to the engine.
pub(crate) struct Context {
    /// Files that are left, in order.
    left: VecDeque<Item>,
    /// A Dockerfile from elsewhere, and its name in the archive.
    extra: Option<(String, Vec<u8>)>,
    sink: Sink,
    writer: Option<Writer<Sink>>,
    file: Option<Bytes>,
    piece: Vec<u8>,
    /// Bytes that were made and not read yet.
    ready: Vec<u8>,
    at: usize,
}

/// A file that is to travel.
struct Item {
    /// The directory that it is below.
    root: Rc<Path>,
    /// The directory of the archive that it goes to; empty for the archive itself.
    into: Rc<str>,
    path: PathBuf,
}

/// A file that is being read, and how much of it is left.
type Bytes = (File, u64);

/// What the archive is written to, and read from again.
#[derive(Clone, Default)]
struct Sink(Rc<RefCell<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Context {
    /// Walks `root`; `dockerfile` is the path in it of what travels whatever is ignored.
    pub(crate) fn walk(
        root: &Path,
        dockerfile: &str,
        extra: Option<(String, Vec<u8>)>,
    ) -> Result<Self, Failure> {
        let ignore = read_ignore(root, dockerfile)?;
        let always = [dockerfile, ".dockerignore", &format!("{dockerfile}.dockerignore")];
        Ok(Self::of(walk(root, "", &ignore, &always)?, extra))
    }

    /// Sends another directory along, below one of the archive's.
    pub(crate) fn add(&mut self, root: &Path, into: &str, ignores: bool) -> Result<(), Failure> {
        let ignore = if ignores { read_ignore(root, "Dockerfile")? } else { Vec::new() };
        self.left.extend(walk(root, into, &ignore, &[])?);
        Ok(())
    }

    /// One file and nothing else.
    pub(crate) fn of_file(name: &str, bytes: Vec<u8>) -> Self {
        Self::of(VecDeque::new(), Some((name.to_owned(), bytes)))
    }

    fn of(left: VecDeque<Item>, extra: Option<(String, Vec<u8>)>) -> Self {
        let sink = Sink::default();
        let writer = Some(Writer::new(sink.clone()));
        let piece = vec![0; PIECE_BYTES];
        Self { left, extra, sink, writer, file: None, piece, ready: Vec::new(), at: 0 }
    }

    /// Makes some more bytes; false at the end.
    fn more(&mut self) -> io::Result<bool> {
        let Some(writer) = &mut self.writer else { return Ok(false) };
        if let Some((file, left)) = &mut self.file {
            let most = usize::try_from(*left).unwrap_or(usize::MAX).min(self.piece.len());
            match file.read(&mut self.piece[..most])? {
                0 => return Err(io::Error::other("a file became shorter while it was read")),
                count => {
                    writer.write_all(&self.piece[..count])?;
                    *left -= count as u64;
                }
            }
            if *left == 0 {
                self.file = None;
            }
            return Ok(true);
        }
        if let Some(Item { root, into, path }) = self.left.pop_front() {
            let at = |error: io::Error| {
                let place = root.join(&path);
                io::Error::new(error.kind(), format!("{}: {error}", place.display()))
            };
            if let Some((mut entry, file)) = entry(&root, &path).map_err(at)? {
                if !into.is_empty() {
                    entry.path = [into.as_bytes(), b"/", &entry.path].concat();
                }
                writer.begin(&entry).map_err(io::Error::other)?;
                self.file = file;
            }
            return Ok(true);
        }
        if let Some((name, bytes)) = self.extra.take() {
            let kind = Kind::File(Content::plain(bytes.len() as u64));
            let metadata = Metadata { mode: 0o600, ..Metadata::default() };
            let entry = Entry { path: name.into_bytes(), kind, metadata };
            writer.append(&entry, &*bytes).map_err(io::Error::other)?;
            return Ok(true);
        }
        if let Some(writer) = self.writer.take() {
            writer.finish().map_err(io::Error::other)?;
        }
        Ok(true)
    }
}

impl Read for Context {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.ready.len() {
            self.at = 0;
            self.ready.clear();
            if !self.more()? {
                return Ok(0);
            }
            std::mem::swap(&mut self.ready, &mut self.sink.0.borrow_mut());
        }
        let rest = &self.ready[self.at..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        Ok(count)
    }
}

/// What of a directory travels; `always` are paths that do whatever is ignored.
fn walk(
    root: &Path,
    into: &str,
    ignore: &[u8],
    always: &[&str],
) -> Result<VecDeque<Item>, Failure> {
    let patterns = Patterns::parse(ignore).map_err(|error| {
        Failure::Invalid(format!("{}: {error}", root.join(".dockerignore").display()))
    })?;
    let (shared, into): (Rc<Path>, Rc<str>) = (root.into(), into.into());
    let mut left = VecDeque::new();
    let mut todo: Vec<(PathBuf, Seen)> = vec![(PathBuf::new(), patterns.start())];
    while let Some((directory, seen)) = todo.pop() {
        let mut deeper = Vec::new();
        for (name, is_directory) in names(&root.join(&directory))? {
            let path = directory.join(name);
            let bytes = path.as_os_str().as_bytes();
            let (ignored, seen) = patterns.check(bytes, &seen);
            let leads = |wanted: &&str| {
                let wanted = wanted.as_bytes();
                wanted.starts_with(bytes) && wanted.get(bytes.len()) == Some(&b'/')
            };
            let wanted_below =
                is_directory && (patterns.may_except_below(bytes) || always.iter().any(leads));
            if !ignored || always.iter().any(|wanted| wanted.as_bytes() == bytes) {
                let (root, into) = (shared.clone(), into.clone());
                left.push_back(Item { root, into, path: path.clone() });
            }
            if is_directory && (!ignored || wanted_below) {
                deeper.push((path, seen));
            }
        }
        todo.extend(deeper.into_iter().rev());
    }
    Ok(left)
}

/// The names in a directory, in order, and which of them are directories.
fn names(place: &Path) -> Result<Vec<(OsString, bool)>, Failure> {
    let failed = || place.display().to_string();
    let mut names = Vec::new();
    for entry in std::fs::read_dir(place).map_err(Failure::io("read", failed()))? {
        let entry = entry.map_err(Failure::io("read", failed()))?;
        let kind = entry.file_type().map_err(Failure::io("look at", failed()))?;
        names.push((entry.file_name(), kind.is_dir()));
    }
    names.sort();
    Ok(names)
}

fn read_ignore(root: &Path, dockerfile: &str) -> Result<Vec<u8>, Failure> {
    for name in [format!("{dockerfile}.dockerignore"), ".dockerignore".to_owned()] {
        let path = root.join(name);
        match std::fs::read(&path) {
            Ok(bytes) => return Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Failure::io("read", path.display().to_string())(error)),
        }
    }
    Ok(Vec::new())
}

/// What an archive says of a file, and the file if it has bytes; nothing for sockets.
fn entry(root: &Path, path: &Path) -> io::Result<Option<(Entry, Option<Bytes>)>> {
    let place = root.join(path);
    let found = std::fs::symlink_metadata(&place)?;
    let kind = found.file_type();
    let mut file = None;
    let kind = if kind.is_dir() {
        Kind::Directory
    } else if kind.is_symlink() {
        let target = std::fs::read_link(&place)?;
        Kind::Symlink { target: target.into_os_string().into_vec() }
    } else if kind.is_file() {
        let opened = File::open(&place)?;
        let size = opened.metadata()?.len();
        file = Some((opened, size)).filter(|(_, size)| *size > 0);
        Kind::File(Content::plain(size))
    } else if kind.is_fifo() {
        Kind::Fifo
    } else {
        // Sockets are in no archive; devices mean nothing elsewhere.
        return Ok(None);
    };
    let metadata = Metadata {
        mode: (found.mode() & 0o7777) as u16,
        modified: Time {
            seconds: found.mtime(),
            nanoseconds: u32::try_from(found.mtime_nsec()).unwrap_or(0),
        },
        ..Metadata::default()
    };
    let path = path.as_os_str().as_bytes().to_vec();
    Ok(Some((Entry { path, kind, metadata }, file)))
}

#[cfg(test)]
mod tests {
    use dhow_archive::tar::{Options, Reader};

    use super::*;

    #[test]
    fn what_is_ignored_does_not_travel() {
        let root = std::env::temp_dir().join(format!("dhow-walk-{}", std::process::id()));
        let put = |path: &str, text: &str| {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            std::fs::write(path, text).expect("a file");
        };
        put("Dockerfile", "FROM scratch");
        put(".dockerignore", "*\n!src\nsrc/*.o\n");
        put("src/a.c", "int a;");
        put("src/a.o", "no");
        put("secret", "no");
        let extra = Some((".dockerfile.x".to_owned(), b"FROM x".to_vec()));
        let context = Context::walk(&root, "Dockerfile", extra).expect("a context");
        let mut reader = Reader::new(context, Options::GENERAL);
        let mut names = Vec::new();
        while let Some(entry) = reader.next_entry().expect("an entry") {
            names.push(String::from_utf8_lossy(&entry.path).into_owned());
        }
        std::fs::remove_dir_all(&root).expect("removed");
        let names: Vec<_> = names.iter().map(|name| name.trim_end_matches('/')).collect();
        assert_eq!(names, [".dockerignore", "Dockerfile", "src", "src/a.c", ".dockerfile.x"]);
    }
}
