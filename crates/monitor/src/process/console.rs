//! The socket on which a runtime's command line hands a terminal over (`--console-socket`).

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use dhow_runtime::Streams;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};
use rustix::termios::Winsize;

use super::backend::Failure;

/// A runtime that has ended well has connected before.
const PATIENCE: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

#[derive(Debug)]
pub(super) struct Console {
    listener: OwnedFd,
    path: PathBuf,
    size: Option<(u16, u16)>,
}

fn failed(doing: &'static str) -> impl FnOnce(Errno) -> Failure {
    move |errno| Failure::other(format!("{doing} the console socket: {errno}"))
}

impl Console {
    /// Listens in `directory`, if the streams are a terminal.
    pub(super) fn of(streams: &Streams, directory: &Path) -> Result<Option<Self>, Failure> {
        let Streams::Terminal { size } = streams else { return Ok(None) };
        let path = directory.join("console.sock");
        let _ = std::fs::remove_file(&path);
        let flags = SocketFlags::CLOEXEC;
        let listener =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
                .map_err(failed("make"))?;
        let address = SocketAddrUnix::new(&path).map_err(failed("name"))?;
        rustix::net::bind(&listener, &address).map_err(failed("bind"))?;
        rustix::net::listen(&listener, 1).map_err(failed("listen on"))?;
        Ok(Some(Self { listener, path, size: *size }))
    }

    /// What the runtime is told of it.
    pub(super) fn words(&self) -> [String; 2] {
        ["--console-socket".to_owned(), self.path.display().to_string()]
    }

    /// Takes the terminal's master, and gives it its size.
    pub(super) fn receive(self) -> Result<OwnedFd, Failure> {
        let mut fds = [PollFd::new(&self.listener, PollFlags::IN)];
        if poll(&mut fds, Some(&PATIENCE)).map_err(failed("wait on"))? == 0 {
            return Err(Failure::other("the runtime has handed no terminal over"));
        }
        let connection = rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC)
            .map_err(failed("accept on"))?;
        let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut room);
        let mut name = [0; 256];
        let mut data = [IoSliceMut::new(&mut name)];
        rustix::net::recvmsg(&connection, &mut data, &mut control, RecvFlags::CMSG_CLOEXEC)
            .map_err(failed("receive from"))?;
        let master = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        let master = master.ok_or_else(|| Failure::other("the runtime has sent no terminal"))?;
        if let Some((rows, cols)) = self.size {
            let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
            rustix::termios::tcsetwinsize(&master, size).map_err(failed("size a terminal from"))?;
        }
        Ok(master)
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
