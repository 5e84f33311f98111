//! User and group id mappings, and user namespaces made for their sake.

use std::os::fd::{AsFd, OwnedFd};

use dhow_spec::runtime::IdMapping;
use dhow_sys::{Clone, Memory, Namespaces, SignalSet, clone_child, exit_now};
use rustix::io::Errno;
use rustix::process::Pid;
use rustix::thread::CapabilitySet;

use crate::error::Error;
use crate::external;

/// Whether this process may map any ids itself.
pub(super) fn may_map_freely() -> bool {
    let needed = CapabilitySet::SETUID | CapabilitySet::SETGID;
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(needed))
}

/// Whether the process may set supplementary groups after [`write`] has mapped it: the kernel denies
/// that where a user without rights maps his own group.
pub(super) fn groups_stay_allowed(uids: &[IdMapping], gids: &[IdMapping]) -> bool {
    may_map_freely() || !is_own(uids, gids)
}

/// Whether the mappings are the one line each that a user may write for himself.
fn is_own(uids: &[IdMapping], gids: &[IdMapping]) -> bool {
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    matches!(uids, [one] if one.size == 1 && one.host_id == uid)
        && matches!(gids, [one] if one.size == 1 && one.host_id == gid)
}

/// Maps the ids of `pid`'s new user namespace: by ourselves where we may, through `newuidmap` and
/// `newgidmap` where only the administrator's `/etc/subuid` allows it.
pub(super) fn write(pid: Pid, uids: &[IdMapping], gids: &[IdMapping]) -> Result<(), Error> {
    let pid = pid.as_raw_nonzero().get();
    if may_map_freely() {
        write_file(pid, "uid_map", &lines(uids))?;
        return write_file(pid, "gid_map", &lines(gids));
    }
    if is_own(uids, gids) {
        write_file(pid, "setgroups", "deny")?;
        write_file(pid, "uid_map", &lines(uids))?;
        return write_file(pid, "gid_map", &lines(gids));
    }
    external::map_ids("newuidmap", pid, uids)?;
    external::map_ids("newgidmap", pid, gids)
}

fn lines(mappings: &[IdMapping]) -> String {
    mappings
        .iter()
        .map(|one| format!("{} {} {}\n", one.container_id, one.host_id, one.size))
        .collect()
}

fn write_file(pid: i32, name: &str, text: &str) -> Result<(), Error> {
    let path = format!("/proc/{pid}/{name}");
    let result = std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()));
    result.map_err(|error| {
        Error::file("write id mapping to", path, Errno::from_io_error(&error).unwrap_or(Errno::IO))
    })
}

/// A user namespace with these mappings and nobody in it, for id-mapped mounts.
pub(super) fn user_namespace(uids: &[IdMapping], gids: &[IdMapping]) -> Result<OwnedFd, Error> {
    let clone = Clone {
        namespaces: Namespaces::USER,
        cgroup: None,
        memory: Memory::Copied,
        sibling: false,
    };
    let holder = clone_child(&clone, || {
        dhow_sys::set_mask(SignalSet::NONE);
        loop {
            // Lives until it is killed; only its namespace matters.
            let _ = rustix::event::poll(&mut [], None);
            if rustix::process::getppid().is_none() {
                exit_now(0)
            }
        }
    })
    .map_err(Error::call("make a user namespace for an id-mapped mount"))?;
    let path = format!("/proc/{}/ns/user", holder.pid.as_raw_nonzero());
    let namespace = write(holder.pid, uids, gids).and_then(|()| {
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
        rustix::fs::open(&path, flags, rustix::fs::Mode::empty())
            .map_err(|errno| Error::file("open", path, errno))
    });
    let _ = dhow_sys::pidfd_kill(holder.pidfd.as_fd(), libc_kill());
    let _ = holder.wait();
    namespace
}

/// `SIGKILL`.
const fn libc_kill() -> i32 {
    rustix::process::Signal::KILL.as_raw()
}
