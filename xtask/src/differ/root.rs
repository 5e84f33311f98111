//! A dockerd of Debian's newest stable, in a Debian of its own: its programs need newer libraries than the machine's.
//!
//! Made once, in the cache folder. Everything is mounted in the caller's mount namespace, which must be its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::apt::{cache, mirror};
use crate::task::{At, TaskError, find_program, progress, read, run};

const SUITE: &str = "trixie";
const PACKAGES: &str = "docker.io,docker-cli,iptables,iproute2,ca-certificates,procps";
/// Makes `$1` the root of a mount namespace and runs the rest there.
const BECOME_ROOT: &str =
    "cd \"$1\" && shift && pivot_root . mnt && umount -l mnt && exec chroot . \"$@\"";

/// That Debian.
pub(super) struct Root(PathBuf);

impl Root {
    /// Makes it if it is not there; `shared` is seen in it at the same place, and the machine's kernel.
    pub(super) fn open(shared: &Path) -> Result<Root, TaskError> {
        let root = cache("docker")?.join(SUITE);
        if !root.exists() {
            make(&root)?;
        }
        let mount = |words: &[&str], at: &Path| {
            run(Command::new("mount")
                .args(words)
                .arg(root.join(at.strip_prefix("/").unwrap_or(at))))
        };
        // What changes its root wants it to be a mount.
        mount(&["--bind", &root.to_string_lossy()], Path::new(""))?;
        for (kind, place) in [("tmpfs", "run"), ("tmpfs", "tmp"), ("proc", "proc")] {
            mount(&["-t", kind, kind], Path::new(place))?;
        }
        for place in ["/dev", "/sys"] {
            mount(&["--rbind", place], Path::new(place))?;
        }
        let seen = root.join(shared.strip_prefix("/").unwrap_or(shared));
        fs::create_dir_all(&seen).at("create", &seen)?;
        mount(&["--bind", &shared.to_string_lossy()], shared)?;
        Ok(Root(root))
    }

    /// Its engine, to be given options.
    pub(super) fn dockerd(&self) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", BECOME_ROOT, "sh"]);
        command.arg(&self.0).arg("/usr/sbin/dockerd");
        command
    }

    /// Its client, for the machine's files.
    pub(super) fn client(&self) -> Vec<String> {
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let libraries = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"];
        let libraries = libraries.map(|path| text(self.0.join(path))).join(":");
        vec![
            text(self.0.join("lib64/ld-linux-x86-64.so.2")),
            "--library-path".to_owned(),
            libraries,
            text(self.0.join("usr/bin/docker")),
        ]
    }
}

fn make(root: &Path) -> Result<(), TaskError> {
    let debootstrap = find_program("debootstrap")
        .ok_or(TaskError::Absent { what: "debootstrap", remedy: "apt-get install debootstrap" })?;
    progress("making a Debian with docker, once");
    let part = root.with_extension("part");
    let _ = fs::remove_dir_all(&part);
    let mut command = Command::new(debootstrap);
    command.args(["--variant=minbase", &format!("--include={PACKAGES}"), SUITE]);
    read(command.arg(&part).arg(mirror()?))?;
    fs::rename(&part, root).at("rename", &part)
}
