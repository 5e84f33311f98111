//! Cgroups: where the container is, each limit read back from the host's files, and the freezer.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::scenarios;
use crate::contest::{
    Case, CgroupLayout, Container, Outcome, Stop, cgroups_named, check, check_eq, fail,
    has_controller, remove_cgroups, skip,
};

/// A file of a controller, on v1 or v2, and what it should hold.
pub(super) struct Expected {
    pub(super) controller: &'static str,
    pub(super) v1: (&'static str, &'static str),
    pub(super) v2: (&'static str, &'static str),
}

impl Expected {
    pub(super) fn check(&self, container: &Container) -> Outcome {
        let (file, value) = match CgroupLayout::here() {
            CgroupLayout::V1 => self.v1,
            CgroupLayout::V2 => self.v2,
        };
        if value.is_empty() {
            return Ok(());
        }
        check_eq!(container.cgroup_file(self.controller, file)?, value, "{file}");
        Ok(())
    }
}

fn needs(controller: &str) -> Outcome {
    if !has_controller(controller) {
        skip!("no {controller} controller here");
    }
    Ok(())
}

/// Sets a resource and reads back the files.
fn limit(c: &Case, resource: &str, value: Value, expected: &[Expected]) -> Outcome {
    for one in expected {
        needs(one.controller)?;
    }
    let config = c.config().set(&format!("/linux/resources/{resource}"), value);
    let container = c.start_waiting(&config)?;
    for one in expected {
        one.check(&container)?;
    }
    container.delete_force()?;
    c.nothing_left()
}

/// Paths mean what they say only where systemd does not make the cgroups.
fn paths_are_ours(c: &Case) -> Outcome {
    if c.uses_systemd() {
        skip!("systemd chooses the paths");
    }
    Ok(())
}

/// The container is in the configured cgroup of every hierarchy.
fn configured_path(c: &Case) -> Outcome {
    paths_are_ours(c)?;
    let container = c.start_waiting(&c.config())?;
    let path = format!("/{}", c.token);
    for controller in ["memory", "pids", "freezer", "cpu", "cpuset", "blkio", "devices"] {
        if CgroupLayout::here() == CgroupLayout::V1 && has_controller(controller) {
            let dir = container.cgroup_dir(controller)?;
            check!(dir.display().to_string().ends_with(&path), "{controller}: {}", dir.display());
        }
    }
    if CgroupLayout::here() == CgroupLayout::V2 {
        let dir = container.cgroup_dir("memory")?;
        check!(dir.display().to_string().ends_with(&path), "{}", dir.display());
    }
    container.delete_force()?;
    check!(cgroups_named(&c.token).is_empty(), "left: {:?}", cgroups_named(&c.token));
    Ok(())
}

/// Without a configured path the container gets a cgroup of its own, named after it.
fn default_path(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config().remove("/linux/cgroupsPath"))?;
    let dir = container.cgroup_dir("pids")?;
    check!(dir.display().to_string().contains(&c.token), "{}", dir.display());
    container.delete_force()?;
    check!(cgroups_named(&c.token).is_empty(), "left: {:?}", cgroups_named(&c.token));
    Ok(())
}

/// Missing parents of the path are made; the container's own cgroup is removed at the end.
fn nested_path(c: &Case) -> Outcome {
    paths_are_ours(c)?;
    let path = format!("/{}/a/b", c.token);
    let config = c.config().cgroup(&path).set("/linux/resources/pids", json!({ "limit": 33 }));
    let container = c.start_waiting(&config)?;
    let dir = container.cgroup_dir("pids")?;
    check!(dir.ends_with(path.trim_start_matches('/')), "{}", dir.display());
    check_eq!(container.cgroup_file("pids", "pids.max")?, "33", "pids.max");
    container.delete_force()?;
    check!(!dir.exists(), "{} is left", dir.display());
    // Nobody says who should remove the parents.
    remove_cgroups(cgroups_named(&c.token));
    c.nothing_left()
}

/// Two containers can share a parent, and one can go before the other.
fn siblings(c: &Case) -> Outcome {
    paths_are_ours(c)?;
    let first = c.start_waiting(&c.config().cgroup(&format!("/{}/1", c.token)))?;
    let bundle = c.new_bundle("b2")?;
    let id = format!("{}-2", c.token);
    let config = c.config_for(&id).cgroup(&format!("/{}/2", c.token)).payload(&["wait"]);
    let second = Container::create(c, &id, &bundle, &config)?;
    second.start()?;
    first.delete_force()?;
    second.check_status("running")?;
    second.delete_force()?;
    remove_cgroups(cgroups_named(&c.token));
    c.nothing_left()
}

/// A relative path lies below some parent of the runtime's choice.
fn relative_path(c: &Case) -> Outcome {
    paths_are_ours(c)?;
    let container = c.start_waiting(&c.config().cgroup(&c.token))?;
    let dir = container.cgroup_dir("pids")?;
    check!(dir.display().to_string().ends_with(&c.token), "{}", dir.display());
    container.delete_force()?;
    c.nothing_left()
}

/// A path that would climb out of the hierarchy does not.
fn path_cannot_escape(c: &Case) -> Outcome {
    paths_are_ours(c)?;
    let config = c.config().cgroup(&format!("../../../../../tmp/{}", c.token));
    let done = c.run(&config.payload(&["exit", "0"]))?;
    check!(!Path::new("/tmp").join(&c.token).join("cgroup.procs").exists(), "it escaped");
    if done.code == 0 {
        remove_cgroups(cgroups_named(&c.token));
    }
    c.nothing_left()
}

/// The memory limit.
fn memory_limit(c: &Case) -> Outcome {
    limit(
        c,
        "memory/limit",
        json!(67_108_864),
        &[Expected {
            controller: "memory",
            v1: ("memory.limit_in_bytes", "67108864"),
            v2: ("memory.max", "67108864"),
        }],
    )
}

/// The soft limit.
fn memory_reservation(c: &Case) -> Outcome {
    limit(
        c,
        "memory/reservation",
        json!(33_554_432),
        &[Expected {
            controller: "memory",
            v1: ("memory.soft_limit_in_bytes", "33554432"),
            v2: ("memory.low", "33554432"),
        }],
    )
}

/// The limit of memory and swap together.
fn memory_swap(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    let dir = container.cgroup_dir("memory")?;
    let has =
        ["memory.memsw.limit_in_bytes", "memory.swap.max"].iter().any(|f| dir.join(f).exists());
    container.delete_force()?;
    if !has {
        skip!("the kernel does not account for swap");
    }
    limit(
        c,
        "memory",
        json!({ "limit": 67_108_864, "swap": 100_663_296 }),
        &[Expected {
            controller: "memory",
            v1: ("memory.memsw.limit_in_bytes", "100663296"),
            v2: ("memory.swap.max", "33554432"),
        }],
    )
}

/// No limit is -1.
fn memory_unlimited(c: &Case) -> Outcome {
    limit(
        c,
        "memory",
        json!({ "limit": -1, "swap": -1 }),
        &[Expected {
            controller: "memory",
            v1: ("memory.limit_in_bytes", "9223372036854771712"),
            v2: ("memory.max", "max"),
        }],
    )
}

/// Swappiness, where it exists.
fn memory_swappiness(c: &Case) -> Outcome {
    only_v1()?;
    limit(
        c,
        "memory/swappiness",
        json!(10),
        &[Expected { controller: "memory", v1: ("memory.swappiness", "10"), v2: ("", "") }],
    )
}

/// The out-of-memory killer can be told to stay away, on v1.
fn memory_oom_killer(c: &Case) -> Outcome {
    only_v1()?;
    let config = c.config().set("/linux/resources/memory/disableOOMKiller", true);
    let container = c.start_waiting(&config)?;
    let text = container.cgroup_file("memory", "memory.oom_control")?;
    check!(text.contains("oom_kill_disable 1"), "memory.oom_control: {text}");
    container.delete_force()
}

fn only_v1() -> Outcome {
    match CgroupLayout::here() {
        CgroupLayout::V1 => Ok(()),
        CgroupLayout::V2 => skip!("cgroup v2 has no such setting"),
    }
}

/// Who takes more memory than it may is killed, which counts as 137.
fn memory_is_enforced(c: &Case) -> Outcome {
    let memory = json!({ "limit": 33_554_432, "swap": 33_554_432 });
    let config = c.config().set("/linux/resources/memory", memory).payload(&["alloc", "200"]);
    let done = c.run(&config)?.code_is(137)?;
    check!(!done.out.contains("allocated"), "the memory was had");
    c.nothing_left()
}

/// CPU shares, or the weight that comes of them.
fn cpu_shares(c: &Case) -> Outcome {
    needs("cpu")?;
    let container = c.start_waiting(&c.config().set("/linux/resources/cpu/shares", 512))?;
    match CgroupLayout::here() {
        CgroupLayout::V1 => {
            check_eq!(container.cgroup_file("cpu", "cpu.shares")?, "512", "cpu.shares");
        }
        CgroupLayout::V2 => {
            // Two conversions are in use; both make less than the default of it.
            let weight: u32 = container.cgroup_file("cpu", "cpu.weight")?.parse().unwrap_or(0);
            check!((1..100).contains(&weight), "cpu.weight: {weight}");
        }
    }
    container.delete_force()
}

/// Quota and period.
fn cpu_quota(c: &Case) -> Outcome {
    limit(
        c,
        "cpu",
        json!({ "quota": 20_000, "period": 50_000 }),
        &[
            Expected {
                controller: "cpu",
                v1: ("cpu.cfs_quota_us", "20000"),
                v2: ("cpu.max", "20000 50000"),
            },
            Expected { controller: "cpu", v1: ("cpu.cfs_period_us", "50000"), v2: ("", "") },
        ],
    )
}

/// No quota is -1.
fn cpu_quota_unlimited(c: &Case) -> Outcome {
    limit(
        c,
        "cpu",
        json!({ "quota": -1, "period": 50_000 }),
        &[Expected {
            controller: "cpu",
            v1: ("cpu.cfs_quota_us", "-1"),
            v2: ("cpu.max", "max 50000"),
        }],
    )
}

/// The quota is enforced: the kernel throttles.
fn cpu_quota_is_enforced(c: &Case) -> Outcome {
    needs("cpu")?;
    let config = c
        .config()
        .set("/linux/resources/cpu", json!({ "quota": 5_000, "period": 50_000 }))
        .payload(&["burn", "60000"]);
    let container = c.create_container(&config)?;
    let dir = container.cgroup_dir("cpu")?;
    container.start()?;
    // While it runs: a scope's cgroup goes with its last process.
    c.wait_until("the kernel throttles", || {
        let stat = fs::read_to_string(dir.join("cpu.stat"))?;
        let throttled = stat.lines().find_map(|line| line.strip_prefix("nr_throttled "));
        Ok(throttled.is_some_and(|number| number != "0"))
    })?;
    container.delete_force()
}

/// What a container may save up for a burst.
fn cpu_burst(c: &Case) -> Outcome {
    limit(
        c,
        "cpu",
        json!({ "quota": 50_000, "period": 100_000, "burst": 20_000 }),
        &[Expected {
            controller: "cpu",
            v1: ("cpu.cfs_burst_us", "20000"),
            v2: ("cpu.max.burst", "20000"),
        }],
    )
}

/// The idle class.
fn cpu_idle(c: &Case) -> Outcome {
    limit(
        c,
        "cpu/idle",
        json!(1),
        &[Expected { controller: "cpu", v1: ("cpu.idle", "1"), v2: ("cpu.idle", "1") }],
    )
}

/// Real-time shares, where the kernel has them.
fn cpu_realtime(c: &Case) -> Outcome {
    if !Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists() {
        skip!("the kernel has no real-time group scheduling");
    }
    limit(
        c,
        "cpu",
        json!({ "realtimeRuntime": 10_000, "realtimePeriod": 1_000_000 }),
        &[Expected { controller: "cpu", v1: ("cpu.rt_runtime_us", "10000"), v2: ("", "") }],
    )
}

/// CPUs and memory nodes; the process sees only those.
fn cpuset(c: &Case) -> Outcome {
    needs("cpuset")?;
    let config = c.config().set("/linux/resources/cpu", json!({ "cpus": "0", "mems": "0" }));
    let container = c.start_waiting(&config)?;
    check_eq!(container.cgroup_file("cpuset", "cpuset.cpus")?, "0", "cpuset.cpus");
    check_eq!(container.cgroup_file("cpuset", "cpuset.mems")?, "0", "cpuset.mems");
    check_eq!(container.exec_report(&[])?.cpus, [0], "CPUs of an executed program");
    container.delete_force()?;
    check_eq!(c.report(&config)?.cpus, [0], "CPUs");
    Ok(())
}

/// The number of processes; the kernel refuses the next one.
fn pids(c: &Case) -> Outcome {
    limit(
        c,
        "pids/limit",
        json!(20),
        &[Expected { controller: "pids", v1: ("pids.max", "20"), v2: ("pids.max", "20") }],
    )?;
    let config = c.config().set("/linux/resources/pids/limit", 20).payload(&["spawn", "50"]);
    let got: Value = c.run(&config)?.ok()?.json()?;
    let again = rustix::io::Errno::AGAIN.raw_os_error();
    check_eq!(got["errno"].as_i64(), Some(i64::from(again)), "errno of the fork too many");
    check!(got["started"].as_i64().is_some_and(|n| n < 20), "{got}");
    Ok(())
}

/// No limit is -1.
fn pids_unlimited(c: &Case) -> Outcome {
    limit(
        c,
        "pids/limit",
        json!(-1),
        &[Expected { controller: "pids", v1: ("pids.max", "max"), v2: ("pids.max", "max") }],
    )
}

/// The I/O weight, under one of its names.
fn io_weight(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    let dir = container.cgroup_dir("blkio").or_else(|_| container.cgroup_dir("io"))?;
    let names = ["blkio.weight", "blkio.bfq.weight", "io.bfq.weight", "io.weight"];
    let file = names.into_iter().find(|n| dir.join(n).exists());
    container.delete_force()?;
    let Some(file) = file else { skip!("the kernel has no I/O weights") };
    let config = c.config().set("/linux/resources/blockIO/weight", 200);
    let container = c.start_waiting(&config)?;
    let controller = if file.starts_with("blkio") { "blkio" } else { "io" };
    let text = container.cgroup_file(controller, file)?;
    if file == "io.weight" {
        check!(!text.contains("default 100"), "{file}: {text}");
    } else {
        check!(text.trim_start_matches("default ") == "200", "{file}: {text}");
    }
    container.delete_force()
}

fn block_device() -> Outcome<(u64, u64)> {
    for entry in fs::read_dir("/sys/block").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("loop") || name.starts_with("ram") {
            continue;
        }
        let text = fs::read_to_string(entry.path().join("dev")).unwrap_or_default();
        if let Some((major, minor)) = text.trim().split_once(':')
            && let (Ok(major), Ok(minor)) = (major.parse(), minor.parse())
        {
            return Ok((major, minor));
        }
    }
    skip!("no block device to limit");
}

/// Bytes and operations per second and device.
fn io_throttle(c: &Case) -> Outcome {
    let (major, minor) = block_device()?;
    let rate = |rate: u64| json!([{ "major": major, "minor": minor, "rate": rate }]);
    let config = c.config().set(
        "/linux/resources/blockIO",
        json!({
            "throttleReadBpsDevice": rate(1_048_576),
            "throttleWriteBpsDevice": rate(2_097_152),
            "throttleReadIOPSDevice": rate(300),
            "throttleWriteIOPSDevice": rate(400),
        }),
    );
    let container = c.start_waiting(&config)?;
    match CgroupLayout::here() {
        CgroupLayout::V1 => {
            for (file, rate) in [
                ("blkio.throttle.read_bps_device", 1_048_576),
                ("blkio.throttle.write_bps_device", 2_097_152),
                ("blkio.throttle.read_iops_device", 300),
                ("blkio.throttle.write_iops_device", 400),
            ] {
                let expected = format!("{major}:{minor} {rate}");
                check_eq!(container.cgroup_file("blkio", file)?, expected, "{file}");
            }
        }
        CgroupLayout::V2 => {
            let expected = format!("{major}:{minor} rbps=1048576 wbps=2097152 riops=300 wiops=400");
            check_eq!(container.cgroup_file("io", "io.max")?, expected, "io.max");
        }
    }
    container.delete_force()
}

/// Huge pages, wherever their controller is: also on the v2 tree of a hybrid host.
fn huge_pages(c: &Case) -> Outcome {
    needs("hugetlb")?;
    let limits = json!([{ "pageSize": "2MB", "limit": 4_194_304 }]);
    let config = c.config().set("/linux/resources/hugepageLimits", limits);
    let container = c.start_waiting(&config)?;
    let dir = container.cgroup_dir("hugetlb")?;
    let files = ["hugetlb.2MB.max", "hugetlb.2MB.limit_in_bytes"];
    let Some(file) = files.into_iter().find(|f| dir.join(f).exists()) else {
        fail!("no hugetlb file in {}", dir.display());
    };
    check_eq!(container.cgroup_file("hugetlb", file)?, "4194304", "{file}");
    container.delete_force()?;
    c.nothing_left()
}

/// RDMA handles and objects.
fn rdma(c: &Case) -> Outcome {
    needs("rdma")?;
    let device = fs::read_dir("/sys/class/infiniband").into_iter().flatten().flatten().next();
    let Some(device) = device else { skip!("no RDMA device") };
    let name = device.file_name().to_string_lossy().into_owned();
    let limit = json!({ "hcaHandles": 3, "hcaObjects": 10_000 });
    let config = c.config().set(&format!("/linux/resources/rdma/{name}"), limit);
    let container = c.start_waiting(&config)?;
    let expected = format!("{name} hca_handle=3 hca_object=10000");
    check_eq!(container.cgroup_file("rdma", "rdma.max")?, expected, "rdma.max");
    container.delete_force()
}

/// The class of network packets, on v1.
fn network_class(c: &Case) -> Outcome {
    needs("net_cls")?;
    limit(
        c,
        "network/classID",
        json!(1_048_577),
        &[Expected { controller: "net_cls", v1: ("net_cls.classid", "1048577"), v2: ("", "") }],
    )
}

/// `unified` names files of cgroup v2 themselves.
fn unified(c: &Case) -> Outcome {
    if CgroupLayout::here() == CgroupLayout::V1 {
        skip!("no controllers on cgroup v2 here");
    }
    let config = c
        .config()
        .set("/linux/resources/unified", json!({ "memory.high": "50331648", "pids.max": "44" }));
    let container = c.start_waiting(&config)?;
    check_eq!(container.cgroup_file("memory", "memory.high")?, "50331648", "memory.high");
    check_eq!(container.cgroup_file("pids", "pids.max")?, "44", "pids.max");
    container.delete_force()
}

/// A name in `unified` that would leave the cgroup is refused.
fn unified_cannot_escape(c: &Case) -> Outcome {
    let config = c.config().set("/linux/resources/unified", json!({ "../cgroup.freeze": "0" }));
    check!(c.run(&config)?.code != 0, "it was accepted");
    c.nothing_left()
}

/// A limit that the kernel refuses stops the creation: one line, and nothing left.
fn refused_values(c: &Case) -> Outcome {
    for (resource, value, word) in [
        ("cpu/cpus", json!("999"), "cpuset|cpus"),
        ("cpu/quota", json!(1), "cpu.cfs_quota_us|cpu.max|quota"),
    ] {
        let config = c.config().set(&format!("/linux/resources/{resource}"), value);
        c.run(&config)?.fails_naming(&[word])?.code_is(1)?;
        c.nothing_left()?;
    }
    Ok(())
}

/// A cgroup that exists already is used.
fn existing_cgroup(c: &Case) -> Outcome {
    paths_are_ours(c)?;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let point = crate::inside::parse_mountinfo(&mounts)
        .into_iter()
        .find(|m| (m.kind == "cgroup" && m.has("pids")) || m.kind == "cgroup2")
        .map(|m| m.point)
        .ok_or_else(|| Stop::Fail("no cgroups are mounted".into()))?;
    let dir = Path::new(&point).join(&c.token);
    fs::create_dir(&dir)?;
    let container = c.start_waiting(&c.config().set("/linux/resources/pids/limit", 31))?;
    check_eq!(container.cgroup_file("pids", "pids.max")?, "31", "pids.max");
    container.delete_force()?;
    remove_cgroups(cgroups_named(&c.token));
    Ok(())
}

/// The limits hold from the program's first moment.
fn limits_before_the_program(c: &Case) -> Outcome {
    let config = c.config().set("/linux/resources/pids/limit", 25);
    let container = c.create_container(&config.payload(&["wait"]))?;
    check_eq!(container.cgroup_file("pids", "pids.max")?, "25", "pids.max when created");
    container.delete_force()
}

/// With `--systemd-cgroup` the container is in a scope of systemd's.
fn systemd_scope(c: &Case) -> Outcome {
    if !Path::new("/run/systemd/system").exists() {
        skip!("systemd is not running here");
    }
    let config = c
        .config()
        .cgroup(&format!("system.slice:contest:{}", c.token))
        .set(
            "/linux/resources",
            json!({ "memory": { "limit": 67_108_864 }, "pids": { "limit": 20 } }),
        )
        .payload(&["wait"]);
    let command = ["--systemd-cgroup", "run", "-d"];
    let container = Container::made_by(c, &c.token, &c.bundle, &config, &command)?;
    let scope = format!("contest-{}.scope", c.token);
    let dir = container.cgroup_dir("memory")?;
    check!(dir.display().to_string().contains(&scope), "{}", dir.display());
    check_eq!(container.cgroup_file("pids", "pids.max")?, "20", "pids.max");
    // On its private socket systemctl wants to see who answers, who is in no PID namespace of ours.
    let systemctl = |words: &[&str]| {
        c.program("env", &[&["SYSTEMCTL_FORCE_BUS=1", "systemctl"], words].concat())
    };
    let shown = systemctl(&["show", "-p", "MemoryMax", &scope])?.ok()?.out;
    check_eq!(shown.trim(), "MemoryMax=67108864", "what systemd knows");
    c.runtime(&["--systemd-cgroup", "update", "--pids-limit", "30", &c.token])?.ok()?;
    check_eq!(container.cgroup_file("pids", "pids.max")?, "30", "pids.max");
    c.runtime(&["--systemd-cgroup", "delete", "--force", &c.token])?.ok()?;
    let state = systemctl(&["is-active", &scope])?;
    check!(state.code != 0, "the scope is still active");
    check!(state.out.trim() == "inactive", "the scope: {}{}", state.out, state.err);
    Ok(())
}

scenarios![
    configured_path,
    default_path,
    nested_path,
    siblings,
    relative_path,
    path_cannot_escape,
    existing_cgroup,
    limits_before_the_program,
    memory_limit,
    memory_reservation,
    memory_swap,
    memory_unlimited,
    memory_swappiness,
    memory_oom_killer,
    memory_is_enforced,
    cpu_shares,
    cpu_quota,
    cpu_quota_unlimited,
    cpu_quota_is_enforced,
    cpu_burst,
    cpu_idle,
    cpu_realtime,
    cpuset,
    pids,
    pids_unlimited,
    io_weight,
    io_throttle,
    huge_pages,
    rdma,
    network_class,
    unified,
    unified_cannot_escape,
    refused_values,
    systemd_scope,
];
