//! Containers' lives under a real monitor: this program is its own monitor when it is called as one.
//!
//! Each case has a directory of its own, a cgroup of its own, and the machine's root, read-only, as the root
//! of its container. A case that may not make namespaces is skipped and says so. Without libtest: its threads
//! would be in the way of nothing here, but a monitor has to be this very file, executed.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test program talks to whoever runs it, and is asked by its arguments"
)]

mod bench;
mod cases;

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use dhow_monitor::{
    AttachRequest, Connection, Event, Launch, LogConfig, LogDriver, Record, Reply, Request,
    RestartPolicy, RootMount, Runtime, Started, VERSION,
};

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    match words.next() {
        Some(word) if word == "monitor" => return ExitCode::from(dhow_monitor::main(words)),
        Some(word) if word == "bench" => return bench::run(words),
        _ => {}
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--list") {
        // As nextest asks for it.
        if !words.iter().any(|word| word == "--ignored") {
            cases::ALL.iter().for_each(|(name, _)| println!("{name}: test"));
        }
        return ExitCode::SUCCESS;
    }
    let exact = words.iter().any(|word| word == "--exact");
    let filters: Vec<&String> = words.iter().filter(|word| !word.starts_with('-')).collect();
    let wanted = |name: &str| {
        let fits = |part: &&String| if exact { *part == name } else { name.contains(*part) };
        filters.is_empty() || filters.iter().any(fits)
    };
    if !rustix::process::geteuid().is_root() {
        println!("skipped: containers without a user namespace need root");
        return ExitCode::SUCCESS;
    }
    for (name, case) in cases::ALL.iter().filter(|(name, _)| wanted(name)) {
        case(&Place::new(name));
        println!("test {name} ... ok");
    }
    ExitCode::SUCCESS
}

/// A case's own directory, and names that nobody else has.
pub(crate) struct Place {
    dir: PathBuf,
    id: String,
}

impl Place {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("dhow-life-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(dir.join("bundle/rootfs")).unwrap();
        let id = format!("life-{name}-{}", std::process::id());
        Self { dir, id }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The launch of a container that runs `script`.
    fn launch(&self, script: &str) -> Launch {
        self.configure(script, false);
        Launch {
            version: VERSION,
            id: self.id.clone(),
            bundle: self.path("bundle"),
            state_root: self.path("states"),
            socket: self.path("monitor.sock"),
            journal: self.path("journal"),
            root: RootMount::Bind { source: "/".into(), readonly: true, owners: None },
            runtime: Runtime::Builtin,
            terminal: false,
            terminal_size: None,
            open_stdin: false,
            stdin_once: false,
            log: LogConfig {
                driver: LogDriver::JsonFile,
                path: self.path("c-json.log"),
                max_size: None,
                max_file: 1,
                compress: false,
                attributes: Default::default(),
            },
            restart: RestartPolicy::No,
            health: None,
            stop_signal: 15,
            stop_timeout_s: None,
            cgroup_systemd: false,
            restart_count: 0,
            tied: false,
            network: None,
        }
    }

    fn configure(&self, script: &str, terminal: bool) {
        let config = serde_json::json!({
            "ociVersion": "1.0.2",
            "root": {"path": "rootfs"},
            "process": {
                "terminal": terminal, "args": ["/bin/sh", "-c", script], "cwd": "/",
                "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
            },
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
                {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                    "options": ["newinstance", "ptmxmode=0666"]},
                {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"},
            ],
            "linux": {
                "cgroupsPath": format!("/{}", self.id),
                "namespaces": [
                    {"type": "mount"}, {"type": "pid"}, {"type": "ipc"}, {"type": "uts"},
                    {"type": "network"},
                ],
            },
        });
        std::fs::write(self.path("bundle/config.json"), config.to_string()).unwrap();
    }

    fn begin(&self, launch: &Launch) -> Engine {
        let program = std::env::current_exe().unwrap();
        let Started { connection, child } = dhow_monitor::start(&program, launch, None).unwrap();
        let engine = Engine { connection, child: Some(child), seen: Vec::new() };
        engine.connection.send(&Request::Follow { after: 0 }, &[]).unwrap();
        engine
    }

    fn log(&self) -> Vec<(String, String)> {
        let launch: Launch =
            serde_json::from_slice(&std::fs::read(self.path("bundle/launch.json")).unwrap())
                .unwrap();
        let mut reader = dhow_monitor::log::Reader::open(&launch.log, Default::default()).unwrap();
        std::iter::from_fn(|| reader.next().unwrap())
            .map(|line| {
                let text = String::from_utf8_lossy(&line.bytes).into_owned();
                (line.stream.as_str().to_owned(), text)
            })
            .collect()
    }

    /// Standard output of the log as one text.
    fn output(&self) -> String {
        self.log().into_iter().map(|(_, text)| text).collect()
    }

    /// Nothing of the container is left on the machine.
    fn check_clean(&self) {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.dir.to_str().unwrap()), "a mount is left");
        for cgroup in cgroups(&self.id) {
            assert!(!cgroup.exists(), "{} is left", cgroup.display());
        }
        let states = std::fs::read_dir(self.path("states")).unwrap().count();
        assert_eq!(states, 0, "a state is left");
    }
}

/// Where a cgroup of this name would be.
fn cgroups(id: &str) -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            let (place, kind) = (words.next()?, words.next()?);
            kind.starts_with("cgroup").then(|| Path::new(place).join(id))
        })
        .collect()
}

impl Drop for Place {
    fn drop(&mut self) {
        for procs in cgroups(&self.id).into_iter().map(|dir| dir.join("cgroup.procs")) {
            // Only after a failure; what a case started is in a cgroup of this name.
            for pid in std::fs::read_to_string(procs).unwrap_or_default().lines() {
                if let Some(pid) = pid.parse().ok().and_then(rustix::process::Pid::from_raw) {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// The engine's side of a monitor.
pub(crate) struct Engine {
    connection: Connection,
    child: Option<dhow_monitor::Child>,
    /// Records that have been told.
    seen: Vec<Record>,
}

/// More than anything here takes on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

impl Engine {
    fn next(&mut self) -> Option<(Reply, Vec<OwnedFd>)> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            match self.connection.recv(1000) {
                Ok(Some((Reply::Record(record), fds))) => {
                    self.seen.push(record.clone());
                    return Some((Reply::Record(record), fds));
                }
                Ok(Some(other)) => return Some(other),
                Ok(None) => {}
                Err(_) => return None,
            }
        }
        panic!("nothing came; seen: {:?}", self.seen)
    }

    /// Asks and waits for the answer.
    fn ask_with(&mut self, request: &Request, fds: &[&OwnedFd]) -> (Reply, Vec<OwnedFd>) {
        let fds: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
        self.connection.send(request, &fds).unwrap();
        loop {
            match self.next() {
                Some((Reply::Record(_), _)) => {}
                Some(answer) => return answer,
                None => panic!("the monitor has gone; seen: {:?}", self.seen),
            }
        }
    }

    fn ask(&mut self, request: &Request) -> Reply {
        self.ask_with(request, &[]).0
    }

    fn follow(&mut self) {
        // The answer to the Follow that `begin` sent.
        match self.next() {
            Some((Reply::Ok, _)) => {}
            other => panic!("{other:?}"),
        }
    }

    fn start(&mut self) -> i32 {
        self.follow();
        match self.ask(&Request::Start) {
            Reply::Started { pid } => pid,
            other => panic!("{other:?}"),
        }
    }

    /// Waits for an event for which `find` has something.
    fn wait_for<T>(&mut self, mut find: impl FnMut(&Event) -> Option<T>) -> T {
        let mut at = 0;
        loop {
            while at < self.seen.len() {
                if let Some(found) = find(&self.seen[at].event) {
                    return found;
                }
                at += 1;
            }
            if self.next().is_none() {
                panic!("the monitor has gone; seen: {:?}", self.seen);
            }
        }
    }

    fn exit_code(&mut self) -> i32 {
        self.wait_for(|event| match event {
            Event::Exited { code, last: true, .. } => Some(code.expect("nobody saw the end")),
            _ => None,
        })
    }

    /// Waits for the monitor's end and reaps it.
    fn leave(mut self) -> Vec<Record> {
        while self.next().is_some() {}
        if let Some(child) = self.child.take() {
            assert_eq!(child.wait().unwrap(), dhow_monitor::Exit::Code(0));
        }
        std::mem::take(&mut self.seen)
    }

    fn attach(&mut self, request: AttachRequest) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        let theirs = OwnedFd::from(theirs);
        assert_eq!(self.ask_with(&Request::Attach(request), &[&theirs]).0, Reply::Ok);
        ours
    }
}

fn text_of(mut stream: UnixStream) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Everything that a container writes.
fn all_output() -> AttachRequest {
    AttachRequest { stdout: true, stderr: true, ..AttachRequest::default() }
}

fn kinds(records: &[Record]) -> Vec<String> {
    let name = |event: &Event| {
        let text = format!("{event:?}");
        text.split(|one: char| !one.is_alphanumeric()).next().unwrap_or_default().to_owned()
    };
    records.iter().map(|record| name(&record.event)).collect()
}
