//! The contenders: dhow's registry, Debian's, and somebody who only takes bytes and gives them.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use super::load::Material;
use crate::child;
use crate::task::{At, TaskError, find_program};

const START_POLLS: usize = 500;
/// Most bytes that the kernel is asked to send at once.
const SENT_MAX: usize = 1 << 20;
/// The unit of `/proc/PID/stat`.
const TICKS: f64 = 100.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Dhow,
    Debian,
    Loopback,
}

/// One that serves.
pub(super) struct Peer {
    child: Option<Child>,
    address: SocketAddr,
    root: PathBuf,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Dhow, Self::Debian, Self::Loopback];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Dhow => "dhow",
            Self::Debian => "docker-registry",
            Self::Loopback => "loopback",
        }
    }
}

impl Peer {
    /// Starts one over an empty folder.
    pub(super) fn start(
        kind: Kind,
        program: &Path,
        root: &Path,
        material: &Material,
    ) -> Result<Self, TaskError> {
        fs::create_dir_all(root).at("create", root)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).at("listen on", "loopback")?;
        let address = listener.local_addr().at("listen on", "loopback")?;
        let mut command = match kind {
            Kind::Loopback => {
                let file = material.large().file.clone();
                std::thread::spawn(move || {
                    for stream in listener.incoming().map_while(Result::ok) {
                        let file = file.clone();
                        // Whoever asked hears of it if it fails.
                        std::thread::spawn(move || echo(stream, &file));
                    }
                });
                return Ok(Self { child: None, address, root: root.to_owned() });
            }
            Kind::Dhow => dhow(program, root, address)?,
            Kind::Debian => debian(root, address)?,
        };
        drop(listener);
        let log = root.join("log");
        let log = File::create(&log).at("create", &log)?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().at("start", command.get_program())?;
        let peer = Self { child: Some(child), address, root: root.to_owned() };
        for _ in 0..START_POLLS {
            if TcpStream::connect(address).is_ok() {
                return Ok(peer);
            }
            sleep(Duration::from_millis(20));
        }
        eprint!("{}", fs::read_to_string(root.join("log")).unwrap_or_default());
        Err(TaskError::Absent { what: "a registry", remedy: "see its log above" })
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// CPU time of its process so far.
    pub(super) fn cpu_s(&self) -> f64 {
        let Some(child) = &self.child else { return 0.0 };
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap_or_default();
        let after_name = stat.rsplit(") ").next().unwrap_or_default();
        let ticks = after_name.split(' ').skip(11).take(2);
        ticks.filter_map(|word| word.parse::<f64>().ok()).sum::<f64>() / TICKS
    }

    /// The most memory that its process had.
    pub(super) fn peak_mb(&self) -> Option<f64> {
        let path = format!("/proc/{}/status", self.child.as_ref()?.id());
        let status = fs::read_to_string(path).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kib * 1024.0 / 1e6)
    }

    /// Ends it, and removes all that it kept.
    pub(super) fn end(mut self) -> Result<(), TaskError> {
        self.stop();
        fs::remove_dir_all(&self.root).at("remove", &self.root)
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pid = rustix::process::Pid::from_child(&child);
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            // Whoever does not end in time is killed.
            let _ = child::wait(&mut child, Duration::from_secs(40));
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn dhow(program: &Path, root: &Path, address: SocketAddr) -> Result<Command, TaskError> {
    if !program.is_file() {
        return Err(TaskError::Absent { what: "dhow", remedy: "cargo build --release -p dhow" });
    }
    let config = root.join("config.json");
    let text = r#"{"log": {"access": false, "audit": "/dev/null"}}"#;
    fs::write(&config, text).at("write", &config)?;
    let mut command = Command::new(program);
    command.args(["registry", "serve", "--addr", &address.to_string()]);
    command.arg("--root").arg(root.join("kept")).arg("--config").arg(config);
    Ok(command)
}

fn debian(root: &Path, address: SocketAddr) -> Result<Command, TaskError> {
    let program = find_program("docker-registry")
        .ok_or(TaskError::Absent { what: "docker-registry", remedy: "apt-get install it" })?;
    let config = root.join("config.yml");
    let text = format!(
        "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  \
         filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n",
        root.join("kept").display()
    );
    fs::write(&config, text).at("write", &config)?;
    let mut command = Command::new(program);
    command.arg("serve").arg(config);
    Ok(command)
}

/// Takes what is pushed and forgets it; gives the file to whoever pulls.
fn echo(stream: TcpStream, file: &Path) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut from = BufReader::new(&stream);
    let mut sink = vec![0; 128 << 10];
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let method = line.split(' ').next().unwrap_or_default().to_owned();
        let mut left = 0;
        loop {
            line.clear();
            from.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            if name == "content-length" {
                left = value.parse().map_err(io::Error::other)?;
            }
        }
        while left > 0 {
            let most = sink.len().min(left);
            match from.read(&mut sink[..most])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => left -= count,
            }
        }
        let head = match method.as_str() {
            "GET" => {
                let file = File::open(file)?;
                let length = file.metadata()?.len();
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
                (&stream).write_all(head.as_bytes())?;
                let mut sent = 0;
                while sent < length {
                    rustix::fs::sendfile(&stream, &file, Some(&mut sent), SENT_MAX)?;
                }
                continue;
            }
            "PUT" => "HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n",
            _ => "HTTP/1.1 202 Accepted\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n",
        };
        (&stream).write_all(head.as_bytes())?;
    }
}
