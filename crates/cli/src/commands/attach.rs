//! `attach` and `start`.

use super::attached::{self, Outcome, Peer};
use super::run::attach_path;
use crate::args::{Flag, Matches};
use crate::cli::Cli;
use crate::client::{escape, query};
use crate::failure::Failure;
use crate::session::{Signals, Streams};
use crate::tree::{Command, Words};

pub(super) const ATTACH: Command = Command {
    names: &["container attach", "attach"],
    usage: "[OPTIONS] CONTAINER",
    about: "Attach local standard input, output and error to a running container",
    flags: &[&[
        Flag::text("detach-keys", "Keys that leave the container running"),
        Flag::switch("no-stdin", "Leave standard input alone"),
        Flag::switch("sig-proxy", "Hand signals on to the container (default true)")
            .default("true"),
    ]],
    words: Words::Exactly(1),
    stops: false,
    run: attach,
};

pub(super) const START: Command = Command {
    names: &["container start", "start"],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Start one or more stopped containers",
    flags: &[&[
        Flag::switch("attach", "Attach standard output and error, and hand signals on").short('a'),
        Flag::text("checkpoint", "Checkpoint to restore").hidden(),
        Flag::text("checkpoint-dir", "Where checkpoints are").hidden(),
        Flag::text("detach-keys", "Keys that leave the container running"),
        Flag::switch("interactive", "Attach standard input").short('i'),
    ]],
    words: Words::AtLeast(1),
    stops: false,
    run: start,
};

fn attach(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let client = cli.client()?;
    let name = &matches.words[0];
    let container = client.get(format!("/containers/{}/json", escape(name)))?;
    let state = container.get("State");
    for (on, text) in [
        (!state.on("Running"), "You cannot attach to a stopped container, start it first"),
        (state.on("Paused"), "You cannot attach to a paused container, unpause it first"),
        (
            state.on("Restarting"),
            "You cannot attach to a restarting container, wait until it is running",
        ),
    ] {
        if on {
            return Err(Failure::invalid(text));
        }
    }
    let config = container.get("Config");
    let tty = config.on("Tty");
    attached::check_tty(!matches.on("no-stdin"), tty)?;
    let id = container.text("Id");
    let (keys_text, keys) = attached::detach_keys(cli, matches.text("detach-keys"))?;
    let stdin = !matches.on("no-stdin") && config.on("OpenStdin");
    let keys = (tty && stdin).then_some(keys);
    let streams = Streams { stdin, stdout: true, stderr: true, tty, keys };
    let proxy = matches.on("sig-proxy") && !tty;
    let signals = Signals::catch().map_err(Failure::io("catch", "signals"))?;
    let answer = attached::wait(client, id, "not-running")?;
    let (_, connection) = client.hijack(attach_path(id, &streams, &keys_text), None)?;
    match attached::stream(cli, &Peer::Container(id), connection, streams, proxy, &signals)? {
        Outcome::Detached => {
            cli.warn("read escape sequence");
            Ok(0)
        }
        Outcome::Signal(number) => Ok(128 + number as u8),
        Outcome::Closed => attached::exit_code(cli, id, answer, proxy, &signals),
    }
}

fn start(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    for flag in ["checkpoint", "checkpoint-dir"] {
        if matches.changed(flag) {
            return Err(Failure::NotBuilt { what: format!("--{flag}") });
        }
    }
    if matches.on("attach") || matches.on("interactive") {
        if matches.words.len() > 1 {
            return Err(Failure::invalid(
                "you cannot start and attach multiple containers at once",
            ));
        }
        return start_attached(cli, matches);
    }
    let mut failed: Vec<&str> = Vec::new();
    for name in &matches.words {
        match cli.client()?.post(format!("/containers/{}/start", escape(name))) {
            Ok(_) => cli.say(name)?,
            Err(error @ Failure::Unreachable { .. }) => return Err(error),
            Err(error) => {
                cli.warn(&error.to_string());
                failed.push(name);
            }
        }
    }
    if failed.is_empty() {
        return Ok(0);
    }
    Err(Failure::Invalid(format!("Error: failed to start containers: {}", failed.join(", "))))
}

fn start_attached(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let client = cli.client()?;
    let container = client.get(format!("/containers/{}/json", escape(&matches.words[0])))?;
    let config = container.get("Config");
    let tty = config.on("Tty");
    let id = container.text("Id");
    let stdin = matches.on("interactive") && config.on("OpenStdin");
    let (keys_text, keys) = attached::detach_keys(cli, matches.text("detach-keys"))?;
    let keys = (tty && stdin).then_some(keys);
    let streams = Streams { stdin, stdout: true, stderr: true, tty, keys };
    let signals = Signals::catch().map_err(Failure::io("catch", "signals"))?;
    let remove = container.get("HostConfig").on("AutoRemove");
    let (_, connection) = client.hijack(attach_path(id, &streams, &keys_text), None)?;
    let answer = attached::wait(client, id, if remove { "removed" } else { "next-exit" })?;
    client.post(format!("/containers/{}/start{}", escape(id), query([])))?;
    match attached::stream(cli, &Peer::Container(id), connection, streams, !tty, &signals)? {
        Outcome::Detached => Ok(0),
        Outcome::Signal(number) => Ok(128 + number as u8),
        Outcome::Closed => attached::exit_code(cli, id, answer, !tty, &signals),
    }
}
