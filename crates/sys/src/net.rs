//! The little of networking that needs no netlink.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::process::check;

/// Brings the loopback device of the caller's network namespace up; the kernel then gives it its
/// addresses. May run between clone and exec.
pub fn loopback_up() -> Result<(), Errno> {
    let socket = rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: an all-zero ifreq is a valid one: empty name, no flags.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one ifreq, which lives through the call.
    check(unsafe {
        libc::syscall(libc::SYS_ioctl, socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request)
    })
    .map(drop)
}

/// Bytes that were sent on a unix socket and that its other end has not read yet.
pub fn bytes_unread_by_peer(socket: BorrowedFd<'_>) -> Result<u32, Errno> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: SIOCOUTQ, which has TIOCOUTQ's number, writes one int, which lives through the call.
    check(unsafe {
        libc::syscall(libc::SYS_ioctl, socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes)
    })?;
    Ok(u32::try_from(bytes).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_the_peer_has_read_is_not_counted() {
        let (mut ours, mut theirs) = UnixStream::pair().expect("a pair");
        assert_eq!(bytes_unread_by_peer(ours.as_fd()), Ok(0));
        ours.write_all(b"head").expect("written");
        assert!(bytes_unread_by_peer(ours.as_fd()).expect("a count") > 0);
        theirs.read_exact(&mut [0; 4]).expect("read");
        assert_eq!(bytes_unread_by_peer(ours.as_fd()), Ok(0));
    }
}
