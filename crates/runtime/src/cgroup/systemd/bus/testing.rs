//! A service manager that answers as a test wants it, on a socket of the test's own.

use std::io::{IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

use super::super::value::Value;
use super::{Bus, ERROR, MANAGER, Message, RETURN, SIGNAL, encode, field};
use crate::cgroup::testing::ScratchDir;

/// What a method answers: values, or an error's name.
pub(in crate::cgroup) type Answer = Result<Vec<Value>, &'static str>;

/// Which methods were called, with what.
pub(in crate::cgroup) type Calls = Arc<Mutex<Vec<(String, Vec<Value>)>>>;

/// The job that every method starts that starts one.
pub(in crate::cgroup) const JOB: &str = "/org/freedesktop/systemd1/job/7";

pub(in crate::cgroup) struct FakeManager {
    dir: ScratchDir,
    private: bool,
    pub(in crate::cgroup) calls: Calls,
    thread: Option<JoinHandle<()>>,
}

impl FakeManager {
    /// Listens, and answers every connection by `answer`; a job is over, with `result`, before the method
    /// that started it has answered, as it may be with the real one.
    pub(in crate::cgroup) fn new(
        private: bool,
        result: &'static str,
        answer: impl FnMut(&str, &[Value]) -> Answer + Send + 'static,
    ) -> FakeManager {
        FakeManager::start(private, true, result, answer)
    }

    /// One that takes no descriptors.
    pub(in crate::cgroup) fn without_descriptors(
        answer: impl FnMut(&str, &[Value]) -> Answer + Send + 'static,
    ) -> FakeManager {
        FakeManager::start(true, false, "done", answer)
    }

    fn start(
        private: bool,
        passes_descriptors: bool,
        result: &'static str,
        mut answer: impl FnMut(&str, &[Value]) -> Answer + Send + 'static,
    ) -> FakeManager {
        let dir = ScratchDir::new(&[]);
        let listener = UnixListener::bind(dir.path().join("socket")).unwrap();
        let calls = Calls::default();
        let told = Arc::clone(&calls);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                // The guard's own connection is the end.
                let Some(mut peer) = Peer::introduced(stream, passes_descriptors) else { return };
                while let Some((serial, member, arguments)) = peer.next_call() {
                    told.lock().unwrap().push((member.clone(), arguments.clone()));
                    let answer = match member.as_str() {
                        "Hello" | "AddMatch" | "Subscribe" => Ok(vec![Value::text(":1.1")]),
                        _ => answer(&member, &arguments),
                    };
                    peer.answer(serial, &member, answer, result);
                }
            }
        });
        FakeManager { dir, private, calls, thread: Some(thread) }
    }

    pub(in crate::cgroup) fn bus(&self) -> Bus {
        let (socket, nobody) = (self.dir.path().join("socket"), self.dir.path().join("nobody"));
        match self.private {
            true => Bus::at(socket, nobody, false),
            false => Bus::at(nobody, socket, false),
        }
    }

    pub(in crate::cgroup) fn members(&self) -> Vec<String> {
        self.calls.lock().unwrap().iter().map(|(member, _)| member.clone()).collect()
    }
}

impl Drop for FakeManager {
    fn drop(&mut self) {
        drop(UnixStream::connect(self.dir.path().join("socket")));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Peer {
    stream: UnixStream,
    input: Vec<u8>,
    descriptors: Vec<OwnedFd>,
    serial: u32,
}

impl Peer {
    fn introduced(stream: UnixStream, passes_descriptors: bool) -> Option<Peer> {
        let mut peer = Peer { stream, input: Vec::new(), descriptors: Vec::new(), serial: 0 };
        let uid = rustix::process::geteuid().as_raw().to_string();
        let claim: String = uid.bytes().map(|byte| format!("{byte:02x}")).collect();
        // No answer may be waited for in between.
        let wanted = format!("\0AUTH EXTERNAL {claim}\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n");
        assert_eq!(String::from_utf8(peer.take(wanted.len())?).unwrap(), wanted);
        let about_descriptors = if passes_descriptors { "AGREE_UNIX_FD" } else { "ERROR" };
        let answer = format!("OK 0123456789abcdef\r\n{about_descriptors}\r\n");
        peer.stream.write_all(answer.as_bytes()).unwrap();
        Some(peer)
    }

    /// Waits for `count` bytes, and takes what descriptors come with them; `None` at the end.
    fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.input.len() < count {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut bytes = [0; 4096];
            let mut pieces = [IoSliceMut::new(&mut bytes)];
            let flags = RecvFlags::CMSG_CLOEXEC;
            let got = rustix::net::recvmsg(&self.stream, &mut pieces, &mut control, flags).ok()?;
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(fds) = message {
                    self.descriptors.extend(fds);
                }
            }
            self.input.extend(&bytes[..got.bytes]);
            if got.bytes == 0 {
                return None;
            }
        }
        Some(self.input.drain(..count).collect())
    }

    fn next_call(&mut self) -> Option<(u32, String, Vec<Value>)> {
        let mut bytes = self.take(16)?;
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let (body, serial, fields) = (word(4) as usize, word(8), word(12) as usize);
        let body_at = (16 + fields).next_multiple_of(8);
        bytes.extend(self.take(body_at + body - 16)?);
        let message = Message::parse(&bytes, body_at).unwrap();
        let arguments = message.body.into_iter().map(|value| self.resolved(value)).collect();
        self.descriptors.clear();
        Some((serial, message.member.unwrap(), arguments))
    }

    /// Descriptors of processes as the pids that they stand for.
    fn resolved(&self, value: Value) -> Value {
        let all = |values: Vec<Value>| values.into_iter().map(|one| self.resolved(one)).collect();
        match value {
            Value::Descriptor(at) => {
                let number = self.descriptors[at as usize].as_raw_fd();
                let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap();
                let pid = text.lines().find_map(|line| line.strip_prefix("Pid:")).unwrap();
                Value::Uint32(pid.trim().parse().unwrap())
            }
            Value::Array(element, values) => Value::Array(element, all(values)),
            Value::Tuple(parts) => Value::Tuple(all(parts)),
            Value::Variant(value) => Value::variant(self.resolved(*value)),
            plain => plain,
        }
    }

    fn answer(&mut self, serial: u32, member: &str, answer: Answer, result: &str) {
        if matches!(member, "StartTransientUnit" | "StopUnit") && answer.is_ok() {
            let job = |path: &str, result: &str| {
                vec![
                    Value::Uint32(7),
                    Value::Path(path.to_owned()),
                    Value::text("a.scope"),
                    Value::text(result),
                ]
            };
            self.signal(&job("/org/freedesktop/systemd1/job/6", "failed"));
            self.signal(&job(JOB, result));
        }
        let reply = (field::REPLY_SERIAL, Value::Uint32(serial));
        self.serial += 1;
        let message = match answer {
            Ok(values) => encode(RETURN, self.serial, vec![reply], &values),
            Err(name) => {
                let fields = vec![reply, (field::ERROR_NAME, Value::text(name))];
                encode(ERROR, self.serial, fields, &[Value::text("so it is")])
            }
        };
        let _ = self.stream.write_all(&message);
    }

    fn signal(&mut self, body: &[Value]) {
        self.serial += 1;
        let fields = vec![
            (field::PATH, Value::Path("/org/freedesktop/systemd1".to_owned())),
            (field::INTERFACE, Value::text(MANAGER)),
            (field::MEMBER, Value::text("JobRemoved")),
        ];
        let _ = self.stream.write_all(&encode(SIGNAL, self.serial, fields, body));
    }
}
