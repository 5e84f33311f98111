//! Saving a running container's processes as files, through CRIU.
//!
//! With the images are kept, in files of their own: what the standard streams were (under the name and in
//! the form that runc and crun use), and what came from outside and where that is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use dhow_spec::runtime::{NamespaceKind, Spec, Status};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::{Container, StateRoot};
use crate::cgroup::{Cgroup, CgroupRecord};
use crate::criu::{self, CgroupMode, Options, Request, Session, Start, Switch};
use crate::error::Error;

/// What saving and restoring have in common.
#[derive(Debug, Clone)]
pub struct CriuOptions {
    /// The directory of the images.
    pub images: PathBuf,
    /// The directory of CRIU's log; that of the images if absent.
    pub work: Option<PathBuf>,
    /// The CRIU program; looked for where programs are if absent.
    pub program: Option<PathBuf>,
    /// Save or restore established TCP connections.
    pub tcp_established: bool,
    /// Allow unix sockets whose other end is outside.
    pub ext_unix_sk: bool,
    /// Allow a session and a terminal from outside.
    pub shell_job: bool,
    /// Save or restore file locks.
    pub file_locks: bool,
    /// Leave pages to be fetched later.
    pub lazy_pages: bool,
    /// Take pages that are in newer images out of older ones.
    pub auto_dedup: bool,
    /// Leave the network namespace's content alone.
    pub empty_network: bool,
    /// What of the cgroups is saved or restored.
    pub cgroups: CgroupMode,
}

/// How a container is to be saved.
#[derive(Debug, Clone)]
pub struct CheckpointOptions {
    /// What restoring knows as well.
    pub criu: CriuOptions,
    /// The images of an earlier, partial saving, relative to these.
    pub parent: Option<PathBuf>,
    /// Let the container go on afterwards.
    pub leave_running: bool,
    /// Save memory only, for a later saving to build on; the container goes on.
    pub pre_dump: bool,
    /// A descriptor that is told when pages can be fetched.
    pub status_fd: Option<i32>,
    /// A server that takes the memory instead of the directory.
    pub page_server: Option<(String, u16)>,
}

/// CRIU's log, named as runc does.
const DUMP_LOG: &str = "dump.log";
/// What the standard streams were: the form of runc and crun.
const DESCRIPTORS: &str = "descriptors.json";
/// What came from outside: a form of our own.
const ORIGINS: &str = "dhow-origins.json";
/// An administrator's settings for CRIU on behalf of containers, as runc reads them.
const CONFIG: &str = "/etc/criu/runc.conf";
/// The annotation that names other ones.
const CONFIG_ANNOTATION: &str = "org.criu.config";

/// What of the container came from outside.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Origins {
    /// By their place in the container, their place on the host.
    pub(super) mounts: BTreeMap<PathBuf, PathBuf>,
    /// CRIU's names of the standard streams that are files outside of the container.
    #[serde(default)]
    pub(super) files: Vec<Option<String>>,
    /// The cgroup that some mounts show.
    pub(super) cgroup: Option<CgroupRecord>,
}

/// The directories that CRIU works in.
#[derive(Debug)]
pub(super) struct Dirs {
    images: OwnedFd,
    images_path: PathBuf,
    work_path: PathBuf,
    /// CRIU's log.
    log: PathBuf,
}

impl Container {
    /// Saves the container's processes; unless they are left running, the container is deleted with them.
    pub fn checkpoint(self, root: &StateRoot, options: &CheckpointOptions) -> Result<(), Error> {
        let status = self.status()?;
        if !matches!(status, Status::Running | Status::Paused) {
            return Err(self.wrong("checkpoint", status));
        }
        let dirs = Dirs::open(&options.criu, DUMP_LOG, true)?;
        let mut session = dirs.start(&options.criu, None, &[])?;
        let mut request = common(&options.criu, session.options(DUMP_LOG), &self.spec);
        self.describe(options, &mut request);
        if !options.pre_dump {
            self.keep(&dirs, &mut request)?;
        }
        let kind = if options.pre_dump { Request::PreDump } else { Request::Dump };
        let saved = session.ask(kind, request.message(), &mut |_| Ok(()));
        drop(session);
        saved.map_err(|error| dirs.explain(error))?;
        if options.leave_running || options.pre_dump { Ok(()) } else { self.delete(root, true) }
    }

    /// Says what is to be saved, and how.
    fn describe(&self, options: &CheckpointOptions, request: &mut Options) {
        if let Some(process) = self.record.process {
            request.pid(process.pid);
            for (kind, key) in EXTERNAL_NAMESPACES {
                if is_joined(&self.spec, kind) {
                    request.external(&namespace_words(process.pid, kind, key));
                }
            }
        }
        request.root(&self.record.rootfs);
        request.switch(Switch::LeaveRunning, options.leave_running);
        request.switch(Switch::TrackMem, options.pre_dump || options.parent.is_some());
        if let Some(parent) = &options.parent {
            request.parent(parent);
        }
        if let Some(fd) = options.status_fd {
            request.status_fd(fd);
        }
        if let Some((address, port)) = &options.page_server {
            request.page_server(address, *port);
        }
        let cgroup = self.cgroup();
        if let Some(dir) = cgroup.as_ref().and_then(Cgroup::freezer_dir) {
            request.freezer(dir);
        }
    }

    /// Writes down what CRIU does not, and names the mounts from outside.
    fn keep(&self, dirs: &Dirs, request: &mut Options) -> Result<(), Error> {
        let pid = self.record.process.map_or(0, |process| process.pid);
        let read = |path: String| {
            std::fs::read_to_string(&path).map_err(|error| io_error("read", path.as_ref(), &error))
        };
        let inside = read(format!("/proc/{pid}/mountinfo"))?;
        let mounts = criu::external(&inside, &read("/proc/self/mountinfo".to_owned())?);
        for place in mounts.keys() {
            request.mount(place, place);
        }
        let stream = |fd| std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).unwrap_or_default();
        let streams: Vec<PathBuf> = (0..3).map(stream).collect();
        let files: Vec<_> = (0..3).map(|fd| outside_file(pid, fd, &inside)).collect();
        let mut named = BTreeSet::new();
        for words in files.iter().flatten().filter(|words| named.insert(*words)) {
            request.external(words);
        }
        let origins = Origins { mounts, files, cgroup: self.record.cgroup.clone() };
        dirs.write(ORIGINS, &serde_json::to_vec(&origins).unwrap_or_default())?;
        dirs.write(DESCRIPTORS, &serde_json::to_vec(&streams).unwrap_or_default())
    }
}

/// The kinds of namespace that may be somebody else's, and the names under which CRIU is given them back.
pub(super) const EXTERNAL_NAMESPACES: [(NamespaceKind, &str); 2] =
    [(NamespaceKind::Network, "extRootNetNS"), (NamespaceKind::Pid, "extRootPidNS")];

/// The namespace of this kind that the configuration joins.
pub(super) fn joined(spec: &Spec, kind: NamespaceKind) -> Option<&str> {
    let namespaces = spec.linux.iter().flat_map(|linux| &linux.namespaces);
    namespaces.filter(|one| one.kind == kind).find_map(|one| one.path.as_deref())
}

fn is_joined(spec: &Spec, kind: NamespaceKind) -> bool {
    joined(spec, kind).is_some()
}

/// `net[inode]:key`, as CRIU names a namespace that it is not to save.
fn namespace_words(pid: i32, kind: NamespaceKind, key: &str) -> String {
    let name = if kind == NamespaceKind::Network { "net" } else { "pid" };
    let link = std::fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap_or_default();
    let link = link.to_string_lossy();
    let inode = link.trim_start_matches(|c: char| !c.is_ascii_digit()).trim_end_matches(']');
    format!("{name}[{inode}]:{key}")
}

/// `file[mount:inode]`, as CRIU names a file that it is not to save, if the descriptor is one on a mount that
/// the container does not have.
fn outside_file(pid: i32, fd: i32, mountinfo: &str) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let path = format!("/proc/{pid}/fd/{fd}");
    if !std::fs::read_link(&path).ok()?.is_absolute() {
        return None;
    }
    let info = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).ok()?;
    let mount = info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim();
    if mountinfo.lines().any(|line| line.split(' ').next() == Some(mount)) {
        return None;
    }
    let inode = std::fs::metadata(&path).ok()?.ino();
    Some(format!("file[{:x}:{inode:x}]", mount.parse::<u32>().ok()?))
}

/// The options that every request has.
pub(super) fn common(options: &CriuOptions, mut request: Options, spec: &Spec) -> Options {
    for (switch, on) in [
        (Switch::NotifyScripts, true),
        (Switch::OrphanPtsMaster, true),
        (Switch::TcpEstablished, options.tcp_established),
        (Switch::ExtUnixSk, options.ext_unix_sk),
        (Switch::ShellJob, options.shell_job),
        (Switch::FileLocks, options.file_locks),
        (Switch::LazyPages, options.lazy_pages),
        (Switch::AutoDedup, options.auto_dedup),
    ] {
        request.switch(switch, on);
    }
    request.cgroups(options.cgroups);
    if options.empty_network {
        request.empty_network();
    }
    match spec.annotations.get(CONFIG_ANNOTATION) {
        Some(path) if !path.is_empty() => request.config_file(path),
        None if Path::new(CONFIG).exists() => request.config_file(CONFIG),
        _ => {}
    }
    request
}

impl Dirs {
    /// Opens the directories; for saving they are made where they are missing.
    pub(super) fn open(options: &CriuOptions, log: &str, make: bool) -> Result<Self, Error> {
        let work = options.work.as_ref().unwrap_or(&options.images);
        if make {
            make_dir(&options.images)?;
        }
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let images = rustix::fs::open(&options.images, flags, Mode::empty())
            .map_err(|errno| Error::file("open", &options.images, errno))?;
        make_dir(work)?;
        let (images_path, work_path, log) = (options.images.clone(), work.clone(), work.join(log));
        // What an earlier request said would explain nothing.
        match std::fs::remove_file(&log) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(io_error("remove", &log, &error))
            }
            _ => Ok(Self { images, images_path, work_path, log }),
        }
    }

    /// Starts CRIU to work in them.
    pub(super) fn start(
        &self,
        options: &CriuOptions,
        root: Option<&Path>,
        inherited: &[OwnedFd],
    ) -> Result<Session, Error> {
        let program = options.program.as_deref();
        let (images, work) = (self.images_path.as_path(), self.work_path.as_path());
        Session::start(&Start { program, images, work, root, inherited })
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.images, name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| Error::file("write", name, errno))?;
        std::io::Write::write_all(&mut File::from(file), bytes)
            .map_err(|error| io_error("write", name.as_ref(), &error))
    }

    /// What saving wrote down, as far as it is there: other runtimes write less.
    fn read<T: Default + serde::de::DeserializeOwned>(&self, name: &str) -> T {
        let file = rustix::fs::openat(&self.images, name, OFlags::CLOEXEC, Mode::empty());
        file.ok()
            .and_then(|file| {
                serde_json::from_reader(std::io::BufReader::new(File::from(file))).ok()
            })
            .unwrap_or_default()
    }

    pub(super) fn origins(&self) -> Origins {
        self.read(ORIGINS)
    }

    /// What the standard streams were.
    pub(super) fn streams(&self) -> Vec<String> {
        self.read(DESCRIPTORS)
    }

    /// Adds what CRIU's log says last of an error, and where it is.
    pub(super) fn explain(&self, error: Error) -> Error {
        let Error::Program { name, said } = error else { return error };
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        // The first error is the cause, what follow are its consequences.
        let said = cause(&log).map_or(said, str::to_owned);
        Error::Program { name, said: format!("{said} (log: {})", self.log.display()) }
    }
}

/// The first error in a log that is one: CRIU goes on without more descriptors for itself.
fn cause(log: &str) -> Option<&str> {
    log.lines()
        .filter_map(|line| line.split_once("Error (")?.1.split_once("): "))
        .map(|(_, words)| words)
        .find(|words| !words.contains("RLIMIT_NOFILE for self"))
}

fn make_dir(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| io_error("make", path, &error))
}

fn io_error(doing: &'static str, path: &Path, error: &std::io::Error) -> Error {
    Error::file(doing, path, Errno::from_io_error(error).unwrap_or(Errno::IO))
}

/// A stream of ours, for what was a pipe to outside.
pub(super) fn duplicate(fd: BorrowedFd<'_>) -> Result<OwnedFd, Error> {
    rustix::io::fcntl_dupfd_cloexec(fd, 3).map_err(Error::call("duplicate a standard stream"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn the_cause_is_the_first_error_that_is_one() {
        let log = "(00.1) Error (criu/util.c:1): rlimit: Can't setup RLIMIT_NOFILE for self: EPERM\n\
                   (00.2) Warn  (criu/x.c:1): x\n\
                   (00.3) Error (criu/files-reg.c:1790): Can't lookup mount=24 for fd=0\n\
                   (00.4) Error (criu/cr-dump.c:1975): Dumping FAILED.\n";
        assert_eq!(cause(log), Some("Can't lookup mount=24 for fd=0"));
        assert_eq!(cause("(00.1) fine\n"), None);
    }

    #[test]
    fn a_file_on_a_mount_that_is_not_listed_is_outside() {
        let pid = std::process::id() as i32;
        let file = File::open("/dev/null").unwrap();
        let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert_eq!(outside_file(pid, file.as_raw_fd(), &mountinfo), None);
        let words = outside_file(pid, file.as_raw_fd(), "").unwrap();
        assert!(words.starts_with("file[") && words.ends_with(']'), "{words}");
        let (pipe, _other) = rustix::pipe::pipe().unwrap();
        assert_eq!(outside_file(pid, pipe.as_raw_fd(), ""), None);
    }
}
