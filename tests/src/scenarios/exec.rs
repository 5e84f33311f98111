//! `exec`: one more process in a container.

use std::fs;

use serde_json::json;

use super::scenarios;
use crate::contest::{Case, Outcome, check, check_eq, live_processes, skip};
use crate::inside::Report;

/// Output and exit code of the program are those of `exec`.
fn output_and_code(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    let done = container.exec(&[], &["/bin/payload", "split"])?.ok()?;
    check_eq!((done.out.as_str(), done.err.as_str()), ("to stdout\n", "to stderr\n"), "output");
    for code in [1, 42, 127, 255] {
        container.exec(&[], &["/bin/payload", "exit", &code.to_string()])?.code_is(code)?;
    }
    container.delete_force()
}

/// A program that a signal ended counts as 128 + its number.
fn ended_by_signal(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    for signal in [9, 15] {
        let program = ["/bin/payload", "signal-self", &signal.to_string()];
        container.exec(&[], &program)?.code_is(128 + signal)?;
    }
    container.delete_force()
}

/// The program is not the container's first process, and sees it.
fn beside_the_first(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    let report = container.exec_report(&[])?;
    check!(report.pid > 1, "pid {}", report.pid);
    check_eq!(report.hostname, "contest", "host name");
    let got = container.exec_attempts(&[&["readlink", "/proc/1/exe"]])?;
    check_eq!(crate::contest::check_ok!(got[0]), "/bin/payload", "program of pid 1");
    container.delete_force()
}

/// Working directory and environment are the container's unless said otherwise.
fn cwd_and_env(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config().set("/process/cwd", "/etc"))?;
    let report = container.exec_report(&[])?;
    check_eq!(report.cwd, "/etc", "directory");
    check_eq!(report.env("CONTEST"), Some("yes"), "CONTEST");
    let options = ["--cwd", "/tmp", "--env", "NEW=1", "--env", "CONTEST=no"];
    let report = container.exec_report(&options)?;
    check_eq!(report.cwd, "/tmp", "directory with --cwd");
    check_eq!(report.env("NEW"), Some("1"), "NEW");
    check_eq!(report.env("CONTEST"), Some("no"), "CONTEST, set anew");
    check_eq!(report.env("PATH"), Some("/bin:/usr/bin"), "PATH");
    container.delete_force()
}

/// The environment of `exec` itself does not leak in.
fn environment_does_not_leak(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    let call = container.exec_call(&[], &["/bin/payload", "report"]).env("SECRET", "x");
    let report: Report = call.go()?.ok()?.json()?;
    check_eq!(report.env("SECRET"), None, "SECRET");
    container.delete_force()
}

/// `--user` takes a user, or a user and a group.
fn user(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    check_eq!(container.exec_report(&["--user", "1000:50"])?.ids, [1000, 1000, 50, 50], "ids");
    let report = container.exec_report(&["-u", "1000"])?;
    check_eq!(report.ids[..2], [1000, 1000], "user ids");
    check_eq!(report.caps("CapEff"), 0, "effective capabilities");
    container.delete_force()
}

/// `--cap` makes a capability ambient as well, in a container that has inheritable ones.
fn ambient_capability(c: &Case) -> Outcome {
    let chown = json!(["CAP_CHOWN"]);
    let both = json!(["CAP_CHOWN", "CAP_KILL"]);
    let config = c.config().set("/process/user", json!({ "uid": 1000, "gid": 1000 })).set(
        "/process/capabilities",
        json!({ "bounding": both, "permitted": chown,
            "effective": chown, "inheritable": both, "ambient": chown }),
    );
    let container = c.start_waiting(&config)?;
    let report = container.exec_report(&["--cap", "CAP_KILL"])?;
    check_eq!(report.caps("CapAmb"), 1 | 1 << 5, "ambient set");
    check_eq!(report.caps("CapEff"), 1 | 1 << 5, "effective set");
    container.delete_force()
}

/// The personality is the container's.
fn personality(c: &Case) -> Outcome {
    let config = c.config().set("/linux/personality", json!({ "domain": "LINUX32" }));
    let container = c.start_waiting(&config)?;
    let text = container.exec_attempts(&[&["read", "/proc/self/personality"]])?;
    let own = crate::contest::check_ok!(text[0]).trim();
    check_eq!(own, "00000008", "personality");
    container.delete_force()
}

/// `--additional-gids` sets supplementary groups.
fn additional_groups(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    let options = ["--additional-gids", "77", "--additional-gids", "78"];
    let mut groups = container.exec_report(&options)?.groups;
    groups.retain(|g| *g != 0);
    check_eq!(groups, [77, 78], "supplementary groups");
    container.delete_force()
}

/// `--process` takes a whole process object from a file.
fn process_file(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    let file = c.dir.join("process.json");
    let process = json!({
        "user": { "uid": 5, "gid": 6, "additionalGids": [7] },
        "args": ["/bin/payload", "report", "from", "file"],
        "env": ["PATH=/bin", "FROM=file"],
        "cwd": "/tmp",
        "capabilities": { "bounding": ["CAP_KILL"] },
        "rlimits": [{ "type": "RLIMIT_CORE", "soft": 100, "hard": 200 }],
        "noNewPrivileges": true,
    });
    fs::write(&file, process.to_string())?;
    let done = c.runtime(&["exec", "--process", &file.display().to_string(), &c.token])?.ok()?;
    let report: Report = done.json()?;
    check_eq!(report.args, ["from", "file"], "arguments");
    check_eq!(report.ids, [5, 5, 6, 6], "ids");
    check!(report.groups.contains(&7), "supplementary groups {:?}", report.groups);
    check_eq!(report.env("FROM"), Some("file"), "FROM");
    check_eq!(report.env("CONTEST"), None, "CONTEST");
    check_eq!(report.cwd, "/tmp", "directory");
    check_eq!(report.caps("CapBnd"), 1 << 5, "bounding set");
    check_eq!(report.status("NoNewPrivs"), "1", "no_new_privs");
    let limit = ("100".to_owned(), "200".to_owned());
    check_eq!(report.limits.get("Max core file size"), Some(&limit), "RLIMIT_CORE");
    container.delete_force()
}

fn with_process_file(c: &Case, name: &str, value: serde_json::Value) -> Outcome<Report> {
    let container = c.start_waiting(&c.config())?;
    let process = c.config().set(&format!("/process/{name}"), value);
    let process = &process.value()["process"];
    let file = c.dir.join("process.json");
    fs::write(&file, process.to_string())?;
    let done = c.runtime(&["exec", "--process", &file.display().to_string(), &c.token])?;
    let report = done.ok()?.json()?;
    container.delete_force()?;
    Ok(report)
}

/// The umask of a process object is set.
fn process_file_umask(c: &Case) -> Outcome {
    let user = json!({ "uid": 0, "gid": 0, "umask": 0o77 });
    check_eq!(with_process_file(c, "user", user)?.status("Umask"), "0077", "umask");
    Ok(())
}

/// The score for the out-of-memory killer of a process object is set.
fn process_file_oom_score(c: &Case) -> Outcome {
    let report = with_process_file(c, "oomScoreAdj", json!(300))?;
    check_eq!(report.oom_score_adj, Some(300), "oom_score_adj");
    Ok(())
}

/// Limits of the container hold for executed programs too.
fn container_limits(c: &Case) -> Outcome {
    let limit = json!({ "type": "RLIMIT_CORE", "soft": 100, "hard": 200 });
    let config = c
        .config()
        .push("/process/rlimits", limit)
        .set("/process/noNewPrivileges", true)
        .set("/process/oomScoreAdj", 400);
    let container = c.start_waiting(&config)?;
    let report = container.exec_report(&[])?;
    let limit = ("100".to_owned(), "200".to_owned());
    check_eq!(report.limits.get("Max core file size"), Some(&limit), "RLIMIT_CORE");
    check_eq!(report.status("NoNewPrivs"), "1", "no_new_privs");
    check_eq!(report.oom_score_adj, Some(400), "oom_score_adj");
    container.delete_force()
}

/// `--no-new-privs` sets the flag for this program.
fn no_new_privileges(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    check_eq!(container.exec_report(&[])?.status("NoNewPrivs"), "0", "without");
    let report = container.exec_report(&["--no-new-privs"])?;
    check_eq!(report.status("NoNewPrivs"), "1", "with");
    container.delete_force()
}

/// `--detach` returns while the program runs; `--pid-file` says where.
fn detached(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    let file = c.dir.join("exec.pid");
    let options = ["--detach", "--pid-file", &file.display().to_string()];
    let done = container.exec(&options, &["/bin/payload", "wait"])?.ok()?;
    let pid: i32 = fs::read_to_string(&file)?.parse().unwrap_or(0);
    check!(live_processes().iter().any(|(p, _)| *p == pid), "pid {pid} does not live");
    c.wait_until("the program prints", || {
        Ok(fs::read_to_string(&done.out_file)?.contains("ready"))
    })?;
    let inode = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid"));
    check_eq!(inode(pid)?, inode(container.pid()?)?, "pid namespace");
    container.stop()?;
    c.wait_until("the executed program ends with the container", || {
        Ok(!live_processes().iter().any(|(p, _)| *p == pid))
    })?;
    container.delete()
}

/// The exit code of a detached program is there for its parent.
fn detached_code(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    let file = c.dir.join("exec.pid");
    let options = ["-d", "--pid-file", &file.display().to_string()];
    container.exec(&options, &["/bin/payload", "exit", "9"])?.ok()?;
    let pid = fs::read_to_string(&file)?.parse().unwrap_or(0);
    check_eq!(container.wait_exit(pid)?, 9, "exit code");
    container.delete_force()
}

/// Standard input reaches the program.
fn stdin(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    let call = container.exec_call(&[], &["/bin/payload", "cat"]).stdin_text("a\nb\n")?;
    check_eq!(call.go()?.ok()?.out, "a\nb\n", "what came through");
    container.delete_force()
}

/// Only the standard files are open; `--preserve-fds` adds to them.
fn open_files(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    let fds: Vec<i32> = container.exec_report(&[])?.fds.into_keys().collect();
    check_eq!(fds, [0, 1, 2], "open files");
    c.wrap(&["sh", "-c", "exec 3</etc/passwd 4</etc/group; exec \"$@\"", "sh"]);
    let fds: Vec<i32> = container.exec_report(&["--preserve-fds", "1"])?.fds.into_keys().collect();
    c.wrap(&[]);
    check_eq!(fds, [0, 1, 2, 3], "open files with --preserve-fds 1");
    container.delete_force()
}

/// The program is in the container's cgroups.
fn same_cgroups(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    let init = fs::read_to_string(format!("/proc/{}/cgroup", container.pid()?))?;
    let init: Vec<&str> = init.lines().collect();
    check_eq!(container.exec_report(&[])?.cgroups, init, "cgroups");
    container.delete_force()
}

/// Where the first process has gone further down and the container's own cgroup takes no processes any
/// more, whoever comes later follows it.
fn beside_a_moved_process(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    let pid = container.pid()?;
    let place = |pid: &str| -> Outcome<Option<String>> {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        Ok(text.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned))
    };
    if place("self")? == place(&pid.to_string())? {
        skip!("the runtime makes no cgroup on version 2 here");
    }
    // No version 1 hierarchy has a controller of this name.
    let dir = container.cgroup_dir("unified")?;
    let controllers = fs::read_to_string(dir.join("cgroup.controllers"))?;
    let Some(controller) = controllers.split_whitespace().next() else {
        skip!("no controllers on cgroup v2 here");
    };
    fs::create_dir(dir.join("moved"))?;
    fs::write(dir.join("moved/cgroup.procs"), pid.to_string())?;
    fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}"))?;
    let init = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let init: Vec<&str> = init.lines().collect();
    check!(init.iter().any(|line| line.ends_with("/moved")), "cgroups: {init:?}");
    check_eq!(container.exec_report(&[])?.cgroups, init, "cgroups");
    container.delete_force()
}

/// A program that is not there is named; nothing is left of the attempt.
fn missing_program(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    for program in ["/bin/no-such-program", "no-such-program"] {
        container.exec(&[], &[program])?.code_is(255)?.fails_naming(&["no-such-program"])?;
    }
    check_eq!(live_processes().len(), 1, "live processes");
    container.delete_force()
}

/// A program that is not executable is named.
fn not_executable(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    let done = container.exec(&[], &["/etc/passwd"])?.code_is(255)?;
    done.fails_naming(&["/etc/passwd", "permission"])?;
    container.delete_force()
}

/// A working directory that is not there is named.
fn missing_cwd(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    let done = container.exec(&["--cwd", "/tmp/new"], &["/bin/payload", "report"])?;
    done.code_is(255)?.fails_naming(&["/tmp/new"])?;
    container.delete_force()
}

/// Nothing is executed in a stopped container.
fn stopped(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    container.stop()?;
    container.exec(&[], &["/bin/payload", "report"])?.fails_naming(&["stopped|not running"])?;
    container.delete()
}

/// Nothing is executed in a paused container, unless told to wait for it.
fn paused(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    container.call(&["pause"])?.ok()?;
    let done = container.exec(&[], &["/bin/payload", "report"]);
    container.call(&["resume"])?.ok()?;
    done?.fails_naming(&["paused"])?;
    container.exec_report(&[])?;
    container.delete_force()
}

/// Many at once do not disturb each other.
fn many_at_once(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    let mut running = Vec::new();
    for index in 0..if c.stress { 100 } else { 10 } {
        let text = index.to_string();
        let program = ["/bin/payload", "echo", text.as_str()];
        running.push((text.clone(), container.exec_call(&[], &program).limit(30).spawn()?));
    }
    for (text, one) in running {
        check_eq!(one.finish()?.ok()?.out.trim(), text, "output");
    }
    container.delete_force()
}

/// A program that exits at once is never missed.
fn exits_at_once(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    for _ in 0..if c.stress { 2000 } else { 20 } {
        container.exec(&[], &["/bin/payload", "exit", "3"])?.code_is(3)?;
    }
    container.delete_force()
}

/// `HOME` belongs to the executing user.
fn home(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    check_eq!(container.exec_report(&["--user", "1000"])?.env("HOME"), Some("/home/guest"), "HOME");
    container.delete_force()
}

/// In a user namespace, ids are those inside.
fn user_in_user_namespace(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config().user_namespace(100_000, 65_536))?;
    let report = container.exec_report(&["--user", "1000:1000"])?;
    check_eq!(report.ids, [1000, 1000, 1000, 1000], "ids");
    container.delete_force()
}

/// Words after the program are the program's, options or not.
fn arguments_are_the_programs(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    let program = ["/bin/payload", "report", "--cwd", "-d", "--", "--user"];
    let report: Report = container.exec(&[], &program)?.ok()?.json()?;
    check_eq!(report.args, ["--cwd", "-d", "--", "--user"], "arguments");
    container.delete_force()
}

scenarios![
    output_and_code,
    ended_by_signal,
    beside_the_first,
    cwd_and_env,
    environment_does_not_leak,
    user,
    additional_groups,
    ambient_capability,
    personality,
    process_file,
    process_file_umask,
    process_file_oom_score,
    container_limits,
    no_new_privileges,
    detached,
    detached_code,
    stdin,
    open_files,
    same_cgroups,
    beside_a_moved_process,
    missing_program,
    not_executable,
    missing_cwd,
    stopped,
    paused,
    many_at_once(60, 300),
    exits_at_once(60, 600),
    home,
    user_in_user_namespace,
    arguments_are_the_programs,
];
