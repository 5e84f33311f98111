//! The role of the engine: settings read, roots taken, sockets listened on, until somebody says that it is enough.
//!
//! Invariant: an end of the engine is no end of any container.
//! Absent on purpose: what an engine does, and what is said on its sockets.

mod cgroup;
mod settings;
mod without_effect;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use dhow_distribution::{Client, Config, Insecure, Proxies, RegistryConfig, SystemResolver};
use dhow_engine::{Engine, EngineOptions, EventsRequest, ListRequest, Reload, Told};
use dhow_server::{Address, Listener, Server, ServerOptions, TlsIdentity};
use rustix::process::{Resource, Rlimit};
use tokio::signal::unix::{SignalKind, signal};

use settings::{Level, Refused, Settings};

/// An engine that a command line started leaves when nobody has needed it for so long.
const IDLE: Duration = Duration::from_secs(60);
/// How often it looks.
const LOOK: Duration = Duration::from_secs(5);
/// How often it looks whether somebody took rules of its networks away.
const UPKEEP: Duration = Duration::from_secs(60);

/// Runs an engine until it is told to end.
pub(crate) fn main(words: impl Iterator<Item = OsString>) -> ExitCode {
    match run(words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format_args!("dhow engine: {error}"));
            ExitCode::FAILURE
        }
    }
}

type Failure = Box<dyn std::error::Error>;

impl Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

fn run(words: impl Iterator<Item = OsString>) -> Result<(), Failure> {
    let words: Vec<OsString> = words.collect();
    let settings = Settings::read(words.clone().into_iter(), std::env::current_exe()?)?;
    if settings.validate {
        client(&settings)?;
        say(&"configuration OK");
        return Ok(());
    }
    if settings.ready_fd.is_some() {
        // Whoever started us may end, and take its session with it. A leader of a group has one already.
        let _ = rustix::process::setsid();
        if let Err(error) = cgroup::leave(&settings.defaults.cgroup_parent) {
            say(&format_args!("the engine stays in its starter's cgroup: {error}"));
        }
    }
    raise_descriptors();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 8)))
        .enable_all()
        .build()?;
    let served = runtime.block_on(serve(settings, words));
    // Threads that still wait for a disk or a registry are not waited for: what they were asked for has not
    // been acknowledged.
    runtime.shutdown_background();
    served
}

async fn serve(settings: Settings, words: Vec<OsString>) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let hangup = signal(SignalKind::hangup())?;
    let engine = Engine::open(options(&settings)?).await?;
    let server = Server::new(engine.clone(), &ServerOptions { min_api_version: min_version() })?;
    let listeners = listen(&settings)?;
    if let Some(path) = &settings.pid_file {
        std::fs::write(path, format!("{}\n", std::process::id()))?;
    }
    if settings.level >= Level::Info {
        tokio::spawn(tell(engine.clone()));
        say(&format_args!("ready, with data in {}", settings.data_root.display()));
    }
    tokio::spawn(keep_up(engine.clone(), settings.level));
    if let Some(fd) = settings.ready_fd {
        tell_ready(fd)?;
    }
    tokio::spawn(reload(engine.clone(), words, hangup));
    tokio::select! {
        () = server.serve(listeners) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = idle(&engine, &server), if settings.ready_fd.is_some() => {}
    }
    if let Some(path) = &settings.pid_file {
        std::fs::remove_file(path)?;
    }
    if settings.level >= Level::Info {
        say(&"ended; containers go on");
    }
    Ok(())
}

/// Brings rules back that somebody took away, and says once what of others keeps containers from the world.
async fn keep_up(engine: Engine, level: Level) {
    let mut told = Vec::new();
    loop {
        let mut found = engine.upkeep().await;
        found.obstacles.extend(found.failure);
        if level >= Level::Info {
            if found.repaired {
                say(&"rules of networks were gone, and are back");
            }
            for obstacle in found.obstacles.iter().filter(|one| !told.contains(*one)) {
                say(obstacle);
            }
        }
        told = found.obstacles;
        tokio::time::sleep(UPKEEP).await;
    }
}

/// Reads the settings again with every SIGHUP, and takes over what a running engine can.
async fn reload(engine: Engine, words: Vec<OsString>, mut hangup: tokio::signal::unix::Signal) {
    while hangup.recv().await.is_some() {
        let read = std::env::current_exe()
            .map_err(|error| Refused(error.to_string()))
            .and_then(|program| Settings::read(words.clone().into_iter(), program));
        match read {
            Ok(settings) => {
                let reload = taken_over(settings).map_err(|error| error.to_string());
                let reloaded = match reload {
                    Ok(reload) => engine.reload(reload).await.map_err(|error| error.to_string()),
                    Err(error) => Err(error),
                };
                if let Err(error) = reloaded {
                    say(&format_args!("reload: {error}"));
                }
            }
            // What was in force stays so.
            Err(error) => say(&format_args!("reload: {error}")),
        }
    }
}

/// What a running engine takes over.
fn taken_over(settings: Settings) -> Result<Reload, Failure> {
    Ok(Reload {
        client: client(&settings)?,
        told: told(&settings),
        downloads_max: settings.downloads_max,
        uploads_max: settings.uploads_max,
        default_runtime: settings.defaults.runtime,
        runtimes: settings.defaults.runtimes,
    })
}

fn told(settings: &Settings) -> Told {
    Told {
        labels: settings.labels.clone(),
        debug: settings.level == Level::Debug,
        insecure_registries: settings.insecure.clone(),
        mirrors: settings.mirror_texts.clone(),
    }
}

fn options(settings: &Settings) -> Result<EngineOptions, Failure> {
    Ok(EngineOptions {
        data_root: real(&settings.data_root)?,
        exec_root: real(&settings.exec_root)?,
        storage_driver: settings.storage_driver.clone(),
        client: client(settings)?,
        default_network: settings.network.clone(),
        address_pools: settings.pools.clone(),
        network_options: settings.network_options.clone(),
        forwarding: settings.forwarding,
        network_lock: settings.exec_root.with_file_name("dhow-network.lock"),
        defaults: settings.defaults.clone(),
        systemd_cgroups: settings.systemd_cgroups,
        told: told(settings),
        discard_unpacked_layers: settings.discard_unpacked_layers,
        downloads_max: settings.downloads_max,
        uploads_max: settings.uploads_max,
    })
}

/// A directory without links in its path, made if it is not there.
fn real(path: &Path) -> Result<PathBuf, Failure> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o711).create(path)?;
    Ok(path.canonicalize()?)
}

fn client(settings: &Settings) -> Result<Client, Failure> {
    let roots = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"]
        .iter()
        .find_map(|path| std::fs::read(path).ok());
    let agent = concat!("dhow/", env!("CARGO_PKG_VERSION"));
    let mut config = Config::new(agent, roots.unwrap_or_default());
    config.proxies = proxies(settings)?;
    if let Some(attempts) = settings.attempts_max {
        config.limits.attempts_max = attempts;
    }
    config.insecure = Insecure::parse(settings.insecure.iter().map(String::as_str))?;
    if !settings.mirrors.is_empty() {
        let mirrors = settings.mirrors.clone();
        let entry = RegistryConfig { mirrors, ..RegistryConfig::default() };
        config.registries.insert("docker.io".to_owned(), entry);
    }
    Ok(Client::new(config, Arc::new(SystemResolver))?)
}

/// The machine's proxies, in either spelling, as Go's programs read them.
#[expect(clippy::disallowed_methods, reason = "this is where the environment is read")]
fn proxies(settings: &Settings) -> Result<Proxies, Failure> {
    let variable = |name: &str| {
        // What the settings say goes before the environment.
        if let Some(said) = settings.proxies.get(name) {
            return said.clone();
        }
        let spellings = [name.to_ascii_uppercase(), name.to_owned()];
        let mut said = spellings.iter().filter_map(|name| std::env::var(name).ok());
        said.find(|value| !value.is_empty()).unwrap_or_default()
    };
    Ok(Proxies::parse(&variable("http_proxy"), &variable("https_proxy"), &variable("no_proxy"))?)
}

fn listen(settings: &Settings) -> Result<Vec<Listener>, Failure> {
    let group = group(settings.group.as_deref())?;
    let usual = format!("unix://{}", settings.exec_root.join("dhow.sock").display());
    let hosts = match settings.hosts.as_slice() {
        [] => vec![usual],
        hosts => hosts.to_vec(),
    };
    let mut listeners = Vec::new();
    for host in &hosts {
        if host == "fd://" {
            listeners.extend(given()?);
        } else {
            listeners.push(Listener::bind(&address(host, group, settings)?)?);
        }
    }
    Ok(listeners)
}

/// The sockets that systemd listens on for us.
#[expect(clippy::disallowed_methods, reason = "this is where the environment is read")]
fn given() -> Result<Vec<Listener>, Failure> {
    const FIRST: i32 = 3;
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<i32>().ok());
    let own = i32::try_from(std::process::id()).ok();
    let for_us = own.is_some() && number("LISTEN_PID") == own;
    let count = number("LISTEN_FDS").filter(|_| for_us).unwrap_or(0);
    if count == 0 {
        return Err(Refused("--host \"fd://\": nobody has given us a socket".to_owned()).into());
    }
    let take = |number| -> Result<Listener, Failure> {
        let absent = || Refused(format!("--host \"fd://\": descriptor {number} is not there"));
        let socket = dhow_sys::take_descriptor(number).ok_or_else(absent)?;
        Ok(Listener::from_unix(socket.into())?)
    };
    (FIRST..FIRST + count).map(take).collect()
}

fn address(host: &str, group: Option<u32>, settings: &Settings) -> Result<Address, Failure> {
    if let Some(path) = host.strip_prefix("unix://") {
        return Ok(Address::Unix { path: path.into(), group });
    }
    let Some(place) = host.strip_prefix("tcp://") else {
        return Err(Refused(format!("--host {host:?}: neither unix:// nor tcp://")).into());
    };
    let address = place.parse().map_err(|_| Refused(format!("--host {host:?}: no address")))?;
    let tls = &settings.tls;
    let identity = match (tls.verify, &tls.ca, &tls.certificate, &tls.key) {
        (true, Some(ca), Some(certificate), Some(key)) => Some(TlsIdentity {
            client_ca_pem: std::fs::read(ca)?,
            certificates_pem: std::fs::read(certificate)?,
            key_pem: std::fs::read(key)?,
        }),
        _ => None,
    };
    Ok(Address::Tcp { address, tls: identity })
}

/// The group that may use the socket: as asked for, else `docker`, else `dhow`, else nobody.
fn group(asked: Option<&str>) -> Result<Option<u32>, Failure> {
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let find = |name: &str| {
        let mut lines = groups.lines().map(|line| line.split(':').collect::<Vec<_>>());
        lines.find_map(|fields| match fields.as_slice() {
            [found, _, id, ..] if *found == name => id.parse::<u32>().ok(),
            _ => None,
        })
    };
    match asked {
        None => Ok(find("docker").or_else(|| find("dhow"))),
        Some("") => Ok(None),
        Some(name) => match find(name).or_else(|| name.parse().ok()) {
            Some(id) => Ok(Some(id)),
            None => Err(Refused(format!("--group {name:?}: no such group")).into()),
        },
    }
}

/// Every container takes some descriptors; the soft limit is for programs that use `select`.
pub(crate) fn raise_descriptors() {
    let Rlimit { current, maximum } = rustix::process::getrlimit(Resource::Nofile);
    if current != maximum {
        // With fewer, fewer containers: no reason to refuse all.
        let _ = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}

/// Tells whoever started us, and lets go of the pipe.
fn tell_ready(fd: u32) -> Result<(), Failure> {
    let mut pipe = std::fs::File::options().write(true).open(format!("/proc/self/fd/{fd}"))?;
    pipe.write_all(b"ready\n")?;
    if fd == 1 {
        let null = std::fs::File::options().write(true).open("/dev/null")?;
        rustix::stdio::dup2_stdout(null)?;
    }
    Ok(())
}

/// One line for everything that happens.
async fn tell(engine: Engine) {
    let Ok(mut events) = engine.events(EventsRequest::default()).await else { return };
    while let Some(event) = events.next().await {
        let name = event.attributes.get("name").map_or("", String::as_str);
        say(&format_args!("{} {} {} {name}", event.kind.as_str(), event.action, event.id));
    }
}

/// Ends once nothing has run, nobody was there, and nobody but our own command line has called.
async fn idle(engine: &Engine, server: &Server) {
    let mut idle_since = tokio::time::Instant::now();
    loop {
        tokio::time::sleep(LOOK).await;
        let activity = server.activity();
        let running = engine.list(ListRequest::default()).await;
        let is_idle = running.is_ok_and(|running| running.is_empty())
            && activity.connections == 0
            && !activity.foreign;
        if !is_idle {
            idle_since = tokio::time::Instant::now();
        } else if idle_since.elapsed() >= IDLE {
            return;
        }
    }
}

fn say(line: &dyn Display) {
    // In one write: lines of several threads stay whole. If nobody takes it there is nobody to tell.
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

#[expect(clippy::disallowed_methods, reason = "this is where the environment is read")]
fn min_version() -> Option<String> {
    std::env::var("DOCKER_MIN_API_VERSION").ok().filter(|version| !version.is_empty())
}
