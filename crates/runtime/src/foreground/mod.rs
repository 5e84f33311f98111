//! Staying in front of a container's process: its end, the signals meant for it, and its terminal.
//!
//! Invariant: the process's end is seen by its pidfd, so neither one that ends at once nor a lost signal
//! can keep [`supervise`] waiting; what it wrote to its terminal before is passed on first, and our own
//! terminal is put back on every way out. Nothing here allocates.
//! Absent on purpose: making the terminal, and what happens to the container afterwards.

mod console;
mod raw;
mod relay;

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};

use dhow_sys::{Child, Errno, Exit, SignalSet};
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Signal, WaitOptions, WaitStatus};

use crate::text::ErrnoWords;
pub(crate) use console::Console;
pub(crate) use relay::leave_line_ends_alone;
use relay::{Ready, Relay, Wants};

/// Blocks every signal from before the clone until after the end, so that each is either forwarded or
/// still pending, never acted on by default in between.
///
/// The container's process gets its own mask from the runtime, not this one.
#[derive(Debug)]
pub(crate) struct SignalGuard {
    before: SignalSet,
}

impl SignalGuard {
    pub(crate) fn block() -> Self {
        Self { before: dhow_sys::set_mask(SignalSet::ALL) }
    }
}

impl Drop for SignalGuard {
    fn drop(&mut self) {
        dhow_sys::set_mask(self.before);
    }
}

/// Why a process could not be watched.
#[derive(Debug)]
pub(crate) struct ForegroundError {
    pub(crate) doing: &'static str,
    pub(crate) errno: Errno,
}

fn failed(doing: &'static str) -> impl FnOnce(Errno) -> ForegroundError {
    move |errno| ForegroundError { doing, errno }
}

impl fmt::Display for ForegroundError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.doing, ErrnoWords(self.errno))
    }
}

impl std::error::Error for ForegroundError {}

/// Stays until `child` has ended: forwards signals to it, reaps what this process adopts, and with
/// `terminal`, the master of the child's, copies between that and our standard input and output.
///
/// The caller holds a [`SignalGuard`] since before the child was made.
pub(crate) fn supervise(child: &Child, terminal: Option<OwnedFd>) -> Result<Exit, ForegroundError> {
    let signals = dhow_sys::signal_fd(SignalSet::ALL).map_err(failed("make a signalfd"))?;
    let relay = terminal.map(Relay::start).transpose().map_err(failed("set up the terminal"))?;
    Watch { child, signals, relay, exit: None }.until_end()
}

struct Watch<'a> {
    child: &'a Child,
    signals: OwnedFd,
    relay: Option<Relay>,
    exit: Option<Exit>,
}

impl Watch<'_> {
    fn until_end(mut self) -> Result<Exit, ForegroundError> {
        loop {
            let (ended, ready) = self.poll().map_err(failed("poll"))?;
            self.take_signals().map_err(failed("read signals"))?;
            if ended && self.exit.is_none() {
                self.exit = Some(self.child.wait().map_err(failed("reap the process"))?);
            }
            if let Some(relay) = &mut self.relay {
                if self.exit.is_some() {
                    relay.drain();
                }
                relay.serve(ready);
            }
            let drained = self.relay.as_ref().is_none_or(Relay::is_drained);
            if let (Some(exit), true) = (self.exit, drained) {
                return Ok(exit);
            }
        }
    }

    /// Waits for something to happen; says whether the process has ended, and which of our own streams
    /// are ready.
    fn poll(&self) -> Result<(bool, Ready), Errno> {
        let wants = self.relay.as_ref().map_or_else(Wants::default, Relay::wants);
        let process = self.exit.is_none().then(|| (self.child.pidfd.as_fd(), PollFlags::IN));
        let wanted = [
            Some((self.signals.as_fd(), PollFlags::IN)),
            process,
            wants.stdin,
            wants.stdout,
            wants.master,
        ];
        // A descriptor that is polled for nothing still reports its hang-up, so only the wanted ones
        // get a place.
        let mut polled: [PollFd<'_>; 5] =
            std::array::from_fn(|_| PollFd::new(&self.signals, PollFlags::IN));
        let mut places = [None; 5];
        let mut count = 0;
        for (place, (fd, flags)) in
            places.iter_mut().zip(wanted).filter_map(|(place, one)| Some((place, one?)))
        {
            polled[count] = PollFd::from_borrowed_fd(fd, flags);
            *place = Some(count);
            count += 1;
        }
        match rustix::event::poll(&mut polled[..count], None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        let is_ready =
            |place: usize| places[place].is_some_and(|at| !polled[at].revents().is_empty());
        Ok((is_ready(1), Ready { stdin: is_ready(2), stdout: is_ready(3) }))
    }

    fn take_signals(&mut self) -> Result<(), Errno> {
        while let Some(signal) = dhow_sys::read_signal(self.signals.as_fd())? {
            self.take(signal.number);
        }
        Ok(())
    }

    fn take(&mut self, number: i32) {
        match Signal::from_named_raw(number) {
            Some(Signal::CHILD) => self.reap(),
            Some(Signal::WINCH) => self.relay.iter().for_each(Relay::resize),
            // Our own writes to a stream that nobody reads any more.
            Some(Signal::PIPE) => {}
            // Who waits for output to be taken is not to be kept from ending.
            Some(Signal::TERM | Signal::INT | Signal::HUP | Signal::QUIT)
                if self.exit.is_some() =>
            {
                self.relay = None;
            }
            named => {
                if named == Some(Signal::CONT) {
                    self.relay.iter().for_each(Relay::resume);
                }
                // The process may have ended by now, or be one that we may not signal any more.
                let _ = dhow_sys::pidfd_kill(self.child.pidfd.as_fd(), number);
            }
        }
    }

    /// Reaps every child that has ended, the one we wait for among them.
    fn reap(&mut self) {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.child.pid => {
                    self.exit = Some(exit_of(status));
                }
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) | Err(_) => return,
            }
        }
    }
}

fn exit_of(status: WaitStatus) -> Exit {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Exit::Code(code as u8),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Signal(Signal::KILL.as_raw()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dhow_sys::{Argv, Clone, Memory, Namespaces};
    use rustix::pipe::PipeFlags;
    use rustix::pty::OpenptFlags;
    use rustix::termios::Winsize;
    use std::io::{Read, Write};

    const PLAIN: Clone<'static> = Clone {
        namespaces: Namespaces::empty(),
        cgroup: None,
        memory: Memory::Copied,
        sibling: false,
    };

    fn pipe() -> (OwnedFd, OwnedFd) {
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap()
    }

    fn pty() -> (OwnedFd, OwnedFd) {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = rustix::pty::openpt(flags).unwrap();
        rustix::pty::unlockpt(&master).unwrap();
        let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).unwrap();
        (master, slave)
    }

    fn null() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    /// A process of its own that supervises `sh -c script`, as signals and children belong to a whole
    /// process; its standard input and output are those given, its exit status the script's.
    fn runner(script: &str, terminal: bool, stdin: &OwnedFd, stdout: &OwnedFd) -> Child {
        let argv = Argv::new(["sh", "-c", script].map(crate::text::c_string).to_vec());
        let envp = Argv::new(vec![c"PATH=/usr/bin:/bin".into()]);
        let mut terminal = terminal.then(pty);
        // A shell cannot trap what it began with ignoring, as the tests do under `nohup`.
        let ignored = dhow_sys::ignored_signals();
        dhow_sys::clone_child(&PLAIN, || {
            let _signals = SignalGuard::block();
            let mut run = || -> Result<Exit, Errno> {
                rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
                rustix::stdio::dup2_stdin(stdin)?;
                rustix::stdio::dup2_stdout(stdout)?;
                let (master, slave) = terminal.take().unzip();
                let child = dhow_sys::clone_child(&PLAIN, || {
                    if let Some(slave) = &slave {
                        let _ = rustix::stdio::dup2_stdin(slave);
                        let _ = rustix::stdio::dup2_stdout(slave);
                    }
                    dhow_sys::reset_dispositions(ignored);
                    dhow_sys::set_mask(SignalSet::NONE);
                    dhow_sys::execve(c"/bin/sh", &argv, &envp);
                    dhow_sys::exit_now(127)
                })?;
                drop(slave);
                supervise(&child, master).map_err(|error| error.errno)
            };
            dhow_sys::exit_now(run().map_or(255, |exit| exit.status().into()))
        })
        .unwrap()
    }

    fn output_of(script: &str, terminal: bool, stdin: &OwnedFd) -> (Exit, String) {
        let (read, write) = pipe();
        let runner = runner(script, terminal, stdin, &write);
        drop(write);
        let mut text = String::new();
        std::fs::File::from(read).read_to_string(&mut text).unwrap();
        (runner.wait().unwrap(), text)
    }

    #[test]
    fn an_end_is_never_missed() {
        for _ in 0..50 {
            assert_eq!(output_of("exit 7", false, &null()), (Exit::Code(7), String::new()));
            assert_eq!(output_of("exit 8", true, &null()), (Exit::Code(8), String::new()));
        }
        assert_eq!(output_of("kill -9 $$", false, &null()).0, Exit::Code(137));
    }

    #[test]
    fn signals_are_forwarded() {
        for (number, name) in [(10, "USR1"), (1, "HUP"), (2, "INT"), (15, "TERM"), (3, "QUIT")] {
            let (read, write) = pipe();
            let script = format!("trap 'exit 42' {name}; echo; while :; do sleep 0.05; done");
            let runner = runner(&script, false, &null(), &write);
            // The trap is set when the line comes.
            rustix::io::read(&read, &mut [0; 1]).unwrap();
            dhow_sys::pidfd_kill(runner.pidfd.as_fd(), number).unwrap();
            assert_eq!(runner.wait().unwrap(), Exit::Code(42), "{name}");
        }
    }

    #[test]
    fn adopted_children_are_reaped() {
        let script = "p=$(sh -c 'sleep 0.1 >/dev/null & echo $!')
            for i in $(seq 100); do test -e /proc/$p || exit 3; sleep 0.1; done";
        assert_eq!(output_of(script, false, &null()).0, Exit::Code(3));
    }

    #[test]
    fn all_output_of_a_terminal_arrives_with_plain_line_ends() {
        let (exit, text) = output_of("seq 1 50000; exit 5", true, &null());
        let expected: String = (1..=50000).map(|number| format!("{number}\n")).collect();
        assert_eq!(exit, Exit::Code(5));
        assert!(text == expected, "{} bytes of {}", text.len(), expected.len());
    }

    #[test]
    fn the_end_of_input_reaches_a_terminal() {
        for (input, expected) in [("", ""), ("word", "word"), ("line\n", "line\n")] {
            let (read, write) = pipe();
            std::fs::File::from(write).write_all(input.as_bytes()).unwrap();
            let (exit, text) = output_of("stty -echo; echo; cat", true, &read);
            assert_eq!(exit, Exit::Code(0));
            assert!(text.ends_with(expected), "{text:?}");
        }
    }

    #[test]
    fn output_that_nobody_reads_holds_nothing_up() {
        let (read, write) = pipe();
        drop(read);
        let runner = runner("seq 1 50000; exit 4", true, &null(), &write);
        assert_eq!(runner.wait().unwrap(), Exit::Code(4));
    }

    #[test]
    fn a_process_that_keeps_the_terminal_is_not_waited_for() {
        let (exit, text) = output_of("echo out; yes 2>/dev/null & echo $!; exit 6", true, &null());
        assert_eq!(exit, Exit::Code(6));
        let left = text.lines().find_map(|line| line.parse().ok()).unwrap();
        let _ = dhow_sys::kill(rustix::process::Pid::from_raw(left).unwrap(), 9);
    }

    #[test]
    fn our_own_terminal_lends_its_size_and_gets_its_mode_back() {
        let (master, slave) = pty();
        let size = Winsize { ws_row: 33, ws_col: 77, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&slave, size).unwrap();
        let before = rustix::termios::tcgetattr(&slave).unwrap();
        let (read, write) = pipe();
        let script = "stty size; read line; echo got $line; read line";
        let runner = runner(script, true, &slave, &write);
        drop(write);
        let mut output = std::fs::File::from(read);
        let mut text = [0; 6];
        output.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"33 77\n");
        let raw = rustix::termios::tcgetattr(&slave).unwrap();
        assert_ne!(format!("{raw:?}"), format!("{before:?}"));
        rustix::io::write(&master, b"x\r").unwrap();
        // In raw mode the interrupt key is only a key, to be interpreted by the container's terminal.
        rustix::io::write(&master, b"\x04").unwrap();
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        assert!(rest.contains("got x\n"), "{rest:?}");
        assert_eq!(runner.wait().unwrap(), Exit::Code(1));
        let after = rustix::termios::tcgetattr(&slave).unwrap();
        assert_eq!(format!("{after:?}"), format!("{before:?}"));
    }
}
