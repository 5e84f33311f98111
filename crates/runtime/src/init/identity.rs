//! The child's hands for who it is: user, capabilities, working directory, program.

use std::ffi::{CStr, CString};

use dhow_sys::Errno;
use rustix::fs::{Access, AtFlags, CWD, FileType};
use rustix::process::{Gid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::report::{At, Fault, InStep};
use super::step::Program;

/// Becomes user and group 0, the only ones a fresh user namespace's first process can count on.
pub(super) fn become_root() -> Result<(), Fault> {
    set_ids(Uid::ROOT, Gid::ROOT)
}

fn set_ids(uid: Uid, gid: Gid) -> Result<(), Fault> {
    rustix::thread::set_thread_res_gid(gid, gid, gid).at(At::Group)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).at(At::User)
}

/// Changes to the container's user; permitted capabilities stay until they are set.
pub(super) fn change_user(uid: Uid, gid: Gid, groups: Option<&[Gid]>) -> Result<(), Fault> {
    rustix::thread::set_keep_capabilities(true)?;
    match groups.map(rustix::thread::set_thread_groups) {
        // A user namespace may deny it to everybody, and nobody asked for a group.
        Some(Err(Errno::PERM)) if groups.is_some_and(<[Gid]>::is_empty) => {}
        Some(other) => other.at(At::Groups)?,
        None => {}
    }
    set_ids(uid, gid)?;
    rustix::thread::set_keep_capabilities(false)?;
    // Changing from root to another user empties the effective set; what follows still needs it.
    let mut sets = rustix::thread::capabilities(None)?;
    if sets.effective != sets.permitted {
        sets.effective = sets.permitted;
        rustix::thread::set_capabilities(None, sets)?;
    }
    Ok(())
}

/// Drops every capability that `keep` lacks from the bounding set, up to the last one the kernel knows.
pub(super) fn bound(keep: u64) -> Result<(), Fault> {
    for bit in (0..64).filter(|bit| keep & (1 << bit) == 0) {
        match rustix::thread::remove_capability_from_bounding_set(one(bit)) {
            Err(Errno::INVAL) => return Ok(()),
            other => other?,
        }
    }
    Ok(())
}

/// Sets the three sets of the process and raises its ambient capabilities.
pub(super) fn set_capabilities(sets: CapabilitySets, ambient: u64) -> Result<(), Fault> {
    rustix::thread::set_capabilities(None, sets)?;
    for bit in (0..64).filter(|bit| ambient & (1 << bit) != 0) {
        rustix::thread::configure_capability_in_ambient_set(one(bit), true).at(At::Ambient)?;
    }
    Ok(())
}

fn one(bit: u32) -> CapabilitySet {
    CapabilitySet::from_bits_retain(1 << bit)
}

/// Goes to the working directory and makes sure that it is inside the root: a descriptor of the host
/// that somebody leaked would otherwise be a way out (`/proc/self/fd/N`).
pub(super) fn enter_directory(path: &CStr) -> Result<(), Fault> {
    rustix::process::chdir(path)?;
    dhow_sys::working_directory_is_reachable().at(At::Outside)
}

/// The first candidate that the process, as who it is now, may execute.
pub(super) fn find(program: &Program) -> Result<usize, Fault> {
    let mut refused = None;
    for (index, candidate) in program.candidates.iter().enumerate() {
        match executable(candidate) {
            Ok(()) => return Ok(index),
            Err(Errno::NOENT | Errno::NOTDIR) if program.searched => {}
            Err(errno) => refused = refused.or(Some(errno)),
        }
    }
    Err(Fault::from(refused.unwrap_or(Errno::NOENT)))
}

fn executable(path: &CString) -> Result<(), Errno> {
    let stat = rustix::fs::statat(CWD, &**path, AtFlags::empty())?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Err(Errno::ISDIR);
    }
    rustix::fs::accessat(CWD, &**path, Access::EXEC_OK, AtFlags::EACCESS)
}
