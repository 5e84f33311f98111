//! `cargo xtask builds --real`: what users build, on Debian: packages, a program in several stages, a Python
//! application. Each twice; the second time nothing is done.
//!
//! The steps need a Debian mirror and a Python index, which are reached over the machine's own network
//! (`--network host`); the engine makes no network there. Invariant: both builds come to the same image.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::bench::{Kind, Peer};
use crate::columns::Columns;
use crate::images::debian;
use crate::leftover;
use crate::task::{At, TaskError, progress, read, workspace};

/// What each image says when it is run.
const SAYS: [(&str, &[&str], &str); 3] = [
    ("packages", &["--version"], "curl "),
    ("compiled", &[], "hello from a stage"),
    ("python", &[], "signed word"),
];
/// Certificates that this machine trusts, for whoever stands between it and an index.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

pub(super) fn run(suite: &str) -> Result<(), TaskError> {
    let cgroup = format!("dhow-real.{}", std::process::id());
    let dir = std::env::temp_dir().join(&cgroup);
    fs::create_dir_all(&dir).at("create", &dir)?;
    let result = all(suite, &dir, &cgroup);
    progress("");
    leftover::remove_cgroups(&[cgroup]);
    fs::remove_dir_all(&dir).at("remove", &dir)?;
    result
}

fn all(suite: &str, dir: &Path, cgroup: &str) -> Result<(), TaskError> {
    let root = debian(suite)?;
    let peer = Peer::start_of(Kind::Dhow, None, &dir.join("dhow"), cgroup, &["--bridge", "none"])?;
    let mut tar = Command::new("tar");
    let tar = tar.arg("-C").arg(&root).args(["-c", "."]).stdout(Stdio::piped());
    let mut packing = tar.spawn().at("start", "tar")?;
    let archive = packing.stdout.take().map_or_else(Stdio::null, Stdio::from);
    let imported = read(peer.command(&["import", "-", "debian"])?.stdin(archive));
    packing.wait().at("wait for", "tar")?;
    imported?;
    let mut table = Columns::new(["case", "first s", "again s", "steps", "cached"]);
    let mut good = true;
    for (case, words, says) in SAYS {
        progress(case);
        let first = build(&peer, case)?;
        let again = build(&peer, case)?;
        let image = format!("real-{case}");
        let said = read(&mut peer.run(&[&["--rm", "--network=host", &image], words].concat())?)?;
        let fine = again.id == first.id && again.cached == first.done && said.starts_with(says);
        if !fine {
            eprintln!("{case}: {} then {}, and it says {said}", first.id, again.id);
        }
        good &= fine;
        table.push([
            case.to_owned(),
            format!("{:.2}", first.took_s),
            format!("{:.2}", again.took_s),
            first.done.to_string(),
            again.cached.to_string(),
        ]);
    }
    progress("");
    print!("{}", table.render());
    if good { Ok(()) } else { Err(TaskError::Bad) }
}

/// What a build came to.
struct Built {
    id: String,
    took_s: f64,
    /// Steps that were done; stages' beginnings do not count.
    done: usize,
    /// Steps that were known.
    cached: usize,
}

fn build(peer: &Peer, case: &str) -> Result<Built, TaskError> {
    let context = workspace().join("tests/builds-real").join(case).display().to_string();
    let (tag, secret) = (format!("real-{case}"), format!("id=ca,src={CERTIFICATES}"));
    let mut words = vec!["build", "--network=host", "--progress=plain", "-t", &tag];
    if Path::new(CERTIFICATES).exists() {
        words.extend(["--secret", &secret]);
    }
    words.push(&context);
    let begun = Instant::now();
    let output = peer.command(&words)?.output().at("start", "a build")?;
    let took_s = begun.elapsed().as_secs_f64();
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        eprint!("{said}");
        return Err(TaskError::Program { line: words.join(" "), code: output.status.code() });
    }
    let id = read(&mut peer.command(&["inspect", "-f", "{{.Id}}", &tag])?)?.trim().to_owned();
    let does =
        |line: &&str| ["] RUN ", "] COPY ", "] WORKDIR "].iter().any(|word| line.contains(word));
    // A step's number and name stand before what it says, each time that another has said something.
    let steps = said.lines().filter(does).filter_map(|line| line.split_whitespace().next());
    let done = steps.collect::<BTreeSet<_>>().len();
    Ok(Built { id, took_s, done, cached: said.matches(" CACHED").count() })
}
