//! Being attached to a container that runs, until it ends: streams, signals, size, exit code.
//!
//! Shared by `run`, `start`, `attach` and `exec`. Should the engine go away meanwhile, the session goes on
//! with the container's monitor, and the exit code is asked for again. Absent on purpose: making or
//! starting anything.

use std::cell::Cell;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use crate::cli::Cli;
use crate::client::{Answer, Client, Connection, escape, plain, query};
use crate::failure::Failure;
use crate::json::Json;
use crate::session::{
    self, DetachKeys, Ended, Raw, SIGWINCH, Signals, Streams, ends_program, is_for_container,
};

/// How long an engine that went away may take to come back.
pub(super) const RETURN_MAX: Duration = Duration::from_secs(60);

/// What is at the other end.
pub(crate) enum Peer<'a> {
    Container(&'a str),
    Exec(&'a str),
}

impl Peer<'_> {
    /// Tells the other end's terminal the size of ours.
    fn resize(&self, client: &Client) {
        let [rows, columns] = session::size();
        if rows == 0 && columns == 0 {
            return;
        }
        let size = query([("h", rows.to_string()), ("w", columns.to_string())]);
        let path = match self {
            Peer::Container(id) => format!("/containers/{}/resize{size}", escape(id)),
            Peer::Exec(id) => format!("/exec/{}/resize{size}", escape(id)),
        };
        // A process that has ended already needs no size.
        let _ = client.post(path);
    }
}

/// The keys that leave a session: the flag, else the user's setting. Wrong ones mean the default.
pub(crate) fn detach_keys(cli: &Cli, flag: &str) -> Result<(String, DetachKeys), Failure> {
    let text = match flag {
        "" => cli.config()?.text("detachKeys").to_owned(),
        flag => flag.to_owned(),
    };
    let keys = DetachKeys::parse(&text).or_else(|why| {
        cli.warn(&format!("invalid detach escape keys, using default: {why}"));
        DetachKeys::parse("").map_err(Failure::Invalid)
    })?;
    Ok((text, keys))
}

/// A container's terminal needs one on our side, if we are to type into it.
pub(crate) fn check_tty(stdin: bool, tty: bool) -> Result<(), Failure> {
    if stdin && tty && !session::stdin_is_terminal() {
        return Err(Failure::invalid("the input device is not a TTY"));
    }
    Ok(())
}

/// Asks for the exit code of `id` once `condition` comes true; the answer's head says that the engine
/// is waiting, too.
pub(crate) fn wait(client: &Client, id: &str, condition: &str) -> Result<Answer, Failure> {
    let condition = query([("condition", condition.to_owned())]);
    client.send(plain("POST", format!("/containers/{}/wait{condition}", escape(id))))
}

/// How a session came out.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// The other end closed.
    Closed,
    /// The user detached.
    Detached,
    /// This signal ended our side.
    Signal(i32),
}

/// Runs a session. `proxy` hands signals on to the container; otherwise they end our side.
pub(crate) fn stream(
    cli: &Cli,
    peer: &Peer<'_>,
    connection: Connection,
    streams: Streams,
    proxy: bool,
    signals: &Signals,
) -> Result<Outcome, Failure> {
    let client = cli.client()?;
    let failed = Failure::io("set", "the terminal");
    let raw = (streams.tty && streams.stdin && session::stdin_is_terminal()).then(Raw::enter);
    let raw = raw.transpose().map_err(failed)?;
    let sized = streams.tty && session::stdout_is_terminal();
    if sized {
        peer.resize(client);
    }
    let fatal = Cell::new(None);
    let mut on_signal = |number| {
        if number == SIGWINCH && sized {
            peer.resize(client);
        }
        match on_signal(client, peer, number, proxy) {
            None => true,
            Some(number) => {
                fatal.set(Some(number));
                false
            }
        }
    };
    let ended = session::run(connection, streams, signals, &mut on_signal);
    drop(raw);
    Ok(match (ended?, fatal.get()) {
        (Ended::Stopped, Some(number)) => Outcome::Signal(number),
        (Ended::Detached, _) => Outcome::Detached,
        _ => Outcome::Closed,
    })
}

/// Hands a signal on, or says that it ends us.
fn on_signal(client: &Client, peer: &Peer<'_>, number: i32, proxy: bool) -> Option<i32> {
    match peer {
        Peer::Container(id) if proxy => {
            if is_for_container(number) {
                let signal = query([("signal", session::name(number))]);
                // A container that is not there (any more) needs no signal.
                let _ = client.post(format!("/containers/{}/kill{signal}", escape(id)));
            }
            None
        }
        _ => ends_program(number).then_some(number),
    }
}

/// The exit code that `answer` brings, while signals are still handed on. An engine that goes away in
/// between is waited for.
pub(crate) fn exit_code(
    cli: &Cli,
    id: &str,
    answer: Answer,
    proxy: bool,
    signals: &Signals,
) -> Result<u8, Failure> {
    let client = cli.client()?;
    let peer = Peer::Container(id);
    let mut answer = Some(answer);
    let mut since = None;
    loop {
        let result = match answer.take() {
            Some(answer) => {
                while let Some(connection) = answer.body.connection()
                    && connection.ahead.is_empty()
                {
                    if wait_for(connection, signals)? {
                        break;
                    }
                    while let Some(number) = signals.next() {
                        if let Some(number) = on_signal(client, &peer, number, proxy) {
                            return Ok(128 + number as u8);
                        }
                    }
                }
                answer.body.read_all(1 << 20).map_err(Failure::io("wait for", id))
            }
            None => match wait(client, id, "not-running") {
                Ok(again) => {
                    answer = Some(again);
                    continue;
                }
                Err(error) => Err(error),
            },
        };
        match result {
            Ok(bytes) => return status(&bytes),
            Err(error) if error.is_not_found() => return Err(error),
            Err(error) => {
                // The engine is gone; it comes back, or is started by the next question.
                if since.get_or_insert_with(Instant::now).elapsed() > RETURN_MAX {
                    return Err(error);
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
}

/// Waits for either; true if the connection has something.
fn wait_for(connection: &Connection, signals: &Signals) -> Result<bool, Failure> {
    let mut fds =
        [PollFd::new(&connection.stream, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
    match poll(&mut fds, None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(!fds[0].revents().is_empty()),
        Err(error) => Err(Failure::io("wait for", "the engine")(error.into())),
    }
}

fn status(bytes: &[u8]) -> Result<u8, Failure> {
    let json = Json::parse(bytes).map_err(|source| Failure::Answer { source })?;
    let message = json.get("Error").text("Message");
    if !message.is_empty() {
        return Err(Failure::Stream { message: format!("Error: {message}"), code: 125 });
    }
    Ok((json.int("StatusCode") & 0xff) as u8)
}
