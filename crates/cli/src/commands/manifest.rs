//! `manifest`: lists of images for several platforms, put together here and written to a registry.
//!
//! A list that is being put together lies in the directory `manifests` beside `config.json`, one file for each
//! image in it. Invariant: an image is in a list as its registry had it, but for what was annotated.
//! Absent on purpose: asking registries, which the engine does.

use std::path::{Path, PathBuf};

use dhow_spec::Reference;

use crate::args::{Flag, Matches};
use crate::cli::Cli;
use crate::client::{Payload, Request, escape};
use crate::failure::Failure;
use crate::json::{Json, object};
use crate::tree::{Command, Words};

const INSECURE: Flag = Flag::switch("insecure", "Allow a registry without TLS").hidden();

pub(super) const CREATE: Command = Command {
    names: &["manifest create"],
    usage: "MANIFEST_LIST MANIFEST [MANIFEST...]",
    about: "Begin a list of images for several platforms",
    flags: &[&[Flag::switch("amend", "Add to a list that is there").short('a'), INSECURE]],
    words: Words::AtLeast(2),
    stops: false,
    run: create,
};

pub(super) const ANNOTATE: Command = Command {
    names: &["manifest annotate"],
    usage: "[OPTIONS] MANIFEST_LIST MANIFEST",
    about: "Say for which platform an image of a list is",
    flags: &[&[
        Flag::text("arch", "Architecture"),
        Flag::text("os", "Operating system"),
        Flag::list("os-features", "Features of the operating system").of("strings", |_| Ok(())),
        Flag::text("os-version", "Version of the operating system"),
        Flag::text("variant", "Variant of the architecture"),
    ]],
    words: Words::Exactly(2),
    stops: false,
    run: annotate,
};

pub(super) const INSPECT: Command = Command {
    names: &["manifest inspect"],
    usage: "[OPTIONS] [MANIFEST_LIST] MANIFEST",
    about: "Show an image's manifest, or a list",
    flags: &[&[INSECURE, Flag::switch("verbose", "Show descriptors and platforms").short('v')]],
    words: Words::AtLeast(1),
    stops: false,
    run: inspect,
};

pub(super) const PUSH: Command = Command {
    names: &["manifest push"],
    usage: "[OPTIONS] MANIFEST_LIST",
    about: "Write a list to its registry",
    flags: &[&[INSECURE, Flag::switch("purge", "Forget the list here afterwards").short('p')]],
    words: Words::Exactly(1),
    stops: false,
    run: push,
};

pub(super) const REMOVE: Command = Command {
    names: &["manifest rm"],
    usage: "MANIFEST_LIST [MANIFEST_LIST...]",
    about: "Forget lists that are put together here",
    flags: &[],
    words: Words::AtLeast(1),
    stops: false,
    run: |cli, matches| {
        cli.each(&matches.words, |name| {
            let directory = List::of(cli, &parse(name)?)?.directory;
            std::fs::remove_dir_all(&directory)
                .map_err(|_| Failure::Invalid(format!("No such manifest: {name}")))
        })
    },
};

/// Docker's types, and OCI's.
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A list that is being put together.
struct List {
    directory: PathBuf,
}

impl List {
    fn of(cli: &Cli, name: &Reference) -> Result<Self, Failure> {
        let directory = cli.config()?.directory().join("manifests").join(file_name(name));
        Ok(Self { directory })
    }

    fn exists(&self) -> bool {
        self.directory.is_dir()
    }

    fn file(&self, image: &Reference) -> PathBuf {
        self.directory.join(file_name(image))
    }

    fn put(&self, image: &Reference, entry: &Json) -> Result<(), Failure> {
        let path = self.file(image);
        let written = std::fs::create_dir_all(&self.directory)
            .and_then(|()| std::fs::write(&path, entry.compact()));
        written.map_err(Failure::io("write", path.display().to_string()))
    }

    /// What is in it, in the order of names.
    fn entries(&self) -> Result<Vec<Json>, Failure> {
        let failed = Failure::io("read", self.directory.display().to_string());
        let files = std::fs::read_dir(&self.directory).and_then(Iterator::collect);
        let files: Vec<std::fs::DirEntry> = files.map_err(failed)?;
        let mut paths: Vec<PathBuf> = files.iter().map(std::fs::DirEntry::path).collect();
        paths.sort();
        paths.iter().map(|path| read(path)).collect()
    }

    /// As registries have it.
    fn document(&self) -> Result<Json, Failure> {
        let entries = self.entries()?;
        let oci = |entry: &Json| {
            entry.get("Descriptor").text("mediaType").starts_with("application/vnd.oci.")
        };
        let kind = if entries.iter().any(oci) { OCI_INDEX } else { DOCKER_LIST };
        let manifests = entries.iter().map(|entry| entry.get("Descriptor").clone()).collect();
        Ok(object([
            ("schemaVersion", Json::Int(2)),
            ("mediaType", Json::Text(kind.to_owned())),
            ("manifests", Json::List(manifests)),
        ]))
    }
}

fn read(path: &Path) -> Result<Json, Failure> {
    let bytes = std::fs::read(path).map_err(Failure::io("read", path.display().to_string()))?;
    Json::parse(&bytes).map_err(|error| Failure::Invalid(format!("{}: {error}", path.display())))
}

/// The whole name, as Docker makes a file's of it.
fn file_name(name: &Reference) -> String {
    name.to_string().replace(':', "-").replace('/', "_")
}

fn parse(name: &str) -> Result<Reference, Failure> {
    Reference::parse(name).map_err(|error| {
        Failure::Invalid(format!("error parsing name for manifest list {name}: {error}"))
    })
}

fn check_insecure(matches: &Matches) -> Result<(), Failure> {
    match matches.on("insecure") {
        true => Err(Failure::NotBuilt {
            what: "--insecure (the engine's --insecure-registry decides)".to_owned(),
        }),
        false => Ok(()),
    }
}

/// What a registry has under a name: its descriptor with the platform, and its text.
fn fetch(cli: &Cli, name: &Reference) -> Result<Json, Failure> {
    let auth = cli.config()?.auth(name.repository().domain())?;
    let found = cli.client()?.json(Request {
        method: "GET",
        path: format!("/distribution/{}/manifest", escape(&name.to_string())),
        headers: vec![("X-Registry-Auth", auth)],
        payload: Payload::Empty,
    })?;
    let mut descriptor = found.get("Descriptor").clone();
    let platform = found.get("Platform").clone();
    if !platform.is_null() {
        descriptor.set("platform", platform);
    }
    Ok(object([
        ("Ref", Json::Text(name.to_string())),
        ("Descriptor", descriptor),
        ("Raw", found.get("Raw").clone()),
    ]))
}

fn create(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    check_insecure(matches)?;
    let name = parse(&matches.words[0])?;
    let list = List::of(cli, &name)?;
    if list.exists() && !matches.on("amend") {
        return Err(Failure::invalid(
            "refusing to amend an existing manifest list with no --amend flag",
        ));
    }
    // Nothing is kept before all of it was found.
    let mut found = Vec::new();
    for word in &matches.words[1..] {
        let image = parse(word)?;
        let entry = fetch(cli, &image)?;
        if entry.get("Descriptor").get("platform").is_null() {
            return Err(Failure::Invalid(format!("{word} is a manifest list, not an image")));
        }
        found.push((image, entry));
    }
    for (image, entry) in &found {
        list.put(image, entry)?;
    }
    cli.say(&format!("Created manifest list {name}"))?;
    Ok(0)
}

fn annotate(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let (name, image) = (parse(&matches.words[0])?, parse(&matches.words[1])?);
    let list = List::of(cli, &name)?;
    let path = list.file(&image);
    if !path.exists() {
        return Err(Failure::Invalid(format!(
            "manifest for image {} does not exist in {}",
            matches.words[1], matches.words[0]
        )));
    }
    let mut entry = read(&path)?;
    let mut descriptor = entry.get("Descriptor").clone();
    let mut platform = descriptor.get("platform").clone();
    for (flag, key) in [
        ("os", "os"),
        ("arch", "architecture"),
        ("variant", "variant"),
        ("os-version", "os.version"),
    ] {
        if let Some(text) = matches.some(flag) {
            platform.set(key, Json::Text(text.to_owned()));
        }
    }
    let features = matches.list("os-features");
    if !features.is_empty() {
        let features = features.iter().flat_map(|text| text.split(','));
        let features = features.map(|text| Json::Text(text.to_owned())).collect();
        platform.set("os.features", Json::List(features));
    }
    descriptor.set("platform", platform);
    entry.set("Descriptor", descriptor);
    list.put(&image, &entry)?;
    Ok(0)
}

fn inspect(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    check_insecure(matches)?;
    let verbose = matches.on("verbose");
    let entry = match matches.words.as_slice() {
        [name] => {
            let name = parse(name)?;
            let list = List::of(cli, &name)?;
            if list.exists() {
                let shown = match verbose {
                    true => Json::List(list.entries()?.iter().map(told).collect::<Result<_, _>>()?),
                    false => list.document()?,
                };
                cli.say(&shown.pretty(3))?;
                return Ok(0);
            }
            fetch(cli, &name)?
        }
        [name, image] => {
            let path = List::of(cli, &parse(name)?)?.file(&parse(image)?);
            read(&path).map_err(|_| Failure::Invalid(format!("No such manifest: {image}")))?
        }
        _ => return Err(Failure::invalid("'manifest inspect' requires at most 2 arguments")),
    };
    let shown = if verbose { told(&entry)? } else { manifest(&entry)? };
    cli.say(&shown.pretty(4))?;
    Ok(0)
}

fn manifest(entry: &Json) -> Result<Json, Failure> {
    Json::parse(entry.text("Raw").as_bytes()).map_err(|source| Failure::Answer { source })
}

/// An image with what is known of it.
fn told(entry: &Json) -> Result<Json, Failure> {
    let descriptor = entry.get("Descriptor").clone();
    let is_oci = descriptor.text("mediaType").starts_with("application/vnd.oci.");
    let key = if is_oci { "OCIManifest" } else { "SchemaV2Manifest" };
    Ok(object([
        ("Ref", entry.get("Ref").clone()),
        ("Descriptor", descriptor),
        (key, manifest(entry)?),
    ]))
}

fn push(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    check_insecure(matches)?;
    let name = parse(&matches.words[0])?;
    let list = List::of(cli, &name)?;
    if !list.exists() {
        return Err(Failure::Invalid(format!("No such manifest: {}", matches.words[0])));
    }
    let mut sources = Vec::new();
    for entry in list.entries()? {
        let digest = entry.get("Descriptor").text("digest").to_owned();
        sources.push((digest, Json::Text(repository(entry.text("Ref"))?)));
    }
    let document = list.document()?;
    let body = object([
        ("MediaType", Json::Text(document.text("mediaType").to_owned())),
        ("Raw", Json::Text(document.pretty(3))),
        ("Sources", object(sources)),
    ]);
    let auth = cli.config()?.auth(name.repository().domain())?;
    let pushed = cli.client()?.json(Request {
        method: "POST",
        path: format!("/distribution/{}/manifest", escape(&name.to_string())),
        headers: vec![("X-Registry-Auth", auth)],
        payload: Payload::Json(body.compact().into_bytes()),
    })?;
    cli.say(pushed.get("Descriptor").text("digest"))?;
    if matches.on("purge") {
        let removed = std::fs::remove_dir_all(&list.directory);
        removed.map_err(Failure::io("remove", list.directory.display().to_string()))?;
    }
    Ok(0)
}

fn repository(name: &str) -> Result<String, Failure> {
    Ok(parse(name)?.repository().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_names_that_are_no_paths() {
        let name = parse("host:5000/a/b:1").unwrap();
        assert_eq!(file_name(&name), "host-5000_a_b-1");
        assert_eq!(file_name(&parse("x").unwrap()), "docker.io_library_x-latest");
        assert_eq!(repository("host:5000/a/b:1").unwrap(), "host:5000/a/b");
    }
}
