//! `cargo xtask differ`: the same requests and commands to a real dockerd and to dhow, and what differs.
//!
//! Requests are `xtask/differ/requests.txt`, of the API's version that Debian's dockerd speaks: status, content type
//! and the keys and types of the JSON are compared, texts are not. Commands are `xtask/differ/commands.txt`: exit code
//! and output. A difference that is meant to be so stands in those files with its reason, and one that is gone is
//! said, so that the lists shrink.
//! All run in network and mount namespaces of their own, one engine after the other.

mod commands;
mod mask;
mod root;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use lexopt::prelude::*;
use serde_json::Value as Json;

use self::commands::{COLUMNS, Column};
use self::root::Root;
use crate::bench::{IMAGE, pack};
use crate::images::{Network, alone};
use crate::task::{At, TaskError, release_dir, run as run_command};
use crate::{busybox, leftover};

const USAGE: &str = "\
cargo xtask differ [--program PATH] [--requests | --commands] [--stderr]
  the program is the release's unless said; --stderr compares what commands say of errors, too";
const TEXT: &str = include_str!("../../differ/requests.txt");
const VERSION: &str = "/v1.45";
const PATIENCE: Duration = Duration::from_secs(30);

struct Request {
    name: &'static str,
    method: &'static str,
    path: &'static str,
    body: &'static str,
}

/// What of an answer is compared, by the path of the JSON's key.
type Shape = BTreeMap<String, String>;

/// What is to be done.
#[derive(Debug, Clone)]
struct Plan {
    program: PathBuf,
    requests: bool,
    commands: bool,
    stderr: bool,
    /// The run's name, in namespaces of its own.
    inside: Option<String>,
}

/// What both kinds of engine are made of, and where.
struct Field {
    root: Root,
    program: PathBuf,
    /// For everything of this run.
    dir: PathBuf,
    /// The name of that, and of the cgroups.
    name: String,
    archive: PathBuf,
}

/// An engine that answers.
struct Engine {
    process: Child,
    place: PathBuf,
    socket: PathBuf,
    host: String,
}

pub(crate) fn run(arguments: lexopt::Parser) -> Result<(), TaskError> {
    let Some(plan) = parse(arguments)? else {
        println!("{USAGE}");
        return Ok(());
    };
    let Some(name) = &plan.inside else { return outside(&plan) };
    match all(&plan, &std::env::temp_dir().join(name), name)? {
        0 => Ok(()),
        _ => Err(TaskError::Code(1)),
    }
}

/// Runs this program again in namespaces of its own, and removes what that leaves.
fn outside(plan: &Plan) -> Result<(), TaskError> {
    let name = format!("dhow-differ.{}", std::process::id());
    let dir = std::env::temp_dir().join(&name);
    fs::create_dir_all(dir.join("root")).at("create", &dir)?;
    let program = plan.program.display().to_string();
    let mut words =
        ["differ", "--inside", &name, "--program", &program].map(str::to_owned).to_vec();
    let flags =
        [("--requests", !plan.commands), ("--commands", !plan.requests), ("--stderr", plan.stderr)];
    words.extend(flags.iter().filter(|(_, on)| *on).map(|(word, _)| (*word).to_owned()));
    let judged = alone(&words, Network::Own);
    leftover::remove_cgroups(&[name]);
    fs::remove_dir_all(&dir).at("remove", &dir)?;
    judged
}

fn parse(mut arguments: lexopt::Parser) -> Result<Option<Plan>, TaskError> {
    let program = release_dir().join("dhow");
    let mut plan = Plan { program, requests: true, commands: true, stderr: false, inside: None };
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("program") => plan.program = arguments.value()?.into(),
            Long("requests") => plan.commands = false,
            Long("commands") => plan.requests = false,
            Long("stderr") => plan.stderr = true,
            Long("inside") => plan.inside = Some(arguments.value()?.string()?),
            _ => return Ok(None),
        }
    }
    Ok(Some(plan))
}

/// Gives how many differences nobody has explained.
fn all(plan: &Plan, dir: &Path, name: &str) -> Result<usize, TaskError> {
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").at("write", "ip_forward")?;
    busybox::make_rootfs(&dir.join("root"))?;
    let archive = pack(dir, &dir.join("root"))?;
    let root = Root::open(dir)?;
    let (program, dir, name) = (plan.program.clone(), dir.to_owned(), name.to_owned());
    let field = Field { root, program, dir, name, archive };
    let mut unexplained = 0;
    if plan.requests {
        let mut answers: Vec<Vec<Shape>> = Vec::new();
        for column in [Column::Docker, Column::Engine] {
            let place = field.dir.join(column.name());
            answers.push(field.with(column, &place, |engine| {
                let answer = |request: &Request| {
                    ask(&engine.socket, request.method, request.path, request.body)
                };
                requests().map(|request| answer(&request).at("ask", request.path)).collect()
            })?);
        }
        unexplained += judge(&answers[0], &answers[1]);
    }
    if plan.commands {
        let mut columns: Vec<(Column, Vec<commands::Said>)> = Vec::new();
        for column in COLUMNS {
            let client = match column {
                Column::Client => vec![field.program.display().to_string()],
                _ => field.root.client(),
            };
            let place = commands::place(&field.dir, column);
            let said = field.with(column, &place, |engine| commands::run_all(engine, &client))?;
            columns.push((column, said));
        }
        unexplained += commands::judge(&columns, plan.stderr);
    }
    Ok(unexplained)
}

impl Field {
    /// Starts an engine with the image, asks it everything, and ends it.
    fn with<T>(
        &self,
        column: Column,
        place: &Path,
        ask: impl FnOnce(&Engine) -> Result<T, TaskError>,
    ) -> Result<T, TaskError> {
        let mut engine = self.start(column, place)?;
        let asked = self.prepare(&engine).and_then(|()| ask(&engine));
        end(&mut engine.process).at("end the engine in", place)?;
        asked
    }

    fn start(&self, column: Column, place: &Path) -> Result<Engine, TaskError> {
        fs::create_dir_all(place).at("create", place)?;
        let mut command = match column {
            Column::Docker => {
                let mut command = self.root.dockerd();
                command.arg("--pidfile").arg(place.join("pid"));
                command
            }
            _ => {
                let mut command = Command::new(&self.program);
                command.args(["engine", "--group", ""]);
                command
            }
        };
        let socket = place.join("socket");
        let host = format!("unix://{}", socket.display());
        command
            .arg("--data-root")
            .arg(place.join("data"))
            .arg("--exec-root")
            .arg(place.join("run"));
        command.args(["--host", &host]);
        command.args(["--cgroup-parent", &format!("{}/{}", self.name, column.name())]);
        let log = fs::File::create(place.join("log")).at("create", place)?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let process = command.spawn().at("start an engine in", place)?;
        Ok(Engine { process, place: place.to_owned(), socket, host })
    }

    /// Waits until it answers, and gives it its image.
    fn prepare(&self, engine: &Engine) -> Result<(), TaskError> {
        let start = Instant::now();
        while ask(&engine.socket, "GET", "/_ping", "").is_err() && start.elapsed() < PATIENCE {
            sleep(Duration::from_millis(50));
        }
        let client = self.root.client();
        for words in [&["load", "--quiet", "--input"][..], &["tag", IMAGE]] {
            let last =
                if words[0] == "tag" { "busybox".as_ref() } else { self.archive.as_os_str() };
            let mut command = Command::new(&client[0]);
            command.args(&client[1..]).args(["--host", &engine.host]).args(words).arg(last);
            run_command(command.stdout(Stdio::null()))?;
        }
        Ok(())
    }
}

fn end(engine: &mut Child) -> std::io::Result<()> {
    let pid = rustix::process::Pid::from_child(engine);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    engine.wait().map(drop)
}

fn requests() -> impl Iterator<Item = Request> {
    let lines = TEXT.lines().filter(|line| !line.starts_with(['#', '!']));
    lines.map(|line| {
        let mut words = line.splitn(4, ' ');
        let mut word = || words.next().unwrap_or_default();
        Request { name: word(), method: word(), path: word(), body: word() }
    })
}

/// One request on a connection of its own.
fn ask(socket: &PathBuf, method: &str, path: &str, body: &str) -> std::io::Result<Shape> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    write!(
        stream,
        "{method} {VERSION}{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{kind}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).unwrap_or_default();
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    };
    let mut shape = Shape::from([("status".to_owned(), status.to_owned())]);
    let kind = header("content-type").split(';').next().unwrap_or_default();
    shape.insert("type".to_owned(), kind.to_owned());
    let body = match header("transfer-encoding") {
        "chunked" => dechunked(body),
        _ => body.to_owned(),
    };
    // Errors are all alike, and their texts differ by version.
    if status.starts_with('2')
        && let Ok(json) = serde_json::from_str(&body)
    {
        describe(&json, "", &mut shape);
    }
    Ok(shape)
}

fn dechunked(mut rest: &str) -> String {
    let mut out = String::new();
    while let Some((size, behind)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        let Some(chunk) = behind.get(..size).filter(|_| size > 0) else { break };
        out.push_str(chunk);
        rest = behind.get(size + 2..).unwrap_or_default();
    }
    out
}

/// Keys and types. Of a map with names of its own one entry stands for all.
fn describe(json: &Json, path: &str, shape: &mut Shape) {
    const MAPS: [&str; 9] = [
        "Containers",
        "ExposedPorts",
        "Indexes",
        "Labels",
        "Networks",
        "Options",
        "PortBindings",
        "Ports",
        "Runtimes",
    ];
    let kind = match json {
        Json::Null => "null",
        Json::Bool(_) => "bool",
        Json::Number(_) => "number",
        Json::String(_) => "text",
        Json::Array(items) => {
            for item in items {
                describe(item, &format!("{path}[]"), shape);
            }
            "list"
        }
        Json::Object(fields) => {
            let is_map = MAPS.iter().any(|name| path.ends_with(&format!(".{name}")));
            for (key, value) in fields {
                let key = if is_map { "*" } else { key };
                describe(value, &format!("{path}.{key}"), shape);
            }
            "object"
        }
    };
    shape.insert(if path.is_empty() { "." } else { path }.to_owned(), kind.to_owned());
}

/// Prints what is not explained, and explanations that explain nothing; gives how many differ.
fn judge(docker: &[Shape], dhow: &[Shape]) -> usize {
    let accepted: Vec<[&str; 2]> = TEXT
        .lines()
        .filter_map(|line| line.strip_prefix("! "))
        .filter_map(|line| {
            let mut words = line.splitn(3, ' ');
            Some([words.next()?, words.next()?])
        })
        .collect();
    let mut used = BTreeSet::new();
    let mut unexplained = 0;
    for (request, (theirs, ours)) in requests().zip(docker.iter().zip(dhow)) {
        let keys: BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
        for key in keys.into_iter().filter(|key| theirs.get(*key) != ours.get(*key)) {
            let fits = |name: &str, found: &str| match name.strip_suffix('*') {
                Some(above) => found.starts_with(above),
                None => name == found,
            };
            let reason = accepted
                .iter()
                .position(|[name, what]| fits(name, request.name) && fits(what, key));
            if let Some(reason) = reason {
                used.insert(reason);
                continue;
            }
            unexplained += 1;
            let told = |shape: &Shape| shape.get(key).cloned().unwrap_or_else(|| "-".to_owned());
            println!("{} {key}: docker {}, dhow {}", request.name, told(theirs), told(ours));
        }
    }
    for (at, [name, what]) in accepted.iter().enumerate().filter(|(at, _)| !used.contains(at)) {
        let _ = at;
        println!("accepted and not seen: {name} {what}");
    }
    println!("{} requests, {unexplained} differences that are not explained", docker.len());
    unexplained
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_have_a_shape() {
        let json = serde_json::json!({"A": [{"B": 1}], "Labels": {"x": "y"}, "C": null});
        let mut shape = Shape::new();
        describe(&json, "", &mut shape);
        let told: Vec<_> = shape.iter().map(|(key, kind)| format!("{key} {kind}")).collect();
        assert_eq!(
            told,
            [
                ". object",
                ".A list",
                ".A[] object",
                ".A[].B number",
                ".C null",
                ".Labels object",
                ".Labels.* text"
            ]
        );
        assert_eq!(dechunked("3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n"), "abcd");
        assert!(requests().all(|request| request.path.starts_with('/')));
    }
}
