//! The only module that runs programs of the host: `newuidmap` and `newgidmap`, which hold the
//! administrator's permission that we lack, `ps`, whose columns are its own, and `criu`.
//!
//! Each is found as a shell would find it, gets its arguments as they are and nothing on its standard
//! input; what it says on standard error becomes the error's text.
//! Absent on purpose: hooks (they run in other namespaces and under a clock) and the container's program.

use std::ffi::{CString, OsStr, OsString};
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use dhow_spec::runtime::IdMapping;
use dhow_sys::{Argv, Child, Errno, Memory, Namespaces, SignalSet};
use rustix::fs::{Mode, OFlags};
use rustix::io::FdFlags;
use rustix::mount::MountPropagationFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::criu;
use crate::error::Error;
use crate::init::{receive_descriptor, send_descriptor};
use crate::text::{ErrnoWords, c_string};

/// Where programs are, for those that are started without asking the environment.
const PROGRAM_DIRS: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Maps ids of the process `pid`'s user namespace by `newuidmap` or `newgidmap`.
pub(crate) fn map_ids(name: &'static str, pid: i32, mappings: &[IdMapping]) -> Result<(), Error> {
    let numbers = mappings.iter().flat_map(|one| [one.container_id, one.host_id, one.size]);
    let arguments =
        std::iter::once(pid.to_string()).chain(numbers.map(|number| number.to_string()));
    run(name, OsStr::new(name), arguments.map(OsString::from)).map(drop)
}

/// What `ps` prints when called with `arguments`.
pub(crate) fn list_processes(arguments: &[OsString]) -> Result<String, Error> {
    let output = run("ps", OsStr::new("ps"), arguments.iter().cloned())?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs `program`, to be called `name` in errors, until its end.
#[expect(clippy::disallowed_methods, reason = "this is the module that may")]
fn run(
    name: &'static str,
    program: &OsStr,
    arguments: impl Iterator<Item = OsString>,
) -> Result<Output, Error> {
    let failed = |said: String| Error::Program { name, said };
    let output =
        Command::new(program).args(arguments).stdin(Stdio::null()).output().map_err(|error| {
            match error.kind() {
                ErrorKind::NotFound => failed("not installed".to_owned()),
                _ => failed(error.to_string()),
            }
        })?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    match said.trim() {
        "" => Err(failed(output.status.to_string())),
        said => Err(failed(said.lines().map(str::trim).collect::<Vec<_>>().join("; "))),
    }
}

/// CRIU as a service, and its ends of what it was started with.
pub(crate) struct CriuService {
    pub(crate) child: Child,
    pub(crate) socket: OwnedFd,
    /// The numbers under which it has the directories.
    pub(crate) images: RawFd,
    pub(crate) work: RawFd,
}

/// Starts CRIU as a service for one client.
///
/// For a restore it gets a mount namespace of its own, in which the container's root is a mount point as it
/// wants: what it mounts on the way is gone with it, whatever happens. It looks for the descriptors of a
/// request in the process that made the socket; so that its directories are in its own mounts, where it can
/// mount on them, that process is itself.
pub(crate) fn start_criu(start: &criu::Start<'_>) -> Result<CriuService, Error> {
    let failed = |doing: &str, errno| criu::failed(&format!("{doing}: {}", ErrnoWords(errno)));
    let program = match start.program {
        Some(program) => program.to_owned(),
        None => find("criu").ok_or_else(|| criu::failed("not installed"))?,
    };
    let (here, there) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|errno| failed("make a socket", errno))?;
    // The arguments are fixed before the child has its socket: this number is kept free for it.
    let mut slot = rustix::io::fcntl_dupfd_cloexec(&there, 3)
        .map_err(|errno| failed("make a descriptor", errno))?;
    let path_of = |path: &Path| c_string(path.as_os_str().as_bytes());
    let path = path_of(&program);
    let words = [c"criu".into(), c"swrk".into(), c_string(slot.as_raw_fd().to_string())];
    let argv = Argv::new(words.to_vec());
    let envp = Argv::new(vec![c_string(format!("PATH={}", PROGRAM_DIRS.join(":")))]);
    let prepared = Preparation {
        root: start.root.map(path_of),
        images: path_of(start.images),
        work: path_of(start.work),
        inherited: start.inherited,
    };
    let own_mounts = if start.root.is_some() { Namespaces::MOUNT } else { Namespaces::empty() };
    let clone = dhow_sys::Clone {
        namespaces: own_mounts,
        cgroup: None,
        memory: Memory::Shared,
        sibling: false,
    };
    let ignored = dhow_sys::ignored_signals();
    let (mut failure, mut dirs) = (None, None);
    let child = dhow_sys::clone_child(&clone, || {
        let fault = match prepared.prepare(there.as_fd(), &mut slot) {
            Err(errno) => ("set up", errno),
            Ok(numbers) => {
                dirs = Some(numbers);
                dhow_sys::reset_dispositions(ignored);
                dhow_sys::set_mask(SignalSet::NONE);
                ("execute", dhow_sys::execve(&path, &argv, &envp))
            }
        };
        failure = Some(fault);
        dhow_sys::exit_now(127)
    })
    .map_err(|errno| failed("start", errno))?;
    drop(there);
    let socket = receive_descriptor(here.as_fd()).ok().flatten();
    match (failure, dirs, socket) {
        (None, Some((images, work)), Some(socket)) => {
            Ok(CriuService { child, socket, images, work })
        }
        (failure, ..) => {
            child.wait().map_err(|errno| failed("reap", errno))?;
            let (doing, errno) = failure.unwrap_or(("execute", Errno::SRCH));
            Err(failed(&format!("{doing} {}", program.display()), errno))
        }
    }
}

/// What CRIU's process needs before it is CRIU.
struct Preparation<'a> {
    root: Option<CString>,
    images: CString,
    work: CString,
    inherited: &'a [OwnedFd],
}

impl Preparation<'_> {
    /// Runs after the clone, so it does not allocate. Gives the numbers of the directories.
    fn prepare(
        &self,
        client: BorrowedFd<'_>,
        service: &mut OwnedFd,
    ) -> Result<(RawFd, RawFd), Errno> {
        if let Some(root) = &self.root {
            let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
            rustix::mount::mount_change(c"/", slave)?;
            rustix::mount::mount_bind_recursive(root.as_c_str(), root.as_c_str())?;
        }
        let open = |path: &CString| {
            let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(path.as_c_str(), flags, Mode::empty())
        };
        let (images, work) = (open(&self.images)?, open(&self.work)?);
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        send_descriptor(client, theirs.as_fd(), b"criu")?;
        rustix::io::dup2(&ours, service)?;
        dhow_sys::close_on_exec_from(3)?;
        let wanted = [service.as_fd(), images.as_fd(), work.as_fd()];
        wanted
            .into_iter()
            .chain(self.inherited.iter().map(AsFd::as_fd))
            .try_for_each(|fd| rustix::io::fcntl_setfd(fd, FdFlags::empty()))?;
        // They stay open for the program.
        Ok((images.into_raw_fd(), work.into_raw_fd()))
    }
}

fn find(name: &str) -> Option<PathBuf> {
    PROGRAM_DIRS.iter().map(|dir| Path::new(dir).join(name)).find(|path| path.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_listed_with_the_options_that_are_asked_for() {
        let text = list_processes(&["-o".into(), "pid,comm".into(), "-A".into()]).unwrap();
        assert!(text.lines().next().unwrap().contains("PID"), "{text}");
        let own = std::process::id().to_string();
        assert!(text.lines().any(|line| line.trim_start().starts_with(&own)), "{text}");
    }

    #[test]
    fn a_failure_is_told_in_the_programs_own_words() {
        let error = map_ids("newuidmap", i32::MAX, &[]).unwrap_err().to_string();
        assert!(error.starts_with("newuidmap: ") && !error.contains('\n'), "{error}");
        let error = run("nowhere", OsStr::new("/nowhere"), std::iter::empty()).unwrap_err();
        assert_eq!(error.to_string(), "nowhere: not installed");
        let arguments = ["-c", "exit 3"].map(OsString::from).into_iter();
        let error = run("sh", OsStr::new("sh"), arguments).unwrap_err();
        assert_eq!(error.to_string(), "sh: exit status: 3");
    }
}
