//! Where a build's result goes: into the store, to a registry, into files.
//!
//! Invariant: what is written is complete, or the command has failed; an image that is only given away does not stay
//! in the store.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::query::Fields;
use crate::args::Matches;
use crate::failure::Failure;
use crate::files::unpack;

/// What one output is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The files, in a directory.
    Local(PathBuf),
    /// The files, as an archive; on standard output where there is no path.
    Tar(Option<PathBuf>),
    /// The image, as an archive.
    Archive(Option<PathBuf>),
    /// The image, as an OCI layout.
    Layout(PathBuf),
    /// What was done, as an OCI layout.
    Cache(PathBuf),
}

/// All outputs of a build.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    kinds: Vec<Kind>,
    /// The image stays in the store.
    pub(crate) keep: bool,
    /// Its names go to their registries.
    pub(crate) push: bool,
    /// Further names.
    pub(crate) names: Vec<String>,
    /// Notes on the manifest.
    pub(crate) annotations: Vec<String>,
    platforms: usize,
    /// Archives of files and of the image that have come so far.
    roots: usize,
    archives: usize,
}

impl Outputs {
    /// What the flags say.
    pub(crate) fn of(matches: &Matches, platforms: usize) -> Result<Self, Failure> {
        let mut outputs = Self { platforms: platforms.max(1), ..Self::default() };
        for text in matches.list("output") {
            outputs.add(text)?;
        }
        if matches.list("output").is_empty() || matches.on("load") || matches.on("push") {
            outputs.keep = true;
        }
        outputs.push |= matches.on("push");
        for text in matches.list("cache-to") {
            let fields = Fields::parse(text, "registry", "ref");
            if fields.kind == "local" {
                let dest = fields.need(text, "--cache-to", "dest")?;
                outputs.kinds.push(Kind::Cache(dest.into()));
            }
        }
        let to_stdout = |kind: &&Kind| matches!(kind, Kind::Tar(None) | Kind::Archive(None));
        match outputs.kinds.iter().filter(to_stdout).count() {
            0 => {}
            1 if !crate::session::stdout_is_terminal() => {}
            1 => {
                let text = "dest file is required for an archive; refusing to write to console";
                return Err(Failure::invalid(text));
            }
            _ => return Err(Failure::invalid("only one output can go to standard output")),
        }
        Ok(outputs)
    }

    fn add(&mut self, text: &str) -> Result<(), Failure> {
        if text == "-" {
            self.kinds.push(Kind::Tar(None));
            return Ok(());
        }
        let fields = Fields::parse(text, "local", "dest");
        let path = || match fields.get("dest") {
            None | Some("" | "-") => None,
            Some(dest) => Some(PathBuf::from(dest)),
        };
        let mut known = vec!["type", "dest"];
        match fields.kind {
            "local" => {
                self.kinds.push(Kind::Local(fields.need(text, "--output", "dest")?.into()));
            }
            "tar" if self.platforms > 1 => {
                let what = "--output type=tar for several platforms".to_owned();
                return Err(Failure::NotBuilt { what });
            }
            "tar" => self.kinds.push(Kind::Tar(path())),
            "oci" | "docker" => {
                known.extend(["name", "tar"]);
                self.names.extend(fields.get("name").map(str::to_owned));
                match (fields.kind, path(), fields.get("tar")) {
                    (_, Some(dest), Some("false")) => self.kinds.push(Kind::Layout(dest)),
                    ("docker", None, None) if fields.get("dest").is_none() => self.keep = true,
                    (_, dest, None | Some("true")) => self.kinds.push(Kind::Archive(dest)),
                    _ => return Err(Failure::Invalid(format!("invalid output {text}: tar"))),
                }
            }
            "image" | "registry" => {
                known.extend(["name", "push"]);
                self.keep = true;
                self.names.extend(fields.get("name").map(str::to_owned));
                self.push |= fields.kind == "registry" || fields.get("push") == Some("true");
            }
            "cacheonly" => {}
            _ => return Err(Failure::NotBuilt { what: format!("--output {text}") }),
        }
        for field in text.split(',').filter_map(|field| field.strip_prefix("annotation.")) {
            self.annotations.push(field.to_owned());
        }
        let notes: Vec<&str> = text
            .split(',')
            .filter(|field| field.starts_with("annotation."))
            .filter_map(|field| field.split('=').next())
            .collect();
        known.extend(notes);
        fields.only(text, "--output", &known)
    }

    /// What the engine is to give away.
    pub(crate) fn words(&self) -> Vec<&'static str> {
        let word = |kind: &Kind| match kind {
            Kind::Local(_) | Kind::Tar(_) => "root",
            Kind::Archive(_) | Kind::Layout(_) => "archive",
            Kind::Cache(_) => "cache",
        };
        self.kinds.iter().map(word).collect()
    }

    /// Whether standard output is one of them.
    pub(crate) fn takes_stdout(&self) -> bool {
        self.kinds.iter().any(|kind| matches!(kind, Kind::Tar(None) | Kind::Archive(None)))
    }

    /// Takes one that has come.
    pub(super) fn take(
        &mut self,
        word: &str,
        platform: &str,
        source: &mut dyn Read,
    ) -> Result<(), Failure> {
        match word {
            "root" => {
                let number = self.roots / self.platforms;
                self.roots += 1;
                let of_root = |kind: &&Kind| matches!(kind, Kind::Local(_) | Kind::Tar(_));
                match self.kinds.iter().filter(of_root).nth(number) {
                    Some(Kind::Local(dest)) => unpack_into(&dest.join(platform), source),
                    Some(Kind::Tar(dest)) => write(dest.as_deref(), source),
                    _ => Ok(()),
                }
            }
            "archive" => {
                let number = self.archives;
                self.archives += 1;
                let of_image = |kind: &&Kind| matches!(kind, Kind::Archive(_) | Kind::Layout(_));
                match self.kinds.iter().filter(of_image).nth(number) {
                    Some(Kind::Layout(dest)) => unpack_into(dest, source),
                    Some(Kind::Archive(dest)) => write(dest.as_deref(), source),
                    _ => Ok(()),
                }
            }
            _ => {
                let mut caches = self.kinds.iter().filter_map(|kind| match kind {
                    Kind::Cache(dest) => Some(dest),
                    _ => None,
                });
                let Some(first) = caches.next() else { return Ok(()) };
                unpack_into(first, source)?;
                match caches.next() {
                    None => Ok(()),
                    Some(_) => {
                        let what = "--cache-to type=local more than once".to_owned();
                        Err(Failure::NotBuilt { what })
                    }
                }
            }
        }
    }
}

fn unpack_into(dest: &Path, source: &mut dyn Read) -> Result<(), Failure> {
    let at = || dest.display().to_string();
    std::fs::create_dir_all(dest).map_err(Failure::io("make", at()))?;
    unpack(dest, source, None).map_err(Failure::io("unpack into", at()))
}

fn write(dest: Option<&Path>, source: &mut dyn Read) -> Result<(), Failure> {
    let Some(dest) = dest else {
        let mut out = io::stdout().lock();
        let copied = io::copy(source, &mut out).and_then(|_| out.flush());
        return copied.map_err(Failure::io("write", "standard output"));
    };
    let at = || dest.display().to_string();
    let mut file = File::create(dest).map_err(Failure::io("create", at()))?;
    io::copy(source, &mut file).map(drop).map_err(Failure::io("write", at()))
}
