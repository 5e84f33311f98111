//! Roots, processes and moments that want to do harm.
//!
//! Beside every hostile root lies a tree of canaries: its names, contents, modes and owners must be the
//! same afterwards, and nothing may have been mounted on it in the container's mount namespace either.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::scenarios;
use crate::contest::{Case, Config, Done, Outcome, check, check_eq};
use crate::inside;

/// A tree outside of the root that nobody may touch.
struct Canaries {
    dir: PathBuf,
    before: BTreeMap<PathBuf, String>,
}

impl Canaries {
    fn new(c: &Case) -> Outcome<Self> {
        let dir = c.dir.join("canaries");
        for name in ["dir/sub", "proc", "etc", "dev"] {
            fs::create_dir_all(dir.join(name))?;
        }
        for name in ["file", "dir/file", "etc/hosts", "dev/null"] {
            fs::write(dir.join(name), format!("canary {name}"))?;
        }
        let before = Self::look(&dir)?;
        Ok(Canaries { dir, before })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn look(dir: &Path) -> Outcome<BTreeMap<PathBuf, String>> {
        let mut seen = BTreeMap::new();
        let mut todo = vec![dir.to_owned()];
        while let Some(dir) = todo.pop() {
            for entry in fs::read_dir(&dir)? {
                let path = entry?.path();
                let meta = fs::symlink_metadata(&path)?;
                let mut text = inside::describe(&meta);
                if meta.is_dir() {
                    todo.push(path.clone());
                } else if meta.is_file() {
                    text.push_str(&fs::read_to_string(&path)?);
                }
                seen.insert(path, text);
            }
        }
        Ok(seen)
    }

    fn check(&self) -> Outcome {
        let now = Self::look(&self.dir)?;
        for (path, text) in &now {
            let before = self.before.get(path);
            check!(before == Some(text), "{}: {text}, was {before:?}", path.display());
        }
        check_eq!(now.len(), self.before.len(), "number of canaries");
        Ok(())
    }
}

/// Ways to write a link that leads out of the root to `target`.
fn ways_out(c: &Case, target: &Path) -> [PathBuf; 3] {
    let inside_case = target.strip_prefix(&c.dir).unwrap_or(target);
    let up = PathBuf::from("../../../../../../..");
    [
        target.to_owned(),
        // From the top of the root, `..` twice is the case's directory.
        Path::new("../../").join(inside_case),
        up.join(target.strip_prefix("/").unwrap_or(target)),
    ]
}

pub(super) fn replace(c: &Case, name: &str, link: &Path) -> Outcome {
    let path = c.bundle.rootfs.join(name);
    if path.is_dir() && !path.is_symlink() {
        fs::remove_dir_all(&path)?;
    } else if path.symlink_metadata().is_ok() {
        fs::remove_file(&path)?;
    }
    symlink(link, path)?;
    Ok(())
}

/// A hook that notes the mounts of the container's namespace before the root is changed.
fn spy(c: &Case, config: Config) -> Config {
    let log = c.dir.join("spy").display().to_string();
    let hook = json!({ "path": c.payload().display().to_string(),
        "args": ["payload", "hook", log, "spy"] });
    config.hook("createContainer", hook)
}

fn check_spy(c: &Case, canaries: &Canaries) -> Outcome {
    let text = fs::read_to_string(c.dir.join("spy")).unwrap_or_default();
    for line in text.lines() {
        let seen: Value = serde_json::from_str(line)?;
        for point in seen["mounts"].as_array().into_iter().flatten() {
            let point = point.as_str().unwrap_or("");
            check!(!Path::new(point).starts_with(&canaries.dir), "something is mounted at {point}");
        }
    }
    Ok(())
}

/// Runs and expects either a clean refusal or a container that works; the canaries live in any case.
fn survives(c: &Case, canaries: &Canaries, config: &Config) -> Outcome<Done> {
    let config = spy(c, config.clone());
    let done = c.run(&config)?;
    canaries.check()?;
    check_spy(c, canaries)?;
    if done.code != 0 {
        check_eq!(done.error_lines().len(), 1, "lines of the error {:?}", done.err);
    }
    c.nothing_left()?;
    Ok(done)
}

fn target_is_link(c: &Case, name: &str) -> Outcome {
    let canaries = Canaries::new(c)?;
    for link in ways_out(c, &canaries.path("dir")) {
        replace(c, name, &link)?;
        survives(c, &canaries, &c.config().payload(&["exit", "0"]))?;
    }
    Ok(())
}

/// `/proc` in the root is a link that leads out.
fn proc_is_link(c: &Case) -> Outcome {
    target_is_link(c, "proc")
}

/// `/dev` in the root is a link that leads out.
fn dev_is_link(c: &Case) -> Outcome {
    target_is_link(c, "dev")
}

/// `/sys` in the root is a link that leads out.
fn sys_is_link(c: &Case) -> Outcome {
    target_is_link(c, "sys")
}

/// `/etc` in the root is a link that leads out, and files are bound into it.
fn etc_is_link(c: &Case) -> Outcome {
    let canaries = Canaries::new(c)?;
    let hosts = c.dir.join("hosts");
    fs::write(&hosts, "127.0.0.1 localhost")?;
    let source = hosts.display().to_string();
    for link in ways_out(c, &canaries.path("etc")) {
        replace(c, "etc", &link)?;
        let config = c
            .config()
            .mount("bind", &source, "/etc/hosts", &["bind"])
            .mount("bind", &source, "/etc/new-file", &["bind"])
            .payload(&["exit", "0"]);
        survives(c, &canaries, &config)?;
    }
    Ok(())
}

/// A link in the middle of a mount's target.
fn link_on_the_way(c: &Case) -> Outcome {
    let canaries = Canaries::new(c)?;
    for link in ways_out(c, &canaries.path("dir")) {
        replace(c, "way", &link)?;
        let source = c.dir.join("source");
        fs::create_dir_all(&source)?;
        let config = c
            .config()
            .mount("tmpfs", "tmpfs", "/way/sub", &[])
            .mount("tmpfs", "tmpfs", "/way/new/deeper", &[])
            .mount("bind", &source.display().to_string(), "/way/bound", &["bind"])
            .payload(&["exit", "0"]);
        survives(c, &canaries, &config)?;
    }
    Ok(())
}

/// The target itself is a link: to a directory, to a file, to nothing.
fn target_links(c: &Case) -> Outcome {
    let canaries = Canaries::new(c)?;
    let source = c.dir.join("file");
    fs::write(&source, "bound")?;
    for name in ["dir", "file", "nothing-yet"] {
        for link in ways_out(c, &canaries.path(name)) {
            replace(c, "target", &link)?;
            let bound = c
                .config()
                .mount("bind", &source.display().to_string(), "/target", &["bind"])
                .payload(&["exit", "0"]);
            survives(c, &canaries, &bound)?;
            let over = c.config().mount("tmpfs", "tmpfs", "/target", &[]).payload(&["exit", "0"]);
            survives(c, &canaries, &over)?;
        }
    }
    Ok(())
}

/// A chain of links, and one that goes in circles.
fn link_chains(c: &Case) -> Outcome {
    let canaries = Canaries::new(c)?;
    replace(c, "one", Path::new("two"))?;
    replace(c, "two", Path::new("/three"))?;
    replace(c, "three", &canaries.path("dir"))?;
    replace(c, "round", Path::new("round"))?;
    for target in ["/one/sub", "/one"] {
        let config = c.config().mount("tmpfs", "tmpfs", target, &[]).payload(&["exit", "0"]);
        survives(c, &canaries, &config)?;
    }
    let config = c.config().mount("tmpfs", "tmpfs", "/round/sub", &[]).payload(&["exit", "0"]);
    let done = survives(c, &canaries, &config)?;
    check!(done.code != 0, "a circle of links was no error");
    Ok(())
}

/// Mount targets with `..` do not climb out.
fn dots_in_target(c: &Case) -> Outcome {
    let canaries = Canaries::new(c)?;
    let deep = canaries.dir.display().to_string();
    for target in [
        "/../../canaries/dir".to_owned(),
        "/tmp/../../../canaries/dir".to_owned(),
        format!("/../../../../../../../..{deep}/dir"),
    ] {
        let config = c.config().mount("tmpfs", "tmpfs", &target, &[]).payload(&["exit", "0"]);
        survives(c, &canaries, &config)?;
    }
    Ok(())
}

/// A link inside the root to another place inside is followed there, absolute or not.
fn links_inside_are_followed(c: &Case) -> Outcome {
    fs::create_dir_all(c.bundle.rootfs.join("real/place"))?;
    replace(c, "absolute", Path::new("/real"))?;
    replace(c, "relative", Path::new("real"))?;
    for target in ["/absolute/place", "/relative/place"] {
        let report = c.report(&c.config().mount("tmpfs", "tmpfs", target, &[]))?;
        check!(report.mount("/real/place").is_some(), "{target} is not mounted at /real/place");
    }
    Ok(())
}

/// Devices are made in the root, not behind a link.
fn devices_behind_links(c: &Case) -> Outcome {
    let canaries = Canaries::new(c)?;
    let device = json!({ "path": "/way/null", "type": "c", "major": 1, "minor": 3,
        "fileMode": 0o666, "uid": 0, "gid": 0 });
    for link in ways_out(c, &canaries.path("dev")) {
        replace(c, "way", &link)?;
        replace(c, "dev", &link)?;
        let config = c
            .config()
            .without_mount("/dev")
            .without_mount("/dev/pts")
            .without_mount("/dev/shm")
            .without_mount("/dev/mqueue")
            .push("/linux/devices", device.clone())
            .payload(&["exit", "0"]);
        survives(c, &canaries, &config)?;
    }
    Ok(())
}

/// Files where default devices and links go are links that lead out.
fn default_devices_are_links(c: &Case) -> Outcome {
    let canaries = Canaries::new(c)?;
    let names =
        ["null", "zero", "full", "random", "urandom", "tty", "ptmx", "fd", "stdin", "console"];
    for link in ways_out(c, &canaries.path("file")) {
        for name in names {
            replace(c, &format!("dev/{name}"), &Path::new("..").join(&link))?;
        }
        let config = c
            .config()
            .without_mount("/dev")
            .without_mount("/dev/pts")
            .without_mount("/dev/shm")
            .without_mount("/dev/mqueue")
            .payload(&["exit", "0"]);
        survives(c, &canaries, &config)?;
    }
    Ok(())
}

/// Masked and read-only paths that are links concern what they mean inside the root.
fn masked_links(c: &Case) -> Outcome {
    let canaries = Canaries::new(c)?;
    for name in ["file", "dir"] {
        for link in ways_out(c, &canaries.path(name)) {
            replace(c, "link", &link)?;
            for list in ["maskedPaths", "readonlyPaths"] {
                let config = c
                    .config()
                    .set(&format!("/linux/{list}"), json!(["/link", "/link/file"]))
                    .payload(&["exit", "0"]);
                survives(c, &canaries, &config)?;
            }
        }
    }
    Ok(())
}

/// `/dev/null` of the root is a link: masking with it must not uncover what it points to.
fn null_is_a_link(c: &Case) -> Outcome {
    c.bundle.file("etc/secret", "secret")?;
    c.bundle.file("etc/other", "other secret")?;
    fs::create_dir_all(c.bundle.rootfs.join("fake"))?;
    symlink("/etc/other", c.bundle.rootfs.join("fake/null"))?;
    let fake = c.bundle.rootfs.join("fake").display().to_string();
    let config = c
        .config()
        .without_mount("/dev")
        .without_mount("/dev/pts")
        .without_mount("/dev/shm")
        .without_mount("/dev/mqueue")
        .mount("bind", &fake, "/dev", &["bind"])
        .push("/linux/maskedPaths", "/etc/secret")
        .payload(&["try", "read", "/etc/secret", "--", "write", "/etc/secret", "x"]);
    let done = c.run(&config)?;
    if done.code == 0 {
        let got: Vec<crate::Attempt> = done.json()?;
        let text = got[0].ok.as_deref().unwrap_or("");
        check_eq!(text, "", "what the masked file shows");
    }
    check_eq!(fs::read_to_string(c.bundle.rootfs.join("etc/other"))?, "other secret", "the target");
    c.nothing_left()
}

/// A working directory that is a link is inside the root.
fn cwd_is_link(c: &Case) -> Outcome {
    let canaries = Canaries::new(c)?;
    for link in ways_out(c, &canaries.path("dir")) {
        replace(c, "where", &link)?;
        let done = survives(c, &canaries, &c.config().set("/process/cwd", "/where"))?;
        if done.code == 0 {
            let report: inside::Report = done.json()?;
            check!(!report.cwd.contains("unreachable"), "the directory is {}", report.cwd);
        }
    }
    replace(c, "where", Path::new("../../../.."))?;
    let report = c.report(&c.config().set("/process/cwd", "/where"))?;
    check_eq!(report.cwd, "/", "directory");
    Ok(())
}

/// `/etc/passwd` of the root is whatever the image says: a link out, a pipe, a directory, endless.
fn passwd_is_hostile(c: &Case) -> Outcome {
    let canaries = Canaries::new(c)?;
    fs::write(canaries.path("file"), "root:x:0:0::/leaked:/bin/sh\n")?;
    let canaries = Canaries { before: Canaries::look(&canaries.dir)?, dir: canaries.dir };
    for link in ways_out(c, &canaries.path("file")) {
        replace(c, "etc/passwd", &Path::new("..").join(&link))?;
        let done = survives(c, &canaries, &c.config())?;
        if done.code == 0 {
            let report: inside::Report = done.json()?;
            check!(report.env("HOME") != Some("/leaked"), "HOME comes from outside the root");
        }
    }
    let passwd = c.bundle.rootfs.join("etc/passwd");
    fs::remove_file(&passwd)?;
    c.program("mkfifo", &[&passwd.display().to_string()])?.ok()?;
    c.run(&c.config())?;
    fs::remove_file(&passwd)?;
    fs::create_dir(&passwd)?;
    c.run(&c.config())?;
    fs::remove_dir(&passwd)?;
    fs::File::create(&passwd)?.set_len(1 << 34)?;
    c.run(&c.config())?;
    c.nothing_left()
}

/// Runs many containers while `name` in the root takes turns with a link to a canary.
fn race(c: &Case, name: &str, canary: &str, config: &Config) -> Outcome {
    let canaries = Canaries::new(c)?;
    let rootfs = c.bundle.rootfs.clone();
    fs::create_dir_all(rootfs.join(name).join("sub"))?;
    fs::create_dir_all(c.dir.join("aside"))?;
    let (a, b) = (rootfs.join(name), c.dir.join("aside/link"));
    symlink(canaries.path(canary), &b)?;
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let flipper = std::thread::spawn(move || {
        let here = rustix::fs::CWD;
        while !flag.load(Ordering::Relaxed) {
            // Exchanging either works or a name is in use just then; the next turn comes.
            let exchange = rustix::fs::RenameFlags::EXCHANGE;
            let _ = rustix::fs::renameat_with(here, &a, here, &b, exchange);
        }
    });
    let mut result = Ok(());
    for _ in 0..if c.stress { 1000 } else { 25 } {
        result = survives(c, &canaries, config).map(|_| ());
        if result.is_err() {
            break;
        }
    }
    stop.store(true, Ordering::Relaxed);
    check!(flipper.join().is_ok(), "the flipper panicked");
    result
}

/// A directory and a link that take turns while the runtime mounts below them.
fn race_with_links(c: &Case) -> Outcome {
    let source = c.dir.join("source");
    fs::create_dir_all(&source)?;
    let config = c
        .config()
        .mount("tmpfs", "tmpfs", "/way/sub", &[])
        .mount("tmpfs", "tmpfs", "/way/new/er", &[])
        .mount("bind", &source.display().to_string(), "/way/sub/bound", &["bind"])
        .payload(&["exit", "0"]);
    race(c, "way", "dir", &config)
}

/// The same with `/proc`, and paths in it that are to be masked.
fn race_with_proc(c: &Case) -> Outcome {
    let config = c
        .config()
        .push("/linux/maskedPaths", "/proc/keys")
        .push("/linux/readonlyPaths", "/proc/sys")
        .set("/linux/sysctl/net.ipv4.ip_forward", "1")
        .payload(&["exit", "0"]);
    race(c, "proc", "proc", &config)
}

/// The same with `/dev`, where devices and links are made.
fn race_with_dev(c: &Case) -> Outcome {
    let config = c
        .config()
        .without_mount("/dev")
        .without_mount("/dev/pts")
        .without_mount("/dev/shm")
        .without_mount("/dev/mqueue")
        .payload(&["exit", "0"]);
    race(c, "dev", "dev", &config)
}

/// A `/proc` that the image brought is no proc: settings must not be written to where it points.
fn fake_proc(c: &Case) -> Outcome {
    c.bundle.file("fake/self/attr/exec", "")?;
    c.bundle.file("fake/sys/net/ipv4/x", "")?;
    c.bundle.file("etc/target", "untouched")?;
    symlink("/etc/target", c.bundle.rootfs.join("fake/sys/net/ipv4/ip_forward"))?;
    let fake = c.bundle.rootfs.join("fake").display().to_string();
    let config = c
        .config()
        .without_mount("/proc")
        .mount("bind", &fake, "/proc", &["bind"])
        .set("/linux/sysctl/net.ipv4.ip_forward", "1")
        .payload(&["exit", "0"]);
    c.run(&config)?;
    check_eq!(fs::read_to_string(c.bundle.rootfs.join("etc/target"))?, "untouched", "the target");
    c.nothing_left()
}

/// `/dev/console` is a link that leads out, and the container has a terminal.
fn console_is_link(c: &Case) -> Outcome {
    let canaries = Canaries::new(c)?;
    for link in ways_out(c, &canaries.path("file")) {
        replace(c, "dev/console", &Path::new("..").join(&link))?;
        let config = c
            .config()
            .without_mount("/dev")
            .without_mount("/dev/shm")
            .without_mount("/dev/mqueue")
            .set("/process/terminal", true)
            .payload(&["exit", "0"]);
        let config = spy(c, config);
        c.bundle.configure(&config)?;
        c.remember(&c.token);
        let socket = c.dir.join("console.sock");
        let listener = std::os::unix::net::UnixListener::bind(&socket)?;
        let (bundle, path) = (c.bundle.dir.display().to_string(), socket.display().to_string());
        // Whether it works or is refused: the canaries decide.
        c.runtime(&["create", "--console-socket", &path, "--bundle", &bundle, &c.token])?;
        c.runtime(&["delete", "--force", &c.token])?;
        drop(listener);
        fs::remove_file(&socket)?;
        canaries.check()?;
        check_spy(c, &canaries)?;
        c.nothing_left()?;
    }
    Ok(())
}

/// A bundle that is not root's own: the root's directories are closed to all but their owner.
fn closed_root_in_user_namespace(c: &Case) -> Outcome {
    let config = c.config().user_namespace(100_000, 65_536);
    let shown = c.bundle.rootfs.display().to_string();
    c.program("chown", &["-R", "100000:100000", &shown])?.ok()?;
    fs::set_permissions(&c.bundle.rootfs, fs::Permissions::from_mode(0o700))?;
    c.report(&config)?;
    Ok(())
}

scenarios![
    proc_is_link,
    dev_is_link,
    sys_is_link,
    etc_is_link,
    link_on_the_way,
    target_links,
    link_chains,
    dots_in_target,
    links_inside_are_followed,
    devices_behind_links,
    default_devices_are_links,
    masked_links,
    null_is_a_link,
    cwd_is_link,
    passwd_is_hostile(60, 60),
    race_with_links(90, 1800),
    race_with_proc(90, 1800),
    race_with_dev(90, 1800),
    fake_proc,
    console_is_link,
    closed_root_in_user_namespace,
];
