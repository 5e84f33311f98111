//! `push`.

use dhow_spec::Reference;

use super::images::platform;
use crate::args::{Flag, Matches};
use crate::cli::Cli;
use crate::client::{Payload, Request, escape, query};
use crate::failure::Failure;
use crate::progress::{Shown, show};
use crate::tree::{Command, Words};

pub(super) const PUSH: Command = Command {
    names: &["image push", "push"],
    usage: "[OPTIONS] NAME[:TAG]",
    about: "Upload an image to a registry",
    flags: &[&[
        Flag::switch("all-tags", "Upload all tags of the repository").short('a'),
        Flag::switch("disable-content-trust", "Sign nothing (default true)").default("true"),
        Flag::text("platform", "Upload only this platform of the image"),
        Flag::switch("quiet", "Show no progress").short('q'),
    ]],
    words: Words::Exactly(1),
    stops: false,
    run: push,
};

fn push(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let name = &matches.words[0];
    if !matches.on("disable-content-trust") {
        return Err(Failure::NotBuilt { what: "--disable-content-trust=false".to_owned() });
    }
    let invalid = |error: dhow_spec::ReferenceError| Failure::Invalid(error.to_string());
    let (repository, tag, digest) = Reference::split(name).map_err(invalid)?;
    let all = matches.on("all-tags");
    if all && (tag.is_some() || digest.is_some()) {
        return Err(Failure::invalid("tag can't be used with --all-tags/-a"));
    }
    if digest.is_some() {
        return Err(Failure::invalid("cannot push a digest reference"));
    }
    let tags = match (all, tag) {
        (true, _) => all_tags(cli, &repository.familiar())?,
        (false, Some(tag)) => vec![tag.as_str().to_owned()],
        (false, None) => {
            if !matches.on("quiet") {
                cli.say("Using default tag: latest")?;
            }
            vec!["latest".to_owned()]
        }
    };
    let auth = cli.config()?.auth(repository.domain())?;
    let shown = if matches.on("quiet") { Shown::Nowhere } else { Shown::Output };
    for tag in tags {
        let mut pairs = vec![("tag", tag.clone())];
        pairs.extend(matches.some("platform").map(|text| ("platform", platform(text))));
        let answer = cli.client()?.send(Request {
            method: "POST",
            path: format!("/images/{}/push{}", escape(&repository.familiar()), query(pairs)),
            headers: vec![("X-Registry-Auth", auth.clone())],
            payload: Payload::Empty,
        })?;
        show(answer.body, &shown, |_| {})?;
        if matches.on("quiet") {
            cli.say(&format!("{}/{}:{tag}", repository.domain(), repository.path()))?;
        }
    }
    Ok(0)
}

/// The tags of a repository that are here.
fn all_tags(cli: &Cli, repository: &str) -> Result<Vec<String>, Failure> {
    let mut filters = dhow_wire::Filters::default();
    filters.add("reference", repository);
    let images =
        cli.client()?.get(format!("/images/json{}", query([("filters", filters.encode())])))?;
    let tags = images.items().iter().flat_map(|image| image.texts("RepoTags"));
    let tags: Vec<String> = tags
        .filter_map(|name| name.rsplit_once(':'))
        .filter(|(name, _)| *name == repository)
        .map(|(_, tag)| tag.to_owned())
        .collect();
    match tags.is_empty() {
        true => Err(Failure::Invalid(format!(
            "An image does not exist locally with the tag: {repository}"
        ))),
        false => Ok(tags),
    }
}
