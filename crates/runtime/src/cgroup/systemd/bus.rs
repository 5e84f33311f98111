//! A connection to systemd: its private socket, or the message bus.
//!
//! One call at a time; signals that arrive meanwhile are kept for whoever waits for them. On the private
//! socket the manager itself is at the other end: no name, no subscription. Everything is bounded by
//! time, since a container's start or end hangs on it.

mod channel;

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::error::BusError;
use super::value::{Reader, Value, align};
use channel::Channel;

/// As long as systemd may take for one job.
const PATIENCE: Duration = Duration::from_secs(30);

/// More than systemd ever answers.
const MESSAGE_SIZE_MAX: usize = 4 << 20;

const BUS_NAME: &str = "org.freedesktop.DBus";
const SYSTEMD_NAME: &str = "org.freedesktop.systemd1";
const SYSTEMD_PATH: &str = "/org/freedesktop/systemd1";
pub(super) const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// Where a service manager can be talked to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bus {
    /// The manager's own socket.
    private: PathBuf,
    /// The message bus that it is on as well.
    public: PathBuf,
    /// Whether it is a user's manager.
    pub(super) user: bool,
}

impl Bus {
    /// The host's manager.
    pub(crate) fn system() -> Bus {
        Bus {
            private: "/run/systemd/private".into(),
            public: "/run/dbus/system_bus_socket".into(),
            user: false,
        }
    }

    /// The manager of a user, whose uid is the host's.
    pub(crate) fn user(uid: u32) -> Bus {
        let dir = PathBuf::from(format!("/run/user/{uid}"));
        Bus { private: dir.join("systemd/private"), public: dir.join("bus"), user: true }
    }

    /// For a test that answers itself.
    #[cfg(test)]
    pub(in crate::cgroup) fn at(private: PathBuf, public: PathBuf, user: bool) -> Bus {
        Bus { private, public, user }
    }

    /// The same sockets, with a user's manager behind them.
    #[cfg(test)]
    pub(in crate::cgroup) fn for_user(self) -> Bus {
        Bus { user: true, ..self }
    }
}

/// A message that came in.
#[derive(Debug)]
pub(super) struct Message {
    kind: u8,
    reply_to: Option<u32>,
    error: Option<String>,
    member: Option<String>,
    pub(super) body: Vec<Value>,
}

const CALL: u8 = 1;
const RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;

/// A connection that has introduced itself.
pub(super) struct Connection {
    channel: Channel,
    /// Calls on the message bus go to a name, and those on the private socket to nobody.
    destination: Option<&'static str>,
    serial: u32,
    signals: VecDeque<Message>,
}

impl Connection {
    /// Connects as `uid` (as the host knows it) and subscribes to the manager's signals.
    pub(super) fn open(bus: &Bus, uid: u32) -> Result<Connection, BusError> {
        let on_private = UnixStream::connect(&bus.private);
        let (stream, path, is_private) = match on_private {
            Ok(stream) => (stream, &bus.private, true),
            Err(_) => {
                let stream = UnixStream::connect(&bus.public).map_err(|error| {
                    BusError::Connect { path: bus.public.clone(), errno: number(&error) }
                })?;
                (stream, &bus.public, false)
            }
        };
        let destination = if is_private { None } else { Some(SYSTEMD_NAME) };
        let channel = Channel::introduce(stream, path, uid)?;
        let mut connection =
            Connection { channel, destination, serial: 0, signals: VecDeque::new() };
        if !is_private {
            connection.subscribe()?;
        }
        Ok(connection)
    }

    fn subscribe(&mut self) -> Result<(), BusError> {
        let to_bus = |member| Target {
            destination: Some(BUS_NAME),
            path: "/org/freedesktop/DBus",
            interface: BUS_NAME,
            member,
        };
        self.request(&to_bus("Hello"), &[], &[])?;
        let rule = format!(
            "type='signal',sender='{SYSTEMD_NAME}',interface='{MANAGER}',member='JobRemoved'"
        );
        self.request(&to_bus("AddMatch"), &[Value::text(rule)], &[])?;
        self.call("Subscribe", &[]).map(drop)
    }

    /// Whether `call_with` may be used.
    pub(super) fn passes_descriptors(&self) -> bool {
        self.channel.passes_descriptors()
    }

    /// Calls a method of the manager and gives back what it returns.
    pub(super) fn call(
        &mut self,
        member: &'static str,
        arguments: &[Value],
    ) -> Result<Vec<Value>, BusError> {
        self.call_with(member, arguments, &[])
    }

    /// As `call`, with the descriptors that the arguments speak of by their positions.
    pub(super) fn call_with(
        &mut self,
        member: &'static str,
        arguments: &[Value],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Vec<Value>, BusError> {
        let destination = self.destination;
        let target = Target { destination, path: SYSTEMD_PATH, interface: MANAGER, member };
        self.request(&target, arguments, descriptors)
    }

    /// Reads a property of the manager.
    pub(super) fn property(&mut self, name: &str) -> Result<Value, BusError> {
        let target = Target {
            destination: self.destination,
            path: SYSTEMD_PATH,
            interface: "org.freedesktop.DBus.Properties",
            member: "Get",
        };
        let arguments = [Value::text(MANAGER), Value::text(name)];
        let mut values = self.request(&target, &arguments, &[])?;
        values.pop().ok_or(BusError::Malformed)
    }

    /// Waits until the manager is done with the job at `path`; gives the result, `done` if all went well.
    pub(super) fn wait_for_job(&mut self, path: &str) -> Result<String, BusError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            while let Some(signal) = self.signals.pop_front() {
                // Number, job, unit, result.
                if let [_, job, _, result] = &signal.body[..]
                    && signal.member.as_deref() == Some("JobRemoved")
                    && job.as_text() == Some(path)
                {
                    return result.as_text().map(str::to_owned).ok_or(BusError::Malformed);
                }
            }
            let message = self.receive_message(deadline)?;
            self.keep(message);
        }
    }

    fn keep(&mut self, message: Message) {
        if message.kind == SIGNAL {
            self.signals.push_back(message);
        }
    }

    fn request(
        &mut self,
        target: &Target<'_>,
        arguments: &[Value],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Vec<Value>, BusError> {
        self.serial += 1;
        let serial = self.serial;
        let message = target.message(serial, arguments, descriptors.len());
        self.channel.send(&message, descriptors)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let message = self.receive_message(deadline)?;
            match (message.kind, message.reply_to) {
                (RETURN, Some(to)) if to == serial => return Ok(message.body),
                (ERROR, Some(to)) if to == serial => {
                    let text = message.body.first().and_then(Value::as_text).unwrap_or_default();
                    return Err(BusError::Answer {
                        member: target.member.to_owned(),
                        name: message.error.unwrap_or_default(),
                        text: text.to_owned(),
                    });
                }
                _ => self.keep(message),
            }
        }
    }

    fn receive_message(&mut self, deadline: Instant) -> Result<Message, BusError> {
        let head = self.channel.peek(16, deadline)?;
        let word = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|by| head[at + by])) as usize;
        let (body, fields) = (word(4), word(12));
        if head[0] != b'l' || body > MESSAGE_SIZE_MAX || fields > MESSAGE_SIZE_MAX {
            return Err(BusError::Malformed);
        }
        let body_at = (16 + fields).next_multiple_of(8);
        let bytes = self.channel.take(body_at + body, deadline)?;
        Message::parse(&bytes, body_at).ok_or(BusError::Malformed)
    }
}

fn number(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// Whom a call is for.
struct Target<'a> {
    destination: Option<&'a str>,
    path: &'a str,
    interface: &'a str,
    member: &'a str,
}

/// The numbers of header fields.
mod field {
    pub(super) const PATH: u8 = 1;
    pub(super) const INTERFACE: u8 = 2;
    pub(super) const MEMBER: u8 = 3;
    pub(super) const ERROR_NAME: u8 = 4;
    pub(super) const REPLY_SERIAL: u8 = 5;
    pub(super) const DESTINATION: u8 = 6;
    pub(super) const SIGNATURE: u8 = 8;
    pub(super) const UNIX_FDS: u8 = 9;
}

impl Target<'_> {
    fn message(&self, serial: u32, arguments: &[Value], descriptors: usize) -> Vec<u8> {
        let mut fields = vec![
            (field::PATH, Value::Path(self.path.to_owned())),
            (field::INTERFACE, Value::text(self.interface)),
            (field::MEMBER, Value::text(self.member)),
        ];
        fields.extend(self.destination.map(|name| (field::DESTINATION, Value::text(name))));
        if descriptors > 0 {
            fields.push((field::UNIX_FDS, Value::Uint32(descriptors as u32)));
        }
        encode(CALL, serial, fields, arguments)
    }
}

/// Header and body of one message.
fn encode(kind: u8, serial: u32, mut fields: Vec<(u8, Value)>, arguments: &[Value]) -> Vec<u8> {
    let mut body = Vec::new();
    arguments.iter().for_each(|argument| argument.write(&mut body));
    if !arguments.is_empty() {
        let signature = arguments.iter().map(Value::signature).collect();
        fields.push((field::SIGNATURE, Value::Signature(signature)));
    }
    let mut message = vec![b'l', kind, 0, 1];
    Value::Uint32(body.len() as u32).write(&mut message);
    Value::Uint32(serial).write(&mut message);
    let fields = fields
        .into_iter()
        .map(|(number, value)| Value::Tuple(vec![Value::Byte(number), Value::variant(value)]));
    Value::Array("(yv)".to_owned(), fields.collect()).write(&mut message);
    align(&mut message, 8);
    message.extend(body);
    message
}

impl Message {
    /// Reads a whole message whose body begins at `body_at`.
    fn parse(bytes: &[u8], body_at: usize) -> Option<Message> {
        let mut message = Message {
            kind: *bytes.get(1)?,
            reply_to: None,
            error: None,
            member: None,
            body: Vec::new(),
        };
        let mut signature = String::new();
        // The fixed part is a tuple of its own; reading from the start keeps the alignment.
        let header = Reader::new(bytes.get(..body_at)?).read_all("yyyyuua(yv)")?;
        let Some(Value::Array(_, fields)) = header.last() else { return None };
        for one in fields {
            let Value::Tuple(pair) = one else { return None };
            let [Value::Byte(number), Value::Variant(value)] = &pair[..] else { return None };
            let text = || value.as_text().map(str::to_owned);
            match (*number, &**value) {
                (field::REPLY_SERIAL, Value::Uint32(serial)) => message.reply_to = Some(*serial),
                (field::ERROR_NAME, _) => message.error = text(),
                (field::MEMBER, _) => message.member = text(),
                (field::SIGNATURE, _) => signature = text()?,
                _ => {}
            }
        }
        message.body = Reader::new(bytes.get(body_at..)?).read_all(&signature)?;
        Some(message)
    }
}

#[cfg(test)]
pub(in crate::cgroup) mod testing;

#[cfg(test)]
mod tests {
    use super::testing::FakeManager;
    use super::*;

    fn uid() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    #[test]
    fn a_call_s_bytes_are_the_protocol_s() {
        let target = Target { destination: None, path: "/a", interface: "b.c", member: "D" };
        let wanted = [
            // Little endian, call, no flags, version 1; length of the body, serial, length of the fields.
            b"l\x01\x00\x01".as_slice(),
            b"\x04\x00\x00\x00\x09\x00\x00\x00\x37\x00\x00\x00",
            // Path, interface, member, signature: each begins at a multiple of eight.
            b"\x01\x01o\x00\x02\x00\x00\x00/a\x00\x00\x00\x00\x00\x00",
            b"\x02\x01s\x00\x03\x00\x00\x00b.c\x00\x00\x00\x00\x00",
            b"\x03\x01s\x00\x01\x00\x00\x00D\x00\x00\x00\x00\x00\x00\x00",
            b"\x08\x01g\x00\x01u\x00",
            // Padding to the body, which is one number.
            b"\x00",
            b"\x05\x00\x00\x00",
        ];
        assert_eq!(target.message(9, &[Value::Uint32(5)], 0), wanted.concat());
    }

    #[test]
    fn the_bus_wants_introductions_that_the_private_socket_does_not() {
        for (private, wanted) in
            [(true, &["Reload"][..]), (false, &["Hello", "AddMatch", "Subscribe", "Reload"])]
        {
            let manager = FakeManager::new(private, "done", |_, _| Ok(Vec::new()));
            let mut connection = Connection::open(&manager.bus(), uid()).unwrap();
            connection.call("Reload", &[]).unwrap();
            assert_eq!(manager.members(), wanted);
            drop(connection);
        }
    }

    #[test]
    fn an_error_is_told_in_systemd_s_words() {
        let manager = FakeManager::new(true, "done", |_, _| Err("org.example.No"));
        let mut connection = Connection::open(&manager.bus(), uid()).unwrap();
        let error = connection.call("StopUnit", &[Value::text("x.scope")]).unwrap_err();
        assert_eq!(error.to_string(), "ask systemd for StopUnit: so it is (org.example.No)");
        assert!(error.is("org.example.No"));
        drop(connection);
    }

    #[test]
    fn where_nobody_listens_the_socket_is_named() {
        let bus = Bus::at("/nowhere/private".into(), "/nowhere/bus".into(), true);
        let error = Connection::open(&bus, uid()).err().unwrap();
        assert_eq!(
            error.to_string(),
            "connect to systemd at /nowhere/bus: no such file or directory"
        );
    }
}
