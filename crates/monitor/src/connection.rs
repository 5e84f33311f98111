//! Messages over a seqpacket socket, one datagram each, with descriptors beside them.
//!
//! Invariant: a message is taken or left as a whole. One that is longer than a datagram should be travels in
//! a memfd, of which the datagram then only says that it is there.
//! Absent on purpose: what messages mean, and waiting: [`Connection::try_recv`] never blocks, and who waits
//! polls the descriptor.

use std::fmt;
use std::io::{IoSlice, IoSliceMut, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::protocol::{Reply, Request};

/// What goes into a datagram; the kernel takes more, but not always at once.
const INLINE_MAX: usize = 32 * 1024;
/// A message that says that the real one is in the first descriptor.
const IN_MEMFD: &[u8] = b"@";
/// Nobody says more than this; a limit, so that a wrong peer cannot fill the memory.
const MESSAGE_MAX: u64 = 64 * 1024 * 1024;
/// As many descriptors as a message may carry.
const DESCRIPTORS_MAX: usize = 8;

/// A connection between an engine and a monitor, on either side.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
}

/// Why a message did not come or go.
#[derive(Debug)]
pub enum ConnectionError {
    /// The other side has gone.
    Closed,
    /// It takes no more at the moment (only on a non-blocking connection).
    Full,
    /// It said what is no message.
    Malformed {
        /// Why not.
        source: serde_json::Error,
    },
    /// It said more than anybody should.
    TooLong,
    /// A call failed.
    Call {
        /// What was to be done.
        doing: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the other side has closed the connection"),
            Self::Full => f.write_str("the other side does not read"),
            Self::Malformed { source } => write!(f, "not a message: {source}"),
            Self::TooLong => f.write_str("a message is too long"),
            Self::Call { doing, errno } => write!(f, "{doing}: {errno}"),
        }
    }
}

impl std::error::Error for ConnectionError {}

impl ConnectionError {
    fn call(doing: &'static str) -> impl FnOnce(Errno) -> Self {
        move |errno| match errno {
            Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN => Self::Closed,
            Errno::AGAIN => Self::Full,
            errno => Self::Call { doing, errno },
        }
    }
}

impl From<OwnedFd> for Connection {
    fn from(socket: OwnedFd) -> Self {
        Self { socket }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Connection {
    /// Two ends of one connection.
    pub fn pair() -> Result<(Self, Self), ConnectionError> {
        rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .map(|(one, other)| (Self::from(one), Self::from(other)))
        .map_err(ConnectionError::call("make a pair of sockets"))
    }

    /// Connects to a monitor's socket. A path that is longer than an address may be is reached by way of a
    /// descriptor of its directory.
    pub fn connect(path: &Path) -> Result<Self, ConnectionError> {
        let error = || ConnectionError::call("connect to the monitor");
        let place = Address::of(path).map_err(error())?;
        let socket = seqpacket(SocketFlags::CLOEXEC).map_err(error())?;
        rustix::net::connect(&socket, &place.address).map_err(error())?;
        Ok(Self { socket })
    }

    /// Has sending never block: it fails with [`ConnectionError::Full`] instead.
    pub fn set_nonblocking(&self) -> Result<(), ConnectionError> {
        rustix::io::ioctl_fionbio(&self.socket, true)
            .map_err(ConnectionError::call("change a socket"))
    }

    /// Sends a request, as the engine does.
    pub fn send(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<(), ConnectionError> {
        self.send_message(request, fds)
    }

    /// Sends a reply, as the monitor does.
    pub fn reply(&self, reply: &Reply, fds: &[BorrowedFd<'_>]) -> Result<(), ConnectionError> {
        self.send_message(reply, fds)
    }

    /// The next reply with its descriptors, if one has come.
    pub fn try_recv(&self) -> Result<Option<(Reply, Vec<OwnedFd>)>, ConnectionError> {
        self.try_recv_message()
    }

    /// The next request with its descriptors, if one has come.
    pub fn try_recv_request(&self) -> Result<Option<(Request, Vec<OwnedFd>)>, ConnectionError> {
        self.try_recv_message()
    }

    /// Waits for the next reply; `None` if none came in time.
    pub fn recv(&self, timeout_ms: u64) -> Result<Option<(Reply, Vec<OwnedFd>)>, ConnectionError> {
        let timeout = Timespec {
            tv_sec: (timeout_ms / 1000) as i64,
            tv_nsec: (timeout_ms % 1000 * 1_000_000) as _,
        };
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) | Err(Errno::INTR) => Ok(None),
            Ok(_) => self.try_recv(),
            Err(errno) => Err(ConnectionError::call("wait for a reply")(errno)),
        }
    }

    fn send_message(
        &self,
        message: &impl Serialize,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), ConnectionError> {
        let bytes =
            serde_json::to_vec(message).map_err(|source| ConnectionError::Malformed { source })?;
        if bytes.len() <= INLINE_MAX {
            return self.send_datagram(&bytes, fds);
        }
        let body = memfd(&bytes).map_err(ConnectionError::call("put a message into memory"))?;
        let mut all = vec![body.as_fd()];
        all.extend_from_slice(fds);
        self.send_datagram(IN_MEMFD, &all)
    }

    fn send_datagram(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), ConnectionError> {
        let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut room);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(ConnectionError::TooLong);
        }
        let data = [IoSlice::new(bytes)];
        loop {
            match rustix::net::sendmsg(&self.socket, &data, &mut control, SendFlags::NOSIGNAL) {
                Err(Errno::INTR) => {}
                other => return other.map(drop).map_err(ConnectionError::call("send a message")),
            }
        }
    }

    fn try_recv_message<M: DeserializeOwned>(
        &self,
    ) -> Result<Option<(M, Vec<OwnedFd>)>, ConnectionError> {
        let Some((mut bytes, mut fds)) = self.receive_datagram()? else { return Ok(None) };
        if bytes == IN_MEMFD {
            if fds.is_empty() {
                return Err(ConnectionError::TooLong);
            }
            bytes = read_memfd(fds.remove(0))?;
        }
        let message = serde_json::from_slice(&bytes)
            .map_err(|source| ConnectionError::Malformed { source })?;
        Ok(Some((message, fds)))
    }

    #[expect(clippy::type_complexity, reason = "bytes and descriptors, said nowhere else")]
    fn receive_datagram(&self) -> Result<Option<(Vec<u8>, Vec<OwnedFd>)>, ConnectionError> {
        let failed = || ConnectionError::call("receive a message");
        // Its length first: messages are short, and room for the longest would stay ours for ever.
        let flags = RecvFlags::PEEK | RecvFlags::TRUNC | RecvFlags::DONTWAIT;
        let length = match rustix::net::recv(&self.socket, &mut [0u8; 1][..], flags) {
            Ok((_, 0)) => return Err(ConnectionError::Closed),
            Ok((_, length)) => length,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
            Err(errno) => return Err(failed()(errno)),
        };
        let mut bytes = vec![0; length];
        let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut room);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let data = &mut [IoSliceMut::new(&mut bytes)];
        let got = match rustix::net::recvmsg(&self.socket, data, &mut control, flags) {
            Ok(got) => got,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
            Err(errno) => return Err(failed()(errno)),
        };
        let mut fds = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        if got.bytes == 0 {
            return Err(ConnectionError::Closed);
        }
        if got.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(ConnectionError::TooLong);
        }
        bytes.truncate(got.bytes);
        Ok(Some((bytes, fds)))
    }
}

fn seqpacket(flags: SocketFlags) -> Result<OwnedFd, Errno> {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}

/// A socket that takes connections at `path`; one that was left there is replaced.
pub fn listen(path: &Path) -> Result<OwnedFd, Errno> {
    let place = Address::of(path)?;
    let socket = seqpacket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    match rustix::fs::unlink(path) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno),
    }
    rustix::net::bind(&socket, &place.address)?;
    rustix::fs::chmod(path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)?;
    rustix::net::listen(&socket, 16)?;
    Ok(socket)
}

/// A socket's address, and what has to stay open for it to mean something.
struct Address {
    address: SocketAddrUnix,
    _directory: Option<OwnedFd>,
}

impl Address {
    fn of(path: &Path) -> Result<Self, Errno> {
        match SocketAddrUnix::new(path) {
            Ok(address) => Ok(Self { address, _directory: None }),
            Err(Errno::NAMETOOLONG) => Self::by_descriptor(path),
            Err(errno) => Err(errno),
        }
    }

    fn by_descriptor(path: &Path) -> Result<Self, Errno> {
        use rustix::fs::{Mode, OFlags};
        use std::os::fd::AsRawFd;
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Errno::NAMETOOLONG);
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(parent, flags, Mode::empty())?;
        let place = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
        Ok(Self { address: SocketAddrUnix::new(place)?, _directory: Some(directory) })
    }
}

fn memfd(bytes: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let mut file = std::fs::File::from(rustix::fs::memfd_create(c"dhow-message", flags)?);
    file.write_all(bytes)
        .and_then(|()| file.rewind())
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    Ok(file.into())
}

fn read_memfd(fd: OwnedFd) -> Result<Vec<u8>, ConnectionError> {
    let mut bytes = Vec::new();
    std::fs::File::from(fd).take(MESSAGE_MAX + 1).read_to_end(&mut bytes).map_err(|error| {
        ConnectionError::Call {
            doing: "read a message from memory",
            errno: Errno::from_io_error(&error).unwrap_or(Errno::IO),
        }
    })?;
    if bytes.len() as u64 > MESSAGE_MAX {
        return Err(ConnectionError::TooLong);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Event, Record};

    #[test]
    fn messages_come_as_they_went_with_their_descriptors() {
        let (engine, monitor) = Connection::pair().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        let request = Request::Stop { signal: Some(15), timeout_s: None };
        engine.send(&request, &[file.as_fd(), file.as_fd()]).unwrap();
        engine.send(&Request::Start, &[]).unwrap();
        let (first, fds) = monitor.try_recv_request().unwrap().unwrap();
        assert_eq!((first, fds.len()), (request, 2));
        let (second, fds) = monitor.try_recv_request().unwrap().unwrap();
        assert_eq!((second, fds.len()), (Request::Start, 0));
        assert!(monitor.try_recv_request().unwrap().is_none());
        drop(engine);
        assert!(matches!(monitor.try_recv_request(), Err(ConnectionError::Closed)));
    }

    #[test]
    fn a_long_message_travels_beside_its_datagram() {
        let (engine, monitor) = Connection::pair().unwrap();
        let message = "x".repeat(3 * INLINE_MAX);
        let record = Record {
            number: 7,
            time_ns: -1,
            event: Event::LogDropped { lines: 1, message: message.clone() },
        };
        let file = std::fs::File::open("/dev/null").unwrap();
        monitor.reply(&Reply::Record(record.clone()), &[file.as_fd()]).unwrap();
        let (reply, fds) = engine.recv(1000).unwrap().unwrap();
        assert_eq!((reply, fds.len()), (Reply::Record(record), 1));
    }

    #[test]
    fn words_of_another_version_are_skipped_not_refused() {
        let parse = |text: &str| serde_json::from_str::<Request>(text).unwrap();
        assert_eq!(
            parse(r#"{"type":"kill","signal":9,"cgroup":"all"}"#),
            Request::Kill { signal: 9 }
        );
        assert_eq!(parse(r#"{"type":"teleport","to":"mars"}"#), Request::Unknown);
        assert_eq!(
            parse(r#"{"type":"attach","stdout":true}"#),
            Request::Attach(crate::AttachRequest { stdout: true, ..Default::default() })
        );
        let event = r#"{"number":3,"time_ns":1,"timeNs":1,"event":{"type":"melted","how":1}}"#;
        assert_eq!(serde_json::from_str::<Record>(event).unwrap().event, Event::Unknown);
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        let (engine, monitor) = Connection::pair().unwrap();
        rustix::net::send(&engine, b"hello", SendFlags::empty()).unwrap();
        let error = monitor.try_recv_request().unwrap_err();
        assert!(matches!(error, ConnectionError::Malformed { .. }), "{error}");
        rustix::net::send(&engine, IN_MEMFD, SendFlags::empty()).unwrap();
        assert!(matches!(monitor.try_recv_request(), Err(ConnectionError::TooLong)));
    }

    #[test]
    fn a_socket_in_a_deep_directory_is_reached() {
        let root = std::env::temp_dir().join(format!("dhow-monitor-deep-{}", std::process::id()));
        let deep = root.join("d".repeat(120));
        std::fs::create_dir_all(&deep).unwrap();
        let path = deep.join("monitor.sock");
        let _listener = listen(&path).unwrap();
        Connection::connect(&path).unwrap();
        let _again = listen(&path).unwrap();
        Connection::connect(&path).unwrap();
        std::fs::remove_dir_all(&root).unwrap();
    }
}
