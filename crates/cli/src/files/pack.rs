//! A file or tree of this machine, as an archive.
//!
//! Invariant: directories come before what is in them, names in order. Absent on purpose: sockets.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use dhow_archive::tar::{Content, Device, Entry, Kind, Metadata as Said, Time, Writer};

/// Where to go on: a path of this machine, and its name in the archive.
type Todo = (PathBuf, Vec<u8>);

/// Writes what is at `path` as an archive in which it is called `name`.
pub(crate) fn pack(path: &Path, name: &str, sink: impl Write) -> io::Result<()> {
    let mut writer = Writer::new(sink);
    let mut links: HashMap<(u64, u64), Vec<u8>> = HashMap::new();
    let mut todo: Vec<Todo> = vec![(path.to_owned(), name.as_bytes().to_vec())];
    while let Some((path, name)) = todo.pop() {
        let found = at(&path, std::fs::symlink_metadata(&path))?;
        if found.is_dir() {
            let mut inside: Vec<_> = at(&path, std::fs::read_dir(&path))?
                .map(|entry| entry.map(|entry| entry.file_name()))
                .collect::<io::Result<_>>()?;
            inside.sort_unstable_by(|a, b| b.cmp(a));
            let below = |child: &std::ffi::OsStr| match name.as_slice() {
                b"/" => [b"/", child.as_bytes()].concat(),
                name => [name, b"/", child.as_bytes()].concat(),
            };
            todo.extend(inside.iter().map(|child| (path.join(child), below(child))));
        }
        one(&path, name, &found, &mut links, &mut writer)?;
    }
    writer.finish().map_err(io::Error::other)?.flush()
}

fn one<W: Write>(
    path: &Path,
    name: Vec<u8>,
    found: &Metadata,
    links: &mut HashMap<(u64, u64), Vec<u8>>,
    writer: &mut Writer<W>,
) -> io::Result<()> {
    let kind = found.file_type();
    let device = || Device {
        major: rustix::fs::major(found.rdev()),
        minor: rustix::fs::minor(found.rdev()),
    };
    let id = (found.dev(), found.ino());
    let known = links.get(&id).filter(|_| found.nlink() > 1 && !kind.is_dir()).cloned();
    let kind = match known {
        Some(target) => Kind::HardLink { target },
        None if kind.is_file() => Kind::File(Content::plain(found.len())),
        None if kind.is_dir() => Kind::Directory,
        None if kind.is_symlink() => {
            let target = at(path, std::fs::read_link(path))?;
            Kind::Symlink { target: target.as_os_str().as_bytes().to_vec() }
        }
        None if kind.is_char_device() => Kind::CharDevice(device()),
        None if kind.is_block_device() => Kind::BlockDevice(device()),
        None if kind.is_fifo() => Kind::Fifo,
        None => return Ok(()),
    };
    if found.nlink() > 1 && !found.is_dir() {
        links.entry(id).or_insert_with(|| name.clone());
    }
    let metadata = Said {
        mode: (found.mode() & 0o7777) as u16,
        uid: found.uid(),
        gid: found.gid(),
        modified: Time { seconds: found.mtime(), nanoseconds: found.mtime_nsec() as u32 },
        ..Said::default()
    };
    let is_file = matches!(kind, Kind::File(_));
    let entry = Entry { path: name, kind, metadata };
    if !is_file {
        return writer.begin(&entry).map_err(io::Error::other);
    }
    // A file that grows meanwhile is as long as it was.
    let data = at(path, File::open(path))?.take(found.len());
    writer.append(&entry, data).map_err(io::Error::other)
}

/// Says which file it was.
fn at<T>(path: &Path, result: io::Result<T>) -> io::Result<T> {
    result.map_err(|error| io::Error::new(error.kind(), format!("{}: {}", path.display(), error)))
}
