//! Published ports that no rule can redirect: [::1], and IPv6 for a container that has none. Who comes there is
//! passed on byte by byte.
//!
//! Invariant: nothing waits: a side that does not read keeps the other from being read. What is kept of a
//! connection is bounded, and there is no thread or process for it.
//! Absent on purpose: IPv4, which rules redirect; the streams and messages within a connection of SCTP: its bytes
//! are passed on, in order.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use dhow_network::{Forward, Protocol};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

use super::names::watch;

/// What is read of a connection at a time, and kept of it at most.
const PART_BYTES: usize = 64 * 1024;
/// How long a client by UDP may say nothing and still be known.
const IDLE: Duration = Duration::from_secs(90);
/// How many of those there may be; the oldest makes room.
const SESSIONS_MAX: usize = 1024;
const BACKLOG: i32 = 4096;

/// All of a container's.
#[derive(Debug, Default)]
pub(super) struct Forwards {
    epoll: Option<OwnedFd>,
    listeners: Vec<Listener>,
    pairs: Vec<Pair>,
    sessions: Vec<Session>,
    next: u64,
}

#[derive(Debug)]
struct Listener {
    key: u64,
    forward: Forward,
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

/// A client and where it is passed on to. The client's key is even, the other's the one behind it.
#[derive(Debug)]
struct Pair {
    key: u64,
    sides: [Side; 2],
}

#[derive(Debug)]
struct Side {
    socket: TcpStream,
    /// What it has not taken yet.
    unwritten: Vec<u8>,
    /// Nothing more comes from it.
    has_ended: bool,
    /// It was told that nothing more comes.
    is_told: bool,
    /// What is waited for.
    flags: EventFlags,
}

/// A client by UDP.
#[derive(Debug)]
struct Session {
    key: u64,
    listener: u64,
    client: SocketAddr,
    socket: UdpSocket,
    due: Instant,
}

impl Forwards {
    /// Readable when there is something to be done.
    pub(super) fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.epoll.as_ref().map(AsFd::as_fd)
    }

    /// When the next client by UDP is forgotten.
    pub(super) fn due(&self) -> Option<Instant> {
        self.sessions.iter().map(|session| session.due).min()
    }

    /// Forgets clients by UDP that have said nothing for long.
    pub(super) fn take_due(&mut self, now: Instant) {
        self.sessions.retain(|session| session.due > now);
    }

    /// Listens at these, and at no others. Connections that are there go on.
    pub(super) fn set(&mut self, wanted: Vec<Forward>) {
        self.listeners.retain(|listener| wanted.contains(&listener.forward));
        if wanted.is_empty() {
            return;
        }
        if self.epoll.is_none() {
            self.epoll = epoll::create(epoll::CreateFlags::CLOEXEC).ok();
        }
        for forward in wanted {
            let is_there = self.listeners.iter().any(|listener| listener.forward == forward);
            if !is_there {
                // The port was the engine's to take; a host without IPv6 has none.
                let _ = self.listen(forward);
            }
        }
    }

    fn listen(&mut self, forward: Forward) -> io::Result<()> {
        let socket = listen(&forward)?;
        let key = self.key();
        let Some(epoll) = &self.epoll else { return Ok(()) };
        match &socket {
            Socket::Tcp(socket) => watch(epoll, socket, key, EventFlags::IN)?,
            Socket::Udp(socket) => watch(epoll, socket, key, EventFlags::IN)?,
        }
        self.listeners.push(Listener { key, forward, socket });
        Ok(())
    }

    /// Does what is ready.
    pub(super) fn serve(&mut self) {
        let Some(epoll) = &self.epoll else { return };
        let mut events = Vec::with_capacity(64);
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        let waited = epoll::wait(epoll, rustix::buffer::spare_capacity(&mut events), Some(&now));
        if waited.is_err() {
            return;
        }
        for event in events {
            let (key, flags) = (event.data.u64(), event.flags);
            if let Some(at) = self.listeners.iter().position(|one| one.key == key) {
                self.serve_listener(at);
            } else if let Some(at) = self.sessions.iter().position(|one| one.key == key) {
                self.pass_back(at);
            } else if let Some(at) = self.pairs.iter().position(|one| one.key == key & !1) {
                self.serve_pair(at, (key & 1) as usize, flags);
            }
        }
    }

    fn serve_listener(&mut self, at: usize) {
        let Forward { protocol, target, .. } = self.listeners[at].forward;
        let key = self.listeners[at].key;
        match &self.listeners[at].socket {
            Socket::Tcp(socket) => {
                // A turn takes some; the rest is there at the next one.
                let clients: Vec<_> = (0..64).map_while(|_| socket.accept().ok()).collect();
                for (client, _) in clients {
                    // One that cannot be passed on is closed.
                    let _ = self.add_pair(client, protocol, target);
                }
            }
            Socket::Udp(socket) => {
                let Ok(socket) = socket.try_clone() else { return };
                let mut bytes = vec![0; PART_BYTES];
                for _ in 0..64 {
                    let Ok((length, client)) = socket.recv_from(&mut bytes) else { return };
                    self.pass_on(key, client, target, &bytes[..length]);
                }
            }
        }
    }

    fn add_pair(
        &mut self,
        client: TcpStream,
        protocol: Protocol,
        target: SocketAddr,
    ) -> io::Result<()> {
        client.set_nonblocking(true)?;
        let server = connect_by(protocol, target)?;
        if protocol == Protocol::Tcp {
            client.set_nodelay(true)?;
            server.set_nodelay(true)?;
        }
        let key = self.key();
        let Some(epoll) = &self.epoll else { return Ok(()) };
        watch(epoll, &client, key, EventFlags::IN)?;
        watch(epoll, &server, key | 1, EventFlags::OUT)?;
        let side = |socket, flags| Side {
            socket,
            unwritten: Vec::new(),
            has_ended: false,
            is_told: false,
            flags,
        };
        let sides = [side(client, EventFlags::IN), side(server, EventFlags::OUT)];
        self.pairs.push(Pair { key, sides });
        Ok(())
    }

    fn serve_pair(&mut self, at: usize, side: usize, flags: EventFlags) {
        let Some(epoll) = &self.epoll else { return };
        let pair = &mut self.pairs[at];
        let served = pair.serve(side, flags).and_then(|()| pair.watch(epoll));
        if served.is_err() || pair.is_over() {
            self.pairs.swap_remove(at);
        }
    }

    fn pass_on(&mut self, listener: u64, client: SocketAddr, target: SocketAddr, bytes: &[u8]) {
        let known = |one: &Session| one.listener == listener && one.client == client;
        if let Some(session) = self.sessions.iter_mut().find(|one| known(one)) {
            session.due = Instant::now() + IDLE;
            let _ = session.socket.send(bytes);
            return;
        }
        if self.sessions.len() >= SESSIONS_MAX {
            let oldest = self.sessions.iter().enumerate().min_by_key(|(_, one)| one.due);
            if let Some((at, _)) = oldest {
                self.sessions.swap_remove(at);
            }
        }
        let open = || {
            let any: SocketAddr = if target.is_ipv6() {
                (std::net::Ipv6Addr::UNSPECIFIED, 0).into()
            } else {
                (std::net::Ipv4Addr::UNSPECIFIED, 0).into()
            };
            let socket = UdpSocket::bind(any)?;
            socket.set_nonblocking(true)?;
            socket.connect(target)?;
            socket.send(bytes)?;
            Ok::<_, io::Error>(socket)
        };
        // A datagram that cannot be passed on is lost, as others are.
        let Ok(socket) = open() else { return };
        let key = self.key();
        let Some(epoll) = &self.epoll else { return };
        if watch(epoll, &socket, key, EventFlags::IN).is_ok() {
            let due = Instant::now() + IDLE;
            self.sessions.push(Session { key, listener, client, socket, due });
        }
    }

    /// Gives a client what came for it.
    fn pass_back(&mut self, at: usize) {
        let session = &mut self.sessions[at];
        let listener = self.listeners.iter().find(|one| one.key == session.listener);
        let Some(Listener { socket: Socket::Udp(socket), .. }) = listener else {
            self.sessions.swap_remove(at);
            return;
        };
        let mut bytes = vec![0; PART_BYTES];
        for _ in 0..64 {
            match session.socket.recv(&mut bytes) {
                Ok(length) => drop(socket.send_to(&bytes[..length], session.client)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Nobody is there at the moment; the client finds out by itself.
                Err(_) => return,
            }
        }
    }

    /// An even number that was never given.
    fn key(&mut self) -> u64 {
        self.next += 2;
        self.next
    }
}

impl Pair {
    fn serve(&mut self, side: usize, flags: EventFlags) -> io::Result<()> {
        if flags.contains(EventFlags::OUT) {
            if let Some(error) = self.sides[side].socket.take_error()? {
                return Err(error);
            }
            self.flush(side)?;
        }
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            self.read(side)?;
        }
        Ok(())
    }

    /// Reads a part from one side and gives it to the other.
    fn read(&mut self, from: usize) -> io::Result<()> {
        let to = 1 - from;
        if self.sides[from].has_ended || !self.sides[to].unwritten.is_empty() {
            return Ok(());
        }
        let mut bytes = vec![0; PART_BYTES];
        match self.sides[from].socket.read(&mut bytes) {
            Ok(0) => self.sides[from].has_ended = true,
            Ok(length) => {
                bytes.truncate(length);
                self.sides[to].unwritten = bytes;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
        self.flush(to)
    }

    fn flush(&mut self, to: usize) -> io::Result<()> {
        let from_ended = self.sides[1 - to].has_ended;
        let side = &mut self.sides[to];
        if !side.unwritten.is_empty() {
            match side.socket.write(&side.unwritten) {
                Ok(length) if length == side.unwritten.len() => side.unwritten = Vec::new(),
                Ok(length) => drop(side.unwritten.drain(..length)),
                Err(error) if is_later(&error) => {}
                Err(error) => return Err(error),
            }
        }
        if from_ended && side.unwritten.is_empty() && !side.is_told {
            side.is_told = true;
            match side.socket.shutdown(Shutdown::Write) {
                // Not connected yet, or not any more.
                Err(error) if error.kind() == io::ErrorKind::NotConnected => side.is_told = false,
                shut => shut?,
            }
        }
        Ok(())
    }

    /// Waits for what can be done next.
    fn watch(&mut self, epoll: &OwnedFd) -> io::Result<()> {
        for at in [0, 1] {
            let other = &self.sides[1 - at];
            let reads = !self.sides[at].has_ended && other.unwritten.is_empty();
            let writes =
                !self.sides[at].unwritten.is_empty() || other.has_ended && !self.sides[at].is_told;
            let mut flags = EventFlags::empty();
            flags.set(EventFlags::IN, reads);
            flags.set(EventFlags::OUT, writes);
            let side = &mut self.sides[at];
            if side.flags != flags {
                let data = EventData::new_u64(self.key | at as u64);
                epoll::modify(epoll, &side.socket, data, flags)?;
                side.flags = flags;
            }
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.sides.iter().all(|side| side.has_ended && side.unwritten.is_empty())
    }
}

fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected)
}

/// A socket at a port that the engine holds as well, without listening.
fn listen(forward: &Forward) -> io::Result<Socket> {
    let family = family(forward.listen);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (kind, protocol) = kind_of(forward.protocol);
    let socket = rustix::net::socket_with(family, kind, flags, protocol)?;
    if forward.listen.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if kind == SocketType::STREAM {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &forward.listen)?;
    if kind == SocketType::STREAM {
        rustix::net::listen(&socket, BACKLOG)?;
        return Ok(Socket::Tcp(socket.into()));
    }
    Ok(Socket::Udp(socket.into()))
}

/// What sockets of a protocol are: SCTP's are like TCP's, one for each connection.
fn kind_of(protocol: Protocol) -> (SocketType, Option<rustix::net::Protocol>) {
    match protocol {
        Protocol::Tcp => (SocketType::STREAM, None),
        Protocol::Sctp => (SocketType::STREAM, Some(ipproto::SCTP)),
        Protocol::Udp => (SocketType::DGRAM, None),
    }
}

/// Begins to connect; whoever writes first finds out whether that worked.
pub(super) fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    connect_by(Protocol::Tcp, to)
}

fn connect_by(protocol: Protocol, to: SocketAddr) -> io::Result<TcpStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (kind, protocol) = kind_of(protocol);
    let socket = rustix::net::socket_with(family(to), kind, flags, protocol)?;
    match rustix::net::connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket.into()),
        Err(errno) => Err(errno.into()),
    }
}

fn family(address: SocketAddr) -> AddressFamily {
    if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// A port that nobody has: never the same twice, and none of those that the kernel gives to whoever connects.
    fn free_port() -> u16 {
        static TAKEN: AtomicU32 = AtomicU32::new(0);
        let first = std::process::id().wrapping_mul(16);
        loop {
            let next = first.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed));
            let at = (Ipv6Addr::UNSPECIFIED, 20_000 + (next % 10_000) as u16);
            if UdpSocket::bind(at).is_ok() && TcpListener::bind(at).is_ok() {
                return at.1;
            }
        }
    }

    /// Serves until somebody is through.
    fn serve_while(forward: Forward, client: impl FnOnce() + Send) {
        let mut forwards = Forwards::default();
        forwards.set(vec![forward]);
        assert_eq!(forwards.listeners.len(), 1, "{forward:?}");
        std::thread::scope(|scope| {
            let client = scope.spawn(client);
            while !client.is_finished() {
                forwards.serve();
                std::thread::sleep(Duration::from_millis(1));
            }
            client.join().expect("no panic");
        });
        forwards.set(Vec::new());
        assert!(forwards.listeners.is_empty());
    }

    fn forward(protocol: Protocol, target: SocketAddr) -> Forward {
        let listen = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), free_port());
        Forward { protocol, listen, target }
    }

    /// A server that says everything back, and a client who says more than is kept at a time.
    fn streams(protocol: Protocol) -> io::Result<()> {
        let at = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), free_port());
        let listen_there = Forward { protocol, listen: at, target: at };
        let Socket::Tcp(server) = listen(&listen_there)? else { unreachable!("a stream") };
        server.set_nonblocking(false)?;
        let forward = forward(protocol, at);
        let echo = std::thread::spawn(move || {
            let (mut stream, _) = server.accept().expect("a client");
            stream.set_nonblocking(false).expect("a stream that waits");
            let mut all = vec![0; 200_000];
            stream.read_exact(&mut all).expect("all of it");
            stream.write_all(&all).expect("all of it");
        });
        serve_while(forward, move || {
            let mut client = connect_by(protocol, forward.listen).expect("somebody");
            client.set_nonblocking(false).expect("a stream that waits");
            let all: Vec<u8> = (0..200_000u32).map(|number| number as u8).collect();
            for part in all.chunks(10_000) {
                client.write_all(part).expect("all of it");
            }
            let mut answer = vec![0; all.len()];
            client.read_exact(&mut answer).expect("an answer");
            assert!(answer == all);
        });
        echo.join().expect("no panic");
        Ok(())
    }

    #[test]
    fn streams_are_passed_on() {
        streams(Protocol::Tcp).expect("TCP is everywhere");
    }

    #[test]
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    fn streams_of_sctp_are_passed_on() {
        if streams(Protocol::Sctp).is_err() {
            eprintln!("SKIPPED streams_of_sctp_are_passed_on: the kernel has no SCTP");
        }
    }

    #[test]
    fn datagrams_are_passed_on_and_answered() {
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let forward = forward(Protocol::Udp, server.local_addr().expect("an address"));
        let echo = std::thread::spawn(move || {
            let mut bytes = [0; 100];
            for _ in 0..2 {
                let (length, from) = server.recv_from(&mut bytes).expect("a datagram");
                server.send_to(&bytes[..length], from).expect("an answer");
            }
        });
        serve_while(forward, move || {
            for words in ["one", "two"] {
                let client = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).expect("a port");
                client.send_to(words.as_bytes(), forward.listen).expect("sent");
                let mut answer = [0; 100];
                let length = client.recv(&mut answer).expect("an answer");
                assert_eq!(&answer[..length], words.as_bytes());
            }
        });
        echo.join().expect("no panic");
    }
}
