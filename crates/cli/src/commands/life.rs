//! `stop`, `restart`, `kill`, `pause`, `unpause`, `rm`, `wait`, `rename`, `update`, `port`, `top`: one
//! request for each container named.

use std::fmt::Write;
use std::time::{Duration, Instant};

use dhow_wire::Update;

use super::attached::RETURN_MAX;
use super::exec::document;
use crate::args::{Flag, Matches, bytes_or_unlimited, cpus, uint16};
use crate::cli::Cli;
use crate::client::{escape, query};
use crate::create;
use crate::failure::Failure;
use crate::format::align_with;
use crate::json::Json;
use crate::tree::{Command, Words};

const MANY: &str = "[OPTIONS] CONTAINER [CONTAINER...]";

const STOPPING: &[Flag] = &[
    Flag::text("signal", "Signal to send to the container").short('s'),
    Flag::int("time", "").stands_for("timeout"),
    Flag::int("timeout", "Seconds to wait before killing the container").short('t'),
];

pub(super) const STOP: Command = Command {
    names: &["container stop", "stop"],
    usage: MANY,
    about: "Stop one or more running containers",
    flags: &[STOPPING],
    words: Words::AtLeast(1),
    stops: false,
    run: |cli, matches| stopping(cli, matches, "stop"),
};

pub(super) const RESTART: Command = Command {
    names: &["container restart", "restart"],
    usage: MANY,
    about: "Restart one or more containers",
    flags: &[STOPPING],
    words: Words::AtLeast(1),
    stops: false,
    run: |cli, matches| stopping(cli, matches, "restart"),
};

pub(super) const KILL: Command = Command {
    names: &["container kill", "kill"],
    usage: MANY,
    about: "Kill one or more running containers",
    flags: &[&[Flag::text("signal", "Signal to send to the container").short('s')]],
    words: Words::AtLeast(1),
    stops: false,
    run: |cli, matches| {
        let signal = matches.some("signal").map(|signal| ("signal", signal.to_owned()));
        post(cli, matches, "kill", &query(signal))
    },
};

pub(super) const PAUSE: Command = Command {
    names: &["container pause", "pause"],
    usage: "CONTAINER [CONTAINER...]",
    about: "Pause all processes within one or more containers",
    flags: &[],
    words: Words::AtLeast(1),
    stops: false,
    run: |cli, matches| post(cli, matches, "pause", ""),
};

pub(super) const UNPAUSE: Command = Command {
    names: &["container unpause", "unpause"],
    usage: "CONTAINER [CONTAINER...]",
    about: "Unpause all processes within one or more containers",
    flags: &[],
    words: Words::AtLeast(1),
    stops: false,
    run: |cli, matches| post(cli, matches, "unpause", ""),
};

pub(super) const REMOVE: Command = Command {
    names: &["container rm", "container remove", "rm"],
    usage: MANY,
    about: "Remove one or more containers",
    flags: &[&[
        Flag::switch("force", "Kill the container if it runs").short('f'),
        Flag::switch("link", "Remove the link of that name").short('l'),
        Flag::switch("volumes", "Remove its anonymous volumes as well").short('v'),
    ]],
    words: Words::AtLeast(1),
    stops: false,
    run: remove,
};

pub(super) const WAIT: Command = Command {
    names: &["container wait", "wait"],
    usage: "CONTAINER [CONTAINER...]",
    about: "Block until one or more containers stop, then print their exit codes",
    flags: &[],
    words: Words::AtLeast(1),
    stops: false,
    run: |cli, matches| {
        cli.each(&matches.words, |name| {
            let answer = ended(cli, name)?;
            let message = answer.get("Error").text("Message");
            if !message.is_empty() {
                return Err(Failure::Invalid(message.to_owned()));
            }
            cli.say(&answer.int("StatusCode").to_string())
        })
    },
};

/// How a container ended, once it has. An engine that goes away meanwhile is waited for.
fn ended(cli: &Cli, name: &str) -> Result<Json, Failure> {
    let mut lost: Option<Instant> = None;
    loop {
        match cli.client()?.post(format!("/containers/{}/wait", escape(name))) {
            Err(Failure::Lost { .. }) => lost = Some(Instant::now()),
            Err(Failure::Unreachable { .. })
                if lost.is_some_and(|since| since.elapsed() <= RETURN_MAX) => {}
            answer => return answer,
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

pub(super) const RENAME: Command = Command {
    names: &["container rename", "rename"],
    usage: "CONTAINER NEW_NAME",
    about: "Rename a container",
    flags: &[],
    words: Words::Exactly(2),
    stops: false,
    run: |cli, matches| {
        let (old, new) = (matches.words[0].trim(), matches.words[1].trim());
        if old.is_empty() || new.is_empty() {
            return Err(Failure::invalid("Error: Neither old nor new names may be empty"));
        }
        let name = query([("name", new.to_owned())]);
        let renamed = cli.client()?.post(format!("/containers/{}/rename{name}", escape(old)));
        renamed.map(|_| 0).map_err(|error| Failure::Stream {
            message: format!("{error}\nError: failed to rename container named {old}"),
            code: 1,
        })
    },
};

pub(super) const UPDATE: Command = Command {
    names: &["container update", "update"],
    usage: MANY,
    about: "Update configuration of one or more containers",
    flags: &[&[
        Flag::int("blkio-weight", "Share of block I/O, 10 to 1000, or 0 for none")
            .of("uint16", uint16),
        Flag::int("cpu-period", "Period of the CPU quota, in microseconds"),
        Flag::int("cpu-quota", "CPU time in each period, in microseconds"),
        Flag::int("cpu-rt-period", "Period of real-time scheduling, in microseconds"),
        Flag::int("cpu-rt-runtime", "Real-time CPU time in each period, in microseconds"),
        Flag::int("cpu-shares", "CPU share relative to other containers").short('c'),
        Flag::text("cpus", "Number of CPUs").of("decimal", cpus),
        Flag::text("cpuset-cpus", "CPUs to run on (0-3, 0,1)"),
        Flag::text("cpuset-mems", "Memory nodes to use (0-3, 0,1)"),
        Flag::bytes("kernel-memory", "Limit of kernel memory").hidden(),
        Flag::bytes("memory", "Limit of memory").short('m'),
        Flag::bytes("memory-reservation", "Memory that is left to it under pressure"),
        Flag::text("memory-swap", "Limit of memory and swap together, -1 for none")
            .of("bytes", bytes_or_unlimited),
        Flag::int("pids-limit", "Number of processes, -1 for any"),
        Flag::list("publish-add", "Publish one more port, while it runs as well"),
        Flag::list("publish-rm", "Publish a port no more (80/tcp, 8080:80)"),
        Flag::text("restart", "When to start it again after it ends"),
    ]],
    words: Words::AtLeast(1),
    stops: false,
    run: update,
};

pub(super) const PORT: Command = Command {
    names: &["container port", "port"],
    usage: "CONTAINER [PRIVATE_PORT[/PROTO]]",
    about: "List port mappings or a specific mapping for the container",
    flags: &[],
    words: Words::AtLeast(1),
    stops: false,
    run: port,
};

pub(super) const TOP: Command = Command {
    names: &["container top", "top"],
    usage: "CONTAINER [ps OPTIONS]",
    about: "Display the running processes of a container",
    flags: &[],
    words: Words::AtLeast(1),
    stops: true,
    run: top,
};

/// The same request for each container; its name is printed when it is done.
fn post(cli: &Cli, matches: &Matches, action: &str, query: &str) -> Result<u8, Failure> {
    cli.each(&matches.words, |name| {
        cli.client()?.post(format!("/containers/{}/{action}{query}", escape(name)))?;
        cli.say(name)
    })
}

fn stopping(cli: &Cli, matches: &Matches, action: &str) -> Result<u8, Failure> {
    let mut pairs = Vec::new();
    if let Some(signal) = matches.some("signal") {
        pairs.push(("signal", signal.to_owned()));
    }
    if matches.changed("timeout") {
        pairs.push(("t", matches.int("timeout").to_string()));
    }
    post(cli, matches, action, &query(pairs))
}

fn remove(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let flags = [("force", "force"), ("link", "link"), ("v", "volumes")];
    let given = flags.into_iter().filter(|(_, flag)| matches.on(flag));
    let query = query(given.map(|(key, _)| (key, "1".to_owned())));
    cli.each(&matches.words, |name| {
        let name = name.trim_matches('/');
        if name.is_empty() {
            return Err(Failure::invalid("container name cannot be empty"));
        }
        match cli.client()?.delete(format!("/containers/{}{query}", escape(name))) {
            // What is not there any more is what was wanted.
            Err(error) if error.is_not_found() && matches.on("force") => {
                cli.warn(&error.to_string());
                Ok(())
            }
            result => result.and_then(|_| cli.say(name)),
        }
    })
}

fn update(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    if matches.changed("kernel-memory") {
        return Err(Failure::NotBuilt { what: "--kernel-memory".to_owned() });
    }
    if !UPDATE.flags.iter().copied().flatten().any(|flag| matches.changed(flag.long)) {
        let text = "you must provide one or more flags when using this command";
        return Err(Failure::Invalid(text.to_owned()));
    }
    let restart_policy =
        create::restart_policy(matches.text("restart")).map_err(Failure::Invalid)?;
    let mut resources = create::common_resources(matches);
    resources.pids_limit = matches.changed("pids-limit").then(|| matches.int("pids-limit"));
    let publish_add = create::published(&matches.list("publish-add")).map_err(Failure::Invalid)?;
    let publish_remove =
        create::published(&matches.list("publish-rm")).map_err(Failure::Invalid)?;
    let body = document(&Update { resources, restart_policy, publish_add, publish_remove })?;
    let mut warnings = Vec::new();
    let code = cli.each(&matches.words, |name| {
        let answer =
            cli.client()?.post_json(format!("/containers/{}/update", escape(name)), &body)?;
        warnings.extend(answer.texts("Warnings").into_iter().map(str::to_owned));
        cli.say(name)
    })?;
    for warning in warnings {
        cli.say(&warning)?;
    }
    Ok(code)
}

fn port(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    if matches.words.len() > 2 {
        let text = format!("{}: '{} port' requires at most 2 arguments", cli.program, cli.program);
        return Err(Failure::Usage { text, code: 1 });
    }
    let name = &matches.words[0];
    let container = cli.client()?.get(format!("/containers/{}/json", escape(name)))?;
    let ports = container.get("NetworkSettings").get("Ports");
    let place = |binding: &Json| {
        let ip = binding.text("HostIp");
        let open = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
        format!("{open}:{}", binding.text("HostPort"))
    };
    let mut lines = Vec::new();
    match matches.words.get(1) {
        None => {
            for (key, bindings) in ports.fields() {
                let places = bindings.items().iter();
                lines.extend(places.map(|binding| format!("{key} -> {}", place(binding))));
            }
            lines.sort();
        }
        Some(wanted) => {
            let (number, protocol) = wanted.split_once('/').unwrap_or((wanted, "tcp"));
            let key = format!("{number}/{}", protocol.to_lowercase());
            let bindings = ports.get(&key);
            if bindings.is_null() {
                return Err(Failure::Invalid(format!(
                    "Error: No public port '{wanted}' published for {name}"
                )));
            }
            lines.extend(bindings.items().iter().map(place));
        }
    }
    for line in lines {
        cli.say(&line)?;
    }
    Ok(0)
}

fn top(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let (name, options) = (&matches.words[0], &matches.words[1..]);
    let arguments = Some(options.join(" ")).filter(|options| !options.is_empty());
    let query = query(arguments.map(|text| ("ps_args", text)));
    let answer = cli.client()?.get(format!("/containers/{}/top{query}", escape(name)))?;
    let line = |cells: &Json| {
        let cells: Vec<_> = cells.items().iter().map(Json::as_str).collect();
        cells.join("\t")
    };
    let mut out = format!("{}\n", line(answer.get("Titles")));
    for process in answer.get("Processes").items() {
        let _ = writeln!(out, "{}", line(process));
    }
    cli.print(&align_with(&out, 20, 3))?;
    Ok(0)
}
