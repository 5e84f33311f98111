//! Seccomp: every action, every operator, several architectures, and the listener.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use serde_json::{Value, json};

use super::scenarios;
use crate::contest::{Case, Config, Outcome, check, check_eq, receive_fd, skip};
use crate::machine::{Arg, Machine, Program};

/// The call that is filtered: one that no runtime needs, and that works for everybody.
const GETPRIORITY: u64 = 140;
const GETPRIORITY_I386: u64 = 96;
const LSEEK: u64 = 8;
/// What a program dies of that made a forbidden call: 128 + SIGSYS.
const KILLED: i32 = 159;

/// Allows everything but what `syscalls` says.
fn with(c: &Case, syscalls: Value) -> Config {
    c.config().set(
        "/linux/seccomp",
        json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
            "syscalls": syscalls,
        }),
    )
}

fn getpriority_is(c: &Case, action: &str) -> Config {
    with(c, json!([{ "names": ["getpriority"], "action": action }]))
}

fn getpriority() -> Program {
    Program::one_call(GETPRIORITY, &[0.into(), 0.into()])
}

/// The kernel shows a filter, and not the one that needs `noNewPrivileges`.
fn filter_is_there(c: &Case) -> Outcome {
    let report = c.report(&getpriority_is(c, "SCMP_ACT_ERRNO"))?;
    check_eq!(report.status("Seccomp"), "2", "Seccomp");
    check_eq!(report.status("NoNewPrivs"), "0", "NoNewPrivs");
    check_eq!(c.report(&c.config())?.status("Seccomp"), "0", "Seccomp without configuration");
    Ok(())
}

/// `SCMP_ACT_ERRNO` gives EPERM, or the number that is configured.
fn errno(c: &Case) -> Outcome {
    check_eq!(c.results(&getpriority_is(c, "SCMP_ACT_ERRNO"), &getpriority())?, [-1], "result");
    let rule = json!([{ "names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38 }]);
    check_eq!(c.results(&with(c, rule), &getpriority())?, [-38], "result with errnoRet");
    Ok(())
}

/// An error number of 0 makes the call do nothing and succeed.
fn errno_zero(c: &Case) -> Outcome {
    let rule = json!([{ "names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 0 }]);
    check_eq!(c.results(&with(c, rule), &getpriority())?, [0], "result");
    Ok(())
}

/// The killing actions kill.
fn kill(c: &Case) -> Outcome {
    c.bundle.program("machine", &getpriority())?;
    for action in ["SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD"] {
        c.run(&getpriority_is(c, action).args(&["/bin/machine"]))?.code_is(KILLED)?;
    }
    Ok(())
}

/// `SCMP_ACT_TRAP` sends SIGSYS.
fn trap(c: &Case) -> Outcome {
    c.bundle.program("machine", &getpriority())?;
    c.run(&getpriority_is(c, "SCMP_ACT_TRAP").args(&["/bin/machine"]))?.code_is(KILLED)?;
    Ok(())
}

/// `SCMP_ACT_TRACE` without a tracer gives ENOSYS.
fn trace(c: &Case) -> Outcome {
    check_eq!(c.results(&getpriority_is(c, "SCMP_ACT_TRACE"), &getpriority())?, [-38], "result");
    Ok(())
}

/// `SCMP_ACT_LOG` and `SCMP_ACT_ALLOW` allow.
fn log_and_allow(c: &Case) -> Outcome {
    c.bundle.program("getpriority", &getpriority())?;
    let outside = c.bundle.rootfs.join("bin/getpriority").display().to_string();
    let outside = c.program(&outside, &[])?.ok()?.results()?;
    for action in ["SCMP_ACT_LOG", "SCMP_ACT_ALLOW"] {
        let config = getpriority_is(c, action).set("/linux/seccomp/defaultAction", "SCMP_ACT_LOG");
        check_eq!(c.results(&config, &getpriority())?, outside, "result with {action}");
    }
    Ok(())
}

/// With a denying default only what is listed works; the default has an error number too.
fn allow_list(c: &Case) -> Outcome {
    // What runtimes still do between loading the filter and the program's first call.
    let names = [
        "access",
        "arch_prctl",
        "brk",
        "capget",
        "capset",
        "chdir",
        "clone",
        "clone3",
        "close",
        "close_range",
        "dup",
        "dup2",
        "dup3",
        "epoll_create1",
        "epoll_ctl",
        "epoll_pwait",
        "eventfd2",
        "execve",
        "execveat",
        "exit",
        "exit_group",
        "faccessat",
        "faccessat2",
        "fchdir",
        "fchown",
        "fcntl",
        "fstat",
        "fstatfs",
        "futex",
        "getpriority",
        "getdents64",
        "getegid",
        "geteuid",
        "getgid",
        "getgroups",
        "getpid",
        "getppid",
        "getrandom",
        "gettid",
        "getuid",
        "keyctl",
        "lseek",
        "madvise",
        "membarrier",
        "mmap",
        "mprotect",
        "munmap",
        "nanosleep",
        "newfstatat",
        "open",
        "openat",
        "openat2",
        "pipe2",
        "prctl",
        "pread64",
        "prlimit64",
        "read",
        "readlink",
        "readlinkat",
        "restart_syscall",
        "rseq",
        "rt_sigaction",
        "rt_sigprocmask",
        "rt_sigreturn",
        "sched_getaffinity",
        "sched_setaffinity",
        "sched_yield",
        "seccomp",
        "sendmsg",
        "sendto",
        "set_robust_list",
        "set_tid_address",
        "setgid",
        "setgroups",
        "setresgid",
        "setresuid",
        "setsid",
        "setuid",
        "sigaltstack",
        "stat",
        "statfs",
        "statx",
        "tgkill",
        "umask",
        "unlinkat",
        "write",
        "writev",
        "fchmod",
        "fchownat",
        "socket",
        "sendfile",
        "setrlimit",
        "getrlimit",
        "ioctl",
        "personality",
        "poll",
        "ppoll",
        "recvmsg",
        "recvfrom",
        "wait4",
        "waitid",
        "kill",
        "mount",
        "umount2",
        "unshare",
        "chown",
        "fsetxattr",
    ];
    let mut program = Program::new(Machine::X86_64);
    program.call(39, &[]); // getpid
    program.print_result();
    program.call(104 + 9, &[(-1i64 as u64).into(), (-1i64 as u64).into()]); // setreuid
    program.print_result();
    program.exit(0);
    let config = c.config().set("/process/noNewPrivileges", true).set(
        "/linux/seccomp",
        json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 99,
            "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{ "names": names.as_slice(), "action": "SCMP_ACT_ALLOW" }],
        }),
    );
    check_eq!(c.results(&config, &program)?, [1, -99], "getpid and setreuid");
    Ok(())
}

/// Every comparison compares all 64 bits.
fn operators(c: &Case) -> Outcome {
    const VALUE: u64 = 0x1_0000_0005;
    let offsets =
        [4, 5, 6, VALUE - 1, VALUE, VALUE + 1, 0x2_0000_0000, 0x8000_0001_0000_0005, u64::MAX];
    let mut program = Program::new(Machine::X86_64);
    for offset in offsets {
        // On a file that is not open: EBADF unless the filter answers first.
        program.call(LSEEK, &[99.into(), offset.into(), 0.into()]);
        program.print_result();
    }
    program.exit(0);
    type Test = fn(u64) -> bool;
    let operators: [(&str, Test); 6] = [
        ("SCMP_CMP_EQ", |x| x == VALUE),
        ("SCMP_CMP_NE", |x| x != VALUE),
        ("SCMP_CMP_LT", |x| x < VALUE),
        ("SCMP_CMP_LE", |x| x <= VALUE),
        ("SCMP_CMP_GT", |x| x > VALUE),
        ("SCMP_CMP_GE", |x| x >= VALUE),
    ];
    for (operator, test) in operators {
        let rule = json!([{ "names": ["lseek"], "action": "SCMP_ACT_ERRNO", "errnoRet": 33,
            "args": [{ "index": 1, "value": VALUE, "op": operator }] }]);
        let expected: Vec<i64> = offsets.iter().map(|o| if test(*o) { -33 } else { -9 }).collect();
        check_eq!(c.results(&with(c, rule), &program)?, expected, "{operator}");
    }
    let mask = 0x1_0000_000fu64;
    let rule = json!([{ "names": ["lseek"], "action": "SCMP_ACT_ERRNO", "errnoRet": 33,
        "args": [{ "index": 1, "value": mask, "valueTwo": VALUE, "op": "SCMP_CMP_MASKED_EQ" }] }]);
    let expected: Vec<i64> =
        offsets.iter().map(|o| if o & mask == VALUE { -33 } else { -9 }).collect();
    check_eq!(c.results(&with(c, rule), &program)?, expected, "SCMP_CMP_MASKED_EQ");
    Ok(())
}

fn lseeks(calls: &[[u64; 3]]) -> Program {
    let mut program = Program::new(Machine::X86_64);
    for call in calls {
        program.call(LSEEK, &call.map(Arg::Value));
        program.print_result();
    }
    program.exit(0);
    program
}

/// Conditions of one rule must hold together.
fn conditions_are_and(c: &Case) -> Outcome {
    let rule = json!([{ "names": ["lseek"], "action": "SCMP_ACT_ERRNO", "errnoRet": 33, "args": [
        { "index": 0, "value": 99, "op": "SCMP_CMP_EQ" },
        { "index": 2, "value": 1, "op": "SCMP_CMP_GE" },
    ] }]);
    let program = lseeks(&[[99, 0, 0], [99, 0, 1], [98, 0, 1]]);
    check_eq!(c.results(&with(c, rule), &program)?, [-9, -33, -9], "results");
    Ok(())
}

/// Of several rules for a call, each can match.
fn rules_are_or(c: &Case) -> Outcome {
    let rule = |errno: u32, value: u32| {
        json!({ "names": ["lseek"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno,
            "args": [{ "index": 2, "value": value, "op": "SCMP_CMP_EQ" }] })
    };
    let program = lseeks(&[[99, 0, 0], [99, 0, 1], [99, 0, 2]]);
    let results = c.results(&with(c, json!([rule(33, 1), rule(34, 2)])), &program)?;
    check_eq!(results, [-9, -33, -34], "results");
    Ok(())
}

fn runs_i386(c: &Case) -> Outcome {
    let mut program = Program::new(Machine::I386);
    program.exit(3);
    c.bundle.program("i386", &program)?;
    let path = c.bundle.rootfs.join("bin/i386").display().to_string();
    match c.program(&path, &[]) {
        Ok(done) if done.code == 3 => Ok(()),
        _ => skip!("the kernel runs no 32-bit programs"),
    }
}

/// Calls through the 32-bit entry are filtered by their own numbers.
fn other_architecture(c: &Case) -> Outcome {
    runs_i386(c)?;
    let mut program = Program::new(Machine::I386);
    program.call(GETPRIORITY_I386, &[0.into(), 0.into()]);
    program.print_result();
    // The 64-bit number is another call here, _llseek, and is not filtered.
    program.call(GETPRIORITY, &[99.into(), 0.into(), 0.into(), 0.into(), 0.into()]);
    program.print_result();
    program.exit(0);
    c.bundle.program("machine", &program)?;
    let done = c.run(&getpriority_is(c, "SCMP_ACT_ERRNO").args(&["/bin/machine"]))?.ok()?;
    let bytes = std::fs::read(&done.out_file)?;
    let results: Vec<i32> = bytes
        .chunks_exact(4)
        .map(|b| i32::from_le_bytes(b.try_into().expect("chunks are 4 bytes")))
        .collect();
    check_eq!(results.first(), Some(&-1), "getpriority");
    check!(results.get(1) != Some(&-1), "settimeofday is filtered by another's number");
    Ok(())
}

/// An architecture that is not listed cannot be used to get around the filter.
fn architecture_not_listed(c: &Case) -> Outcome {
    runs_i386(c)?;
    let mut program = Program::new(Machine::I386);
    program.call(GETPRIORITY_I386, &[0.into(), 0.into()]);
    program.exit(0);
    c.bundle.program("machine", &program)?;
    let config = getpriority_is(c, "SCMP_ACT_ERRNO")
        .set("/linux/seccomp/architectures", json!(["SCMP_ARCH_X86_64"]))
        .args(&["/bin/machine"]);
    c.run(&config)?.code_is(KILLED)?;
    Ok(())
}

/// Nor can the x32 numbers.
fn x32_is_no_way_round(c: &Case) -> Outcome {
    let program = Program::one_call(GETPRIORITY | 0x4000_0000, &[0.into(), 0.into()]);
    c.bundle.program("machine", &program)?;
    for architectures in [json!(["SCMP_ARCH_X86_64"]), json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"])]
    {
        let config = getpriority_is(c, "SCMP_ACT_ERRNO")
            .set("/linux/seccomp/architectures", architectures)
            .args(&["/bin/machine"]);
        let done = c.run(&config)?;
        let result = done.results()?.first().copied();
        let stopped = done.code == KILLED || matches!(result, Some(-1 | -38));
        check!(stopped, "exit code {}, result {result:?}", done.code);
    }
    Ok(())
}

/// Without a list of architectures the native one is meant.
fn native_architecture(c: &Case) -> Outcome {
    let config = getpriority_is(c, "SCMP_ACT_ERRNO").remove("/linux/seccomp/architectures");
    check_eq!(c.results(&config, &getpriority())?, [-1], "result");
    Ok(())
}

/// Names of calls that nobody knows are passed over.
fn unknown_calls(c: &Case) -> Outcome {
    let rule = json!([{ "names": ["no_such_call", "getpriority"], "action": "SCMP_ACT_ERRNO" }]);
    check_eq!(c.results(&with(c, rule), &getpriority())?, [-1], "result");
    Ok(())
}

/// Words that nobody knows are refused by name.
fn unknown_words(c: &Case) -> Outcome {
    c.run(&getpriority_is(c, "SCMP_ACT_SHRUG"))?.fails_naming(&["SCMP_ACT_SHRUG"])?;
    let rule = json!([{ "names": ["lseek"], "action": "SCMP_ACT_ERRNO",
        "args": [{ "index": 0, "value": 1, "op": "SCMP_CMP_LIKE" }] }]);
    c.run(&with(c, rule))?.fails_naming(&["SCMP_CMP_LIKE"])?;
    let config = getpriority_is(c, "SCMP_ACT_ERRNO")
        .set("/linux/seccomp/architectures", json!(["SCMP_ARCH_PDP11"]));
    c.run(&config)?.fails_naming(&["PDP11"])?;
    c.nothing_left()
}

/// The filter's flags are accepted.
fn flags(c: &Case) -> Outcome {
    let flags =
        ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC"];
    for flag in flags {
        let config = getpriority_is(c, "SCMP_ACT_ERRNO").set("/linux/seccomp/flags", json!([flag]));
        check_eq!(c.results(&config, &getpriority())?, [-1], "result with {flag}");
    }
    Ok(())
}

/// A user without privileges and without `noNewPrivileges` gets the filter as well.
fn unprivileged_user(c: &Case) -> Outcome {
    let config = getpriority_is(c, "SCMP_ACT_ERRNO")
        .set("/process/user", json!({ "uid": 1000, "gid": 1000 }))
        .caps(&[]);
    check_eq!(c.results(&config, &getpriority())?, [-1], "result");
    let config = config.set("/process/noNewPrivileges", true);
    check_eq!(c.results(&config, &getpriority())?, [-1], "result with noNewPrivileges");
    Ok(())
}

/// Executed programs are filtered too.
fn exec(c: &Case) -> Outcome {
    c.bundle.program("machine", &getpriority())?;
    let container = c.start_waiting(&getpriority_is(c, "SCMP_ACT_ERRNO"))?;
    check_eq!(container.exec(&[], &["/bin/machine"])?.ok()?.results()?, [-1], "result");
    container.delete_force()
}

/// A profile as large as an engine's, with conditions, works.
fn large_profile(c: &Case) -> Outcome {
    let mut rules = Vec::new();
    for index in 0..300u64 {
        rules.push(json!({ "names": ["lseek"], "action": "SCMP_ACT_ERRNO", "errnoRet": 33,
            "args": [{ "index": 1, "value": index * 7, "op": "SCMP_CMP_EQ" }] }));
    }
    let program = lseeks(&[[99, 7, 0], [99, 8, 0], [99, 299 * 7, 0], [99, 300 * 7, 0]]);
    check_eq!(c.results(&with(c, json!(rules)), &program)?, [-33, -9, -33, -9], "results");
    Ok(())
}

/// What a listener is sent: the state and one file.
fn receive(listener: &UnixListener, c: &Case) -> Outcome<(Value, OwnedFd)> {
    let mut message = receive_fd(c, listener)?;
    // What did not fit into the first message follows.
    let state = loop {
        let mut more = [0; 4096];
        match serde_json::from_slice(&message.bytes) {
            Err(e) if e.is_eof() => {}
            parsed => break parsed?,
        }
        let length = message.stream.read(&mut more)?;
        check!(length > 0, "half a message: {}", String::from_utf8_lossy(&message.bytes));
        message.bytes.extend_from_slice(&more[..length]);
    };
    Ok((state, message.fd))
}

/// A program that answers one notification on its standard input with a value.
fn answer(value: u64) -> Program {
    const RECV: u64 = 0xc050_2100;
    const SEND: u64 = 0xc018_2101;
    let mut program = Program::new(Machine::X86_64);
    let request = program.data(&[0; 80]);
    let mut reply = [0; 24];
    reply[8..16].copy_from_slice(&value.to_le_bytes());
    let reply = program.data(&reply);
    program.call(16, &[0.into(), RECV.into(), request]); // ioctl
    program.copy8(request, reply);
    program.print(Program::offset(request, 16), 4); // the number of the call
    program.call(16, &[0.into(), SEND.into(), reply]);
    program.exit(0);
    program
}

fn notify_config(c: &Case, socket: &std::path::Path) -> Config {
    getpriority_is(c, "SCMP_ACT_NOTIFY")
        .set("/linux/seccomp/listenerPath", socket.display().to_string())
        .set("/linux/seccomp/listenerMetadata", "some metadata")
}

/// `SCMP_ACT_NOTIFY` asks a listener, which gets the file and the container's state.
fn notify(c: &Case) -> Outcome {
    let socket = c.dir.join("listener");
    let listener = UnixListener::bind(&socket)?;
    c.bundle.program("machine", &getpriority())?;
    c.bundle.program("answer", &answer(4711))?;
    let config = notify_config(c, &socket).args(&["/bin/machine"]);
    let running = c.run_call(&config)?.spawn()?;
    let (state, fd) = receive(&listener, c)?;
    check_eq!(state["metadata"], "some metadata", "metadata");
    check_eq!(state["fds"], json!(["seccompFd"]), "names of the files");
    check_eq!(state["state"]["id"], c.token.as_str(), "id in {state}");
    check!(state["pid"].as_i64().is_some_and(|p| p > 0), "pid in {state}");
    check!(state["ociVersion"].is_string(), "ociVersion in {state}");
    let program = c.bundle.rootfs.join("bin/answer").display().to_string();
    let answered = c.other(&program, &[]).stdin(fd).go()?.ok()?;
    check_eq!(std::fs::read(answered.out_file)?, (GETPRIORITY as u32).to_le_bytes(), "call");
    check_eq!(running.finish()?.ok()?.results()?, [4711], "result");
    Ok(())
}

/// Executed programs have a listener of their own.
fn notify_exec(c: &Case) -> Outcome {
    let socket = c.dir.join("listener");
    let listener = UnixListener::bind(&socket)?;
    c.bundle.program("machine", &getpriority())?;
    c.bundle.program("answer", &answer(4712))?;
    let config = notify_config(c, &socket).payload(&["wait"]);
    c.bundle.configure(&config)?;
    let bundle = c.bundle.dir.display().to_string();
    let create = c.call(&["run", "-d", "--bundle", &bundle, &c.token]).spawn()?;
    let first = receive(&listener, c)?;
    let done = create.finish()?.ok()?;
    let container = crate::contest::Container::adopt(c, &c.token, &done);
    container.wait_output("ready")?;
    let running = container.exec_call(&[], &["/bin/machine"]).spawn()?;
    let (state, fd) = receive(&listener, c)?;
    check_eq!(state["state"]["id"], c.token.as_str(), "id in {state}");
    let program = c.bundle.rootfs.join("bin/answer").display().to_string();
    c.other(&program, &[]).stdin(fd).go()?.ok()?;
    check_eq!(running.finish()?.ok()?.results()?, [4712], "result");
    drop(first);
    container.delete_force()
}

/// Notifications without a listener are refused.
fn notify_without_listener(c: &Case) -> Outcome {
    let done = c.run(&getpriority_is(c, "SCMP_ACT_NOTIFY"))?;
    done.fails_naming(&["listener|notify"])?;
    c.nothing_left()
}

/// A listener that is not there is named.
fn notify_listener_missing(c: &Case) -> Outcome {
    let done = c.run(&notify_config(c, &c.dir.join("nobody.sock")))?;
    done.fails_naming(&["nobody.sock|listener|seccomp"])?;
    c.nothing_left()
}

/// A listener that hangs up at once does not hang the container: its calls fail.
fn notify_listener_leaves(c: &Case) -> Outcome {
    let socket = c.dir.join("listener");
    let listener = UnixListener::bind(&socket)?;
    c.bundle.program("machine", &getpriority())?;
    let config = notify_config(c, &socket).args(&["/bin/machine"]);
    let running = c.run_call(&config)?.spawn()?;
    let (_, fd) = receive(&listener, c)?;
    drop(fd);
    check_eq!(running.finish()?.ok()?.results()?, [-38], "result");
    Ok(())
}

scenarios![
    filter_is_there,
    errno,
    errno_zero,
    kill,
    trap,
    trace,
    log_and_allow,
    allow_list,
    operators,
    conditions_are_and,
    rules_are_or,
    other_architecture,
    architecture_not_listed,
    x32_is_no_way_round,
    native_architecture,
    unknown_calls,
    unknown_words,
    flags,
    unprivileged_user,
    exec,
    large_profile,
    notify,
    notify_exec,
    notify_without_listener,
    notify_listener_missing,
    notify_listener_leaves,
];
