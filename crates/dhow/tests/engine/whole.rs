//! A whole engine for tests: the program itself, in namespaces and roots that nobody else has, with an image of
//! the host's busybox in it, used as people use it: by command lines and by its socket.
//!
//! Invariant: nothing is left behind; what a test left running is ended, and what the engine left is a failure.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dhow_archive::hash::Hasher;
use dhow_archive::tar::{Content, Entry, Kind, Metadata, Writer};
use dhow_spec::Algorithm;
use dhow_sys::Namespaces;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_dhow");
/// How long anything may take before the test has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// The image that is there.
pub(crate) const IMAGE: &str = "busybox";

pub(crate) struct TestEngine {
    pub(crate) root: PathBuf,
    process: Option<Child>,
    /// Beyond roots and socket.
    flags: Vec<String>,
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: i32,
}

impl TestEngine {
    /// Starts one for `test`; says so where that cannot be.
    pub(crate) fn start(test: &str) -> Option<Self> {
        Self::with_flags(test, &[])
    }

    /// The same with more flags.
    pub(crate) fn with_flags(test: &str, flags: &[&str]) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            say(&format!("SKIPPED {test}: needs root"));
            return None;
        }
        enter_namespaces();
        Some(Self::here(flags))
    }

    /// Another engine in the same namespaces.
    pub(crate) fn beside(&self) -> Self {
        Self::here(&[])
    }

    /// The same with more flags.
    pub(crate) fn beside_with(&self, flags: &[&str]) -> Self {
        Self::here(flags)
    }

    fn here(flags: &[&str]) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::SeqCst);
        let root = std::env::temp_dir().join(format!("dhow-whole-{}-{number}", std::process::id()));
        fs::create_dir(&root).expect("a directory");
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let mut engine = Self { root, process: None, flags };
        engine.open();
        let archive = engine.root.join("image.tar");
        fs::write(&archive, image()).expect("an archive");
        let loaded = engine.dhow(&["load", "--quiet", "--input", text(&archive)]);
        assert_eq!(loaded.code, 0, "{loaded:?}");
        engine
    }

    /// Starts the engine's process, and waits until it answers.
    pub(crate) fn open(&mut self) {
        let mut command = Command::new(PROGRAM);
        command.arg("engine").arg("--data-root").arg(self.root.join("data"));
        command.arg("--exec-root").arg(self.root.join("run"));
        command.arg("--host").arg(format!("unix://{}", self.socket().display()));
        command.args(["--group", "", "--cgroup-parent", self.name()]).args(&self.flags);
        let log = fs::File::options().create(true).append(true).open(self.root.join("engine.log"));
        let log = log.expect("a log");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.process = Some(command.spawn().expect("an engine"));
        until("the engine answers", || self.ask("GET", "/_ping", "").is_some().then_some(()));
    }

    /// Kills the engine while others use it; whoever may change this value says so to it later.
    pub(crate) fn strike(&self) {
        let process = self.process.as_ref().expect("an engine");
        let pid = rustix::process::Pid::from_child(process);
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
    }

    /// Kills the engine.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().expect("an engine");
        process.kill().expect("killed");
        process.wait().expect("reaped");
    }

    fn name(&self) -> &str {
        self.root.file_name().and_then(|name| name.to_str()).expect("a name")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.root.join("run/dhow.sock")
    }

    /// The command line with these words.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("HOME", &self.root).env("DOCKER_CONFIG", &self.root);
        command.env("DHOW_HOST", format!("unix://{}", self.socket().display()));
        command.args(words).stdin(Stdio::null());
        command
    }

    pub(crate) fn dhow(&self, words: &[&str]) -> Said {
        said(self.command(words).output().expect("a client"))
    }

    /// What a command that must succeed printed, without the line's end.
    pub(crate) fn ok(&self, words: &[&str]) -> String {
        let said = self.dhow(words);
        assert_eq!(said.code, 0, "{words:?}: {said:?}");
        said.out.trim_end().to_owned()
    }

    /// What it printed to somebody who typed `input`.
    pub(crate) fn fed(&self, words: &[&str], input: &[u8]) -> Said {
        let mut command = self.command(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("a client");
        let mut stdin = child.stdin.take().expect("piped");
        let input = input.to_vec();
        let typing = std::thread::spawn(move || {
            // A client that has ended reads no more.
            let _ = stdin.write_all(&input);
        });
        let output = child.wait_with_output().expect("an end");
        typing.join().expect("no panic");
        said(output)
    }

    /// A request by hand: the status line and all behind it. `None` where nobody answers.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> Option<String> {
        let mut stream = UnixStream::connect(self.socket()).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
        .ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        (!answer.is_empty()).then(|| String::from_utf8_lossy(&answer).into_owned())
    }

    /// The engine's log so far.
    fn log(&self) -> String {
        fs::read_to_string(self.root.join("engine.log")).unwrap_or_default()
    }

    /// The processes that have this engine's roots on their command lines, monitors first of all.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let root = text(&self.root).as_bytes();
        let entries = fs::read_dir("/proc").expect("processes").filter_map(Result::ok);
        let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        numbers
            .filter(|pid| {
                let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                line.windows(root.len()).any(|piece| piece == root)
            })
            .collect()
    }
}

impl Drop for TestEngine {
    fn drop(&mut self) {
        if self.process.is_none() {
            self.open();
        }
        let all = self.dhow(&["ps", "--all", "--quiet", "--no-trunc"]).out;
        let ids: Vec<&str> = all.lines().collect();
        let removed = (!ids.is_empty())
            .then(|| self.dhow(&[&["rm", "--force", "--volumes"], ids.as_slice()].concat()));
        if let Some(mut process) = self.process.take() {
            let pid = rustix::process::Pid::from_child(&process);
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let _ = process.wait();
        }
        let left = self.processes();
        for pid in left.iter().filter_map(|pid| rustix::process::Pid::from_raw(*pid)) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        let cgroups = remove_cgroups(self.name());
        let log = self.log();
        let _ = fs::remove_dir_all(&self.root);
        if std::thread::panicking() {
            say(&format!("the engine said:\n{log}"));
            return;
        }
        assert!(removed.is_none_or(|removed| removed.code == 0), "containers stay:\n{log}");
        assert!(left.is_empty(), "processes stay: {left:?}\n{log}");
        assert!(cgroups.is_empty(), "cgroups stay: {cgroups:?}\n{log}");
    }
}

/// Removes the cgroups called `name`; gives those that had others in them.
fn remove_cgroups(name: &str) -> Vec<PathBuf> {
    let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().filter_map(Result::ok);
    let places = hierarchies.map(|entry| entry.path().join(name));
    let places = places.chain([Path::new("/sys/fs/cgroup").join(name)]);
    places.filter(|place| fs::remove_dir(place).is_err() && place.exists()).collect()
}

/// Waits until something is there.
pub(crate) fn until<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "it takes too long: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub(crate) fn said(output: Output) -> Said {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Said {
        out: text(output.stdout),
        err: text(output.stderr),
        code: output.status.code().unwrap_or(-1),
    }
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// Of this thread, and of all that it starts.
fn enter_namespaces() {
    use rustix::mount::{MountPropagationFlags, mount_change};
    dhow_sys::unshare(Namespaces::NETWORK.with(Namespaces::MOUNT)).expect("namespaces");
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).expect("a private tree");
    dhow_sys::loopback_up().expect("a loopback");
}

/// The host's busybox under its names, as `docker save` would write it.
fn image() -> Vec<u8> {
    let program = ["/bin/busybox", "/usr/bin/busybox"]
        .iter()
        .find_map(|path| fs::read(path).ok())
        .expect("busybox, static");
    let passwd = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n";
    let group = b"root:x:0:\nnogroup:x:65534:\n";
    let mut layer = Writer::new(Vec::new());
    for directory in ["bin", "dev", "etc", "proc", "root", "sys", "tmp", "var", "data"] {
        put(&mut layer, directory, Kind::Directory, 0o755, &[]);
    }
    put_file(&mut layer, "etc/passwd", 0o644, passwd);
    put_file(&mut layer, "etc/group", 0o644, group);
    put_file(&mut layer, "data/from-image", 0o644, b"kept\n");
    put_file(&mut layer, "etc/none", 0o644, b"no program\n");
    put_file(&mut layer, "bin/busybox", 0o755, &program);
    let names = Command::new("busybox").arg("--list").output().expect("busybox");
    for name in String::from_utf8_lossy(&names.stdout).lines().filter(|name| *name != "busybox") {
        let kind = Kind::Symlink { target: b"busybox".to_vec() };
        put(&mut layer, &format!("bin/{name}"), kind, 0o777, &[]);
    }
    let layer = layer.finish().expect("an end");
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(&layer);
    let config = serde_json::json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": { "Env": ["PATH=/bin"], "Cmd": ["sh"] },
        "rootfs": { "type": "layers", "diff_ids": [hasher.finish().digest.to_string()] },
    });
    let manifest = serde_json::json!([
        { "Config": "config.json", "RepoTags": [format!("{IMAGE}:latest")], "Layers": ["layer.tar"] }
    ]);
    let mut archive = Writer::new(Vec::new());
    put_file(&mut archive, "manifest.json", 0o644, manifest.to_string().as_bytes());
    put_file(&mut archive, "config.json", 0o644, config.to_string().as_bytes());
    put_file(&mut archive, "layer.tar", 0o644, &layer);
    archive.finish().expect("an end")
}

fn put_file(tar: &mut Writer<Vec<u8>>, path: &str, mode: u16, bytes: &[u8]) {
    put(tar, path, Kind::File(Content { size: bytes.len() as u64, map: None }), mode, bytes);
}

fn put(tar: &mut Writer<Vec<u8>>, path: &str, kind: Kind, mode: u16, bytes: &[u8]) {
    let metadata = Metadata { mode, ..Metadata::default() };
    tar.append(&Entry { path: path.as_bytes().to_vec(), kind, metadata }, bytes).expect("an entry");
}

pub(crate) fn say(line: &str) {
    // Through the standard library's macro, tests that pass would be silent about what they skip.
    let _ = writeln!(std::io::stderr(), "{line}");
}
