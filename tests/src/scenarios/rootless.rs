//! The runtime called by a user without privileges.
//!
//! The user has no name, no cgroup of its own and one id, unless a scenario gives it more.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::{Value, json};

use super::scenarios;
use crate::contest::{
    Case, Config, Outcome, cgroups_named, check, check_eq, check_errno, check_ok, remove_cgroups,
    skip,
};
use crate::inside::Report;

const USER: u32 = 1500;

/// What `spec --rootless` would write: a user namespace with one id, and nothing that needs more.
fn rootless(c: &Case) -> Outcome<Config> {
    if c.uses_systemd() {
        skip!("this user has no systemd");
    }
    if fs::read_to_string("/proc/sys/user/max_user_namespaces")?.trim() == "0" {
        skip!("the host refuses user namespaces");
    }
    let clone = fs::read_to_string("/proc/sys/kernel/unprivileged_userns_clone");
    if clone.is_ok_and(|t| t.trim() == "0") {
        skip!("the host refuses user namespaces to users");
    }
    let probe = c.other("unshare", &["--user", "--map-root-user", "--mount", "true"]);
    if probe.user(USER).go()?.code != 0 {
        skip!("the host refuses user namespaces to users");
    }
    c.become_user(USER)?;
    let map = json!([{ "containerID": 0, "hostID": USER, "size": 1 }]);
    Ok(c.config()
        .namespace("user")
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map)
        .remove("/linux/cgroupsPath")
        .remove("/linux/resources")
        .without_mount("/dev/pts")
        .mount("devpts", "devpts", "/dev/pts", &["newinstance", "ptmxmode=0666", "mode=0620"]))
}

/// A container runs, its root is the user outside.
fn run(c: &Case) -> Outcome {
    let config = rootless(c)?;
    let report = c.report(&config)?;
    check_eq!(report.ids, [0, 0, 0, 0], "ids");
    check_eq!(report.uid_map, [[0, u64::from(USER), 1]], "uid_map");
    check_eq!(report.gid_map, [[0, u64::from(USER), 1]], "gid_map");
    check_eq!(report.hostname, "contest", "host name");
    check_eq!(report.pid, 1, "pid");
    c.nothing_left()
}

/// Exit codes and output come through.
fn exit_code(c: &Case) -> Outcome {
    let config = rootless(c)?;
    c.run(&config.payload(&["exit", "42"]))?.code_is(42)?;
    c.nothing_left()
}

/// The whole life of a container.
fn life(c: &Case) -> Outcome {
    let config = rootless(c)?;
    let container = c.create_container(&config.payload(&["wait"]))?;
    container.check_status("created")?;
    container.start()?;
    container.wait_output("ready")?;
    container.check_status("running")?;
    let status = fs::read_to_string(format!("/proc/{}/status", container.pid()?))?;
    check!(status.contains(&format!("Uid:\t{USER}\t{USER}")), "not the user outside: {status}");
    let listed = c.runtime(&["list", "-q"])?.ok()?.out;
    check_eq!(listed.trim(), c.token, "listed");
    container.stop()?;
    container.delete()?;
    c.nothing_left()
}

/// Programs are executed in it.
fn exec(c: &Case) -> Outcome {
    let config = rootless(c)?;
    let container = c.start_waiting(&config)?;
    let report = container.exec_report(&[])?;
    check_eq!(report.ids, [0, 0, 0, 0], "ids");
    check_eq!(report.uid_map, [[0, u64::from(USER), 1]], "uid_map");
    container.exec(&[], &["/bin/payload", "exit", "7"])?.code_is(7)?;
    container.delete_force()
}

/// Files that the container's root makes are the user's.
fn files(c: &Case) -> Outcome {
    let config = rootless(c)?;
    let got =
        c.attempts(&config, &[&["write", "/tmp/mine", "x"], &["chown", "/tmp/mine", "5", "5"]])?;
    check_ok!(got[0]);
    check_errno!(got[1], INVAL);
    check_eq!(fs::metadata(c.bundle.rootfs.join("tmp/mine"))?.uid(), USER, "owner outside");
    Ok(())
}

/// Devices that cannot be made are there all the same.
fn devices(c: &Case) -> Outcome {
    let config = rootless(c)?;
    let ops: [&[&str]; 3] =
        [&["write", "/dev/null", "x"], &["stat", "/dev/zero"], &["readlink", "/dev/ptmx"]];
    let got = c.attempts(&config, &ops)?;
    check_ok!(got[0]);
    check!(check_ok!(got[1]).contains("1:5"), "{:?}", got[1].ok);
    check_ok!(got[2]);
    Ok(())
}

/// Bind mounts, tmpfs, masked and read-only paths work.
fn mounts(c: &Case) -> Outcome {
    c.bundle.file("etc/secret", "secret")?;
    c.bundle.file("data/file", "data")?;
    let source = c.dir.join("source");
    fs::create_dir(&source)?;
    fs::write(source.join("file"), "bound")?;
    let config = rootless(c)?
        .mount("bind", &source.display().to_string(), "/bound", &["rbind", "ro"])
        .mount("tmpfs", "tmpfs", "/scratch", &["size=1m"])
        .push("/linux/maskedPaths", "/etc/secret")
        .push("/linux/readonlyPaths", "/data");
    let got = c.attempts(
        &config,
        &[
            &["read", "/bound/file"],
            &["write", "/bound/file", "x"],
            &["write", "/scratch/x", "x"],
            &["read", "/etc/secret"],
            &["write", "/data/file", "x"],
        ],
    )?;
    check_eq!(check_ok!(got[0]), "bound", "bound file");
    check_errno!(got[1], ROFS);
    check_ok!(got[2]);
    check_eq!(check_ok!(got[3]), "", "masked file");
    check_errno!(got[4], ROFS);
    Ok(())
}

/// A read-only root.
fn readonly_root(c: &Case) -> Outcome {
    let config = rootless(c)?.set("/root/readonly", true);
    let got = c.attempts(&config, &[&["write", "/tmp/x", ""]])?;
    check_errno!(got[0], ROFS);
    Ok(())
}

/// Seccomp and `noNewPrivileges`.
fn seccomp(c: &Case) -> Outcome {
    let config = rootless(c)?.set("/process/noNewPrivileges", true).set(
        "/linux/seccomp",
        json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["getpriority"], "action": "SCMP_ACT_ERRNO" }],
        }),
    );
    let report = c.report(&config)?;
    check_eq!(report.status("Seccomp"), "2", "Seccomp");
    check_eq!(report.status("NoNewPrivs"), "1", "NoNewPrivs");
    Ok(())
}

/// Hooks run as the user.
fn hooks(c: &Case) -> Outcome {
    let log = c.dir.join("log");
    let hook = json!({ "path": c.payload().display().to_string(),
        "args": ["payload", "hook", log.display().to_string(), "hook"] });
    let config = rootless(c)?.hook("createRuntime", hook).payload(&["exit", "0"]);
    c.run(&config)?.ok()?;
    let text = fs::read_to_string(&log)?;
    let line: Value = serde_json::from_str(text.lines().next().unwrap_or(""))?;
    check_eq!(line["state"]["id"], c.token.as_str(), "id in the hook's state");
    Ok(())
}

/// An id that is not mapped is refused: one line, and nothing left.
fn unmapped_user(c: &Case) -> Outcome {
    let config = rootless(c)?.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    c.run(&config)?.fails_naming(&["1000|uid|gid|setgroups|setresuid|invalid argument"])?;
    c.nothing_left()
}

/// Somebody else's ids are refused.
fn foreign_mapping(c: &Case) -> Outcome {
    let map = json!([{ "containerID": 0, "hostID": 0, "size": 1 }]);
    let config = rootless(c)?.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    check!(c.run(&config)?.code != 0, "a user mapped root");
    c.nothing_left()
}

/// With ids of its own in `/etc/subuid`, a user maps many through newuidmap and newgidmap.
fn many_ids(c: &Case) -> Outcome {
    let report = with_many_ids(c, json!({ "uid": 500, "gid": 600 }))?;
    check_eq!(report.uid_map, [[0, u64::from(USER), 1], [1, 300_000, 1000]], "uid_map");
    check_eq!(report.ids, [500, 500, 600, 600], "ids");
    Ok(())
}

/// Mapped by newgidmap, supplementary groups can be had.
fn many_ids_groups(c: &Case) -> Outcome {
    let user = json!({ "uid": 0, "gid": 0, "additionalGids": [7] });
    let report = with_many_ids(c, user)?;
    check!(report.groups.contains(&7), "supplementary groups {:?}", report.groups);
    Ok(())
}

fn with_many_ids(c: &Case, user: Value) -> Outcome<Report> {
    for program in ["/usr/bin/newuidmap", "/usr/bin/newgidmap"] {
        if !std::path::Path::new(program).exists() {
            skip!("there is no {program}");
        }
    }
    let config = rootless(c)?;
    let files = [
        ("passwd", format!("root:x:0:0::/root:/bin/sh\nnobodys:x:{USER}:{USER}::/:/bin/sh\n")),
        ("subuid", "nobodys:300000:1000\n".to_owned()),
        ("subgid", "nobodys:300000:1000\n".to_owned()),
    ];
    for (name, text) in &files {
        let target = format!("/etc/{name}");
        if !std::path::Path::new(&target).exists() {
            skip!("there is no {target} to be replaced");
        }
        let file = c.dir.join(name);
        fs::write(&file, text)?;
        c.program("mount", &["--bind", &file.display().to_string(), &target])?.ok()?;
    }
    let map = json!([
        { "containerID": 0, "hostID": USER, "size": 1 },
        { "containerID": 1, "hostID": 300_000, "size": 1000 },
    ]);
    let config = config
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map)
        .set("/process/user", user);
    let report = c.report(&config);
    for (name, _) in &files {
        c.program("umount", &[&format!("/etc/{name}")])?.ok()?;
    }
    report
}

/// In cgroups that were given to it, a user sets limits.
fn delegated_cgroup(c: &Case) -> Outcome {
    let config = rootless(c)?;
    let delegated = c.delegate_cgroups(USER)?;
    // Entering needs root; the runtime itself is the user's.
    let mut script = String::from("#!/bin/sh\n");
    for dir in &delegated {
        script.push_str(&format!("echo $$ > {}/runner/cgroup.procs\n", dir.display()));
    }
    script.push_str(&format!(
        "export XDG_RUNTIME_DIR={}\nexec setpriv --reuid {USER} --regid {USER} --clear-groups \"$@\"\n",
        c.root.display()
    ));
    let path = c.dir.join("enter");
    fs::write(&path, script)?;
    c.become_root();
    c.wrap(&["sh", &path.display().to_string()]);
    let config =
        config.cgroup(&format!("/{}/container", c.token)).set("/linux/resources/pids/limit", 20);
    let container = c.start_waiting(&config)?;
    check_eq!(container.cgroup_file("pids", "pids.max")?, "20", "pids.max");
    let dir = container.cgroup_dir("pids")?;
    check_eq!(fs::metadata(&dir)?.uid(), USER, "owner of {}", dir.display());
    container.delete_force()?;
    check!(!dir.exists(), "{} is left", dir.display());
    c.wrap(&[]);
    remove_cgroups(cgroups_named(&c.token));
    c.nothing_left()
}

/// `spec --rootless` writes a configuration that works for its caller.
fn spec(c: &Case) -> Outcome {
    rootless(c)?;
    let call = c.call(&["spec", "--rootless"]).current_dir(&c.bundle.dir);
    call.go()?.ok()?;
    let path = c.bundle.dir.join("config.json");
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&path)?)?;
    check_eq!(config["linux"]["uidMappings"][0]["hostID"], USER, "mapped user");
    config["process"]["args"] = json!(["/bin/payload", "report"]);
    config["process"]["terminal"] = json!(false);
    fs::write(&path, config.to_string())?;
    c.remember(&c.token);
    let bundle = c.bundle.dir.display().to_string();
    c.runtime(&["run", "--bundle", &bundle, &c.token])?.ok()?;
    c.nothing_left()
}

scenarios![
    run,
    exit_code,
    life,
    exec,
    files,
    devices,
    mounts,
    readonly_root,
    seccomp,
    hooks,
    unmapped_user,
    foreign_mapping,
    many_ids,
    many_ids_groups,
    delegated_cgroup,
    spec,
];
