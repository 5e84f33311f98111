//! `context`: engines by name.
//!
//! Invariant: a context is a directory below the configuration's, in Docker's form, so that both command lines
//! share them. Absent on purpose: orchestrators.

use std::io::Read;
use std::path::{Path, PathBuf};

use dhow_archive::hash::Hasher;
use dhow_archive::tar::{Content, Entry, Kind, Metadata, Options, Reader, Writer};
use dhow_spec::Algorithm;

use crate::args::{Flag, Matches};
use crate::cli::Cli;
use crate::client::Endpoint;
use crate::config::write_file;
use crate::failure::Failure;
use crate::format::{Format, Heads, Row, render};
use crate::json::{Json, object};
use crate::tree::{Command, Words};

pub(super) const CREATE: Command = Command {
    names: &["context create"],
    usage: "[OPTIONS] CONTEXT",
    about: "Create a context",
    flags: &[&[
        Flag::text("description", "Description of the context"),
        Flag::text("docker", "The engine: host=, ca=, cert=, key=, skip-tls-verify=, from="),
        Flag::text("from", "Context to begin with"),
        Flag::text("default-stack-orchestrator", "").hidden(),
    ]],
    words: Words::Exactly(1),
    stops: false,
    run: create,
};

pub(super) const UPDATE: Command = Command {
    names: &["context update"],
    usage: "[OPTIONS] CONTEXT",
    about: "Update a context",
    flags: &[&[
        Flag::text("description", "Description of the context"),
        Flag::text("docker", "The engine: host=, ca=, cert=, key=, skip-tls-verify=, from="),
        Flag::text("default-stack-orchestrator", "").hidden(),
    ]],
    words: Words::Exactly(1),
    stops: false,
    run: update,
};

pub(super) const LIST: Command = Command {
    names: &["context ls", "context list"],
    usage: "[OPTIONS]",
    about: "List contexts",
    flags: &[&[
        Flag::text("format", super::FORMAT_HELP),
        Flag::switch("quiet", "Only show names").short('q'),
    ]],
    words: Words::None,
    stops: false,
    run: list,
};

pub(super) const SHOW: Command = Command {
    names: &["context show"],
    usage: "",
    about: "Print the name of the current context",
    flags: &[],
    words: Words::None,
    stops: false,
    run: |cli, _| {
        cli.say(&cli.context_name()?)?;
        Ok(0)
    },
};

pub(super) const USE: Command = Command {
    names: &["context use"],
    usage: "CONTEXT",
    about: "Set the current docker context",
    flags: &[],
    words: Words::Exactly(1),
    stops: false,
    run: choose,
};

pub(super) const REMOVE: Command = Command {
    names: &["context rm", "context remove"],
    usage: "CONTEXT [CONTEXT...]",
    about: "Remove one or more contexts",
    flags: &[&[Flag::switch("force", "Remove it even if it is in use").short('f')]],
    words: Words::AtLeast(1),
    stops: false,
    run: remove,
};

pub(super) const INSPECT: Command = Command {
    names: &["context inspect"],
    usage: "[OPTIONS] [CONTEXT] [CONTEXT...]",
    about: "Display detailed information on one or more contexts",
    flags: &[&[Flag::text("format", super::INSPECT_FORMAT_HELP).short('f')]],
    words: Words::AtLeast(0),
    stops: false,
    run: inspect,
};

pub(super) const EXPORT: Command = Command {
    names: &["context export"],
    usage: "CONTEXT [FILE|-]",
    about: "Export a context to a tar archive FILE or a tar stream on standard output",
    flags: &[],
    words: Words::AtLeast(1),
    stops: false,
    run: export,
};

pub(super) const IMPORT: Command = Command {
    names: &["context import"],
    usage: "CONTEXT FILE|-",
    about: "Import a context from a tar file",
    flags: &[],
    words: Words::Exactly(2),
    stops: false,
    run: import,
};

/// No file of a context is longer.
const FILE_BYTES_MAX: u64 = 1 << 20;

const TABLE: &str = "table {{.Name}}\t{{.Description}}\t{{.DockerEndpoint}}\t{{.Error}}";

const HEADS: Heads = &[
    ("Name", "NAME"),
    ("Description", "DESCRIPTION"),
    ("DockerEndpoint", "DOCKER ENDPOINT"),
    ("Error", "ERROR"),
    ("Current", "CURRENT"),
];

const DEFAULT: &str = "default";
const DEFAULT_ABOUT: &str = "Current DOCKER_HOST based configuration";

/// A context's place, by its name.
struct Store {
    contexts: PathBuf,
}

impl Store {
    fn of(cli: &Cli) -> Result<Self, Failure> {
        Ok(Self { contexts: cli.config()?.directory().join("contexts") })
    }

    fn meta(&self, name: &str) -> PathBuf {
        self.contexts.join("meta").join(digest(name))
    }

    fn tls(&self, name: &str) -> PathBuf {
        self.contexts.join("tls").join(digest(name))
    }

    fn read(&self, name: &str) -> Result<Json, Failure> {
        let missing = || Failure::Invalid(format!("context {name:?}: context not found"));
        let bytes = std::fs::read(self.meta(name).join("meta.json")).map_err(|_| missing())?;
        Json::parse(&bytes).map_err(|error| Failure::Invalid(format!("context {name:?}: {error}")))
    }

    fn all(&self) -> Vec<Json> {
        let entries = std::fs::read_dir(self.contexts.join("meta")).into_iter().flatten().flatten();
        let read = |path: PathBuf| Json::parse(&std::fs::read(path.join("meta.json")).ok()?).ok();
        let mut all: Vec<Json> = entries.filter_map(|entry| read(entry.path())).collect();
        all.sort_by(|a, b| a.text("Name").cmp(b.text("Name")));
        all
    }

    fn write(&self, name: &str, meta: &Json) -> Result<(), Failure> {
        write_file(&self.meta(name).join("meta.json"), &meta.compact())
    }

    fn remove(&self, name: &str) -> Result<(), Failure> {
        for directory in [self.meta(name), self.tls(name)] {
            match std::fs::remove_dir_all(&directory) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Failure::io("remove", directory.display().to_string())(error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn digest(name: &str) -> String {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(name.as_bytes());
    hasher.finish().digest.hex()
}

fn check_name(name: &str) -> Result<(), Failure> {
    let mut letters = name.bytes();
    let begins = letters.next().is_some_and(|letter| letter.is_ascii_alphanumeric());
    let goes_on = letters.all(|letter| letter.is_ascii_alphanumeric() || b"_.+-".contains(&letter));
    if name == DEFAULT {
        return Err(Failure::invalid("\"default\" is a reserved context name"));
    }
    if begins && goes_on && name.len() > 1 {
        return Ok(());
    }
    Err(Failure::Invalid(format!(
        "context name {name:?} is invalid, names are validated against regexp \"^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$\""
    )))
}

/// Names in a context's directory, and where they are copied from.
type Files = Vec<(&'static str, String)>;

/// What `--docker` says: the endpoint, and the files of its certificates.
fn endpoint(cli: &Cli, text: &str) -> Result<(Json, Files), Failure> {
    let mut host = String::new();
    let (mut skip, mut files) = (false, Vec::new());
    for pair in text.split(',').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        match key.trim().to_lowercase().as_str() {
            "host" => host = value.to_owned(),
            "ca" => files.push(("ca.pem", value.to_owned())),
            "cert" => files.push(("cert.pem", value.to_owned())),
            "key" => files.push(("key.pem", value.to_owned())),
            "skip-tls-verify" => skip = matches!(value, "1" | "true"),
            "from" if value == DEFAULT => host = cli.endpoint()?.to_string(),
            "from" => {
                host = Store::of(cli)?
                    .read(value)?
                    .get("Endpoints")
                    .get("docker")
                    .text("Host")
                    .to_owned();
            }
            key => {
                return Err(Failure::Invalid(format!(
                    "unable to parse docker endpoint: unknown key {key:?}"
                )));
            }
        }
    }
    if !host.is_empty() {
        Endpoint::parse(&host, !files.is_empty())?;
    }
    let endpoint = object([("Host", Json::from(host)), ("SkipTLSVerify", Json::from(skip))]);
    Ok((endpoint, files))
}

fn copy_files(directory: &Path, files: &[(&'static str, String)]) -> Result<(), Failure> {
    for (name, path) in files {
        let text = std::fs::read_to_string(path).map_err(Failure::io("read", path))?;
        write_file(&directory.join("docker").join(name), &text)?;
    }
    Ok(())
}

fn create(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let (name, store) = (&matches.words[0], Store::of(cli)?);
    check_name(name)?;
    if store.read(name).is_ok() {
        return Err(Failure::Invalid(format!("context {name:?} already exists")));
    }
    let from = matches.text("from");
    let docker = match (matches.some("docker"), from) {
        (Some(text), _) => text.to_owned(),
        (None, "") => format!("from={}", cli.context_name()?),
        (None, from) => format!("from={from}"),
    };
    let (endpoint, files) = endpoint(cli, &docker)?;
    let description = match (matches.some("description"), from) {
        (Some(text), _) => text.to_owned(),
        (None, "" | DEFAULT) => String::new(),
        (None, from) => store.read(from)?.get("Metadata").text("Description").to_owned(),
    };
    let mut metadata = object::<&str, Json>([]);
    if !description.is_empty() {
        metadata.set("Description", description.into());
    }
    let meta = object([
        ("Name", Json::from(name.as_str())),
        ("Metadata", metadata),
        ("Endpoints", object([("docker", endpoint)])),
    ]);
    copy_files(&store.tls(name), &files)?;
    store.write(name, &meta)?;
    cli.say(name)?;
    cli.warn(&format!("Successfully created context {name:?}"));
    Ok(0)
}

fn update(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let (name, store) = (&matches.words[0], Store::of(cli)?);
    check_name(name)?;
    let mut meta = store.read(name)?;
    if let Some(text) = matches.some("description") {
        meta.set("Metadata", object([("Description", text)]));
    }
    if let Some(text) = matches.some("docker") {
        let (endpoint, files) = endpoint(cli, text)?;
        meta.set("Endpoints", object([("docker", endpoint)]));
        copy_files(&store.tls(name), &files)?;
    }
    store.write(name, &meta)?;
    cli.say(name)?;
    cli.warn(&format!("Successfully updated context {name:?}"));
    Ok(0)
}

fn list(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let (store, current) = (Store::of(cli)?, cli.context_name()?);
    let mut rows = Vec::new();
    let mut row = |name: &str, about: &str, host: String| {
        let is_current = name == current;
        let shown = match is_current && !matches.on("quiet") && matches.text("format").is_empty() {
            true => format!("{name} *"),
            false => name.to_owned(),
        };
        rows.push(
            Row::default()
                .with("Name", shown)
                .with("Description", about)
                .with("DockerEndpoint", host)
                .with("Error", "")
                .with("Current", is_current)
                .with("ContextType", "moby"),
        );
    };
    let others = store.all();
    let mut names: Vec<&str> = others.iter().map(|meta| meta.text("Name")).collect();
    names.push(DEFAULT);
    names.sort_unstable();
    for name in names {
        match others.iter().find(|meta| meta.text("Name") == name) {
            Some(meta) => {
                let host = meta.get("Endpoints").get("docker").text("Host").to_owned();
                row(name, meta.get("Metadata").text("Description"), host);
            }
            None => row(name, DEFAULT_ABOUT, cli.default_endpoint()?.to_string()),
        }
    }
    let format = match matches.text("format") {
        "" | "table" if matches.on("quiet") => "{{.Name}}",
        "" | "table" => TABLE,
        format => format,
    };
    cli.print(&render(format, HEADS, rows)?)?;
    Ok(0)
}

/// The names of all contexts.
pub(super) fn names(cli: &Cli) -> Result<Vec<String>, Failure> {
    let all = Store::of(cli)?.all();
    let own = all.iter().map(|meta| meta.text("Name").to_owned());
    Ok(own.chain([DEFAULT.to_owned()]).collect())
}

fn export(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let (name, store) = (matches.words[0].as_str(), Store::of(cli)?);
    if name == DEFAULT {
        return Err(Failure::invalid("\"default\" is a reserved context name"));
    }
    let meta = store.read(name)?.compact();
    let mut files = vec![("meta.json".to_owned(), meta.into_bytes())];
    let tls = store.tls(name).join("docker");
    for file in std::fs::read_dir(&tls).into_iter().flatten().flatten() {
        let path = file.path();
        let bytes =
            std::fs::read(&path).map_err(Failure::io("read", path.display().to_string()))?;
        files.push((format!("tls/docker/{}", file.file_name().to_string_lossy()), bytes));
    }
    let mut writer = Writer::new(Vec::new());
    for (path, bytes) in files {
        let kind = Kind::File(Content::plain(bytes.len() as u64));
        let metadata = Metadata { mode: 0o600, ..Metadata::default() };
        let entry = Entry { path: path.into_bytes(), kind, metadata };
        let written = writer.append(&entry, &*bytes).map_err(std::io::Error::other);
        written.map_err(Failure::io("write", "the archive"))?;
    }
    let archive = writer.finish().map_err(std::io::Error::other);
    let archive = archive.map_err(Failure::io("write", "the archive"))?;
    match matches.words.get(1).map(String::as_str) {
        Some("-") => {
            let written = std::io::Write::write_all(&mut std::io::stdout().lock(), &archive);
            written.map_err(Failure::io("write", "output"))?;
        }
        file => {
            let usual = format!("{name}.dockercontext");
            let file = file.unwrap_or(&usual);
            std::fs::write(file, archive).map_err(Failure::io("write", file))?;
            cli.warn(&format!("Written file {file:?}"));
        }
    }
    Ok(0)
}

fn import(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let (name, file, store) = (&matches.words[0], matches.words[1].as_str(), Store::of(cli)?);
    check_name(name)?;
    if store.read(name).is_ok() {
        return Err(Failure::Invalid(format!("context {name:?} already exists")));
    }
    let source: Box<dyn Read> = match file {
        "-" => Box::new(std::io::stdin()),
        file => Box::new(std::fs::File::open(file).map_err(Failure::io("open", file))?),
    };
    let wrong = |why: String| Failure::Invalid(format!("invalid context archive {file:?}: {why}"));
    let mut reader = Reader::new(source, Options::GENERAL);
    let (mut meta, mut files) = (None, Vec::new());
    while let Some(entry) = reader.next_entry().map_err(|error| wrong(error.to_string()))? {
        let Kind::File(_) = entry.kind else { continue };
        let mut text = String::new();
        let read = reader.body().take(FILE_BYTES_MAX).read_to_string(&mut text);
        read.map_err(|error| wrong(error.to_string()))?;
        match entry.path.as_slice() {
            b"meta.json" => {
                let parsed = Json::parse(text.as_bytes());
                meta = Some(parsed.map_err(|error| wrong(error.to_string()))?);
            }
            b"tls/docker/ca.pem" => files.push(("ca.pem", text)),
            b"tls/docker/cert.pem" => files.push(("cert.pem", text)),
            b"tls/docker/key.pem" => files.push(("key.pem", text)),
            path => return Err(wrong(String::from_utf8_lossy(path).into_owned())),
        }
    }
    let mut meta = meta.ok_or_else(|| wrong("no meta.json".to_owned()))?;
    meta.set("Name", name.as_str().into());
    for (file, text) in files {
        write_file(&store.tls(name).join("docker").join(file), &text)?;
    }
    store.write(name, &meta)?;
    cli.say(name)?;
    cli.warn(&format!("Successfully imported context {name:?}"));
    Ok(0)
}

fn choose(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let name = matches.words[0].as_str();
    if name != DEFAULT {
        check_name(name)?;
        Store::of(cli)?.read(name)?;
    }
    let kept = if name == DEFAULT { "" } else { name };
    cli.config()?.write("currentContext", kept.into())?;
    cli.say(name)?;
    cli.warn(&format!("Current context is now {name:?}"));
    if let Some(host) = cli.variable("DOCKER_HOST").filter(|host| !host.is_empty()) {
        cli.warn(&format!(
            "Warning: DOCKER_HOST environment variable overrides the active context ({host}). \
             To use {name:?}, either set the global --context flag, or unset DOCKER_HOST environment variable."
        ));
    }
    Ok(0)
}

fn remove(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let (store, current) = (Store::of(cli)?, cli.context_name()?);
    cli.each(&matches.words, |name| {
        if name == DEFAULT {
            return Err(Failure::invalid("context \"default\" cannot be removed"));
        }
        let found = store.read(name);
        if found.is_err() && !matches.on("force") {
            found?;
        }
        if name == current && !matches.on("force") {
            return Err(Failure::Invalid(format!(
                "context {name:?} is in use, set -f flag to force remove"
            )));
        }
        store.remove(name)?;
        if name == cli.config()?.text("currentContext") {
            cli.config()?.write("currentContext", "".into())?;
        }
        cli.say(name)
    })
}

fn inspect(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let store = Store::of(cli)?;
    let names = match matches.words.as_slice() {
        [] => vec![cli.context_name()?],
        names => names.to_vec(),
    };
    let mut found = Vec::new();
    for name in &names {
        let (meta, meta_path, tls_path) = match name.as_str() {
            DEFAULT => {
                let host = cli.default_endpoint()?.to_string();
                let host = object([("Host", Json::from(host)), ("SkipTLSVerify", false.into())]);
                let meta = object([
                    ("Name", Json::from(DEFAULT)),
                    ("Metadata", object::<&str, Json>([])),
                    ("Endpoints", object([("docker", host)])),
                ]);
                (meta, "<IN MEMORY>".to_owned(), "<IN MEMORY>".to_owned())
            }
            name => {
                let show = |path: PathBuf| path.display().to_string();
                (store.read(name)?, show(store.meta(name)), show(store.tls(name)))
            }
        };
        let files =
            std::fs::read_dir(store.tls(name).join("docker")).into_iter().flatten().flatten();
        let mut files: Vec<String> =
            files.filter_map(|file| file.file_name().into_string().ok()).collect();
        files.sort();
        let mut shown = meta;
        let tls = match files.is_empty() {
            true => object::<&str, Json>([]),
            false => object([("docker", Json::from(files))]),
        };
        shown.set("TLSMaterial", tls);
        shown.set("Storage", object([("MetadataPath", meta_path), ("TLSPath", tls_path)]));
        found.push(shown);
    }
    match matches.text("format") {
        "" | "json" => cli.say(&Json::List(found).pretty(4))?,
        format => {
            let format = Format::parse(format)?;
            for one in &found {
                cli.say(&format.fill(one)?)?;
            }
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_s_directory_is_the_digest_of_its_name() {
        assert!(digest("test").starts_with("9f86d081884c7d659a2feaa0c55ad015"));
    }

    #[test]
    fn names_are_docker_s() {
        check_name("a.b+c-d_1").expect("a name");
        for name in ["default", "a", "-a", "a/b", ""] {
            check_name(name).expect_err(name);
        }
    }
}
