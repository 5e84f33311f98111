//! The command line that engines speak: forms, orders and synonyms of options.

use std::fs;

use super::scenarios;
use crate::contest::{Case, Container, Outcome, check, check_eq};

/// Values follow their option after a blank or an equals sign.
fn option_values(c: &Case) -> Outcome {
    c.bundle.configure(&c.config().payload(&["wait"]))?;
    c.remember(&c.token);
    let bundle = format!("--bundle={}", c.bundle.dir.display());
    let file = c.dir.join("pid");
    let pid_file = format!("--pid-file={}", file.display());
    let done = c.runtime(&["create", &bundle, &pid_file, &c.token])?.ok()?;
    let container = Container::adopt(c, &c.token, &done);
    check_eq!(fs::read_to_string(&file)?, container.pid()?.to_string(), "pid file");
    container.delete_force()
}

/// Short options.
fn short_options(c: &Case) -> Outcome {
    c.bundle.configure(&c.config().payload(&["wait"]))?;
    c.remember(&c.token);
    let bundle = c.bundle.dir.display().to_string();
    let done = c.runtime(&["run", "-d", "-b", &bundle, &c.token])?.ok()?;
    let container = Container::adopt(c, &c.token, &done);
    container.check_status("running")?;
    container.exec(&["-e", "A=1", "-u", "0"], &["/bin/payload", "exit", "0"])?.ok()?;
    check_eq!(c.runtime(&["list", "-q"])?.ok()?.out.trim(), c.token, "ids");
    check!(c.runtime(&["list", "-f", "json"])?.ok()?.out.contains(&c.token), "list -f json");
    c.runtime(&["delete", "-f", &c.token])?.ok()?;
    c.nothing_left()
}

/// Options may follow the container's id where no program does.
fn options_after_the_id(c: &Case) -> Outcome {
    c.bundle.configure(&c.config().payload(&["wait"]))?;
    c.remember(&c.token);
    let bundle = c.bundle.dir.display().to_string();
    c.runtime(&["create", &c.token, "--bundle", &bundle])?.ok()?;
    c.runtime(&["start", &c.token])?.ok()?;
    c.runtime(&["update", &c.token, "--pids-limit", "33"])?.ok()?;
    c.runtime(&["delete", &c.token, "--force"])?.ok()?;
    c.nothing_left()
}

/// `kill` takes `--all` after the id and the signal, too.
fn kill_all_anywhere(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    c.runtime(&["kill", &c.token, "KILL", "--all"])?.ok()?;
    container.wait_status("stopped")?;
    container.delete()
}

/// `--` ends the options of `exec`.
fn double_dash(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    let done = c.runtime(&["exec", "--", &c.token, "/bin/payload", "exit", "4"])?;
    done.code_is(4)?;
    container.delete_force()
}

/// The same state root by another spelling; an unset one is made.
fn state_root(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    let root = format!("--root={}/../s/", c.root.display());
    let mut args: Vec<&str> = c.runtime.args.iter().map(String::as_str).collect();
    args.extend([root.as_str(), "state", &c.token]);
    let program = c.runtime.path.display().to_string();
    check!(c.program(&program, &args)?.ok()?.out.contains("running"), "not found by {root}");
    container.delete_force()?;
    let fresh = c.dir.join("not/yet/there");
    let root = format!("--root={}", fresh.display());
    let bundle = c.bundle.dir.display().to_string();
    c.bundle.configure(&c.config().payload(&["exit", "0"]))?;
    let mut args: Vec<&str> = c.runtime.args.iter().map(String::as_str).collect();
    args.extend([root.as_str(), "run", "--bundle", &bundle, &c.token]);
    c.program(&program, &args)?.ok()?;
    Ok(())
}

/// Containers in different state roots may have the same id, if their cgroups differ.
fn state_roots_are_apart(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    let root = c.dir.join("other").display().to_string();
    let mut args: Vec<&str> = c.runtime.args.iter().map(String::as_str).collect();
    args.extend(["--root", root.as_str(), "state", &c.token]);
    let program = c.runtime.path.display().to_string();
    check!(c.program(&program, &args)?.code != 0, "found in another state root");
    container.delete_force()
}

/// Global options that engines pass are known.
fn global_options(c: &Case) -> Outcome {
    let log = c.dir.join("log").display().to_string();
    for options in [
        &["--debug"][..],
        &["--log", &log],
        &["--log", &log, "--log-format", "json"],
        &["--log", &log, "--log-format", "text"],
        &["--log-format=json"],
    ] {
        c.runtime(&[options, &["list"]].concat())?.ok()?;
    }
    Ok(())
}

/// crun's way to choose the cgroup manager.
fn cgroup_manager(c: &Case) -> Outcome {
    c.bundle.configure(&c.config().payload(&["exit", "0"]))?;
    c.remember(&c.token);
    let bundle = c.bundle.dir.display().to_string();
    let options = ["--cgroup-manager", "cgroupfs", "run", "--bundle", &bundle, &c.token];
    c.runtime(&options)?.ok()?;
    c.runtime(&["--cgroup-manager=sundial", "run", "--bundle", &bundle, &c.token])?
        .fails_naming(&["sundial|cgroup manager"])?;
    c.nothing_left()
}

/// runc's global options of old are taken and change nothing.
fn rootless_option(c: &Case) -> Outcome {
    for value in ["auto", "false"] {
        c.runtime(&["--rootless", value, "list"])?.ok()?;
    }
    Ok(())
}

/// Commands tell what is missing.
fn missing_arguments(c: &Case) -> Outcome {
    for command in ["create", "run", "start", "state", "kill", "delete", "exec", "pause", "update"]
    {
        check!(c.runtime(&[command])?.code != 0, "`{command}` without an id succeeded");
    }
    let container = c.start_waiting(&c.config())?;
    check!(c.runtime(&["exec", &c.token])?.code != 0, "`exec` without a program succeeded");
    container.delete_force()
}

/// Too many arguments are refused, and nothing is done.
fn surplus_arguments(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    check!(c.runtime(&["pause", &c.token, "surplus"])?.code != 0, "`pause` took two ids");
    container.check_status("running")?;
    container.delete_force()
}

/// An error goes to standard error, results to standard output.
fn streams(c: &Case) -> Outcome {
    let done = c.runtime(&["state", "nobody-here"])?;
    check_eq!(done.out, "", "standard output of an error");
    check!(!done.err.is_empty(), "nothing on standard error");
    let container = c.start_waiting(&c.config())?;
    let done = c.runtime(&["state", &c.token])?.ok()?;
    check_eq!(done.err, "", "standard error of a success");
    for command in ["start", "pause", "resume"] {
        let done = c.runtime(&[command, &c.token])?;
        check_eq!(done.out, "", "standard output of {command}");
    }
    container.delete_force()
}

scenarios![
    option_values,
    short_options,
    options_after_the_id,
    kill_all_anywhere,
    double_dash,
    state_root,
    state_roots_are_apart,
    global_options,
    cgroup_manager,
    rootless_option,
    missing_arguments,
    surplus_arguments,
    streams,
];
