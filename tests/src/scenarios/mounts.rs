//! Mounts: kinds, options, propagation, recursion, id maps.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::scenarios;
use crate::contest::{
    Case, CgroupLayout, Config, Outcome, Stop, check, check_eq, check_errno, check_ok, skip,
};
use crate::inside::{Mount, Report};

pub(super) fn mount_at<'r>(report: &'r Report, point: &str) -> Outcome<&'r Mount> {
    report.mount(point).ok_or_else(|| Stop::Fail(format!("nothing is mounted at {point}")))
}

/// A file system outside the container that a scenario mounted; unmounted with this value.
pub(super) struct Outside<'c> {
    case: &'c Case,
    pub(super) path: PathBuf,
}

impl<'c> Outside<'c> {
    pub(super) fn tmpfs(case: &'c Case, name: &str, options: &str) -> Outcome<Self> {
        let path = case.dir.join(name);
        fs::create_dir_all(&path)?;
        let shown = path.display().to_string();
        case.program("mount", &["-t", "tmpfs", "-o", options, "outside", &shown])?.ok()?;
        Ok(Outside { case, path })
    }

    pub(super) fn text(&self) -> String {
        self.path.display().to_string()
    }

    pub(super) fn make(&self, propagation: &str) -> Outcome {
        self.case.program("mount", &[&format!("--make-{propagation}"), &self.text()])?.ok()?;
        Ok(())
    }
}

impl Drop for Outside<'_> {
    fn drop(&mut self) {
        // Were it still there, the leak check would say so.
        let _ = self.case.program("umount", &["-R", &self.text()]);
    }
}

/// Options that set a flag of the mount or its file system.
fn flags(c: &Case) -> Outcome {
    let options = ["ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "sync", "dirsync"];
    let mut config = c.config();
    for option in options {
        config = config.mount("tmpfs", "tmpfs", &format!("/m/{option}"), &[option]);
    }
    let report = c.report(&config)?;
    for option in options {
        let mount = mount_at(&report, &format!("/m/{option}"))?;
        check!(mount.has(option), "{option}: {:?}, {:?}", mount.options, mount.super_options);
    }
    Ok(())
}

/// Options that clear a flag again: the last word counts.
fn flags_cleared(c: &Case) -> Outcome {
    let pairs = [
        ("ro", "rw"),
        ("nosuid", "suid"),
        ("nodev", "dev"),
        ("noexec", "exec"),
        ("noatime", "atime"),
        ("nodiratime", "diratime"),
        ("sync", "async"),
    ];
    let mut config = c.config();
    for (set, clear) in pairs {
        config = config.mount("tmpfs", "tmpfs", &format!("/m/{set}"), &[set, clear]);
    }
    let report = c.report(&config)?;
    for (set, clear) in pairs {
        let mount = mount_at(&report, &format!("/m/{set}"))?;
        check!(!mount.has(set), "{set},{clear} left {:?}", mount.options);
    }
    Ok(())
}

/// Options without a visible effect here are options all the same, not data for the file system.
fn flags_accepted(c: &Case) -> Outcome {
    let mut config = c.config();
    for (index, option) in [
        "defaults",
        "rw",
        "suid",
        "dev",
        "exec",
        "async",
        "atime",
        "diratime",
        "relatime",
        "norelatime",
        "strictatime",
        "nostrictatime",
        "mand",
        "nomand",
        "noiversion",
        "silent",
        "loud",
    ]
    .iter()
    .enumerate()
    {
        config = config.mount("tmpfs", "tmpfs", &format!("/m/{index}"), &[option]);
    }
    c.report(&config)?;
    Ok(())
}

/// `lazytime` and `nolazytime` belong to the file system.
fn lazytime(c: &Case) -> Outcome {
    let config = c.config().mount("tmpfs", "tmpfs", "/m/lazy", &["lazytime"]).mount(
        "tmpfs",
        "tmpfs",
        "/m/eager",
        &["nolazytime"],
    );
    let report = c.report(&config)?;
    check!(mount_at(&report, "/m/lazy")?.has("lazytime"), "no lazytime");
    check!(!mount_at(&report, "/m/eager")?.has("lazytime"), "lazytime");
    Ok(())
}

/// `strictatime` replaces the kernel's default.
fn strictatime(c: &Case) -> Outcome {
    let config = c.config().mount("tmpfs", "tmpfs", "/m/strict", &["strictatime"]).mount(
        "tmpfs",
        "tmpfs",
        "/m/usual",
        &[],
    );
    let report = c.report(&config)?;
    let strict = mount_at(&report, "/m/strict")?;
    check!(!strict.has("relatime") && !strict.has("noatime"), "{:?}", strict.options);
    check!(mount_at(&report, "/m/usual")?.has("relatime"), "without a word it is relatime");
    Ok(())
}

/// `nosymfollow` keeps the kernel from following links there.
fn nosymfollow(c: &Case) -> Outcome {
    let config = c.config().mount("tmpfs", "tmpfs", "/m/no", &["nosymfollow"]).mount(
        "tmpfs",
        "tmpfs",
        "/m/yes",
        &["nosymfollow", "symfollow"],
    );
    let report = c.report(&config)?;
    check!(mount_at(&report, "/m/no")?.has_own("nosymfollow"), "no nosymfollow");
    check!(!mount_at(&report, "/m/yes")?.has_own("nosymfollow"), "nosymfollow");
    Ok(())
}

/// Flags hold for bind mounts too, the read-only one included.
fn bind_flags(c: &Case) -> Outcome {
    let source = c.dir.join("source");
    fs::create_dir(&source)?;
    let options = ["ro", "nosuid", "nodev", "noexec", "noatime"];
    let mut config = c.config();
    for option in options {
        let target = format!("/m/{option}");
        config = config.mount("bind", &source.display().to_string(), &target, &["bind", option]);
    }
    let report = c.report(&config)?;
    for option in options {
        let mount = mount_at(&report, &format!("/m/{option}"))?;
        check!(mount.has_own(option), "{option}: {:?}", mount.options);
        let others = options.iter().filter(|o| **o != option);
        for other in others {
            check!(!mount.has_own(other), "{option} brought {other}: {:?}", mount.options);
        }
    }
    Ok(())
}

/// A directory and a file are bound; targets that are missing are made, each of its kind.
fn bind_file_and_directory(c: &Case) -> Outcome {
    let source = c.dir.join("source");
    fs::create_dir(&source)?;
    fs::write(source.join("file"), "from outside")?;
    let file = source.join("file").display().to_string();
    let directory = source.display().to_string();
    let config = c
        .config()
        .mount("bind", &directory, "/made/dir", &["bind"])
        .mount("bind", &file, "/made/file", &["bind"])
        .mount("bind", &file, "/etc/group", &["rbind", "ro"]);
    let got = c.attempts(
        &config,
        &[
            &["read", "/made/dir/file"],
            &["read", "/made/file"],
            &["read", "/etc/group"],
            &["write", "/etc/group", "x"],
            &["write", "/made/dir/new", "from inside"],
        ],
    )?;
    for attempt in &got[..3] {
        check_eq!(check_ok!(attempt), "from outside", "{:?}", attempt.op);
    }
    check_errno!(got[3], ROFS);
    check_ok!(got[4]);
    check_eq!(fs::read_to_string(source.join("new"))?, "from inside", "what was written");
    Ok(())
}

/// A bind mount may have no type, or `none`.
fn bind_without_type(c: &Case) -> Outcome {
    let source = c.dir.join("source").display().to_string();
    fs::create_dir(&source)?;
    let config = c
        .config()
        .push("/mounts", json!({ "destination": "/m/1", "source": source, "options": ["bind"] }))
        .mount("none", &source, "/m/2", &["rbind"]);
    let report = c.report(&config)?;
    mount_at(&report, "/m/1")?;
    mount_at(&report, "/m/2")?;
    Ok(())
}

/// A relative source is relative to the bundle.
fn bind_relative_source(c: &Case) -> Outcome {
    fs::write(c.bundle.dir.join("in-bundle"), "text")?;
    let config = c.config().mount("bind", "in-bundle", "/bound", &["bind"]);
    let got = c.attempts(&config, &[&["read", "/bound"]])?;
    check_eq!(check_ok!(got[0]), "text", "content");
    Ok(())
}

/// `rbind` brings the mounts below the source along, `bind` does not.
fn bind_and_rbind(c: &Case) -> Outcome {
    let outer = Outside::tmpfs(c, "outer", "mode=755")?;
    let _inner = Outside::tmpfs(c, "outer/inner", "mode=755")?;
    fs::write(outer.path.join("inner/file"), "x")?;
    let config = c.config().mount("bind", &outer.text(), "/one", &["bind"]).mount(
        "bind",
        &outer.text(),
        "/all",
        &["rbind"],
    );
    let got = c.attempts(&config, &[&["ls", "/one/inner"], &["ls", "/all/inner"]])?;
    check_eq!(check_ok!(got[0]), "", "with bind");
    check_eq!(check_ok!(got[1]), "file", "with rbind");
    Ok(())
}

/// Recursive flags reach the mounts below, plain ones do not.
fn recursive_flags(c: &Case) -> Outcome {
    let outer = Outside::tmpfs(c, "outer", "mode=755")?;
    let _inner = Outside::tmpfs(c, "outer/inner", "mode=755")?;
    let options = ["ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "nosymfollow"];
    let mut config = c.config().mount("bind", &outer.text(), "/plain", &["rbind", "ro"]);
    for option in options {
        let (target, recursive) = (format!("/m/{option}"), format!("r{option}"));
        config = config.mount("bind", &outer.text(), &target, &["rbind", &recursive]);
    }
    let report = c.report(&config)?;
    check!(mount_at(&report, "/plain")?.has_own("ro"), "ro at the top");
    check!(!mount_at(&report, "/plain/inner")?.has_own("ro"), "plain ro reached below");
    for option in options {
        for point in [format!("/m/{option}"), format!("/m/{option}/inner")] {
            let mount = mount_at(&report, &point)?;
            check!(mount.has_own(option), "r{option} at {point}: {:?}", mount.options);
        }
    }
    Ok(())
}

/// Recursive flags are cleared recursively.
fn recursive_flags_cleared(c: &Case) -> Outcome {
    let all = "mode=755,nosuid,nodev,noexec,noatime";
    let outer = Outside::tmpfs(c, "outer", all)?;
    let _inner = Outside::tmpfs(c, "outer/inner", all)?;
    let pairs =
        [("rsuid", "nosuid"), ("rdev", "nodev"), ("rexec", "noexec"), ("rrelatime", "noatime")];
    let mut config = c.config();
    for (clear, _) in pairs {
        config = config.mount("bind", &outer.text(), &format!("/m/{clear}"), &["rbind", clear]);
    }
    let report = c.report(&config)?;
    for (clear, flag) in pairs {
        let mount = mount_at(&report, &format!("/m/{clear}/inner"))?;
        check!(!mount.has_own(flag), "{clear} left {:?}", mount.options);
    }
    Ok(())
}

/// A recursively read-only tree cannot be written anywhere.
fn recursive_readonly(c: &Case) -> Outcome {
    let outer = Outside::tmpfs(c, "outer", "mode=755")?;
    let _inner = Outside::tmpfs(c, "outer/inner", "mode=755")?;
    let config = c.config().mount("bind", &outer.text(), "/m", &["rbind", "rro"]);
    let got = c.attempts(&config, &[&["write", "/m/x", ""], &["write", "/m/inner/x", ""]])?;
    check_errno!(got[0], ROFS);
    check_errno!(got[1], ROFS);
    Ok(())
}

/// Size, mode and owner of a tmpfs.
fn tmpfs_options(c: &Case) -> Outcome {
    let options = ["size=64k", "mode=1750", "uid=7", "gid=8", "nr_inodes=100"];
    let config = c.config().mount("tmpfs", "tmpfs", "/m", &options);
    let report = c.report(&config)?;
    let mount = mount_at(&report, "/m")?;
    check!(mount.has("size=64k") && mount.has("nr_inodes=100"), "{:?}", mount.super_options);
    let got = c.attempts(&config, &[&["stat", "/m"]])?;
    check!(check_ok!(got[0]).starts_with("dir 1750 7 8 "), "{:?}", got[0].ok);
    Ok(())
}

/// `tmpcopyup` brings what the directory held, and leaves the original alone.
fn tmpcopyup(c: &Case) -> Outcome {
    c.bundle.file("data/sub/file", "original")?;
    c.bundle.file("data/top", "top")?;
    let top = c.bundle.rootfs.join("data/top");
    fs::set_permissions(&top, fs::Permissions::from_mode(0o640))?;
    std::os::unix::fs::chown(&top, Some(3), Some(4))?;
    std::os::unix::fs::symlink("top", c.bundle.rootfs.join("data/link"))?;
    let config = c.config().mount("tmpfs", "tmpfs", "/data", &["tmpcopyup", "mode=755"]);
    let got = c.attempts(
        &config,
        &[
            &["read", "/data/sub/file"],
            &["lstat", "/data/top"],
            &["readlink", "/data/link"],
            &["write", "/data/sub/file", "changed"],
            &["stat", "/data"],
        ],
    )?;
    check_eq!(check_ok!(got[0]), "original", "content");
    check!(check_ok!(got[1]).starts_with("file 640 3 4 "), "{:?}", got[1].ok);
    check_eq!(check_ok!(got[2]), "top", "link");
    check_ok!(got[3]);
    check_eq!(fs::read_to_string(c.bundle.rootfs.join("data/sub/file"))?, "original", "outside");
    Ok(())
}

/// Mounts are made in their order; a later one may lie in or over an earlier one.
fn order(c: &Case) -> Outcome {
    let source = c.dir.join("source");
    fs::create_dir(&source)?;
    fs::write(source.join("file"), "covered")?;
    let text = source.display().to_string();
    let config = c
        .config()
        .mount("tmpfs", "tmpfs", "/a", &["mode=755"])
        .mount("tmpfs", "tmpfs", "/a/b/c", &["mode=755"])
        .mount("bind", &text, "/a/b/c/d", &["bind"])
        .mount("bind", &text, "/x", &["bind"])
        .mount("tmpfs", "tmpfs", "/x", &["mode=755"]);
    let got = c.attempts(&config, &[&["read", "/a/b/c/d/file"], &["ls", "/x"]])?;
    check_eq!(check_ok!(got[0]), "covered", "below three mounts");
    check_eq!(check_ok!(got[1]), "", "under a later mount");
    Ok(())
}

/// A target that is missing is made as a directory that all may enter.
fn target_is_made(c: &Case) -> Outcome {
    let config = c.config().mount("tmpfs", "tmpfs", "/made/by/runtime", &[]);
    let got = c.attempts(&config, &[&["stat", "/made"], &["stat", "/made/by"]])?;
    check!(check_ok!(got[0]).contains("755 0 0 "), "{:?}", got[0].ok);
    check!(check_ok!(got[1]).contains("755 0 0 "), "{:?}", got[1].ok);
    Ok(())
}

/// devpts takes its options and is an instance of its own.
fn devpts(c: &Case) -> Outcome {
    let report = c.report(&c.config())?;
    let mount = mount_at(&report, "/dev/pts")?;
    for option in ["gid=5", "mode=620", "ptmxmode=666"] {
        check!(mount.has(option), "{option}: {:?}", mount.super_options);
    }
    let got = c.attempts(&c.config(), &[&["ls", "/dev/pts"], &["open", "/dev/ptmx"]])?;
    check_eq!(check_ok!(got[0]), "ptmx", "terminals in a new instance");
    check_ok!(got[1]);
    Ok(())
}

/// proc shows the container's processes only.
fn proc_of_new_pid_namespace(c: &Case) -> Outcome {
    let got = c.attempts(&c.config(), &[&["ls", "/proc"]])?;
    let pids: Vec<&str> =
        check_ok!(got[0]).split(' ').filter(|n| n.bytes().all(|b| b.is_ascii_digit())).collect();
    check_eq!(pids, ["1"], "processes in /proc");
    Ok(())
}

/// Options for proc itself are handed to it.
fn proc_options(c: &Case) -> Outcome {
    let config = c.config().without_mount("/proc").mount(
        "proc",
        "proc",
        "/proc",
        &["nosuid", "noexec", "nodev", "hidepid=2"],
    );
    let report = c.report(&config)?;
    let mount = mount_at(&report, "/proc")?;
    check!(mount.has("hidepid=2") || mount.has("hidepid=invisible"), "{:?}", mount.super_options);
    Ok(())
}

/// sysfs is mounted, and read-only where it says so.
fn sysfs(c: &Case) -> Outcome {
    let report = c.report(&c.config())?;
    let mount = mount_at(&report, "/sys")?;
    check_eq!(mount.kind, "sysfs", "type");
    check!(mount.has_own("ro"), "{:?}", mount.options);
    Ok(())
}

/// mqueue is the new ipc namespace's.
fn mqueue(c: &Case) -> Outcome {
    let report = c.report(&c.config())?;
    check_eq!(mount_at(&report, "/dev/mqueue")?.kind, "mqueue", "type");
    let got = c.attempts(&c.config(), &[&["ls", "/dev/mqueue"]])?;
    check_eq!(check_ok!(got[0]), "", "queues");
    Ok(())
}

/// An overlay is mounted from options.
fn overlay(c: &Case) -> Outcome {
    for name in ["l1", "l2", "up", "work"] {
        fs::create_dir(c.dir.join(name))?;
    }
    fs::write(c.dir.join("l1/one"), "1")?;
    fs::write(c.dir.join("l2/two"), "2")?;
    let dir = c.dir.display();
    let options = [
        format!("lowerdir={dir}/l1:{dir}/l2"),
        format!("upperdir={dir}/up"),
        format!("workdir={dir}/work"),
    ];
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let config = c.config().mount("overlay", "overlay", "/m", &options);
    let got = c.attempts(&config, &[&["ls", "/m"], &["write", "/m/three", "3"]])?;
    check_eq!(check_ok!(got[0]), "one two", "merged");
    check_ok!(got[1]);
    check_eq!(fs::read_to_string(c.dir.join("up/three"))?, "3", "upper layer");
    Ok(())
}

fn cgroup_mount(c: &Case, config: Config, own_is_root: bool) -> Outcome {
    let report = c.report(&config)?;
    match CgroupLayout::here() {
        CgroupLayout::V2 => {
            let mount = mount_at(&report, "/sys/fs/cgroup")?;
            check_eq!(mount.kind, "cgroup2", "type");
            check!(mount.has_own("ro"), "{:?}", mount.options);
        }
        CgroupLayout::V1 => {
            for controller in ["memory", "pids", "freezer"] {
                let point = format!("/sys/fs/cgroup/{controller}");
                let mount = mount_at(&report, &point)?;
                check_eq!(mount.kind, "cgroup", "type at {point}");
                check!(mount.has_own("ro"), "{point}: {:?}", mount.options);
                // With a namespace the mount's root is the container's cgroup, shown as `/`.
                let shows = mount.root == "/";
                check_eq!(shows, own_is_root, "{point} shows {} as its root", mount.root);
            }
        }
    }
    let procs = match CgroupLayout::here() {
        CgroupLayout::V1 => "/sys/fs/cgroup/pids/cgroup.procs",
        CgroupLayout::V2 if own_is_root => "/sys/fs/cgroup/cgroup.procs",
        CgroupLayout::V2 => return Ok(()),
    };
    let got = c.attempts(&config, &[&["read", procs]])?;
    check_eq!(check_ok!(got[0]).trim(), "1", "processes in the mounted cgroup");
    Ok(())
}

fn with_cgroup_mount(c: &Case) -> Config {
    let options = ["nosuid", "noexec", "nodev", "relatime", "ro"];
    c.config().mount("cgroup", "cgroup", "/sys/fs/cgroup", &options)
}

/// A `cgroup` mount shows the container's own cgroups, read-only.
fn cgroup(c: &Case) -> Outcome {
    cgroup_mount(c, with_cgroup_mount(c), false)
}

/// The same in a cgroup namespace.
fn cgroup_in_namespace(c: &Case) -> Outcome {
    cgroup_mount(c, with_cgroup_mount(c).namespace("cgroup"), true)
}

/// Names of combined v1 controllers lead to their hierarchies; nothing of the host's is below.
fn cgroup_shows_nobody_else(c: &Case) -> Outcome {
    if CgroupLayout::here() == CgroupLayout::V2 {
        skip!("there are no v1 hierarchies");
    }
    let got = c.attempts(&with_cgroup_mount(c), &[&["ls", "/sys/fs/cgroup/memory"]])?;
    let names = check_ok!(got[0]);
    check!(!names.contains("dc"), "other cgroups show: {names}");
    // The file that has escapes named after it exists only at a hierarchy's root.
    check!(!names.contains("release_agent"), "the hierarchy's root shows: {names}");
    check!(names.contains("memory.limit_in_bytes"), "it is not the memory controller: {names}");
    Ok(())
}

/// In a user namespace, where the kernel locks flags of the source, a read-only bind works.
fn bind_with_locked_flags(c: &Case) -> Outcome {
    let outer = Outside::tmpfs(c, "outer", "mode=755,nosuid,nodev,noexec")?;
    fs::create_dir(c.bundle.rootfs.join("m"))?;
    let config = c.config().user_namespace(100_000, 65_536).mount(
        "bind",
        &outer.text(),
        "/m",
        &["bind", "ro"],
    );
    let report = c.report(&config)?;
    let mount = mount_at(&report, "/m")?;
    check!(mount.has_own("ro"), "{:?}", mount.options);
    Ok(())
}

/// With any option a bind mount has exactly the flags of its options; without one it has its source's.
fn bind_flags_replace(c: &Case) -> Outcome {
    let outer = Outside::tmpfs(c, "outer", "mode=755")?;
    let source = outer.text();
    c.program("mount", &["-o", "remount,bind,ro,nosuid,noexec", &source])?.ok()?;
    let config = c.config().mount("bind", &source, "/as-it-is", &["rbind", "rprivate"]).mount(
        "bind",
        &source,
        "/other",
        &["rbind", "nodev"],
    );
    let report = c.report(&config)?;
    let mount = mount_at(&report, "/as-it-is")?;
    let kept = ["ro", "nosuid", "noexec"].iter().all(|option| mount.has_own(option));
    check!(kept, "without options: {:?}", mount.options);
    let mount = mount_at(&report, "/other")?;
    check!(mount.has_own("rw") && mount.has_own("nodev"), "with nodev: {:?}", mount.options);
    check!(!mount.has_own("nosuid") && !mount.has_own("noexec"), "nodev: {:?}", mount.options);
    Ok(())
}

/// In a user namespace the source's flags stay, and an option that contradicts them is an error.
fn bind_flags_locked(c: &Case) -> Outcome {
    let outer = Outside::tmpfs(c, "outer", "mode=755")?;
    let source = outer.text();
    c.program("mount", &["-o", "remount,bind,ro,nosuid,noatime", &source])?.ok()?;
    fs::create_dir(c.bundle.rootfs.join("m"))?;
    let with = |options: &[&str]| {
        c.config().user_namespace(100_000, 65_536).mount("bind", &source, "/m", options)
    };
    let report = c.report(&with(&["bind", "nodev"]))?;
    let mount = mount_at(&report, "/m")?;
    let all = ["ro", "nosuid", "nodev", "noatime"].iter().all(|option| mount.has_own(option));
    check!(all, "with nodev: {:?}", mount.options);
    for word in ["rw", "suid", "relatime"] {
        c.run(&with(&["bind", word]))?.fails_naming(&["/m", "not permitted"])?;
    }
    drop(outer);
    c.nothing_left()
}

/// A source may be what an earlier mount has made below the root, and is what it has become by then.
fn bind_source_of_earlier_mount(c: &Case) -> Outcome {
    let outer = Outside::tmpfs(c, "outer", "mode=755")?;
    fs::create_dir(outer.path.join("sub"))?;
    fs::write(outer.path.join("sub/file"), "late")?;
    for target in ["in", "out", "out-of-user"] {
        fs::create_dir_all(c.bundle.rootfs.join(target))?;
    }
    let made = c.bundle.rootfs.join("in/sub").display().to_string();
    let shown = |config: Config, target: &str| {
        config.mount("bind", &outer.text(), "/in", &["rbind"]).mount(
            "bind",
            &made,
            target,
            &["rbind"],
        )
    };
    let got = c.attempts(&shown(c.config(), "/out"), &[&["read", "/out/file"]])?;
    check_eq!(check_ok!(got[0]), "late", "file");
    let config = shown(c.config().user_namespace(100_000, 65_536), "/out-of-user");
    let got = c.attempts(&config, &[&["read", "/out-of-user/file"]])?;
    check_eq!(check_ok!(got[0]), "late", "file in a user namespace");
    Ok(())
}

/// In a user namespace a source may lie where only the host's root may go.
fn bind_source_out_of_reach(c: &Case) -> Outcome {
    let dir = c.dir.join("private");
    fs::create_dir_all(dir.join("dir"))?;
    fs::write(dir.join("dir/file"), "text")?;
    fs::set_permissions(dir.join("dir"), fs::Permissions::from_mode(0o755))?;
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700))?;
    fs::create_dir(c.bundle.rootfs.join("m"))?;
    let source = dir.join("dir").display().to_string();
    let config = c.config().user_namespace(100_000, 65_536);
    let config = config.mount("bind", &source, "/m", &["bind", "ro"]);
    let got = c.attempts(&config, &[&["read", "/m/file"], &["write", "/m/file", ""]])?;
    check_eq!(check_ok!(got[0]), "text", "file");
    check!(got[1].ok.is_none(), "the mount is writable");
    Ok(())
}

/// A destination that begins with the root's own path means the place below the root.
fn target_with_path_of_root(c: &Case) -> Outcome {
    let target = c.bundle.rootfs.join("m").display().to_string();
    let report = c.report(&c.config().mount("tmpfs", "tmpfs", &target, &[]))?;
    mount_at(&report, "/m")?;
    Ok(())
}

/// A tmpfs has the mode of the directory that it covers, unless its options say another.
fn tmpfs_takes_mode(c: &Case) -> Outcome {
    for name in ["own", "other"] {
        let dir = c.bundle.rootfs.join(name);
        fs::create_dir(&dir)?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o710))?;
    }
    let config = c
        .config()
        .mount("tmpfs", "tmpfs", "/own", &["nosuid"])
        .mount("tmpfs", "tmpfs", "/other", &["size=64k", "mode=0750"])
        .mount("tmpfs", "tmpfs", "/new", &[]);
    let got = c.attempts(&config, &[&["stat", "/own"], &["stat", "/other"], &["stat", "/new"]])?;
    check!(check_ok!(got[0]).starts_with("dir 710 "), "covering 0710: {:?}", got[0].ok);
    check!(check_ok!(got[1]).starts_with("dir 750 "), "with mode=0750: {:?}", got[1].ok);
    check!(check_ok!(got[2]).starts_with("dir 1777 "), "covering nothing: {:?}", got[2].ok);
    Ok(())
}

/// A bind mount without `ro` of a read-only source stays read-only.
fn bind_of_readonly_source(c: &Case) -> Outcome {
    let outer = Outside::tmpfs(c, "outer", "mode=755,ro")?;
    let config = c.config().mount("bind", &outer.text(), "/m", &["bind"]);
    let got = c.attempts(&config, &[&["write", "/m/x", ""]])?;
    check_errno!(got[0], ROFS);
    Ok(())
}

/// A socket and a device can be bound like files.
fn bind_special_files(c: &Case) -> Outcome {
    let socket = c.dir.join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket)?;
    let config = c
        .config()
        .mount("bind", &socket.display().to_string(), "/run/a/socket", &["bind"])
        .mount("bind", "/dev/null", "/null", &["bind"]);
    let got = c.attempts(&config, &[&["stat", "/run/a/socket"], &["stat", "/null"]])?;
    check!(check_ok!(got[0]).starts_with("socket"), "{:?}", got[0].ok);
    check!(check_ok!(got[1]).starts_with("char"), "{:?}", got[1].ok);
    Ok(())
}

/// Mounts made for the container do not show outside.
fn nothing_shows_outside(c: &Case) -> Outcome {
    let config = c.config().mount("tmpfs", "tmpfs", "/tmp", &[]);
    let container = c.start_waiting(&config)?;
    c.wait_until("the host's mounts are as before", || {
        let text = fs::read_to_string("/proc/self/mountinfo")?;
        Ok(!text.contains(&c.bundle.rootfs.display().to_string()))
    })?;
    check!(Path::new(&c.bundle.rootfs).join("bin/payload").exists(), "the root moved");
    container.delete_force()
}

scenarios![
    flags,
    flags_cleared,
    flags_accepted,
    lazytime,
    strictatime,
    nosymfollow,
    bind_flags,
    bind_file_and_directory,
    bind_without_type,
    bind_relative_source,
    bind_and_rbind,
    bind_with_locked_flags,
    bind_flags_replace,
    bind_flags_locked,
    bind_source_of_earlier_mount,
    bind_source_out_of_reach,
    bind_of_readonly_source,
    bind_special_files,
    recursive_flags,
    recursive_flags_cleared,
    recursive_readonly,
    tmpfs_options,
    tmpfs_takes_mode,
    tmpcopyup,
    order,
    target_is_made,
    target_with_path_of_root,
    devpts,
    proc_of_new_pid_namespace,
    proc_options,
    sysfs,
    mqueue,
    overlay,
    cgroup,
    cgroup_in_namespace,
    cgroup_shows_nobody_else,
    nothing_shows_outside,
];
