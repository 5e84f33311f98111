//! Where a terminal's master goes, and what the terminal has to be like there.
//!
//! The child sets the terminal up before anything runs on it: set from outside later, the program could
//! have asked for its size or written a line before.

use std::os::fd::OwnedFd;

use dhow_sys::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::termios::{isatty, tcgetattr, tcgetwinsize};

/// A socket that takes the master of a terminal that is still to be made.
#[derive(Debug)]
pub(crate) struct Console {
    pub(crate) socket: OwnedFd,
    /// Rows and columns.
    pub(crate) size: Option<(u16, u16)>,
    /// Whether the terminal is to leave `\n` as it is.
    pub(crate) plain_line_ends: bool,
}

impl Console {
    /// For somebody else, who sets the terminal up as he likes.
    pub(crate) fn of_caller(socket: OwnedFd) -> Self {
        Self { socket, size: None, plain_line_ends: false }
    }

    /// For ourselves, who receive it on the second one: of the size of our own terminal, and with the line
    /// ends that our output needs.
    pub(crate) fn of_ours() -> Result<(Self, OwnedFd), Errno> {
        let ours = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
        let size = ours.iter().find_map(|fd| tcgetwinsize(fd).ok());
        let size = size.map(|size| (size.ws_row, size.ws_col));
        let (console, receiver) = Self::pair(size)?;
        Ok((Self { plain_line_ends: wants_plain_line_ends(), ..console }, receiver))
    }

    /// For whoever receives it on the second one and has no terminal himself.
    pub(crate) fn pair(size: Option<(u16, u16)>) -> Result<(Self, OwnedFd), Errno> {
        let (socket, receiver) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok((Self { socket, size, plain_line_ends: false }, receiver))
    }
}

/// Whether our output is something else than a terminal that we put in raw mode: a file is to have plain
/// lines, and a terminal in its own mode adds the `\r` itself.
pub(super) fn wants_plain_line_ends() -> bool {
    tcgetattr(rustix::stdio::stdin()).is_err() || !isatty(rustix::stdio::stdout())
}
