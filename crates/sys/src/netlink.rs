//! Netlink: requests to the kernel and its answers, synchronously.
//!
//! A socket belongs to the network namespace in which it was opened, wherever its owner goes later. Every
//! request asks for an acknowledgement, so an error is the answer to its own request; with it comes, where
//! the kernel has one, the text that says why. Everything here allocates: it is for parents, not for
//! children between clone and exec.
//! Several requests can go in one message: as many round trips less, and for protocols with batches all
//! or nothing.
//! Absent on purpose: notifications, and waiting with a timeout; the kernel answers a request before the
//! send returns.

use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt,
};

use crate::process::check;

/// The kernel fills no more than this with one part of a long answer.
const ANSWER_BYTES_MAX: usize = 32 << 10;
/// What a socket's buffer holds wherever nobody made it smaller.
const SEND_BYTES_USUAL: usize = 64 << 10;
const HEADER_BYTES: usize = 16;
/// Where lengths, attributes and messages begin.
const ALIGNMENT: usize = 4;
/// How often a list is asked for again that changed while it was told.
const RETRIES_MAX: usize = 8;
/// The text in an error's attributes; libc does not have it.
const NLMSGERR_ATTR_MSG: u16 = 1;
/// The bits of an attribute's kind that say something else.
const ATTRIBUTE_KIND: u16 = 0x3fff;

/// Why the kernel refused a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NetlinkError {
    /// Its number.
    pub errno: Errno,
    /// Its words, often empty.
    pub said: String,
}

impl From<Errno> for NetlinkError {
    fn from(errno: Errno) -> Self {
        Self { errno, said: String::new() }
    }
}

impl fmt::Display for NetlinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.said.as_str() {
            "" => write!(f, "{}", self.errno),
            said => write!(f, "{} ({said})", self.errno),
        }
    }
}

impl std::error::Error for NetlinkError {}

/// One request: a header of the protocol's own and attributes.
#[derive(Debug)]
pub struct NetlinkRequest {
    bytes: Vec<u8>,
    /// Whether the kernel says what became of it.
    is_answered: bool,
}

impl NetlinkRequest {
    /// Begins one of this kind, with flags besides those that every request has.
    pub fn new(kind: u16, flags: libc::c_int, header: &[u8]) -> Self {
        let flags = (flags | libc::NLM_F_REQUEST) as u16;
        let mut bytes = Vec::with_capacity(128);
        bytes.extend(0u32.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(header);
        let mut request = Self { bytes, is_answered: true };
        request.align();
        request
    }

    /// A mark between requests, of which the kernel says nothing unless it is wrong.
    pub fn unanswered(mut self) -> Self {
        self.is_answered = false;
        self
    }

    /// Adds an attribute. One that is too long to have a length is none that the kernel knows, and is cut.
    pub fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let value = &value[..value.len().min(usize::from(u16::MAX) - ALIGNMENT)];
        self.bytes.extend(((value.len() + ALIGNMENT) as u16).to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.align();
        self
    }

    /// Adds an attribute that consists of attributes, which `fill` adds; together they are shorter than
    /// 64 KiB.
    pub fn nested(mut self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        let begin = self.bytes.len();
        let kind = kind | libc::NLA_F_NESTED as u16;
        self.bytes.extend([0; 2]);
        self.bytes.extend(kind.to_ne_bytes());
        let mut filled = fill(self);
        let length =
            u16::try_from(filled.bytes.len() - begin).expect("a nested attribute is short");
        filled.bytes[begin..begin + 2].copy_from_slice(&length.to_ne_bytes());
        filled
    }

    /// Adds bytes that are no attribute, as the header of a request within a request.
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend(bytes);
        self.align();
        self
    }

    fn align(&mut self) {
        self.bytes.resize(aligned(self.bytes.len()), 0);
    }

    fn is_dump(&self) -> bool {
        let dump = libc::NLM_F_DUMP as u16;
        u16_at(&self.bytes, 6).is_some_and(|flags| flags & dump == dump)
    }

    fn sealed(mut self, sequence: u32) -> Vec<u8> {
        if self.is_answered && !self.is_dump() {
            let flags = u16_at(&self.bytes, 6).unwrap_or_default() | libc::NLM_F_ACK as u16;
            self.bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        }
        let length = self.bytes.len() as u32;
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }
}

/// A netlink socket that talks to the kernel.
#[derive(Debug)]
pub struct NetlinkSocket {
    fd: OwnedFd,
    sequence: u32,
}

/// What the last part of an answer says of the whole.
#[derive(PartialEq, Eq)]
enum Ended {
    /// More is to come.
    No,
    Yes,
    /// What was told does not fit together: it changed meanwhile.
    Torn,
}

impl NetlinkSocket {
    /// Opens one in the caller's network namespace.
    pub fn open(protocol: Option<Protocol>) -> Result<Self, Errno> {
        let (family, flags) = (AddressFamily::NETLINK, SocketFlags::CLOEXEC);
        let fd = rustix::net::socket_with(family, SocketType::RAW, flags, protocol)?;
        let socket = Self { fd, sequence: 0 };
        // They are from Linux 4.3, 4.12 and 4.20: without them errors repeat what was asked and have no
        // text, and lists are longer.
        for option in [libc::NETLINK_CAP_ACK, libc::NETLINK_EXT_ACK, libc::NETLINK_GET_STRICT_CHK] {
            let _ = socket.enable(option);
        }
        Ok(socket)
    }

    fn enable(&self, option: libc::c_int) -> Result<(), Errno> {
        let one: libc::c_int = 1;
        // SAFETY: the option's value is one int, which lives through the call and whose size is given.
        let result = unsafe {
            libc::syscall(
                libc::SYS_setsockopt,
                self.fd.as_raw_fd(),
                libc::SOL_NETLINK,
                option,
                &raw const one,
                size_of::<libc::c_int>(),
            )
        };
        check(result).map(drop)
    }

    /// Sends requests in one message. The first refusal is the answer; whether those before and behind it
    /// were carried out is the protocol's.
    pub fn tell(
        &mut self,
        requests: impl IntoIterator<Item = NetlinkRequest>,
    ) -> Result<(), NetlinkError> {
        let first = self.sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        for request in requests {
            self.sequence = self.sequence.wrapping_add(1);
            bytes.extend(request.sealed(self.sequence));
        }
        if bytes.is_empty() {
            return Ok(());
        }
        self.make_room(bytes.len());
        rustix::io::retry_on_intr(|| rustix::net::send(&self.fd, &bytes, SendFlags::empty()))?;
        let sent = self.sequence.wrapping_sub(first);
        let mut buffer = vec![0; ANSWER_BYTES_MAX];
        let mut refused = None;
        // All answers are there when the send is over; a batch that failed as a whole has but one.
        loop {
            let flags = RecvFlags::TRUNC | RecvFlags::DONTWAIT;
            let received =
                rustix::io::retry_on_intr(|| rustix::net::recv(&self.fd, &mut buffer[..], flags));
            let length = match received {
                Err(Errno::AGAIN) => return refused.map_or(Ok(()), Err),
                received => received?.1,
            };
            let datagram = buffer.get(..length).ok_or(Errno::MSGSIZE)?;
            for message in messages(datagram) {
                if message.sequence.wrapping_sub(first) <= sent {
                    refused = refused.or(message.ended().err());
                }
            }
        }
    }

    /// The kernel takes no message longer than the socket's buffer.
    fn make_room(&self, length: usize) {
        if length > SEND_BYTES_USUAL {
            // Only root may have more than the host's limit; others hear of it from the send.
            let _ = sockopt::set_socket_send_buffer_size_force(&self.fd, length)
                .or_else(|_| sockopt::set_socket_send_buffer_size(&self.fd, length));
        }
    }

    /// Asks, and returns what `take` makes of each message of the answer. `request` is called again where a
    /// list changed while it was told.
    pub fn ask<T>(
        &mut self,
        request: impl Fn() -> NetlinkRequest,
        mut take: impl FnMut(&[u8]) -> Option<T>,
    ) -> Result<Vec<T>, NetlinkError> {
        for _ in 0..RETRIES_MAX {
            let mut answer = Vec::new();
            if self.ask_once(request(), |body| answer.extend(take(body)))? == Ended::Yes {
                return Ok(answer);
            }
        }
        Err(Errno::INTR.into())
    }

    fn ask_once(
        &mut self,
        request: NetlinkRequest,
        mut take: impl FnMut(&[u8]),
    ) -> Result<Ended, NetlinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        let bytes = request.sealed(self.sequence);
        rustix::io::retry_on_intr(|| rustix::net::send(&self.fd, &bytes, SendFlags::empty()))?;
        let mut buffer = vec![0; ANSWER_BYTES_MAX];
        let mut torn = false;
        loop {
            let (_, length) = rustix::io::retry_on_intr(|| {
                rustix::net::recv(&self.fd, &mut buffer[..], RecvFlags::TRUNC)
            })?;
            let datagram = buffer.get(..length).ok_or(Errno::MSGSIZE)?;
            for message in messages(datagram) {
                if message.sequence != self.sequence {
                    continue;
                }
                torn |= message.flags & libc::NLM_F_DUMP_INTR as u16 != 0;
                match message.ended()? {
                    Ended::No => take(message.body),
                    _ if torn => return Ok(Ended::Torn),
                    ended => return Ok(ended),
                }
            }
        }
    }
}

/// One message of an answer.
struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: &'a [u8],
}

impl Message<'_> {
    /// Whether the message ends the answer, if it does so well.
    fn ended(&self) -> Result<Ended, NetlinkError> {
        let kind = libc::c_int::from(self.kind);
        if kind != libc::NLMSG_ERROR && kind != libc::NLMSG_DONE {
            return Ok(Ended::No);
        }
        // A list's end may carry an error as well; one without a number carries none.
        let errno = u32_at(self.body, 0).unwrap_or_default() as i32;
        if errno == 0 {
            return Ok(Ended::Yes);
        }
        let said = self.text().unwrap_or_default();
        Err(NetlinkError { errno: Errno::from_raw_os_error(-errno), said })
    }

    /// The text of an error: an attribute behind the number and, in an error proper, behind the request.
    fn text(&self) -> Option<String> {
        if self.flags & libc::NLM_F_ACK_TLVS as u16 == 0 {
            return None;
        }
        let behind_number = self.body.get(4..)?;
        let request = match libc::c_int::from(self.kind) == libc::NLMSG_ERROR {
            false => 0,
            true if self.flags & libc::NLM_F_CAPPED as u16 != 0 => HEADER_BYTES,
            true => aligned(u32_at(behind_number, 0)? as usize),
        };
        let (_, text) = attributes(behind_number.get(request..)?)
            .find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG)?;
        let text = text.strip_suffix(&[0]).unwrap_or(text);
        Some(String::from_utf8_lossy(text).into_owned())
    }
}

fn messages(datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = u32_at(rest, 0)? as usize;
        let message = Message {
            kind: u16_at(rest, 4)?,
            flags: u16_at(rest, 6)?,
            sequence: u32_at(rest, 8)?,
            body: rest.get(HEADER_BYTES..length)?,
        };
        rest = rest.get(aligned(length)..).unwrap_or_default();
        Some(message)
    })
}

/// The attributes in `bytes`: kind and value of each, up to the first that makes no sense.
pub fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(rest, 0)?);
        let kind = u16_at(rest, 2)? & ATTRIBUTE_KIND;
        let value = rest.get(ALIGNMENT..length)?;
        rest = rest.get(aligned(length)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(ALIGNMENT)
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_laid_out_as_the_kernel_reads_it() {
        let request = NetlinkRequest::new(16, 0, &[1, 2, 3, 4, 5]).attribute(3, b"lo\0");
        let bytes = request.sealed(9);
        assert_eq!(u32_at(&bytes, 0), Some(32));
        assert_eq!(u16_at(&bytes, 4), Some(16));
        assert_eq!(u16_at(&bytes, 6), Some((libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16));
        assert_eq!(u32_at(&bytes, 8), Some(9));
        assert_eq!(bytes[16..24], [1, 2, 3, 4, 5, 0, 0, 0]);
        let found: Vec<_> = attributes(&bytes[24..]).collect();
        assert_eq!(found, [(3, &b"lo\0"[..])]);
    }

    #[test]
    fn attributes_nest() {
        let request = NetlinkRequest::new(16, 0, &[])
            .nested(1, |inner| inner.attribute(2, b"abc").nested(3, |inner| inner.raw(&[1; 4])));
        let bytes = request.sealed(1);
        assert_eq!(u32_at(&bytes, 0), Some(16 + 20));
        let (kind, inner) = attributes(&bytes[16..]).next().unwrap();
        assert_eq!(kind, 1);
        let inner: Vec<_> = attributes(inner).collect();
        assert_eq!(inner, [(2, &b"abc"[..]), (3, &[1; 4][..])]);
    }

    #[test]
    fn of_several_requests_the_first_refusal_is_told() {
        let mut socket = NetlinkSocket::open(None).unwrap();
        let header = [0; 16];
        let get = |name: &[u8]| {
            NetlinkRequest::new(libc::RTM_GETLINK, 0, &header).attribute(libc::IFLA_IFNAME, name)
        };
        assert!(socket.tell([get(b"lo\0"), get(b"lo\0")]).is_ok());
        let bad = NetlinkRequest::new(libc::RTM_GETLINK, 0, &[]);
        let refused = socket.tell([get(b"lo\0"), get(b"no-such-device\0"), bad]).unwrap_err();
        assert_eq!(refused.errno, Errno::NODEV);
        assert!(socket.tell([get(b"lo\0")]).is_ok());
        assert!(socket.tell([]).is_ok());
    }

    #[test]
    fn broken_lengths_end_the_reading() {
        assert_eq!(attributes(&[3, 0, 1, 0]).count(), 0);
        assert_eq!(attributes(&[200, 0, 1, 0, 5]).count(), 0);
        assert_eq!(attributes(&[0; 7]).count(), 0);
        assert_eq!(messages(&[15, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).count(), 0);
        assert_eq!(messages(&[255; 40]).count(), 0);
    }

    #[test]
    fn the_end_of_a_list_may_be_an_error() {
        let body = (-4i32).to_ne_bytes();
        let kind = libc::NLMSG_DONE as u16;
        let message = Message { kind, flags: 0, sequence: 1, body: &body };
        assert_eq!(message.ended().map(drop).unwrap_err(), Errno::INTR.into());
        let message = Message { kind, flags: 0, sequence: 1, body: &[0; 4] };
        assert!(message.ended().is_ok_and(|ended| ended == Ended::Yes));
    }
}
