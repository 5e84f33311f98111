//! `cargo xtask builds`: the same Dockerfiles built by docker's two builders and by dhow, and what came out held
//! against each other, file by file and field by field.
//!
//! The cases are folders of `tests/builds`. With `--newer`, docker is the one of Debian trixie (`newer`); `--real`
//! builds what users build (`real`). Invariant: a case passes where dhow's image is like BuildKit's or like
//! the classic builder's in every file and in every field; everything happens in namespaces of its own.

mod newer;
mod real;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lexopt::prelude::*;
use serde_json::Value;

use crate::bench::{Kind, Peer, pack_busybox};
use crate::columns::Columns;
use crate::images::{Closeness, Network, alone, compare};
use crate::leftover;
use crate::task::{At, TaskError, progress, read, run as run_command, workspace};

const USAGE: &str = "\
cargo xtask builds [--newer] [--only CASE ...]
cargo xtask builds --real [--suite NAME]
  --newer  docker of Debian trixie in place of this machine's
  --only   cases: folders of tests/builds (repeatable; all)
  --real   packages, a program and an application on Debian, each twice; needs a mirror and an index
  --suite  which Debian (trixie)";

/// The builders; the last one is judged.
const BUILDERS: [(&str, Kind, bool); 3] = [
    ("classic", Kind::Docker, false),
    ("buildkit", Kind::Docker, true),
    ("dhow", Kind::Dhow, false),
];

/// Fields of a configuration that say what a container is to be.
const FIELDS: [&str; 12] = [
    "User",
    "ExposedPorts",
    "Env",
    "Entrypoint",
    "Cmd",
    "Volumes",
    "WorkingDir",
    "Labels",
    "StopSignal",
    "Shell",
    "OnBuild",
    "Healthcheck",
];

/// What engines put into every container, whatever its image.
const OF_CONTAINERS: [&str; 8] = [
    ".dockerenv",
    "dev",
    "etc/hostname",
    "etc/hosts",
    "etc/mtab",
    "etc/resolv.conf",
    "proc",
    "sys",
];

/// One image as it came out.
struct Built {
    root: PathBuf,
    config: BTreeMap<&'static str, Value>,
}

/// Builds everything everywhere and prints a table.
pub(crate) fn run(mut arguments: lexopt::Parser) -> Result<(), TaskError> {
    let (mut only, mut inside, mut newer, mut real) = (Vec::new(), false, false, false);
    let mut suite = "trixie".to_owned();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("only") => only.push(arguments.value()?.string()?),
            Long("inside") => inside = true,
            Long("newer") => newer = true,
            Long("real") => real = true,
            Long("suite") => suite = arguments.value()?.string()?,
            Long("help") | Short('h') => {
                println!("{USAGE}");
                return Ok(());
            }
            other => return Err(other.unexpected().into()),
        }
    }
    if !inside {
        let mut cargo = Command::new("cargo");
        run_command(cargo.args(["build", "--release", "-p", "dhow"]).current_dir(workspace()))?;
        let mut words = vec!["builds".to_owned(), "--inside".to_owned()];
        if real {
            words.extend(["--real".to_owned(), format!("--suite={suite}")]);
            return alone(&words, Network::Shared);
        }
        for (_, kind, _) in BUILDERS {
            kind.program()?;
        }
        if newer {
            // In there is no network.
            newer::made()?;
            words.push("--newer".to_owned());
        }
        words.extend(only.iter().map(|case| format!("--only={case}")));
        return alone(&words, Network::Own);
    }
    if real {
        return real::run(&suite);
    }
    let cgroup = format!("dhow-builds.{}", std::process::id());
    let dir = std::env::temp_dir().join(&cgroup);
    fs::create_dir_all(&dir).at("create", &dir)?;
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").at("write", "ip_forward")?;
    let result = all(&dir, &cgroup, &only, newer);
    progress("");
    leftover::remove_cgroups(&[cgroup]);
    fs::remove_dir_all(&dir).at("remove", &dir)?;
    result
}

fn all(dir: &Path, cgroup: &str, only: &[String], newer: bool) -> Result<(), TaskError> {
    let root = match newer {
        true => Some(newer::root(&[dir, &workspace().join("tests/builds")])?),
        false => None,
    };
    let archive = pack_busybox(dir)?;
    let mut peers = Vec::new();
    for (name, kind, _) in BUILDERS {
        let root = root.as_deref().filter(|_| kind == Kind::Docker);
        let peer = Peer::start_of(kind, root, &dir.join(name), cgroup, &[])?;
        let input = fs::File::open(&archive).at("open", &archive)?;
        run_command(peer.command(&["load"])?.stdin(input).stdout(Stdio::null()))?;
        peers.push(peer);
    }
    let mut table = Columns::new(["case", "against classic", "against buildkit"]);
    let (mut told, mut bad) = (String::new(), false);
    for case in cases(only)? {
        let name = case.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let known = fs::read_to_string(case.join("only")).unwrap_or_default();
        let mut images = Vec::new();
        for ((builder, _, buildkit), peer) in BUILDERS.iter().zip(&peers) {
            progress(&format!("{name}: {builder}"));
            // What only newer builders know.
            let is_known = newer || known.is_empty() || known.trim() == *builder;
            if !is_known && *builder != "dhow" {
                images.push(None);
                continue;
            }
            let place = dir.join("out").join(&name).join(builder);
            match build(peer, *buildkit, &case, &name, &place) {
                Ok(built) => images.push(Some(built)),
                // What fails with us is a fault; what fails with others is told.
                Err(TaskError::Program { .. }) => images.push(None),
                Err(error) => return Err(error),
            }
        }
        let Some(Some(ours)) = images.pop() else {
            bad = true;
            table.push([name.as_str(), "we do not build it", ""]);
            continue;
        };
        let mut cells = vec![name.clone()];
        let mut like = images.iter().all(Option::is_none);
        for (theirs, (builder, _, _)) in images.iter().zip(BUILDERS) {
            let Some(theirs) = theirs else {
                cells.push("not built".to_owned());
                continue;
            };
            let faults = differences(theirs, &ours)?;
            like |= faults.is_empty();
            cells.push(match faults.len() {
                0 => "the same".to_owned(),
                count => format!("{count} differences"),
            });
            for fault in faults {
                told.push_str(&format!("{name}, against {builder}: {fault}\n"));
            }
        }
        bad |= !like;
        table.push(cells);
    }
    progress("");
    print!("{}{told}", table.render());
    if bad { Err(TaskError::Bad) } else { Ok(()) }
}

fn cases(only: &[String]) -> Result<Vec<PathBuf>, TaskError> {
    let place = workspace().join("tests/builds");
    let mut found = Vec::new();
    for entry in fs::read_dir(&place).at("read", &place)? {
        let entry = entry.at("read", &place)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() && (only.is_empty() || only.contains(&name)) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Builds a case, twice: the second time everything is known, and the image is the same.
fn build(
    peer: &Peer,
    buildkit: bool,
    case: &Path,
    name: &str,
    place: &Path,
) -> Result<Built, TaskError> {
    let tag = format!("case-{name}");
    let context = case.display().to_string();
    let once = || {
        let mut command = peer.command(&["build", "-q", "-t", &tag, &context])?;
        command.env("DOCKER_BUILDKIT", if buildkit { "1" } else { "0" });
        read(&mut command)
    };
    let first = once()?;
    if peer.kind == Kind::Dhow && once()? != first {
        eprintln!("{name}: the second build is another image");
        return Err(TaskError::Bad);
    }
    let text = read(&mut peer.command(&["image", "inspect", &tag])?)?;
    let document: Value = serde_json::from_str(&text).unwrap_or_default();
    let config = FIELDS.map(|field| (field, plain(document[0]["Config"][field].clone())));
    let root = place.join("root");
    fs::create_dir_all(&root).at("create", &root)?;
    // An image may have no command of its own.
    let id = read(&mut peer.command(&["create", "--network=none", &tag, "none"])?)?;
    let archive = place.join("root.tar");
    let path = archive.display().to_string();
    run_command(&mut peer.command(&["export", "-o", &path, id.trim()])?)?;
    run_command(peer.command(&["rm", id.trim()])?.stdout(Stdio::null()))?;
    let mut tar = Command::new("tar");
    run_command(tar.arg("-xpf").arg(&archive).arg("--numeric-owner").arg("-C").arg(&root))?;
    for own in OF_CONTAINERS {
        let path = root.join(own);
        let removed =
            if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        match removed {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).at("remove", &path);
            }
            _ => {}
        }
    }
    // Where an image has no such directory, it was made for those files.
    match fs::remove_dir(root.join("etc")) {
        Ok(()) => {}
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::DirectoryNotEmpty
            ) => {}
        Err(error) => return Err(error).at("remove", root.join("etc")),
    }
    Ok(Built { root, config: config.into_iter().collect() })
}

/// Nothing said in several ways is nothing.
fn plain(value: Value) -> Value {
    match &value {
        Value::Array(list) if list.is_empty() => Value::Null,
        Value::Object(map) if map.is_empty() => Value::Null,
        Value::String(text) if text.is_empty() => Value::Null,
        Value::Bool(false) => Value::Null,
        _ => value,
    }
}

fn differences(theirs: &Built, ours: &Built) -> Result<Vec<String>, TaskError> {
    let mut faults = compare(&theirs.root, &ours.root, Closeness::Timeless)?.faults;
    for (field, value) in &theirs.config {
        let own = &ours.config[field];
        if own != value {
            faults.push(format!("{field} is {own} in place of {value}"));
        }
    }
    Ok(faults)
}
