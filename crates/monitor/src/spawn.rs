//! Starting a monitor: a process of its own, away from whoever started it.
//!
//! Invariant: it has a clean environment, `/` as its directory, a session of its own, `/dev/null` as its
//! standard streams, one end of a [`Connection`] as descriptor 3, and no other descriptor; neither the
//! starter's end nor its terminal's can take it down.

use std::ffi::CString;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use dhow_sys::{Argv, Child, Clone, Memory, Namespaces, SignalSet, clone_child};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::connection::{Connection, ConnectionError};
use crate::protocol::Launch;

/// A monitor that has been started.
#[derive(Debug)]
pub struct Started {
    /// The way to it.
    pub connection: Connection,
    /// Its process, which the caller reaps.
    pub child: Child,
}

/// Why no monitor could be started.
#[derive(Debug)]
pub enum StartError {
    /// A file could not be written.
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The connection could not be made.
    Connection(ConnectionError),
    /// A path has a NUL in it.
    Nul {
        /// Which.
        path: PathBuf,
    },
    /// A call failed.
    Call {
        /// What was to be done.
        doing: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, source } => write!(f, "write {}: {source}", path.display()),
            Self::Connection(error) => error.fmt(f),
            Self::Nul { path } => write!(f, "{path:?}: a path cannot have a NUL"),
            Self::Call { doing, errno } => write!(f, "{doing}: {errno}"),
        }
    }
}

impl std::error::Error for StartError {}

/// The number at which a monitor finds its connection.
const CONNECTION: i32 = 3;

/// Starts a monitor: writes `launch.json` into the launch's bundle and executes `program monitor ID FILE`.
///
/// With `cgroup`, a version 2 directory, it is born there. It does nothing before it is asked to: the
/// container begins with [`crate::Request::Start`].
pub fn start(
    program: &Path,
    launch: &Launch,
    cgroup: Option<BorrowedFd<'_>>,
) -> Result<Started, StartError> {
    let file = launch.bundle.join("launch.json");
    write_launch(&file, launch)?;
    let (ours, theirs) = Connection::pair().map_err(StartError::Connection)?;
    let null = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| StartError::Call { doing: "open /dev/null", errno })?;
    let path = c_string(program)?;
    let argv = Argv::new(vec![
        path.clone(),
        c"monitor".into(),
        CString::new(launch.id.as_str()).map_err(|_| StartError::Nul { path: file.clone() })?,
        c_string(&file)?,
    ]);
    let envp = Argv::new(Vec::new());
    let clone =
        Clone { namespaces: Namespaces::empty(), cgroup, memory: Memory::Shared, sibling: false };
    let defaults = dhow_sys::ignored_signals();
    let child = clone_child(&clone, || {
        if prepare(theirs.as_fd(), &null).is_ok() {
            dhow_sys::reset_dispositions(defaults);
            dhow_sys::set_mask(SignalSet::NONE);
            dhow_sys::execve(&path, &argv, &envp);
        }
        dhow_sys::exit_now(127)
    })
    .map_err(|errno| StartError::Call { doing: "clone a monitor", errno })?;
    Ok(Started { connection: ours, child })
}

/// Runs between clone and exec.
fn prepare(connection: BorrowedFd<'_>, null: &OwnedFd) -> Result<(), Errno> {
    rustix::process::setsid()?;
    rustix::process::chdir(c"/")?;
    rustix::stdio::dup2_stdin(null)?;
    rustix::stdio::dup2_stdout(null)?;
    rustix::stdio::dup2_stderr(null)?;
    dhow_sys::place_at(connection, CONNECTION)?;
    dhow_sys::close_on_exec_from(CONNECTION + 1)
}

/// Writes the launch; a reader sees all of it or an older one.
pub(crate) fn write_launch(file: &Path, launch: &Launch) -> Result<(), StartError> {
    let failed = |source| StartError::File { path: file.to_owned(), source };
    let new = file.with_extension("json.new");
    let bytes = serde_json::to_vec(launch).map_err(|error| failed(error.into()))?;
    let mut options = std::fs::OpenOptions::new();
    let mut out =
        options.write(true).create(true).truncate(true).mode(0o600).open(&new).map_err(failed)?;
    io::Write::write_all(&mut out, &bytes).map_err(failed)?;
    std::fs::rename(&new, file).map_err(failed)
}

fn c_string(path: &Path) -> Result<CString, StartError> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| StartError::Nul { path: path.to_owned() })
}
