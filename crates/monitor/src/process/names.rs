//! Names for the container: 127.0.0.11, answered from tables that the engine writes, or passed on to the host's
//! servers.
//!
//! The sockets were opened inside the container's network namespace; where they are read is here. Tables are
//! read at each question, so that nobody has to tell of a change.
//! Invariant: nothing waits for a server. Questions that are under way are bounded in number and in time.
//! Absent on purpose: a memory of answers; the servers that are asked have one.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use dhow_network::dns::{self, Verdict};
use dhow_network::{NamesConfig, RESOLVER_SOCKET};
use dhow_sys::Namespaces;
use rustix::event::epoll;
use rustix::fs::{Mode, OFlags};

use crate::protocol::NetworkPlace;

/// How long a server is given before the next one is asked.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a connection may say nothing.
const IDLE: Duration = Duration::from_secs(10);
/// How many questions may be under way; older ones make room.
const PENDING_MAX: usize = 256;
/// How many connections there may be.
const STREAMS_MAX: usize = 64;
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

const UDP: u64 = 0;
const TCP: u64 = 1;
const FIRST_KEY: u64 = 2;

/// What answers a container's questions.
#[derive(Debug)]
pub(super) struct Names {
    namespace: PathBuf,
    config: PathBuf,
    epoll: OwnedFd,
    udp: UdpSocket,
    tcp: TcpListener,
    pending: VecDeque<Pending>,
    streams: Vec<Stream>,
    next: u64,
    /// Which of several addresses comes first in the next answer.
    order: usize,
}

/// A question by UDP that somebody else was asked.
#[derive(Debug)]
struct Pending {
    key: u64,
    socket: UdpSocket,
    client: SocketAddr,
    question: Vec<u8>,
    /// Who is asked next.
    servers: VecDeque<SocketAddr>,
    inside: bool,
    due: Instant,
}

/// A client, or a server that is asked for one, by TCP. A question that is passed on makes two of them.
#[derive(Debug)]
struct Stream {
    key: u64,
    socket: TcpStream,
    read: Vec<u8>,
    unwritten: Vec<u8>,
    /// Whose question it carries, or who carries its question.
    other: Option<u64>,
    is_server: bool,
    due: Instant,
}

impl Names {
    /// Opens the sockets in the container's namespace.
    pub(super) fn open(place: &NetworkPlace) -> io::Result<Self> {
        let (udp, tcp) = inside(&place.namespace, || {
            Ok((UdpSocket::bind(RESOLVER_SOCKET)?, TcpListener::bind(RESOLVER_SOCKET)?))
        })?;
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        watch(&epoll, &udp, UDP, epoll::EventFlags::IN)?;
        watch(&epoll, &tcp, TCP, epoll::EventFlags::IN)?;
        Ok(Self {
            namespace: place.namespace.clone(),
            config: place.names.clone(),
            epoll,
            udp,
            tcp,
            pending: VecDeque::new(),
            streams: Vec::new(),
            next: FIRST_KEY,
            order: 0,
        })
    }

    /// Readable when there is something to be done.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// When the next question or connection has waited long enough.
    pub(super) fn due(&self) -> Option<Instant> {
        let pending = self.pending.iter().map(|one| one.due);
        pending.chain(self.streams.iter().map(|one| one.due)).min()
    }

    /// Does what is ready.
    pub(super) fn serve(&mut self) {
        let mut events = Vec::with_capacity(16);
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        let waited =
            epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&now));
        if waited.is_err() {
            return;
        }
        for event in events {
            match event.data.u64() {
                UDP => self.take_questions(),
                TCP => self.accept(),
                key if self.pending.iter().any(|one| one.key == key) => self.take_answer(key),
                key => self.serve_stream(key),
            }
        }
    }

    /// Gives up on those that have waited long enough.
    pub(super) fn take_due(&mut self, now: Instant) {
        while let Some(at) = self.pending.iter().position(|one| one.due <= now) {
            if let Some(late) = self.pending.remove(at) {
                self.ask_next(late.client, late.question, late.servers, late.inside);
            }
        }
        self.streams.retain(|stream| stream.due > now);
    }

    fn take_questions(&mut self) {
        let mut bytes = [0; 4096];
        // A turn takes some; the rest is there at the next one.
        for _ in 0..32 {
            let Ok((length, client)) = self.udp.recv_from(&mut bytes) else { return };
            let question = &bytes[..length];
            let config = NamesConfig::read(&self.config).unwrap_or_default();
            self.order = self.order.wrapping_add(1);
            match dns::answer(question, &config, false, self.order) {
                Verdict::Answer(reply) => drop(self.udp.send_to(&reply, client)),
                Verdict::Ask => {
                    let (servers, inside) = config.upstreams();
                    self.ask_next(client, question.to_vec(), servers.into(), inside);
                }
                Verdict::Ignore => {}
            }
        }
    }

    /// Asks the next server that can be asked; tells the client when there is none left.
    fn ask_next(
        &mut self,
        client: SocketAddr,
        question: Vec<u8>,
        mut servers: VecDeque<SocketAddr>,
        inside: bool,
    ) {
        while let Some(server) = servers.pop_front() {
            let Ok(socket) = self.ask(&question, server, inside) else { continue };
            let key = self.key();
            if watch(&self.epoll, &socket, key, epoll::EventFlags::IN).is_err() {
                continue;
            }
            if self.pending.len() >= PENDING_MAX {
                self.pending.pop_front();
            }
            let due = Instant::now() + PATIENCE;
            self.pending.push_back(Pending { key, socket, client, question, servers, inside, due });
            return;
        }
        if let Some(reply) = dns::failure(&question) {
            // One who has gone needs no answer.
            let _ = self.udp.send_to(&reply, client);
        }
    }

    fn ask(&self, question: &[u8], server: SocketAddr, is_inside: bool) -> io::Result<UdpSocket> {
        let open = || {
            let any: SocketAddr = if server.is_ipv6() {
                (std::net::Ipv6Addr::UNSPECIFIED, 0).into()
            } else {
                (std::net::Ipv4Addr::UNSPECIFIED, 0).into()
            };
            UdpSocket::bind(any)
        };
        let socket = if is_inside { inside(&self.namespace, open)? } else { open()? };
        socket.set_nonblocking(true)?;
        socket.connect(server)?;
        socket.send(question)?;
        Ok(socket)
    }

    fn take_answer(&mut self, key: u64) {
        let Some(at) = self.pending.iter().position(|one| one.key == key) else { return };
        let mut bytes = vec![0; MESSAGE_BYTES_MAX];
        let received = self.pending[at].socket.recv(&mut bytes);
        match received {
            Ok(length) => {
                let reply = &bytes[..length];
                // Somebody else's answer, or one to an older question.
                if dns::number(reply) != dns::number(&self.pending[at].question) {
                    return;
                }
                if let Some(answered) = self.pending.remove(at) {
                    let _ = self.udp.send_to(reply, answered.client);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // Nobody is there: the next one is asked at once.
            Err(_) => {
                if let Some(refused) = self.pending.remove(at) {
                    self.ask_next(
                        refused.client,
                        refused.question,
                        refused.servers,
                        refused.inside,
                    );
                }
            }
        }
    }

    fn accept(&mut self) {
        while let Ok((socket, _)) = self.tcp.accept() {
            if self.streams.len() >= STREAMS_MAX {
                self.streams.remove(0);
            }
            let _ = self.add_stream(socket, None, Vec::new());
        }
    }

    fn add_stream(
        &mut self,
        socket: TcpStream,
        client: Option<u64>,
        unwritten: Vec<u8>,
    ) -> io::Result<u64> {
        socket.set_nonblocking(true)?;
        let key = self.key();
        let flags = match unwritten.is_empty() {
            true => epoll::EventFlags::IN,
            false => epoll::EventFlags::IN | epoll::EventFlags::OUT,
        };
        watch(&self.epoll, &socket, key, flags)?;
        self.streams.push(Stream {
            key,
            socket,
            read: Vec::new(),
            unwritten,
            other: client,
            is_server: client.is_some(),
            due: Instant::now() + IDLE,
        });
        Ok(key)
    }

    fn serve_stream(&mut self, key: u64) {
        let Some(at) = self.streams.iter().position(|one| one.key == key) else { return };
        let stream = &mut self.streams[at];
        if stream.read().is_err() || stream.flush(&self.epoll).is_err() {
            return self.end_stream(at);
        }
        if stream.is_server {
            self.pass_back(at);
        } else {
            self.take_stream_questions(key);
        }
    }

    /// One question after the other: what is passed on is waited for.
    fn take_stream_questions(&mut self, key: u64) {
        loop {
            let Some(at) = self.streams.iter().position(|one| one.key == key) else { return };
            let stream = &mut self.streams[at];
            if stream.other.is_some() {
                return;
            }
            let Some(question) = stream.take_message() else { return };
            let config = NamesConfig::read(&self.config).unwrap_or_default();
            let reply = match dns::answer(&question, &config, true, self.order) {
                Verdict::Answer(reply) => Some(reply),
                Verdict::Ask => match self.ask_by_stream(key, &question, &config) {
                    Some(server) => {
                        self.streams[at].other = Some(server);
                        return;
                    }
                    None => dns::failure(&question),
                },
                Verdict::Ignore => None,
            };
            let Some(reply) = reply else { return self.end_stream(at) };
            let stream = &mut self.streams[at];
            stream.write_message(&reply);
            if stream.flush(&self.epoll).is_err() {
                return self.end_stream(at);
            }
        }
    }

    fn ask_by_stream(&mut self, client: u64, question: &[u8], config: &NamesConfig) -> Option<u64> {
        let (servers, is_inside) = config.upstreams();
        let mut message = (question.len() as u16).to_be_bytes().to_vec();
        message.extend(question);
        for server in servers {
            let connected = match is_inside {
                true => inside(&self.namespace, || super::forwards::connect(server)),
                false => super::forwards::connect(server),
            };
            let added =
                connected.and_then(|socket| self.add_stream(socket, Some(client), message.clone()));
            if let Ok(key) = added {
                return Some(key);
            }
        }
        None
    }

    /// Gives a server's answer to who asked.
    fn pass_back(&mut self, at: usize) {
        let Some(reply) = self.streams[at].take_message() else { return };
        let Some(client) = self.streams[at].other else { return };
        self.streams.swap_remove(at);
        let Some(at) = self.streams.iter().position(|one| one.key == client) else { return };
        let stream = &mut self.streams[at];
        stream.other = None;
        stream.write_message(&reply);
        if stream.flush(&self.epoll).is_err() {
            return self.end_stream(at);
        }
        self.take_stream_questions(client);
    }

    /// A client goes with its server, and a server that fails with its client.
    fn end_stream(&mut self, at: usize) {
        let gone = self.streams.swap_remove(at);
        if let Some(other) = gone.other {
            self.streams.retain(|stream| stream.key != other);
        }
    }

    fn key(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl Stream {
    /// Reads what is there; an error is an end.
    fn read(&mut self) -> io::Result<()> {
        let mut bytes = [0; 4096];
        loop {
            match self.socket.read(&mut bytes) {
                // What came before the end still counts.
                Ok(0) if self.has_message() => return Ok(()),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) if self.read.len() > MESSAGE_BYTES_MAX => {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                Ok(length) => {
                    self.read.extend(&bytes[..length]);
                    self.due = Instant::now() + IDLE;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // Not connected yet.
                Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn flush(&mut self, epoll: &OwnedFd) -> io::Result<()> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        match self.socket.write(&self.unwritten) {
            Ok(length) => drop(self.unwritten.drain(..length)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
            Err(error) => return Err(error),
        }
        let flags = match self.unwritten.is_empty() {
            true => epoll::EventFlags::IN,
            false => epoll::EventFlags::IN | epoll::EventFlags::OUT,
        };
        Ok(epoll::modify(epoll, &self.socket, epoll::EventData::new_u64(self.key), flags)?)
    }

    fn has_message(&self) -> bool {
        let length =
            self.read.get(..2).map(|two| usize::from(u16::from_be_bytes([two[0], two[1]])));
        length.is_some_and(|length| self.read.len() >= 2 + length)
    }

    fn take_message(&mut self) -> Option<Vec<u8>> {
        let length = usize::from(u16::from_be_bytes(self.read.get(..2)?.try_into().ok()?));
        let message = self.read.get(2..2 + length)?.to_vec();
        self.read.drain(..2 + length);
        Some(message)
    }

    fn write_message(&mut self, message: &[u8]) {
        self.unwritten.extend((message.len() as u16).to_be_bytes());
        self.unwritten.extend(message);
    }
}

pub(super) fn watch(
    epoll: &OwnedFd,
    socket: impl AsFd,
    key: u64,
    flags: epoll::EventFlags,
) -> io::Result<()> {
    Ok(epoll::add(epoll, socket, epoll::EventData::new_u64(key), flags)?)
}

/// Does something in another network namespace, on the only thread that there is, and comes back. Nothing but
/// sockets may be made there.
fn inside<T>(namespace: &PathBuf, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let home = rustix::fs::open("/proc/self/ns/net", flags, Mode::empty())?;
    let there = rustix::fs::open(namespace, flags, Mode::empty())?;
    dhow_sys::set_namespace(there.as_fd(), Namespaces::NETWORK)?;
    let done = work();
    dhow_sys::set_namespace(home.as_fd(), Namespaces::NETWORK)
        .expect("the way back is open: nobody but us could close it");
    done
}
