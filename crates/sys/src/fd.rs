//! File descriptors as a set: closing at exec, and naming one by its path under `/proc`.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;

use crate::process::check;

/// Marks every descriptor from `first` on close-on-exec, in one call.
///
/// Before Linux 5.11 (`CLOSE_RANGE_CLOEXEC`) the descriptors are marked one by one up to the soft limit
/// of open files. Does not allocate.
pub fn close_on_exec_from(first: RawFd) -> Result<(), Errno> {
    let first = u32::try_from(first).map_err(|_| Errno::BADF)?;
    // SAFETY: close_range with CLOEXEC only sets a flag on descriptors; it closes nothing now.
    let result =
        unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    match check(result) {
        Err(Errno::NOSYS | Errno::INVAL) => {
            mark_one_by_one(first);
            Ok(())
        }
        other => other.map(drop),
    }
}

/// Closes every descriptor from 3 on that is not in `keep`, whose numbers rise. May run between clone and
/// exec, by a child with a copy of its parent's memory that uses none of the others any more.
///
/// Before Linux 5.9 nothing is closed: exec does it then.
pub fn close_others(keep: impl Iterator<Item = RawFd>) -> Result<(), Errno> {
    let close = |first: u32, last: u32| {
        if first > last {
            return Ok(());
        }
        // SAFETY: whoever owns one of these in this process never uses it again: the caller says so.
        let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        match check(result) {
            Err(Errno::NOSYS) => Ok(()),
            other => other.map(drop),
        }
    };
    let mut first = 3;
    for number in keep.filter_map(|number| u32::try_from(number).ok()) {
        if number >= first {
            close(first, number - 1)?;
            first = number + 1;
        }
    }
    close(first, u32::MAX)
}

fn mark_one_by_one(first: u32) {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let end = limit.unwrap_or(1 << 20).min(1 << 20) as u32;
    for fd in first..end {
        // SAFETY: F_SETFD on a number that is no open descriptor fails with EBADF and changes nothing.
        unsafe { libc::fcntl(fd as RawFd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// Whether a descriptor of this number is open and would survive an exec.
pub fn is_inheritable(number: RawFd) -> bool {
    // SAFETY: F_GETFD reads a flag, and of no descriptor but this one.
    let flags = unsafe { libc::syscall(libc::SYS_fcntl, number, libc::F_GETFD) };
    check(flags).is_ok_and(|flags| flags as libc::c_int & libc::FD_CLOEXEC == 0)
}

/// Lets the descriptor of this number survive an exec again. May run between clone and exec.
pub fn keep_at_exec(number: RawFd) -> Result<(), Errno> {
    // SAFETY: F_SETFD changes a flag; the descriptor stays open and whose it was.
    check(unsafe { libc::syscall(libc::SYS_fcntl, number, libc::F_SETFD, 0) }).map(drop)
}

/// Takes over a descriptor that whoever executed this program left at `number`, and keeps it from coming
/// programs; nothing if none is open there, or if it is close-on-exec and so somebody's who runs here.
pub fn take_descriptor(number: RawFd) -> Option<OwnedFd> {
    if !is_inheritable(number) {
        return None;
    }
    // SAFETY: an inheritable descriptor was not opened by this program, whose own are close-on-exec from
    // birth; marking it makes the next call find it taken.
    let marked = unsafe { libc::syscall(libc::SYS_fcntl, number, libc::F_SETFD, libc::FD_CLOEXEC) };
    // SAFETY: as said, nobody else in this program owns it.
    check(marked).ok().map(|_| unsafe { OwnedFd::from_raw_fd(number) })
}

/// Makes `number` name what `fd` does, inheritable, in a child that owns nothing at that number. May run
/// between clone and exec, by a child with a descriptor table of its own.
pub fn place_at(fd: BorrowedFd<'_>, number: RawFd) -> Result<(), Errno> {
    if fd.as_raw_fd() == number {
        return keep_at_exec(number);
    }
    // SAFETY: whoever owns `number` in the parent keeps it there: the child has a table of its own, and drops
    // no owner, ending by exec or exit.
    check(unsafe { libc::syscall(libc::SYS_dup3, fd.as_raw_fd(), number, 0) }).map(drop)
}

/// The text `/proc/self/fd/N`, made without allocation.
#[derive(Clone, Copy)]
pub struct FdPath {
    text: [u8; 32],
}

impl FdPath {
    /// The path as the kernel wants it.
    pub fn as_c_str(&self) -> &std::ffi::CStr {
        std::ffi::CStr::from_bytes_until_nul(&self.text).unwrap_or(c"")
    }
}

/// Names `fd` by path for the calls that take no descriptor, such as `mount(2)`.
pub fn fd_path(fd: BorrowedFd<'_>) -> FdPath {
    const PREFIX: &[u8] = b"/proc/self/fd/";
    let mut digits = [0u8; 10];
    let mut count = 0;
    let mut number = fd.as_raw_fd() as u32;
    loop {
        digits[count] = b'0' + (number % 10) as u8;
        count += 1;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    let mut text = [0u8; 32];
    text[..PREFIX.len()].copy_from_slice(PREFIX);
    for (at, digit) in digits[..count].iter().rev().enumerate() {
        text[PREFIX.len() + at] = *digit;
    }
    FdPath { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_descriptor_survives_exec_where_it_is_to() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let number = file.as_raw_fd();
        assert!(!is_inheritable(number));
        keep_at_exec(number).unwrap();
        assert!(is_inheritable(number));
        assert!(!is_inheritable(-1));
        assert_eq!(keep_at_exec(-1), Err(Errno::BADF));
    }

    #[test]
    fn a_descriptor_is_named_by_its_number() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let path = fd_path(file.as_fd());
        assert_eq!(
            path.as_c_str().to_str().unwrap(),
            format!("/proc/self/fd/{}", file.as_raw_fd())
        );
        assert_eq!(
            std::fs::read_link(path.as_c_str().to_str().unwrap()).unwrap().to_str(),
            Some("/dev/null")
        );
    }
}
