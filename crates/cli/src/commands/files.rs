//! `diff`, `export`, `commit` and `import`: file systems of containers and images as a whole.

use std::fs::File;
use std::io::{self, Read};

use dhow_spec::Reference;

use super::images::put_out;
use crate::args::{Flag, Matches};
use crate::cli::Cli;
use crate::client::{Payload, Request, escape, plain, query};
use crate::failure::Failure;
use crate::progress::{Shown, show};
use crate::tree::{Command, Words};

pub(super) const DIFF: Command = Command {
    names: &["container diff", "diff"],
    usage: "CONTAINER",
    about: "Inspect changes to files or directories on a container's filesystem",
    flags: &[],
    words: Words::Exactly(1),
    stops: false,
    run: diff,
};

pub(super) const EXPORT: Command = Command {
    names: &["container export", "export"],
    usage: "[OPTIONS] CONTAINER",
    about: "Export a container's filesystem as a tar archive",
    flags: &[&[Flag::text("output", "File to write, in place of standard output").short('o')]],
    words: Words::Exactly(1),
    stops: false,
    run: export,
};

pub(super) const COMMIT: Command = Command {
    names: &["container commit", "commit"],
    usage: "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
    about: "Create a new image from a container's changes",
    flags: &[&[
        Flag::text("author", "Author (e.g. \"Ada <ada@example.com>\")").short('a'),
        Flag::list("change", "Dockerfile instruction to apply to the new image").short('c'),
        Flag::text("message", "Why it was made").short('m'),
        Flag::switch("no-pause", "Let the container go on meanwhile"),
        Flag::switch("pause", "Pause the container meanwhile").default("true").short('p').hidden(),
    ]],
    words: Words::AtLeast(1),
    stops: false,
    run: commit,
};

pub(super) const IMPORT: Command = Command {
    names: &["image import", "import"],
    usage: "[OPTIONS] file|- [REPOSITORY[:TAG]]",
    about: "Import the contents from a tarball to create a filesystem image",
    flags: &[&[
        Flag::list("change", "Dockerfile instruction to apply to the new image").short('c'),
        Flag::text("message", "Why it was made").short('m'),
        Flag::text("platform", "Platform that the files are made for"),
    ]],
    words: Words::AtLeast(1),
    stops: false,
    run: import,
};

fn diff(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let container = &matches.words[0];
    if container.is_empty() {
        return Err(Failure::invalid("Container name cannot be empty"));
    }
    let changes = cli.client()?.get(format!("/containers/{}/changes", escape(container)))?;
    let mut text = String::new();
    for change in changes.items() {
        let letter = match change.int("Kind") {
            0 => 'C',
            1 => 'A',
            _ => 'D',
        };
        text.push_str(&format!("{letter} {}\n", change.text("Path")));
    }
    cli.print(&text)?;
    Ok(0)
}

fn export(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let path = format!("/containers/{}/export", escape(&matches.words[0]));
    put_out(cli, matches, plain("GET", path))
}

/// The name that an image gets, as the API wants it.
fn named(name: Option<&String>) -> Result<Vec<(&'static str, String)>, Failure> {
    let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(Vec::new()) };
    let invalid = |error: dhow_spec::ReferenceError| {
        Failure::Invalid(format!("invalid reference format: {error}"))
    };
    let reference = Reference::parse(name).map_err(invalid)?;
    let repository = reference.repository().familiar();
    let mut pairs = vec![("repo", repository)];
    pairs.extend(reference.tag().map(|tag| ("tag", tag.as_str().to_owned())));
    Ok(pairs)
}

fn at_most_two(cli: &Cli, matches: &Matches, command: &str) -> Result<(), Failure> {
    if matches.words.len() <= 2 {
        return Ok(());
    }
    let program = cli.program;
    let text = format!(
        "{program}: '{program} {command}' requires at least 1 and at most 2 arguments\n\n\
         See '{program} {command} --help' for more information"
    );
    Err(Failure::Usage { text, code: 1 })
}

fn commit(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    at_most_two(cli, matches, "commit")?;
    if matches.changed("pause") && matches.changed("no-pause") {
        return Err(Failure::invalid(
            "conflicting options: --no-pause and --pause cannot be used together",
        ));
    }
    let pause = matches.on("pause") && !matches.on("no-pause");
    let mut pairs = vec![("container", matches.words[0].clone())];
    pairs.extend(named(matches.words.get(1))?);
    for (name, value) in [("comment", matches.text("message")), ("author", matches.text("author"))]
    {
        if !value.is_empty() {
            pairs.push((name, value.to_owned()));
        }
    }
    pairs.extend(matches.list("change").into_iter().map(|text| ("changes", text.to_owned())));
    if !pause {
        pairs.push(("pause", "0".to_owned()));
    }
    let answer = cli.client()?.post(format!("/commit{}", query(pairs)))?;
    cli.say(answer.text("Id"))?;
    Ok(0)
}

fn import(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    at_most_two(cli, matches, "import")?;
    let source = matches.words[0].as_str();
    let mut reader: Box<dyn Read> = match source {
        "-" => Box::new(io::stdin()),
        path if path.starts_with("http://") || path.starts_with("https://") => {
            return Err(Failure::NotBuilt { what: "importing from an address".to_owned() });
        }
        path => Box::new(File::open(path).map_err(Failure::io("open", path))?),
    };
    let mut pairs = vec![("fromSrc", "-".to_owned())];
    pairs.extend(named(matches.words.get(1))?);
    if let Some(message) = matches.some("message") {
        pairs.push(("message", message.to_owned()));
    }
    pairs.extend(cli.platform(matches).map(|platform| ("platform", platform)));
    pairs.extend(matches.list("change").into_iter().map(|text| ("changes", text.to_owned())));
    let answer = cli.client()?.send(Request {
        method: "POST",
        path: format!("/images/create{}", query(pairs)),
        headers: Vec::new(),
        payload: Payload::Stream(&mut reader),
    })?;
    show(answer.body, &Shown::Output, |_| {})?;
    Ok(0)
}
