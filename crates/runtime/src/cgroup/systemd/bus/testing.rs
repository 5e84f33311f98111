//! A service manager that answers as a test wants it, on a socket of the test's own.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

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
                let Some(mut peer) = Peer::introduced(stream) else { return };
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
    reader: BufReader<UnixStream>,
    serial: u32,
}

impl Peer {
    fn introduced(stream: UnixStream) -> Option<Peer> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
        let uid = rustix::process::geteuid().as_raw().to_string();
        let claim: String = uid.bytes().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(line, format!("\0AUTH EXTERNAL {claim}\r\n"));
        // No answer may be waited for in between.
        line.clear();
        reader.read_line(&mut line).unwrap();
        assert_eq!(line, "BEGIN\r\n");
        reader.get_mut().write_all(b"OK 0123456789abcdef\r\n").unwrap();
        Some(Peer { reader, serial: 0 })
    }

    fn next_call(&mut self) -> Option<(u32, String, Vec<Value>)> {
        let mut bytes = vec![0; 16];
        self.reader.read_exact(&mut bytes).ok()?;
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let (body, serial, fields) = (word(4) as usize, word(8), word(12) as usize);
        let body_at = (16 + fields).next_multiple_of(8);
        bytes.resize(body_at + body, 0);
        self.reader.read_exact(&mut bytes[16..]).ok()?;
        let message = Message::parse(&bytes, body_at).unwrap();
        Some((serial, message.member.unwrap(), message.body))
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
        let _ = self.reader.get_mut().write_all(&message);
    }

    fn signal(&mut self, body: &[Value]) {
        self.serial += 1;
        let fields = vec![
            (field::PATH, Value::Path("/org/freedesktop/systemd1".to_owned())),
            (field::INTERFACE, Value::text(MANAGER)),
            (field::MEMBER, Value::text("JobRemoved")),
        ];
        let _ = self.reader.get_mut().write_all(&encode(SIGNAL, self.serial, fields, body));
    }
}
