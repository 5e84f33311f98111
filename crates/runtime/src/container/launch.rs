//! Cloning the first process and talking it through to its program.

use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use dhow_spec::runtime::{ContainerProcessState, State, VERSION};
use dhow_sys::{Child, Clone, Memory, Namespaces, clone_child, fd_path};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{DumpableBehavior, Pid, PidfdFlags, Signal};

use crate::error::{Error, StepError, StepKind};
use crate::foreground::Console;
use crate::init::{
    Fault, MountStep, Report, Source, Step, SyncPoint, open_tree_of, send_descriptor,
};
use crate::plan::{NamespacePlan, OOM_SCORE};

const CLONE: &str = "clone the container's process";

/// What the parent does when the child waits.
pub(super) trait Parent {
    /// New namespaces are there; `pid` lives in them.
    fn namespaces(&mut self, pid: Pid) -> Result<(), Error>;
    /// Mounts are made and the root is not yet changed.
    fn mounts(&mut self, child: &Child) -> Result<(), Error>;
    /// The child is to be found from now on, and cannot see to it itself.
    fn put_on_record(&mut self, _child: &Child) -> Result<(), Error> {
        Ok(())
    }
    /// The child waits for its start.
    fn ready(&mut self, child: &Child) -> Result<(), Error>;
    /// The container's state, for whoever listens to its seccomp filter.
    fn seccomp_state(&self, pid: Pid) -> Option<SeccompListener>;
}

/// Where a seccomp listener goes, and with what words.
pub(super) struct SeccompListener {
    pub(super) path: PathBuf,
    pub(super) metadata: Option<String>,
    pub(super) state: State,
}

/// A program about to be run by a new process.
pub(super) struct Launch<'a> {
    pub(super) steps: &'a [Step],
    pub(super) namespaces: Namespaces,
    pub(super) cgroup: Option<BorrowedFd<'a>>,
    pub(super) memory: Memory,
}

/// How far [`Launch::go`] got.
pub(super) enum Launched {
    /// The program runs, or has run already.
    Running(Child),
    /// The child waits for its start.
    Waiting(Child),
}

impl Launch<'_> {
    /// Clones and answers the child until it waits for its start or has executed its program. On failure
    /// the child is gone and reaped. What of `excursion` would mislead the parent, ends with the clone.
    pub(super) fn go(
        &self,
        excursion: &mut Excursion,
        parent: &mut dyn Parent,
    ) -> Result<Launched, Error> {
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(Error::call("make the control socket"))?;
        let proc = open_directory(Path::new("/proc"))?;
        let clone = Clone {
            namespaces: self.namespaces,
            cgroup: self.cgroup,
            memory: self.memory,
            sibling: false,
        };
        // Whoever shares a PID namespace with the child may not trace or read it, from its first moment; but
        // a parent without rights maps the ids of its new user namespace, and has to reach its files until then.
        let mapped =
            self.steps.iter().any(|step| matches!(step, Step::Sync(SyncPoint::Namespaces)));
        let hidden = !mapped && set_dumpable(DumpableBehavior::NotDumpable);
        let made = clone_child(&clone, || {
            // Ours is the only one left then, and its end is seen when we die.
            dhow_sys::close_copy(ours.as_fd());
            crate::init::run(self.steps, theirs.as_fd(), proc.as_fd())
        });
        // Or our own /proc files stay root's.
        if hidden && (self.memory == Memory::Copied || made.is_err()) {
            set_dumpable(DumpableBehavior::Dumpable);
        }
        let child = made.map_err(|errno| match self.cgroup {
            Some(cgroup) => refused_by_cgroup(cgroup, errno),
            None => Error::call(CLONE)(errno),
        })?;
        drop(theirs);
        let waits = self.steps.iter().any(|step| matches!(step, Step::AwaitStart { .. }));
        let mut dialogue = Dialogue { steps: self.steps, child, waits };
        let answered =
            excursion.leave(Namespaces::TIME).and_then(|()| dialogue.answer(ours.as_fd(), parent));
        let launched = match answered {
            Ok(Progress::Executed) => Ok(Launched::Running(dialogue.child)),
            Ok(Progress::Ready) => Ok(Launched::Waiting(dialogue.child)),
            Err(error) => {
                dialogue.end();
                Err(error)
            }
        };
        // What a child that shares our memory shows of itself is one setting with ours, and execve lets us
        // go on before the child has left that memory: it has when its end of the socket is closed.
        if self.memory == Memory::Shared {
            set_dumpable(DumpableBehavior::Dumpable);
        }
        launched
    }
}

/// Whether it was done.
fn set_dumpable(behaviour: DumpableBehavior) -> bool {
    rustix::process::set_dumpable_behavior(behaviour).is_ok()
}

/// Words the failure of a clone into a cgroup, which has reasons of its own.
fn refused_by_cgroup(cgroup: BorrowedFd<'_>, errno: Errno) -> Error {
    match errno {
        Errno::BUSY | Errno::OPNOTSUPP => {
            let dir = rustix::fs::readlink(fd_path(cgroup).as_c_str(), Vec::new());
            let dir = dir.unwrap_or_default().to_string_lossy().into_owned();
            Error::CgroupRefuses { dir: dir.into(), errno }
        }
        errno => Error::call(CLONE)(errno),
    }
}

/// How a dialogue ended well.
#[derive(PartialEq, Eq)]
enum Progress {
    Executed,
    Ready,
}

struct Dialogue<'a> {
    steps: &'a [Step],
    child: Child,
    /// The program has a wait for its start, so a closed socket before that is a death.
    waits: bool,
}

impl Dialogue<'_> {
    fn answer(
        &mut self,
        control: BorrowedFd<'_>,
        parent: &mut dyn Parent,
    ) -> Result<Progress, Error> {
        loop {
            let report =
                Report::receive(control).map_err(Error::call("read from the control socket"))?;
            match report {
                // A program that ends at once looks the same from here, and is no error.
                None if !self.waits => return Ok(Progress::Executed),
                None => return Err(Error::Died { signal: self.killed_by() }),
                Some(Report::Failed { step, fault }) => return Err(word(self.steps, step, fault)),
                Some(Report::Replaced(pid)) => self.replaced(pid)?,
                Some(Report::Wants { step }) => {
                    self.open_source(step, control)?;
                    continue;
                }
                Some(Report::Reached(SyncPoint::Namespaces, _)) => {
                    parent.namespaces(self.child.pid)?;
                }
                Some(Report::Reached(SyncPoint::Record, _)) => parent.put_on_record(&self.child)?,
                Some(Report::Reached(SyncPoint::Mounts, _)) => parent.mounts(&self.child)?,
                Some(Report::Reached(SyncPoint::Listener, fd)) => {
                    hand_over_listener(self.child.pidfd.as_fd(), self.child.pid, fd, &*parent)?;
                }
                Some(Report::Reached(SyncPoint::Ready, _)) => {
                    parent.ready(&self.child)?;
                    give_word(control)?;
                    return Ok(Progress::Ready);
                }
            }
            give_word(control)?;
        }
    }

    /// The process cloned itself into a sibling; the old one has ended.
    fn replaced(&mut self, pid: i32) -> Result<(), Error> {
        let pid = Pid::from_raw(pid).ok_or(Error::Died { signal: None })?;
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())
            .map_err(Error::call("open the container's first process"))?;
        let old = std::mem::replace(&mut self.child, Child { pid, pidfd });
        old.wait().map_err(Error::call("wait for the intermediate process"))?;
        Ok(())
    }

    /// Opens the source of a mount for the child, in the child's mount namespace: what earlier mounts have
    /// made is there.
    fn open_source(&self, index: usize, control: BorrowedFd<'_>) -> Result<(), Error> {
        let Some(Step::Mount(MountStep { source: Source::Tree(tree), .. })) = self.steps.get(index)
        else {
            return Err(Error::Died { signal: None });
        };
        let mut excursion = Excursion::new();
        excursion
            .enter(Namespaces::MOUNT, self.child.pidfd.as_fd())
            .map_err(Error::call("join the container's mount namespace"))?;
        let opened = open_tree_of(tree);
        excursion.end()?;
        let opened = opened.map_err(|fault| word(self.steps, index, fault))?.into_fd();
        let mount = opened.ok_or(Error::Died { signal: None })?;
        send_descriptor(control, mount.as_fd(), b"m")
            .map_err(Error::call("hand a mount to the container's first process"))
    }

    fn killed_by(&self) -> Option<i32> {
        match self.child.wait() {
            Ok(dhow_sys::Exit::Signal(signal)) => Some(signal),
            _ => None,
        }
    }

    fn end(&self) {
        kill_and_reap(&self.child);
    }
}

/// Ends a process that nobody will look after.
pub(super) fn kill_and_reap(child: &Child) {
    let _ = dhow_sys::pidfd_kill(child.pidfd.as_fd(), Signal::KILL.as_raw());
    let _ = child.wait();
}

fn give_word(to: BorrowedFd<'_>) -> Result<(), Error> {
    rustix::net::send(to, b"g", rustix::net::SendFlags::NOSIGNAL)
        .map(drop)
        .map_err(Error::call("answer the container's first process"))
}

/// Words a failed step.
pub(super) fn word(steps: &[Step], index: usize, fault: Fault) -> Error {
    let Some(step) = steps.get(index) else { return Error::Died { signal: None } };
    let kind = match (step, fault.errno) {
        (Step::Find(_) | Step::Exec { .. }, Errno::NOENT | Errno::NOTDIR) => {
            StepKind::ProgramNotFound
        }
        (Step::Find(_) | Step::Exec { .. }, _) => StepKind::ProgramNotExecutable,
        _ => StepKind::Setup,
    };
    let text = match step {
        // The words of runc and Go, by which engines know the case.
        Step::Find(program) if program.searched && fault.errno == Errno::NOENT => {
            return Error::Refused {
                field: "exec",
                value: program.name.clone(),
                reason: "executable file not found in $PATH",
            };
        }
        Step::Scheduler(attr) if attr.is_deadline() && fault.errno == Errno::PERM => {
            format!("{step} (a deadline needs all of the host's CPUs, not some of them)")
        }
        Step::WriteProc { name, value }
            if fault.errno == Errno::ACCESS && name.as_c_str() == OOM_SCORE =>
        {
            return oom_score_too_low(value);
        }
        Step::Find(program) if fault.errno == Errno::NOENT => {
            format!("exec: {:?}: stat {}", program.name, program.name)
        }
        other => other.to_string(),
    };
    Error::Step(StepError::new(text, kind, fault))
}

/// The kernel lets nobody go below the lowest score that somebody with the right to it has set.
pub(super) fn oom_score_too_low(value: &str) -> Error {
    Error::Refused {
        field: "process.oomScoreAdj",
        value: value.to_owned(),
        reason: "lower than it may be set without CAP_SYS_RESOURCE",
    }
}

/// Fetches the listener of a seccomp filter out of the child and sends it to whoever is to answer it.
fn hand_over_listener(
    pidfd: BorrowedFd<'_>,
    pid: Pid,
    fd: i32,
    parent: &dyn Parent,
) -> Result<(), Error> {
    let Some(listener) = parent.seccomp_state(pid) else { return Ok(()) };
    send_listener(pidfd, pid, fd, listener)
}

pub(super) fn send_listener(
    pidfd: BorrowedFd<'_>,
    pid: Pid,
    fd: i32,
    listener: SeccompListener,
) -> Result<(), Error> {
    let fd: OwnedFd =
        rustix::process::pidfd_getfd(pidfd, fd, rustix::process::PidfdGetfdFlags::empty())
            .map_err(Error::call("fetch the seccomp listener"))?;
    let state = ContainerProcessState {
        oci_version: VERSION.to_owned(),
        fds: vec!["seccompFd".to_owned()],
        pid: pid.as_raw_nonzero().get(),
        metadata: listener.metadata,
        state: listener.state,
    };
    let socket = connect(&listener.path)?;
    send_descriptor(socket.as_fd(), fd.as_fd(), state.to_json().as_bytes())
        .map_err(|errno| Error::file("send the seccomp listener to", &listener.path, errno))
}

/// Connects to a unix stream socket.
pub(super) fn connect(path: &Path) -> Result<OwnedFd, Error> {
    let error = |errno| Error::file("connect to", path, errno);
    let address = rustix::net::SocketAddrUnix::new(path).map_err(error)?;
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(error)?;
    rustix::net::connect(&socket, &address).map_err(error)?;
    Ok(socket)
}

/// Where the terminal goes, if there is one: to the socket of whoever asked for it, or to us, who receive it
/// on the second one.
pub(super) fn console(
    socket: Option<&Path>,
    terminal: bool,
) -> Result<(Option<Console>, Option<OwnedFd>), Error> {
    match socket {
        Some(path) => Ok((Some(Console::of_caller(connect(path)?)), None)),
        None if terminal => {
            let (console, receiver) =
                Console::of_ours().map_err(Error::call("make the console socket"))?;
            Ok((Some(console), Some(receiver)))
        }
        None => Ok((None, None)),
    }
}

pub(super) fn open_directory(path: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| Error::file("open", path, errno))
}

/// Tells who asked for it which process it is: its pid in a file, its pidfd through a socket.
pub(super) fn announce(
    child: &Child,
    pid_file: Option<&Path>,
    pidfd_socket: Option<&Path>,
) -> Result<(), Error> {
    if let Some(path) = pid_file {
        write_pid_file(path, child.pid)?;
    }
    if let Some(path) = pidfd_socket {
        send_descriptor(connect(path)?.as_fd(), child.pidfd.as_fd(), b"pidfd")
            .map_err(|errno| Error::file("send the pidfd to", path, errno))?;
    }
    Ok(())
}

/// Writes the pid file: under a temporary name first, so that nobody reads half a number.
fn write_pid_file(path: &Path, pid: Pid) -> Result<(), Error> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let write = || {
        let mut file = std::fs::File::create(&temporary)?;
        write!(file, "{}", pid.as_raw_nonzero())?;
        drop(file);
        std::fs::rename(&temporary, path)
    };
    write().map_err(|error| {
        let _ = std::fs::remove_file(&temporary);
        Error::file("write pid file", path, Errno::from_io_error(&error).unwrap_or(Errno::IO))
    })
}

/// Namespaces of the runtime's own that it left for the time of a clone, and goes back to.
pub(super) struct Excursion {
    back: Vec<(Namespaces, OwnedFd)>,
    cwd: Option<OwnedFd>,
}

impl Excursion {
    pub(super) fn new() -> Self {
        Self { back: Vec::new(), cwd: None }
    }

    /// Joins given namespaces by their position in the plan.
    pub(super) fn join(&mut self, plan: &NamespacePlan, which: &[usize]) -> Result<(), Error> {
        for index in which {
            let given = &plan.given[*index];
            self.enter(given.kind, given.file.as_fd()).map_err(|errno| {
                Error::file("join namespace", PathBuf::from(&given.path), errno)
            })?;
        }
        Ok(())
    }

    /// Joins one namespace, remembering the way back.
    pub(super) fn enter(&mut self, kind: Namespaces, file: BorrowedFd<'_>) -> Result<(), Errno> {
        self.remember(kind)?;
        dhow_sys::set_namespace(file, kind)
    }

    /// Makes the namespaces of coming children new.
    pub(super) fn unshare(&mut self, kind: Namespaces) -> Result<(), Errno> {
        self.remember(kind)?;
        dhow_sys::unshare(kind)
    }

    fn remember(&mut self, kind: Namespaces) -> Result<(), Errno> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let own = rustix::fs::open(own_namespace(kind), flags, Mode::empty())?;
        if kind == Namespaces::MOUNT && self.cwd.is_none() {
            self.cwd = Some(rustix::fs::open(c".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?);
        }
        self.back.push((kind, own));
        Ok(())
    }

    /// Goes back from one of them. In a foreign time namespace procfs tells other times.
    fn leave(&mut self, kind: Namespaces) -> Result<(), Error> {
        let Some(at) = self.back.iter().position(|(left, _)| *left == kind) else { return Ok(()) };
        let (_, own) = self.back.remove(at);
        dhow_sys::set_namespace(own.as_fd(), kind).map_err(Error::call(GOING_BACK))
    }

    /// Goes back, last left first.
    pub(super) fn end(self) -> Result<(), Error> {
        for (kind, own) in self.back.iter().rev() {
            dhow_sys::set_namespace(own.as_fd(), *kind).map_err(Error::call(GOING_BACK))?;
        }
        if let Some(cwd) = self.cwd {
            rustix::process::fchdir(cwd)
                .map_err(Error::call("go back to the runtime's own directory"))?;
        }
        Ok(())
    }
}

const GOING_BACK: &str = "go back to the runtime's own namespace";

fn own_namespace(kind: Namespaces) -> &'static str {
    match kind {
        Namespaces::CGROUP => "/proc/self/ns/cgroup",
        Namespaces::IPC => "/proc/self/ns/ipc",
        Namespaces::MOUNT => "/proc/self/ns/mnt",
        Namespaces::NETWORK => "/proc/self/ns/net",
        Namespaces::PID => "/proc/self/ns/pid",
        Namespaces::TIME => "/proc/self/ns/time",
        Namespaces::UTS => "/proc/self/ns/uts",
        _ => "/proc/self/ns/user",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::Cgroup;
    use crate::cgroup::testing::{Sleeper, TestPlace};
    use dhow_sys::{Argv, Exit, SignalSet};

    struct Nobody;

    impl Parent for Nobody {
        fn namespaces(&mut self, _pid: Pid) -> Result<(), Error> {
            Ok(())
        }

        fn mounts(&mut self, _child: &Child) -> Result<(), Error> {
            Ok(())
        }

        fn ready(&mut self, _child: &Child) -> Result<(), Error> {
            Ok(())
        }

        fn seccomp_state(&self, _pid: Pid) -> Option<SeccompListener> {
            None
        }
    }

    fn launch(steps: &[Step], cgroup: Option<BorrowedFd<'_>>) -> Result<Exit, Error> {
        let namespaces = Namespaces::empty();
        let launch = Launch { steps, namespaces, cgroup, memory: Memory::Copied };
        match launch.go(&mut Excursion::new(), &mut Nobody)? {
            Launched::Running(child) | Launched::Waiting(child) => {
                child.wait().map_err(Error::call("wait"))
            }
        }
    }

    fn program() -> [Step; 1] {
        let argv = Argv::new(vec![c"true".to_owned()]);
        let envp = Argv::new(Vec::new());
        let candidates = vec![c"/bin/true".to_owned()];
        let (mask, defaults) = (SignalSet::NONE, SignalSet::NONE);
        [Step::Exec { argv, envp, candidates, name: "true".to_owned(), mask, defaults }]
    }

    #[test]
    fn a_cgroup_that_takes_no_processes_is_told_from_other_failures() {
        let Some(place) = TestPlace::new() else { return };
        let cgroup = Cgroup::create(&place.hierarchies, &place.path, None).unwrap();
        let Some(own) = cgroup.entry().unwrap().v2_dir else { return cgroup.remove().unwrap() };
        let dir = std::fs::read_link(fd_path(own.as_fd()).as_c_str().to_str().unwrap()).unwrap();
        let controllers = std::fs::read_to_string(dir.join("cgroup.controllers")).unwrap();
        let Some(controller) = controllers.split_whitespace().next() else {
            return cgroup.remove().unwrap();
        };
        let first = Sleeper::new();
        let write = |name: &str, text: String| std::fs::write(dir.join(name), text).unwrap();
        std::fs::create_dir(dir.join("in")).unwrap();
        write("in/cgroup.procs", first.pid().as_raw_nonzero().to_string());
        write("cgroup.subtree_control", format!("+{controller}"));
        let refused = launch(&program(), Some(own.as_fd())).unwrap_err();
        assert!(matches!(refused, Error::CgroupRefuses { .. }), "{refused}");
        let beside = cgroup.entry_beside(first.pid()).unwrap().v2_dir.unwrap();
        assert_eq!(launch(&program(), Some(beside.as_fd())).unwrap(), Exit::Code(0));
        drop(first);
        // Below a cgroup with a threaded child lies one that is neither the one nor the other.
        write("cgroup.subtree_control", format!("-{controller}"));
        std::fs::create_dir_all(dir.join("t/u")).unwrap();
        write("t/cgroup.type", "threaded".to_owned());
        let invalid = open_directory(&dir.join("t/u")).unwrap();
        let refused = launch(&program(), Some(invalid.as_fd())).unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!(
                "enter cgroup {}: it is below a threaded one and takes no processes",
                dir.join("t/u").display()
            )
        );
        cgroup.remove().unwrap();
    }

    #[test]
    fn an_oom_score_out_of_reach_is_named() {
        let own = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
        let write =
            |value: &str| Step::WriteProc { name: OOM_SCORE.to_owned(), value: value.to_owned() };
        let [exec] = program();
        let steps = [write(own.trim()), exec];
        assert_eq!(launch(&steps, None).unwrap(), Exit::Code(0), "the one it has is no change");
        let fault = Fault::from(Errno::ACCESS);
        assert_eq!(
            word(&[write("-1000")], 0, fault).to_string(),
            "process.oomScoreAdj: \"-1000\": lower than it may be set without CAP_SYS_RESOURCE"
        );
    }
}
