//! `run` and `create`.
//!
//! Create, attach, wait, start: no ping first and nothing inspected. An image that the engine does not
//! have is pulled and the create tried again.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use dhow_spec::Reference;
use dhow_wire::CreateContainer;

use super::attached::{self, Outcome, Peer};
use super::pull::pull_image;
use crate::args::Matches;
use crate::cli::Cli;
use crate::client::{Payload, Request, escape, query};
use crate::create::{self, CREATE, RUN, Surroundings};
use crate::failure::Failure;
use crate::json::Json;
use crate::progress::Shown;
use crate::session::{self, Signals, Streams};
use crate::tree::{Command, Words};

pub(super) const RUN_COMMAND: Command = Command {
    names: &["container run", "run"],
    usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    about: "Create and run a new container from an image",
    flags: &[RUN, CREATE],
    words: Words::AtLeast(1),
    stops: true,
    run,
};

pub(super) const CREATE_COMMAND: Command = Command {
    names: &["container create", "create"],
    usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    about: "Create a new container",
    flags: &[CREATE],
    words: Words::AtLeast(1),
    stops: true,
    run: create,
};

fn create(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let request = request(cli, matches).map_err(|failure| with_help(cli, "create", failure))?;
    let id = create_container(cli, matches, request)?;
    cli.say(&id)?;
    Ok(0)
}

fn run(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let mut request = request(cli, matches).map_err(|failure| with_help(cli, "run", failure))?;
    let config = &mut request.config;
    if matches.on("detach") {
        if !matches.list("attach").is_empty() {
            return Err(Failure::invalid(
                "conflicting options: cannot specify both --attach and --detach",
            ));
        }
        config.attach_stdin = false;
        config.attach_stdout = false;
        config.attach_stderr = false;
        config.stdin_once = false;
    } else {
        attached::check_tty(config.attach_stdin, config.tty)?;
    }
    let streams = Streams {
        stdin: config.attach_stdin,
        stdout: config.attach_stdout,
        stderr: config.attach_stderr,
        tty: config.tty,
        keys: None,
    };
    let id = create_container(cli, matches, request)
        .map_err(|failure| with_help(cli, "run", failure))?;
    if streams.stdin || streams.stdout || streams.stderr {
        return run_attached(cli, matches, &id, streams);
    }
    let started = cli.client()?.post(format!("/containers/{}/start", escape(&id)));
    cli.say(&id)?;
    started.map_err(|failure| with_help(cli, "run", failure))?;
    Ok(0)
}

fn run_attached(
    cli: &Cli,
    matches: &Matches,
    id: &str,
    mut streams: Streams,
) -> Result<u8, Failure> {
    let client = cli.client()?;
    let proxy = matches.on("sig-proxy");
    let signals = Signals::catch().map_err(Failure::io("catch", "signals"))?;
    let (keys_text, keys) = attached::detach_keys(cli, matches.text("detach-keys"))?;
    streams.keys = (streams.tty && streams.stdin).then_some(keys);
    let (_, connection) = client.hijack(attach_path(id, &streams, &keys_text), None)?;
    let remove = matches.on("rm");
    let answer = attached::wait(client, id, if remove { "removed" } else { "next-exit" })?;
    if let Err(failure) = client.post(format!("/containers/{}/start", escape(id))) {
        if remove {
            // The engine removes what it could not start; until then its name is taken.
            let _ = answer.body.read_all(1 << 20);
        }
        return Err(with_help(cli, "run", failure));
    }
    let peer = Peer::Container(id);
    match attached::stream(cli, &peer, connection, streams, proxy, &signals)? {
        Outcome::Detached => Ok(0),
        Outcome::Signal(number) => Ok(128 + number as u8),
        Outcome::Closed => attached::exit_code(cli, id, answer, proxy, &signals),
    }
}

/// The path that attaches to what `streams` wants.
pub(super) fn attach_path(id: &str, streams: &Streams, keys: &str) -> String {
    let mut pairs = vec![("stream", "1".to_owned())];
    for (name, wanted) in
        [("stdin", streams.stdin), ("stdout", streams.stdout), ("stderr", streams.stderr)]
    {
        if wanted {
            pairs.push((name, "1".to_owned()));
        }
    }
    if !keys.is_empty() {
        pairs.push(("detachKeys", keys.to_owned()));
    }
    format!("/containers/{}/attach{}", escape(id), query(pairs))
}

fn request(cli: &Cli, matches: &Matches) -> Result<CreateContainer, Failure> {
    let pull = matches.text("pull");
    if !matches!(pull, "always" | "missing" | "never" | "") {
        return Err(Failure::Invalid(format!(
            "invalid pull option: '{pull}': must be one of \"always\", \"missing\" or \"never\""
        )));
    }
    let directory = std::env::current_dir().unwrap_or_default();
    let lookup = |name: &str| cli.variable(name);
    let around = Surroundings { directory: &directory, lookup: &lookup };
    let mut request = create::request(matches, &around)?;
    let host = cli.endpoint()?.to_string();
    for (name, value) in cli.config()?.proxies(&host) {
        let env = request.config.env.get_or_insert_default();
        if !env.iter().any(|known| known.split('=').next() == Some(&name)) {
            env.push(format!("{name}={value}"));
        }
    }
    Ok(request)
}

/// The file of `--cidfile`, claimed before the container is made.
struct IdFile<'a> {
    path: &'a str,
    file: File,
}

impl IdFile<'_> {
    fn claim(path: &str) -> Result<IdFile<'_>, Failure> {
        if Path::new(path).exists() {
            return Err(Failure::Invalid(format!(
                "container ID file found, make sure the other container isn't running or delete {path}"
            )));
        }
        let failed = Failure::io("failed to create the container ID file: open", path);
        Ok(IdFile { path, file: File::create(path).map_err(failed)? })
    }
}

fn create_container(
    cli: &Cli,
    matches: &Matches,
    mut request: CreateContainer,
) -> Result<String, Failure> {
    let id_file = matches.some("cidfile").map(IdFile::claim).transpose()?;
    let result = create_or_pull(cli, matches, &mut request);
    let answer = match (result, &id_file) {
        (Ok(answer), _) => answer,
        (Err(failure), file) => {
            if let Some(file) = file {
                // It was ours and is empty.
                let _ = std::fs::remove_file(file.path);
            }
            return Err(failure);
        }
    };
    for warning in answer.texts("Warnings") {
        cli.warn(&format!("WARNING: {warning}"));
    }
    let id = answer.text("Id").to_owned();
    if let Some(mut file) = id_file {
        let failed = Failure::io("write", file.path);
        file.file.write_all(id.as_bytes()).map_err(failed)?;
    }
    Ok(id)
}

fn create_or_pull(
    cli: &Cli,
    matches: &Matches,
    request: &mut CreateContainer,
) -> Result<Json, Failure> {
    let image = request.config.image.clone();
    let reference = reference(&image)?;
    let platform = cli.platform(matches);
    let shown = if matches.on("quiet") { Shown::Nowhere } else { Shown::Error };
    let pull =
        |reference: &Reference| pull_image(cli, reference, platform.as_deref(), false, &shown);
    if matches.text("pull") == "always"
        && let Some(reference) = &reference
    {
        pull(reference)?;
    }
    if let Some(host) = &mut request.host_config {
        host.console_size = session::size();
    }
    let mut pairs = Vec::new();
    if let Some(name) = matches.some("name") {
        pairs.push(("name", name.to_owned()));
    }
    if let Some(platform) = &platform {
        pairs.push(("platform", platform.clone()));
    }
    let path = format!("/containers/create{}", query(pairs));
    let body = serde_json::to_vec(&request).map_err(|source| Failure::Answer { source })?;
    let send = || {
        let (path, payload) = (path.clone(), Payload::Json(body.clone()));
        cli.client()?.json(Request { method: "POST", path, headers: Vec::new(), payload })
    };
    match (send(), reference) {
        (Err(failure), Some(reference))
            if failure.is_not_found() && matches.text("pull") == "missing" =>
        {
            if !matches.on("quiet") {
                let name = reference.familiar();
                cli.warn(&format!("Unable to find image '{name}' locally"));
            }
            pull(&reference)?;
            send()
        }
        (result, _) => result,
    }
}

/// The image's name, or nothing if it is an id.
fn reference(image: &str) -> Result<Option<Reference>, Failure> {
    if image.len() == 64 && image.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(None);
    }
    if image.strip_prefix("sha256:").is_some_and(|digits| digits.len() == 64) {
        return Ok(None);
    }
    Reference::parse(image).map(Some).map_err(|error| Failure::Invalid(error.to_string()))
}

/// Errors of `run` and `create` point to their help, and have codes of their own: 127 and 126 for a
/// program that is not there or cannot be run, 125 for the rest.
fn with_help(cli: &Cli, command: &'static str, failure: Failure) -> Failure {
    let text = match failure {
        Failure::Exit(_) | Failure::Run { .. } | Failure::Usage { .. } => return failure,
        failure => failure.to_string(),
    };
    let any = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    let code = if any(&["executable file not found", "no such file or directory"])
        && text.starts_with("Error response")
    {
        127
    } else if any(&["permission denied", "is a directory"]) && text.starts_with("Error response") {
        126
    } else {
        125
    };
    Failure::Run { program: cli.program, command, text, code }
}
