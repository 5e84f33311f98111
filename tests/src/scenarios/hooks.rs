//! Hooks: when each kind runs, where, with what, and what its failure means.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::scenarios;
use crate::contest::{Case, Config, Container, Outcome, Stop, check, check_eq, live_processes};
use crate::inside;
use crate::machine::{Machine, Program};

/// The kinds, in the order of a container's life.
const KINDS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// Where hooks write; the container sees it at the same place.
fn log_dir(c: &Case) -> Outcome<PathBuf> {
    let dir = c.dir.join("h");
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

fn log(c: &Case) -> Outcome<Vec<Value>> {
    let text = fs::read_to_string(log_dir(c)?.join("log")).unwrap_or_default();
    text.lines().map(|l| serde_json::from_str(l).map_err(Stop::from)).collect()
}

fn names(c: &Case) -> Outcome<Vec<String>> {
    Ok(log(c)?.iter().map(|l| l["name"].as_str().unwrap_or("").to_owned()).collect())
}

/// A hook that writes to the log, then does what `rest` says.
fn hook(c: &Case, kind: &str, name: &str, rest: &[&str]) -> Outcome<Value> {
    // Only `startContainer` is looked up in the container.
    let path = match kind {
        "startContainer" => "/bin/payload".to_owned(),
        _ => c.payload().display().to_string(),
    };
    let log = log_dir(c)?.join("log").display().to_string();
    let args = [&["payload", "hook", &log, name], rest].concat();
    Ok(json!({ "path": path, "args": args, "env": ["HOOK=yes"] }))
}

/// The default, with the log's directory mounted.
fn config(c: &Case) -> Outcome<Config> {
    let dir = log_dir(c)?.display().to_string();
    Ok(c.config().mount("bind", &dir, &dir, &["bind"]))
}

fn with_all(c: &Case) -> Outcome<Config> {
    let mut config = config(c)?;
    for kind in KINDS {
        config = config.hook(kind, hook(c, kind, kind, &[])?);
    }
    Ok(config)
}

/// Each kind runs at its time: three at `create`, two at `start`, one at `delete`.
fn each_at_its_time(c: &Case) -> Outcome {
    let container = c.create_container(&with_all(c)?.payload(&["wait"]))?;
    check_eq!(names(c)?, KINDS[..3], "after create");
    container.start()?;
    container.wait_output("ready")?;
    check_eq!(names(c)?, KINDS[..5], "after start");
    container.stop()?;
    check_eq!(names(c)?, KINDS[..5], "after the end");
    container.delete()?;
    check_eq!(names(c)?, KINDS, "after delete");
    Ok(())
}

/// `run` goes through all of them.
fn all_in_run(c: &Case) -> Outcome {
    c.run(&with_all(c)?.payload(&["exit", "0"]))?.ok()?;
    check_eq!(names(c)?, KINDS, "hooks");
    Ok(())
}

/// Hooks of one kind run one after the other, in their order.
fn order_within_a_kind(c: &Case) -> Outcome {
    let mut config = config(c)?;
    let mut expected = Vec::new();
    for kind in KINDS {
        for index in 0..3 {
            let name = format!("{kind} {index}");
            config = config.hook(kind, hook(c, kind, &name, &[])?);
            expected.push(name);
        }
    }
    c.run(&config.payload(&["exit", "0"]))?.ok()?;
    let names = names(c)?;
    for kind in KINDS {
        let of_kind = |all: &[String]| -> Vec<String> {
            all.iter().filter(|n| n.starts_with(&format!("{kind} "))).cloned().collect()
        };
        check_eq!(of_kind(&names), of_kind(&expected), "order");
    }
    Ok(())
}

/// `startContainer` runs before the program, `poststart` after it was started.
fn before_and_after_the_program(c: &Case) -> Outcome {
    let file = log_dir(c)?.join("log").display().to_string();
    let config = with_all(c)?.payload(&["hook", &file, "program"]);
    c.run(&config)?.ok()?;
    let names = names(c)?;
    let at = |name: &str| names.iter().position(|n| n == name);
    check!(at("startContainer") < at("program"), "{names:?}");
    check!(at("program").is_some() && at("poststart").is_some(), "{names:?}");
    Ok(())
}

fn by_name(c: &Case) -> Outcome<BTreeMap<String, Value>> {
    Ok(log(c)?.into_iter().map(|l| (l["name"].as_str().unwrap_or("").to_owned(), l)).collect())
}

fn life(c: &Case, config: &Config) -> Outcome<(BTreeMap<String, Value>, i64)> {
    let container = c.create_container(&config.clone().payload(&["wait"]))?;
    let pid = i64::from(container.pid()?);
    container.start()?;
    container.wait_output("ready")?;
    container.stop()?;
    container.delete()?;
    Ok((by_name(c)?, pid))
}

/// `createContainer` and `startContainer` run in the container's namespaces, the others in the runtime's.
fn namespaces(c: &Case) -> Outcome {
    let (hooks, _) = life(c, &with_all(c)?)?;
    let own = inside::namespaces(Path::new("/proc/self/ns"));
    for kind in KINDS {
        let seen = &hooks[kind]["namespaces"];
        let in_container = matches!(kind, "createContainer" | "startContainer");
        for link in ["mnt", "net", "ipc", "uts"] {
            let same = seen[link].as_u64() == own.get(link).copied();
            check_eq!(same, !in_container, "{kind} in the runtime's {link} namespace");
        }
    }
    Ok(())
}

/// `createContainer` runs before the root is changed, `startContainer` after.
fn roots(c: &Case) -> Outcome {
    let (hooks, _) = life(c, &with_all(c)?)?;
    let lists = |kind: &str, name: &str| {
        hooks[kind]["root"].as_array().is_some_and(|r| r.iter().any(|n| n == name))
    };
    check!(lists("createContainer", "usr"), "createContainer does not see the host's root");
    check!(!lists("startContainer", "usr"), "startContainer sees the host's root");
    check!(lists("startContainer", "bin"), "startContainer does not see the container's root");
    let mounted = |kind: &str, point: &str| {
        hooks[kind]["mounts"].as_array().is_some_and(|m| m.iter().any(|p| p == point))
    };
    let rootfs = c.bundle.rootfs.display().to_string();
    check!(mounted("createContainer", &format!("{rootfs}/proc")), "/proc is not mounted yet");
    Ok(())
}

/// Each hook reads the state from standard input.
fn state(c: &Case) -> Outcome {
    let config = with_all(c)?.set("/annotations", json!({ "org.example": "yes" }));
    let (hooks, pid) = life(c, &config)?;
    for (kind, statuses) in [
        ("prestart", &["creating", "created"][..]),
        ("createRuntime", &["creating", "created"]),
        ("createContainer", &["creating", "created"]),
        ("startContainer", &["created", "creating"]),
        ("poststart", &["running"]),
        ("poststop", &["stopped"]),
    ] {
        let state = &hooks[kind]["state"];
        check_eq!(state["id"], c.token.as_str(), "{kind}: id in {state}");
        check_eq!(state["bundle"], c.bundle.dir.display().to_string(), "{kind}: bundle");
        check_eq!(state["annotations"]["org.example"], "yes", "{kind}: annotation");
        check!(state["ociVersion"].is_string(), "{kind}: no ociVersion in {state}");
        let status = state["status"].as_str().unwrap_or("");
        check!(statuses.contains(&status), "{kind}: status {status:?}");
        if matches!(kind, "prestart" | "createRuntime" | "poststart") {
            check_eq!(state["pid"].as_i64(), Some(pid), "{kind}: pid in {state}");
        }
    }
    Ok(())
}

/// Arguments and environment are those of the configuration, and only those.
fn args_and_env(c: &Case) -> Outcome {
    let config = config(c)?
        .hook("createRuntime", hook(c, "createRuntime", "createRuntime", &["more", "words"])?)
        .payload(&["exit", "0"]);
    c.run_call(&config)?.env("SECRET", "x").go()?.ok()?;
    let hooks = by_name(c)?;
    let seen = &hooks["createRuntime"];
    check_eq!(seen["argv"][0], "payload", "argv[0]");
    check_eq!(seen["argv"][4], "more", "an argument");
    check_eq!(seen["env"], json!([["HOOK", "yes"]]), "environment");
    Ok(())
}

/// A hook has the three standard files and no other of the runtime's.
fn open_files(c: &Case) -> Outcome {
    let (hooks, _) = life(c, &with_all(c)?)?;
    for kind in KINDS {
        let fds = hooks[kind]["fds"].as_object().map(|f| f.keys().cloned().collect::<Vec<_>>());
        check_eq!(fds, Some(vec!["0".into(), "1".into(), "2".into()]), "{kind}: open files");
    }
    Ok(())
}

fn failing(c: &Case, kind: &str) -> Outcome {
    let config = config(c)?
        .hook(kind, hook(c, kind, "failing", &["fail"])?)
        .hook(kind, hook(c, kind, "next", &[])?)
        .payload(&["try", "write", "/tmp/ran", ""]);
    let done = c.run(&config)?;
    check!(done.code != 0, "it succeeded");
    check!(done.err.contains("hook") || done.err.contains(kind), "no word of hooks: {}", done.err);
    check_eq!(names(c)?, ["failing"], "hooks that ran");
    check!(!c.bundle.rootfs.join("tmp/ran").exists(), "the program ran");
    c.nothing_left()
}

/// A failing `prestart` hook stops everything.
fn failing_prestart(c: &Case) -> Outcome {
    failing(c, "prestart")
}

/// A failing `createRuntime` hook stops everything.
fn failing_create_runtime(c: &Case) -> Outcome {
    failing(c, "createRuntime")
}

/// A failing `createContainer` hook stops everything.
fn failing_create_container(c: &Case) -> Outcome {
    failing(c, "createContainer")
}

/// A failing `startContainer` hook stops everything before the program runs.
fn failing_start_container(c: &Case) -> Outcome {
    failing(c, "startContainer")
}

/// A failing `poststart` hook is said, and nothing is left of the container afterwards.
fn failing_poststart(c: &Case) -> Outcome {
    let config = config(c)?
        .hook("poststart", hook(c, "poststart", "failing", &["fail"])?)
        .payload(&["exit", "0"]);
    let done = c.run(&config)?;
    check!(done.err.contains("hook") || done.err.contains("poststart"), "no word: {}", done.err);
    c.nothing_left()
}

/// A failing `poststop` hook is said; the container is deleted all the same, and later hooks run.
fn failing_poststop(c: &Case) -> Outcome {
    let config = config(c)?
        .hook("poststop", hook(c, "poststop", "failing", &["fail"])?)
        .hook("poststop", hook(c, "poststop", "next", &[])?);
    let container = c.start_waiting(&config)?;
    container.stop()?;
    let done = container.call(&["delete"])?.ok()?;
    check!(done.err.contains("hook") || done.err.contains("poststop"), "no word: {:?}", done.err);
    check_eq!(names(c)?, ["failing", "next"], "hooks that ran");
    c.nothing_left()
}

/// A failed creation still runs `poststop`.
fn poststop_after_failure(c: &Case) -> Outcome {
    let config = config(c)?
        .hook("createRuntime", hook(c, "createRuntime", "failing", &["fail"])?)
        .hook("poststop", hook(c, "poststop", "poststop", &[])?);
    check!(c.run(&config)?.code != 0, "it succeeded");
    check_eq!(names(c)?, ["failing", "poststop"], "hooks that ran");
    c.nothing_left()
}

fn hanging(c: &Case, kind: &str) -> Outcome {
    let mut slow = hook(c, kind, "slow", &["hang"])?;
    slow["timeout"] = json!(1);
    let done = c.run(&config(c)?.hook(kind, slow).payload(&["exit", "0"]))?;
    check!(done.code != 0, "it succeeded");
    check!(done.took >= Duration::from_millis(900), "it gave up after {:?}", done.took);
    check!(done.took < c.limit(5), "it took {:?}", done.took);
    let said = ["hook", kind, "timeout", "timed out"].iter().any(|w| done.err.contains(w));
    check!(said, "no word of it: {}", done.err);
    check!(live_processes().is_empty(), "processes left: {:?}", live_processes());
    c.nothing_left()
}

/// A hook that hangs is killed after its timeout, which counts as failure.
fn timeout(c: &Case) -> Outcome {
    hanging(c, "createRuntime")
}

/// The same in the container's namespaces.
fn timeout_in_container(c: &Case) -> Outcome {
    hanging(c, "createContainer")
}

/// A hook whose program is not there is named.
fn missing_program(c: &Case) -> Outcome {
    let hook = json!({ "path": "/no/such/hook", "args": ["hook"] });
    let done = c.run(&config(c)?.hook("createRuntime", hook))?;
    done.fails_naming(&["/no/such/hook"])?.code_is(1)?;
    c.nothing_left()
}

/// A `startContainer` hook may do no more than the container's seccomp filter lets its program do.
fn start_container_is_filtered(c: &Case) -> Outcome {
    let mut program = Program::new(Machine::X86_64);
    program.call(24, &[]); // sched_yield
    program.exit_with_result();
    c.bundle.program("filtered", &program)?;
    let rule = json!({ "names": ["sched_yield"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95 });
    let filter = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] });
    let hook = json!({ "path": "/bin/filtered", "args": ["filtered"] });
    let config = config(c)?.payload(&["exit", "0"]).hook("startContainer", hook);
    c.run(&config)?.ok()?;
    // The low byte of -95.
    c.run(&config.set("/linux/seccomp", filter))?.fails_naming(&["startContainer", "161"])?;
    c.nothing_left()
}

/// A hook's path must be absolute.
fn relative_path(c: &Case) -> Outcome {
    let hook = json!({ "path": "bin/hook", "args": ["hook"] });
    check!(c.run(&config(c)?.hook("createRuntime", hook))?.code != 0, "it was accepted");
    c.nothing_left()
}

/// A hook that does not read its standard input is no problem.
fn deaf_hook(c: &Case) -> Outcome {
    let mut config = config(c)?.payload(&["exit", "0"]);
    // A state that does not fit into a pipe.
    for index in 0..300 {
        config = config.set(&format!("/annotations/a{index}"), "x".repeat(1000));
    }
    let hook =
        json!({ "path": c.payload().display().to_string(), "args": ["payload", "exit", "0"] });
    c.run(&config.hook("createRuntime", hook))?.ok()?;
    Ok(())
}

/// A `createRuntime` hook can set up the network namespace through the pid of the state.
fn network_set_up_by_hook(c: &Case) -> Outcome {
    let script = c.dir.join("net.sh");
    fs::write(
        &script,
        "#!/bin/sh\npid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/')\n\
         exec nsenter --net=/proc/$pid/ns/net ip link add ctbr0 type bridge\n",
    )?;
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let hook = json!({ "path": script.display().to_string(), "args": ["net.sh"],
        "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"] });
    let report = c.report(&c.config().hook("createRuntime", hook))?;
    check!(report.interfaces.contains(&"ctbr0".to_owned()), "inside: {:?}", report.interfaces);
    Ok(())
}

/// `delete --force` of a running container runs `poststop` too.
fn poststop_after_force(c: &Case) -> Outcome {
    let config = config(c)?.hook("poststop", hook(c, "poststop", "poststop", &[])?);
    let config = config.payload(&["wait"]);
    let container = Container::create(c, &c.token, &c.bundle, &config)?;
    container.start()?;
    container.delete_force()?;
    check_eq!(names(c)?, ["poststop"], "hooks that ran");
    Ok(())
}

scenarios![
    each_at_its_time,
    all_in_run,
    order_within_a_kind,
    before_and_after_the_program,
    namespaces,
    roots,
    state,
    args_and_env,
    open_files,
    failing_prestart,
    failing_create_runtime,
    failing_create_container,
    failing_start_container,
    failing_poststart,
    failing_poststop,
    poststop_after_failure,
    poststop_after_force,
    timeout,
    timeout_in_container,
    missing_program,
    start_container_is_filtered,
    relative_path,
    deaf_hook,
    network_set_up_by_hook,
];
