//! The role of the registry: a command line read, a root opened, and what was asked for done.
//!
//! Absent on purpose: what a registry does, and what is said on its sockets.

mod words;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use dhow_registry::{Config, Log, Moved, Options, Place, Registry, Swept};
use dhow_store::{Clock, Steps};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use tokio::signal::unix::{SignalKind, signal};

use words::{Refused, Task, Words};

/// The first descriptor of socket activation.
const FIRST_SOCKET: i32 = 3;
/// Threads that wait for the disk; each is a stack, and a disk does not get quicker by more.
const DISK_THREADS: usize = 16;

/// Does what the words say; `sockets` is how many are listened on for us already.
pub(crate) fn main(words: impl Iterator<Item = OsString>, sockets: u32) -> ExitCode {
    let done = Words::read(words).map_err(Into::into).and_then(|words| run(words, sockets));
    match done {
        Ok(code) => code,
        Err(error) => {
            say(&format_args!("dhow registry: {error}"));
            ExitCode::FAILURE
        }
    }
}

type Failure = Box<dyn std::error::Error>;

fn run(words: Words, sockets: u32) -> Result<ExitCode, Failure> {
    let Some(root) = words.root else {
        return print(words::HELP);
    };
    let config = match &words.config {
        None => Config::default(),
        Some(path) => {
            let about = |error: &dyn Display| Refused(format!("{}: {error}", path.display()));
            let text = std::fs::read_to_string(path).map_err(|error| about(&error))?;
            Config::parse(&text).map_err(|error| about(&error))?
        }
    };
    super::engine::raise_descriptors();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o027));
    let address = words.address.or_else(|| config.address.clone());
    let (clock, steps) = (Clock::system(), Steps::unwatched());
    let log = Log::new(|line| say(&line));
    let registry = Registry::open(Options { root, config, log, clock, steps })?;
    match words.task {
        Task::Serve => serve(&registry, address, sockets),
        Task::Check { repair } => check(&registry, repair),
        Task::Collect => collect(&registry),
        Task::Import | Task::Export => {
            let Some((name, layout)) = words.moved else { return print(words::HELP) };
            let Moved { tags, manifests, blobs } = match words.task {
                Task::Import => registry.import(&name, &layout)?,
                _ => registry.export(&name, &layout)?,
            };
            print(&format!("{tags} tags, {manifests} manifests, {blobs} blobs\n"))
        }
    }
}

fn serve(registry: &Registry, address: Option<String>, sockets: u32) -> Result<ExitCode, Failure> {
    let mut places = Vec::new();
    for number in 0..sockets {
        places.push(Place::Socket(socket(FIRST_SOCKET + i32::try_from(number)?)?));
    }
    // What systemd listens on is all, unless somebody says more.
    if places.is_empty() || address.is_some() {
        let address = address.unwrap_or_else(|| words::ADDRESS.to_owned());
        places.push(Place::Address(address));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 8)))
        .max_blocking_threads(DISK_THREADS)
        .enable_all()
        .build()?;
    let served = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let end = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            say(&"ending: nobody new is served");
        };
        Ok::<_, Failure>(registry.serve(places, ready, end).await?)
    });
    runtime.shutdown_background();
    served.map(|()| ExitCode::SUCCESS)
}

fn ready(addresses: &[SocketAddr]) {
    for address in addresses {
        say(&format_args!("ready on {address}"));
    }
}

/// A socket that was handed to us by number. A copy of it is taken, which is closed when we execute anything.
fn socket(number: i32) -> io::Result<OwnedFd> {
    let this = pidfd_open(getpid(), PidfdFlags::empty())?;
    Ok(pidfd_getfd(this, number, PidfdGetfdFlags::empty())?)
}

fn check(registry: &Registry, repair: bool) -> Result<ExitCode, Failure> {
    let report = registry.check(repair)?;
    let mut text = String::new();
    for (finding, repaired) in &report.findings {
        let note = if *repaired { " (repaired)" } else { "" };
        text.push_str(&format!("{finding}{note}\n"));
    }
    let found = report.findings.len();
    text.push_str(&format!(
        "{} blobs, {} bytes, {found} findings\n",
        report.blobs, report.blob_bytes
    ));
    print(&text)?;
    let left = report.findings.iter().any(|(_, repaired)| !repaired);
    Ok(if left { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn collect(registry: &Registry) -> Result<ExitCode, Failure> {
    let Swept { pruned, collected } = registry.collect()?;
    print(&format!(
        "{} blobs, {} uploads, {} manifests, {} repositories; {} bytes\n",
        collected.blobs,
        collected.ingests,
        pruned.manifests,
        pruned.repositories,
        collected.blob_bytes + collected.ingest_bytes
    ))
}

fn print(text: &str) -> Result<ExitCode, Failure> {
    io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn say(line: &dyn Display) {
    // One write for a line; if nobody takes it there is nobody to tell.
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}
