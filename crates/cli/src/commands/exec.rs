//! `exec`.

use std::time::{Duration, Instant};

use dhow_wire::{CreateExec, StartExec};

use super::attached::{self, Outcome, Peer};
use crate::args::{Flag, Matches};
use crate::cli::Cli;
use crate::client::{Client, escape};
use crate::create::{check_variable, variables};
use crate::failure::Failure;
use crate::json::Json;
use crate::session::{self, Signals, Streams};
use crate::tree::{Command, Words};

/// How long a command that closed its streams is waited for: it may go on without them.
const END_MAX: Duration = Duration::from_secs(2);

pub(super) const EXEC: Command = Command {
    names: &["container exec", "exec"],
    usage: "[OPTIONS] CONTAINER COMMAND [ARG...]",
    about: "Execute a command in a running container",
    flags: &[&[
        Flag::switch("detach", "Leave the command in the background").short('d'),
        Flag::text("detach-keys", "Keys that leave the command running"),
        Flag::list("env", "Environment variable").short('e').checked(check_variable),
        Flag::list("env-file", "File of environment variables"),
        Flag::switch("interactive", "Keep standard input open even if not attached").short('i'),
        Flag::switch("privileged", "Give the command all that the host has"),
        Flag::switch("tty", "Give it a terminal").short('t'),
        Flag::text("user", "User name or ID (<name|uid>[:<group|gid>])").short('u'),
        Flag::text("workdir", "Working directory inside").short('w'),
    ]],
    words: Words::AtLeast(2),
    stops: true,
    run: exec,
};

fn exec(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let client = cli.client()?;
    let lookup = |name: &str| cli.variable(name);
    let env = variables(&matches.list("env-file"), &matches.list("env"), &lookup)?;
    let (detach, tty) = (matches.on("detach"), matches.on("tty"));
    let stdin = matches.on("interactive") && !detach;
    attached::check_tty(stdin, tty)?;
    let size = Some(session::size()).filter(|size| tty && *size != [0, 0]);
    let (keys_text, keys) = attached::detach_keys(cli, matches.text("detach-keys"))?;
    let (container, command) = (&matches.words[0], &matches.words[1..]);
    let request = CreateExec {
        user: matches.text("user").to_owned(),
        privileged: matches.on("privileged"),
        tty,
        console_size: size,
        attach_stdin: stdin,
        attach_stdout: !detach,
        attach_stderr: !detach,
        detach_keys: keys_text,
        env: Some(env).filter(|env| !env.is_empty()),
        working_dir: matches.text("workdir").to_owned(),
        cmd: Some(command.to_vec()),
    };
    let path = format!("/containers/{}/exec", escape(container));
    let created = client.post_json(path, &document(&request)?)?;
    let id = created.text("Id").to_owned();
    if id.is_empty() {
        return Err(Failure::invalid("exec ID empty"));
    }
    let start = document(&StartExec { detach, tty, console_size: size })?;
    let path = format!("/exec/{}/start", escape(&id));
    if detach {
        client.post_json(path, &start)?;
        return Ok(0);
    }
    let signals = Signals::catch().map_err(Failure::io("catch", "signals"))?;
    let keys = (tty && stdin).then_some(keys);
    let streams = Streams { stdin, stdout: true, stderr: true, tty, keys };
    let (_, connection) = client.hijack(path, Some(&start))?;
    match attached::stream(cli, &Peer::Exec(&id), connection, streams, false, &signals)? {
        Outcome::Detached => {
            cli.warn("read escape sequence");
            Ok(0)
        }
        Outcome::Signal(number) => Ok(128 + number as u8),
        Outcome::Closed => exit_code(client, &id),
    }
}

/// The exit code of a command whose streams have ended. The process may end a little later than they.
fn exit_code(client: &Client, id: &str) -> Result<u8, Failure> {
    let begun = Instant::now();
    loop {
        let exec = client.get(format!("/exec/{}/json", escape(id)))?;
        let over = !exec.on("Running") && !exec.get("ExitCode").is_null();
        if over || begun.elapsed() > END_MAX {
            return Ok((exec.int("ExitCode") & 0xff) as u8);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A request of `wire` as a document.
pub(super) fn document(request: &impl serde::Serialize) -> Result<Json, Failure> {
    let read = |bytes: Vec<u8>| Json::parse(&bytes);
    serde_json::to_vec(request).and_then(read).map_err(|source| Failure::Answer { source })
}
