//! The root file system: devices, links, masked and read-only paths, propagation, pivot.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::scenarios;
use crate::contest::{Case, Outcome, check, check_eq, check_errno, check_ok};

const DEVICES: [(&str, &str); 6] = [
    ("null", "1:3"),
    ("zero", "1:5"),
    ("full", "1:7"),
    ("random", "1:8"),
    ("urandom", "1:9"),
    ("tty", "5:0"),
];

/// The default devices are there, for all to use.
fn default_devices(c: &Case) -> Outcome {
    let paths: Vec<String> = DEVICES.iter().map(|(n, _)| format!("/dev/{n}")).collect();
    let ops: Vec<[&str; 2]> = paths.iter().map(|p| ["lstat", p.as_str()]).collect();
    let ops: Vec<&[&str]> = ops.iter().map(|o| o.as_slice()).collect();
    let got = c.attempts(&c.config(), &ops)?;
    for ((name, number), attempt) in DEVICES.iter().zip(&got) {
        let expected = format!("char 666 0 0 {number} ");
        check!(check_ok!(attempt).starts_with(&expected), "{name}: {:?}", attempt.ok);
    }
    Ok(())
}

/// The default devices work, although all others are denied.
fn default_devices_work(c: &Case) -> Outcome {
    let got = c.attempts(
        &c.config(),
        &[
            &["write", "/dev/null", "x"],
            &["open", "/dev/zero"],
            &["write", "/dev/full", "x"],
            &["open", "/dev/urandom"],
            &["open", "/dev/random"],
        ],
    )?;
    check_ok!(got[0]);
    check_ok!(got[1]);
    check_errno!(got[2], NOSPC);
    check_ok!(got[3]);
    check_ok!(got[4]);
    Ok(())
}

/// In a user namespace, where nodes cannot be made, the default devices are there and work.
fn default_devices_in_user_namespace(c: &Case) -> Outcome {
    let config = c.config().user_namespace(100_000, 65_536);
    let ops: [&[&str]; 3] =
        [&["write", "/dev/null", "x"], &["stat", "/dev/zero"], &["open", "/dev/urandom"]];
    let got = c.attempts(&config, &ops)?;
    check_ok!(got[0]);
    check!(check_ok!(got[1]).contains("1:5"), "{:?}", got[1].ok);
    check_ok!(got[2]);
    Ok(())
}

/// The links that programs expect in `/dev`.
fn device_links(c: &Case) -> Outcome {
    let links = [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
        ("/dev/ptmx", "pts/ptmx"),
    ];
    let ops: Vec<[&str; 2]> = links.iter().map(|(l, _)| ["readlink", *l]).collect();
    let ops: Vec<&[&str]> = ops.iter().map(|o| o.as_slice()).collect();
    let got = c.attempts(&c.config(), &ops)?;
    for ((link, target), attempt) in links.iter().zip(&got) {
        let actual = check_ok!(attempt);
        check!(actual == *target || actual == format!("/dev/{target}"), "{link}: {actual}");
    }
    Ok(())
}

/// Without a terminal there is no console device.
fn no_console(c: &Case) -> Outcome {
    let got = c.attempts(&c.config(), &[&["lstat", "/dev/console"]])?;
    check_errno!(got[0], NOENT);
    Ok(())
}

/// `/dev` holds nothing but what it should.
fn nothing_else_in_dev(c: &Case) -> Outcome {
    let got = c.attempts(&c.config(), &[&["ls", "/dev"]])?;
    let known = [
        "core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin",
        "stdout", "tty", "urandom", "zero",
    ];
    for name in check_ok!(got[0]).split(' ') {
        check!(known.contains(&name), "/dev/{name} is there");
    }
    Ok(())
}

/// Configured devices are made with their numbers, modes and owners, in directories too.
fn configured_devices(c: &Case) -> Outcome {
    let mut config = c.config();
    for device in [
        json!({ "path": "/dev/mine", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640,
            "uid": 7, "gid": 8 }),
        json!({ "path": "/dev/sub/dir/block", "type": "b", "major": 7, "minor": 0,
            "fileMode": 0o600, "uid": 0, "gid": 0 }),
        json!({ "path": "/dev/pipe", "type": "p", "fileMode": 0o622, "uid": 1, "gid": 2 }),
        json!({ "path": "/dev/unbuffered", "type": "u", "major": 1, "minor": 3,
            "fileMode": 0o666, "uid": 0, "gid": 0 }),
    ] {
        config = config.push("/linux/devices", device);
    }
    let ops: [&[&str]; 4] = [
        &["lstat", "/dev/mine"],
        &["lstat", "/dev/sub/dir/block"],
        &["lstat", "/dev/pipe"],
        &["lstat", "/dev/unbuffered"],
    ];
    let got = c.attempts(&config, &ops)?;
    let expected =
        ["char 640 7 8 10:229 ", "block 600 0 0 7:0 ", "fifo 622 1 2 ", "char 666 0 0 1:3 "];
    for (attempt, expected) in got.iter().zip(expected) {
        check!(check_ok!(attempt).starts_with(expected), "{:?}: {:?}", attempt.op, attempt.ok);
    }
    Ok(())
}

/// A configured device may replace a default one.
fn configured_default_device(c: &Case) -> Outcome {
    let device = json!({ "path": "/dev/null", "type": "c", "major": 1, "minor": 3,
        "fileMode": 0o600, "uid": 0, "gid": 9 });
    let rule = json!({ "allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm" });
    let config = c.config().push("/linux/devices", device).push("/linux/resources/devices", rule);
    let got = c.attempts(&config, &[&["lstat", "/dev/null"]])?;
    check!(check_ok!(got[0]).starts_with("char 600 0 9 1:3 "), "{:?}", got[0].ok);
    Ok(())
}

/// A device outside of `/dev`.
fn device_elsewhere(c: &Case) -> Outcome {
    let device = json!({ "path": "/srv/devices/zero", "type": "c", "major": 1, "minor": 5,
        "fileMode": 0o666, "uid": 0, "gid": 0 });
    let config = c.config().push("/linux/devices", device);
    let got = c.attempts(&config, &[&["lstat", "/srv/devices/zero"]])?;
    check!(check_ok!(got[0]).starts_with("char 666 0 0 1:5 "), "{:?}", got[0].ok);
    Ok(())
}

/// Device modes do not depend on the runtime's umask.
fn device_modes_and_umask(c: &Case) -> Outcome {
    let device = json!({ "path": "/dev/mine", "type": "c", "major": 1, "minor": 3,
        "fileMode": 0o666, "uid": 0, "gid": 0 });
    let config = c.config().push("/linux/devices", device).payload(&[
        "try",
        "lstat",
        "/dev/mine",
        "--",
        "lstat",
        "/dev/null",
    ]);
    c.wrap(&["sh", "-c", "umask 077; exec \"$@\"", "sh"]);
    let got: Vec<crate::Attempt> = c.run(&config)?.ok()?.json()?;
    check!(check_ok!(got[0]).starts_with("char 666"), "configured: {:?}", got[0].ok);
    check!(check_ok!(got[1]).starts_with("char 666"), "default: {:?}", got[1].ok);
    Ok(())
}

/// Devices are made in the root itself where nothing is mounted at `/dev`.
fn dev_without_mount(c: &Case) -> Outcome {
    let config = c
        .config()
        .without_mount("/dev")
        .without_mount("/dev/pts")
        .without_mount("/dev/shm")
        .without_mount("/dev/mqueue");
    let got = c.attempts(&config, &[&["write", "/dev/null", "x"]])?;
    check_ok!(got[0]);
    Ok(())
}

/// A masked file reads as empty, a masked directory has nothing in it and takes nothing.
fn masked_paths(c: &Case) -> Outcome {
    c.bundle.file("secret/file", "secret")?;
    c.bundle.file("etc/secret", "secret")?;
    let masked = json!(["/secret", "/etc/secret", "/proc/timer_list", "/no/such/path"]);
    let config = c.config().set("/linux/maskedPaths", masked);
    let got = c.attempts(
        &config,
        &[
            &["ls", "/secret"],
            &["write", "/secret/new", ""],
            &["read", "/etc/secret"],
            &["read", "/proc/timer_list"],
        ],
    )?;
    check_eq!(check_ok!(got[0]), "", "masked directory");
    check_errno!(got[1], ROFS);
    check_eq!(check_ok!(got[2]), "", "masked file");
    if got[3].ok.is_some() {
        check_eq!(check_ok!(got[3]), "", "masked file of proc");
    }
    Ok(())
}

/// Masked directories cost one file system, however many they are.
fn masked_directories_share(c: &Case) -> Outcome {
    for name in ["one", "two", "three"] {
        c.bundle.file(&format!("{name}/secret"), "secret")?;
    }
    let report =
        c.report(&c.config().set("/linux/maskedPaths", json!(["/one", "/two", "/three"])))?;
    let device = |point: &str| report.mount(point).map(|mount| mount.device.clone());
    check!(device("/one").is_some(), "/one is not masked");
    check_eq!(device("/two"), device("/one"), "file system on /two");
    check_eq!(device("/three"), device("/one"), "file system on /three");
    Ok(())
}

/// A masked path cannot be uncovered by who may not mount.
fn masked_paths_stay(c: &Case) -> Outcome {
    c.bundle.file("etc/secret", "secret")?;
    let config = c.config().push("/linux/maskedPaths", "/etc/secret");
    let got = c.attempts(&config, &[&["umount", "/etc/secret"], &["read", "/etc/secret"]])?;
    check_errno!(got[0], PERM);
    check_eq!(check_ok!(got[1]), "", "masked file");
    Ok(())
}

/// A read-only path is read and not written; a missing one is no error.
fn readonly_paths(c: &Case) -> Outcome {
    c.bundle.file("data/file", "x")?;
    let paths = json!(["/data", "/proc/sys", "/etc/passwd", "/no/such/path"]);
    let config = c.config().set("/linux/readonlyPaths", paths);
    let got = c.attempts(
        &config,
        &[
            &["read", "/data/file"],
            &["write", "/data/file", "y"],
            &["write", "/data/new", "y"],
            &["write", "/proc/sys/kernel/domainname", "y"],
            &["write", "/etc/passwd", "y"],
            &["write", "/etc/other", "y"],
        ],
    )?;
    check_eq!(check_ok!(got[0]), "x", "content");
    for attempt in &got[1..5] {
        check_errno!(attempt, ROFS);
    }
    check_ok!(got[5]);
    Ok(())
}

/// Read-only and masked paths hold where mounts lie below them.
fn readonly_path_with_mounts_below(c: &Case) -> Outcome {
    let config = c
        .config()
        .mount("tmpfs", "tmpfs", "/data", &[])
        .mount("tmpfs", "tmpfs", "/data/below", &[])
        .push("/linux/readonlyPaths", "/data");
    let got = c.attempts(&config, &[&["write", "/data/x", ""]])?;
    check_errno!(got[0], ROFS);
    Ok(())
}

/// A read-only root takes nothing; mounts in it do.
fn readonly_root(c: &Case) -> Outcome {
    let config = c.config().set("/root/readonly", true).mount("tmpfs", "tmpfs", "/tmp", &[]);
    let got = c.attempts(
        &config,
        &[
            &["write", "/new", ""],
            &["mkdir", "/etc/new"],
            &["write", "/tmp/new", ""],
            &["write", "/dev/shm/new", ""],
            &["write", "/dev/null", "x"],
        ],
    )?;
    check_errno!(got[0], ROFS);
    check_errno!(got[1], ROFS);
    check_ok!(got[2]);
    check_ok!(got[3]);
    check_ok!(got[4]);
    check!(c.report(&config)?.mount("/").is_some_and(|m| m.has_own("ro")), "the root is not ro");
    Ok(())
}

/// A read-only root in a user namespace.
fn readonly_root_in_user_namespace(c: &Case) -> Outcome {
    let config = c.config().user_namespace(100_000, 65_536).set("/root/readonly", true);
    let got = c.attempts(&config, &[&["write", "/tmp/new", ""], &["write", "/dev/null", "x"]])?;
    check_errno!(got[0], ROFS);
    check_ok!(got[1]);
    Ok(())
}

/// Nothing of the host's file systems shows: the root is the root's content, the mounts those asked for.
fn nothing_of_the_host(c: &Case) -> Outcome {
    let got = c.attempts(&c.config(), &[&["ls", "/"], &["ls", "/.."]])?;
    for attempt in &got {
        check_eq!(check_ok!(attempt), "bin dev etc proc sys tmp", "{:?}", attempt.op);
    }
    let report = c.report(&c.config())?;
    for mount in &report.mounts {
        let asked = ["/", "/proc", "/sys", "/dev"];
        let known = asked.contains(&mount.point.as_str()) || mount.point.starts_with("/dev/");
        check!(known, "{} is mounted at {}", mount.kind, mount.point);
    }
    Ok(())
}

/// `--no-pivot` gives the same view.
fn no_pivot(c: &Case) -> Outcome {
    c.bundle.configure(&c.config().payload(&["try", "ls", "/", "--", "ls", "/.."]))?;
    c.remember(&c.token);
    let bundle = c.bundle.dir.display().to_string();
    let done = c.runtime(&["run", "--no-pivot", "--bundle", &bundle, &c.token])?.ok()?;
    let got: Vec<crate::Attempt> = done.json()?;
    for attempt in &got {
        check_eq!(check_ok!(attempt), "bin dev etc proc sys tmp", "{:?}", attempt.op);
    }
    c.nothing_left()
}

/// The propagation of the root mount is as configured.
fn root_propagation(c: &Case) -> Outcome {
    for (word, mark) in [("private", ""), ("shared", "shared:"), ("unbindable", "unbindable")] {
        let report = c.report(&c.config().set("/linux/rootfsPropagation", word))?;
        let root = report.mount("/").map(|m| m.propagation.clone()).unwrap_or_default();
        let right = match mark {
            "" => root.is_empty(),
            mark => root.iter().any(|p| p.starts_with(mark)),
        };
        check!(right, "{word}: {root:?}");
    }
    Ok(())
}

/// A propagation nobody knows is refused.
fn root_propagation_unknown(c: &Case) -> Outcome {
    let done = c.run(&c.config().set("/linux/rootfsPropagation", "osmotic"))?;
    done.fails_naming(&["osmotic|propagation"])?;
    c.nothing_left()
}

/// A root path may be absolute, relative, end in a slash, and have odd characters.
fn root_paths(c: &Case) -> Outcome {
    c.report(&c.config().set("/root/path", c.bundle.rootfs.display().to_string()))?;
    c.report(&c.config().set("/root/path", "./rootfs/"))?;
    c.report(&c.config().set("/root/path", "../b/rootfs"))?;
    let odd = c.bundle.dir.join("an odd, \"näme\":=\\");
    fs::rename(&c.bundle.rootfs, &odd)?;
    let text = odd.display().to_string();
    c.report(&c.config().set("/root/path", text))?;
    Ok(())
}

/// The root may be a mount point already.
fn root_is_a_mount(c: &Case) -> Outcome {
    let rootfs = c.bundle.rootfs.display().to_string();
    c.program("mount", &["--bind", &rootfs, &rootfs])?.ok()?;
    let report = c.report(&c.config());
    c.program("umount", &[&rootfs])?.ok()?;
    report?;
    Ok(())
}

/// The root's own permissions and files are not changed.
fn root_is_left_alone(c: &Case) -> Outcome {
    let rootfs = &c.bundle.rootfs;
    fs::set_permissions(rootfs, fs::Permissions::from_mode(0o711))?;
    let before = fs::read(rootfs.join("etc/passwd"))?;
    c.report(&c.config())?;
    check_eq!(fs::metadata(rootfs)?.permissions().mode() & 0o7777, 0o711, "mode of the root");
    check!(fs::read(rootfs.join("etc/passwd"))? == before, "/etc/passwd changed");
    let mut names: Vec<String> = fs::read_dir(rootfs)?
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    check_eq!(names, ["bin", "dev", "etc", "proc", "sys", "tmp"], "entries of the root");
    Ok(())
}

scenarios![
    default_devices,
    default_devices_work,
    default_devices_in_user_namespace,
    device_links,
    no_console,
    nothing_else_in_dev,
    configured_devices,
    configured_default_device,
    device_elsewhere,
    device_modes_and_umask,
    dev_without_mount,
    masked_paths,
    masked_directories_share,
    masked_paths_stay,
    readonly_paths,
    readonly_path_with_mounts_below,
    readonly_root,
    readonly_root_in_user_namespace,
    nothing_of_the_host,
    no_pivot,
    root_propagation,
    root_propagation_unknown,
    root_paths,
    root_is_a_mount,
    root_is_left_alone,
];
