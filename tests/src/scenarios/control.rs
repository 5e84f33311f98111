//! What is done to a running container through its cgroups: pause, resume, update, events, ps.

use std::fs;

use serde_json::{Value, json};

use super::cgroups::Expected;
use super::scenarios;
use crate::contest::{Case, CgroupLayout, Outcome, check, check_eq, live_processes};

/// A paused container does nothing, says so, and goes on after `resume`.
fn pause_and_resume(c: &Case) -> Outcome {
    let container = c.create_container(&c.config().payload(&["tick"]))?;
    container.start()?;
    container.wait_output("3\n")?;
    container.call(&["pause"])?.ok()?;
    container.check_status("paused")?;
    let before = container.output().lines().count();
    std::thread::sleep(std::time::Duration::from_millis(150));
    check_eq!(container.output().lines().count(), before, "lines printed while paused");
    container.call(&["resume"])?.ok()?;
    container.check_status("running")?;
    c.wait_until("it goes on", || Ok(container.output().lines().count() > before))?;
    container.delete_force()
}

/// A paused container is killed and deleted by force.
fn delete_paused(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    container.call(&["pause"])?.ok()?;
    container.delete_force()?;
    c.nothing_left()
}

/// KILL ends a paused container.
fn kill_paused(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    container.call(&["pause"])?.ok()?;
    container.stop()?;
    container.delete()
}

/// A container that is not running cannot be paused; one that is not paused cannot be resumed.
fn pause_needs_running(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    container.call(&["resume"])?.fails_naming(&[])?;
    container.check_status("running")?;
    container.stop()?;
    container.call(&["pause"])?.fails_naming(&[])?;
    container.delete()
}

/// `update` with flags.
fn update_flags(c: &Case) -> Outcome {
    let config = c.config().set("/linux/resources/pids/limit", 20);
    let container = c.start_waiting(&config)?;
    container
        .call(&[
            "update",
            "--memory",
            "67108864",
            "--memory-reservation",
            "33554432",
            "--cpu-quota",
            "30000",
            "--cpu-period",
            "60000",
            "--cpu-share",
            "256",
            "--pids-limit",
            "40",
            "--cpuset-cpus",
            "0",
        ])?
        .ok()?;
    for expected in [
        Expected {
            controller: "memory",
            v1: ("memory.limit_in_bytes", "67108864"),
            v2: ("memory.max", "67108864"),
        },
        Expected {
            controller: "memory",
            v1: ("memory.soft_limit_in_bytes", "33554432"),
            v2: ("memory.low", "33554432"),
        },
        Expected {
            controller: "cpu",
            v1: ("cpu.cfs_quota_us", "30000"),
            v2: ("cpu.max", "30000 60000"),
        },
        Expected { controller: "cpu", v1: ("cpu.shares", "256"), v2: ("", "") },
        Expected { controller: "pids", v1: ("pids.max", "40"), v2: ("pids.max", "40") },
        Expected { controller: "cpuset", v1: ("cpuset.cpus", "0"), v2: ("cpuset.cpus", "0") },
    ] {
        expected.check(&container)?;
    }
    container.delete_force()
}

/// `update` changes what it is told and nothing else.
fn update_one_thing(c: &Case) -> Outcome {
    let config = c
        .config()
        .set("/linux/resources/memory/limit", 67_108_864)
        .set("/linux/resources/pids/limit", 20);
    let container = c.start_waiting(&config)?;
    container.call(&["update", "--pids-limit", "30"])?.ok()?;
    let expected = Expected {
        controller: "memory",
        v1: ("memory.limit_in_bytes", "67108864"),
        v2: ("memory.max", "67108864"),
    };
    expected.check(&container)?;
    check_eq!(container.cgroup_file("pids", "pids.max")?, "30", "pids.max");
    let report = container.exec_attempts(&[&["write", "/dev/null", "x"]])?;
    check!(report[0].ok.is_some(), "devices changed: {:?}", report[0].errno);
    container.delete_force()
}

/// `update --resources` takes a file, or standard input.
fn update_resources(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    let file = c.dir.join("resources.json");
    let text = json!({ "memory": { "limit": 50_331_648 }, "pids": { "limit": 55 } }).to_string();
    fs::write(&file, &text)?;
    container.call(&["update", "--resources", &file.display().to_string()])?.ok()?;
    check_eq!(container.cgroup_file("pids", "pids.max")?, "55", "pids.max");
    let text = text.replace("55", "56");
    let call = c.call(&["update", "--resources", "-", &c.token]);
    call.stdin_text(&text)?.go()?.ok()?;
    check_eq!(container.cgroup_file("pids", "pids.max")?, "56", "pids.max");
    container.delete_force()
}

/// Memory and swap go up and down together, whatever the kernel's order.
fn update_memory_and_swap(c: &Case) -> Outcome {
    let small = json!({ "limit": 33_554_432, "swap": 33_554_432 });
    let container = c.start_waiting(&c.config().set("/linux/resources/memory", small))?;
    for size in ["134217728", "67108864", "134217728"] {
        container.call(&["update", "--memory", size, "--memory-swap", size])?.ok()?;
        let file = match CgroupLayout::here() {
            CgroupLayout::V1 => "memory.limit_in_bytes",
            CgroupLayout::V2 => "memory.max",
        };
        check_eq!(container.cgroup_file("memory", file)?, size, "{file}");
    }
    container.delete_force()
}

/// A value that the kernel refuses is named, and the container goes on.
fn update_refused(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    let done = container.call(&["update", "--cpuset-cpus", "999"])?;
    done.fails_naming(&["cpuset|999"])?;
    container.check_status("running")?;
    container.delete_force()
}

/// A stopped container is not updated.
fn update_stopped(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    container.stop()?;
    check!(container.call(&["update", "--pids-limit", "9"])?.code != 0, "it succeeded");
    container.delete()
}

/// `events --stats` prints one object with the usual numbers.
fn events_stats(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    let done = container.call(&["events", "--stats"])?.ok()?;
    let event: Value = serde_json::from_str(&done.out)?;
    check_eq!(event["type"], "stats", "type");
    check_eq!(event["id"], c.token.as_str(), "id");
    let number = |path: &str| event.pointer(path).and_then(Value::as_u64);
    check!(number("/data/cpu/usage/total").is_some_and(|n| n > 0), "cpu usage: {event}");
    check!(number("/data/memory/usage/usage").is_some_and(|n| n > 0), "memory usage: {event}");
    check_eq!(number("/data/pids/current"), Some(1), "processes");
    container.delete_force()
}

/// `events` goes on printing until the container is gone.
fn events_follow(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    let events = c.call(&["events", "--interval", "100ms", &c.token]).spawn()?;
    c.wait_until("two statistics", || Ok(events.output().matches("\"stats\"").count() >= 2))?;
    container.delete_force()?;
    events.finish()?.ok()?;
    Ok(())
}

/// `events` tells when the container runs out of memory.
fn events_oom(c: &Case) -> Outcome {
    let memory = json!({ "limit": 33_554_432, "swap": 33_554_432 });
    let container = c.start_waiting(&c.config().set("/linux/resources/memory", memory))?;
    let events = c.call(&["events", "--interval", "60s", &c.token]).spawn()?;
    // It must listen before there is something to hear.
    std::thread::sleep(std::time::Duration::from_millis(300));
    container.exec(&[], &["/bin/payload", "alloc", "200"])?.code_is(137)?;
    events.wait_output("\"oom\"")?;
    container.delete_force()?;
    events.finish()?.ok()?;
    Ok(())
}

/// `ps` lists the container's processes, by their pids outside.
fn ps(c: &Case) -> Outcome {
    let container = c.create_container(&c.config().payload(&["spawn-and-wait", "2"]))?;
    container.start()?;
    container.wait_output("ready")?;
    let done = container.call(&["ps", "--format", "json"])?.ok()?;
    let mut pids: Vec<i32> = serde_json::from_str(&done.out)?;
    pids.sort_unstable();
    let mut live: Vec<i32> = live_processes().into_iter().map(|(pid, _)| pid).collect();
    live.sort_unstable();
    check_eq!(pids, live, "pids");
    let table = container.call(&["ps"])?.ok()?.out;
    check!(table.lines().next().is_some_and(|l| l.contains("PID")), "no heading: {table}");
    for pid in pids {
        check!(table.contains(&pid.to_string()), "{pid} is not in the table: {table}");
    }
    container.delete_force()
}

scenarios![
    pause_and_resume,
    delete_paused,
    kill_paused,
    pause_needs_running,
    update_flags,
    update_one_thing,
    update_resources,
    update_memory_and_swap,
    update_refused,
    update_stopped,
    events_stats,
    events_follow,
    events_oom,
    ps,
];
