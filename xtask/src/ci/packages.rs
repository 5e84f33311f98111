//! The Debian packages that the tests need, installed by name if they are missing.
//!
//! A package counts as there when its program is, so that other distributions only have to provide the
//! programs. Rust and a C linker are the reader's business: without them nobody gets here.

use std::process::{Command, Stdio};

use rustix::process::geteuid;

use super::Tally;
use crate::task::{At, TaskError, find_program, run};

/// A program and the package that brings it.
const NEEDED: &[(&str, &str)] = &[
    ("git", "git"),          // tidy asks it for the repository's files
    ("newuidmap", "uidmap"), // containers of unprivileged users
    ("busybox", "busybox-static"),
    ("strace", "strace"), // the budgets of system calls
    ("time", "time"),     // and memory
    ("unshare", "util-linux"),
    ("ip", "iproute2"),                     // tests make neighbours of a host
    ("nft", "nftables"),                    // and firewalls of others
    ("mkfs.btrfs", "btrfs-progs"),          // a storage driver
    ("mkfs.xfs", "xfsprogs"),               // limits of snapshots
    ("docker-registry", "docker-registry"), // a registry that others wrote
    ("skopeo", "skopeo"),                   // and their ways with images
    ("umoci", "umoci"),
];

/// Parts of the toolchain that a minimal one lacks.
const COMPONENTS: &[(&str, &str)] = &[("cargo-fmt", "rustfmt"), ("cargo-clippy", "clippy")];

/// Installs what is missing.
pub(super) fn install(_: &mut Tally) -> Result<(), TaskError> {
    let components = missing(COMPONENTS);
    if !components.is_empty() {
        run(quiet("rustup").args(["component", "add"]).args(&components))?;
    }
    let packages = missing(NEEDED);
    if packages.is_empty() {
        return Ok(());
    }
    println!("missing: {}", packages.join(" "));
    if find_program("apt-get").is_none() || !geteuid().is_root() {
        return Err(TaskError::Absent {
            what: "a package that the tests need",
            remedy: "install it (as root, apt-get does it from here)",
        });
    }
    run(apt().arg("update"))?;
    run(apt().args(["install", "--yes", "--no-install-recommends"]).args(&packages))?;
    match missing(NEEDED).first() {
        None => Ok(()),
        Some(package) => {
            Err(std::io::Error::from(std::io::ErrorKind::NotFound)).at("install", package)
        }
    }
}

fn missing<'a>(table: &[(&str, &'a str)]) -> Vec<&'a str> {
    let absent = table.iter().filter(|(program, _)| find_program(program).is_none());
    absent.map(|(_, package)| *package).collect()
}

fn apt() -> Command {
    let mut apt = quiet("apt-get");
    // Another apt may be at work on a machine that has just started.
    apt.args(["-qq", "-o", "DPkg::Lock::Timeout=120", "-o", "Dpkg::Use-Pty=0"]);
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    apt
}

fn quiet(program: &str) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    command
}
