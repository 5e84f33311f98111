//! Namespaces: new ones, joined ones, absent ones, and what belongs to them.

use std::path::Path;

use serde_json::json;

use super::scenarios;
use crate::contest::{Case, Config, Container, Holder, Outcome, check, check_eq, check_ok, skip};
use crate::inside;

const KINDS: [(&str, &str); 5] =
    [("pid", "pid"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("mount", "mnt")];

fn host_inode(link: &str) -> u64 {
    let all = inside::namespaces(Path::new("/proc/self/ns"));
    all.get(link).copied().unwrap_or(0)
}

/// The five usual namespaces are new ones; the others are the host's.
fn usual_ones_are_new(c: &Case) -> Outcome {
    let report = c.report(&c.config())?;
    for (_, link) in KINDS {
        let got = report.namespaces.get(link).copied().unwrap_or(0);
        check!(got != 0 && got != host_inode(link), "the {link} namespace is the host's");
    }
    for link in ["user", "cgroup", "time"] {
        check_eq!(report.namespaces.get(link), Some(&host_inode(link)), "{link} namespace");
    }
    Ok(())
}

/// The first process of a new pid namespace is number 1.
fn new_pid(c: &Case) -> Outcome {
    let report = c.report(&c.config())?;
    check_eq!(report.pid, 1, "pid of the container's process");
    check_eq!(report.stat(4), Some(0), "its parent");
    Ok(())
}

fn absent(c: &Case, config: Config, link: &str) -> Outcome {
    let report = c.report(&config)?;
    check_eq!(report.namespaces.get(link), Some(&host_inode(link)), "{link} namespace");
    Ok(())
}

/// Without a pid namespace the container lives in the runtime's.
fn absent_pid(c: &Case) -> Outcome {
    let config = c.config().without_namespace("pid");
    let report = c.report(&config)?;
    check!(report.pid != 1, "the process is the first of some pid namespace");
    absent(c, config, "pid")
}

/// Without an ipc namespace the container lives in the runtime's.
fn absent_ipc(c: &Case) -> Outcome {
    absent(c, c.config().without_namespace("ipc").without_mount("/dev/mqueue"), "ipc")
}

/// Without a uts namespace the host's name is seen and kept.
fn absent_uts(c: &Case) -> Outcome {
    let config = c.config().without_namespace("uts").remove("/hostname");
    let report = c.report(&config)?;
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    check_eq!(report.hostname, host, "host name inside");
    absent(c, config, "uts")
}

/// Without a network namespace the host's interfaces are seen.
fn absent_network(c: &Case) -> Outcome {
    // sysfs cannot tell whose interfaces to show and is left out.
    absent(c, c.config().without_namespace("network"), "net")
}

/// Without a mount namespace, and with nothing to mount, the root is changed all the same.
fn absent_mount(c: &Case) -> Outcome {
    let config = c
        .config()
        .without_namespace("mount")
        .set("/mounts", json!([]))
        .payload(&["try", "ls", "/"]);
    let done = c.run(&config)?;
    if done.code != 0 {
        // A runtime may insist on a mount namespace, in one line.
        done.fails_naming(&["mount"])?;
    } else {
        let got: Vec<crate::Attempt> = done.json()?;
        check_eq!(check_ok!(got[0]), "bin dev etc proc sys tmp", "the root's entries");
    }
    c.nothing_left()
}

/// A new network namespace has nothing but a loopback interface.
fn new_network(c: &Case) -> Outcome {
    let report = c.report(&c.config())?;
    let extra: Vec<&String> = report
        .interfaces
        .iter()
        .filter(|i| *i != "lo" && !["tunl0", "sit0", "ip6tnl0"].contains(&i.as_str()))
        .collect();
    check!(extra.is_empty(), "interfaces besides lo: {extra:?}");
    Ok(())
}

/// What would change the host's mounts is left out then, in one line, or refused.
fn absent_mount_left_out(c: &Case) -> Outcome {
    let config = c.config().without_namespace("mount").payload(&["try", "ls", "/proc"]);
    let before = std::fs::read_to_string("/proc/self/mountinfo")?;
    let done = c.run(&config)?;
    let after = std::fs::read_to_string("/proc/self/mountinfo")?;
    check!(after == before, "the host's mounts have changed");
    if done.code != 0 {
        done.fails_naming(&["mount"])?;
    }
    c.nothing_left()
}

/// In a cgroup namespace the container's cgroup is the root.
fn new_cgroup(c: &Case) -> Outcome {
    let report = c.report(&c.config().namespace("cgroup"))?;
    check!(report.namespaces.get("cgroup") != Some(&host_inode("cgroup")), "it is the host's");
    for line in &report.cgroups {
        if line.contains(&c.token) {
            check!(false, "the host's path shows: {line}");
        }
    }
    check!(report.cgroups.iter().any(|l| l.ends_with(":/")), "{:?}", report.cgroups);
    Ok(())
}

fn join(c: &Case, kind: &str, option: &str, link: &str) -> Outcome {
    let holder = Holder::new(c, &[option])?;
    let mut config = c.config().namespace_path(kind, &holder.path(link));
    if kind == "uts" {
        config = config.remove("/hostname");
    }
    let report = c.report(&config)?;
    check_eq!(report.namespaces.get(link), Some(&holder.inode(link)), "{link} namespace");
    Ok(())
}

/// A network namespace is joined by path.
fn join_network(c: &Case) -> Outcome {
    join(c, "network", "--net", "net")
}

/// An ipc namespace is joined by path.
fn join_ipc(c: &Case) -> Outcome {
    join(c, "ipc", "--ipc", "ipc")
}

/// A uts namespace is joined by path.
fn join_uts(c: &Case) -> Outcome {
    join(c, "uts", "--uts", "uts")
}

/// A mount namespace is joined by path.
fn join_mount(c: &Case) -> Outcome {
    join(c, "mount", "--mount", "mnt")
}

/// A cgroup namespace is joined by path.
fn join_cgroup(c: &Case) -> Outcome {
    join(c, "cgroup", "--cgroup", "cgroup")
}

/// A pid namespace is joined by path: its processes are seen, and the container is not the first.
fn join_pid(c: &Case) -> Outcome {
    let holder = Holder::new(c, &["--pid"])?;
    let report = c.report(&c.config().namespace_path("pid", &holder.path("pid")))?;
    check_eq!(report.namespaces.get("pid"), Some(&holder.inode("pid")), "pid namespace");
    check!(report.pid != 1, "pid 1 belongs to the namespace's first process");
    Ok(())
}

/// A time namespace is joined by path.
fn join_time(c: &Case) -> Outcome {
    if !Path::new("/proc/self/ns/time").exists() {
        skip!("the kernel has no time namespaces");
    }
    join(c, "time", "--time", "time")
}

/// All that can be joined is joined together.
fn join_all(c: &Case) -> Outcome {
    let holder = Holder::new(c, &["--net", "--ipc", "--uts", "--pid"])?;
    let mut config = c.config().remove("/hostname");
    for (kind, link) in KINDS.iter().take(4) {
        config = config.namespace_path(kind, &holder.path(link));
    }
    let report = c.report(&config)?;
    for (_, link) in KINDS.iter().take(4) {
        check_eq!(report.namespaces.get(*link), Some(&holder.inode(link)), "{link} namespace");
    }
    Ok(())
}

/// Containers share a namespace through the first one's process, as pods do.
fn join_other_container(c: &Case) -> Outcome {
    let first = c.start_waiting(&c.config())?;
    let pid = first.pid()?;
    let bundle = c.new_bundle("b2")?;
    let id = format!("{}-2", c.token);
    let mut config = c.config_for(&id).remove("/hostname").payload(&["report"]);
    for (kind, link) in &KINDS[1..4] {
        config = config.namespace_path(kind, &format!("/proc/{pid}/ns/{link}"));
    }
    bundle.configure(&config)?;
    c.remember(&id);
    let done = c.runtime(&["run", "--bundle", &bundle.dir.display().to_string(), &id])?.ok()?;
    let report: inside::Report = done.json()?;
    check_eq!(report.hostname, "contest", "host name of the shared uts namespace");
    first.stop()?;
    first.delete()
}

/// The host name is set in the new uts namespace, and only there.
fn hostname(c: &Case) -> Outcome {
    let before = rustix::system::uname().nodename().to_owned();
    let report = c.report(&c.config().set("/hostname", "a-name.example"))?;
    check_eq!(report.hostname, "a-name.example", "host name");
    check_eq!(rustix::system::uname().nodename(), before.as_c_str(), "the host's name");
    Ok(())
}

/// A host name without a uts namespace would rename the host: refused.
fn hostname_needs_uts(c: &Case) -> Outcome {
    let config = c.config().without_namespace("uts");
    c.run(&config)?.fails_naming(&["uts|hostname"])?;
    c.nothing_left()
}

/// The NIS domain name is set.
fn domainname(c: &Case) -> Outcome {
    let config = c.config().set("/ociVersion", "1.1.0").set("/domainname", "domain.example");
    let report = c.report(&config)?;
    check_eq!(report.domainname, "domain.example", "domain name");
    Ok(())
}

/// A path that does not exist is named.
fn join_missing_path(c: &Case) -> Outcome {
    let config = c.config().namespace_path("network", "/no/such/namespace");
    c.run(&config)?.fails_naming(&["/no/such/namespace"])?;
    c.nothing_left()
}

/// A path that is another kind of namespace is refused.
fn join_wrong_kind(c: &Case) -> Outcome {
    let holder = Holder::new(c, &["--ipc"])?;
    let config = c.config().namespace_path("network", &holder.path("ipc"));
    let done = c.run(&config)?;
    check!(done.code != 0, "an ipc namespace passed for a network namespace");
    drop(holder);
    c.nothing_left()
}

/// A namespace that is listed twice is refused.
fn listed_twice(c: &Case) -> Outcome {
    let config = c.config().push("/linux/namespaces", json!({ "type": "ipc" }));
    let done = c.run(&config)?;
    check!(done.code != 0, "the configuration was accepted");
    c.nothing_left()
}

/// A namespace nobody knows is refused by name.
fn unknown_kind(c: &Case) -> Outcome {
    let config = c.config().push("/linux/namespaces", json!({ "type": "weather" }));
    c.run(&config)?.fails_naming(&["weather"])?;
    c.nothing_left()
}

/// In a user namespace root inside is the mapped user outside.
fn user_mapping(c: &Case) -> Outcome {
    let config = c.config().user_namespace(100_000, 65_536);
    let report = c.report(&config)?;
    check_eq!(report.uid_map, [[0, 100_000, 65_536]], "uid_map");
    check_eq!(report.gid_map, [[0, 100_000, 65_536]], "gid_map");
    check_eq!(report.ids, [0, 0, 0, 0], "ids inside");
    check!(report.namespaces.get("user") != Some(&host_inode("user")), "it is the host's");
    Ok(())
}

/// Several ranges are mapped as they are given.
fn user_mapping_ranges(c: &Case) -> Outcome {
    let map = json!([
        { "containerID": 0, "hostID": 100_000, "size": 10 },
        { "containerID": 10, "hostID": 300_000, "size": 1 },
        { "containerID": 1000, "hostID": 200_000, "size": 500 },
    ]);
    let config = c
        .config()
        .namespace("user")
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map)
        .set("/process/user/uid", 1000)
        .set("/process/user/gid", 10);
    let report = c.report(&config)?;
    check_eq!(
        report.uid_map,
        [[0, 100_000, 10], [10, 300_000, 1], [1000, 200_000, 500]],
        "uid_map"
    );
    check_eq!(report.ids, [1000, 1000, 10, 10], "ids inside");
    Ok(())
}

/// The other new namespaces belong to the new user namespace: its root may configure them.
fn user_owns_others(c: &Case) -> Outcome {
    let caps = ["CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE"];
    let config = c.config().user_namespace(100_000, 65_536).caps(&caps);
    let got = c.attempts(&config, &[&["hostname", "mine"], &["bind-port", "80"]])?;
    check_ok!(got[0]);
    // The loopback interface is down or up depending on the runtime; being allowed is what counts.
    check!(
        got[1].errno != Some(rustix::io::Errno::ACCESS.raw_os_error()),
        "a privileged port is refused to the namespace's root"
    );
    Ok(())
}

/// A user namespace is joined by path.
fn join_user(c: &Case) -> Outcome {
    join_user_with(c, json!([]))
}

/// A user namespace is joined by path, its mappings told besides.
fn join_user_mappings(c: &Case) -> Outcome {
    join_user_with(c, json!([{ "containerID": 0, "hostID": 0, "size": 1 }]))
}

fn join_user_with(c: &Case, map: serde_json::Value) -> Outcome {
    let holder = Holder::new(c, &["--user", "--map-root-user"])?;
    let report = c.report(&in_user_namespace_of(c, &holder, map))?;
    check_eq!(report.namespaces.get("user"), Some(&holder.inode("user")), "user namespace");
    Ok(())
}

fn in_user_namespace_of(c: &Case, holder: &Holder, map: serde_json::Value) -> Config {
    // Group 5, which devpts would like, is not mapped there.
    c.config()
        .without_mount("/dev/pts")
        .mount("devpts", "devpts", "/dev/pts", &["newinstance", "ptmxmode=0666", "mode=0620"])
        .namespace_path("user", &holder.path("user"))
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map)
}

/// Clock offsets of a new time namespace are set.
fn time_offsets(c: &Case) -> Outcome {
    if !Path::new("/proc/self/ns/time").exists() {
        skip!("the kernel has no time namespaces");
    }
    let config = c
        .config()
        .set("/ociVersion", "1.1.0")
        .namespace("time")
        .set("/linux/timeOffsets/boottime", json!({ "secs": 1_000_000 }))
        .set("/linux/timeOffsets/monotonic", json!({ "secs": 2_000_000, "nanosecs": 5 }));
    let report = c.report(&config)?;
    check_eq!(report.timens_offsets.get("boottime"), Some(&(1_000_000, 0)), "boottime offset");
    check_eq!(report.timens_offsets.get("monotonic"), Some(&(2_000_000, 5)), "monotonic offset");
    check!(report.boottime_s >= 1_000_000, "boot time inside is {}", report.boottime_s);
    check!(report.monotonic_s >= 2_000_000, "monotonic clock inside is {}", report.monotonic_s);
    Ok(())
}

/// A container in a time namespace, new or joined, is found again.
fn time_and_state(c: &Case) -> Outcome {
    if !Path::new("/proc/self/ns/time").exists() {
        skip!("the kernel has no time namespaces");
    }
    let config = c
        .config()
        .set("/ociVersion", "1.1.0")
        .namespace("time")
        .set("/linux/timeOffsets/boottime", json!({ "secs": 1_000_000 }));
    let first = c.start_waiting(&config)?;
    first.check_status("running")?;
    let id = format!("{}-2", c.token);
    let bundle = c.new_bundle("second")?;
    let joining = c
        .config_for(&id)
        .set("/ociVersion", "1.1.0")
        .namespace_path("time", &format!("/proc/{}/ns/time", first.pid()?))
        .payload(&["wait"]);
    let second = Container::create(c, &id, &bundle, &joining)?;
    second.check_status("created")?;
    second.delete_force()?;
    first.delete_force()
}

/// Executed programs are in all the container's namespaces.
fn exec_joins_all(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config().namespace("cgroup"))?;
    let pid = container.pid()?;
    let report = container.exec_report(&[])?;
    let init = inside::namespaces(Path::new(&format!("/proc/{pid}/ns")));
    for link in ["pid", "net", "ipc", "uts", "mnt", "cgroup", "user"] {
        check_eq!(report.namespaces.get(link), init.get(link), "{link} namespace of exec");
    }
    container.stop()?;
    container.delete()
}

/// Executed programs are in the container's user namespace, as its root.
fn exec_joins_user(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config().user_namespace(100_000, 65_536))?;
    let pid = container.pid()?;
    let report = container.exec_report(&[])?;
    let init = inside::namespaces(Path::new(&format!("/proc/{pid}/ns")));
    check_eq!(report.namespaces.get("user"), init.get("user"), "user namespace of exec");
    check_eq!(report.ids, [0, 0, 0, 0], "ids inside");
    container.stop()?;
    container.delete()
}

/// Network devices are moved in, renamed as told, and not left in the runtime's namespace.
fn network_devices(c: &Case) -> Outcome {
    network_devices_with(c, c.config())
}

/// The same where the container joins a user namespace whose mappings are told besides.
fn network_devices_joined_user(c: &Case) -> Outcome {
    let holder = Holder::new(c, &["--user", "--map-root-user"])?;
    let map = json!([{ "containerID": 0, "hostID": 0, "size": 1 }]);
    network_devices_with(c, in_user_namespace_of(c, &holder, map))
}

fn network_devices_with(c: &Case, config: Config) -> Outcome {
    let holder = Holder::new(c, &["--net"])?;
    let net = format!("--net={}", holder.path("net"));
    let ip = |args: &[&str]| c.program("nsenter", &[&[net.as_str(), "--", "ip"], args].concat());
    let made = ip(&["link", "add", "ct0", "type", "veth", "peer", "name", "ct1"])?;
    if made.code != 0 {
        skip!("no veth pair can be made here: {}", made.err.trim());
    }
    c.wrap(&["nsenter", &net, "--"]);
    let config = config
        .set("/ociVersion", "1.3.0")
        .set("/linux/netDevices/ct0", json!({ "name": "inside0" }));
    let report = c.report(&config)?;
    check!(report.interfaces.contains(&"inside0".to_owned()), "inside: {:?}", report.interfaces);
    check!(!report.interfaces.contains(&"ct0".to_owned()), "inside: {:?}", report.interfaces);
    c.wrap(&[]);
    Ok(())
}

scenarios![
    usual_ones_are_new,
    new_pid,
    new_network,
    new_cgroup,
    absent_pid,
    absent_ipc,
    absent_uts,
    absent_network,
    absent_mount,
    absent_mount_left_out,
    join_mount,
    join_network,
    join_ipc,
    join_uts,
    join_cgroup,
    join_pid,
    join_time,
    join_all,
    join_other_container,
    join_user,
    join_user_mappings,
    join_missing_path,
    join_wrong_kind,
    listed_twice,
    unknown_kind,
    hostname,
    hostname_needs_uts,
    domainname,
    user_mapping,
    user_mapping_ranges,
    user_owns_others,
    time_offsets,
    time_and_state,
    network_devices,
    network_devices_joined_user,
    exec_joins_all,
    exec_joins_user,
];
