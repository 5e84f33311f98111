//! Another OCI runtime, called by its command line: `create`, `start`, `exec`, `kill` and so on, as crun, runc
//! and their kind have them.
//!
//! Invariant: the container's root is mounted in the monitor's own mount namespace, nowhere else, and its
//! processes become children of the monitor when the program that made them has ended.
//! Absent on purpose: what a runtime keeps below its `--root`; and word of memory that runs out, for which
//! such a runtime has no descriptor to give.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use dhow_runtime::{Live, Streams};
use dhow_spec::runtime::{Process, Resources};
use dhow_sys::{Argv, Child, Clone, Exit, Memory, Namespaces, SignalSet, clone_child};
use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, MoveMountFlags, UnmountFlags};
use rustix::process::{Pid, PidfdFlags};
use serde::Deserialize;

use super::backend::Failure;
use super::console::Console;
use crate::protocol::{ErrorKind, Launch, StartFailure};

/// Where runtimes look for their own helpers.
const PATH: &CStr = c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#[derive(Debug)]
pub(super) struct Foreign {
    program: PathBuf,
    /// What comes before every command.
    words: Vec<String>,
    id: String,
    bundle: PathBuf,
}

/// What of a runtime's `state` is looked at.
#[derive(Deserialize)]
struct State {
    #[serde(default)]
    pid: i32,
    #[serde(default)]
    status: String,
}

/// One line of a runtime's log.
#[derive(Deserialize)]
struct LogLine {
    #[serde(default)]
    msg: String,
}

impl Foreign {
    /// Prepares to call `program`: from here on the monitor has mounts of its own.
    pub(super) fn open(
        launch: &Launch,
        program: &Path,
        args: &[String],
        root: &Path,
    ) -> Result<Self, Failure> {
        dhow_sys::unshare(Namespaces::MOUNT).map_err(failed("make a mount namespace"))?;
        let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", flags).map_err(failed("keep mounts to ourselves"))?;
        let bundle = launch.bundle.clone();
        let mut words = args.to_vec();
        words.extend(["--root".to_owned(), root.display().to_string()]);
        words.extend(["--log".to_owned(), log_of(&bundle).display().to_string()]);
        words.extend(["--log-format".to_owned(), "json".to_owned()]);
        Ok(Self { program: program.to_owned(), words, id: launch.id.clone(), bundle })
    }

    /// Makes the container and runs its program.
    pub(super) fn start(&self, root: Option<OwnedFd>, streams: Streams) -> Result<Live, Failure> {
        if let Some(root) = root {
            self.attach(&root)?;
        }
        let console = Console::of(&streams, &self.bundle)?;
        let pid_file = self.bundle.join("init.pid");
        let bundle = self.bundle.display().to_string();
        let mut words = vec!["create".to_owned(), "--bundle".to_owned(), bundle];
        words.extend(["--pid-file".to_owned(), pid_file.display().to_string()]);
        words.extend(console.iter().flat_map(Console::words));
        words.push(self.id.clone());
        let made = self.make(&words, streams).and_then(|()| {
            let terminal = console.map(Console::receive).transpose()?;
            let child = child_in(&pid_file)?;
            self.call(&["start", &self.id]).map_err(Failure::of_start)?;
            Ok(Live { child, terminal })
        });
        if made.is_err() {
            // What failed half-way; often there is nothing.
            let _ = self.delete();
        }
        made
    }

    /// Puts the root where the bundle has its empty directory.
    fn attach(&self, root: &OwnedFd) -> Result<(), Failure> {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        let place = self.bundle.join("rootfs");
        rustix::mount::move_mount(root, c"", rustix::fs::CWD, place, flags)
            .map_err(failed("attach the root file system"))
    }

    /// Runs one more process.
    pub(super) fn exec(&self, process: &Process, streams: Streams) -> Result<Live, Failure> {
        let document = self.bundle.join("exec.json");
        let pid_file = self.bundle.join("exec.pid");
        write_json(&document, process)?;
        let console = Console::of(&streams, &self.bundle)?;
        let path = |path: &Path| path.display().to_string();
        let mut words = vec!["exec".to_owned(), "--process".to_owned(), path(&document)];
        words.extend(["--pid-file".to_owned(), path(&pid_file), "--detach".to_owned()]);
        words.extend(console.iter().flat_map(Console::words));
        words.push(self.id.clone());
        let made = self.make(&words, streams).and_then(|()| {
            let terminal = console.map(Console::receive).transpose()?;
            Ok(Live { child: child_in(&pid_file)?, terminal })
        });
        let _ = std::fs::remove_file(&document);
        let _ = std::fs::remove_file(&pid_file);
        made
    }

    /// Calls the runtime for a process that inherits the standard streams.
    fn make(&self, words: &[String], streams: Streams) -> Result<(), Failure> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let streams = match streams {
            Streams::Descriptors { stdin, stdout, stderr } => [stdin, stdout, stderr],
            Streams::Terminal { .. } => [null()?, null()?, null()?],
        };
        let exit = self.run(&words, &streams)?;
        self.check(exit, "").map_err(Failure::of_start)
    }

    pub(super) fn kill(&self, signal: i32) -> Result<(), Failure> {
        self.call(&["kill", &self.id, &signal.to_string()]).map(drop)
    }

    pub(super) fn pause(&self) -> Result<(), Failure> {
        self.call(&["pause", &self.id]).map(drop)
    }

    pub(super) fn resume(&self) -> Result<(), Failure> {
        self.call(&["resume", &self.id]).map(drop)
    }

    pub(super) fn update(&self, resources: &Resources) -> Result<(), Failure> {
        let document = self.bundle.join("resources.json");
        write_json(&document, resources)?;
        let path = document.display().to_string();
        let updated = self.call(&["update", "--resources", &path, &self.id]).map(drop);
        let _ = std::fs::remove_file(&document);
        updated
    }

    pub(super) fn pids(&self) -> Result<Vec<i32>, Failure> {
        let said = self.call(&["ps", "--format", "json", &self.id])?;
        serde_json::from_str(&said).map_err(Failure::other)
    }

    /// The first process, if it lives, and whether it is frozen.
    pub(super) fn find(&self) -> Option<(Pid, OwnedFd, bool)> {
        let said = self.call(&["state", &self.id]).ok()?;
        let state: State = serde_json::from_str(&said).ok()?;
        let pid = Pid::from_raw(state.pid).filter(|_| state.status != "stopped")?;
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()?;
        Some((pid, pidfd, state.status == "paused"))
    }

    /// Removes what the runtime keeps, and the root's mount.
    pub(super) fn delete(&self) -> Result<(), Failure> {
        let deleted = self.call(&["delete", "--force", &self.id]).map(drop);
        for name in ["init.pid", "runtime.log"] {
            let _ = std::fs::remove_file(self.bundle.join(name));
        }
        // The directory itself may be the root.
        let _ = rustix::mount::unmount(self.bundle.join("rootfs"), UnmountFlags::DETACH);
        deleted
    }

    /// Calls the runtime and gives what it printed.
    fn call(&self, words: &[&str]) -> Result<String, Failure> {
        let said = memory()?;
        let streams = [null()?, said.try_clone().map_err(Failure::other)?, said];
        let exit = self.run(words, &streams)?;
        let [_, said, _] = streams;
        let mut text = String::new();
        let mut file = File::from(said);
        file.rewind().and_then(|()| file.read_to_string(&mut text)).map_err(Failure::other)?;
        self.check(exit, &text).map(|()| text)
    }

    /// Runs the program to its end.
    fn run(&self, words: &[&str], streams: &[OwnedFd; 3]) -> Result<Exit, Failure> {
        let nul = |_| Failure::other("a word of the runtime's command line has a NUL");
        let program = CString::new(self.program.as_os_str().as_bytes()).map_err(nul)?;
        let mut strings = vec![program.clone()];
        for word in self.words.iter().map(String::as_str).chain(words.iter().copied()) {
            strings.push(CString::new(word).map_err(nul)?);
        }
        // A log that tells of this call alone.
        let _ = std::fs::remove_file(log_of(&self.bundle));
        let argv = Argv::new(strings);
        let envp = Argv::new(vec![PATH.to_owned()]);
        let defaults = dhow_sys::ignored_signals();
        let clone = Clone {
            namespaces: Namespaces::empty(),
            cgroup: None,
            memory: Memory::Shared,
            sibling: false,
        };
        let child = clone_child(&clone, || {
            let placed = rustix::stdio::dup2_stdin(&streams[0])
                .and_then(|()| rustix::stdio::dup2_stdout(&streams[1]))
                .and_then(|()| rustix::stdio::dup2_stderr(&streams[2]));
            if placed.is_ok() {
                dhow_sys::reset_dispositions(defaults);
                dhow_sys::set_mask(SignalSet::NONE);
                dhow_sys::execve(&program, &argv, &envp);
            }
            dhow_sys::exit_now(127)
        })
        .map_err(failed("run the runtime"))?;
        child.wait().map_err(failed("wait for the runtime"))
    }

    /// Words the end of a call: by its log, else by what it said.
    fn check(&self, exit: Exit, said: &str) -> Result<(), Failure> {
        if exit == Exit::Code(0) {
            return Ok(());
        }
        let log = std::fs::read_to_string(log_of(&self.bundle)).unwrap_or_default();
        let words = log
            .lines()
            .rev()
            .filter_map(|line| serde_json::from_str::<LogLine>(line).ok())
            .map(|line| line.msg)
            .find(|message| !message.is_empty());
        let message = words.unwrap_or_else(|| said.trim().to_owned());
        if message.is_empty() {
            let name = self.program.display();
            return Err(Failure::other(format!("runtime {name} ended with {}", exit.status())));
        }
        Err(Failure::other(message))
    }
}

impl Failure {
    /// A runtime's failure to start a program, told apart by the words that runtimes have in common.
    fn of_start(failure: Self) -> Self {
        let message = failure.message;
        let says = |part: &str| message.contains(part);
        let kind = if says("executable file not found") || says("o such file or directory") {
            StartFailure::NotFound
        } else if says("ermission denied") {
            StartFailure::NotExecutable
        } else {
            StartFailure::Other
        };
        Self { kind: ErrorKind::Start(kind), message }
    }
}

fn failed(doing: &'static str) -> impl FnOnce(Errno) -> Failure {
    move |errno| Failure::other(format!("{doing}: {errno}"))
}

fn log_of(bundle: &Path) -> PathBuf {
    bundle.join("runtime.log")
}

fn null() -> Result<OwnedFd, Failure> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    rustix::fs::open(c"/dev/null", flags, Mode::empty()).map_err(failed("open /dev/null"))
}

fn memory() -> Result<OwnedFd, Failure> {
    rustix::fs::memfd_create(c"dhow-runtime", MemfdFlags::CLOEXEC).map_err(failed("make a memfd"))
}

fn write_json(path: &Path, document: &impl serde::Serialize) -> Result<(), Failure> {
    let bytes = serde_json::to_vec(document).map_err(Failure::other)?;
    std::fs::write(path, bytes).map_err(Failure::other)
}

/// The process whose pid a runtime has written down. It is our child by now, so its pid is its own until we
/// reap it.
fn child_in(pid_file: &Path) -> Result<Child, Failure> {
    let text = std::fs::read_to_string(pid_file).map_err(Failure::other)?;
    let pid = text.trim().parse().ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| Failure::other("the runtime wrote no pid"))?;
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())
        .map_err(failed("open the runtime's process"))?;
    Ok(Child { pid, pidfd })
}
