//! One conversation with CRIU: a request, its notices on the way, its answer.
//!
//! CRIU runs as `criu swrk`, a service for one client over a socket; the numbers of descriptors in a request
//! are CRIU's own. Invariant: when a session is dropped, its process has ended and is reaped.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use dhow_sys::{Child, Errno};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags};
use rustix::process::Pid;

use super::options::Options;
use super::wire::{Fields, Message, Value};
use crate::error::Error;
use crate::external::{self, CriuService};
use crate::text::ErrnoWords;

/// What CRIU is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    Dump = 1,
    Restore = 2,
    PreDump = 4,
}

/// CRIU's answer to a notice, or its word that the request is done.
const NOTIFY: i64 = 6;
/// Longer than any answer.
const ANSWER_BYTES: usize = 64 << 10;

/// Something that CRIU tells on its way and waits for our leave to go on.
#[derive(Debug, Default)]
pub(crate) struct Notice {
    /// The point reached, such as `post-restore`.
    pub(crate) point: String,
    /// The first process, once there is one.
    pub(crate) pid: Option<i32>,
    /// A terminal's master, at `orphan-pts-master`.
    pub(crate) fd: Option<OwnedFd>,
}

/// How CRIU is to be started.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    /// The program; looked for where programs are if absent.
    pub(crate) program: Option<&'a Path>,
    /// The directory of the images.
    pub(crate) images: &'a Path,
    /// The directory of its log.
    pub(crate) work: &'a Path,
    /// A directory that has to be a mount point for it.
    pub(crate) root: Option<&'a Path>,
    /// Descriptors that it gets under their own numbers.
    pub(crate) inherited: &'a [OwnedFd],
}

/// CRIU, waiting for a request.
#[derive(Debug)]
pub(crate) struct Session {
    socket: OwnedFd,
    child: Child,
    /// CRIU's own numbers for the directories of images and work.
    dirs: (RawFd, RawFd),
}

/// One answer.
#[derive(Debug, Default, PartialEq, Eq)]
struct Answer {
    kind: i64,
    success: bool,
    point: String,
    pid: Option<i32>,
    /// The restored first process.
    restored: Option<i32>,
    errno: i64,
    message: String,
}

impl Session {
    pub(crate) fn start(start: &Start<'_>) -> Result<Self, Error> {
        let CriuService { child, socket, images, work } = external::start_criu(start)?;
        Ok(Self { socket, child, dirs: (images, work) })
    }

    /// Options for a request, whose log is to have this name.
    pub(crate) fn options(&self, log: &str) -> Options {
        Options::new(self.dirs.0, self.dirs.1, log)
    }

    /// CRIU's process, whose cgroup a restored container begins in.
    pub(crate) fn pid(&self) -> Pid {
        self.child.pid
    }

    /// Has a request done; `on_notice` may refuse to go on. Gives the first process of a restored
    /// container.
    pub(crate) fn ask(
        &mut self,
        request: Request,
        options: &Message,
        on_notice: &mut dyn FnMut(Notice) -> Result<(), Error>,
    ) -> Result<Option<Pid>, Error> {
        let mut message = Message::default();
        message.number(1, request as i64).message(2, options);
        self.send(&message)?;
        let mut refused = None;
        loop {
            let Some((answer, fd)) = self.receive()? else {
                return Err(refused.unwrap_or_else(|| failed("it ended without an answer")));
            };
            if answer.kind == NOTIFY && answer.success {
                let notice = Notice { point: answer.point, pid: answer.pid, fd };
                let goes_on = on_notice(notice).map_err(|error| refused = Some(error)).is_ok();
                let mut reply = Message::default();
                reply.number(1, NOTIFY).number(3, goes_on.into());
                self.send(&reply)?;
                continue;
            }
            return match (refused, answer.success) {
                (Some(error), _) => Err(error),
                (None, true) => Ok(answer.restored.and_then(Pid::from_raw)),
                (None, false) => Err(failed(&answer.words())),
            };
        }
    }

    fn send(&self, message: &Message) -> Result<(), Error> {
        let bytes = message.bytes();
        match rustix::net::send(&self.socket, bytes, SendFlags::NOSIGNAL) {
            // Its end is read from the socket.
            Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(errno) => Err(Error::call("talk to criu")(errno)),
        }
    }

    /// One answer, with the descriptor that came along; `None` at the end.
    fn receive(&self) -> Result<Option<(Answer, Option<OwnedFd>)>, Error> {
        let mut bytes = vec![0; ANSWER_BYTES];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::io::retry_on_intr(|| {
            let mut parts = [IoSliceMut::new(&mut bytes)];
            rustix::net::recvmsg(&self.socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)
        });
        let count = match received {
            Ok(received) => received.bytes,
            Err(Errno::CONNRESET) => 0,
            Err(errno) => return Err(Error::call("listen to criu")(errno)),
        };
        let fd = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        Ok((count > 0).then(|| (Answer::read(&bytes[..count]), fd)))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // It ends when its client has gone.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
        let _ = self.child.wait();
    }
}

impl Answer {
    fn read(bytes: &[u8]) -> Self {
        let mut answer = Self::default();
        for field in Fields::of(bytes) {
            match field {
                (1, Value::Number(kind)) => answer.kind = kind,
                (2, Value::Number(success)) => answer.success = success != 0,
                (4, Value::Bytes(restored)) => answer.restored = number(restored, 1),
                (5, Value::Bytes(notice)) => {
                    answer.pid = number(notice, 2);
                    answer.point = text(notice, 1);
                }
                (7, Value::Number(errno)) => answer.errno = errno,
                (9, Value::Bytes(words)) => {
                    answer.message = String::from_utf8_lossy(words).trim().to_owned();
                }
                _ => {}
            }
        }
        answer
    }

    fn words(&self) -> String {
        match (self.message.as_str(), i32::try_from(self.errno)) {
            ("", Ok(errno)) if errno != 0 => {
                ErrnoWords(Errno::from_raw_os_error(errno)).to_string()
            }
            ("", _) => "the request failed".to_owned(),
            (words, _) => words.lines().map(str::trim).collect::<Vec<_>>().join("; "),
        }
    }
}

fn number(message: &[u8], wanted: u32) -> Option<i32> {
    Fields::of(message).find_map(|(field, value)| match value {
        Value::Number(number) if field == wanted => i32::try_from(number).ok(),
        _ => None,
    })
}

fn text(message: &[u8], wanted: u32) -> String {
    let bytes = Fields::of(message).find_map(|(field, value)| match value {
        Value::Bytes(bytes) if field == wanted => Some(bytes),
        _ => None,
    });
    String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
}

/// The error of a request that CRIU could not do.
pub(crate) fn failed(said: &str) -> Error {
    Error::Program { name: "criu", said: said.to_owned() }
}

/// The number under which CRIU finds one of our descriptors.
pub(crate) fn number_of(fd: BorrowedFd<'_>) -> i64 {
    std::os::fd::AsRawFd::as_raw_fd(&fd).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(program: &str) -> Start<'_> {
        let dir = Path::new("/");
        Start {
            program: Some(program.as_ref()),
            images: dir,
            work: dir,
            root: None,
            inherited: &[],
        }
    }

    #[test]
    fn answers_are_read() {
        let mut notice = Message::default();
        notice.text(1, "post-restore").number(2, 42);
        let mut message = Message::default();
        message.number(1, NOTIFY).number(2, 1).message(5, &notice);
        let answer = Answer::read(message.bytes());
        assert_eq!((answer.kind, answer.success, answer.pid), (NOTIFY, true, Some(42)));
        assert_eq!(answer.point, "post-restore");

        let mut restored = Message::default();
        restored.number(1, 7);
        let mut message = Message::default();
        message.number(1, 2).number(2, 1).message(4, &restored);
        assert_eq!(Answer::read(message.bytes()).restored, Some(7));
    }

    #[test]
    fn failures_have_words() {
        let words = |errno: i64, text: &str| {
            let mut message = Message::default();
            message.number(1, 1).number(2, 0).number(7, errno).text(9, text);
            Answer::read(message.bytes()).words()
        };
        assert_eq!(words(0, ""), "the request failed");
        assert_eq!(words(13, ""), "permission denied");
        assert_eq!(words(13, "one\n two\n"), "one; two");
    }

    #[test]
    fn a_program_that_is_no_service_is_an_error() {
        let mut session = Session::start(&start("/bin/true")).unwrap();
        let error = session
            .ask(Request::Dump, &Message::default(), &mut |_| Ok(()))
            .unwrap_err()
            .to_string();
        assert_eq!(error, "criu: it ended without an answer");
        let error = Session::start(&start("/nowhere")).unwrap_err().to_string();
        assert_eq!(error, "criu: execute /nowhere: no such file or directory");
    }
}
