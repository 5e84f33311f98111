//! The container's process: program, identity, limits, scheduling, streams.

use std::fs;

use rustix::thread::CpuSet;
use serde_json::json;

use super::scenarios;
use crate::contest::{Case, Outcome, check, check_eq, check_ok, skip};
use crate::inside::Report;
use crate::machine::{Arg, Machine, Program};

/// Arguments arrive as given, empty ones and blanks included.
fn args(c: &Case) -> Outcome {
    let config = c.config().args(&["/bin/payload", "report", "a", "", "c d", "\"e\\", "ü"]);
    let report = c.report(&config)?;
    check_eq!(report.args, ["a", "", "c d", "\"e\\", "ü"], "arguments");
    check_eq!(report.argv0, "/bin/payload", "argv[0]");
    Ok(())
}

/// No arguments at all are refused.
fn no_args(c: &Case) -> Outcome {
    c.run(&c.config().args(&[]))?.fails_naming(&["args|executable"])?;
    c.nothing_left()
}

/// The environment is the configured one; nothing of the runtime's leaks in.
fn environment(c: &Case) -> Outcome {
    let config = c.config().set("/process/env", json!(["PATH=/bin", "A=1", "EMPTY=", "EQ=a=b"]));
    let done = c.run_call(&config)?.env("SECRET", "of the host").go()?.ok()?;
    let report: Report = done.json()?;
    let mut env = report.env.clone();
    // Runtimes may add a home directory.
    env.retain(|(name, _)| name != "HOME");
    let expected = [("PATH", "/bin"), ("A", "1"), ("EMPTY", ""), ("EQ", "a=b")];
    let expected = expected.map(|(n, v)| (n.to_owned(), v.to_owned()));
    check_eq!(env, expected, "environment");
    Ok(())
}

/// `HOME` is added from the container's passwd file.
fn home(c: &Case) -> Outcome {
    let report = c.report(&c.config())?;
    check_eq!(report.env("HOME"), Some("/root"), "HOME of root");
    let config = c.config().set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    check_eq!(c.report(&config)?.env("HOME"), Some("/home/guest"), "HOME of the user 1000");
    let config = c.config().push("/process/env", "HOME=/elsewhere");
    check_eq!(c.report(&config)?.env("HOME"), Some("/elsewhere"), "HOME that is configured");
    Ok(())
}

/// The working directory is the configured one.
fn cwd(c: &Case) -> Outcome {
    check_eq!(c.report(&c.config().set("/process/cwd", "/tmp"))?.cwd, "/tmp", "directory");
    Ok(())
}

/// A working directory that is not there is made.
fn cwd_made(c: &Case) -> Outcome {
    let report = c.report(&c.config().set("/process/cwd", "/tmp/a/b"))?;
    check_eq!(report.cwd, "/tmp/a/b", "directory");
    Ok(())
}

/// A relative working directory is refused.
fn cwd_relative(c: &Case) -> Outcome {
    c.run(&c.config().set("/process/cwd", "tmp"))?.fails_naming(&["cwd"])?;
    c.nothing_left()
}

/// A file as working directory is refused by name.
fn cwd_file(c: &Case) -> Outcome {
    c.run(&c.config().set("/process/cwd", "/etc/passwd"))?.fails_naming(&["/etc/passwd"])?;
    c.nothing_left()
}

/// A program without a slash is looked for in the container's `PATH`.
fn path_lookup(c: &Case) -> Outcome {
    let config = c
        .config()
        .args(&["payload", "report"])
        .set("/process/env", json!(["PATH=/nowhere:/etc:/bin"]));
    check_eq!(c.report(&config)?.argv0, "payload", "argv[0]");
    Ok(())
}

/// The look-up passes over what is not executable.
fn path_lookup_passes_over(c: &Case) -> Outcome {
    c.bundle.file("first/payload", "not executable")?;
    fs::create_dir_all(c.bundle.rootfs.join("second/payload"))?;
    let config = c
        .config()
        .args(&["payload", "report"])
        .set("/process/env", json!(["PATH=/first:/second:/bin"]));
    c.report(&config)?;
    Ok(())
}

/// A program with a slash is relative to the working directory.
fn relative_program(c: &Case) -> Outcome {
    let config = c.config().args(&["./payload", "report"]).set("/process/cwd", "/bin");
    c.report(&config)?;
    let config = c.config().args(&["bin/payload", "report"]);
    c.report(&config)?;
    Ok(())
}

/// User and group are set, and no supplementary group of the host is kept.
fn user(c: &Case) -> Outcome {
    let config = c.config().set("/process/user", json!({ "uid": 1234, "gid": 4321 }));
    let report = c.report(&config)?;
    check_eq!(report.ids, [1234, 1234, 4321, 4321], "ids");
    check!(report.groups.iter().all(|g| *g == 4321), "supplementary groups {:?}", report.groups);
    check_eq!(report.status("Uid"), "1234\t1234\t1234\t1234", "all user ids");
    check_eq!(report.status("Gid"), "4321\t4321\t4321\t4321", "all group ids");
    Ok(())
}

/// Supplementary groups are set.
fn additional_groups(c: &Case) -> Outcome {
    let config = c
        .config()
        .set("/process/user", json!({ "uid": 0, "gid": 0, "additionalGids": [7, 1000, 60000] }));
    let mut groups = c.report(&config)?.groups;
    groups.retain(|g| *g != 0);
    check_eq!(groups, [7, 1000, 60000], "supplementary groups");
    Ok(())
}

/// The umask is set, 0022 unless configured.
fn umask(c: &Case) -> Outcome {
    check_eq!(c.report(&c.config())?.status("Umask"), "0022", "default umask");
    let config = c.config().set("/process/user/umask", 0o27);
    check_eq!(c.report(&config)?.status("Umask"), "0027", "umask");
    let config = c.config().set("/process/user/umask", 0);
    check_eq!(c.report(&config)?.status("Umask"), "0000", "umask");
    Ok(())
}

/// Resource limits are set.
fn rlimits(c: &Case) -> Outcome {
    let limits: [(&str, &str, u64, u64); 16] = [
        ("RLIMIT_NOFILE", "Max open files", 512, 1024),
        ("RLIMIT_CORE", "Max core file size", 0, 4096),
        ("RLIMIT_FSIZE", "Max file size", 1 << 30, 1 << 31),
        ("RLIMIT_NPROC", "Max processes", 400, 500),
        ("RLIMIT_STACK", "Max stack size", 1 << 20, 1 << 22),
        ("RLIMIT_CPU", "Max cpu time", 100, 200),
        ("RLIMIT_DATA", "Max data size", 1 << 30, 1 << 32),
        ("RLIMIT_AS", "Max address space", 1 << 32, 1 << 33),
        ("RLIMIT_RSS", "Max resident set", 1 << 30, 1 << 31),
        ("RLIMIT_MEMLOCK", "Max locked memory", 4096, 8192),
        ("RLIMIT_LOCKS", "Max file locks", 10, 20),
        ("RLIMIT_SIGPENDING", "Max pending signals", 100, 200),
        ("RLIMIT_MSGQUEUE", "Max msgqueue size", 4096, 8192),
        ("RLIMIT_NICE", "Max nice priority", 0, 0),
        ("RLIMIT_RTPRIO", "Max realtime priority", 0, 0),
        ("RLIMIT_RTTIME", "Max realtime timeout", 1000, 2000),
    ];
    let mut config = c.config();
    for (name, _, soft, hard) in limits {
        let limit = json!({ "type": name, "soft": soft, "hard": hard });
        config = config.push("/process/rlimits", limit);
    }
    let report = c.report(&config)?;
    for (name, shown, soft, hard) in limits {
        let expected = (soft.to_string(), hard.to_string());
        check_eq!(report.limits.get(shown), Some(&expected), "{name}");
    }
    Ok(())
}

/// The largest number means no limit.
fn rlimit_infinity(c: &Case) -> Outcome {
    let limit = json!({ "type": "RLIMIT_CORE", "soft": u64::MAX, "hard": u64::MAX });
    let report = c.report(&c.config().push("/process/rlimits", limit))?;
    let expected = ("unlimited".to_owned(), "unlimited".to_owned());
    check_eq!(report.limits.get("Max core file size"), Some(&expected), "RLIMIT_CORE");
    Ok(())
}

/// A limit above what the kernel allows is refused by name, or clamped and said.
fn rlimit_too_high(c: &Case) -> Outcome {
    let max: u64 = fs::read_to_string("/proc/sys/fs/nr_open")?.trim().parse().unwrap_or(1 << 20);
    let limit = json!({ "type": "RLIMIT_NOFILE", "soft": max + 9, "hard": max + 9 });
    let done = c.run(&c.config().push("/process/rlimits", limit))?;
    check!(done.err.to_lowercase().contains("rlimit"), "the limit is not named: {:?}", done.err);
    if done.code == 0 {
        let report: Report = done.json()?;
        let got = report.limits.get("Max open files").map(|(_, hard)| hard.parse().unwrap_or(0));
        check!(got.is_some_and(|hard: u64| hard > 0 && hard <= max), "hard limit {got:?}");
    }
    c.nothing_left()
}

/// A limit nobody knows is refused by name.
fn rlimit_unknown(c: &Case) -> Outcome {
    let limit = json!({ "type": "RLIMIT_PATIENCE", "soft": 1, "hard": 1 });
    c.run(&c.config().push("/process/rlimits", limit))?.fails_naming(&["RLIMIT_PATIENCE"])?;
    c.nothing_left()
}

/// The same limit twice is refused.
fn rlimit_twice(c: &Case) -> Outcome {
    let limit = json!({ "type": "RLIMIT_CORE", "soft": 1, "hard": 1 });
    let config = c.config().push("/process/rlimits", limit.clone()).push("/process/rlimits", limit);
    check!(c.run(&config)?.code != 0, "the configuration was accepted");
    c.nothing_left()
}

/// A soft limit above the hard one is refused.
fn rlimit_soft_above_hard(c: &Case) -> Outcome {
    let limit = json!({ "type": "RLIMIT_CORE", "soft": 2, "hard": 1 });
    check!(c.run(&c.config().push("/process/rlimits", limit))?.code != 0, "it was accepted");
    c.nothing_left()
}

/// `noNewPrivileges` is what the kernel shows.
fn no_new_privileges(c: &Case) -> Outcome {
    check_eq!(c.report(&c.config())?.status("NoNewPrivs"), "0", "without");
    let config = c.config().set("/process/noNewPrivileges", true);
    check_eq!(c.report(&config)?.status("NoNewPrivs"), "1", "with");
    Ok(())
}

/// The score for the out-of-memory killer is raised.
fn oom_score(c: &Case) -> Outcome {
    let report = c.report(&c.config().set("/process/oomScoreAdj", 500))?;
    check_eq!(report.oom_score_adj, Some(500), "oom_score_adj");
    Ok(())
}

/// Without a word on it, the score is the runtime's own.
fn oom_score_absent(c: &Case) -> Outcome {
    let own = fs::read_to_string("/proc/self/oom_score_adj")?.trim().parse().ok();
    check_eq!(c.report(&c.config())?.oom_score_adj, own, "oom_score_adj");
    Ok(())
}

/// A score beyond the kernel's range is refused.
fn oom_score_invalid(c: &Case) -> Outcome {
    let done = c.run(&c.config().set("/process/oomScoreAdj", 5000))?;
    done.fails_naming(&["oom"])?;
    c.nothing_left()
}

/// The scheduling policy and nice value are set.
fn scheduler(c: &Case) -> Outcome {
    let config = c
        .config()
        .set("/ociVersion", "1.1.0")
        .set("/process/scheduler", json!({ "policy": "SCHED_BATCH", "nice": 5 }));
    let report = c.report(&config)?;
    check_eq!(report.stat(41), Some(3), "policy (3 is batch)");
    check_eq!(report.stat(19), Some(5), "nice value");
    Ok(())
}

/// A real-time policy with its priority is set.
fn scheduler_fifo(c: &Case) -> Outcome {
    let config = c
        .config()
        .set("/ociVersion", "1.1.0")
        .set("/process/scheduler", json!({ "policy": "SCHED_FIFO", "priority": 10 }));
    let done = c.run(&config)?;
    if done.code != 0 && done.err.to_lowercase().contains("not permitted") {
        skip!("this host grants no real-time scheduling in cgroups");
    }
    let report: Report = done.ok()?.json()?;
    check_eq!(report.stat(41), Some(1), "policy (1 is FIFO)");
    check_eq!(report.stat(40), Some(10), "real-time priority");
    Ok(())
}

/// A policy nobody knows is refused by name.
fn scheduler_unknown(c: &Case) -> Outcome {
    let config = c
        .config()
        .set("/ociVersion", "1.1.0")
        .set("/process/scheduler", json!({ "policy": "SCHED_WHENEVER" }));
    c.run(&config)?.fails_naming(&["SCHED_WHENEVER"])?;
    c.nothing_left()
}

/// The I/O priority is set.
fn io_priority(c: &Case) -> Outcome {
    let config = c
        .config()
        .set("/ociVersion", "1.1.0")
        .set("/process/ioPriority", json!({ "class": "IOPRIO_CLASS_BE", "priority": 5 }));
    let ioprio_get = Program::one_call(252, &[Arg::Value(1), Arg::Value(0)]);
    let results = c.results(&config, &ioprio_get)?;
    check_eq!(results, [(2 << 13) | 5], "ioprio_get (class 2 is best effort)");
    Ok(())
}

/// The personality shows another machine.
fn personality(c: &Case) -> Outcome {
    let config = c.config().set("/linux/personality", json!({ "domain": "LINUX32" }));
    check_eq!(c.report(&config)?.machine, "i686", "machine");
    let config = c.config().set("/linux/personality", json!({ "domain": "LINUX" }));
    check_eq!(c.report(&config)?.machine, std::env::consts::ARCH, "machine");
    Ok(())
}

/// Namespaced sysctls are set.
fn sysctl(c: &Case) -> Outcome {
    let settings = [
        ("net.ipv4.ip_forward", "1"),
        ("kernel.shmmni", "999"),
        ("kernel.msgmax", "4096"),
        ("fs.mqueue.queues_max", "77"),
    ];
    let mut config = c.config();
    let mut paths = Vec::new();
    for (name, value) in settings {
        config = config.set(&format!("/linux/sysctl/{name}"), value);
        paths.push(format!("/proc/sys/{}", name.replace('.', "/")));
    }
    let ops: Vec<[&str; 2]> = paths.iter().map(|p| ["read", p.as_str()]).collect();
    let ops: Vec<&[&str]> = ops.iter().map(|o| o.as_slice()).collect();
    let got = c.attempts(&config, &ops)?;
    for ((name, value), attempt) in settings.iter().zip(&got) {
        check_eq!(check_ok!(attempt).trim(), *value, "{name}");
    }
    Ok(())
}

/// A sysctl of the whole machine is refused by name and not touched.
fn sysctl_of_host(c: &Case) -> Outcome {
    let path = "/proc/sys/vm/dirty_ratio";
    let before = fs::read_to_string(path)?;
    // The value it has: even a runtime that is wrong does no harm.
    let config = c.config().set("/linux/sysctl/vm.dirty_ratio", before.trim());
    c.run(&config)?.fails_naming(&["vm.dirty_ratio|vm/dirty_ratio"])?;
    c.nothing_left()
}

/// A network sysctl without a network namespace is the host's: refused.
fn sysctl_without_namespace(c: &Case) -> Outcome {
    let before = fs::read_to_string("/proc/sys/net/ipv4/ip_forward")?;
    let config = c
        .config()
        .without_namespace("network")
        .set("/linux/sysctl/net.ipv4.ip_forward", before.trim());
    c.run(&config)?.fails_naming(&["net.ipv4.ip_forward|net/ipv4/ip_forward"])?;
    c.nothing_left()
}

/// A sysctl that does not exist is named.
fn sysctl_missing(c: &Case) -> Outcome {
    let config = c.config().set("/linux/sysctl/net.ipv4.no_such_thing", "1");
    c.run(&config)?.fails_naming(&["no_such_thing"])?;
    c.nothing_left()
}

/// Standard input is the runtime's.
fn stdin(c: &Case) -> Outcome {
    let text = "first line\nsecond line\n";
    let done = c.run_call(&c.config().payload(&["cat"]))?.stdin_text(text)?.go()?.ok()?;
    check_eq!(done.out, text, "what came through");
    Ok(())
}

/// Standard output and error stay apart.
fn stdout_and_stderr(c: &Case) -> Outcome {
    let done = c.run(&c.config().payload(&["split"]))?.ok()?;
    check_eq!(done.out, "to stdout\n", "standard output");
    check_eq!(done.err, "to stderr\n", "standard error");
    Ok(())
}

/// No byte of a large output is lost.
fn much_output(c: &Case) -> Outcome {
    let done = c.run(&c.config().payload(&["spam", "5000000"]))?.ok()?;
    check_eq!(done.out.len(), 5_000_000, "bytes");
    Ok(())
}

/// `--preserve-fds` hands down as many files above 2 as it says, and no more.
fn preserve_fds(c: &Case) -> Outcome {
    c.bundle.configure(&c.config())?;
    c.remember(&c.token);
    let bundle = c.bundle.dir.display().to_string();
    c.wrap(&["sh", "-c", "exec 3</etc/passwd 4</etc/group 5</etc/fstab; exec \"$@\"", "sh"]);
    let done = c.runtime(&["run", "--preserve-fds", "2", "--bundle", &bundle, &c.token])?.ok()?;
    let report: Report = done.json()?;
    let fds: Vec<i32> = report.fds.keys().copied().collect();
    check_eq!(fds, [0, 1, 2, 3, 4], "open files inside");
    Ok(())
}

/// Socket activation: `LISTEN_FDS` files are handed down, addressed to the container's process.
fn listen_fds(c: &Case) -> Outcome {
    let config = c.config();
    c.wrap(&["sh", "-c", "export LISTEN_PID=$$; exec 3</etc/passwd; exec \"$@\"", "sh"]);
    let done = c.run_call(&config)?.env("LISTEN_FDS", "1").go()?.ok()?;
    let report: Report = done.json()?;
    check_eq!(report.env("LISTEN_FDS"), Some("1"), "LISTEN_FDS");
    check_eq!(report.env("LISTEN_PID"), Some("1"), "LISTEN_PID");
    let fds: Vec<i32> = report.fds.keys().copied().collect();
    check_eq!(fds, [0, 1, 2, 3], "open files inside");
    Ok(())
}

/// Only the three standard files are open.
fn no_other_fds(c: &Case) -> Outcome {
    let report = c.report(&c.config())?;
    let fds: Vec<i32> = report.fds.keys().copied().collect();
    check_eq!(fds, [0, 1, 2], "open files inside");
    Ok(())
}

/// No signal is blocked, and none but the runtime caller's own is ignored.
fn signals_are_default(c: &Case) -> Outcome {
    let mut program = Program::new(Machine::X86_64);
    let path = program.text("/proc/self/status");
    let buffer = program.data(&[0; 4096]);
    program.call(2, &[path, 0.into()]); // open
    program.call_on_result(0, &[buffer, 4096.into()]); // read
    program.print(buffer, 4096);
    program.exit(0);
    c.bundle.program("status", &program)?;
    let done = c.run(&c.config().args(&["/bin/status"]))?.ok()?;
    let field = |text: &str, name: &str| {
        let value = text.lines().find_map(|l| l.strip_prefix(name)).unwrap_or("").trim().to_owned();
        u64::from_str_radix(&value, 16).unwrap_or(u64::MAX)
    };
    check_eq!(field(&done.out, "SigBlk:"), 0, "SigBlk");
    let own = field(&fs::read_to_string("/proc/self/status")?, "SigIgn:");
    let ignored = field(&done.out, "SigIgn:");
    check!(ignored & !own == 0, "signals ignored: {ignored:x}, by the caller {own:x}");
    Ok(())
}

/// The container has a session keyring of its own; `--no-new-keyring` leaves it the caller's.
fn session_keyring(c: &Case) -> Outcome {
    // keyctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0)
    let session = Arg::Value(-3i64 as u64);
    let program = Program::one_call(250, &[Arg::Value(0), session, Arg::Value(0)]);
    c.bundle.program("keyring", &program)?;
    let own = c.bundle.rootfs.join("bin/keyring").display().to_string();
    let own = c.program(&own, &[])?.ok()?.results()?;
    if own.first().is_none_or(|id| *id <= 0) {
        skip!("the kernel has no keyrings: {own:?}");
    }
    let config = c.config().args(&["/bin/keyring"]);
    let inside = c.run(&config)?.ok()?.results()?;
    check!(inside.first().is_some_and(|id| *id > 0), "keyctl inside: {inside:?}");
    check!(inside != own, "the container has the caller's session keyring");
    let bundle = c.bundle.dir.display().to_string();
    let done = c.runtime(&["run", "--no-new-keyring", "--bundle", &bundle, &c.token])?.ok()?;
    check_eq!(done.results()?, own, "session keyring with --no-new-keyring");
    Ok(())
}

/// Very long arguments and many variables pass.
fn large_arguments(c: &Case) -> Outcome {
    let long = "x".repeat(100_000);
    let mut config = c.config().args(&["/bin/payload", "report", &long]);
    for index in 0..2000 {
        config = config.push("/process/env", format!("VARIABLE_{index}={index}"));
    }
    let report = c.report(&config)?;
    check_eq!(report.args.first().map(String::len), Some(100_000), "length of the argument");
    check_eq!(report.env("VARIABLE_1999"), Some("1999"), "the last variable");
    Ok(())
}

/// `execCPUAffinity` pins executed programs.
fn exec_cpu_affinity(c: &Case) -> Outcome {
    let cpus = rustix::thread::sched_getaffinity(None)?;
    if cpus.count() < 2 {
        skip!("a second CPU is needed");
    }
    let config = c
        .config()
        .set("/ociVersion", "1.3.0")
        .set("/process/execCPUAffinity", json!({ "initial": "0", "final": "1" }));
    let container = c.start_waiting(&config)?;
    check_eq!(container.exec_report(&[])?.cpus, [1], "CPUs of the executed program");
    container.stop()?;
    container.delete()
}

/// The program runs on all CPUs of its cgroup, also where the runtime was told to keep to one.
fn cpus_of_cgroup(c: &Case) -> Outcome {
    let all = rustix::thread::sched_getaffinity(None)?;
    let numbers: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| all.is_set(*cpu)).collect();
    let [first, second, ..] = numbers[..] else { skip!("a second CPU is needed") };
    let mut one = CpuSet::new();
    one.set(first);
    rustix::thread::sched_setaffinity(None, &one)?;
    check_eq!(c.report(&c.config())?.cpus, numbers, "CPUs of the container");
    let config = c.config().set("/linux/resources/cpu/cpus", second.to_string());
    let container = c.start_waiting(&config)?;
    check_eq!(container.exec_report(&[])?.cpus, [second], "CPUs of an executed program");
    container.delete_force()
}

/// The NUMA memory policy is set.
fn memory_policy(c: &Case) -> Outcome {
    let mut program = Program::new(Machine::X86_64);
    let mode = program.data(&[0; 8]);
    program.call(239, &[mode, 0.into(), 0.into(), 0.into(), 0.into()]); // get_mempolicy
    program.print_result();
    program.print(mode, 8);
    program.exit(0);
    let host = c.bundle.rootfs.join("bin/policy").display().to_string();
    c.bundle.program("policy", &program)?;
    if c.program(&host, &[])?.results()?.first() != Some(&0) {
        skip!("the kernel has no NUMA memory policies");
    }
    let config = c
        .config()
        .set("/ociVersion", "1.3.0")
        .set("/linux/memoryPolicy", json!({ "mode": "MPOL_BIND", "nodes": "0" }));
    check_eq!(c.results(&config, &program)?, [0, 2], "get_mempolicy (2 is bind)");
    Ok(())
}

/// A process confined by an AppArmor profile says so.
fn apparmor(c: &Case) -> Outcome {
    if !std::path::Path::new("/sys/kernel/security/apparmor/profiles").exists() {
        skip!("the kernel runs without AppArmor");
    }
    let profile = c.dir.join("profile");
    let text = "profile dhow-contest flags=(attach_disconnected) { file, capability, deny /etc/group r, }\n";
    fs::write(&profile, text)?;
    let loaded = c.program("apparmor_parser", &["-Kr", &profile.display().to_string()])?;
    if loaded.code != 0 {
        skip!("the profile cannot be loaded: {}", loaded.err.trim());
    }
    let config = c.config().set("/process/apparmorProfile", "dhow-contest");
    let got =
        c.attempts(&config, &[&["read", "/proc/self/attr/current"], &["read", "/etc/group"]])?;
    check_eq!(check_ok!(got[0]).trim(), "dhow-contest (enforce)", "label");
    crate::contest::check_errno!(got[1], ACCESS);
    Ok(())
}

/// Cache allocation that the machine does not have is refused in one line.
fn intel_rdt_absent(c: &Case) -> Outcome {
    if std::path::Path::new("/sys/fs/resctrl/schemata").exists() {
        skip!("this machine has resctrl");
    }
    let rdt = json!({ "closID": "contest", "l3CacheSchema": "L3:0=f" });
    c.run(&c.config().set("/linux/intelRdt", rdt))?.fails_naming(&["rdt|resctrl"])?;
    c.nothing_left()
}

/// A label that no security module would enforce is refused, or the container runs without.
fn label_without_module(c: &Case) -> Outcome {
    if std::path::Path::new("/sys/kernel/security/apparmor/profiles").exists() {
        skip!("the kernel runs AppArmor");
    }
    let done = c.run(&c.config().set("/process/apparmorProfile", "some-profile"))?;
    if done.code != 0 {
        done.fails_naming(&["apparmor|some-profile"])?;
    }
    c.nothing_left()
}

scenarios![
    args,
    no_args,
    environment,
    home,
    cwd,
    cwd_made,
    cwd_relative,
    cwd_file,
    path_lookup,
    path_lookup_passes_over,
    relative_program,
    user,
    additional_groups,
    umask,
    rlimits,
    rlimit_infinity,
    rlimit_too_high,
    rlimit_unknown,
    rlimit_twice,
    rlimit_soft_above_hard,
    no_new_privileges,
    oom_score,
    oom_score_absent,
    oom_score_invalid,
    scheduler,
    scheduler_fifo,
    scheduler_unknown,
    io_priority,
    personality,
    sysctl,
    sysctl_of_host,
    sysctl_without_namespace,
    sysctl_missing,
    stdin,
    stdout_and_stderr,
    much_output,
    preserve_fds,
    listen_fds,
    no_other_fds,
    signals_are_default,
    session_keyring,
    large_arguments,
    exec_cpu_affinity,
    cpus_of_cgroup,
    memory_policy,
    apparmor,
    label_without_module,
    intel_rdt_absent,
];
