//! What the engine is, and what it runs on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use dhow_distribution::Client;
use tokio::task::spawn_blocking;

use super::Engine;
use crate::containers::state::State;
use crate::error::Error;
use crate::events::EventKind;

/// What the engine is, has, and runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineFacts {
    /// What stays the same for this data root.
    pub id: String,
    /// The host's name.
    pub host: String,
    /// Containers in all.
    pub containers: usize,
    /// Those that run.
    pub running: usize,
    /// Those that are frozen.
    pub paused: usize,
    /// All others.
    pub stopped: usize,
    /// Images.
    pub images: ImageCount,
    /// The storage driver.
    pub driver: String,
    /// Where its data are.
    pub data_root: PathBuf,
    /// The kernel's version.
    pub kernel: String,
    /// The distribution, as it calls itself.
    pub operating_system: String,
    /// The distribution's version.
    pub os_version: String,
    /// The processor's kind, in the kernel's word.
    pub machine: String,
    /// Processors.
    pub processors: usize,
    /// Memory.
    pub memory_bytes: u64,
    /// 1 or 2.
    pub cgroup_version: u8,
    /// Swap is counted.
    pub swap_limit: bool,
    /// What it was told, as far as only whoever asks wants to know it.
    pub told: Told,
    /// Where output goes by default.
    pub log_driver: String,
    /// systemd makes the cgroups.
    pub systemd_cgroups: bool,
    /// Foreign runtimes by name.
    pub runtimes: BTreeMap<String, PathBuf>,
    /// What runs containers where nobody chose; the built-in one if empty.
    pub default_runtime: String,
    /// What goes between the containers may pass.
    pub forwarding: bool,
    /// Descriptors that are open.
    pub descriptors: usize,
}

/// Images, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageCount(pub usize);

/// Settings that nothing here depends on: they are told to whoever asks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Told {
    /// What people wrote on it.
    pub labels: Vec<String>,
    /// It says more.
    pub debug: bool,
    /// Registries that need not prove anything.
    pub insecure_registries: Vec<String>,
    /// Whom it asks before Docker Hub.
    pub mirrors: Vec<String>,
}

/// What a running engine takes over from its configuration.
#[derive(Clone)]
pub struct Reload {
    /// What is told.
    pub told: Told,
    /// Foreign runtimes by name.
    pub runtimes: BTreeMap<String, PathBuf>,
    /// What runs containers where nobody chose; the built-in one if empty.
    pub default_runtime: String,
    /// The way to registries.
    pub client: Client,
    /// Layers that are downloaded at a time; Docker's number if absent.
    pub downloads_max: Option<usize>,
    /// Blobs that are uploaded at a time; Docker's number if absent.
    pub uploads_max: Option<usize>,
}

impl Engine {
    /// Takes settings over that changed while it runs, and tells so.
    pub async fn reload(&self, reload: Reload) -> Result<(), Error> {
        let Reload { told, runtimes, default_runtime, client, downloads_max, uploads_max } = reload;
        let number = |number: Option<usize>| number.map(|number| number.to_string());
        let attributes = [
            ("debug", told.debug.to_string()),
            ("default-runtime", default_runtime.clone()),
            ("insecure-registries", told.insecure_registries.join(",")),
            ("labels", told.labels.join(",")),
            ("max-concurrent-downloads", number(downloads_max).unwrap_or_default()),
            ("max-concurrent-uploads", number(uploads_max).unwrap_or_default()),
            ("registry-mirrors", told.mirrors.join(",")),
            ("runtimes", runtimes.keys().cloned().collect::<Vec<_>>().join(",")),
        ];
        let attributes = attributes.map(|(name, text)| (name.to_owned(), text)).into();
        *self.shared.told.lock().unwrap_or_else(PoisonError::into_inner) = told;
        {
            let mut host = self.shared.host.lock().unwrap_or_else(PoisonError::into_inner);
            host.defaults.runtimes = runtimes;
            host.defaults.runtime = default_runtime;
        }
        self.shared.images.reload(client, downloads_max, uploads_max);
        let id = self.facts().await?.id;
        self.tell(EventKind::Daemon, "reload", &id, attributes).await
    }

    /// What it is, now.
    pub async fn facts(&self) -> Result<EngineFacts, Error> {
        let engine = self.clone();
        spawn_blocking(move || engine.look()).await?
    }

    fn look(&self) -> Result<EngineFacts, Error> {
        let shared = &self.shared;
        let (mut running, mut paused, mut stopped) = (0, 0, 0);
        let entries = shared.table.all();
        for entry in &entries {
            match entry.view().standing.state {
                State::Running(_) | State::Restarting(_) => running += 1,
                State::Paused(_) => paused += 1,
                _ => stopped += 1,
            }
        }
        let names = rustix::system::uname();
        let word = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let release = read("/etc/os-release");
        let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        let swap = match unified {
            true => true,
            false => Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists(),
        };
        let host = shared.host.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let defaults = &host.defaults;
        Ok(EngineFacts {
            id: self.id()?,
            host: word(names.nodename()),
            containers: entries.len(),
            running,
            paused,
            stopped,
            images: ImageCount(shared.store.images().list()?.len()),
            driver: shared.snapshots.driver().name().to_owned(),
            data_root: shared.data_root.clone(),
            kernel: word(names.release()),
            operating_system: field(&release, "PRETTY_NAME"),
            os_version: field(&release, "VERSION_ID"),
            machine: word(names.machine()),
            processors: std::thread::available_parallelism().map_or(1, Into::into),
            memory_bytes: memory(&read("/proc/meminfo")),
            cgroup_version: if unified { 2 } else { 1 },
            swap_limit: swap,
            told: shared.told.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            log_driver: match defaults.log.driver.as_str() {
                "" => "json-file".to_owned(),
                driver => driver.to_owned(),
            },
            systemd_cgroups: host.cgroup.systemd,
            runtimes: defaults.runtimes.clone(),
            default_runtime: defaults.runtime.clone(),
            forwarding: read("/proc/sys/net/ipv4/ip_forward").trim() == "1",
            descriptors: std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
        })
    }

    /// Made once for a data root.
    fn id(&self) -> Result<String, Error> {
        let path = self.shared.data_root.join("engine-id");
        if let Ok(id) = std::fs::read_to_string(&path) {
            return Ok(id.trim().to_owned());
        }
        let bytes = crate::containers::random::<16>()?;
        let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let parts = [&hex[..4], &hex[4..6], &hex[6..8], &hex[8..10], &hex[10..]];
        let id = parts.map(<[String]>::concat).join("-");
        std::fs::write(&path, format!("{id}\n"))
            .map_err(|error| Error::io("write", &path, error))?;
        Ok(id)
    }
}

/// A field of `/etc/os-release`.
fn field(text: &str, name: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    line.unwrap_or("").trim_matches('"').to_owned()
}

fn memory(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_distribution_calls_itself() {
        let text = "NAME=\"X\"\nPRETTY_NAME=\"X 1 (one)\"\nVERSION_ID=1\n";
        assert_eq!(
            (field(text, "PRETTY_NAME"), field(text, "VERSION_ID")),
            ("X 1 (one)".into(), "1".into())
        );
        assert_eq!(field(text, "VERSION"), "");
        assert_eq!(memory("MemTotal: 4 kB\n"), 4096);
    }
}
