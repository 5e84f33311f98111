//! One directory of one hierarchy, and the reading and writing of its files.
//!
//! Files are opened by whole path, not below a directory fd: cgroup file systems have no symlinks and
//! every name in them is the kernel's or the configuration's, so there is nothing to race with, and the
//! fd would cost two calls for each of up to ten hierarchies, most of which have one file touched.

use std::cell::OnceCell;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::controller::{Controller, Controllers};
use super::error::CgroupError;
use super::hierarchy::Version;

/// A container's cgroup in one hierarchy.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) version: Version,
    /// What a record calls the hierarchy: controllers, `name=…`, "" for version 2.
    pub(super) keys: Vec<String>,
    pub(super) path: PathBuf,
    /// Version 1: from the mount. Version 2: read from `cgroup.controllers` once it is asked for.
    controllers: OnceCell<Controllers>,
    /// Version 2: why some controllers could not be turned on above it.
    pub(super) refusal: Option<CgroupError>,
}

impl Node {
    pub(super) fn new(version: Version, keys: Vec<String>, path: PathBuf) -> Node {
        let controllers = OnceCell::new();
        if version == Version::V1 {
            let known = keys.iter().filter_map(|key| Controller::from_v1_name(key)).collect();
            let _ = controllers.set(known);
        }
        Node { version, keys, path, controllers, refusal: None }
    }

    /// The controllers that this directory has files of.
    pub(super) fn controllers(&self) -> Result<Controllers, CgroupError> {
        if let Some(known) = self.controllers.get() {
            return Ok(*known);
        }
        let found = Controllers::from_v2_list(&read_value(&self.file("cgroup.controllers"))?);
        Ok(*self.controllers.get_or_init(|| found))
    }

    /// Remembers what `cgroup.controllers` says, for a caller that has just changed or read it.
    pub(super) fn set_controllers(&mut self, controllers: Controllers) {
        self.controllers = OnceCell::from(controllers);
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(super) fn read(&self, name: &str) -> Result<String, CgroupError> {
        read_text(&self.file(name))
    }

    /// A file that holds one number; `max` is the largest.
    pub(super) fn read_number(&self, name: &str) -> Result<u64, CgroupError> {
        let text = read_value(&self.file(name))?;
        match text.trim() {
            "max" => Ok(u64::MAX),
            // Version 1 knows counters that go below zero for a moment.
            number => number
                .parse::<u64>()
                .or_else(|_| number.parse::<i64>().map(|_| 0))
                .map_err(|_| CgroupError::Malformed { file: self.file(name), text: text.clone() }),
        }
    }

    /// Writes all of `value` in one call, as the kernel wants it.
    pub(super) fn write(&self, name: &str, value: &str) -> Result<(), CgroupError> {
        write_file(&self.file(name), value)
    }

    /// As `write`, for settings that not every kernel has: tells whether the file is there.
    pub(super) fn write_if_there(&self, name: &str, value: &str) -> Result<bool, CgroupError> {
        match self.write(name, value) {
            Ok(()) => Ok(true),
            Err(error) if error.is_absent() => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) fn open(&self, name: &str, flags: OFlags) -> Result<OwnedFd, CgroupError> {
        open(&self.file(name), flags)
    }
}

pub(super) fn open(path: &Path, flags: OFlags) -> Result<OwnedFd, CgroupError> {
    rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| CgroupError::Read { file: path.to_owned(), errno })
}

pub(super) fn write_file(file: &Path, value: &str) -> Result<(), CgroupError> {
    let write = || {
        let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::CLOEXEC;
        let fd = rustix::fs::open(file, flags, Mode::empty())?;
        rustix::io::retry_on_intr(|| rustix::io::write(&fd, value.as_bytes()))
    };
    let done = write().and_then(|count| match count == value.len() {
        true => Ok(()),
        false => Err(Errno::IO),
    });
    done.map_err(|errno| CgroupError::Write {
        file: file.to_owned(),
        value: value.to_owned(),
        errno,
    })
}

pub(super) fn read_text(file: &Path) -> Result<String, CgroupError> {
    let bytes = read_file(file)?;
    String::from_utf8(bytes).map_err(|error| CgroupError::Malformed {
        file: file.to_owned(),
        text: String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

/// Reads a file whose whole text the kernel makes at once, and which a page holds: one call, since a short
/// read is the end. Lists of records (`cgroup.procs`, mountinfo) are not made so.
pub(super) fn read_value(file: &Path) -> Result<String, CgroupError> {
    let fd = open(file, OFlags::RDONLY)?;
    let mut buffer = [0; 4096];
    let count = rustix::io::retry_on_intr(|| rustix::io::read(&fd, &mut buffer))
        .map_err(|errno| CgroupError::Read { file: file.to_owned(), errno })?;
    if count == buffer.len() {
        return read_text(file);
    }
    Ok(String::from_utf8_lossy(&buffer[..count]).into_owned())
}

/// Reads a kernel file to its end.
pub(super) fn read_file(file: &Path) -> Result<Vec<u8>, CgroupError> {
    let fail = |errno| CgroupError::Read { file: file.to_owned(), errno };
    let fd = open(file, OFlags::RDONLY)?;
    let mut bytes = Vec::new();
    loop {
        bytes.reserve(4096);
        let read = rustix::io::retry_on_intr(|| {
            rustix::io::read(&fd, rustix::buffer::spare_capacity(&mut bytes))
        });
        if read.map_err(fail)? == 0 {
            return Ok(bytes);
        }
    }
}

/// The cgroups directly below `dir`.
pub(super) fn children(dir: &Path) -> Result<Vec<PathBuf>, CgroupError> {
    let fail = |errno| CgroupError::Read { file: dir.to_owned(), errno };
    let fd = open(dir, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let mut found = Vec::new();
    for entry in rustix::fs::Dir::new(fd).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name().to_bytes();
        if entry.file_type() == rustix::fs::FileType::Directory && name != b"." && name != b".." {
            found.push(dir.join(std::ffi::OsStr::from_bytes(name)));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::testing::ScratchDir;

    #[test]
    fn values_are_written_and_read_whole() {
        let dir = ScratchDir::new(&[("pids.max", "max\n"), ("memory.stat", &"x 1\n".repeat(3000))]);
        let node = Node::new(Version::V1, vec!["pids".to_owned()], dir.path().to_owned());
        assert_eq!(node.read_number("pids.max").unwrap(), u64::MAX);
        node.write("pids.max", "7").unwrap();
        assert_eq!(node.read_number("pids.max").unwrap(), 7);
        assert_eq!(node.read("memory.stat").unwrap().len(), 12000);
        assert!(node.controllers().unwrap().contains(Controller::Pids));
    }

    #[test]
    fn a_missing_file_and_a_text_in_place_of_a_number_are_told_apart() {
        let dir = ScratchDir::new(&[("odd", "seven\n"), ("negative", "-1\n")]);
        let node = Node::new(Version::V2, vec![String::new()], dir.path().to_owned());
        assert!(!node.write_if_there("absent", "1").unwrap());
        assert!(matches!(node.read_number("odd"), Err(CgroupError::Malformed { .. })));
        assert_eq!(node.read_number("negative").unwrap(), 0);
        assert!(node.write("absent", "1").unwrap_err().is_absent());
    }
}
