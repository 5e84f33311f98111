//! The program's own file, kept out of the reach of containers.
//!
//! A container's program may be `/proc/self/exe`, by name or as the interpreter of a script: then the
//! kernel executes this very file inside, and whoever has a descriptor of `/proc/<pid>/exe` there can
//! open it for writing once nobody runs it any more (CVE-2019-5736). So before a container's program can
//! be executed this process goes on by a mount of its file that is read-only, is attached nowhere and so can
//! never be made writable: without a new start where the kernel allows it, else by executing itself again, and
//! from a sealed copy in memory where this user may make no mount.
//!
//! Invariant: a second execution finds itself protected; arguments, environment, descriptors and pid are
//! those of the first.
//! Absent on purpose: protection from a container that may make and change mounts of the host, which needs
//! no trick like this.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use dhow_sys::{Argv, Errno, MountAttr, fd_path, mount_setattr};
use rustix::fs::{
    AtFlags, CWD, MemfdFlags, Mode, OFlags, SealFlags, StatVfsMountFlags, Statx, StatxAttributes,
    StatxFlags,
};
use rustix::mount::OpenTreeFlags;

use crate::error::Error;
use crate::init::READ_ONLY;

const OWN: &CStr = c"/proc/self/exe";
const DOING: &str = "protect the program's own file";

/// Makes sure that no container can write the program's own file, if need be by executing it again (then this does not return).
/// To be called before anything is opened or begun.
pub(crate) fn protect() -> Result<(), Error> {
    if is_protected().map_err(Error::call(DOING))? {
        return Ok(());
    }
    let view = read_only_view();
    if let Ok(view) = &view
        && exchange(view.as_fd()).is_ok()
    {
        return Ok(());
    }
    let arguments = std::env::args_os().map(|word| CString::new(word.into_vec()));
    let argv = Argv::new(arguments.map(Result::unwrap_or_default).collect());
    if let Ok(view) = view {
        dhow_sys::exec_again(view.as_fd(), &argv);
    }
    let copy = sealed_copy().map_err(Error::call(DOING))?;
    Err(Error::call(DOING)(dhow_sys::exec_again(copy.as_fd(), &argv)))
}

/// Goes on running by the other way to the same file.
fn exchange(view: BorrowedFd<'_>) -> Result<(), Errno> {
    let path = fd_path(view);
    let file = rustix::fs::open(path.as_c_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    dhow_sys::adopt_program(file.as_fd())
}

fn is_protected() -> Result<bool, Errno> {
    let parts = StatxFlags::UID | StatxFlags::MODE | StatxFlags::NLINK;
    let file = rustix::fs::statx(CWD, OWN, AtFlags::empty(), parts)?;
    Ok(is_own_read_only_mount(&file)? || is_out_of_reach(&file) || is_sealed(&file))
}

/// Whether the file is a read-only mount all by itself. A file on a file system that is mounted read-only
/// is not enough: that can be changed, for an update of the host, while a container keeps a descriptor.
fn is_own_read_only_mount(file: &Statx) -> Result<bool, Errno> {
    Ok(file.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
        && rustix::fs::statvfs(OWN)?.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Whether the kernel lets nobody write it (fs-verity), or it is root's alone and this user is another
/// one, who cannot map root into a container either.
fn is_out_of_reach(file: &Statx) -> bool {
    let others = Mode::WGRP | Mode::WOTH;
    let is_roots = || {
        file.stx_uid == 0
            && !Mode::from_raw_mode(file.stx_mode.into()).intersects(others)
            && !rustix::process::geteuid().is_root()
    };
    file.stx_attributes.contains(StatxAttributes::VERITY) || is_roots()
}

/// Whether the file lives in memory and can be changed no more.
fn is_sealed(file: &Statx) -> bool {
    // A file in memory has no name.
    if file.stx_nlink != 0 {
        return false;
    }
    let own = rustix::fs::open(OWN, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    own.and_then(rustix::fs::fcntl_get_seals).is_ok_and(|seals| seals.contains(SealFlags::WRITE))
}

/// The program's file by a mount of its own, which no namespace has.
fn read_only_view() -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let view = rustix::mount::open_tree(CWD, OWN, flags)?;
    let attr = MountAttr { set: READ_ONLY, ..MountAttr::default() };
    mount_setattr(view.as_fd(), c"", false, &attr)?;
    Ok(view)
}

fn sealed_copy() -> Result<OwnedFd, Errno> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memory = match rustix::fs::memfd_create(c"dhow", flags | MemfdFlags::EXEC) {
        // Before Linux 6.3 everything in memory could be executed.
        Err(Errno::INVAL) => rustix::fs::memfd_create(c"dhow", flags),
        other => other,
    }?;
    let own = rustix::fs::open(OWN, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut memory = File::from(memory);
    std::io::copy(&mut File::from(own), &mut memory)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&memory, seals)?;
    // What is open for writing cannot be executed.
    let path = fd_path(memory.as_fd());
    rustix::fs::open(path.as_c_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_in_memory_is_the_program_and_cannot_be_written() {
        let copy = sealed_copy().unwrap();
        let path = fd_path(copy.as_fd());
        let path = path.as_c_str().to_str().unwrap();
        let own = std::fs::metadata("/proc/self/exe").unwrap();
        assert_eq!(std::fs::metadata(path).unwrap().len(), own.len());
        let writable = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        let denied = rustix::io::write(&writable, b"x").unwrap_err();
        assert_eq!(denied, Errno::PERM);
    }

    /// Set for a second process of this test, which protects itself.
    const AGAIN: &str = "DHOW_TEST_PROTECT";

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "a process to protect, and its word to know itself"
    )]
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    fn a_protected_program_cannot_be_opened_for_writing() {
        const NAME: &str = "selfexe::tests::a_protected_program_cannot_be_opened_for_writing";
        if std::env::var_os(AGAIN).is_none() {
            if !rustix::process::geteuid().is_root() {
                eprintln!("SKIPPED a_protected_program_cannot_be_opened_for_writing: needs root");
                return;
            }
            let mut again = std::process::Command::new("/proc/self/exe");
            again.args(["--exact", NAME]).env(AGAIN, "1");
            let output = again.output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success() && said.contains("1 passed"), "{said}");
            return;
        }
        protect().unwrap();
        assert!(is_protected().unwrap());
        let view = rustix::fs::open(OWN, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let flags = rustix::fs::fstatvfs(&view).unwrap().f_flag;
        assert!(flags.contains(StatVfsMountFlags::RDONLY));
        for path in [OWN, fd_path(view.as_fd()).as_c_str()] {
            let open = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
            assert!(matches!(open, Err(Errno::ROFS | Errno::TXTBSY)), "{open:?}");
        }
    }
}
