//! An archive from a container, unpacked on this machine.
//!
//! Invariant: the way to an entry leads through directories alone: a link that the archive itself has made, or
//! that somebody made meanwhile, is not followed.

use std::fs::{File, Permissions};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use dhow_archive::tar::{Entry, Kind, Metadata, Options, Piece, Reader};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps};
use rustix::io::Errno;

/// The first name of all entries, and what it becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rename {
    pub(crate) from: String,
    pub(crate) to: String,
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Unpacks an archive into a directory that is there.
pub(crate) fn unpack(into: &Path, source: impl Read, rename: Option<&Rename>) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(into, flags, Mode::empty())?;
    let mut reader = Reader::new(source, Options::GENERAL);
    let mut directories: Vec<(Vec<u8>, Metadata)> = Vec::new();
    while let Some(entry) = reader.next_entry().map_err(io::Error::other)? {
        let path = place(&entry.path, rename)?;
        if path.is_empty() {
            continue;
        }
        let failed = |error: io::Error| {
            let path = into.join(String::from_utf8_lossy(&path).as_ref());
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        };
        put(&root, &path, &entry, &mut reader, rename).map_err(failed)?;
        if matches!(entry.kind, Kind::Directory) {
            directories.push((path, entry.metadata));
        }
    }
    for (path, said) in directories.iter().rev() {
        let dir = open_below(root.as_fd(), path)?;
        rustix::fs::fchmod(&dir, Mode::from_raw_mode(said.mode.into()))?;
        rustix::fs::futimens(&dir, &times(said))?;
    }
    Ok(())
}

/// An entry's path below the directory; empty for the directory itself.
fn place(path: &[u8], rename: Option<&Rename>) -> io::Result<Vec<u8>> {
    let renamed = match rename {
        None => path.to_vec(),
        Some(Rename { from, to }) => {
            let from = if from == "/" { "" } else { from.as_str() };
            let rest = path.strip_prefix(from.as_bytes());
            match rest {
                Some(rest) if rest.is_empty() || rest.starts_with(b"/") || from.is_empty() => {
                    [to.as_bytes(), if from.is_empty() { b"/" } else { b"" }, rest].concat()
                }
                _ => path.to_vec(),
            }
        }
    };
    let mut kept: Vec<&[u8]> = Vec::new();
    for name in renamed.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => return Err(io::Error::other("the archive leads out of its directory")),
            name => kept.push(name),
        }
    }
    Ok(kept.join(&b'/'))
}

fn put<R: Read>(
    root: &OwnedFd,
    path: &[u8],
    entry: &Entry,
    reader: &mut Reader<R>,
    rename: Option<&Rename>,
) -> io::Result<()> {
    let (parent, name) = split(path);
    let parent = make_way(root.as_fd(), parent)?;
    let parent = parent.as_fd();
    let is_directory = matches!(entry.kind, Kind::Directory);
    let there = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Some(FileType::from_raw_mode(stat.st_mode)),
        Err(Errno::NOENT) => None,
        Err(errno) => return Err(errno.into()),
    };
    match (there, is_directory) {
        (None, _) | (Some(FileType::Directory), true) => {}
        (Some(FileType::Directory), false) => {
            return Err(io::Error::other("cannot overwrite directory with non-directory"));
        }
        (Some(_), true) => {
            return Err(io::Error::other("cannot overwrite non-directory with directory"));
        }
        (Some(_), false) => rustix::fs::unlinkat(parent, name, AtFlags::empty())?,
    }
    let said = &entry.metadata;
    match &entry.kind {
        Kind::Directory => match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        },
        Kind::File(content) => file(parent, name, content.size, said, reader)?,
        Kind::Symlink { target } => {
            rustix::fs::symlinkat(target.as_slice(), parent, name)?;
            rustix::fs::utimensat(parent, name, &times(said), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Kind::HardLink { target } => {
            let target = place(target, rename)?;
            let (dir, last) = split(&target);
            let dir = open_below(root.as_fd(), dir)?;
            rustix::fs::linkat(&dir, last, parent, name, AtFlags::empty())?;
        }
        Kind::CharDevice(device) | Kind::BlockDevice(device) => {
            let kind = match entry.kind {
                Kind::CharDevice(_) => FileType::CharacterDevice,
                _ => FileType::BlockDevice,
            };
            let number = rustix::fs::makedev(device.major, device.minor);
            rustix::fs::mknodat(parent, name, kind, mode(said), number)?;
        }
        Kind::Fifo => rustix::fs::mknodat(parent, name, FileType::Fifo, mode(said), 0)?,
    }
    Ok(())
}

fn file<R: Read>(
    parent: BorrowedFd<'_>,
    name: &[u8],
    size: u64,
    said: &Metadata,
    reader: &mut Reader<R>,
) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)?);
    let mut body = reader.body();
    while let Some(piece) = body.piece().map_err(io::Error::other)? {
        if let Piece::Data { offset, bytes } = piece {
            file.write_all_at(bytes, offset)?;
        }
    }
    file.set_len(size)?;
    file.set_permissions(Permissions::from_mode(said.mode.into()))?;
    Ok(rustix::fs::futimens(&file, &times(said))?)
}

fn mode(said: &Metadata) -> Mode {
    Mode::from_raw_mode(said.mode.into())
}

fn times(said: &Metadata) -> Timestamps {
    let time =
        Timespec { tv_sec: said.modified.seconds, tv_nsec: said.modified.nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// Opens a directory below `root`, making those that are not there.
fn make_way(root: BorrowedFd<'_>, path: &[u8]) -> io::Result<OwnedFd> {
    match open_below(root, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    let mut dir = open_below(root, b"")?;
    for name in path.split(|byte| *byte == b'/') {
        match rustix::fs::mkdirat(&dir, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        dir = rustix::fs::openat(&dir, name, DIRECTORY, Mode::empty())?;
    }
    Ok(dir)
}

fn open_below(root: BorrowedFd<'_>, path: &[u8]) -> io::Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(root, path, DIRECTORY, Mode::empty(), resolve)?)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::os::unix::fs::MetadataExt;
    use std::path::PathBuf;

    use dhow_archive::tar::{Content, Writer};

    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("dhow-cp-{name}-{}", std::process::id()));
            std::fs::create_dir(&path).expect("a directory");
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn archive(entries: &[(&str, Kind, &str)]) -> Cursor<Vec<u8>> {
        let mut writer = Writer::new(Vec::new());
        for (path, kind, data) in entries {
            let metadata = Metadata { mode: 0o640, ..Metadata::default() };
            let kind = kind.clone();
            let entry = Entry { path: path.as_bytes().to_vec(), kind, metadata };
            writer.append(&entry, data.as_bytes()).expect("an entry");
        }
        Cursor::new(writer.finish().expect("an archive"))
    }

    fn file(size: u64) -> Kind {
        Kind::File(Content::plain(size))
    }

    #[test]
    fn no_entry_leads_out() {
        let scratch = Scratch::new("out");
        let inside = scratch.0.join("inside");
        std::fs::create_dir(&inside).expect("a directory");
        let link = || Kind::Symlink { target: b"..".to_vec() };
        let through = archive(&[("l", link(), ""), ("l/x", file(1), "x")]);
        unpack(&inside, through, None).expect_err("through a link");
        unpack(&inside, archive(&[("../x", file(1), "x")]), None).expect_err("by name");
        assert!(!scratch.0.join("x").exists());
        unpack(&inside, archive(&[("l", file(3), "new")]), None).expect("the link is replaced");
        assert_eq!(std::fs::read(inside.join("l")).expect("a file"), b"new");
    }

    #[test]
    fn the_first_name_is_changed() {
        let scratch = Scratch::new("rename");
        let link = Kind::HardLink { target: b"a/f".to_vec() };
        let entries = [("a", Kind::Directory, ""), ("a/f", file(1), "f"), ("a/g", link, "")];
        let rename = Rename { from: "a".to_owned(), to: "b".to_owned() };
        unpack(&scratch.0, archive(&entries), Some(&rename)).expect("unpacked");
        let found = std::fs::metadata(scratch.0.join("b/g")).expect("a file");
        assert_eq!((found.nlink(), found.mode() & 0o777), (2, 0o640));
        let rename = Rename { from: "/".to_owned(), to: "c".to_owned() };
        let whole = archive(&[("/x", file(1), "x")]);
        unpack(&scratch.0, whole, Some(&rename)).expect("unpacked");
        assert!(scratch.0.join("c/x").exists());
    }

    #[test]
    fn what_was_packed_is_unpacked() {
        let scratch = Scratch::new("round");
        let from = scratch.0.join("from");
        std::fs::create_dir_all(from.join("sub")).expect("a directory");
        std::fs::write(from.join("sub/f"), "data").expect("a file");
        std::os::unix::fs::symlink("sub/f", from.join("l")).expect("a link");
        let mut bytes = Vec::new();
        crate::files::pack(&from, "to", &mut bytes).expect("packed");
        unpack(&scratch.0, Cursor::new(bytes), None).expect("unpacked");
        assert_eq!(std::fs::read(scratch.0.join("to/l")).expect("by the link"), b"data");
    }
}
