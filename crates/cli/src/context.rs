//! A directory as the context of a build: walked by its ignore file, told of as a listing, and read as an archive.
//!
//! Invariant: what the ignore file excludes is not looked into, unless an exception may be for something in it; the
//! Dockerfile and the ignore file travel all the same, for the engine needs them and leaves them out itself. Owners
//! do not travel: they mean nothing elsewhere.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use dhow_archive::hash::Hasher;
use dhow_archive::ignore::{Patterns, Seen};
use dhow_archive::listing::{self, BODY_BYTES_MAX, Listed, ListedKind, Stamp};
use dhow_archive::tar::{Content, Entry, Kind, Metadata, Time, Writer};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, openat, readlinkat, statat};

use crate::failure::Failure;

/// Bytes of a file that are read at once.
const PIECE_BYTES: usize = 256 << 10;
/// What was changed so short a time ago may be changed again without another time.
const RACY_NS: i128 = 100_000_000;
/// The same where times have no fractions.
const RACY_COARSE_NS: i128 = 2_000_000_000;

/// A directory on its way to the engine.
pub(crate) struct Context {
    /// What travels, in order.
    items: Vec<Item>,
    /// By what the engine is to know it the next time.
    name: Hasher,
}

/// What travels of a directory.
struct Item {
    listed: Listed,
    /// The directory that it is below; nothing where its bytes are at hand.
    root: Option<Rc<Path>>,
    /// How much of its path is the place in the archive that the directory goes to.
    into: usize,
}

/// A context as an archive, or some files of it.
pub(crate) struct Archive<'a> {
    left: Box<dyn Iterator<Item = &'a Item> + 'a>,
    sink: Sink,
    writer: Option<Writer<Sink>>,
    file: Option<Bytes>,
    piece: Vec<u8>,
    /// Bytes that were made and not read yet.
    ready: Vec<u8>,
    at: usize,
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
        let mut context = Self::empty();
        context.tree(root, "", &ignore, &always)?;
        context.extra(extra);
        Ok(context)
    }

    /// Sends another directory along, below one of the archive's.
    pub(crate) fn add(&mut self, root: &Path, into: &str, ignores: bool) -> Result<(), Failure> {
        let ignore = if ignores { read_ignore(root, "Dockerfile")? } else { Vec::new() };
        self.tree(root, into, &ignore, &[])
    }

    /// One file and nothing else.
    pub(crate) fn of_file(name: &str, bytes: Vec<u8>) -> Self {
        let mut context = Self::empty();
        context.extra(Some((name.to_owned(), bytes)));
        context
    }

    fn empty() -> Self {
        let mut name = Hasher::new(dhow_spec::Algorithm::Sha256);
        name.update(rustix::system::uname().nodename().to_bytes_with_nul());
        Self { items: Vec::new(), name }
    }

    fn extra(&mut self, extra: Option<(String, Vec<u8>)>) {
        let Some((name, bytes)) = extra else { return };
        let kind = ListedKind::Body(bytes);
        let modified = Time::default();
        let listed = Listed { path: name.into_bytes(), kind, mode: 0o600, modified };
        self.items.push(Item { listed, root: None, into: 0 });
    }

    /// How many files, directories and links there are.
    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.items.len()).unwrap_or(u32::MAX)
    }

    /// By what the engine is to know it the next time: whose it is, and where.
    pub(crate) fn name(&self) -> String {
        self.name.clone().finish().digest.hex().to_string()
    }

    /// What there is, without the bytes of files.
    pub(crate) fn listing(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.items.len() * 96);
        // Memory takes what is written.
        let written = listing::begin(&mut bytes)
            .and_then(|()| {
                self.items.iter().try_for_each(|item| listing::write(&mut bytes, &item.listed))
            })
            .and_then(|()| listing::end(&mut bytes));
        debug_assert!(written.is_ok(), "paths are not so long");
        bytes
    }

    /// Everything.
    pub(crate) fn archive(&self) -> Archive<'_> {
        Archive::of(Box::new(self.items.iter()))
    }

    /// The files of these numbers in the listing.
    pub(crate) fn files(&self, numbers: &BTreeSet<u32>) -> Archive<'_> {
        let numbers: Vec<u32> = numbers.iter().copied().collect();
        Archive::of(Box::new(numbers.into_iter().filter_map(|at| self.items.get(at as usize))))
    }

    /// What of a directory travels; `always` are paths that do whatever is ignored.
    fn tree(
        &mut self,
        root: &Path,
        into: &str,
        ignore: &[u8],
        always: &[&str],
    ) -> Result<(), Failure> {
        self.name.update(into.as_bytes());
        self.name.update(b"\0");
        self.name.update(root.as_os_str().as_bytes());
        self.name.update(b"\0");
        let patterns = Patterns::parse(ignore).map_err(|error| {
            Failure::Invalid(format!("{}: {error}", root.join(".dockerignore").display()))
        })?;
        let mut walk = Walk { root: root.into(), into, now: now_ns(), always };
        let mut todo: Vec<(Vec<u8>, Seen)> = vec![(Vec::new(), patterns.start())];
        while let Some((directory, seen)) = todo.pop() {
            let deeper = walk.directory(&directory, &seen, &patterns, &mut self.items);
            let deeper = deeper.map_err(|(path, source)| {
                let path = walk.root.join(OsStr::from_bytes(&path));
                Failure::io("read", path.display().to_string())(source)
            })?;
            todo.extend(deeper.into_iter().rev());
        }
        Ok(())
    }
}

/// A directory that is being walked.
struct Walk<'a> {
    root: Rc<Path>,
    /// The directory of the archive that it goes to; empty for the archive itself.
    into: &'a str,
    /// When that began.
    now: i128,
    /// Paths that travel whatever is ignored.
    always: &'a [&'a str],
}

impl Walk<'_> {
    /// Adds what is in one directory; gives the directories in it that are to be walked.
    #[expect(clippy::type_complexity, reason = "directories, or where it failed and why")]
    fn directory(
        &mut self,
        directory: &[u8],
        seen: &Seen,
        patterns: &Patterns,
        items: &mut Vec<Item>,
    ) -> Result<Vec<(Vec<u8>, Seen)>, (Vec<u8>, io::Error)> {
        let at = |path: &[u8]| {
            let path = path.to_vec();
            move |errno: rustix::io::Errno| (path, io::Error::from(errno))
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let place = self.root.join(OsStr::from_bytes(directory));
        let opened = openat(CWD, &place, flags, Mode::empty()).map_err(at(directory))?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&opened).map_err(at(directory))? {
            let entry = entry.map_err(at(directory))?;
            let name = entry.file_name();
            if !matches!(name.to_bytes(), b"." | b"..") {
                names.push((name.to_owned(), entry.file_type()));
            }
        }
        names.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let mut deeper = Vec::new();
        for (name, kind) in names {
            let path = match directory {
                b"" => name.to_bytes().to_vec(),
                directory => [directory, b"/", name.to_bytes()].concat(),
            };
            let look = || statat(&opened, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(at(&path));
            let kind = match kind {
                FileType::Unknown => FileType::from_raw_mode(look()?.st_mode),
                kind => kind,
            };
            let is_directory = kind == FileType::Directory;
            let (ignored, seen) = patterns.check(&path, seen);
            let always = self.always.iter().any(|wanted| wanted.as_bytes() == path);
            if !ignored || always {
                let found = look()?;
                let target = match FileType::from_raw_mode(found.st_mode) {
                    FileType::Symlink => {
                        readlinkat(&opened, &name, Vec::new()).map_err(at(&path))?.into_bytes()
                    }
                    _ => Vec::new(),
                };
                items.extend(self.item(&path, &found, target, always));
            }
            if is_directory && (!ignored || self.is_wanted_below(&path, patterns)) {
                deeper.push((path, seen));
            }
        }
        Ok(deeper)
    }

    /// Whether something in an ignored directory may be wanted.
    fn is_wanted_below(&self, path: &[u8], patterns: &Patterns) -> bool {
        let leads = |wanted: &&str| {
            let wanted = wanted.as_bytes();
            wanted.starts_with(path) && wanted.get(path.len()) == Some(&b'/')
        };
        patterns.may_except_below(path) || self.always.iter().any(leads)
    }

    /// What a listing says of a file; nothing for sockets, which are in no archive, and devices, which mean nothing
    /// elsewhere.
    fn item(&self, path: &[u8], found: &Stat, target: Vec<u8>, always: bool) -> Option<Item> {
        let size = u64::try_from(found.st_size).unwrap_or(0);
        let kind = match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => ListedKind::Directory,
            FileType::Symlink => ListedKind::Symlink(target),
            FileType::Fifo => ListedKind::Fifo,
            FileType::RegularFile => match self.body(path, size, always) {
                Some(body) => ListedKind::Body(body),
                None => ListedKind::File { size, stamp: self.stamp(found) },
            },
            _ => return None,
        };
        let (path, into) = match self.into {
            "" => (path.to_vec(), 0),
            into => ([into.as_bytes(), b"/", path].concat(), into.len() + 1),
        };
        let mode = (found.st_mode & 0o7777) as u16;
        let modified = time(found.st_mtime, found.st_mtime_nsec);
        let listed = Listed { path, kind, mode, modified };
        Some(Item { listed, root: Some(self.root.clone()), into })
    }

    /// The bytes of a small file that the engine needs in any case.
    fn body(&self, path: &[u8], size: u64, always: bool) -> Option<Vec<u8>> {
        if !always || size > BODY_BYTES_MAX as u64 {
            return None;
        }
        // One that cannot be read is told of where it is sent.
        let body = std::fs::read(self.root.join(OsStr::from_bytes(path))).ok()?;
        Some(body).filter(|body| body.len() <= BODY_BYTES_MAX)
    }

    /// What a file is known again by; nothing where it was changed just now.
    fn stamp(&self, found: &Stat) -> Option<Stamp> {
        let changed = time(found.st_ctime, found.st_ctime_nsec);
        let at = i128::from(changed.seconds) * 1_000_000_000 + i128::from(changed.nanoseconds);
        let racy = if changed.nanoseconds == 0 { RACY_COARSE_NS } else { RACY_NS };
        (at + racy < self.now).then_some(Stamp {
            device: found.st_dev,
            inode: found.st_ino,
            changed,
        })
    }
}

fn now_ns() -> i128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.ok().and_then(|since| i128::try_from(since.as_nanos()).ok()).unwrap_or(0)
}

fn time(seconds: i64, nanoseconds: impl TryInto<u32>) -> Time {
    Time { seconds, nanoseconds: nanoseconds.try_into().unwrap_or(0) }
}

impl<'a> Archive<'a> {
    fn of(left: Box<dyn Iterator<Item = &'a Item> + 'a>) -> Self {
        let sink = Sink::default();
        let writer = Some(Writer::new(sink.clone()));
        let piece = vec![0; PIECE_BYTES];
        Self { left, sink, writer, file: None, piece, ready: Vec::new(), at: 0 }
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
        if let Some(item) = self.left.next() {
            let (entry, file) = item.entry().map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", item.place().display()))
            })?;
            writer.begin(&entry).map_err(io::Error::other)?;
            if let ListedKind::Body(body) = &item.listed.kind {
                writer.write_all(body)?;
            }
            self.file = file;
            return Ok(true);
        }
        if let Some(writer) = self.writer.take() {
            writer.finish().map_err(io::Error::other)?;
        }
        Ok(true)
    }
}

impl Item {
    /// Where it is on this machine.
    fn place(&self) -> PathBuf {
        let path = OsStr::from_bytes(&self.listed.path[self.into..]);
        self.root.as_ref().map_or_else(|| path.into(), |root| root.join(path))
    }

    /// What an archive says of it, and the file if it has bytes that are not at hand.
    fn entry(&self) -> io::Result<(Entry, Option<Bytes>)> {
        let mut file = None;
        let kind = match &self.listed.kind {
            ListedKind::Directory => Kind::Directory,
            ListedKind::Symlink(target) => Kind::Symlink { target: target.clone() },
            ListedKind::Fifo => Kind::Fifo,
            ListedKind::Body(body) => Kind::File(Content::plain(body.len() as u64)),
            ListedKind::File { .. } => {
                let opened = File::open(self.place())?;
                let size = opened.metadata()?.len();
                file = Some((opened, size)).filter(|(_, size)| *size > 0);
                Kind::File(Content::plain(size))
            }
        };
        let Listed { path, mode, modified, .. } = &self.listed;
        let metadata = Metadata { mode: *mode, modified: *modified, ..Metadata::default() };
        Ok((Entry { path: path.clone(), kind, metadata }, file))
    }
}

impl Read for Archive<'_> {
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
        let mut reader = Reader::new(context.archive(), Options::GENERAL);
        let mut names = Vec::new();
        while let Some(entry) = reader.next_entry().expect("an entry") {
            names.push(String::from_utf8_lossy(&entry.path).into_owned());
        }
        std::fs::remove_dir_all(&root).expect("removed");
        let names: Vec<_> = names.iter().map(|name| name.trim_end_matches('/')).collect();
        assert_eq!(names, [".dockerignore", "Dockerfile", "src", "src/a.c", ".dockerfile.x"]);
    }

    #[test]
    fn what_is_told_is_what_may_be_asked_for() {
        let root = std::env::temp_dir().join(format!("dhow-told-{}", std::process::id()));
        std::fs::create_dir_all(root.join("d")).expect("a directory");
        std::fs::write(root.join("Dockerfile"), "FROM scratch").expect("a file");
        std::fs::write(root.join("d/f"), "bytes").expect("a file");
        let mut context = Context::walk(&root, "Dockerfile", None).expect("a context");
        context.add(&root.join("d"), "more", true).expect("another directory");
        let told = context.listing();
        let mut rest = &told[..];
        listing::read_head(&mut rest).expect("a listing");
        let mut all = Vec::new();
        while let Some(listed) = listing::read(&mut rest).expect("an entry") {
            all.push(listed);
        }
        let paths: Vec<_> = all.iter().map(|one| String::from_utf8_lossy(&one.path)).collect();
        assert_eq!(paths, ["Dockerfile", "d", "d/f", "more/f"]);
        assert_eq!(all[0].kind, ListedKind::Body(b"FROM scratch".to_vec()));
        // It was written just now.
        assert_eq!(all[2].kind, ListedKind::File { size: 5, stamp: None });
        let later = Walk { root: root.as_path().into(), into: "", now: i128::MAX, always: &[] };
        let found = rustix::fs::stat(root.join("d/f")).expect("a file");
        assert_eq!(later.stamp(&found).map(|stamp| stamp.inode), Some(found.st_ino));

        let mut reader = Reader::new(context.files(&BTreeSet::from([3])), Options::GENERAL);
        let entry = reader.next_entry().expect("an entry").expect("one");
        assert_eq!(entry.path, b"more/f");
        let mut text = String::new();
        reader.body().read_to_string(&mut text).expect("its bytes");
        assert_eq!(text, "bytes");
        assert!(reader.next_entry().expect("the end").is_none());
        let elsewhere = Context::walk(&root.join("d"), "Dockerfile", None).expect("a context");
        assert_ne!(context.name(), elsewhere.name());
        std::fs::remove_dir_all(&root).expect("removed");
    }
}
