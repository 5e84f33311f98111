//! Starting a hook: in the runtime's namespaces or in the container's.
//!
//! Invariant: either a process comes back that has become the hook's program, or none is left. Everything
//! between clone and exec works on what [`Program::new`] made before: no allocation, no lock.

use std::convert::Infallible;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use dhow_spec::runtime::Hook;
use dhow_sys::{Argv, Child, Errno, Memory, Namespaces, SeccompFlags, SignalSet};
use rustix::process::{Pid, PidfdFlags};
use rustix::thread::{Gid, Uid};

use super::{Confinement, HookFault, Join, attending, pipe, starting};
use crate::seccomp::Filter;
use crate::text::c_string;

/// The hook's ends of its streams.
pub(super) struct Streams {
    pub(super) stdin: OwnedFd,
    /// Standard output and standard error alike.
    pub(super) output: OwnedFd,
}

/// All that the child needs, in the form in which it can be used without allocation.
pub(super) struct Program {
    path: std::ffi::CString,
    argv: Argv,
    envp: Argv,
    ignored: SignalSet,
}

/// What a process started inside tells its starter; plain numbers for the pipe.
#[derive(Clone, Copy)]
struct Started {
    /// 0 if there is no process.
    pid: i32,
    /// 0 if it runs.
    errno: i32,
    /// Which of [`DOINGS`] failed.
    doing: u8,
}

/// What starting a hook consists of, as errors word it.
const DOINGS: [&str; 6] = [
    "join the container's namespaces",
    "make a process",
    "set up its streams",
    "execute",
    "enter its directory",
    "confine it",
];
const JOINING: u8 = 0;
const CLONING: u8 = 1;
const STREAMS: u8 = 2;
const EXECUTING: u8 = 3;
const ENTERING: u8 = 4;
const CONFINING: u8 = 5;

impl Program {
    pub(super) fn new(hook: &Hook, environment: &[String]) -> Self {
        let list = |words: &[String]| {
            Argv::new(words.iter().map(|word| c_string(word.as_str())).collect())
        };
        let argv =
            if hook.args.is_empty() { std::slice::from_ref(&hook.path) } else { &hook.args[..] };
        let env = if hook.env.is_empty() { environment } else { &hook.env[..] };
        Self {
            path: c_string(hook.path.as_str()),
            argv: list(argv),
            envp: list(env),
            ignored: dhow_sys::ignored_signals(),
        }
    }

    /// Starts it in the runtime's namespaces.
    pub(super) fn start(&self, streams: &Streams) -> Result<Child, HookFault> {
        let mut failure = None;
        let child = dhow_sys::clone_child(&plain_clone(Memory::Shared), || {
            self.run(streams, None, &mut failure)
        })
        .map_err(starting(DOINGS[usize::from(CLONING)]))?;
        checked(child, failure)
    }

    /// Starts it in the container's namespaces.
    ///
    /// Joining a PID namespace is for children only, hence a process between: it joins, starts the hook as
    /// a child of the runtime's, tells the pid and goes. Its memory is a copy, because a process that
    /// shares memory may not join a time namespace.
    pub(super) fn start_inside(
        &self,
        streams: &Streams,
        join: &Join<'_>,
    ) -> Result<Child, HookFault> {
        let (from_helper, to_runtime) = pipe().map_err(starting("make a pipe"))?;
        let directory = c_string(join.directory.as_os_str().as_bytes());
        let helper = dhow_sys::clone_child(&plain_clone(Memory::Copied), || {
            let started = self.join_and_start(streams, join, &directory);
            // If this fails the runtime reads nothing, which it takes for our death.
            let _ = rustix::io::write(&to_runtime, &started.to_bytes());
            dhow_sys::exit_now(0)
        })
        .map_err(starting(DOINGS[usize::from(CLONING)]))?;
        drop(to_runtime);
        let told = read_record(from_helper.as_fd());
        helper.wait().map_err(attending("wait for its starter"))?;
        let Some(started) = told.map_err(attending("hear of its start"))?.map(Started::from_bytes)
        else {
            return Err(starting(DOINGS[usize::from(JOINING)])(Errno::SRCH));
        };
        let failure =
            (started.errno != 0).then(|| (started.doing, Errno::from_raw_os_error(started.errno)));
        match (Pid::from_raw(started.pid), failure) {
            (Some(pid), failure) => {
                // The pid is ours until we reap it.
                let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())
                    .map_err(attending("open its pidfd"))?;
                checked(Child { pid, pidfd }, failure)
            }
            (None, Some((doing, errno))) => Err(fault_of(doing, errno)),
            (None, None) => Err(fault_of(CLONING, Errno::SRCH)),
        }
    }

    /// The process between: runs after a clone, so it does not allocate.
    fn join_and_start(&self, streams: &Streams, join: &Join<'_>, directory: &CStr) -> Started {
        // Others can be in that PID namespace; execve takes it back.
        let hidden =
            rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
        if let Err(errno) = hidden {
            return Started { pid: 0, errno: errno.raw_os_error(), doing: JOINING };
        }
        if let Err(errno) = dhow_sys::set_namespace(join.init, join.namespaces) {
            return Started { pid: 0, errno: errno.raw_os_error(), doing: JOINING };
        }
        if let Err(errno) = rustix::process::chdir(directory) {
            return Started { pid: 0, errno: errno.raw_os_error(), doing: ENTERING };
        }
        if join.namespaces.contains(Namespaces::USER) {
            become_root_inside();
        }
        let clone = dhow_sys::Clone { sibling: true, ..plain_clone(Memory::Shared) };
        let mut failure = None;
        let confinement = join.confinement;
        match dhow_sys::clone_child(&clone, || self.run(streams, confinement, &mut failure)) {
            Err(errno) => Started { pid: 0, errno: errno.raw_os_error(), doing: CLONING },
            Ok(child) => {
                let (doing, errno) = failure.map_or((0, 0), |(d, e)| (d, e.raw_os_error()));
                Started { pid: child.pid.as_raw_nonzero().get(), errno, doing }
            }
        }
    }

    /// The hook's own process, up to its program; says in `failure` why it did not get there.
    fn run(
        &self,
        streams: &Streams,
        confinement: Option<Confinement<'_>>,
        failure: &mut Option<(u8, Errno)>,
    ) -> Infallible {
        *failure = Some(self.become_program(streams, confinement));
        dhow_sys::exit_now(127)
    }

    /// Returns what failed.
    fn become_program(
        &self,
        streams: &Streams,
        confinement: Option<Confinement<'_>>,
    ) -> (u8, Errno) {
        if let Err(errno) = set_up(streams) {
            return (STREAMS, errno);
        }
        dhow_sys::reset_dispositions(self.ignored);
        dhow_sys::set_mask(SignalSet::NONE);
        // Last: the filter need not allow more than the hook does.
        if let Some(Err(errno)) = confinement.map(confine) {
            return (CONFINING, errno);
        }
        (EXECUTING, dhow_sys::execve(&self.path, &self.argv, &self.envp))
    }
}

fn plain_clone(memory: Memory) -> dhow_sys::Clone<'static> {
    dhow_sys::Clone { namespaces: Namespaces::empty(), cgroup: None, memory, sibling: false }
}

fn set_up(streams: &Streams) -> Result<(), Errno> {
    rustix::stdio::dup2_stdin(&streams.stdin)?;
    rustix::stdio::dup2_stdout(&streams.output)?;
    rustix::stdio::dup2_stderr(&streams.output)?;
    dhow_sys::close_on_exec_from(3)
}

fn confine(confinement: Confinement<'_>) -> Result<(), Errno> {
    if confinement.no_new_privileges {
        rustix::thread::set_no_new_privs(true)?;
    }
    let Filter { program, flags, .. } = confinement.filter;
    let listening = SeccompFlags::NEW_LISTENER.with(SeccompFlags::WAIT_KILLABLE_RECV);
    dhow_sys::load_seccomp(program, flags.without(listening)).map(drop)
}

/// In a user namespace the runtime's own ids may mean nobody, and exec would take nobody's capabilities
/// away. Where there is no root inside, the hook stays who the runtime is.
fn become_root_inside() {
    let _ = rustix::thread::set_thread_groups(&[]);
    let _ = rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT);
    let _ = rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT);
}

/// Reaps a child that did not get to its program.
fn checked(child: Child, failure: Option<(u8, Errno)>) -> Result<Child, HookFault> {
    let Some((doing, errno)) = failure else { return Ok(child) };
    child.wait().map_err(attending("reap it"))?;
    Err(fault_of(doing, errno))
}

fn fault_of(doing: u8, errno: Errno) -> HookFault {
    starting(DOINGS.get(usize::from(doing)).copied().unwrap_or("start it"))(errno)
}

const RECORD_BYTES: usize = 9;

impl Started {
    fn to_bytes(self) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        bytes[..4].copy_from_slice(&self.pid.to_ne_bytes());
        bytes[4..8].copy_from_slice(&self.errno.to_ne_bytes());
        bytes[8] = self.doing;
        bytes
    }

    fn from_bytes(bytes: [u8; RECORD_BYTES]) -> Self {
        let [a, b, c, d, e, f, g, h, doing] = bytes;
        let pid = i32::from_ne_bytes([a, b, c, d]);
        Self { pid, errno: i32::from_ne_bytes([e, f, g, h]), doing }
    }
}

/// One record, which a pipe gives whole; `None` if its writer has gone without one.
fn read_record(from: BorrowedFd<'_>) -> Result<Option<[u8; RECORD_BYTES]>, Errno> {
    let mut record = [0; RECORD_BYTES];
    let count = rustix::io::retry_on_intr(|| rustix::io::read(from, &mut record))?;
    Ok((count == RECORD_BYTES).then_some(record))
}
