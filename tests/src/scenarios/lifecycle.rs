//! From `create` to `delete`: the states, the ways between them, and the ways that are closed.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::scenarios;
use crate::contest::{Case, Container, Outcome, Stop, check, check_eq, skip};
use crate::machine::{Arg, Machine, Program};

/// A container goes through created, running and stopped, and is gone after `delete`.
fn all_states(c: &Case) -> Outcome {
    let container = c.create_container(&c.config().payload(&["wait"]))?;
    container.check_status("created")?;
    container.start()?;
    container.check_status("running")?;
    container.wait_output("ready")?;
    container.kill("KILL")?;
    container.wait_status("stopped")?;
    container.delete()?;
    c.runtime(&["state", &c.token])?.fails_naming(&["does not exist|not found|no such"])?;
    c.nothing_left()
}

/// The state has the specification's members, and only a live container has a pid.
fn state_shape(c: &Case) -> Outcome {
    let config = c
        .config()
        .set("/annotations", json!({ "org.example.key": "value", "org.example.empty": "" }))
        .payload(&["wait"]);
    let container = c.create_container(&config)?;
    let state = container.state()?;
    check!(state["ociVersion"].as_str().is_some_and(|v| v.starts_with("1.")), "{state}");
    check_eq!(state["id"], c.token.as_str(), "id");
    check_eq!(state["status"], "created", "status");
    check_eq!(state["bundle"], c.bundle.dir.display().to_string(), "bundle");
    check_eq!(state["annotations"]["org.example.key"], "value", "annotation");
    check_eq!(state["annotations"]["org.example.empty"], "", "empty annotation");
    let pid = container.pid()?;
    check!(Path::new(&format!("/proc/{pid}")).exists(), "pid {pid} is not a process");
    container.start()?;
    check_eq!(container.pid()?, pid, "pid when running");
    container.stop()?;
    let pid = container.state()?["pid"].as_i64().unwrap_or(0);
    check_eq!(pid, 0, "pid when stopped");
    container.delete()
}

/// `create` does not run the program, `start` does.
fn create_does_not_run(c: &Case) -> Outcome {
    let container = c.create_container(&c.config().payload(&["try", "write", "/tmp/ran", "x"]))?;
    std::thread::sleep(std::time::Duration::from_millis(50));
    let marker = c.bundle.rootfs.join("tmp/ran");
    check!(!marker.exists(), "the program ran before `start`");
    container.start()?;
    container.wait_status("stopped")?;
    check!(marker.exists(), "the program did not run after `start`");
    container.delete()
}

/// Changes of `config.json` after `create` have no effect.
fn config_is_read_once(c: &Case) -> Outcome {
    let container = c.create_container(&c.config().payload(&["echo", "first"]))?;
    c.bundle.configure(&c.config().payload(&["echo", "second"]))?;
    container.start()?;
    container.wait_status("stopped")?;
    check_eq!(container.output(), "first\n", "output");
    container.delete()
}

/// A running container cannot be started, and goes on.
fn start_running(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    container.call(&["start"])?.fails_naming(&[])?;
    container.check_status("running")?;
    container.stop()?;
    container.delete()
}

/// A stopped container cannot be started.
fn start_stopped(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    container.stop()?;
    container.call(&["start"])?.fails_naming(&[])?;
    container.check_status("stopped")?;
    container.delete()
}

/// Every command names the container that it does not find.
fn unknown_container(c: &Case) -> Outcome {
    for command in ["start", "state", "delete", "pause", "resume", "ps"] {
        c.runtime(&[command, "nobody-here"])?.fails_naming(&["nobody-here|does not exist"])?;
    }
    c.runtime(&["kill", "nobody-here", "KILL"])?.fails_naming(&["nobody-here|does not exist"])?;
    let done = c.runtime(&["exec", "nobody-here", "/bin/payload"])?;
    done.fails_naming(&["nobody-here|does not exist"])?;
    Ok(())
}

/// `delete --force` of what is not there is no error.
fn delete_force_unknown(c: &Case) -> Outcome {
    c.runtime(&["delete", "--force", "nobody-here"])?.ok()?;
    Ok(())
}

/// A running container is not deleted without force, and goes on.
fn delete_running(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    container.call(&["delete"])?.fails_naming(&[&c.token])?;
    container.check_status("running")?;
    container.stop()?;
    container.delete()
}

/// A running container is deleted by force, with its processes.
fn delete_force_running(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    container.delete_force()?;
    c.runtime(&["state", &c.token])?.fails_naming(&[])?;
    c.nothing_left()
}

/// A container that was only created is deleted by force.
fn delete_force_created(c: &Case) -> Outcome {
    let container = c.create_container(&c.config().payload(&["wait"]))?;
    container.delete_force()?;
    c.nothing_left()
}

/// Without a pid namespace, processes that outlive the first one do not outlive the container.
fn orphans_end_with_the_container(c: &Case) -> Outcome {
    let config = c.config().without_namespace("pid").payload(&["orphan"]);
    c.run(&config)?.ok()?;
    c.nothing_left()
}

/// `delete --force` ends processes that outlived the first one.
fn delete_force_ends_orphans(c: &Case) -> Outcome {
    let config = c.config().without_namespace("pid").payload(&["orphan"]);
    let container = c.create_container(&config)?;
    container.start()?;
    container.wait_status("stopped")?;
    container.delete_force()?;
    c.nothing_left()
}

/// An id in use is refused by name; its container is not disturbed.
fn duplicate_id(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    let pid = container.pid()?;
    let bundle = c.new_bundle("b2")?;
    bundle.configure(&c.config_for(&format!("{}-other", c.token)))?;
    for command in ["create", "run"] {
        let done =
            c.runtime(&[command, "--bundle", &bundle.dir.display().to_string(), &c.token])?;
        done.fails_naming(&["exist|use"])?;
    }
    container.check_status("running")?;
    check_eq!(container.pid()?, pid, "pid");
    container.stop()?;
    container.delete()
}

/// An id is free again after `delete`.
fn id_is_free_again(c: &Case) -> Outcome {
    for _ in 0..3 {
        let container = c.start_waiting(&c.config())?;
        container.stop()?;
        container.delete()?;
    }
    c.nothing_left()
}

/// Ids that could be paths are refused.
fn invalid_ids(c: &Case) -> Outcome {
    c.bundle.configure(&c.config())?;
    let bundle = c.bundle.dir.display().to_string();
    for id in ["../up", "a/b", "/abs", "..", "", "a b", "new\nline"] {
        let done = c.runtime(&["create", "--bundle", &bundle, id])?;
        check!(done.code != 0, "the id {id:?} was accepted");
    }
    c.nothing_left()
}

/// All characters that ids may have.
fn odd_id(c: &Case) -> Outcome {
    let id = format!("{}_A.b+c-d", c.token);
    let container = Container::create(c, &id, &c.bundle, &c.config().payload(&["wait"]))?;
    container.start()?;
    check_eq!(container.state()?["id"], id.as_str(), "id");
    container.stop()?;
    container.delete()
}

/// The runtime exits with the program's exit code.
fn exit_codes(c: &Case) -> Outcome {
    let some = [0, 1, 2, 42, 99, 125, 126, 127, 128, 137, 200, 254, 255];
    let all: Vec<i32> = (0..256).collect();
    for code in if c.stress { &all[..] } else { &some[..] } {
        c.run(&c.config().payload(&["exit", &code.to_string()]))?.code_is(*code)?;
    }
    Ok(())
}

/// A program that a signal ended counts as 128 + its number.
fn exit_by_signal(c: &Case) -> Outcome {
    // The first process of a pid namespace cannot signal itself.
    for signal in [1, 6, 9, 14, 15] {
        let args = ["signal-self", &signal.to_string()];
        let config = c
            .config()
            .without_namespace("pid")
            .push("/process/rlimits", json!({ "type": "RLIMIT_CORE", "soft": 0, "hard": 0 }))
            .payload(&args);
        c.run(&config)?.code_is(128 + signal)?;
    }
    Ok(())
}

/// Killed from outside, the first process counts as 137.
fn exit_when_killed(c: &Case) -> Outcome {
    let running = c.run_call(&c.config().payload(&["wait"]))?.spawn()?;
    running.wait_output("ready")?;
    c.runtime(&["kill", &c.token, "KILL"])?.ok()?;
    running.finish()?.code_is(137)?;
    Ok(())
}

/// The exit code of a detached container is there for its parent.
fn exit_code_detached(c: &Case) -> Outcome {
    let container = c.create_container(&c.config().payload(&["exit", "42"]))?;
    let pid = container.pid()?;
    container.start()?;
    check_eq!(container.wait_exit(pid)?, 42, "exit code of the process");
    container.wait_status("stopped")?;
    container.delete()
}

/// `run --detach` returns while the container runs.
fn run_detached(c: &Case) -> Outcome {
    let config = c.config().payload(&["wait"]);
    let container = Container::made_by(c, &c.token, &c.bundle, &config, &["run", "--detach"])?;
    container.check_status("running")?;
    container.wait_output("ready")?;
    container.stop()?;
    container.delete()
}

/// `run` in the foreground leaves nothing, the state neither.
fn run_cleans_up(c: &Case) -> Outcome {
    c.run(&c.config().payload(&["exit", "3"]))?.code_is(3)?;
    c.nothing_left()
}

/// `run --keep` keeps the stopped container.
fn run_keep(c: &Case) -> Outcome {
    c.bundle.configure(&c.config())?;
    c.remember(&c.token);
    let bundle = c.bundle.dir.display().to_string();
    c.runtime(&["run", "--keep", "--bundle", &bundle, &c.token])?.ok()?;
    check_eq!(c.state_of(&c.token)?["status"], "stopped", "status");
    c.runtime(&["delete", &c.token])?.ok()?;
    c.nothing_left()
}

/// `--pid-file` holds the pid that the state shows, without a line end.
fn pid_file(c: &Case) -> Outcome {
    let file = c.dir.join("pid").display().to_string();
    let config = c.config().payload(&["wait"]);
    for command in [&["create", "--pid-file", &file][..], &["run", "-d", "--pid-file", &file]] {
        let container = Container::made_by(c, &c.token, &c.bundle, &config, command)?;
        check_eq!(fs::read_to_string(&file)?, container.pid()?.to_string(), "pid file");
        container.delete_force()?;
    }
    Ok(())
}

/// The bundle is the current directory unless given, and may be given relative to it.
fn bundle_paths(c: &Case) -> Outcome {
    c.bundle.configure(&c.config().payload(&["wait"]))?;
    c.remember(&c.token);
    let expected = c.bundle.dir.display().to_string();
    let above = c.dir.clone();
    let calls = [
        (c.call(&["create", &c.token]), c.bundle.dir.clone()),
        (c.call(&["create", "--bundle", "b", &c.token]), above.clone()),
        (c.call(&["create", "-b", "./b", &c.token]), above),
    ];
    for (call, dir) in calls {
        let done = call.current_dir(&dir).go()?.ok()?;
        let container = Container::adopt(c, &c.token, &done);
        let bundle = container.state()?["bundle"].as_str().unwrap_or("").to_owned();
        check_eq!(fs::canonicalize(&bundle)?.display().to_string(), expected, "bundle in state");
        check!(bundle.starts_with('/'), "bundle in state: {bundle}");
        container.delete_force()?;
    }
    Ok(())
}

/// `list` shows every container: as a table, as JSON, as ids.
fn list(c: &Case) -> Outcome {
    let first = c.start_waiting(&c.config())?;
    let bundle = c.new_bundle("b2")?;
    let id = format!("{}-2", c.token);
    let second = Container::create(c, &id, &bundle, &c.config_for(&id).payload(&["wait"]))?;
    let table = c.runtime(&["list"])?.ok()?.out;
    let heading = table.lines().next().unwrap_or("");
    for column in ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"] {
        check!(heading.contains(column), "no column {column}: {heading}");
    }
    check!(table.lines().count() == 3, "the table is not of three lines:\n{table}");
    let done = c.runtime(&["list", "--format", "json"])?.ok()?;
    let all: Value = serde_json::from_str(&done.out)?;
    let all = all.as_array().ok_or_else(|| Stop::Fail(format!("not a list: {}", done.out)))?;
    for (id, status) in [(&c.token, "running"), (&id, "created")] {
        let one = all.iter().find(|v| v["id"] == id.as_str());
        let one = one.ok_or_else(|| Stop::Fail(format!("{id} is not listed: {}", done.out)))?;
        check_eq!(one["status"], status, "status of {id}");
        check!(one["pid"].as_i64().is_some_and(|p| p > 0), "pid of {id}: {one}");
        check!(one["bundle"].as_str().is_some_and(|b| b.starts_with('/')), "bundle: {one}");
    }
    let mut ids: Vec<String> =
        c.runtime(&["list", "-q"])?.ok()?.out.lines().map(str::to_owned).collect();
    ids.sort();
    check_eq!(ids, [c.token.clone(), id], "ids");
    first.delete_force()?;
    second.delete_force()
}

/// `list` of nothing is nothing.
fn list_empty(c: &Case) -> Outcome {
    check_eq!(c.runtime(&["list", "-q"])?.ok()?.out.trim(), "", "ids");
    let out = c.runtime(&["list", "--format", "json"])?.ok()?.out;
    let json: Value = serde_json::from_str(&out)?;
    check!(json.is_null() || json == json!([]), "JSON: {out}");
    Ok(())
}

/// A container that exits at once is never missed by `run`.
fn exits_at_once(c: &Case) -> Outcome {
    exit_at_once_times(c, if c.stress { 10_000 } else { 25 })
}

fn exit_at_once_times(c: &Case, times: u32) -> Outcome {
    let mut program = Program::new(Machine::X86_64);
    program.exit(7);
    c.bundle.program("now", &program)?;
    let config = c.config().args(&["/bin/now"]);
    for round in 0..times {
        let done = c.run(&config)?;
        check!(done.code == 7, "round {round}: exit code {}, {}", done.code, done.err);
    }
    Ok(())
}

/// The same while both processors are busy.
fn exits_at_once_under_load(c: &Case) -> Outcome {
    let processors = std::thread::available_parallelism().map_or(2, usize::from);
    let milliseconds = if c.stress { "600000" } else { "8000" };
    let mut burners = Vec::new();
    for _ in 0..processors * 2 {
        burners.push(c.other(&c.payload().display().to_string(), &["burn", milliseconds]).spawn()?);
    }
    let result = exit_at_once_times(c, if c.stress { 1000 } else { 10 });
    for burner in burners {
        burner.kill()?;
    }
    result
}

/// `start` of a program that exits at once returns, and the container is stopped.
fn exits_at_once_after_start(c: &Case) -> Outcome {
    for _ in 0..if c.stress { 500 } else { 10 } {
        let container = c.create_container(&c.config().payload(&["exit", "5"]))?;
        let pid = container.pid()?;
        container.start()?;
        check_eq!(container.wait_exit(pid)?, 5, "exit code");
        container.check_status("stopped")?;
        container.delete()?;
    }
    Ok(())
}

/// A first process that nobody has waited for yet counts as stopped.
fn zombie_is_stopped(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    let pid = container.pid()?;
    let hold = c.children.hold();
    container.kill("KILL")?;
    c.wait_until("the first process is a zombie", || {
        Ok(fs::read_to_string(format!("/proc/{pid}/stat"))?.contains(") Z "))
    })?;
    container.check_status("stopped")?;
    container.delete()?;
    drop(hold);
    c.nothing_left()
}

/// Containers do not disturb each other when many start at the same time.
fn many_at_once(c: &Case) -> Outcome {
    let count = if c.stress { 50 } else { 8 };
    let mut running = Vec::new();
    for index in 0..count {
        let bundle = c.new_bundle(&format!("m{index}"))?;
        let id = format!("{}-{index}", c.token);
        bundle.configure(&c.config_for(&id).payload(&["echo", &id]))?;
        c.remember(&id);
        let dir = bundle.dir.display().to_string();
        running.push((id.clone(), c.call(&["run", "--bundle", &dir, &id]).limit(30).spawn()?));
    }
    for (id, one) in running {
        check_eq!(one.finish()?.ok()?.out.trim(), id, "output");
    }
    c.nothing_left()
}

/// The container goes on when its creator is long gone, in a session of its own or not.
fn outlives_its_creator(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    let pid = container.pid()?;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let parent = stat.rsplit_once(") ").and_then(|(_, r)| r.split(' ').nth(1).map(str::to_owned));
    check_eq!(parent.as_deref(), Some("1"), "parent of the container's process");
    container.stop()?;
    container.delete()
}

/// A machine-code no-op, to show that a container needs nothing but its program.
fn empty_root(c: &Case) -> Outcome {
    let bundle = c.dir.join("tiny");
    fs::create_dir_all(bundle.join("rootfs"))?;
    let mut program = Program::new(Machine::X86_64);
    let text = program.data(b"hello\n\0\0");
    program.call(1, &[1.into(), text, Arg::Value(6)]);
    program.exit(0);
    let path = bundle.join("rootfs/init");
    fs::write(&path, program.build())?;
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let config = c.config().args(&["/init"]);
    fs::write(bundle.join("config.json"), config.value().to_string())?;
    let done = c.runtime(&["run", "--bundle", &bundle.display().to_string(), &c.token])?.ok()?;
    check_eq!(done.out, "hello\n", "output");
    c.nothing_left()
}

/// A container is written to disk, is gone with that, and comes back under its name, where CRIU works.
fn checkpoint_and_restore(c: &Case) -> Outcome {
    match c.program("criu", &["check"]) {
        Ok(done) if done.code == 0 => {}
        Ok(done) => skip!("CRIU does not work here: {}{}", done.out.trim(), done.err.trim()),
        Err(_) => skip!("CRIU is not installed"),
    }
    // CRIU takes back a file that has grown only if it was opened to be appended to.
    let log = c.dir.join("log").display().to_string();
    let logged = ["sh", "-c", "exec \"$@\" </dev/null >>\"$0\" 2>&1", &log];
    c.wrap(&logged);
    let container = c.create_container(&c.config().payload(&["wait"]))?;
    c.wrap(&[]);
    container.start()?;
    let said = || Ok(fs::read_to_string(&log)?.contains("ready"));
    c.wait_until("the container is ready", said)?;
    let images = c.dir.join("images").display().to_string();
    let work = c.dir.join("work").display().to_string();
    let paths = ["--image-path", images.as_str(), "--work-path", work.as_str()];
    c.runtime(&[&["checkpoint"], &paths[..], &[c.token.as_str()]].concat())?.ok()?;
    container.call(&["state"])?.fails_naming(&[c.token.as_str(), "not exist"])?;
    let bundle = c.bundle.dir.display().to_string();
    let restore = [&["restore", "-d", "--bundle", &bundle], &paths[..], &[c.token.as_str()]];
    c.wrap(&logged);
    let restored = c.runtime(&restore.concat())?;
    c.wrap(&[]);
    let said = fs::read_to_string(&log)?;
    check!(restored.code == 0, "restore exited with {}: {said}", restored.code);
    container.check_status("running")?;
    container.exec(&[], &["/bin/payload", "exit", "0"])?.ok()?;
    container.delete_force()
}

scenarios![
    all_states,
    state_shape,
    create_does_not_run,
    config_is_read_once,
    start_running,
    start_stopped,
    unknown_container,
    delete_force_unknown,
    delete_running,
    delete_force_running,
    delete_force_created,
    delete_force_ends_orphans,
    orphans_end_with_the_container,
    duplicate_id,
    id_is_free_again,
    invalid_ids,
    odd_id,
    exit_codes(30, 300),
    exit_by_signal,
    exit_when_killed,
    exit_code_detached,
    run_detached,
    run_cleans_up,
    run_keep,
    pid_file,
    bundle_paths,
    list,
    list_empty,
    exits_at_once(60, 3600),
    exits_at_once_under_load(60, 1800),
    exits_at_once_after_start(60, 600),
    zombie_is_stopped,
    many_at_once(60, 300),
    outlives_its_creator,
    empty_root,
    checkpoint_and_restore(60, 60),
];
