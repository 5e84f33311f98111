//! `volume export`, `import`, `snapshot` and `rename`, which Docker has not.

use std::fs::File;
use std::io::{self, Read};

use super::images::put_out;
use crate::args::{Flag, Matches};
use crate::cli::Cli;
use crate::client::{Payload, Request, escape, plain, query};
use crate::failure::Failure;
use crate::session;
use crate::tree::{Command, Words};

pub(super) const EXPORT: Command = Command {
    names: &["volume export"],
    usage: "[OPTIONS] VOLUME",
    about: "Write what a volume holds as a tar archive",
    flags: &[&[Flag::text("output", "File to write, in place of standard output").short('o')]],
    words: Words::Exactly(1),
    stops: false,
    run: export,
};

pub(super) const IMPORT: Command = Command {
    names: &["volume import"],
    usage: "VOLUME [FILE|-]",
    about: "Unpack a tar archive into a volume, which is made if it is not there",
    flags: &[],
    words: Words::AtLeast(1),
    stops: false,
    run: import,
};

pub(super) const SNAPSHOT: Command = Command {
    names: &["volume snapshot"],
    usage: "[OPTIONS] VOLUME [NEW-VOLUME]",
    about: "Make a new volume of what a volume holds now",
    flags: &[&[Flag::switch("no-pause", "Let the volume's containers go on meanwhile")]],
    words: Words::AtLeast(1),
    stops: false,
    run: snapshot,
};

pub(super) const RENAME: Command = Command {
    names: &["volume rename"],
    usage: "VOLUME NEW-NAME",
    about: "Give a volume that no container has another name",
    flags: &[],
    words: Words::Exactly(2),
    stops: false,
    run: |cli, matches| {
        let query = query([("name", matches.words[1].clone())]);
        cli.client()?.post(format!("/volumes/{}/rename{query}", escape(&matches.words[0])))?;
        Ok(0)
    },
};

fn export(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let path = format!("/volumes/{}/export", escape(&matches.words[0]));
    put_out(cli, matches, plain("GET", path))
}

/// At most two words: the second one, if it is there.
fn second<'a>(matches: &'a Matches, command: &str) -> Result<Option<&'a str>, Failure> {
    match matches.words.as_slice() {
        [_] => Ok(None),
        [_, second] => Ok(Some(second)),
        _ => Err(Failure::Invalid(format!("'{command}' requires at most 2 arguments"))),
    }
}

fn import(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let mut source: Box<dyn Read> = match second(matches, "volume import")? {
        None | Some("-") if session::stdin_is_terminal() => {
            return Err(Failure::invalid("no archive: name a file, or redirect one to the input"));
        }
        None | Some("-") => Box::new(io::stdin()),
        Some(path) => Box::new(File::open(path).map_err(Failure::io("open", path))?),
    };
    let volume = cli.client()?.json(Request {
        method: "PUT",
        path: format!("/volumes/{}/import", escape(&matches.words[0])),
        headers: Vec::new(),
        payload: Payload::Stream(&mut source),
    })?;
    cli.say(volume.text("Name"))?;
    Ok(0)
}

fn snapshot(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let mut pairs = Vec::new();
    pairs.extend(second(matches, "volume snapshot")?.map(|name| ("name", name.to_owned())));
    if matches.on("no-pause") {
        pairs.push(("pause", "0".to_owned()));
    }
    let path = format!("/volumes/{}/snapshot{}", escape(&matches.words[0]), query(pairs));
    let volume = cli.client()?.post(path)?;
    cli.say(volume.text("Name"))?;
    Ok(0)
}
