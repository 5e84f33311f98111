//! `cargo xtask guest`: a command on another kernel.
//!
//! A stock Debian kernel with cgroup v2 alone, in an emulated machine with a small Debian around it.
//! The workspace's programs are in `/guest/bin`, which is on the `PATH` there; output comes live, and
//! the command's exit code is ours. Slow by an order of magnitude: for what this machine's own kernel
//! cannot show, not for more.

mod initramfs;
mod kernel;
mod machine;
mod root;

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lexopt::prelude::*;

use self::initramfs::Initramfs;
use self::kernel::Kernel;
use self::machine::Machine;
use crate::task::{At, TaskError, find_program, release_dir, run as run_tool, scratch, workspace};

const USAGE: &str = "\
cargo xtask guest [--systemd] [--apparmor] [--peers] [--memory MB] [--cpus N] [--timeout S] [--share PATH]
                  (-- COMMAND [ARGUMENT...] | contest [ARGUMENT...] | install [PROGRAM])
  --systemd   systemd as PID 1           --apparmor  AppArmor as the security module
  --share     a file or folder that appears below /guest/share (repeatable)
  --peers     contest: crun and runc beside dhow, which triples its time
  contest     our own scenarios: without a choice on a bare kernel, with systemd, with AppArmor
  install     the Debian package of `cargo xtask dist`: installed, restarted, upgraded, removed
Exit code: the command's; 124 time limit, 125 the guest died first.";
const SUITE: &str = "trixie";
const DRIVERS: [&str; 2] = ["virtio_pci", "virtio_blk"];
const SHARE_FREE_MB: u64 = 64;
/// Where the guest has the runtimes that its contest compares; without `--peers` the first alone.
const RUNTIMES: [(&str, &str); 3] =
    [("dhow", "/guest/bin/dhow-oci"), ("crun", "/usr/bin/crun"), ("runc", "/usr/sbin/runc")];
const LIMIT: Duration = Duration::from_secs(1800);
/// How much longer things may take there.
const PATIENCE: u32 = 8;

#[derive(Debug, Clone)]
struct Options {
    systemd: bool,
    apparmor: bool,
    peers: bool,
    memory_mb: u32,
    cpus: u32,
    limit: Option<Duration>,
    share: Vec<PathBuf>,
}

/// Boots once, or for `contest` once for each kind of host.
pub(crate) fn run(mut arguments: lexopt::Parser) -> Result<(), TaskError> {
    let mut options = Options {
        systemd: false,
        apparmor: false,
        peers: false,
        memory_mb: 1024,
        cpus: 2,
        limit: None,
        share: Vec::new(),
    };
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("systemd") => options.systemd = true,
            Long("apparmor") => options.apparmor = true,
            Long("peers") => options.peers = true,
            Long("memory") => options.memory_mb = arguments.value()?.parse()?,
            Long("cpus") => options.cpus = arguments.value()?.parse()?,
            Long("timeout") => {
                options.limit = Some(Duration::from_secs(arguments.value()?.parse()?));
            }
            Long("share") => options.share.push(arguments.value()?.into()),
            Value(word) => {
                let mut rest: Vec<OsString> = arguments.raw_args()?.collect();
                if word == "contest" {
                    return contest(&options, &rest);
                }
                if word == "install" {
                    return install(options, rest.first());
                }
                rest.insert(0, word);
                return boot(&options, &rest);
            }
            Long("help") | Short('h') => break,
            other => return Err(other.unexpected().into()),
        }
    }
    println!("{USAGE}");
    Ok(())
}

/// Runs our scenarios in a guest of each kind; every kind runs, even after one that is not in order.
fn contest(options: &Options, rest: &[OsString]) -> Result<(), TaskError> {
    for package in ["dhow", "dhow-tests"] {
        let mut build = Command::new("cargo");
        build.args(["build", "--quiet", "--release", "--bins", "--package", package]);
        run_tool(build.current_dir(workspace()))?;
    }
    let kinds = match options.systemd || options.apparmor {
        true => vec![options.clone()],
        false => [(false, false), (true, false), (false, true)]
            .map(|(systemd, apparmor)| Options { systemd, apparmor, ..options.clone() })
            .to_vec(),
    };
    let results: Vec<Result<(), TaskError>> =
        kinds.iter().map(|kind| boot(kind, &contest_command(kind, rest))).collect();
    results.into_iter().collect()
}

/// Makes the package, of a program that is there or of a new release, and installs it in a guest with systemd.
fn install(mut options: Options, program: Option<&OsString>) -> Result<(), TaskError> {
    let package = crate::dist::make(program.map(PathBuf::from))?;
    let place = scratch("guest")?.join(format!("install-{}", std::process::id()));
    let (root, archive) = (place.join("root"), place.join("root.tar"));
    fs::create_dir_all(&root).at("create", &root)?;
    crate::busybox::make_rootfs(&root)?;
    let mut tar = Command::new("tar");
    run_tool(
        tar.arg("--create").arg("--file").arg(&archive).arg("--directory").arg(&root).arg("."),
    )?;
    options.systemd = true;
    options.share.extend([package, archive, workspace().join("xtask/guest/install")]);
    let installed = boot(&options, &["sh", "/guest/share/install"].map(OsString::from));
    fs::remove_dir_all(&place).at("remove", &place)?;
    installed
}

fn contest_command(kind: &Options, rest: &[OsString]) -> Vec<OsString> {
    let mut words = vec!["dhow-contest".to_owned(), "--patience".to_owned(), PATIENCE.to_string()];
    for (name, path) in RUNTIMES.into_iter().take(if kind.peers { RUNTIMES.len() } else { 1 }) {
        // What follows a comma is an option that every call gets.
        let manager = if kind.systemd { ",--systemd-cgroup" } else { "" };
        words.extend(["--runtime".to_owned(), format!("{name}={path}{manager}")]);
    }
    if kind.apparmor && rest.is_empty() {
        words.extend(["--only", "apparmor"].map(str::to_owned));
    }
    words.into_iter().map(OsString::from).chain(rest.iter().cloned()).collect()
}

fn boot(options: &Options, command: &[OsString]) -> Result<(), TaskError> {
    let kernel = Kernel::of(SUITE)?;
    let root = root::image(SUITE, &kernel)?;
    let dir = scratch("guest")?.join(std::process::id().to_string());
    fs::create_dir_all(&dir).at("create", &dir)?;
    let result = boot_in(&dir, options, command, &kernel, root);
    fs::remove_dir_all(&dir).at("remove", &dir)?;
    match result? {
        0 => Ok(()),
        code => Err(TaskError::Code(code)),
    }
}

fn boot_in(
    dir: &Path,
    options: &Options,
    command: &[OsString],
    kernel: &Kernel,
    root: PathBuf,
) -> Result<i32, TaskError> {
    let (tree, share) = (dir.join("tree"), dir.join("share.img"));
    fill_share(&tree, command, &options.share)?;
    root::pack(&tree, &share, SHARE_FREE_MB)?;
    let initramfs = dir.join("initramfs");
    write_initramfs(kernel, &initramfs)?;
    let mut arguments = String::new();
    if options.systemd {
        arguments.push_str("guest.systemd systemd.show_status=0 ");
    }
    if options.apparmor {
        arguments.push_str("apparmor=1 security=apparmor ");
    }
    let machine = Machine {
        kernel: kernel.image.clone(),
        initramfs,
        disks: vec![root, share],
        arguments,
        memory_mb: options.memory_mb,
        cpus: options.cpus,
        limit: options.limit.unwrap_or(LIMIT),
    };
    machine.run(dir)
}

/// The second disk: our scripts, the command, the workspace's programs, and what the user shares.
fn fill_share(tree: &Path, command: &[OsString], share: &[PathBuf]) -> Result<(), TaskError> {
    for dir in ["bin", "share"] {
        fs::create_dir_all(tree.join(dir)).at("create", tree.join(dir))?;
    }
    let words = command.iter().map(|word| quote(&word.to_string_lossy()));
    let words = words.collect::<Vec<_>>().join(" ");
    let files = [
        ("command", format!("PATH=/guest/bin:$PATH\n{words}\n")),
        ("alone", include_str!("../../guest/alone").to_owned()),
        ("report", include_str!("../../guest/report").to_owned()),
        ("command.service", include_str!("../../guest/command.service").to_owned()),
    ];
    for (name, text) in files {
        fs::write(tree.join(name), text).at("write", tree.join(name))?;
    }
    copy_programs(&release_dir(), &tree.join("bin"))?;
    for path in share {
        run_tool(Command::new("cp").arg("-a").arg(path).arg(tree.join("share")))?;
    }
    Ok(())
}

/// Copies what cargo built there: executables without an extension.
fn copy_programs(from: &Path, to: &Path) -> Result<(), TaskError> {
    let Ok(entries) = fs::read_dir(from) else { return Ok(()) };
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        let metadata = fs::metadata(&path).at("look at", &path)?;
        let executable = metadata.is_file() && metadata.permissions().mode() & 0o111 != 0;
        if let (true, None, Some(name)) = (executable, path.extension(), path.file_name()) {
            fs::copy(&path, to.join(name)).at("copy", &path)?;
        }
    }
    symlink("dhow", to.join("dhow-oci")).at("link", to.join("dhow-oci"))
}

fn write_initramfs(kernel: &Kernel, at: &Path) -> Result<(), TaskError> {
    let busybox = find_program("busybox")
        .ok_or(TaskError::Absent { what: "busybox", remedy: "apt-get install busybox-static" })?;
    let mut archive = Initramfs::default();
    for dir in ["bin", "dev", "modules"] {
        archive.add_dir(dir);
    }
    archive.add_program("init", include_bytes!("../../guest/init"));
    archive.add_program("bin/busybox", &fs::read(&busybox).at("read", &busybox)?);
    for (number, (name, module)) in kernel.closure(&DRIVERS)?.into_iter().enumerate() {
        archive.add_program(&format!("modules/{number:02}-{name}"), &module);
    }
    archive.write(at).at("write", at)
}

/// One word of a POSIX shell command.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_shell() {
        assert_eq!(quote("a b"), "'a b'");
        assert_eq!(quote("it's"), "'it'\\''s'");
    }
}
