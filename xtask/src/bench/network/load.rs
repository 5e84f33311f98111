//! What is sent: streams by iperf3, and many short connections to nginx by a client of our own.
//!
//! Invariant: both servers run in containers; clients run where they are told to, on the host or in a container.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::apt::{Apt, cache};
use crate::busybox;
use crate::task::{At, TaskError, read, run};

/// Ports of the servers in their container.
pub(super) const STREAM_PORT: u16 = 5201;
pub(super) const WEB_PORT: u16 = 80;

const CLIENTS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(5);
const PACKAGES: [&str; 9] = [
    "iperf3",
    "libc6",
    "libcrypt1",
    "libiperf0",
    "libpcre2-8-0",
    "libsctp1",
    "libssl3",
    "nginx",
    "zlib1g",
];

const NGINX: &str = "\
daemon off; user root; worker_processes 1; pid /tmp/nginx.pid; error_log stderr crit;
events { worker_connections 4096; }
http {
  access_log off; keepalive_timeout 0;
  client_body_temp_path /tmp/a; proxy_temp_path /tmp/b; fastcgi_temp_path /tmp/c;
  uwsgi_temp_path /tmp/d; scgi_temp_path /tmp/e;
  server { listen 80 backlog=4096; listen [::]:80 backlog=4096; location / { return 200 \"ok\\n\"; } }
}
";

/// What the container runs: both servers.
pub(super) const SERVE: &str = "/usr/sbin/nginx -c /bench.conf & exec /usr/bin/iperf3 -s";

/// Debian's servers with the libraries that they need, unpacked; fetched where they are not there yet.
pub(super) fn servers() -> Result<PathBuf, TaskError> {
    let dir = cache("images")?.join("network-servers");
    if !dir.exists() {
        let part = dir.with_extension("part");
        let _ = fs::remove_dir_all(&part);
        Apt::of("bookworm")?.unpack(&PACKAGES.map(str::to_owned), &part)?;
        fs::rename(&part, &dir).at("rename", &part)?;
    }
    Ok(dir)
}

/// The root of an image with both servers.
pub(super) fn make_root(root: &Path) -> Result<(), TaskError> {
    busybox::make_rootfs(root)?;
    run(Command::new("cp").arg("-a").arg(servers()?.join(".")).arg(root))?;
    for place in ["etc", "tmp", "var/log/nginx", "var/lib/nginx"] {
        fs::create_dir_all(root.join(place)).at("create", root.join(place))?;
    }
    let files = [
        ("bench.conf", NGINX),
        ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
        ("etc/group", "root:x:0:\n"),
    ];
    for (name, text) in files {
        fs::write(root.join(name), text).at("write", root.join(name))?;
    }
    Ok(())
}

/// The words of a client of streams, for so many seconds.
pub(super) fn stream_words(to: &str, port: u16, seconds: u64) -> Vec<String> {
    let (port, seconds) = (port.to_string(), seconds.to_string());
    ["-c", to, "-p", &port, "-t", &seconds, "-J"].map(str::to_owned).to_vec()
}

/// The same program on the host, with the image's own libraries.
pub(super) fn stream_client(root: &Path) -> Result<Command, TaskError> {
    let absent = TaskError::Absent { what: "the loader of the image", remedy: "see its libc6" };
    let loader = loader(root).ok_or(absent)?;
    let mut places = Vec::new();
    for place in ["lib", "usr/lib"] {
        let entries = fs::read_dir(root.join(place)).into_iter().flatten().flatten();
        places.extend(entries.map(|entry| entry.path()).filter(|path| path.is_dir()));
    }
    let places: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
    let mut command = Command::new(loader);
    command.args(["--library-path", &places.join(":")]).arg(root.join("usr/bin/iperf3"));
    command.stdin(Stdio::null());
    Ok(command)
}

fn loader(root: &Path) -> Option<PathBuf> {
    let places = ["lib64", "lib"].into_iter().filter_map(|dir| fs::read_dir(root.join(dir)).ok());
    let mut files = places.flatten().flatten().map(|entry| entry.path());
    files.find(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("ld-linux")))
}

/// Gigabits a second that arrived.
pub(super) fn stream(command: &mut Command) -> Result<f64, TaskError> {
    let text = read(command)?;
    let told: Value = serde_json::from_str(&text).unwrap_or_default();
    let bits = told.pointer("/end/sum_received/bits_per_second").and_then(Value::as_f64);
    let fault = || {
        let said = told.get("error").and_then(Value::as_str).unwrap_or("no figure").to_owned();
        TaskError::Program { line: format!("iperf3: {said}"), code: None }
    };
    Ok(bits.ok_or_else(fault)? / 1e9)
}

/// Connections a second, and microseconds of the middle one and of the slowest in a hundred.
pub(super) struct Rate {
    pub(super) per_second: f64,
    pub(super) median_us: f64,
    pub(super) p99_us: f64,
}

/// Asks for a page again and again, each time by a new connection, from where this thread is.
pub(super) fn connections(to: IpAddr, port: u16, length: Duration) -> Result<Rate, TaskError> {
    let to = SocketAddr::new(to, port);
    let begun = Instant::now();
    let all: Vec<_> = std::thread::scope(|scope| {
        let client = || {
            scope.spawn(move || {
                let mut times = Vec::new();
                while begun.elapsed() < length {
                    let one = Instant::now();
                    page(to).at("ask", to.to_string())?;
                    times.push(one.elapsed().as_secs_f64() * 1e6);
                }
                Ok::<_, TaskError>(times)
            })
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| client()).collect();
        clients.into_iter().map(|one| one.join().expect("no panic")).collect()
    });
    let seconds = begun.elapsed().as_secs_f64();
    let mut times = Vec::new();
    for one in all {
        times.extend(one?);
    }
    times.sort_by(f64::total_cmp);
    let at = |part: f64| times.get((times.len() as f64 * part) as usize).copied().unwrap_or(0.0);
    let per_second = times.len() as f64 / seconds;
    Ok(Rate { per_second, median_us: at(0.5), p99_us: at(0.99) })
}

fn page(to: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    match answer.starts_with(b"HTTP/1.1 200") {
        true => Ok(()),
        false => Err(std::io::ErrorKind::InvalidData.into()),
    }
}

/// Waits until the servers behind a published port answer.
pub(super) fn wait(to: IpAddr, port: u16) -> Result<(), TaskError> {
    let begun = Instant::now();
    loop {
        match page(SocketAddr::new(to, port)) {
            Ok(()) => return Ok(()),
            Err(error) if begun.elapsed() > PATIENCE => return Err(error).at("ask", "nginx"),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}
