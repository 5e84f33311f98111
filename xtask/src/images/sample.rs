//! Trees that images are made of: Debian's, one with everything that archives find hard, and the changes that
//! make a layer.
//!
//! Invariant: a sample is the same whenever it is made, but for inode numbers.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{CWD, FileType, Mode, XattrFlags, makedev, mknodat};

use crate::apt::{cache, mirror};
use crate::task::{At, TaskError, find_program, read};

/// `cap_net_raw=ep`, as the kernel keeps it.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// Beyond what an archive's number fields hold.
const LARGE_ID: u32 = 3_000_000;

/// What is in a folder that a step makes.
const NAMES: [&str; 3] = ["one", "two", "three"];

/// The smallest Debian of a suite, made once.
pub(crate) fn debian(suite: &str) -> Result<PathBuf, TaskError> {
    let root = cache("images")?.join(suite);
    if root.exists() {
        return Ok(root);
    }
    let debootstrap = find_program("debootstrap")
        .ok_or(TaskError::Absent { what: "debootstrap", remedy: "apt-get install debootstrap" })?;
    eprintln!("making Debian {suite}, once: {}", root.display());
    let part = root.with_extension("part");
    let _ = fs::remove_dir_all(&part);
    let mut command = Command::new(debootstrap);
    read(command.args(["--variant=minbase", suite]).arg(&part).arg(mirror()?))?;
    fs::rename(&part, &root).at("rename", &part)?;
    Ok(root)
}

/// Some folders of a Debian, for images of many layers.
pub(crate) fn part_of(debian: &Path, folders: &[&str], into: &Path) -> Result<(), TaskError> {
    fs::create_dir_all(into).at("create", into)?;
    let mut copy = Command::new("cp");
    copy.args(["-a", "--parents"]).args(folders).arg(into).current_dir(debian);
    read(&mut copy).map(drop)
}

/// A tree with all that archives find hard.
pub(crate) fn special(root: &Path) -> Result<(), TaskError> {
    for dir in ["bin", "dev", "etc/deep", "names", "var/empty", "tmp"] {
        fs::create_dir_all(root.join(dir)).at("create", root.join(dir))?;
    }
    let file = |path: &str, text: &str, mode: u32| {
        let path = root.join(path);
        fs::write(&path, text).at("write", &path)?;
        fs::set_permissions(&path, Permissions::from_mode(mode)).at("change", &path)
    };
    file("bin/ping", "capable", 0o755)?;
    file("bin/su", "setuid", 0o4755)?;
    file("bin/wall", "setgid", 0o2755)?;
    file("etc/secret", "nobody may read this", 0o000)?;
    file("etc/attributes", "user and trusted", 0o640)?;
    file("etc/owned", "by a large number", 0o600)?;
    lchown(root.join("etc/owned"), Some(LARGE_ID), Some(LARGE_ID + 1)).at("change", root)?;
    fs::set_permissions(root.join("tmp"), Permissions::from_mode(0o1777)).at("change", root)?;
    fs::set_permissions(root.join("var/empty"), Permissions::from_mode(0o000))
        .at("change", root)?;
    attribute(&root.join("bin/ping"), "security.capability", &CAPABILITY)?;
    attribute(&root.join("etc/attributes"), "user.comment", b"binary \0 \xff value")?;
    attribute(&root.join("etc/attributes"), "trusted.note", b"root's")?;
    attribute(&root.join("etc/deep"), "user.dir", b"on a folder")?;
    file("etc/linked", "three names", 0o644)?;
    for name in ["etc/deep/linked-2", "bin/linked-3"] {
        fs::hard_link(root.join("etc/linked"), root.join(name)).at("link", root.join(name))?;
    }
    names(root)?;
    devices(root)?;
    sparse(&root.join("var/sparse"))?;
    times(root)
}

fn names(root: &Path) -> Result<(), TaskError> {
    let names = root.join("names");
    let long = "n".repeat(255);
    let odd: [&[u8]; 6] =
        [b"with space", b"new\nline", b"\xff\xfe not utf-8", b"= 1", b"-rf", long.as_bytes()];
    for name in odd {
        let path = names.join(OsStr::from_bytes(name));
        fs::write(&path, name).at("write", &path)?;
    }
    let mut deep = names.clone();
    for _ in 0..12 {
        deep.push("d".repeat(60));
    }
    fs::create_dir_all(&deep).at("create", &deep)?;
    fs::write(deep.join("at the end"), "far away").at("write", &deep)?;
    symlink("../etc/linked", names.join("symlink")).at("link", &names)?;
    symlink("/does/not/exist", names.join("dangling")).at("link", &names)?;
    symlink("t".repeat(300), names.join("long target")).at("link", &names)
}

fn devices(root: &Path) -> Result<(), TaskError> {
    let make = |name: &str, kind, mode: u32, device| {
        let path = root.join("dev").join(name);
        mknodat(CWD, &path, kind, Mode::from_raw_mode(mode), device).at("make", &path)?;
        fs::set_permissions(&path, Permissions::from_mode(mode)).at("change", &path)
    };
    make("null", FileType::CharacterDevice, 0o666, makedev(1, 3))?;
    make("loop0", FileType::BlockDevice, 0o660, makedev(7, 0))?;
    make("pipe", FileType::Fifo, 0o622, 0)
}

/// Data at both ends of 64 MiB and in the middle.
fn sparse(path: &Path) -> Result<(), TaskError> {
    let file = File::create(path).at("create", path)?;
    for offset in [0, 32 << 20, (64 << 20) - 5] {
        file.write_all_at(b"data!", offset).at("write", path)?;
    }
    Ok(())
}

/// Times that only PAX holds; folders last, for making files changes theirs.
fn times(root: &Path) -> Result<(), TaskError> {
    let odd = [("bin/su", 1_600_000_000, 123_456_789), ("etc/linked", 1, 1), ("etc/deep", 0, 500)];
    for (name, seconds, nanoseconds) in odd {
        let path = root.join(name);
        let file = File::open(&path).at("open", &path)?;
        file.set_modified(UNIX_EPOCH + Duration::new(seconds, nanoseconds)).at("change", &path)?;
    }
    Ok(())
}

fn attribute(path: &Path, name: &str, value: &[u8]) -> Result<(), TaskError> {
    rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()).at("give an attribute to", path)
}

/// Changes a tree as the `number`th step of a build would: something of every kind, in turn.
pub(crate) fn change(root: &Path, number: usize) -> Result<(), TaskError> {
    let dir = root.join("steps");
    let at = |name: &str, number: usize| dir.join(format!("{name}-{number}"));
    fs::create_dir_all(&dir).at("create", &dir)?;
    fs::write(at("file", number), format!("step {number}\n")).at("write", &dir)?;
    fs::write(dir.join("last"), number.to_string()).at("write", &dir)?;
    let earlier = |back: usize, name: &str| {
        number.checked_sub(back).map(|number| at(name, number)).filter(|path| path.exists())
    };
    match number % 10 {
        0 => make_dir(&at("dir", number))?,
        1 => remove(earlier(4, "file"))?,
        2 => fs::hard_link(at("file", number), at("link", number)).at("link", &dir)?,
        // A folder becomes a file, in two steps: of a full one, umoci writes whiteouts below the file, which
        // podman's vfs, containerd and we refuse.
        3 => {
            if let Some(path) = earlier(3, "dir") {
                for name in NAMES {
                    fs::remove_file(path.join(name)).at("remove", &path)?;
                }
            }
        }
        4 => {
            symlink("last", at("symlink", number)).at("link", &dir)?;
            if let Some(path) = earlier(4, "dir") {
                fs::remove_dir(&path).at("remove", &path)?;
                fs::write(&path, "no folder any more").at("write", &path)?;
            }
        }
        5 => {
            if let Some(path) = earlier(2, "file") {
                fs::set_permissions(&path, Permissions::from_mode(0o4711)).at("change", &path)?;
                attribute(&path, "user.step", number.to_string().as_bytes())?;
                attribute(&path, "security.capability", &CAPABILITY)?;
            }
        }
        // The file becomes a folder again, with other things in it.
        6 => {
            if let Some(path) = earlier(6, "dir") {
                fs::remove_file(&path).at("remove", &path)?;
                make_dir(&path)?;
                fs::remove_file(path.join("one")).at("remove", &path)?;
            }
        }
        7 => {
            if let Some(path) = earlier(5, "link") {
                fs::rename(&path, at("renamed", number)).at("rename", &path)?;
            }
        }
        8 => {
            if let Some(path) = earlier(8, "dir") {
                let renamed = at("moved", number);
                fs::rename(&path, &renamed).at("rename", &path)?;
                lchown(&renamed, Some(LARGE_ID), Some(100)).at("change", &renamed)?;
            }
        }
        _ => remove(earlier(5, "symlink"))?,
    }
    Ok(())
}

fn make_dir(path: &Path) -> Result<(), TaskError> {
    fs::create_dir(path).at("create", path)?;
    for name in NAMES {
        fs::write(path.join(name), name).at("write", path)?;
    }
    Ok(())
}

fn remove(path: Option<PathBuf>) -> Result<(), TaskError> {
    path.map_or(Ok(()), |path| fs::remove_file(&path).at("remove", &path))
}
