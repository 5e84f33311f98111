//! `engine start`, `stop`, `status` and `logs`: the engine of this machine as a process.
//!
//! Run in the foreground, as a service manager does, the engine is another role of the program, not a
//! command of the client. Absent on purpose: engines elsewhere.

use std::io::{Read, Seek, SeekFrom};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::args::{Flag, Matches};
use crate::cli::Cli;
use crate::client::Endpoint;
use crate::failure::Failure;
use crate::start;
use crate::tree::{Command, Words};

pub(super) const START: Command = Command {
    names: &["engine start"],
    usage: "",
    about: "Start the engine in the background; other commands do so by themselves",
    flags: &[],
    words: Words::None,
    stops: false,
    run: |cli, _| {
        let socket = socket(cli)?;
        if UnixStream::connect(&socket).is_ok() {
            cli.say(&format!("The engine is already running at unix://{}", socket.display()))?;
            return Ok(0);
        }
        start::engine(&socket, cli.environment())?;
        cli.say(&format!("The engine is running at unix://{}", socket.display()))?;
        Ok(0)
    },
};

pub(super) const STOP: Command = Command {
    names: &["engine stop"],
    usage: "[OPTIONS]",
    about: "Stop the engine; containers go on running",
    flags: &[&[Flag::int("timeout", "Seconds to wait for it").short('t').default("30")]],
    words: Words::None,
    stops: false,
    run: stop,
};

pub(super) const STATUS: Command = Command {
    names: &["engine status"],
    usage: "",
    about: "Say whether the engine runs; the exit code is 3 if it does not",
    flags: &[],
    words: Words::None,
    stops: false,
    run: status,
};

pub(super) const LOGS: Command = Command {
    names: &["engine logs"],
    usage: "[OPTIONS]",
    about: "Show what an engine that was started in the background has said",
    flags: &[&[
        Flag::switch("follow", "Go on with what it says next").short('f'),
        Flag::text("tail", "Number of lines from the end").short('n').default("all"),
    ]],
    words: Words::None,
    stops: false,
    run: logs,
};

/// The socket of the engine of this machine.
fn socket(cli: &Cli) -> Result<PathBuf, Failure> {
    match cli.endpoint()? {
        Endpoint::Unix(path) => Ok(path),
        other @ (Endpoint::Tcp { .. } | Endpoint::Ssh(_)) => {
            Err(Failure::Invalid(format!("the engine at {other} is not one of this machine")))
        }
    }
}

/// The engine's process, if its pid file names one.
fn process(socket: &Path) -> Option<Pid> {
    let text = std::fs::read_to_string(start::pid_path(socket)).ok()?;
    Pid::from_raw(text.trim().parse().ok()?)
}

fn stop(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let socket = socket(cli)?;
    let listens = UnixStream::connect(&socket).is_ok();
    let found = process(&socket)
        .filter(|_| listens)
        .and_then(|pid| Some((pid, pidfd_open(pid, PidfdFlags::empty()).ok()?)));
    let Some((pid, pidfd)) = found else {
        if listens {
            let pid = start::pid_path(&socket);
            return Err(Failure::Invalid(format!(
                "an engine listens at {}, but {} does not name its process",
                socket.display(),
                pid.display()
            )));
        }
        cli.say("The engine is not running")?;
        return Ok(0);
    };
    let failed = |error: rustix::io::Errno| {
        Failure::io("stop", format!("the engine (pid {})", pid.as_raw_nonzero()))(error.into())
    };
    pidfd_send_signal(&pidfd, Signal::TERM).map_err(failed)?;
    let limit = Timespec { tv_sec: matches.int("timeout"), tv_nsec: 0 };
    let gone = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit)).map_err(failed)?;
    if gone == 0 {
        let text = format!("the engine (pid {}) is still running", pid.as_raw_nonzero());
        return Err(Failure::Invalid(text));
    }
    cli.say("The engine has stopped; containers go on running")?;
    Ok(0)
}

fn status(cli: &Cli, _matches: &Matches) -> Result<u8, Failure> {
    let socket = socket(cli)?;
    let address = socket.display();
    if UnixStream::connect(&socket).is_err() {
        cli.say(&format!("The engine is not running (unix://{address})"))?;
        return Ok(3);
    }
    let info = cli.client()?.get("/info")?;
    cli.say(&format!("The engine is running at unix://{address}"))?;
    if let Some(pid) = process(&socket) {
        cli.say(&format!("  pid {}", pid.as_raw_nonzero()))?;
    }
    cli.say(&format!("  version {}", info.text("ServerVersion")))?;
    cli.say(&format!("  root {}", info.text("DockerRootDir")))?;
    cli.say(&format!(
        "  {} containers, {} of them running; {} images",
        info.int("Containers"),
        info.int("ContainersRunning"),
        info.int("Images")
    ))?;
    Ok(0)
}

fn logs(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let path = start::log_path(&socket(cli)?);
    let name = path.display().to_string();
    let mut file = match std::fs::File::open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Failure::Invalid(format!(
                "no log at {name}: the engine was not started in the background"
            )));
        }
        result => result.map_err(Failure::io("open", name.clone()))?,
    };
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(Failure::io("read", name.clone()))?;
    let lines: Vec<&str> = text.lines().collect();
    let count = match matches.text("tail") {
        "all" => lines.len(),
        number => number.parse().map_err(|_| {
            Failure::Invalid(format!("invalid value for \"tail\": {number:?} is no number"))
        })?,
    };
    for line in &lines[lines.len().saturating_sub(count)..] {
        cli.say(line)?;
    }
    let mut place = text.len() as u64;
    while matches.on("follow") {
        std::thread::sleep(Duration::from_millis(200));
        let length = file.metadata().map_err(Failure::io("read", name.clone()))?.len();
        // A new engine may have begun it anew.
        place = if length < place { 0 } else { place };
        let mut more = String::new();
        file.seek(SeekFrom::Start(place)).map_err(Failure::io("read", name.clone()))?;
        file.read_to_string(&mut more).map_err(Failure::io("read", name.clone()))?;
        place += more.len() as u64;
        cli.print(&more)?;
    }
    Ok(0)
}
