//! The guest's root disk: a small Debian with the peers in it, made once.
//!
//! It is never written to: the machine boots it with a throw-away overlay. Units that only cost time
//! under emulation are masked; whoever wants them starts them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::kernel::Kernel;
use crate::apt::{cache, mirror};
use crate::task::{At, TaskError, find_program, read, run};

const PACKAGES: &str = "apparmor,busybox-static,criu,crun,dbus,iproute2,iptables,jq,kmod,\
    libpam-systemd,nftables,procps,runc,strace,systemd,systemd-sysv,uidmap";
const MASKED: [&str; 4] =
    ["apparmor.service", "getty.target", "systemd-timesyncd.service", "apt-daily.timer"];
const FREE_MB: u64 = 512;

/// The image for `suite` and `kernel`, made now if need be (a few minutes, once).
pub(crate) fn image(suite: &str, kernel: &Kernel) -> Result<PathBuf, TaskError> {
    let dir = cache("root")?;
    let image = dir.join(format!("{suite}-{}.img", kernel.version));
    let recipe_path = image.with_extension("recipe");
    let recipe = format!("{PACKAGES}\n{MASKED:?}\n{FREE_MB}\n");
    if fs::read_to_string(&recipe_path).is_ok_and(|made| made == recipe) && image.exists() {
        return Ok(image);
    }
    eprintln!("making the guest's root disk, once: {}", image.display());
    let tree = dir.join("tree");
    let _ = fs::remove_dir_all(&tree);
    bootstrap(suite, &tree)?;
    furnish(&tree, kernel)?;
    let part = image.with_extension("part");
    pack(&tree, &part, FREE_MB)?;
    fs::remove_dir_all(&tree).at("remove", &tree)?;
    fs::rename(&part, &image).at("rename", &part)?;
    fs::write(&recipe_path, recipe).at("write", &recipe_path)?;
    Ok(image)
}

/// Packs a folder into an ext4 image; needs no mount and no root.
pub(crate) fn pack(tree: &Path, image: &Path, free_mb: u64) -> Result<(), TaskError> {
    let mke2fs = find_program("mke2fs")
        .ok_or(TaskError::Absent { what: "mke2fs", remedy: "apt-get install e2fsprogs" })?;
    let used = read(Command::new("du").args(["-sm", "--one-file-system"]).arg(tree))?;
    let used_mb: u64 = used.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0);
    let size = format!("{}M", used_mb + used_mb / 4 + free_mb);
    let _ = fs::remove_file(image);
    let mut command = Command::new(mke2fs);
    command.args(["-q", "-F", "-t", "ext4", "-O", "^has_journal", "-d"]);
    // It talks even when told to be quiet.
    read(command.arg(tree).arg(image).arg(size))?;
    Ok(())
}

fn bootstrap(suite: &str, tree: &Path) -> Result<(), TaskError> {
    let debootstrap = find_program("debootstrap")
        .ok_or(TaskError::Absent { what: "debootstrap", remedy: "apt-get install debootstrap" })?;
    let mut command = Command::new(debootstrap);
    command.args(["--variant=minbase", &format!("--include={PACKAGES}"), suite]);
    read(command.arg(tree).arg(mirror()?))?;
    Ok(())
}

fn furnish(tree: &Path, kernel: &Kernel) -> Result<(), TaskError> {
    for dir in ["var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale"] {
        let _ = fs::remove_dir_all(tree.join(dir));
    }
    for unit in MASKED {
        let link = tree.join("etc/systemd/system").join(unit);
        symlink("/dev/null", &link).at("link", &link)?;
    }
    let guest = tree.join("guest");
    fs::create_dir_all(&guest).at("create", &guest)?;
    fs::write(tree.join("etc/hostname"), "guest\n").at("write", tree.join("etc/hostname"))?;
    let modules = tree.join("usr/lib/modules");
    fs::create_dir_all(&modules).at("create", &modules)?;
    run(Command::new("cp").arg("-a").arg(&kernel.modules).arg(&modules))
}
