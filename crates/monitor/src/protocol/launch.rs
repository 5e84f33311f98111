//! `launch.json`: all that a monitor needs, without an engine, for the container's whole life.
//!
//! Invariant: a monitor started with the same launch twice does the same; what changes later (limits, the
//! restart policy) comes as a request, and the engine rewrites the file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use dhow_spec::runtime::Process;
use serde::{Deserialize, Serialize};

/// A container as its monitor knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Launch {
    /// The writer's [`super::VERSION`].
    pub version: u32,
    /// The container's name for the runtime: 64 hexadecimal digits.
    pub id: String,
    /// The directory of `config.json`, and of the empty directory that `root.path` names.
    pub bundle: PathBuf,
    /// Where the built-in runtime keeps its state.
    pub state_root: PathBuf,
    /// The socket on which the monitor takes engines.
    pub socket: PathBuf,
    /// The file of the monitor's records.
    pub journal: PathBuf,
    /// What the container sees as its root.
    pub root: RootMount,
    /// Who makes the process.
    #[serde(default)]
    pub runtime: Runtime,
    /// The process has a terminal; the same as in `config.json`.
    #[serde(default)]
    pub terminal: bool,
    /// Rows and columns of that terminal at its start.
    #[serde(default)]
    pub terminal_size: Option<(u16, u16)>,
    /// Standard input stays open while nobody is attached; without it, it is empty.
    #[serde(default)]
    pub open_stdin: bool,
    /// Standard input ends when the first client that was attached to it has gone.
    #[serde(default)]
    pub stdin_once: bool,
    /// Where output goes besides to those who are attached.
    pub log: LogConfig,
    /// What is done when the process has ended.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// How the container's health is found out, if at all.
    #[serde(default)]
    pub health: Option<HealthCheck>,
    /// The signal that asks the process to end.
    pub stop_signal: i32,
    /// How long it may take to; -1 is for ever, absent is 10 seconds.
    #[serde(default)]
    pub stop_timeout_s: Option<i64>,
    /// systemd makes the cgroup.
    #[serde(default)]
    pub cgroup_systemd: bool,
    /// How often the policy has already restarted it, for a launch that goes on with an older life.
    #[serde(default)]
    pub restart_count: u32,
    /// The container ends when nobody is connected to its monitor any more: a step of a build, which means nothing
    /// without the engine that wants it.
    #[serde(default)]
    pub tied: bool,
    /// What it does for the container's network, where that is the container's own.
    #[serde(default)]
    pub network: Option<NetworkPlace>,
}

/// A container's own network, as far as its monitor serves it. The files change while it runs; an engine says
/// so with [`super::Request::Network`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkPlace {
    /// Where the namespace is mounted.
    pub namespace: PathBuf,
    /// How questions for names are answered ([`dhow_network::NamesConfig`]); nobody asks where it is not there.
    pub names: PathBuf,
    /// The ports to listen at ([`dhow_network::Forward`]); none where it is not there.
    pub forwards: PathBuf,
}

/// A container's root file system as a description; nothing of it is mounted where the host could see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum RootMount {
    /// The directory that `root.path` names, as it is: for foreign bundles and tests.
    Directory,
    /// Another directory.
    #[serde(rename_all = "camelCase")]
    Bind {
        /// Where it lies.
        source: PathBuf,
        /// Nothing can be written.
        #[serde(default)]
        readonly: bool,
        /// The mount is id-mapped so.
        #[serde(default)]
        owners: Option<Owners>,
    },
    /// An overlay.
    #[serde(rename_all = "camelCase")]
    Overlay {
        /// What is read, the topmost first; never empty.
        lowers: Vec<PathBuf>,
        /// What is written; without it, the overlay is read-only.
        #[serde(default)]
        upper: Option<Upper>,
        /// Its marks are attributes of users (`userxattr`).
        #[serde(default)]
        user_xattrs: bool,
        /// Every layer is an id-mapped mount of its own.
        #[serde(default)]
        owners: Option<Owners>,
    },
}

/// What an overlay writes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Upper {
    /// The changes.
    pub upper: PathBuf,
    /// Where overlay prepares them.
    pub work: PathBuf,
}

/// Who owns the files of an id-mapped mount: ranges of (id on disk, id in the mount, count).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owners {
    /// Users.
    #[serde(default)]
    pub uids: Vec<(u32, u32, u32)>,
    /// Groups.
    #[serde(default)]
    pub gids: Vec<(u32, u32, u32)>,
}

/// Who makes a container's processes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum Runtime {
    /// This program, as a library.
    #[default]
    Builtin,
    /// Another OCI runtime, by its command line. Its root is mounted in the monitor's own mount namespace.
    #[serde(rename_all = "camelCase")]
    Foreign {
        /// The program, an absolute path.
        program: PathBuf,
        /// What comes before the command on every call.
        #[serde(default)]
        args: Vec<String>,
        /// Its `--root`.
        root: PathBuf,
    },
}

/// What is done when the container's process has ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum RestartPolicy {
    /// Nothing.
    #[default]
    No,
    /// It is started again if it failed.
    OnFailure {
        /// At most so often; 0 is without end.
        #[serde(default)]
        max: u32,
    },
    /// It is started again.
    Always,
    /// The same; the difference is the engine's, after its own restart.
    UnlessStopped,
}

/// Where output is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogConfig {
    /// In which format.
    pub driver: LogDriver,
    /// The file that is written to; older ones have `.1`, `.2` and so on behind its name.
    pub path: PathBuf,
    /// The size in bytes at which a file is put aside; absent is without end.
    #[serde(default)]
    pub max_size: Option<u64>,
    /// How many files there may be, the one written to included.
    #[serde(default = "one")]
    pub max_file: u32,
    /// Those put aside are compressed (gzip).
    #[serde(default)]
    pub compress: bool,
    /// Added to every line: labels and environment that were asked for.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

fn one() -> u32 {
    1
}

/// The format of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogDriver {
    /// Nothing is kept.
    None,
    /// One JSON object per line, byte for byte as Docker writes it.
    JsonFile,
    /// Length-prefixed protobuf messages, as Docker's driver of that name writes them.
    Local,
}

/// A command whose success means health. Durations of 0 have been replaced by their defaults before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheck {
    /// What is run inside the container.
    pub process: Process,
    /// From the end of one probe to the next.
    pub interval_ms: u64,
    /// A probe that takes longer has failed.
    pub timeout_ms: u64,
    /// Failures are not counted so long after the start, unless a probe succeeded before.
    #[serde(default)]
    pub start_period_ms: u64,
    /// The interval during that time.
    pub start_interval_ms: u64,
    /// So many failures in a row are ill health.
    pub retries: u32,
}
