//! Hooks: programs of the bundle's maker, called at points of the container's life.
//!
//! Invariant: when a call returns, every hook that it started has ended and is reaped, whatever the hook
//! did with its streams or left running; no descriptor but the standard three reaches a hook, and its
//! signals are as for a fresh program.
//! The state goes to standard input through a pipe, as engines expect; standard output and error are read
//! for the error's text and otherwise dropped. The calling process ignores `SIGPIPE`, as every Rust
//! program does: a hook need not read its input.
//! Absent on purpose: when which kind is called (the container's life decides), and killing what a hook
//! has put in the background.

mod attend;
mod start;

use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use dhow_spec::runtime::{Hook, HookKind, State};
use dhow_sys::{Errno, Exit, Namespaces};
use rustix::pipe::PipeFlags;

use crate::seccomp::Filter;
use crate::text::ErrnoWords;
use crate::words::fault_of_signal;
use attend::{Attendance, Outcome};
use start::{Program, Streams};

/// The container whose namespaces a hook is to run in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Join<'a> {
    /// The pidfd of its first process.
    pub(crate) init: BorrowedFd<'a>,
    /// Those that it does not share with the runtime.
    pub(crate) namespaces: Namespaces,
    /// The working directory, as it is called there.
    pub(crate) directory: &'a Path,
    /// What the container's program may not do, and the hook in its place neither.
    pub(crate) confinement: Option<Confinement<'a>>,
}

/// Limits that a process sets itself before it executes a program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Confinement<'a> {
    pub(crate) no_new_privileges: bool,
    /// Loaded without a listener: what it would tell of is refused with `ENOSYS`.
    pub(crate) filter: &'a Filter,
}

/// What all hooks of one point get.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HookInput<'a> {
    /// For standard input.
    pub(crate) state: &'a State,
    /// Where to run; in the runtime's namespaces if absent. A hook's path is looked up there: before the
    /// container's root is changed that is the host's tree, afterwards the container's.
    pub(crate) join: Option<Join<'a>>,
    /// For hooks that bring no environment of their own.
    pub(crate) environment: &'a [String],
}

/// A hook that failed.
#[derive(Debug)]
pub(crate) struct HookError {
    kind: HookKind,
    index: usize,
    path: String,
    fault: HookFault,
}

/// How a hook failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HookFault {
    /// It could not be started.
    Start { doing: &'static str, errno: Errno },
    /// Attending to it failed.
    Attend { doing: &'static str, errno: Errno },
    /// It ended otherwise than with status 0.
    Ended { exit: Exit, output: String },
    /// It took longer than it may, and was killed.
    Timeout { seconds: u32, output: String },
}

/// Calls `hooks` in order, up to the first that fails.
pub(crate) fn run_hooks(
    kind: HookKind,
    hooks: &[Hook],
    input: &HookInput<'_>,
) -> Result<(), HookError> {
    if hooks.is_empty() {
        return Ok(());
    }
    let state = input.state.to_json();
    hooks.iter().enumerate().try_for_each(|(index, hook)| call(kind, index, hook, &state, input))
}

/// Calls every one of `hooks`, whether or not those before it failed: what deleting needs.
pub(crate) fn run_every_hook(
    kind: HookKind,
    hooks: &[Hook],
    input: &HookInput<'_>,
) -> Vec<HookError> {
    let state = input.state.to_json();
    hooks
        .iter()
        .enumerate()
        .filter_map(|(index, hook)| call(kind, index, hook, &state, input).err())
        .collect()
}

fn call(
    kind: HookKind,
    index: usize,
    hook: &Hook,
    state: &str,
    input: &HookInput<'_>,
) -> Result<(), HookError> {
    run(hook, state.as_bytes(), input).map_err(|fault| HookError {
        kind,
        index,
        path: hook.path.clone(),
        fault,
    })
}

/// Starts one hook and stays until it has ended.
fn run(hook: &Hook, state: &[u8], input: &HookInput<'_>) -> Result<(), HookFault> {
    let seconds = hook.timeout.map(u32::from);
    let deadline = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds.into()));
    let program = Program::new(hook, input.environment);
    let (stdin, to_hook) = pipe().map_err(starting("make a pipe"))?;
    let (from_hook, output) = pipe().map_err(starting("make a pipe"))?;
    let streams = Streams { stdin, output };
    let child = match &input.join {
        None => program.start(&streams)?,
        Some(join) => program.start_inside(&streams, join)?,
    };
    drop(streams);
    match Attendance::new(&child, state, to_hook, from_hook)?.until_end(deadline)? {
        Outcome::Ended { exit: Exit::Code(0), .. } => Ok(()),
        Outcome::Ended { exit, output } => Err(HookFault::Ended { exit, output }),
        Outcome::Late { output } => {
            Err(HookFault::Timeout { seconds: seconds.unwrap_or_default(), output })
        }
    }
}

fn starting(doing: &'static str) -> impl FnOnce(Errno) -> HookFault {
    move |errno| HookFault::Start { doing, errno }
}

fn attending(doing: &'static str) -> impl FnOnce(Errno) -> HookFault {
    move |errno| HookFault::Attend { doing, errno }
}

fn pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
}

impl fmt::Display for HookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, index, path, fault } = self;
        write!(f, "error running {kind} hook #{index}: {path}: {fault}")
    }
}

impl std::error::Error for HookError {}

impl fmt::Display for HookFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start { doing, errno } | Self::Attend { doing, errno } => {
                write!(f, "{doing}: {}", ErrnoWords(*errno))
            }
            Self::Ended { exit: Exit::Code(code), output } => {
                write!(f, "exit status {code}{}", Said(output))
            }
            Self::Ended { exit: Exit::Signal(signal), output } => {
                write!(f, "killed by signal {signal}")?;
                if let Some(fault) = fault_of_signal(*signal) {
                    write!(f, " ({fault})")?;
                }
                write!(f, "{}", Said(output))
            }
            Self::Timeout { seconds, output } => {
                write!(f, "hook ran past specified timeout of {seconds} s{}", Said(output))
            }
        }
    }
}

/// A hook's last words, put on the error's one line.
struct Said<'a>(&'a str);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = ", output: ";
        for line in self.0.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
            write!(f, "{before}{line}")?;
            before = "; ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;
    use std::os::fd::AsFd;

    use dhow_spec::runtime::Status;

    fn state(bundle: &str) -> State {
        State {
            oci_version: "1.3.0".to_owned(),
            id: "c1".to_owned(),
            status: Status::Creating,
            pid: Some(7),
            bundle: bundle.to_owned(),
            annotations: Default::default(),
        }
    }

    fn shell(script: &str) -> Hook {
        let args = ["sh", "-c", script].map(str::to_owned).to_vec();
        Hook { path: "/bin/sh".to_owned(), args, ..Hook::default() }
    }

    fn call_one(hook: Hook) -> Result<(), HookError> {
        call_with(hook, &state("/b"), None)
    }

    fn call_with(hook: Hook, state: &State, join: Option<Join<'_>>) -> Result<(), HookError> {
        let environment = ["ORIGIN=default".to_owned()];
        let input = HookInput { state, join, environment: &environment };
        run_hooks(HookKind::CreateRuntime, &[shell(":"), hook], &input)
    }

    fn check(hook: Hook, message: &str) {
        let error = call_one(hook).unwrap_err();
        assert_eq!(
            error.to_string().strip_prefix("error running createRuntime hook #1: "),
            Some(message)
        );
    }

    #[test]
    fn a_failure_names_the_hook_and_how_it_ended() {
        check(shell("exit 3"), "/bin/sh: exit status 3");
        check(shell("kill -9 $$"), "/bin/sh: killed by signal 9");
        check(shell("kill -31 $$"), "/bin/sh: killed by signal 31 (bad system call)");
        check(shell("echo one; echo two >&2; exit 1"), "/bin/sh: exit status 1, output: one; two");
        let nowhere = Hook { path: "/nowhere".to_owned(), ..Hook::default() };
        check(nowhere, "/nowhere: execute: no such file or directory");
        let directory = Hook { path: "/".to_owned(), ..Hook::default() };
        check(directory, "/: execute: permission denied");
    }

    #[test]
    fn a_hook_that_takes_too_long_is_killed() {
        let mut hook = shell("echo slow; exec sleep 100");
        hook.timeout = NonZeroU32::new(1);
        check(hook, "/bin/sh: hook ran past specified timeout of 1 s, output: slow");
    }

    #[test]
    fn a_hook_gets_its_state_its_arguments_and_its_environment_only() {
        let script = r#"test "$(cat)" = "$WANT" && test "$0" = name && test -z "$ORIGIN""#;
        let mut hook = shell(script);
        hook.args.push("name".to_owned());
        hook.env = vec![format!("WANT={}", state("/b").to_json()), "PATH=/bin:/usr/bin".to_owned()];
        call_one(hook).unwrap();
        call_one(shell(r#"test "$ORIGIN" = default"#)).unwrap();
    }

    #[test]
    fn a_hook_inherits_three_descriptors_and_no_blocked_signal() {
        // The shell opens a descriptor for the directory it lists.
        check(shell("cd /proc/self/fd; echo *; exit 1"), "/bin/sh: exit status 1, output: 0 1 2 3");
        call_one(shell("grep -q 'SigBlk:.*0000000000000000' /proc/self/status")).unwrap();
        call_one(shell("grep -q 'SigIgn:.*0000000000000000' /proc/self/status")).unwrap();
    }

    #[test]
    fn a_large_state_needs_no_reader_and_a_late_writer_is_not_waited_for() {
        let large = state(&"x".repeat(1 << 20));
        call_with(shell(":"), &large, None).unwrap();
        call_with(shell("test $(wc -c) -gt 1048576"), &large, None).unwrap();
        let before = Instant::now();
        let error = call_one(shell("sleep 100 & echo $!; exit 1")).unwrap_err();
        assert!(before.elapsed() < Duration::from_secs(50));
        let HookFault::Ended { output, .. } = error.fault else { panic!("{error}") };
        let left = rustix::process::Pid::from_raw(output.trim().parse().unwrap()).unwrap();
        dhow_sys::kill(left, 9).unwrap();
    }

    #[test]
    fn every_hook_is_called_even_after_a_failure() {
        let state = state("/b");
        let input = HookInput { state: &state, join: None, environment: &[] };
        let hooks = [shell("exit 1"), shell(":"), shell("exit 2")];
        let errors = run_every_hook(HookKind::Poststop, &hooks, &input);
        let indexes: Vec<usize> = errors.iter().map(|error| error.index).collect();
        assert_eq!(indexes, [0, 2]);
    }

    #[test]
    fn a_hook_runs_in_the_namespaces_it_is_given() {
        let namespaces = [
            Namespaces::USER,
            Namespaces::PID,
            Namespaces::UTS,
            Namespaces::MOUNT,
            Namespaces::IPC,
        ]
        .into_iter()
        .fold(Namespaces::empty(), Namespaces::with);
        let (read, write) = pipe().unwrap();
        let clone = dhow_sys::Clone {
            namespaces,
            cgroup: None,
            memory: dhow_sys::Memory::Copied,
            sibling: false,
        };
        let init = dhow_sys::clone_child(&clone, || {
            let _ = rustix::io::write(&write, b".");
            loop {
                rustix::event::pause();
            }
        })
        .unwrap();
        rustix::io::read(&read, &mut [0; 1]).unwrap();
        let pid = init.pid.as_raw_nonzero();
        let map = format!("0 {} 1", rustix::process::geteuid().as_raw());
        std::fs::write(format!("/proc/{pid}/setgroups"), "deny").unwrap();
        std::fs::write(format!("/proc/{pid}/uid_map"), map).unwrap();
        let inside: Vec<String> = ["user", "pid", "uts", "mnt", "ipc"]
            .map(|kind| std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap())
            .map(|link| link.to_string_lossy().into_owned())
            .to_vec();
        let script =
            r"pwd; cd /proc/self/ns && readlink user pid uts mnt ipc | tr '\n' ' '; id -u; exit 1";
        let directory = Path::new("/usr");
        let confinement = None;
        let join = Some(Join { init: init.pidfd.as_fd(), namespaces, directory, confinement });
        let error = call_with(shell(script), &state("/b"), join).unwrap_err();
        dhow_sys::pidfd_kill(init.pidfd.as_fd(), 9).unwrap();
        init.wait().unwrap();
        let HookFault::Ended { output, .. } = error.fault else { panic!("{error}") };
        assert_eq!(output.trim(), format!("/usr\n{} 0", inside.join(" ")));
    }

    #[test]
    fn a_container_that_has_gone_is_an_error() {
        let clone = dhow_sys::Clone {
            namespaces: Namespaces::UTS.with(Namespaces::USER),
            cgroup: None,
            memory: dhow_sys::Memory::Copied,
            sibling: false,
        };
        let init = dhow_sys::clone_child(&clone, || dhow_sys::exit_now(0)).unwrap();
        init.wait().unwrap();
        let (namespaces, directory) = (Namespaces::UTS, Path::new("/"));
        let join = Join { init: init.pidfd.as_fd(), namespaces, directory, confinement: None };
        let error = call_with(shell(":"), &state("/b"), Some(join)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "error running createRuntime hook #0: /bin/sh: join the container's namespaces: no such process"
        );
    }
}
