//! Containers with others: memory that is shared, images that are mounted, runtimes of other people; and what is left
//! of them when the machine has been off.

use std::fs;
use std::path::Path;

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process};

use crate::whole::{self, IMAGE, TestEngine, until};

#[test]
fn memory_is_shared_by_those_who_say_so() {
    let Some(engine) = TestEngine::start("memory_is_shared_by_those_who_say_so") else { return };
    let donate = "echo shared >/dev/shm/word; exec sleep 1000";
    engine.ok(&["run", "-d", "--name", "donor", "--ipc", "shareable", IMAGE, "sh", "-c", donate]);
    let join = ["run", "--rm", "--ipc", "container:donor", IMAGE];
    let word = || Some(engine.dhow(&[&join[..], &["cat", "/dev/shm/word"]].concat()).out);
    until("the word is there", || word().filter(|word| word == "shared\n"));
    // The same queues, too, and nobody else's.
    let queues = "readlink /proc/self/ns/ipc";
    let theirs = engine.ok(&["exec", "donor", "sh", "-c", queues]);
    assert_eq!(engine.ok(&[&join[..], &["sh", "-c", queues]].concat()), theirs);
    assert_ne!(engine.ok(&["run", "--rm", IMAGE, "sh", "-c", queues]), theirs);
    engine.ok(&["run", "-d", "--name", "private", IMAGE, "sleep", "1000"]);
    let refused = engine.dhow(&["run", "--rm", "--ipc", "container:private", IMAGE, "true"]);
    assert!(refused.err.contains("non-shareable IPC"), "{refused:?}");
}

#[test]
fn an_image_is_mounted_in_a_container() {
    let Some(engine) = TestEngine::start("an_image_is_mounted_in_a_container") else { return };
    let mount = format!("type=image,source={IMAGE},target=/other");
    let look = "cat /other/data/from-image; echo x >/other/data/new";
    let said = engine.dhow(&["run", "--rm", "--mount", &mount, IMAGE, "sh", "-c", look]);
    assert_eq!((said.out.as_str(), said.code), ("kept\n", 1), "{said:?}");
    assert!(said.err.contains("Read-only file system"), "{said:?}");
    let none = ["run", "--rm", "--mount", "type=image,source=none/at:all,target=/other", IMAGE];
    let said = engine.dhow(&none);
    assert_eq!(said.code, 125);
    assert!(said.err.contains("none/at:all"), "{said:?}");
}

#[test]
fn other_runtimes_run_containers_too() {
    let test = "other_runtimes_run_containers_too";
    let found =
        ["/usr/sbin/runc", "/usr/bin/runc"].into_iter().find(|path| Path::new(path).exists());
    let Some(runc) = found else {
        return whole::say(&format!("SKIPPED {test}: no runc on this machine"));
    };
    let flag = format!("other={runc}");
    let Some(engine) = TestEngine::with_flags(test, &["--add-runtime", &flag]) else { return };
    let run = ["run", "--runtime", "other"];
    let said = engine
        .fed(&[&run[..], &["-i", "--rm", IMAGE, "sh", "-c", "cat; exit 3"]].concat(), b"typed\n");
    assert_eq!((said.out.as_str(), said.code), ("typed\n", 3), "{said:?}");
    engine.ok(&[&run[..], &["-d", "--name", "one", IMAGE, "sleep", "1000"]].concat());
    assert_eq!(engine.ok(&["exec", "one", "cat", "/data/from-image"]), "kept");
    assert_eq!(engine.ok(&["inspect", "-f", "{{.HostConfig.Runtime}}", "one"]), "other");
    engine.ok(&["stop", "one"]);
    assert_eq!(engine.ok(&["inspect", "-f", "{{.State.ExitCode}}", "one"]), "137");
    engine.ok(&["start", "one"]);
    engine.ok(&["rm", "-f", "one"]);
    let refused = engine.dhow(&["run", "--runtime", "none", IMAGE, "true"]);
    assert!(refused.err.contains("unknown or invalid runtime name: none"), "{refused:?}");
}

#[test]
fn what_wants_to_run_runs_after_a_reboot() {
    let test = "what_wants_to_run_runs_after_a_reboot";
    let Some(mut engine) = TestEngine::start(test) else { return };
    let run = |name: &str, words: &[&str]| {
        engine.ok(&[&["run", "-d", "--name", name], words, &[IMAGE, "sleep", "1000"]].concat());
    };
    run("always", &["--restart", "always"]);
    run("unless", &["--restart", "unless-stopped"]);
    run("stopped", &["--restart", "unless-stopped"]);
    run("plain", &[]);
    engine.ok(&["stop", "stopped"]);
    let names = ["always", "unless", "stopped", "plain"];
    let state = |engine: &TestEngine, name: &str| {
        engine.ok(&["inspect", "-f", "{{.State.Status}} {{.State.Pid}}", name])
    };
    let before = names.map(|name| state(&engine, name));
    engine.kill();
    switch_off(&engine, &before);
    engine.open();
    for (name, before) in names.iter().zip(&before) {
        let is_wanted = matches!(*name, "always" | "unless");
        until("it is as it wants to be", || {
            let now = state(&engine, name);
            (now != *before && now.starts_with("running") == is_wanted)
                .then_some(())
                .or_else(|| (*name == "stopped" && now == *before).then_some(()))
        });
    }
    assert_eq!(engine.ok(&["exec", "always", "cat", "/data/from-image"]), "kept");
}

/// Ends all processes and takes all away that a machine without power does not keep.
fn switch_off(engine: &TestEngine, states: &[String]) {
    let firsts = states.iter().filter_map(|state| state.split(' ').nth(1)?.parse::<i32>().ok());
    let all: Vec<i32> =
        engine.processes().into_iter().chain(firsts.filter(|pid| *pid > 0)).collect();
    for pid in all.iter().filter_map(|pid| Pid::from_raw(*pid)) {
        let _ = kill_process(pid, Signal::KILL);
    }
    until("all have ended", || {
        let is_there = |pid: &i32| Path::new(&format!("/proc/{pid}/exe")).read_link().is_ok();
        (!all.iter().any(is_there)).then_some(())
    });
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo").expect("mounts");
    let run = engine.root.join("run");
    for place in mounts.lines().filter_map(|line| line.split(' ').nth(4)) {
        if Path::new(place).starts_with(&run) {
            unmount(place, UnmountFlags::DETACH).expect("unmounted");
        }
    }
    fs::remove_dir_all(&run).expect("gone");
    // Empty ones of containers; some hierarchies have none.
    let hierarchies = fs::read_dir("/sys/fs/cgroup").expect("cgroups").filter_map(Result::ok);
    let name = engine.root.file_name().expect("a name");
    for place in hierarchies.filter_map(|entry| fs::read_dir(entry.path().join(name)).ok()) {
        place.filter_map(Result::ok).for_each(|entry| drop(fs::remove_dir(entry.path())));
    }
    fs::write(engine.root.join("data/boot"), "another\n").expect("written");
}
