//! What is sent: a directory by its ignore file, an archive or a Dockerfile from standard input, or nothing where
//! the engine fetches it; and directories beside it.

use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::query::Pairs;
use crate::args::Matches;
use crate::context::Context;
use crate::failure::Failure;

/// More directories that travel with the context.
#[derive(Default)]
pub(crate) struct Input {
    sent: Vec<(PathBuf, String, bool)>,
}

/// What is sent, and whether it is a context at all.
pub(crate) enum Sent {
    /// A directory.
    Directory(Box<Context>),
    /// An archive.
    Archive(Box<dyn Read>),
    /// Nothing: the engine fetches it.
    Nothing,
}

impl Input {
    /// Notes a directory; gives the one that it will be in.
    pub(super) fn send(&mut self, place: &str, ignores: bool) -> Result<String, Failure> {
        let root = std::fs::canonicalize(place).map_err(Failure::io("look at", place))?;
        if !root.is_dir() {
            return Err(Failure::Invalid(format!("{place} is not a directory")));
        }
        let name = format!(".dhow-sent-{}", self.sent.len());
        self.sent.push((root, name.clone(), ignores));
        Ok(name)
    }

    /// The context, and what of it is the Dockerfile.
    pub(crate) fn open(&self, matches: &Matches, pairs: &mut Pairs) -> Result<Sent, Failure> {
        let archive = open(matches, pairs)?;
        match (archive, self.sent.is_empty()) {
            (Opened::Nothing, true) => Ok(Sent::Nothing),
            (Opened::Stream(stream), true) => Ok(Sent::Archive(stream)),
            (Opened::Context(mut context), _) => {
                for (root, name, ignores) in &self.sent {
                    context.add(root, name, *ignores)?;
                }
                Ok(Sent::Directory(context))
            }
            (Opened::Nothing | Opened::Stream(_), false) => Err(Failure::NotBuilt {
                what: "directories as further contexts or caches with a context that is not a directory"
                    .to_owned(),
            }),
        }
    }
}

enum Opened {
    Context(Box<Context>),
    Stream(Box<dyn Read>),
    Nothing,
}

fn open(matches: &Matches, pairs: &mut Pairs) -> Result<Opened, Failure> {
    let place = matches.words[0].as_str();
    let file = matches.text("file");
    if place == "-" {
        return from_stdin(file, pairs);
    }
    let remote = ["http://", "https://", "git://", "ssh://", "git@", "github.com/"];
    if remote.iter().any(|prefix| place.starts_with(prefix)) && !Path::new(place).exists() {
        if file == "-" {
            let text =
                "a Dockerfile from standard input goes with a directory, not with an address";
            return Err(Failure::invalid(text));
        }
        pairs.push(("remote", place.to_owned()));
        if !file.is_empty() {
            pairs.push(("dockerfile", file.to_owned()));
        }
        return Ok(Opened::Nothing);
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
    Ok(Opened::Context(Box::new(Context::walk(&root, &name, extra)?)))
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
fn from_stdin(file: &str, pairs: &mut Pairs) -> Result<Opened, Failure> {
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
        return Ok(Opened::Stream(Box::new(input)));
    }
    let mut bytes = Vec::new();
    input.read_to_end(&mut bytes).map_err(Failure::io("read", "standard input"))?;
    pairs.push(("dockerfile", "Dockerfile".to_owned()));
    Ok(Opened::Context(Box::new(Context::of_file("Dockerfile", bytes))))
}

fn is_archive(head: &[u8]) -> bool {
    head.starts_with(b"\x1f\x8b")
        || head.starts_with(b"BZh")
        || head.starts_with(b"\xfd7zXZ")
        || head.starts_with(b"\x28\xb5\x2f\xfd")
        || head.get(257..262) == Some(&b"ustar"[..])
}
