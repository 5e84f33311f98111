//! A small init: the first process of a container that has `--init`.
//!
//! It starts the program in a process group of its own, hands every signal on to it, takes in whatever
//! ends, and ends as the program did.
//! Invariant: no child that has ended stays; a signal that comes before the program is there waits for it.
//! Absent on purpose: options, services, starting anything again.

use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use dhow_sys::{Argv, Clone, Memory, Namespaces, SignalSet};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, WaitStatus, wait};

/// What a shell gives for a program that is not there.
const NOT_FOUND: i32 = 127;
/// What a shell gives for a program that cannot be executed.
const NOT_EXECUTABLE: i32 = 126;
const SIGCHLD: i32 = 17;

/// Runs the program of `words` (after a `--`, if there is one) until it ends; gives its exit status.
pub fn init_main(
    words: impl Iterator<Item = OsString>,
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> u8 {
    let words: Vec<OsString> = words.collect();
    let words = words.strip_prefix(&[OsString::from("--")][..]).unwrap_or(&words);
    let Some(program) = words.first() else {
        say("init: no program to run");
        return 1;
    };
    match run(program, words, environment.collect()) {
        Ok(status) => status,
        Err(errno) => {
            say(&format!("init: {errno}"));
            1
        }
    }
}

fn run(
    program: &OsStr,
    words: &[OsString],
    environment: Vec<(OsString, OsString)>,
) -> Result<u8, Errno> {
    let old = dhow_sys::set_mask(SignalSet::ALL);
    let signals = dhow_sys::signal_fd(SignalSet::ALL)?;
    if rustix::process::getpid() != Pid::INIT {
        // Somebody else is the first process here: what our children leave behind is still ours.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    }
    let main = spawn(program, words, environment, old)?;
    loop {
        if let Some(status) = reap(main)? {
            return Ok(status);
        }
        let mut wanted = [PollFd::new(&signals, PollFlags::IN)];
        match poll(&mut wanted, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        while let Some(signal) = dhow_sys::read_signal(signals.as_fd())? {
            if signal.number != SIGCHLD {
                // It may have ended meanwhile; that is told by the signal that comes next.
                let _ = dhow_sys::kill(main, signal.number);
            }
        }
    }
}

/// Takes in all that has ended; the program's status, if it was among them.
fn reap(main: Pid) -> Result<Option<u8>, Errno> {
    let mut ended = None;
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == main => ended = code(status),
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) | Err(Errno::CHILD) => return Ok(ended),
            Err(errno) => return Err(errno),
        }
    }
}

fn code(status: WaitStatus) -> Option<u8> {
    let code = status.exit_status();
    let code = code.or_else(|| status.terminating_signal().map(|signal| 128 + signal))?;
    u8::try_from(code).ok()
}

/// Everything that the child needs, made before it is.
struct Program {
    /// Where it may be, in order.
    paths: Vec<CString>,
    argv: Argv,
    envp: Argv,
    message: String,
}

fn spawn(
    program: &OsStr,
    words: &[OsString],
    environment: Vec<(OsString, OsString)>,
    mask: SignalSet,
) -> Result<Pid, Errno> {
    let program = prepare(program, words, environment)?;
    // Rust ignores SIGPIPE from its start on; programs expect the default.
    let ignored = dhow_sys::ignored_signals();
    let stdin = rustix::stdio::stdin();
    let terminal = rustix::termios::isatty(stdin);
    let clone = Clone {
        namespaces: Namespaces::empty(),
        cgroup: None,
        memory: Memory::Shared,
        sibling: false,
    };
    let child = dhow_sys::clone_child(&clone, || {
        // A group of its own: what the terminal sends reaches the program once, not again through us.
        let _ = rustix::process::setpgid(None, None);
        if terminal {
            // All signals are blocked here, so the terminal does not stop us for that.
            let _ = rustix::termios::tcsetpgrp(stdin, rustix::process::getpid());
        }
        dhow_sys::reset_dispositions(ignored);
        dhow_sys::set_mask(mask);
        program.exec()
    })?;
    Ok(child.pid)
}

fn prepare(
    program: &OsStr,
    words: &[OsString],
    environment: Vec<(OsString, OsString)>,
) -> Result<Program, Errno> {
    let text = |bytes: Vec<u8>| CString::new(bytes).map_err(|_| Errno::INVAL);
    let path = environment.iter().find(|(name, _)| name == "PATH").map(|(_, path)| path.as_bytes());
    let paths: Result<Vec<CString>, Errno> = if program.as_bytes().contains(&b'/') {
        Ok(vec![text(program.as_bytes().to_vec())?])
    } else {
        let folders = path.unwrap_or(b"/usr/bin:/bin").split(|byte| *byte == b':');
        let folder =
            |folder: &[u8]| if folder.is_empty() { b".".to_vec() } else { folder.to_vec() };
        folders
            .map(|one| text([&folder(one), b"/".as_slice(), program.as_bytes()].concat()))
            .collect()
    };
    let argv: Result<_, _> = words.iter().map(|word| text(word.as_bytes().to_vec())).collect();
    let pair = |(name, value): (OsString, OsString)| {
        text([name.into_vec(), b"=".to_vec(), value.into_vec()].concat())
    };
    let envp: Result<_, _> = environment.into_iter().map(pair).collect();
    let message = format!("init: exec {}: ", program.to_string_lossy());
    Ok(Program { paths: paths?, argv: Argv::new(argv?), envp: Argv::new(envp?), message })
}

impl Program {
    /// Becomes the program, or ends with a shell's status for why not.
    fn exec(&self) -> Infallible {
        let mut fault = Errno::NOENT;
        for path in &self.paths {
            let errno = dhow_sys::execve(path, &self.argv, &self.envp);
            // One that is there and cannot be executed says more than one that is not there.
            if !matches!(errno, Errno::NOENT | Errno::NOTDIR) {
                fault = errno;
            }
        }
        let missing = fault == Errno::NOENT;
        let words: &[u8] =
            if missing { b"no such file or directory\n" } else { b"cannot be executed\n" };
        let stderr = rustix::stdio::stderr();
        let _ = rustix::io::write(stderr, self.message.as_bytes());
        let _ = rustix::io::write(stderr, words);
        dhow_sys::exit_now(if missing { NOT_FOUND } else { NOT_EXECUTABLE })
    }
}

/// If nobody takes the message there is nobody to tell.
fn say(message: &str) {
    let _ = writeln!(std::io::stderr(), "{message}");
}
