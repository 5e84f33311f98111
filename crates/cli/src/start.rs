//! Starting the engine of this machine when a command needs it and nobody is there.
//!
//! One starts it, under a lock; the others wait for him and find it ready. The engine says that it is
//! ready by a line on a pipe. It gets a clean environment, no terminal, and `/` to be in; leaving our
//! session is its own first step. Absent on purpose: engines elsewhere.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{FlockOperation, flock};

use crate::cli::Environment;
use crate::failure::Failure;

/// What an engine may know of its starter's environment.
const KEPT: [&str; 14] = [
    "HOME",
    "TZ",
    "XDG_RUNTIME_DIR",
    "XDG_DATA_HOME",
    "XDG_CONFIG_HOME",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "DOCKER_MIN_API_VERSION",
];

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A log that is longer is begun anew.
const LOG_MAX: u64 = 4 << 20;

/// Where an engine with this socket writes what it has to say.
pub(crate) fn log_path(socket: &Path) -> PathBuf {
    socket.with_file_name("engine.log")
}

/// Where it keeps its pid.
pub(crate) fn pid_path(socket: &Path) -> PathBuf {
    socket.with_file_name("engine.pid")
}

/// Has an engine listen on `socket`: starts it, or waits for whoever is starting it.
pub(crate) fn engine(socket: &Path, environment: Environment) -> Result<(), Failure> {
    let directory = socket.parent().unwrap_or(Path::new("/"));
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::PermissionDenied => Failure::EngineStart {
            why: format!("{} is not ours to make: try again with sudo", directory.display()),
        },
        _ => Failure::Io { doing: "make", object: directory.display().to_string(), source },
    };
    DirBuilder::new().recursive(true).mode(0o711).create(directory).map_err(failed)?;
    let lock = directory.join("engine.start");
    let lock = OpenOptions::new().create(true).append(true).open(&lock).map_err(failed)?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
    // Somebody may have been faster.
    if UnixStream::connect(socket).is_ok() {
        return Ok(());
    }
    let log = open_log(&log_path(socket)).map_err(failed)?;
    spawn(log, environment)
}

fn open_log(path: &Path) -> io::Result<File> {
    let log = OpenOptions::new().create(true).append(true).read(true).open(path)?;
    if log.metadata()?.len() > LOG_MAX {
        log.set_len(0)?;
    }
    Ok(log)
}

#[expect(clippy::disallowed_methods, reason = "the engine is this very program")]
fn spawn(mut log: File, environment: Environment) -> Result<(), Failure> {
    let failed = |source| Failure::Io { doing: "start", object: "the engine".to_owned(), source };
    let begin = log.seek(SeekFrom::End(0)).map_err(failed)?;
    let (ready, told) = io::pipe().map_err(failed)?;
    let kept = KEPT.iter().filter_map(|name| Some((*name, (environment.variable)(name)?)));
    // A session may be over by now whose signals are still held back; an engine must get its own.
    let mask = dhow_sys::set_mask(dhow_sys::SignalSet::NONE);
    let child = Command::new("/proc/self/exe")
        .args(["engine", "--ready-fd", "1"])
        .env_clear()
        .env("PATH", PATH)
        .envs(kept)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(told)
        .stderr(log.try_clone().map_err(failed)?)
        .spawn();
    dhow_sys::set_mask(mask);
    let mut child = child.map_err(failed)?;
    let mut line = String::new();
    BufReader::new(ready).read_line(&mut line).map_err(failed)?;
    if line.trim() == "ready" {
        return Ok(());
    }
    let status = child.wait().map_err(failed)?;
    let mut said = String::new();
    log.seek(SeekFrom::Start(begin)).map_err(failed)?;
    log.read_to_string(&mut said).map_err(failed)?;
    let last = said.lines().rfind(|line| !line.trim().is_empty());
    Err(Failure::EngineStart { why: last.map_or_else(|| status.to_string(), str::to_owned) })
}
