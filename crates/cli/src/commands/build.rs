//! `build`, `buildx build`, `builder build` and `image build`: what is sent, how it is shown, and where it goes.
//!
//! Absent on purpose: BuildKit's sessions; a flag that would need them is refused by name.

use crate::args::{Flag, Matches};
use crate::build::{self, Built, Input, Mode, Outputs, Pairs, View};
use crate::cli::Cli;
use crate::client::{Payload, Request, escape, query};
use crate::failure::Failure;
use crate::json::Json;
use crate::progress::{Shown, show};
use crate::tree::{Command, Words};
use crate::units::human_size;

use super::filters;

pub(super) const BUILD: Command = Command {
    names: &["image build", "build", "builder build", "buildx build"],
    usage: "[OPTIONS] PATH | URL | -",
    about: "Build an image from a Dockerfile",
    flags: &[
        &[
            Flag::list("add-host", "Add a host name for commands: name:address"),
            Flag::list("allow", "Rights for commands: network.host, security.insecure"),
            Flag::list("annotation", "Note on the image: [manifest:|index:]key=value"),
            Flag::list("build-arg", "Set a variable of the build"),
            Flag::list(
                "build-context",
                "More contexts by name: name=docker-image://IMAGE, name=PATH, name=URL",
            ),
            Flag::list("cache-from", "Take a cache: IMAGE, type=registry,ref=, type=local,src="),
            Flag::list(
                "cache-to",
                "Tell a cache: type=inline, type=registry,ref=, type=local,dest=",
            ),
            Flag::text("call", "Another question than a build: check, lint").default("build"),
            Flag::text("cgroup-parent", "Parent cgroup of commands"),
            Flag::switch("check", "Only say what could be better in the Dockerfile"),
            Flag::switch("compress", "Compress the context on its way").hidden(),
            Flag::int("cpu-period", "Length of a period of CPU time in microseconds"),
            Flag::int("cpu-quota", "CPU time in a period in microseconds"),
            Flag::int("cpu-shares", "CPU shares (relative weight)").short('c'),
            Flag::text("cpuset-cpus", "CPUs for commands (0-3, 0,1)"),
            Flag::text("cpuset-mems", "Memory nodes for commands (0-3, 0,1)"),
            Flag::text("file", "The Dockerfile (default PATH/Dockerfile)").short('f'),
            Flag::switch("force-rm", "Always remove what was made on the way"),
            Flag::text("iidfile", "Write the image's ID to this file"),
            Flag::switch("keep-failed", "Keep what a failed command left as an image to look into"),
            Flag::list("label", "Set a label of the image"),
            Flag::switch("load", "Keep the image here (type=docker)"),
            Flag::bytes("memory", "Memory limit of commands").short('m'),
            Flag::bytes("memory-swap", "Limit of memory and swap; -1 for no limit of swap"),
            Flag::text("metadata-file", "Write what came of the build to this file"),
            Flag::text("network", "Network of commands").default("default"),
            Flag::switch("no-cache", "Use nothing that was done before"),
            Flag::list("no-cache-filter", "Use nothing that was done before in this stage"),
            Flag::list(
                "output",
                "Where it goes: PATH, -, type=local|tar|oci|docker|image|registry,dest=,name=",
            )
            .short('o'),
            Flag::text("platform", "Platforms of the image"),
            Flag::text("progress", "How to show it: auto, plain, tty, quiet, rawjson")
                .default("auto"),
            Flag::text("provenance", "Attest how it was built; only false").hidden(),
            Flag::switch("pull", "Ask registries for newer bases"),
            Flag::switch("push", "Push the image afterwards"),
            Flag::switch("quiet", "Only print the image's ID").short('q'),
            Flag::switch("rm", "Remove what was made on the way").default("true"),
            Flag::text("sbom", "Attest what is in it; only false").hidden(),
            Flag::list("secret", "A secret for commands: id=ID[,src=FILE|,env=NAME]"),
            Flag::bytes("shm-size", "Size of /dev/shm of commands"),
            Flag::switch("squash", "Make one layer of all"),
            Flag::list("ssh", "An agent for commands: default|ID[=SOCKET]"),
            Flag::list("tag", "Name of the image: name:tag").short('t'),
            Flag::text("target", "The stage to build"),
            Flag::list("ulimit", "Limits of commands: name=soft:hard"),
        ],
        REFUSED,
    ],
    words: Words::Exactly(1),
    stops: false,
    run: build,
};

/// Docker's, and not built: each is refused by name, unless it says what is so anyway.
pub(super) const REFUSED: &[Flag] = &[
    Flag::list("attest", "Attestations").hidden(),
    Flag::text("builder", "Another builder").hidden(),
    Flag::text("isolation", "Isolation of commands").hidden(),
    Flag::list("security-opt", "Security options").hidden(),
];

pub(super) const PRUNE: Command = Command {
    names: &["builder prune", "buildx prune"],
    usage: "[OPTIONS]",
    about: "Remove what builds remember",
    flags: &[&[
        Flag::switch("all", "Also what images have as well").short('a'),
        Flag::filter("Remove only what matches: until=, id=, type=, description="),
        Flag::switch("force", "Do not ask").short('f'),
        Flag::bytes("keep-storage", "Keep so much of what was used last"),
    ]],
    words: Words::None,
    stops: false,
    run: prune,
};

fn build(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    refuse(matches)?;
    let platforms = cli.platform(matches).map_or(1, |text| text.split(',').count());
    let mut outputs = Outputs::of(matches, platforms)?;
    let mode = mode(matches)?;
    let check = only_check(matches)?;
    let mut input = Input::default();
    let mut pairs = build::options(cli, matches, &mut input)?;
    pairs.extend(outputs.names.iter().map(|name| ("t", name.clone())));
    pairs.extend(outputs.annotations.iter().map(|note| ("annotation", note.clone())));
    let words = outputs.words();
    if !words.is_empty() {
        pairs.push(("outputs", words.join(",")));
    }
    if !outputs.keep {
        pairs.push(("discard", "1".to_owned()));
    }
    pairs.push(("progress", "events".to_owned()));
    if check.is_some() {
        pairs.push(("call", "lint".to_owned()));
    }
    let mut headers = vec![("X-Registry-Config", cli.config()?.all_auths()?)];
    headers.extend(build::secrets(cli, matches)?.map(|text| ("X-Dhow-Secrets", text)));
    headers.extend(build::agents(cli, matches)?.map(|text| ("X-Dhow-Agents", text)));
    let mut sent = input.open(matches, &mut pairs)?;
    let client = cli.client()?;
    let answer = build::send(client, &mut sent, &pairs, &headers)?;
    if let Some(form) = check {
        return say_lint(cli, &client.document(answer)?, form);
    }
    let mut view = View::new(mode);
    let built = build::follow(answer.body, &mut view, &mut outputs)?;
    let names = built.said.texts("Names");
    view.succeed(&built.id, &names, built.said.get("Lint"))?;
    drop(view);
    if mode == Mode::Quiet && !outputs.takes_stdout() {
        cli.say(&built.id)?;
    }
    finish(matches, &built)?;
    if outputs.push {
        if names.is_empty() {
            return Err(Failure::invalid("tag is needed when pushing to registry"));
        }
        for name in names {
            push(cli, name)?;
        }
    }
    Ok(0)
}

fn refuse(matches: &Matches) -> Result<(), Failure> {
    for flag in REFUSED {
        let said = matches.some(flag.long).unwrap_or_default();
        if matches.changed(flag.long) && said != "default" {
            return Err(Failure::NotBuilt { what: format!("--{}", flag.long) });
        }
    }
    for flag in ["provenance", "sbom"] {
        if !matches!(matches.text(flag), "" | "false" | "0") {
            return Err(Failure::NotBuilt { what: format!("--{flag}") });
        }
    }
    Ok(())
}

fn mode(matches: &Matches) -> Result<Mode, Failure> {
    if matches.on("quiet") {
        return Ok(Mode::Quiet);
    }
    match matches.text("progress") {
        "quiet" | "none" => Ok(Mode::Quiet),
        "rawjson" => Ok(Mode::Raw),
        "plain" => Ok(Mode::Plain),
        "tty" => Ok(Mode::Screen),
        "auto" if crate::session::stderr_is_terminal() => Ok(Mode::Screen),
        "auto" => Ok(Mode::Plain),
        other => Err(Failure::Invalid(format!("invalid progress mode {other}"))),
    }
}

/// How the answer is to look, where nothing is to be built.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CheckForm {
    Text,
    Json,
}

fn only_check(matches: &Matches) -> Result<Option<CheckForm>, Failure> {
    let call = matches.text("call");
    let (word, form) = call.split_once(',').unwrap_or((call, ""));
    let form = match form {
        "" | "format=text" => CheckForm::Text,
        "format=json" => CheckForm::Json,
        other => return Err(Failure::NotBuilt { what: format!("--call {other}") }),
    };
    match word {
        "build" | "" if !matches.on("check") => Ok(None),
        "build" | "" | "check" | "lint" => Ok(Some(form)),
        other => Err(Failure::NotBuilt { what: format!("--call {other}") }),
    }
}

/// Says what could be better; code 1 where something could.
fn say_lint(cli: &Cli, lint: &Json, form: CheckForm) -> Result<u8, Failure> {
    match form {
        CheckForm::Text => cli.print(&build::show_lint(lint))?,
        CheckForm::Json => cli.say(&lint.pretty(2))?,
    }
    Ok(u8::from(!lint.get("warnings").items().is_empty()))
}

/// The files that scripts read.
fn finish(matches: &Matches, built: &Built) -> Result<(), Failure> {
    let write =
        |path: &str, text: &str| std::fs::write(path, text).map_err(Failure::io("write", path));
    let iidfile = matches.text("iidfile");
    if !iidfile.is_empty() {
        write(iidfile, &built.id)?;
    }
    let metadata = matches.text("metadata-file");
    if !metadata.is_empty() {
        let mut said = Json::parse(b"{}").unwrap_or_default();
        said.set("containerimage.config.digest", built.said.get("Config").clone());
        said.set("containerimage.descriptor", built.said.get("Descriptor").clone());
        said.set("containerimage.digest", Json::from(built.id.clone()));
        let names = built.said.texts("Names");
        let whole: Vec<String> = names
            .iter()
            .filter_map(|name| Some(dhow_spec::Reference::parse(name).ok()?.to_string()))
            .collect();
        if !whole.is_empty() {
            said.set("image.name", Json::from(whole.join(",")));
        }
        write(metadata, &format!("{}\n", said.pretty(2)))?;
    }
    Ok(())
}

fn push(cli: &Cli, tag: &str) -> Result<(), Failure> {
    let reference =
        dhow_spec::Reference::parse(tag).map_err(|error| Failure::Invalid(error.to_string()))?;
    let auth = cli.config()?.auth(reference.repository().domain())?;
    let tag = reference.tag().map(|tag| tag.as_str().to_owned()).unwrap_or_default();
    let name = escape(&reference.repository().familiar());
    let answer = cli.client()?.send(Request {
        method: "POST",
        path: format!("/images/{name}/push{}", query([("tag", tag)])),
        headers: vec![("X-Registry-Auth", auth)],
        payload: Payload::Empty,
    })?;
    show(answer.body, &Shown::Error, |_| {})
}

fn prune(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let all = matches.on("all");
    let warning = match all {
        true => "WARNING! This will remove all build cache.",
        false => "WARNING! This will remove all dangling build cache.",
    };
    if !matches.on("force") && !super::confirm(cli, warning)? {
        return Ok(1);
    }
    let mut pairs: Pairs = vec![("all", all.to_string())];
    pairs.extend(filters(matches));
    let keep = matches.text("keep-storage");
    if !keep.is_empty() {
        let bytes =
            crate::units::parse_ram(keep).map_err(|error| Failure::Invalid(error.to_string()))?;
        pairs.push(("max-used-space", bytes.to_string()));
    }
    let answer = cli.client()?.post(format!("/build/prune{}", query(pairs)))?;
    let deleted = answer.get("CachesDeleted");
    let mut text = String::new();
    for id in deleted.items() {
        text.push_str(&format!("{}\n", id.as_str()));
    }
    if !text.is_empty() {
        text.push('\n');
    }
    let bytes = answer.number("SpaceReclaimed");
    cli.say(&format!("{text}Total reclaimed space: {}", human_size(bytes, 4)))?;
    Ok(0)
}
