//! Bad input: one line that names the object, exit code 1, and nothing left behind.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use super::scenarios;
use crate::contest::{Case, Config, Outcome, check, check_eq};

/// `create` and `run` both fail with exit code 1, name the words, and leave nothing.
fn refused(c: &Case, config: &Config, words: &[&str]) -> Outcome {
    c.bundle.configure(config)?;
    refused_bundle(c, words)
}

fn refused_bundle(c: &Case, words: &[&str]) -> Outcome {
    let bundle = c.bundle.dir.display().to_string();
    for command in ["create", "run"] {
        let done = c.runtime(&[command, "--bundle", &bundle, &c.token])?;
        done.fails_naming(words)?.code_is(1)?;
        c.nothing_left()?;
    }
    Ok(())
}

/// A `config.json` that is no JSON.
fn invalid_json(c: &Case) -> Outcome {
    fs::write(c.bundle.dir.join("config.json"), "{ \"ociVersion\": ")?;
    refused_bundle(c, &[])
}

/// A `config.json` that is empty.
fn empty_config(c: &Case) -> Outcome {
    fs::write(c.bundle.dir.join("config.json"), "")?;
    refused_bundle(c, &[])
}

/// A member of the wrong type is named.
fn wrong_type(c: &Case) -> Outcome {
    refused(c, &c.config().set("/process/args", "not a list"), &["args"])
}

/// A number where none can be.
fn wrong_number(c: &Case) -> Outcome {
    refused(c, &c.config().set("/process/user/uid", -5), &["uid"])
}

/// A bundle without `config.json`.
fn no_config(c: &Case) -> Outcome {
    refused_bundle(c, &["config.json"])
}

/// A bundle that is not there.
fn no_bundle(c: &Case) -> Outcome {
    let done = c.runtime(&["run", "--bundle", "/no/such/bundle", &c.token])?;
    done.fails_naming(&["/no/such/bundle"])?.code_is(1)?;
    c.nothing_left()
}

/// A root file system that is not there.
fn no_rootfs(c: &Case) -> Outcome {
    refused(c, &c.config().set("/root/path", "nowhere"), &["nowhere"])
}

/// A root file system that is a file.
fn rootfs_is_a_file(c: &Case) -> Outcome {
    fs::write(c.bundle.dir.join("plain"), "")?;
    refused(c, &c.config().set("/root/path", "plain"), &["plain"])
}

/// No root at all.
fn no_root(c: &Case) -> Outcome {
    refused(c, &c.config().remove("/root"), &["root"])
}

/// No process: nothing to run.
fn no_process(c: &Case) -> Outcome {
    c.bundle.configure(&c.config().remove("/process"))?;
    let done = c.runtime(&["run", "--bundle", &c.bundle.dir.display().to_string(), &c.token])?;
    done.fails_naming(&["process"])?;
    c.nothing_left()
}

/// Members that nobody knows are no error.
fn unknown_members(c: &Case) -> Outcome {
    let config = c
        .config()
        .set("/futureThing", json!({ "a": [1, 2, 3] }))
        .set("/linux/futureThing", "x")
        .set("/process/futureThing", Value::Null);
    c.report(&config)?;
    Ok(())
}

/// A program that is not there.
fn program_missing(c: &Case) -> Outcome {
    refused(c, &c.config().args(&["/bin/no-such-program"]), &["no-such-program"])?;
    refused(c, &c.config().args(&["no-such-program"]), &["no-such-program"])
}

/// A program that is not executable.
fn program_not_executable(c: &Case) -> Outcome {
    refused(c, &c.config().args(&["/etc/passwd"]), &["/etc/passwd", "permission"])
}

/// A directory as program.
fn program_is_a_directory(c: &Case) -> Outcome {
    refused(c, &c.config().args(&["/etc"]), &["/etc", "permission|directory"])
}

/// A script whose interpreter is not there fails when it is executed.
fn script_without_interpreter(c: &Case) -> Outcome {
    c.bundle.executable("bin/script", b"#!/no/such/interpreter\n")?;
    let done = c.run(&c.config().args(&["/bin/script"]))?;
    done.code_is(1)?.fails_naming(&["/bin/script|exec", "no such file"])?;
    c.nothing_left()
}

/// A file that is no program fails when it is executed.
fn not_a_program(c: &Case) -> Outcome {
    c.bundle.executable("bin/garbage", b"\x7fnothing")?;
    let done = c.run(&c.config().args(&["/bin/garbage"]))?;
    done.code_is(1)?.fails_naming(&["/bin/garbage|exec", "exec format"])?;
    c.nothing_left()
}

/// A user without the right to reach the program.
fn program_out_of_reach(c: &Case) -> Outcome {
    let path = c.bundle.rootfs.join("bin");
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    let user = json!({ "uid": 1000, "gid": 1000 });
    let done = c.run(&c.config().caps(&[]).set("/process/user", user))?;
    done.fails_naming(&["/bin/payload", "permission"])?;
    c.nothing_left()
}

/// A mount whose source is not there.
fn mount_source_missing(c: &Case) -> Outcome {
    let config = c.config().mount("bind", "/no/such/source", "/mnt", &["bind"]);
    refused(c, &config, &["/no/such/source"])
}

/// A file system that the kernel does not know.
fn mount_type_unknown(c: &Case) -> Outcome {
    let config = c.config().mount("nonsensefs", "none", "/mnt", &[]);
    refused(c, &config, &["mnt", "no such device|unknown"])
}

/// An option that the file system does not know.
fn mount_option_unknown(c: &Case) -> Outcome {
    let config = c.config().mount("tmpfs", "tmpfs", "/mnt", &["nonsense=1"]);
    refused(c, &config, &["mnt", "invalid argument|nonsense"])
}

/// A late failure undoes what came before: mounts, cgroup, processes.
fn late_failure(c: &Case) -> Outcome {
    let config = c
        .config()
        .set("/linux/resources/pids/limit", 20)
        .mount("tmpfs", "tmpfs", "/a", &[])
        .mount("tmpfs", "tmpfs", "/a/b", &[])
        .mount("bind", "/no/such/source", "/a/b/c", &["bind"]);
    refused(c, &config, &["/no/such/source"])
}

/// A device that cannot be what it says.
fn device_type_unknown(c: &Case) -> Outcome {
    let device = json!({ "path": "/dev/odd", "type": "q", "major": 1, "minor": 3 });
    refused(c, &c.config().push("/linux/devices", device), &[])
}

/// A pid file that cannot be written stops the start.
fn pid_file_unwritable(c: &Case) -> Outcome {
    c.bundle.configure(&c.config().payload(&["wait"]))?;
    let bundle = c.bundle.dir.display().to_string();
    c.remember(&c.token);
    let path = "/no/such/directory/pid";
    let done = c.runtime(&["run", "-d", "--pid-file", path, "--bundle", &bundle, &c.token])?;
    done.fails_naming(&["/no/such/directory"])?;
    c.nothing_left()
}

/// A terminal without a console socket cannot be had by a detached container.
fn terminal_without_socket(c: &Case) -> Outcome {
    c.bundle.configure(&c.config().set("/process/terminal", true))?;
    let bundle = c.bundle.dir.display().to_string();
    let done = c.runtime(&["create", "--bundle", &bundle, &c.token])?;
    done.fails_naming(&["console|terminal"])?;
    c.nothing_left()
}

/// A console socket that nobody listens at.
fn console_socket_missing(c: &Case) -> Outcome {
    c.bundle.configure(&c.config().set("/process/terminal", true))?;
    let bundle = c.bundle.dir.display().to_string();
    let socket = c.dir.join("nobody.sock").display().to_string();
    let done =
        c.runtime(&["create", "--console-socket", &socket, "--bundle", &bundle, &c.token])?;
    done.fails_naming(&["nobody.sock|console"])?;
    c.nothing_left()
}

/// A specification of another time is refused.
fn version_unknown(c: &Case) -> Outcome {
    refused(c, &c.config().set("/ociVersion", "9.0.0"), &["9.0.0|version"])
}

/// With `--log` and `--log-format json` the error is one JSON object in the file.
fn log_file(c: &Case) -> Outcome {
    c.bundle.configure(&c.config().args(&["/bin/no-such-program"]))?;
    let log = c.dir.join("log.json");
    let bundle = c.bundle.dir.display().to_string();
    let done = c.runtime(&[
        "--log",
        &log.display().to_string(),
        "--log-format",
        "json",
        "run",
        "--bundle",
        &bundle,
        &c.token,
    ])?;
    check_eq!(done.code, 1, "exit code");
    let text = fs::read_to_string(&log)?;
    let mut found = false;
    for line in text.lines() {
        let entry: Value = serde_json::from_str(line)?;
        found |= entry["level"] == "error"
            && entry["msg"].as_str().is_some_and(|m| m.contains("no-such-program"));
        check!(entry["time"].is_string(), "an entry without a time: {line}");
    }
    check!(found, "no error that names the program: {text}");
    c.nothing_left()
}

/// A command nobody knows, and options nobody knows.
fn bad_command_line(c: &Case) -> Outcome {
    for args in [&["frobnicate"][..], &["run", "--frobnicate", "x"], &["create"], &["kill"]] {
        let done = c.runtime(args)?;
        check!(done.code != 0, "`{}` succeeded", args.join(" "));
    }
    c.nothing_left()
}

/// A state root that cannot be made.
fn state_root_unusable(c: &Case) -> Outcome {
    c.bundle.configure(&c.config())?;
    let file = c.dir.join("file");
    fs::write(&file, "")?;
    let bundle = c.bundle.dir.display().to_string();
    let mut args: Vec<String> = c.runtime.args.clone();
    args.extend(["--root".into(), file.join("state").display().to_string()]);
    args.extend(["run".into(), "--bundle".into(), bundle, c.token.clone()]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = c.program(&c.runtime.path.display().to_string(), &args)?;
    check!(done.code != 0, "it succeeded");
    c.nothing_left()
}

scenarios![
    invalid_json,
    empty_config,
    wrong_type,
    wrong_number,
    no_config,
    no_bundle,
    no_rootfs,
    rootfs_is_a_file,
    no_root,
    no_process,
    unknown_members,
    program_missing,
    program_not_executable,
    program_is_a_directory,
    program_out_of_reach,
    script_without_interpreter,
    not_a_program,
    mount_source_missing,
    mount_type_unknown,
    mount_option_unknown,
    late_failure,
    device_type_unknown,
    pid_file_unwritable,
    terminal_without_socket,
    console_socket_missing,
    version_unknown,
    log_file,
    bad_command_line,
    state_root_unusable,
];
