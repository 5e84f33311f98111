//! `images`, `tag`, `rmi`, `load`, `save` and `image prune`.

use std::fs::File;
use std::io::{self, Read};

use dhow_spec::Reference;

use super::ps::age;
use super::{confirm, filters_json};
use crate::args::{Flag, Matches};
use crate::cli::Cli;
use crate::client::{Payload, Request, escape, plain, query};
use crate::clock::Moment;
use crate::failure::Failure;
use crate::format::{Heads, Row, render, short_id};
use crate::json::Json;
use crate::progress::{Shown, show};
use crate::session;
use crate::tree::{Command, Words};
use crate::units::human_size;

pub(super) const IMAGES: Command = Command {
    names: &["image ls", "image list", "images"],
    usage: "[OPTIONS] [REPOSITORY[:TAG]]",
    about: "List images",
    flags: &[&[
        Flag::switch("all", "Show all images, untagged ones included").short('a'),
        Flag::switch("digests", "Show digests"),
        Flag::filter("Show only images that match").short('f'),
        Flag::text("format", super::FORMAT_HELP),
        Flag::switch("no-trunc", "Do not shorten anything"),
        Flag::switch("quiet", "Only show IDs").short('q'),
        Flag::switch("tree", "Show the platforms of each image").hidden(),
    ]],
    words: Words::AtMost(1),
    stops: false,
    run: images,
};

pub(super) const TAG: Command = Command {
    names: &["image tag", "tag"],
    usage: "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
    about: "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
    flags: &[],
    words: Words::Exactly(2),
    stops: false,
    run: tag,
};

pub(super) const REMOVE: Command = Command {
    names: &["image rm", "image remove", "rmi"],
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    about: "Remove one or more images",
    flags: &[&[
        Flag::switch("force", "Remove even if it is in use by name").short('f'),
        Flag::switch("no-prune", "Keep untagged parents"),
        Flag::list("platform", "Remove only this platform of the image").of("strings", |_| Ok(())),
    ]],
    words: Words::AtLeast(1),
    stops: false,
    run: remove,
};

pub(super) const LOAD: Command = Command {
    names: &["image load", "load"],
    usage: "[OPTIONS]",
    about: "Load an image from a tar archive or standard input",
    flags: &[&[
        Flag::text("input", "Archive to read, in place of standard input").short('i'),
        Flag::list("platform", "Load only this platform").of("string", |_| Ok(())),
        Flag::switch("quiet", "Show no progress").short('q'),
    ]],
    words: Words::None,
    stops: false,
    run: load,
};

pub(super) const SAVE: Command = Command {
    names: &["image save", "save"],
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    about: "Save one or more images to a tar archive, or to standard output",
    flags: &[&[
        Flag::text("output", "File to write, in place of standard output").short('o'),
        Flag::list("platform", "Save only this platform").of("string", |_| Ok(())),
    ]],
    words: Words::AtLeast(1),
    stops: false,
    run: save,
};

pub(super) const PRUNE: Command = Command {
    names: &["image prune"],
    usage: "[OPTIONS]",
    about: "Remove unused images",
    flags: &[&[
        Flag::switch("all", "Remove all images without a container, not only untagged ones")
            .short('a'),
        Flag::filter("Which ones (until=<timestamp>, label=<key>)"),
        Flag::switch("force", "Do not ask").short('f'),
    ]],
    words: Words::None,
    stops: false,
    run: prune,
};

const TABLE: &str = "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}";
const TABLE_DIGESTS: &str =
    "table {{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}";

const HEADS: Heads = &[
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("Containers", "CONTAINERS"),
    ("VirtualSize", "SIZE"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
];

fn images(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    if matches.on("tree") {
        return Err(Failure::NotBuilt { what: "--tree".to_owned() });
    }
    let mut filters = filters_json(matches);
    if let Some(name) = matches.words.first() {
        filters.add("reference", name.as_str());
    }
    let mut pairs = Vec::new();
    if matches.on("all") {
        pairs.push(("all", "1".to_owned()));
    }
    if !filters.encode().is_empty() {
        pairs.push(("filters", filters.encode()));
    }
    let (quiet, digests) = (matches.on("quiet"), matches.on("digests"));
    let format = match matches.text("format") {
        "" if !quiet => cli.config()?.text("imagesFormat").to_owned(),
        format => format.to_owned(),
    };
    let format = match format.as_str() {
        "" | "table" if quiet => "{{.ID}}".to_owned(),
        "" | "table" if digests => TABLE_DIGESTS.to_owned(),
        "" | "table" => TABLE.to_owned(),
        custom if custom.starts_with("table") && digests && !custom.contains("{{.Digest}}") => {
            format!("{custom}\t{{{{.Digest}}}}")
        }
        custom => custom.to_owned(),
    };
    let shows_digests = digests || format.contains("{{.Digest}}");
    let list = cli.client()?.get(format!("/images/json{}", query(pairs)))?;
    let mut rows = Vec::new();
    let (trunc, zone) = (!matches.on("no-trunc"), cli.zone());
    for image in list.items() {
        let created = Moment { seconds: image.int("Created"), nanoseconds: 0 };
        // Of an image that does not say when it was made, nobody knows how old it is.
        let since = match created.seconds {
            ..=0 => "N/A".to_owned(),
            _ => age(created),
        };
        for (repository, tag, digest) in names(image, shows_digests, digests) {
            let id = image.text("Id");
            rows.push(
                sizes(image)
                    .with("ID", if trunc { short_id(id) } else { id })
                    .with("Repository", repository)
                    .with("Tag", tag)
                    .with("Digest", digest)
                    .with("CreatedSince", since.clone())
                    .with("CreatedAt", created.go(&zone)),
            );
        }
    }
    cli.print(&render(&format, HEADS, rows)?)?;
    Ok(0)
}

fn sizes(image: &Json) -> Row {
    let known = |key: &str, digits| match image.int(key) {
        -1 => "N/A".to_owned(),
        _ => human_size(image.number(key), digits),
    };
    let unique = match (image.int("Size"), image.int("SharedSize")) {
        (-1, _) | (_, -1) => "N/A".to_owned(),
        (size, shared) => human_size((size - shared) as f64, 4),
    };
    let containers = match image.int("Containers") {
        -1 => "N/A".to_owned(),
        count => count.to_string(),
    };
    Row::default()
        .with("Size", human_size(image.number("Size"), 3))
        .with("VirtualSize", human_size(image.number("Size"), 4))
        .with("SharedSize", known("SharedSize", 4))
        .with("UniqueSize", unique)
        .with("Containers", containers)
}

/// Repository, tag and digest of each line that an image has.
fn names(image: &Json, shows_digests: bool, digests: bool) -> Vec<(String, String, String)> {
    const NONE: &str = "<none>";
    let mut rows = Vec::new();
    let references = |key: &str| -> Vec<Reference> {
        let texts = image.texts(key).into_iter().filter(|text| !text.starts_with("<none>"));
        texts.filter_map(|text| Reference::parse(text).ok()).collect()
    };
    let (tags, mut pinned) = (references("RepoTags"), references("RepoDigests"));
    for tagged in &tags {
        let repository = tagged.repository().familiar();
        let Some(tag) = tagged.tag() else { continue };
        let ours = pinned.iter().filter(|other| other.repository() == tagged.repository());
        let ours: Vec<String> =
            ours.filter_map(|other| Some(other.digest()?.to_string())).collect();
        if !shows_digests || ours.is_empty() {
            rows.push((repository, tag.as_str().to_owned(), NONE.to_owned()));
        } else {
            let row = |digest| (repository.clone(), tag.as_str().to_owned(), digest);
            rows.extend(ours.into_iter().map(row));
        }
    }
    pinned.retain(|other| !tags.iter().any(|tagged| tagged.repository() == other.repository()));
    for other in pinned {
        let digest = other.digest().map(ToString::to_string).filter(|_| digests);
        let repository = other.repository().familiar();
        let row = (repository, NONE.to_owned(), digest.unwrap_or_default());
        if !rows.contains(&row) {
            rows.push(row);
        }
    }
    if rows.is_empty() {
        rows.push((NONE.to_owned(), NONE.to_owned(), NONE.to_owned()));
    }
    rows
}

fn tag(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let (source, target) = (&matches.words[0], &matches.words[1]);
    let (repository, tag, digest) = Reference::split(target).map_err(|error| {
        Failure::Invalid(format!(
            "Error parsing reference: {target:?} is not a valid repository/tag: {error}"
        ))
    })?;
    if digest.is_some() {
        return Err(Failure::invalid("refusing to create a tag with a digest reference"));
    }
    let name = format!("{}/{}", repository.domain(), repository.path());
    let mut pairs = vec![("repo", name)];
    pairs.push(("tag", tag.map_or_else(|| "latest".to_owned(), |tag| tag.as_str().to_owned())));
    cli.client()?.post(format!("/images/{}/tag{}", escape(source), query(pairs)))?;
    Ok(0)
}

/// `os/arch/variant` as the API wants a platform.
pub(super) fn platform(text: &str) -> String {
    let mut parts = text.split('/');
    let names = ["os", "architecture", "variant"];
    let pairs = names.into_iter().filter_map(|name| Some((name, parts.next()?)));
    crate::json::object(pairs).compact()
}

fn remove(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let force = matches.on("force");
    let mut pairs = Vec::new();
    if force {
        pairs.push(("force", "1".to_owned()));
    }
    if matches.on("no-prune") {
        pairs.push(("noprune", "1".to_owned()));
    }
    pairs.extend(matches.list("platform").into_iter().map(|text| ("platforms", platform(text))));
    let query = query(pairs);
    let mut code = 0;
    for name in &matches.words {
        match cli.client()?.delete(format!("/images/{}{query}", escape(name))) {
            Ok(changes) => {
                for change in changes.items() {
                    match change.text("Deleted") {
                        "" => cli.say(&format!("Untagged: {}", change.text("Untagged")))?,
                        digest => cli.say(&format!("Deleted: {digest}"))?,
                    }
                }
            }
            Err(error @ Failure::Unreachable { .. }) => return Err(error),
            Err(error) => {
                cli.warn(&error.to_string());
                if !(force && error.is_not_found()) {
                    code = 1;
                }
            }
        }
    }
    Ok(code)
}

fn load(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let mut source: Box<dyn Read> = match matches.text("input") {
        "" if session::stdin_is_terminal() => {
            return Err(Failure::invalid("requested load from stdin, but stdin is empty"));
        }
        "" => Box::new(io::stdin()),
        path => Box::new(File::open(path).map_err(Failure::io("open", path))?),
    };
    let mut pairs = Vec::new();
    if matches.on("quiet") || !session::stdout_is_terminal() {
        pairs.push(("quiet", "1".to_owned()));
    }
    pairs.extend(matches.list("platform").into_iter().map(|text| ("platform", platform(text))));
    let answer = cli.client()?.send(Request {
        method: "POST",
        path: format!("/images/load{}", query(pairs)),
        headers: Vec::new(),
        payload: Payload::Stream(&mut source),
    })?;
    show(answer.body, &Shown::Output, |_| {})?;
    Ok(0)
}

fn save(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let names = matches.words.iter().map(|name| ("names", name.clone()));
    let platforms = matches.list("platform").into_iter().map(|text| ("platform", platform(text)));
    let request = plain("GET", format!("/images/get{}", query(names.chain(platforms))));
    put_out(cli, matches, request)
}

/// Asks for an archive and writes it to the file that `--output` names, else to standard output.
pub(super) fn put_out(cli: &Cli, matches: &Matches, request: Request<'_>) -> Result<u8, Failure> {
    let Some(path) = matches.some("output") else {
        if session::stdout_is_terminal() {
            return Err(Failure::invalid(
                "cowardly refusing to save to a terminal. Use the -o flag or redirect",
            ));
        }
        let mut answer = cli.client()?.send(request)?;
        let copied = io::copy(&mut answer.body, &mut io::stdout().lock());
        copied.map_err(Failure::io("write", "output"))?;
        return Ok(0);
    };
    save_to(cli, request, path)?;
    Ok(0)
}

/// Writes an answer's body to a file, which appears whole or not at all.
fn save_to(cli: &Cli, request: Request<'_>, path: &str) -> Result<(), Failure> {
    let part = format!("{path}.part-{}", std::process::id());
    let mut file = File::create(&part).map_err(Failure::io("open", path))?;
    let sent = cli.client().and_then(|client| client.send(request));
    let mut answer = sent.inspect_err(|_| drop(std::fs::remove_file(&part)))?;
    let copied = io::copy(&mut answer.body, &mut file);
    let done = copied.and_then(|_| std::fs::rename(&part, path));
    done.map_err(|error| {
        // What is there of it is of no use to anybody.
        let _ = std::fs::remove_file(&part);
        Failure::io("write", path)(error)
    })
}

fn prune(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let warning = if matches.on("all") {
        "WARNING! This will remove all images without at least one container associated to them."
    } else {
        "WARNING! This will remove all dangling images."
    };
    if !matches.on("force") && !confirm(cli, warning)? {
        return Ok(1);
    }
    let mut filters = filters_json(matches);
    filters.add("dangling", if matches.on("all") { "false" } else { "true" });
    let query = query([("filters", filters.encode())]);
    let answer = cli.client()?.post(format!("/images/prune{query}"))?;
    let deleted = answer.get("ImagesDeleted").items();
    if !deleted.is_empty() {
        cli.say("Deleted Images:")?;
        for change in deleted {
            match change.text("Untagged") {
                "" => cli.say(&format!("deleted: {}", change.text("Deleted")))?,
                name => cli.say(&format!("untagged: {name}"))?,
            }
        }
        cli.say("")?;
    }
    let space = human_size(answer.number("SpaceReclaimed"), 4);
    cli.say(&format!("Total reclaimed space: {space}"))?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_each_tag() {
        let image = Json::parse(
            br#"{"RepoTags":["debian:12","r.example/a:b"],"RepoDigests":["debian@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]}"#,
        )
        .unwrap();
        let lines = |shows, digests| {
            let rows = names(&image, shows, digests).into_iter();
            rows.map(|(repository, tag, digest)| format!("{repository} {tag} {}", &digest[..6]))
                .collect::<Vec<_>>()
        };
        assert_eq!(lines(false, false), ["debian 12 <none>", "r.example/a b <none>"]);
        assert_eq!(lines(true, true), ["debian 12 sha256", "r.example/a b <none>"]);
        let nothing = names(&Json::Null, false, false);
        assert_eq!(nothing[0].0, "<none>");
    }

    #[test]
    fn platforms_as_documents() {
        assert_eq!(
            platform("linux/arm/v7"),
            r#"{"os":"linux","architecture":"arm","variant":"v7"}"#
        );
    }
}
