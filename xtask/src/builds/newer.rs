//! A newer docker than this machine's Debian has: of trixie, in a root of its own.
//!
//! Invariant: the root is made once and kept; what is mounted in it is seen by nobody else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::apt::{Apt, cache, mirror};
use crate::task::{At, TaskError, find_program, read, run};

const SUITE: &str = "trixie";
/// Without it the newer client has no BuildKit.
const PLUGIN: &str = "usr/libexec/docker/cli-plugins/docker-buildx";

/// The root, with `shared` and the kernel's file systems seen in it; for a mount namespace of one's own.
pub(super) fn root(shared: &[&Path]) -> Result<PathBuf, TaskError> {
    let root = made()?;
    let mount = |words: &[&str], place: &Path| run(Command::new("mount").args(words).arg(place));
    // A root that is no mount cannot be remounted, which docker wants to.
    mount(&["--bind", &root.display().to_string()], &root)?;
    // What engines keep beside their own folders is in memory, as it is out here.
    for place in ["run", "tmp", "var/lib/docker"] {
        let inside = root.join(place);
        fs::create_dir_all(&inside).at("create", &inside)?;
        mount(&["-t", "tmpfs", "none"], &inside)?;
    }
    for place in [Path::new("/proc"), Path::new("/sys"), Path::new("/dev")].iter().chain(shared) {
        let inside = root.join(place.strip_prefix("/").unwrap_or(place));
        fs::create_dir_all(&inside).at("create", &inside)?;
        mount(&["--rbind", &place.display().to_string()], &inside)?;
    }
    Ok(root)
}

/// Makes the root if it is not there; needs a Debian mirror then.
pub(super) fn made() -> Result<PathBuf, TaskError> {
    let root = cache("docker")?.join(SUITE);
    if !root.exists() {
        let debootstrap = find_program("debootstrap").ok_or(TaskError::Absent {
            what: "debootstrap",
            remedy: "apt-get install debootstrap",
        })?;
        eprintln!("making Debian {SUITE} with docker, once: {}", root.display());
        let part = root.with_extension("part");
        let _ = fs::remove_dir_all(&part);
        let mut command = Command::new(debootstrap);
        let packages = "--include=docker.io,docker-buildx,iptables,ca-certificates";
        read(command.args(["--variant=minbase", packages, SUITE]).arg(&part).arg(mirror()?))?;
        fs::rename(&part, &root).at("rename", &part)?;
    }
    if !root.join(PLUGIN).exists() {
        Apt::of(SUITE)?.unpack(&["docker-buildx".to_owned()], &root)?;
    }
    Ok(root)
}
