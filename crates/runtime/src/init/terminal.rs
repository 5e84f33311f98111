//! The container's terminal: made in its own devpts, its master handed to whoever asked for it.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use dhow_sys::{Errno, fd_path};
use rustix::fs::OFlags;
use rustix::mount::MountFlags;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use rustix::process::Uid;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use super::beneath::{self, Kind};
use super::report::{At, Fault, InStep};
use crate::foreground::leave_line_ends_alone;

/// What the child does for `process.terminal`.
pub(super) struct Terminal<'a> {
    pub(super) socket: BorrowedFd<'a>,
    /// Rows and columns.
    pub(super) size: Option<(u16, u16)>,
    /// Mount the terminal on `/dev/console` as well.
    pub(super) console: bool,
    pub(super) owner: Uid,
    /// Leave `\n` as it is.
    pub(super) plain_line_ends: bool,
}

/// Opens a terminal below `root`, sends its master away, and makes it the standard streams and the
/// controlling terminal of the session.
pub(super) fn open(root: BorrowedFd<'_>, terminal: &Terminal<'_>) -> Result<(), Fault> {
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    let master = beneath::open(root, c"dev/pts/ptmx", flags).at(At::Source)?;
    rustix::pty::unlockpt(&master)?;
    let slave = rustix::pty::ioctl_tiocgptpeer(
        &master,
        OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
    )?;
    if let Some((rows, columns)) = terminal.size {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&slave, size)?;
    }
    if terminal.plain_line_ends {
        leave_line_ends_alone(&master)?;
    }
    rustix::fs::fchown(&slave, Some(terminal.owner), None).at(At::Owner)?;
    if terminal.console {
        let target = beneath::open_or_make(root, c"dev/console", Kind::File)?;
        rustix::mount::mount(
            fd_path(slave.as_fd()).as_c_str(),
            fd_path(target.as_fd()).as_c_str(),
            c"",
            MountFlags::BIND,
            None::<&std::ffi::CStr>,
        )
        .at(At::Attach)?;
    }
    send_descriptor(terminal.socket, master.as_fd(), b"/dev/ptmx").at(At::Console)?;
    rustix::process::ioctl_tiocsctty(&slave)?;
    rustix::stdio::dup2_stdin(&slave)?;
    rustix::stdio::dup2_stdout(&slave)?;
    rustix::stdio::dup2_stderr(&slave)?;
    Ok(())
}

/// Sends one descriptor with `name` as the message's bytes: how a console socket is told the terminal.
pub(crate) fn send_descriptor(
    socket: BorrowedFd<'_>,
    fd: BorrowedFd<'_>,
    name: &[u8],
) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    control.push(SendAncillaryMessage::ScmRights(&fds));
    let bytes = [IoSlice::new(name)];
    rustix::net::sendmsg(socket, &bytes, &mut control, SendFlags::NOSIGNAL).map(drop)
}

/// Receives what [`send_descriptor`] sent; `None` if the other end closed without sending one.
pub(crate) fn receive_descriptor(socket: BorrowedFd<'_>) -> Result<Option<OwnedFd>, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0u8; 4096];
    let mut bytes = [IoSliceMut::new(&mut name)];
    rustix::net::recvmsg(socket, &mut bytes, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    Ok(fd)
}
