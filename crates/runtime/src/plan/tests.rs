//! Plans as text: a configuration goes in, the program of its first process comes out.

use std::path::Path;

use dhow_spec::runtime::Spec;
use dhow_sys::{Memory, SignalSet};

use super::{InitFacts, InitPlan, MountFacts, NamespacePlan, ProcessFacts, plan};
use crate::cgroup::CgroupMount;
use crate::error::Error;
use crate::init::Listing;

/// A configuration with nothing but what every one has; `changes` are more members of its objects.
fn config(process: &str, linux: &str, rest: &str) -> Spec {
    let text = format!(
        r#"{{"ociVersion":"1.3.0","root":{{"path":"rootfs"}},
            "process":{{"args":["sh"],"cwd":"/","env":["PATH=/bin:/sbin"]{process}}},
            "linux":{{"namespaces":[{{"type":"mount"}},{{"type":"pid"}}]{linux}}}{rest}}}"#
    );
    Spec::parse(text.as_bytes()).unwrap()
}

fn planned(spec: &Spec) -> Result<InitPlan, Error> {
    let linux = spec.linux.as_ref().unwrap();
    let namespaces = NamespacePlan::of(linux)?;
    let cgroups = [CgroupMount {
        v2: true,
        name: "unified".to_owned(),
        options: String::new(),
        aliases: Vec::new(),
        place: "/sys/fs/cgroup/c1".into(),
    }];
    let facts = InitFacts {
        id: "c1",
        rootfs: Path::new("/bundle/rootfs"),
        mounts: MountFacts {
            bundle: Path::new("/bundle"),
            rootfs: Path::new("/bundle/rootfs"),
            label: None,
            in_user_namespace: false,
            user_namespace: None,
            by_parent: false,
            cgroup_namespace: true,
            cgroups: &cgroups,
            mapper: |_, _| Err(Error::Died { signal: None }),
            mappings: (&[], &[]),
        },
        process: ProcessFacts {
            seccomp: None,
            seccomp_listener: false,
            set_groups: true,
            limits_from_outside: false,
            home: "/root",
            descriptors: &[],
            capabilities: crate::words::CapSet::FULL,
            listen_fds: 0,
            notify_socket: None,
            mask: SignalSet::NONE,
            defaults: SignalSet::NONE,
        },
        cgroup_tasks: Vec::new(),
        console: None,
        root_mount: None,
        streams: None,
        start: None,
        record: std::fs::File::open("/dev/null").unwrap().into(),
        parent_acts: false,
        hooks_before_pivot: false,
        no_pivot: false,
        new_keyring: false,
        privileged: true,
        kcore: false,
        reachable: Vec::new(),
    };
    plan(spec, &namespaces, facts)
}

#[track_caller]
fn check(spec: &Spec, expected: &str) {
    let plan = planned(spec).unwrap();
    let listing = Listing(&plan.steps).to_string();
    let expected: Vec<&str> = expected.trim().lines().map(str::trim).collect();
    assert_eq!(listing.lines().collect::<Vec<_>>(), expected, "\n{listing}");
}

/// The steps that a change adds to the plainest plan, or takes from it.
#[track_caller]
fn check_added(spec: &Spec, expected: &[&str]) {
    let plain = Listing(&planned(&config("", "", "")).unwrap().steps).to_string();
    let listing = Listing(&planned(spec).unwrap().steps).to_string();
    let added: Vec<&str> =
        listing.lines().filter(|line| !plain.lines().any(|known| known == *line)).collect();
    assert_eq!(added, expected);
}

#[test]
fn the_plainest_container() {
    check(
        &config("", "", ""),
        r#"
        set the signal of the parent's death
        run on all CPUs
        make a session
        set propagation of / to 0x84000
        mount root file system /bundle/rootfs
        make devices in /dev: null zero full random urandom tty
        make links /dev/fd /dev/stdin /dev/stdout /dev/stderr /dev/ptmx
        pivot_root
        set bounding capabilities 0x0
        chdir to cwd ("/") set in config.json failed
        change to user 0:0
        chdir to cwd ("/") set in config.json failed
        set umask 0o22
        exec: "sh"
        put the process on record
        clear the signal of the parent's death
        set capabilities e=0x0 p=0x0 i=0x0 a=0x0
        close descriptors at exec but 0 1 2
        exec sh
        "#,
    );
}

#[test]
fn nothing_to_wait_for_lends_the_memory() {
    assert_eq!(planned(&config("", "", "")).unwrap().memory, Memory::Shared);
    let mapped = r#","uidMappings":[{"containerID":0,"hostID":1000,"size":1}],
                    "gidMappings":[{"containerID":0,"hostID":1000,"size":1}],
                    "namespaces":[{"type":"mount"},{"type":"user"}]"#;
    let spec = Spec::parse(
        format!(
            r#"{{"ociVersion":"1.3.0","root":{{"path":"r"}},
                "process":{{"args":["sh"],"cwd":"/"}},"linux":{{{}}}}}"#,
            &mapped[1..]
        )
        .as_bytes(),
    )
    .unwrap();
    let plan = planned(&spec).unwrap();
    assert_eq!(plan.memory, Memory::Copied);
    let listing = Listing(&plan.steps).to_string();
    assert!(
        listing.starts_with(
            "set the signal of the parent's death\n\
             wait for the runtime (Namespaces)\n\
             become root of the user namespace\n"
        ),
        "{listing}"
    );
}

#[test]
fn mounts_are_steps_in_order() {
    check_added(
        &config(
            "",
            "",
            r#","mounts":[
                {"destination":"/proc","type":"proc","source":"proc"},
                {"destination":"/dev","type":"tmpfs","source":"tmpfs",
                 "options":["nosuid","ro","mode=755"]},
                {"destination":"/a/../b","type":"bind","source":"/","options":["rbind","rro","rslave"]},
                {"destination":"/sys/fs/cgroup","type":"cgroup","source":"cgroup","options":["ro"]}]"#,
        ),
        &[
            "mount proc on /proc from proc flags 0x0",
            "mount tmpfs on /dev from tmpfs flags 0x2 data mode=755",
            "mount / on /b (rbind) rattr+0x1 propagation 0x80000 rec",
            "mount cgroup2 on /sys/fs/cgroup from cgroup flags 0x1",
            "remount /dev with 0x1",
        ],
    );
}

#[test]
fn a_user_gives_streams_and_keeps_groups() {
    check_added(
        &config(
            r#","user":{"uid":1000,"gid":100,"umask":63,"additionalGids":[5,6]},
               "capabilities":{"bounding":["CAP_KILL"],"permitted":["CAP_KILL"],
                               "effective":["CAP_KILL"],"inheritable":["CAP_KILL"],
                               "ambient":["CAP_KILL"]},
               "noNewPrivileges":true"#,
            "",
            "",
        ),
        &[
            "give the standard streams to user 1000",
            "set bounding capabilities 0x20",
            "change to user 1000:100,5,6",
            "set umask 0o77",
            "set no_new_privs",
            "set capabilities e=0x20 p=0x20 i=0x20 a=0x20",
        ],
    );
}

#[test]
fn the_root_is_closed_before_it_is_changed() {
    let paths = r#","maskedPaths":["/proc/kcore","/sys/firmware"],"readonlyPaths":["/proc/sys"]"#;
    let mut spec = config("", paths, "");
    spec.root.as_mut().unwrap().readonly = true;
    check_added(
        &spec,
        &["make read-only /proc/sys", "mask /proc/kcore /sys/firmware", "remount / with 0x1"],
    );
}

#[test]
fn what_the_container_does_not_own_is_refused() {
    let mut nothing = config("", "", "");
    nothing.process.as_mut().unwrap().args.clear();
    for (spec, words) in [
        (config("", "", r#","hostname":"h""#), "hostname"),
        (config("", r#","sysctl":{"net.ipv4.ip_forward":"1"}"#, ""), "network namespace"),
        (nothing, "process.args"),
    ] {
        let error = planned(&spec).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn what_would_change_the_hosts_mounts_is_named() {
    let paths = r#","maskedPaths":["/proc/kcore"],"readonlyPaths":["/proc/sys"]"#;
    let mounts = r#","mounts":[{"destination":"/proc","type":"proc","source":"proc"}]"#;
    let mut spec = config("", paths, mounts);
    spec.root.as_mut().unwrap().readonly = true;
    let said = super::left_out(&spec, spec.linux.as_ref().unwrap()).unwrap();
    assert_eq!(
        said,
        "mounts, linux.maskedPaths, linux.readonlyPaths, root.readonly: left out, the container \
         has no mount namespace of its own"
    );
    let nothing = config("", "", "");
    assert_eq!(super::left_out(&nothing, nothing.linux.as_ref().unwrap()), None);
}
