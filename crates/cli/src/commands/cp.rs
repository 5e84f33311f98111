//! `cp`: files between this machine and a container.
//!
//! Invariant: where something goes is decided here, by Docker's rules, before anything is sent; the engine
//! unpacks where it is told.

use std::io::{self, Read};
use std::path::Path;

use crate::args::{Flag, Matches};
use crate::cli::Cli;
use crate::client::{Payload, Request, escape, plain, query};
use crate::failure::Failure;
use crate::files::{Rename, clean, is_asserted_directory, pack, split, unpack};
use crate::json::Json;
use crate::session;
use crate::tree::{Command, Words};
use crate::units::human_size;

pub(super) const CP: Command = Command {
    names: &["container cp", "cp"],
    usage: "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n        docker cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
    about: "Copy files/folders between a container and the local filesystem",
    flags: &[&[
        Flag::switch("archive", "Give the files to the container's user").short('a'),
        Flag::switch("follow-link", "Copy what a link in SRC_PATH leads to").short('L'),
        Flag::switch("quiet", "Say nothing; on by itself where no terminal listens").short('q'),
    ]],
    words: Words::Exactly(2),
    stops: false,
    run: cp,
};

/// In Go's numbers of kinds.
const DIRECTORY: i64 = 1 << 31;
const SYMLINK: i64 = 1 << 27;
const NOT_REGULAR: i64 = SYMLINK | 1 << 26 | 1 << 25 | 1 << 24 | 1 << 21 | 1 << 19;

/// A place that is copied from or to.
struct Place {
    path: String,
    exists: bool,
    is_directory: bool,
}

fn cp(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let (source, target) = (&matches.words[0], &matches.words[1]);
    if source.is_empty() {
        return Err(Failure::invalid("source can not be empty"));
    }
    if target.is_empty() {
        return Err(Failure::invalid("destination can not be empty"));
    }
    match (container_of(source), container_of(target)) {
        (Some(_), Some(_)) => Err(Failure::invalid("copying between containers is not supported")),
        (None, None) => Err(Failure::invalid("must specify at least one container source")),
        (Some((container, path)), None) => from(cli, matches, container, path, target),
        (None, Some((container, path))) => to(cli, matches, source, container, path),
    }
}

/// `container:path`; a path of this machine may have a colon behind its first dot or slash.
fn container_of(word: &str) -> Option<(&str, &str)> {
    if word.starts_with('/') || word.starts_with('.') {
        return None;
    }
    word.split_once(':')
}

fn from(
    cli: &Cli,
    matches: &Matches,
    container: &str,
    path: &str,
    target: &str,
) -> Result<u8, Failure> {
    let to_output = target == "-";
    if to_output && session::stdout_is_terminal() {
        return Err(Failure::invalid(
            "cowardly refusing to write an archive to a terminal: redirect it",
        ));
    }
    let target_place = if to_output { None } else { Some(local_target(target)?) };
    let (mut path, mut called) = (path.to_owned(), None);
    if matches.on("follow-link")
        && let Ok(stat) = stat(cli, container, &path)
        && stat.int("mode") & SYMLINK != 0
    {
        let name = split(&path).name;
        path = joined(&path, stat.text("linkTarget"));
        called = Some(name).filter(|name| *name != split(&path).name);
    }
    let request = plain("GET", archive_path(container, &[("path", path.clone())]));
    let answer = cli.client()?.send(request)?;
    let stat = decode(answer.head.header("X-Docker-Container-Path-Stat"))?;
    let mut body = Counted { inner: answer.body, bytes: 0 };
    let Some(place) = target_place else {
        let copied = io::copy(&mut body, &mut io::stdout().lock());
        copied.map_err(Failure::io("write", "output"))?;
        return Ok(0);
    };
    let is_directory = stat.int("mode") & DIRECTORY != 0;
    let base = split(&path).name;
    let (directory, rename) = arrange(&place, is_directory, &base, called.as_deref())?;
    let unpacked = unpack(Path::new(&directory), &mut body, rename.as_ref());
    unpacked.map_err(Failure::io("copy to", target))?;
    done(cli, matches, body.bytes, target);
    Ok(0)
}

fn to(
    cli: &Cli,
    matches: &Matches,
    source: &str,
    container: &str,
    path: &str,
) -> Result<u8, Failure> {
    let mut place = Place { path: path.to_owned(), exists: false, is_directory: false };
    // What cannot be looked at may still be made: the engine says what is wrong.
    let mut found = stat(cli, container, path);
    if let Ok(stat_of_link) = &found
        && stat_of_link.int("mode") & SYMLINK != 0
    {
        place.path = joined(path, stat_of_link.text("linkTarget"));
        found = stat(cli, container, &place.path);
    }
    match &found {
        Ok(stat) => {
            place.exists = true;
            place.is_directory = stat.int("mode") & DIRECTORY != 0;
            if stat.int("mode") & NOT_REGULAR != 0 {
                return Err(Failure::Invalid(format!(
                    "destination \"{container}:{path}\" must be a directory or a regular file"
                )));
            }
        }
        Err(error) if error.is_not_found() => {
            // A container that is not there is said now, and not once everything was sent.
            cli.client()?.get(format!("/containers/{}/json", escape(container)))?;
        }
        Err(_) => {}
    }
    let mut pairs = vec![("noOverwriteDirNonDir", "true".to_owned())];
    if matches.on("archive") {
        pairs.push(("copyUIDGID", "true".to_owned()));
    }
    if source == "-" {
        if !place.is_directory {
            return Err(Failure::Invalid(format!(
                "destination \"{container}:{path}\" must be a directory"
            )));
        }
        pairs.push(("path", place.path));
        let bytes = put(cli, container, &pairs, &mut io::stdin())?;
        done(cli, matches, bytes, &format!("{container}:{path}"));
        return Ok(0);
    }
    let local = absolute(source)?;
    let (local, called) = local_source(&local, matches.on("follow-link"))?;
    let lstat = std::fs::symlink_metadata(&local);
    let is_directory = match lstat {
        Ok(found) => found.is_dir() || is_asserted_directory(&local) && Path::new(&local).is_dir(),
        Err(source) => return Err(Failure::io("lstat", local)(source)),
    };
    let base = split(&local).name;
    let (directory, rename) = arrange(&place, is_directory, &base, called.as_deref())?;
    let name = match (rename, called) {
        (Some(rename), _) => rename.to,
        (None, Some(called)) => called,
        (None, None) => base,
    };
    pairs.push(("path", directory));
    let bytes = send(cli, container, &pairs, Path::new(&local), &name)?;
    done(cli, matches, bytes, &format!("{container}:{path}"));
    Ok(0)
}

/// Packs in a thread of its own while the archive is sent.
fn send(
    cli: &Cli,
    container: &str,
    pairs: &[(&'static str, String)],
    local: &Path,
    name: &str,
) -> Result<u64, Failure> {
    let (mut reader, writer) = io::pipe().map_err(Failure::io("make", "a pipe"))?;
    std::thread::scope(|scope| {
        let packed = scope.spawn(|| pack(local, name, io::BufWriter::new(writer)));
        let sent = put(cli, container, pairs, &mut reader);
        // If the engine wants no more, the packer learns from the closed pipe.
        drop(reader);
        let packed = packed.join().unwrap_or_else(|_| Err(io::Error::other("packing failed")));
        match (sent, packed) {
            (Ok(bytes), Ok(())) => Ok(bytes),
            (Err(failure), Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => Err(failure),
            (_, Err(error)) => Err(Failure::io("read", "what is to be copied")(error)),
            (Err(failure), Ok(())) => Err(failure),
        }
    })
}

fn put(
    cli: &Cli,
    container: &str,
    pairs: &[(&'static str, String)],
    source: &mut dyn Read,
) -> Result<u64, Failure> {
    let mut counted = Counted { inner: source, bytes: 0 };
    cli.client()?.json(Request {
        method: "PUT",
        path: archive_path(container, pairs),
        headers: Vec::new(),
        payload: Payload::Stream(&mut counted),
    })?;
    Ok(counted.bytes)
}

/// Where an archive is unpacked, and what its first name becomes.
fn arrange(
    target: &Place,
    is_directory: bool,
    base: &str,
    called: Option<&str>,
) -> Result<(String, Option<Rename>), Failure> {
    let from_to = |from: &str, to: &str| Rename { from: from.to_owned(), to: to.to_owned() };
    let split = split(&target.path);
    match (target.exists, target.is_directory, is_directory) {
        (true, true, _) => {
            let rename = called.map(|called| from_to(base, called));
            Ok((target.path.clone(), rename))
        }
        (true, false, true) => Err(Failure::invalid("cannot copy directory")),
        (false, _, false) if is_asserted_directory(&target.path) => {
            Err(Failure::invalid("no such directory"))
        }
        _ => Ok((split.directory, Some(from_to(base, &split.name)))),
    }
}

fn done(cli: &Cli, matches: &Matches, bytes: u64, target: &str) {
    if !matches.on("quiet") && session::stderr_is_terminal() {
        cli.warn(&format!("Successfully copied {} to {target}", human_size(bytes as f64, 3)));
    }
}

fn archive_path(container: &str, pairs: &[(&'static str, String)]) -> String {
    format!("/containers/{}/archive{}", escape(container), query(pairs.iter().cloned()))
}

fn stat(cli: &Cli, container: &str, path: &str) -> Result<Json, Failure> {
    let request = plain("HEAD", archive_path(container, &[("path", path.to_owned())]));
    let answer = cli.client()?.send(request)?;
    decode(answer.head.header("X-Docker-Container-Path-Stat"))
}

fn decode(header: Option<&str>) -> Result<Json, Failure> {
    let bytes = header.and_then(dhow_spec::base64::decode).unwrap_or_default();
    Json::parse(&bytes).map_err(|source| Failure::Answer { source })
}

/// What a link at `path` leads to.
fn joined(path: &str, target: &str) -> String {
    match target.starts_with('/') {
        true => target.to_owned(),
        false => clean(&format!("{}/{target}", split(path).directory)),
    }
}

/// A path of this machine from the root on, with what stands behind its last name.
fn absolute(path: &str) -> Result<String, Failure> {
    let whole = match path.starts_with('/') {
        true => path.to_owned(),
        false => {
            let here = std::env::current_dir().map_err(Failure::io("find", "this directory"))?;
            format!("{}/{path}", here.display())
        }
    };
    let cleaned = clean(&whole);
    Ok(match path {
        _ if path == "." || path.ends_with("/.") => format!("{}/.", cleaned.trim_end_matches('/')),
        _ if path.ends_with('/') && cleaned != "/" => format!("{cleaned}/"),
        _ => cleaned,
    })
}

/// What is to be copied, and what it is called if a link was followed to it.
fn local_source(path: &str, follow: bool) -> Result<(String, Option<String>), Failure> {
    let is_link = Path::new(path).is_symlink();
    if !follow || !is_link {
        return Ok((path.to_owned(), None));
    }
    let real = std::fs::canonicalize(path).map_err(Failure::io("evaluate", path))?;
    let real = real.display().to_string();
    let name = split(path).name;
    let called = Some(name).filter(|name| *name != split(&real).name);
    Ok((real, called))
}

fn local_target(path: &str) -> Result<Place, Failure> {
    let path = absolute(path)?;
    let parent = split(&path).directory;
    match std::fs::metadata(&path) {
        Ok(found) => {
            let is_directory = found.is_dir();
            // A link to a file is replaced where it leads to.
            let real = std::fs::canonicalize(&path).map_err(Failure::io("evaluate", &path))?;
            let path = if is_directory { path } else { real.display().to_string() };
            Ok(Place { path, exists: true, is_directory })
        }
        Err(_) if Path::new(&parent).is_dir() => {
            Ok(Place { path, exists: false, is_directory: false })
        }
        Err(_) => Err(Failure::Invalid(format!(
            "invalid output path: directory {parent:?} does not exist"
        ))),
    }
}

/// Counts what goes through.
struct Counted<R> {
    inner: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.bytes += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_name_a_container_or_a_path() {
        assert_eq!(container_of("web:/etc"), Some(("web", "/etc")));
        assert_eq!(container_of("./a:b"), None);
        assert_eq!(container_of("/a:b"), None);
        assert_eq!(container_of("file"), None);
    }

    #[test]
    fn places_are_docker_s() {
        let place = |path: &str, exists, is_directory| Place {
            path: path.to_owned(),
            exists,
            is_directory,
        };
        let check = |place: Place, source_is_directory, expected: &str| {
            let text = match arrange(&place, source_is_directory, "src", None) {
                Ok((directory, None)) => directory,
                Ok((directory, Some(Rename { from, to }))) => format!("{directory} {from}={to}"),
                Err(error) => error.to_string(),
            };
            assert_eq!(text, expected, "{}", place.path);
        };
        check(place("/d", true, true), false, "/d");
        check(place("/d", true, true), true, "/d");
        check(place("/f", true, false), false, "/ src=f");
        check(place("/f", true, false), true, "cannot copy directory");
        check(place("/a/new", false, false), true, "/a src=new");
        check(place("/a/new", false, false), false, "/a src=new");
        check(place("/a/new/", false, false), false, "no such directory");
    }
}
