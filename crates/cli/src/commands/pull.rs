//! `pull`, and the pull that `run` does on the way.

use dhow_spec::Reference;

use crate::args::{Flag, Matches};
use crate::cli::Cli;
use crate::client::{Payload, Request, query};
use crate::failure::Failure;
use crate::progress::{Shown, show};
use crate::tree::{Command, Words};

pub(super) const PULL: Command = Command {
    names: &["image pull", "pull"],
    usage: "[OPTIONS] NAME[:TAG|@DIGEST]",
    about: "Download an image from a registry",
    flags: &[&[
        Flag::switch("all-tags", "Download all tags of the repository").short('a'),
        Flag::switch("disable-content-trust", "Skip the check of image signatures (default true)")
            .default("true"),
        Flag::text("platform", "Platform, if the image has several"),
        Flag::switch("quiet", "Show no progress").short('q'),
    ]],
    words: Words::Exactly(1),
    stops: false,
    run: pull,
};

fn pull(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let name = &matches.words[0];
    let (_, tag, digest) =
        Reference::split(name).map_err(|error| Failure::Invalid(error.to_string()))?;
    if !matches.on("disable-content-trust") {
        return Err(Failure::NotBuilt { what: "--disable-content-trust=false".to_owned() });
    }
    let all = matches.on("all-tags");
    if all && (tag.is_some() || digest.is_some()) {
        return Err(Failure::invalid("tag can't be used with --all-tags/-a"));
    }
    let reference = Reference::parse(name).map_err(|error| Failure::Invalid(error.to_string()))?;
    let quiet = matches.on("quiet");
    if tag.is_none() && digest.is_none() && !all && !quiet {
        cli.say("Using default tag: latest")?;
    }
    let platform = cli.platform(matches);
    let shown = if quiet { Shown::Nowhere } else { Shown::Output };
    pull_image(cli, &reference, platform.as_deref(), all, &shown)?;
    cli.say(&full_name(&reference, all))?;
    Ok(0)
}

/// The name with its registry, as Docker prints it at the end.
fn full_name(reference: &Reference, all: bool) -> String {
    let repository = reference.repository();
    let mut name = format!("{}/{}", repository.domain(), repository.path());
    if all {
        return name;
    }
    if let Some(tag) = reference.tag() {
        name.push_str(&format!(":{}", tag.as_str()));
    }
    if let Some(digest) = reference.digest() {
        name.push_str(&format!("@{digest}"));
    }
    name
}

/// Has the engine pull an image, and shows how it goes.
pub(super) fn pull_image(
    cli: &Cli,
    reference: &Reference,
    platform: Option<&str>,
    all: bool,
    shown: &Shown,
) -> Result<(), Failure> {
    let repository = reference.repository();
    let name = format!("{}/{}", repository.domain(), repository.path());
    let mut pairs = vec![("fromImage", name)];
    if !all {
        let tag = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.as_str().to_owned(),
            (None, None) => "latest".to_owned(),
        };
        pairs.push(("tag", tag));
    }
    if let Some(platform) = platform {
        pairs.push(("platform", platform.to_owned()));
    }
    let auth = cli.config()?.auth(repository.domain())?;
    let answer = cli.client()?.send(Request {
        method: "POST",
        path: format!("/images/create{}", query(pairs)),
        headers: vec![("X-Registry-Auth", auth)],
        payload: Payload::Empty,
    })?;
    show(answer.body, shown, |_| {})
}
