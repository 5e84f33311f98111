//! What the runtime remembers of a container between two commands.
//!
//! `<root>/<id>/` holds `state.json` (a [`Record`]), `config.json` (the configuration as it was at
//! create), `process` (the first process's own line of `/proc/<pid>/stat`, written by itself) and, while
//! the container waits for its start, the socket `start`. The directory itself is the
//! claim on the name; `state.json` is replaced as a whole and is there before anything else is made.

use std::ffi::CStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::ContainerId;
use crate::cgroup::CgroupRecord;
use crate::error::Error;

/// The version of [`Record`]; a newer one is refused, fields that are not known are skipped.
const VERSION: u32 = 1;
const STATE: &CStr = c"state.json";
const STATE_NEW: &CStr = c"state.json.new";
const CONFIG: &CStr = c"config.json";
const PROCESS: &CStr = c"process";
/// The socket on which a created container waits.
pub(super) const START: &CStr = c"start";

/// The directory of all containers' states.
#[derive(Debug)]
pub struct StateRoot {
    dir: OwnedFd,
    path: PathBuf,
}

/// What `state.json` holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    pub(super) version: u32,
    pub(super) id: String,
    pub(super) bundle: PathBuf,
    pub(super) rootfs: PathBuf,
    /// RFC 3339, UTC, nanoseconds.
    pub(super) created: String,
    pub(super) owner: u32,
    /// The first process, once it is there.
    #[serde(skip)]
    pub(super) process: Option<ProcessRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) after_start: Option<AfterStart>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cgroup: Option<CgroupRecord>,
    /// Where the cgroup is about to be made: its directories may be removed if they are empty, but what
    /// runs in them is somebody else's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cgroup_intended: Option<CgroupRecord>,
    /// The resctrl groups that go with the container, in the order in which they can be removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) resctrl: Vec<PathBuf>,
}

/// The steps that follow a container's start, worded for whoever starts it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct AfterStart {
    /// The number of the first one.
    pub(super) first: usize,
    /// What each is, the last one being the exec.
    pub(super) words: Vec<String>,
}

/// A process that cannot be mistaken for a later one of the same pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProcessRecord {
    pub(super) pid: i32,
    /// Clock ticks after boot, from `/proc/<pid>/stat`.
    pub(super) started: u64,
}

/// One container's state directory.
#[derive(Debug)]
pub(super) struct StateDir {
    dir: OwnedFd,
    path: PathBuf,
}

impl StateRoot {
    /// Opens the directory, making it and its parents where they are missing (0700).
    pub fn open(path: &Path) -> Result<Self, Error> {
        let open = || {
            let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(path, flags, Mode::empty())
        };
        let dir = match open() {
            Err(Errno::NOENT) => {
                make_all(path)?;
                open()
            }
            other => other,
        };
        let dir = dir.map_err(|errno| Error::file("open state directory", path, errno))?;
        Ok(Self { dir, path: path.to_owned() })
    }

    /// The names of all containers, sorted.
    pub fn list(&self) -> Result<Vec<ContainerId>, Error> {
        let error = |errno| Error::file("list", &self.path, errno);
        let dir = rustix::fs::Dir::read_from(&self.dir).map_err(error)?;
        let mut ids = Vec::new();
        for entry in dir {
            let entry = entry.map_err(error)?;
            ids.extend(
                entry.file_name().to_str().ok().and_then(|name| ContainerId::parse(name).ok()),
            );
        }
        ids.sort();
        Ok(ids)
    }

    /// Claims a name: exactly one of several callers gets it.
    pub(super) fn claim(&self, id: &ContainerId) -> Result<StateDir, Error> {
        match rustix::fs::mkdirat(&self.dir, id.as_str(), Mode::RWXU) {
            Ok(()) => self.container(id),
            Err(Errno::EXIST) => Err(Error::Exists { id: id.to_string() }),
            Err(errno) => {
                Err(Error::file("make state directory", self.path.join(id.as_str()), errno))
            }
        }
    }

    pub(super) fn container(&self, id: &ContainerId) -> Result<StateDir, Error> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.dir, id.as_str(), flags, Mode::empty()) {
            Ok(dir) => Ok(StateDir { dir, path: self.path.join(id.as_str()) }),
            Err(Errno::NOENT | Errno::NOTDIR) => Err(Error::NotFound { id: id.to_string() }),
            Err(errno) => {
                Err(Error::file("open state directory", self.path.join(id.as_str()), errno))
            }
        }
    }

    /// Gives the name back. What cannot be removed is named.
    pub(super) fn release(&self, id: &ContainerId, dir: &StateDir) -> Result<(), Error> {
        for name in [START, STATE_NEW, CONFIG, PROCESS, STATE] {
            dir.unlink(name)?;
        }
        match rustix::fs::unlinkat(&self.dir, id.as_str(), AtFlags::REMOVEDIR) {
            Err(errno) if errno != Errno::NOENT => {
                Err(Error::file("remove state directory", &dir.path, errno))
            }
            _ => Ok(()),
        }
    }
}

fn make_all(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| {
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        Error::file("make state directory", path, errno)
    })
}

impl StateDir {
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    pub(super) fn path_of(&self, name: &CStr) -> PathBuf {
        self.path.join(name.to_str().unwrap_or_default())
    }

    pub(super) fn has(&self, name: &CStr) -> bool {
        rustix::fs::accessat(&self.dir, name, rustix::fs::Access::EXISTS, AtFlags::empty()).is_ok()
    }

    pub(super) fn unlink(&self, name: &CStr) -> Result<(), Error> {
        match rustix::fs::unlinkat(&self.dir, name, AtFlags::empty()) {
            Err(errno) if errno != Errno::NOENT => {
                Err(Error::file("remove", self.path_of(name), errno))
            }
            _ => Ok(()),
        }
    }

    fn write(&self, name: &CStr, bytes: &[u8]) -> Result<(), Error> {
        let error = |errno| Error::file("write", self.path_of(name), errno);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let file =
            rustix::fs::openat(&self.dir, name, flags, Mode::RUSR | Mode::WUSR).map_err(error)?;
        File::from(file)
            .write_all(bytes)
            .map_err(|failed| error(Errno::from_io_error(&failed).unwrap_or(Errno::IO)))
    }

    fn read(&self, name: &CStr) -> Result<Vec<u8>, Error> {
        let error = |errno| Error::file("read", self.path_of(name), errno);
        let file =
            rustix::fs::openat(&self.dir, name, OFlags::CLOEXEC, Mode::empty()).map_err(error)?;
        let mut bytes = Vec::new();
        File::from(file)
            .read_to_end(&mut bytes)
            .map_err(|failed| error(Errno::from_io_error(&failed).unwrap_or(Errno::IO)))?;
        Ok(bytes)
    }

    /// Replaces the record; a reader sees the old one or the new one.
    pub(super) fn save(&self, record: &Record) -> Result<(), Error> {
        let bytes = serde_json::to_vec(record).unwrap_or_default();
        self.write(STATE_NEW, &bytes)?;
        rustix::fs::renameat(&self.dir, STATE_NEW, &self.dir, STATE)
            .map_err(|errno| Error::file("replace", self.path_of(STATE), errno))
    }

    /// Reads the record; `None` if its maker died before it wrote one.
    pub(super) fn load(&self) -> Result<Option<Record>, Error> {
        let bytes = match self.read(STATE) {
            Err(Error::File { errno: Errno::NOENT, .. }) => return Ok(None),
            other => other?,
        };
        let refuse = |reason| Error::Refused {
            field: "state.json",
            value: self.path_of(STATE).display().to_string(),
            reason,
        };
        let mut record: Record = serde_json::from_slice(&bytes)
            .map_err(|_| refuse("it is damaged; the container can be deleted with --force"))?;
        record.process = match self.read(PROCESS) {
            Ok(line) => ProcessRecord::parse(&line),
            Err(Error::File { errno: Errno::NOENT, .. }) => None,
            Err(error) => return Err(error),
        };
        if record.version > VERSION {
            return Err(refuse("a newer dhow wrote it; use that one"));
        }
        Ok(Some(record))
    }

    /// The file into which the first process will write its line.
    pub(super) fn process_file(&self) -> Result<OwnedFd, Error> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        rustix::fs::openat(&self.dir, PROCESS, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| Error::file("make", self.path_of(PROCESS), errno))
    }

    /// Puts a process on record that could not do so itself.
    pub(super) fn save_process(&self, pid: i32) -> Result<(), Error> {
        let stat = format!("/proc/{pid}/stat");
        let line = std::fs::read(&stat).map_err(|error| {
            Error::file("read", stat, Errno::from_io_error(&error).unwrap_or(Errno::IO))
        })?;
        self.write(PROCESS, &line)
    }

    /// Keeps the configuration as the container was made with it.
    pub(super) fn save_config(&self, bytes: &[u8]) -> Result<(), Error> {
        self.write(CONFIG, bytes)
    }

    pub(super) fn load_config(&self) -> Result<Vec<u8>, Error> {
        self.read(CONFIG)
    }

    pub(super) fn config_path(&self) -> PathBuf {
        self.path_of(CONFIG)
    }
}

impl Record {
    pub(super) fn new(id: &ContainerId, bundle: PathBuf, rootfs: PathBuf) -> Self {
        Self {
            version: VERSION,
            id: id.to_string(),
            bundle,
            rootfs,
            created: super::time::now(),
            owner: rustix::process::getuid().as_raw(),
            process: None,
            after_start: None,
            cgroup: None,
            cgroup_intended: None,
            resctrl: Vec::new(),
        }
    }
}
