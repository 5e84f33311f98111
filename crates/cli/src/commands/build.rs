//! `build`, `builder build` and `image build`: a directory or an archive to the engine, its text to the user.
//!
//! Absent on purpose: anything that needs BuildKit's sessions; each such flag is refused by name.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use super::filters;
use crate::args::{Flag, Matches};
use crate::cli::Cli;
use crate::client::{Body, Payload, Request, escape, plain, query};
use crate::context::Context;
use crate::failure::Failure;
use crate::json::Json;
use crate::progress::{Shown, show};
use crate::tree::{Command, Words};
use crate::units::human_size;
use dhow_spec::base64;

pub(super) const BUILD: Command = Command {
    names: &["image build", "build", "builder build"],
    usage: "[OPTIONS] PATH | -",
    about: "Build an image from a Dockerfile",
    flags: &[
        &[
            Flag::list("add-host", "Add a host name for commands: name:address"),
            Flag::list("build-arg", "Set a variable of the build"),
            Flag::list("build-context", "More contexts by name: name=docker-image://IMAGE"),
            Flag::list(
                "cache-from",
                "Images to take as cache; the engine finds what it has itself",
            ),
            Flag::text("cgroup-parent", "Parent cgroup of commands"),
            Flag::switch("compress", "Compress the context on its way").hidden(),
            Flag::int("cpu-period", "Length of a period of CPU time in microseconds"),
            Flag::int("cpu-quota", "CPU time in a period in microseconds"),
            Flag::int("cpu-shares", "CPU shares (relative weight)").short('c'),
            Flag::text("cpuset-cpus", "CPUs for commands (0-3, 0,1)"),
            Flag::text("cpuset-mems", "Memory nodes for commands (0-3, 0,1)"),
            Flag::text("file", "The Dockerfile (default PATH/Dockerfile)").short('f'),
            Flag::switch("force-rm", "Always remove what was made on the way"),
            Flag::text("iidfile", "Write the image's ID to this file"),
            Flag::list("label", "Set a label of the image"),
            Flag::switch("load", "Keep the image here, which is always done"),
            Flag::bytes("memory", "Memory limit of commands").short('m'),
            Flag::bytes("memory-swap", "Limit of memory and swap; -1 for no limit of swap"),
            Flag::text("metadata-file", "Write what came of the build to this file"),
            Flag::text("network", "Network of commands").default("default"),
            Flag::switch("no-cache", "Use nothing that was done before"),
            Flag::list("no-cache-filter", "Use nothing that was done before in this stage"),
            Flag::list("output", "Where the image goes: type=docker|oci,dest=FILE or type=image")
                .short('o'),
            Flag::text("platform", "Platform of the image"),
            Flag::text("progress", "How to show it: auto, plain, tty, quiet, rawjson")
                .default("auto"),
            Flag::switch("pull", "Ask registries for newer bases"),
            Flag::switch("push", "Push the image afterwards"),
            Flag::switch("quiet", "Only print the image's ID").short('q'),
            Flag::switch("rm", "Remove what was made on the way").default("true"),
            Flag::list("secret", "A secret for commands: id=ID[,src=FILE|,env=NAME]"),
            Flag::bytes("shm-size", "Size of /dev/shm of commands"),
            Flag::switch("squash", "Make one layer of all"),
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

/// Docker's, and not built: each is refused by name.
pub(super) const REFUSED: &[Flag] = &[
    Flag::list("allow", "Rights for commands").hidden(),
    Flag::list("annotation", "Annotations of the image").hidden(),
    Flag::list("attest", "Attestations").hidden(),
    Flag::text("builder", "Another builder").hidden(),
    Flag::list("cache-to", "Where the cache is exported to").hidden(),
    Flag::text("call", "Another question than a build").hidden(),
    Flag::switch("check", "Check the Dockerfile").hidden(),
    Flag::text("isolation", "Isolation of commands").hidden(),
    Flag::text("provenance", "Provenance").hidden(),
    Flag::text("sbom", "Bill of materials").hidden(),
    Flag::list("security-opt", "Security options").hidden(),
    Flag::list("ssh", "Agents for commands").hidden(),
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

/// What goes into the query.
type Pairs = Vec<(&'static str, String)>;

fn build(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    for flag in REFUSED {
        if matches.changed(flag.long) {
            return Err(Failure::NotBuilt { what: format!("--{}", flag.long) });
        }
    }
    let mut pairs = options(cli, matches)?;
    let outputs = outputs(matches)?;
    let mut headers = vec![("X-Registry-Config", cli.config()?.all_auths()?)];
    if let Some(secrets) = secrets(cli, matches)? {
        headers.push(("X-Dhow-Secrets", secrets));
    }
    let mut context = open_context(matches, &mut pairs)?;
    let request = Request {
        method: "POST",
        path: format!("/build{}", query(pairs)),
        headers,
        payload: Payload::Stream(&mut *context),
    };
    let answer = cli.client()?.send(request)?;
    let quiet = matches.on("quiet") || matches.text("progress") == "quiet";
    let raw = matches.text("progress") == "rawjson";
    let id = follow(answer.body, quiet, raw)?;
    if quiet {
        cli.say(&id)?;
    }
    finish(cli, matches, &outputs, &id)?;
    Ok(0)
}

fn options(cli: &Cli, matches: &Matches) -> Result<Pairs, Failure> {
    match matches.text("progress") {
        "auto" | "plain" | "tty" | "quiet" | "rawjson" => {}
        other => return Err(Failure::Invalid(format!("invalid progress mode {other}"))),
    }
    let mut pairs: Pairs = vec![("version", "1".to_owned())];
    for tag in matches.list("tag") {
        pairs.push(("t", tag.to_owned()));
    }
    for (flag, name) in [
        ("no-cache", "nocache"),
        ("pull", "pull"),
        ("squash", "squash"),
        ("force-rm", "forcerm"),
        ("rm", "rm"),
    ] {
        pairs.push((name, u8::from(matches.on(flag)).to_string()));
    }
    let mut args = Json::parse(b"{}").unwrap_or_default();
    for (name, value) in cli.config()?.proxies(&cli.endpoint()?.to_string()) {
        args.set(&name, Json::from(value));
    }
    for text in matches.list("build-arg") {
        match text.split_once('=') {
            Some((name, value)) => args.set(name, Json::from(value.to_owned())),
            // A name alone takes the value from here, if there is one.
            None => {
                if let Some(value) = cli.variable(text) {
                    args.set(text, Json::from(value));
                }
            }
        }
    }
    pairs.push(("buildargs", args.compact()));
    let mut labels = Json::parse(b"{}").unwrap_or_default();
    for text in matches.list("label") {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        labels.set(name, Json::from(value.to_owned()));
    }
    pairs.push(("labels", labels.compact()));
    for (flag, name) in [
        ("target", "target"),
        ("cgroup-parent", "cgroupparent"),
        ("cpuset-cpus", "cpusetcpus"),
        ("cpuset-mems", "cpusetmems"),
    ] {
        if !matches.text(flag).is_empty() {
            pairs.push((name, matches.text(flag).to_owned()));
        }
    }
    pairs.push(("networkmode", matches.text("network").to_owned()));
    for (flag, name) in
        [("cpu-period", "cpuperiod"), ("cpu-quota", "cpuquota"), ("cpu-shares", "cpushares")]
    {
        pairs.push((name, matches.text(flag).to_owned()));
    }
    for (flag, name) in [("memory", "memory"), ("memory-swap", "memswap"), ("shm-size", "shmsize")]
    {
        let text = matches.text(flag);
        if !text.is_empty() {
            let bytes = match text {
                "-1" => -1,
                text => crate::units::parse_ram(text)
                    .map_err(|error| Failure::Invalid(error.to_string()))?,
            };
            pairs.push((name, bytes.to_string()));
        }
    }
    for host in matches.list("add-host") {
        pairs.push(("extrahosts", host.replacen('=', ":", 1)));
    }
    for stage in matches.list("no-cache-filter") {
        pairs.push(("nocachefilter", stage.to_owned()));
    }
    let cache_from = matches.list("cache-from");
    if !cache_from.is_empty() {
        let list = cache_from.into_iter().map(|image| Json::from(image.to_owned())).collect();
        pairs.push(("cachefrom", Json::List(list).compact()));
    }
    for context in matches.list("build-context") {
        if !context.contains("=docker-image://") {
            let what = format!("--build-context {context}");
            return Err(Failure::NotBuilt { what });
        }
        pairs.push(("buildcontext", context.to_owned()));
    }
    if let Some(platform) = cli.platform(matches) {
        pairs.push(("platform", platform));
    }
    let ulimits = ulimits(matches)?;
    if !ulimits.is_empty() {
        pairs.push(("ulimits", ulimits));
    }
    Ok(pairs)
}

fn ulimits(matches: &Matches) -> Result<String, Failure> {
    let mut list = Vec::new();
    for text in matches.list("ulimit") {
        let bad = || Failure::Invalid(format!("invalid ulimit argument: {text}"));
        let (name, limits) = text.split_once('=').ok_or_else(bad)?;
        let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
        let soft: i64 = soft.parse().map_err(|_| bad())?;
        let hard: i64 = hard.parse().map_err(|_| bad())?;
        list.push(serde_json::json!({ "Name": name, "Soft": soft, "Hard": hard }));
    }
    if list.is_empty() {
        return Ok(String::new());
    }
    Ok(serde_json::Value::from(list).to_string())
}

/// Secrets travel in a header, for addresses end in logs.
fn secrets(cli: &Cli, matches: &Matches) -> Result<Option<String>, Failure> {
    let mut found = serde_json::Map::new();
    for text in matches.list("secret") {
        let (mut id, mut source, mut env) = (None, None, None);
        for field in text.split(',') {
            match field.split_once('=') {
                Some(("id", value)) => id = Some(value),
                Some(("src" | "source", value)) => source = Some(value),
                Some(("env", value)) => env = Some(value),
                Some(("type", "file" | "env")) => {}
                _ => return Err(Failure::Invalid(format!("invalid secret {text}: {field}"))),
            }
        }
        let Some(id) = id else {
            return Err(Failure::Invalid(format!("invalid secret {text}: no id")));
        };
        let bytes = match (source, env) {
            (Some(path), _) => std::fs::read(path).map_err(Failure::io("read", path))?,
            (None, Some(name)) => cli
                .variable(name)
                .map(String::into_bytes)
                .ok_or_else(|| Failure::Invalid(format!("secret {id}: {name} is not set")))?,
            (None, None) => std::fs::read(id).map_err(Failure::io("read", id))?,
        };
        found.insert(id.to_owned(), base64::encode_url(&bytes).into());
    }
    let text = serde_json::Value::Object(found);
    let none = matches.list("secret").is_empty();
    Ok((!none).then(|| base64::encode_url(text.to_string().as_bytes())))
}

/// The context, and what of it is the Dockerfile.
fn open_context(matches: &Matches, pairs: &mut Pairs) -> Result<Box<dyn Read>, Failure> {
    let place = matches.words[0].as_str();
    let file = matches.text("file");
    if place == "-" {
        return from_stdin(file, pairs);
    }
    let remote = ["http://", "https://", "git://", "git@", "github.com/"];
    if remote.iter().any(|prefix| place.starts_with(prefix)) {
        return Err(Failure::NotBuilt { what: format!("a build context from {place}") });
    }
    let root = std::fs::canonicalize(place).map_err(|_| {
        Failure::Invalid(format!("unable to prepare context: path \"{place}\" not found"))
    })?;
    if !root.is_dir() {
        let text = format!("unable to prepare context: {place} is not a directory");
        return Err(Failure::Invalid(text));
    }
    let (name, extra) = dockerfile(&root, file)?;
    pairs.push(("dockerfile", name.clone()));
    Ok(Box::new(Context::walk(&root, &name, extra)?))
}

/// The Dockerfile's path in the context; one from elsewhere travels under a name of its own.
#[expect(clippy::type_complexity, reason = "a name, and perhaps another with bytes")]
fn dockerfile(root: &Path, file: &str) -> Result<(String, Option<(String, Vec<u8>)>), Failure> {
    let elsewhere = |bytes: Vec<u8>| {
        let name = format!(".dockerfile.{}", std::process::id());
        (name.clone(), Some((name, bytes)))
    };
    if file == "-" {
        let mut bytes = Vec::new();
        io::stdin().read_to_end(&mut bytes).map_err(Failure::io("read", "standard input"))?;
        return Ok(elsewhere(bytes));
    }
    let path = if file.is_empty() { root.join("Dockerfile") } else { PathBuf::from(file) };
    let found = std::fs::canonicalize(&path).map_err(|error| {
        let text = format!(
            "unable to prepare context: unable to evaluate symlinks in Dockerfile path: lstat {}: ",
            path.display()
        );
        match error.kind() {
            io::ErrorKind::NotFound => Failure::Invalid(format!("{text}no such file or directory")),
            _ => Failure::Invalid(format!("{text}{error}")),
        }
    })?;
    match found.strip_prefix(root) {
        Ok(inside) => Ok((inside.to_string_lossy().into_owned(), None)),
        Err(_) => {
            let bytes =
                std::fs::read(&found).map_err(Failure::io("read", found.display().to_string()))?;
            Ok(elsewhere(bytes))
        }
    }
}

/// An archive as it is, or a Dockerfile without any context.
fn from_stdin(file: &str, pairs: &mut Pairs) -> Result<Box<dyn Read>, Failure> {
    if file == "-" {
        return Err(Failure::invalid(
            "invalid argument: can't use stdin for both build context and dockerfile",
        ));
    }
    let mut input = BufReader::with_capacity(64 << 10, io::stdin());
    let head = input.fill_buf().map_err(Failure::io("read", "standard input"))?;
    if is_archive(head) {
        let name = if file.is_empty() { "Dockerfile" } else { file };
        pairs.push(("dockerfile", name.to_owned()));
        return Ok(Box::new(input));
    }
    let mut bytes = Vec::new();
    input.read_to_end(&mut bytes).map_err(Failure::io("read", "standard input"))?;
    pairs.push(("dockerfile", "Dockerfile".to_owned()));
    Ok(Box::new(Context::of_file("Dockerfile", bytes)))
}

fn is_archive(head: &[u8]) -> bool {
    head.starts_with(b"\x1f\x8b")
        || head.starts_with(b"BZh")
        || head.starts_with(b"\xfd7zXZ")
        || head.starts_with(b"\x28\xb5\x2f\xfd")
        || head.get(257..262) == Some(&b"ustar"[..])
}

/// Shows what the engine says, and gives the image's id.
fn follow(body: Body, quiet: bool, raw: bool) -> Result<String, Failure> {
    let mut reader = BufReader::new(body);
    let mut line = Vec::new();
    let mut id = String::new();
    let mut out = io::stdout().lock();
    loop {
        line.clear();
        let count = reader.read_until(b'\n', &mut line);
        if count.map_err(Failure::io("read", "the engine's progress"))? == 0 {
            return Ok(id);
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let message = Json::parse(&line).map_err(|source| Failure::Answer { source })?;
        if raw {
            out.write_all(&line).map_err(Failure::io("write", "progress"))?;
        }
        let detail = message.get("errorDetail");
        let text = if detail.text("message").is_empty() {
            message.text("error")
        } else {
            detail.text("message")
        };
        if !text.is_empty() {
            return Err(Failure::Stream { message: text.to_owned(), code: 1 });
        }
        let aux = message.get("aux").text("ID");
        if !aux.is_empty() {
            id = aux.to_owned();
        }
        if !raw && !quiet {
            out.write_all(message.text("stream").as_bytes())
                .and_then(|()| out.flush())
                .map_err(Failure::io("write", "progress"))?;
        }
    }
}

/// Where the image is to go besides the store.
fn outputs(matches: &Matches) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for text in matches.list("output") {
        let (mut kind, mut dest) = ("", None);
        for field in text.split(',') {
            match field.split_once('=') {
                Some(("type", value)) => kind = value,
                Some(("dest", value)) => dest = Some(PathBuf::from(value)),
                _ => return Err(Failure::NotBuilt { what: format!("--output {text}: {field}") }),
            }
        }
        match (kind, dest) {
            ("image" | "docker", None) => {}
            ("docker" | "oci", Some(dest)) => files.push(dest),
            _ => return Err(Failure::NotBuilt { what: format!("--output {text}") }),
        }
    }
    Ok(files)
}

fn finish(cli: &Cli, matches: &Matches, outputs: &[PathBuf], id: &str) -> Result<(), Failure> {
    let write =
        |path: &str, text: &str| std::fs::write(path, text).map_err(Failure::io("write", path));
    let iidfile = matches.text("iidfile");
    if !iidfile.is_empty() {
        write(iidfile, id)?;
    }
    let metadata = matches.text("metadata-file");
    if !metadata.is_empty() {
        let names = matches.list("tag").join(",");
        let json = serde_json::json!({
            "containerimage.digest": id,
            "image.name": names,
        });
        write(metadata, &format!("{json:#}\n"))?;
    }
    for path in outputs {
        let name = matches.list("tag").first().copied().unwrap_or(id);
        let answer = cli.client()?.send(plain("GET", format!("/images/{}/get", escape(name))))?;
        let at = || path.display().to_string();
        let mut file = File::create(path).map_err(Failure::io("create", at()))?;
        let mut body = answer.body;
        io::copy(&mut body, &mut file).map_err(Failure::io("write", at()))?;
    }
    if matches.on("push") {
        for tag in matches.list("tag") {
            push(cli, tag)?;
        }
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
    show(answer.body, &Shown::Output, |_| {})
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
