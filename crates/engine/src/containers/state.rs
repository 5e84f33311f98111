//! What a container is doing, as an enum that carries its data.
//!
//! Invariant: what a state cannot have cannot be written down: a stopped container has no pid.
//! Absent on purpose: how one becomes the other; the container's task does that.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How many probes of its health are remembered, as Docker does.
const PROBES_MAX: usize = 5;

/// What a container is, as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Standing {
    pub(crate) state: State,
    /// Restarts by the policy since somebody last started it.
    #[serde(default)]
    pub(crate) restart_count: u32,
    /// Somebody stopped it, so that `unless-stopped` leaves it alone.
    #[serde(default)]
    pub(crate) stopped_by_user: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) health: Option<Health>,
    /// Its place in networks, while it has one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) endpoints: Vec<EndpointDetails>,
    /// Its network namespace, while it has one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sandbox: Option<PathBuf>,
}

/// What a container is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub(crate) enum State {
    /// Its record is there and the rest is being made: recovery removes it.
    Making,
    /// It has never run; perhaps because that failed.
    Created { failure: Option<Failure> },
    /// It runs.
    Running(Run),
    /// It is frozen.
    Paused(Run),
    /// It has ended and will be started again by its monitor.
    Restarting(Exit),
    /// It has ended.
    Exited(Exit),
    /// It is being removed: recovery removes what is left.
    Removing { before: Box<State> },
}

/// A live first process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) pid: u32,
    pub(crate) started_ns: i64,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exit {
    pub(crate) code: i32,
    #[serde(default)]
    pub(crate) oom_killed: bool,
    pub(crate) started_ns: i64,
    pub(crate) finished_ns: i64,
    #[serde(default)]
    pub(crate) error: String,
}

/// Why it never ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) code: i32,
    pub(crate) message: String,
}

/// What a container is doing, in Docker's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// It has never run.
    Created,
    /// It runs.
    Running,
    /// It is frozen.
    Paused,
    /// It waits for its next start.
    Restarting,
    /// It is being removed.
    Removing,
    /// It has ended.
    Exited,
    /// Its removal failed half-way.
    Dead,
}

/// Whether a container is well, as far as anybody checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `starting`, `healthy` or `unhealthy`.
    pub status: String,
    /// Failures in a row.
    pub failing_streak: u32,
    /// The last probes, the oldest first.
    pub log: Vec<Probe>,
}

/// One check of a container's health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// When it began, in nanoseconds since 1970.
    pub start_ns: i64,
    /// When it ended.
    pub end_ns: i64,
    /// How.
    pub exit_code: i32,
    /// What it said, cut off.
    pub output: String,
}

/// A container's place in one network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointDetails {
    /// The network.
    pub network: String,
    /// The network's id.
    pub network_id: String,
    /// Its own id.
    pub endpoint_id: String,
    /// Its hardware address.
    pub mac: String,
    /// Its address; empty while it has none.
    pub ipv4: String,
    /// The length of the address's network part.
    pub prefix: u8,
    /// Where everything else is.
    pub gateway: String,
    /// Its address of IPv6; empty while it has none.
    pub ipv6: String,
    /// The length of that address's network part.
    pub prefix6: u8,
    /// Where everything else of IPv6 is.
    pub gateway6: String,
    /// The host's address in the network, whether it is a way out or not.
    pub host_address: String,
    /// What it is called there, its own name first; empty where nobody asks for names.
    pub names: Vec<String>,
    /// Ports that are published.
    pub ports: Vec<PublishedPort>,
}

impl EndpointDetails {
    /// Its addresses, of both kinds.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        [&self.ipv4, &self.ipv6].into_iter().filter_map(|one| one.parse().ok()).collect()
    }
}

/// A port of a container that can be reached from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPort {
    /// In the container.
    pub container_port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// On which of the host's addresses.
    pub host_ip: String,
    /// On the host.
    pub host_port: u16,
}

/// What inspect tells of a container's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDetails {
    /// What it is doing.
    pub status: Status,
    /// Its first process; zero while there is none.
    pub pid: u32,
    /// How it last ended.
    pub exit_code: i32,
    /// Why it did not start.
    pub error: String,
    /// Whether memory ran out when it last ended.
    pub oom_killed: bool,
    /// When it last started, in nanoseconds since 1970.
    pub started_ns: Option<i64>,
    /// When it last ended.
    pub finished_ns: Option<i64>,
    /// Whether it is well.
    pub health: Option<Health>,
}

impl Status {
    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Removing => "removing",
            Self::Exited => "exited",
            Self::Dead => "dead",
        }
    }

    /// Reads Docker's word.
    pub fn parse(word: &str) -> Option<Self> {
        let all = [
            Self::Created,
            Self::Running,
            Self::Paused,
            Self::Restarting,
            Self::Removing,
            Self::Exited,
            Self::Dead,
        ];
        all.into_iter().find(|status| status.as_str() == word)
    }
}

impl State {
    pub(crate) fn status(&self) -> Status {
        match self {
            Self::Making | Self::Created { .. } => Status::Created,
            Self::Running(_) => Status::Running,
            Self::Paused(_) => Status::Paused,
            Self::Restarting(_) => Status::Restarting,
            Self::Exited(_) => Status::Exited,
            Self::Removing { .. } => Status::Removing,
        }
    }

    /// Its first process, while there is one.
    pub(crate) fn run(&self) -> Option<Run> {
        match self {
            Self::Running(run) | Self::Paused(run) => Some(*run),
            _ => None,
        }
    }

    /// What Docker calls running: it has a process, or will have one by itself.
    pub(crate) fn is_active(&self) -> bool {
        matches!(self, Self::Running(_) | Self::Paused(_) | Self::Restarting(_))
    }

    /// How it last ended, for those who wait.
    pub(crate) fn exit_code(&self) -> i32 {
        match self {
            Self::Created { failure: Some(failure) } => failure.code,
            Self::Exited(exit) | Self::Restarting(exit) => exit.code,
            Self::Removing { before } => before.exit_code(),
            Self::Making | Self::Created { failure: None } | Self::Running(_) | Self::Paused(_) => {
                0
            }
        }
    }
}

impl Standing {
    pub(crate) fn making() -> Self {
        Self {
            state: State::Making,
            restart_count: 0,
            stopped_by_user: false,
            health: None,
            endpoints: Vec::new(),
            sandbox: None,
        }
    }

    pub(crate) fn details(&self) -> StateDetails {
        details(&self.state, self.health.clone())
    }

    /// What lists show: since when it is what it is, in words.
    pub(crate) fn describe(&self, now_ns: i64) -> String {
        let since = |then: i64| human_duration(now_ns.saturating_sub(then));
        match &self.state {
            State::Making | State::Created { .. } => "Created".to_owned(),
            State::Running(run) => match &self.health {
                Some(health) if health.status == "starting" => {
                    format!("Up {} (health: starting)", since(run.started_ns))
                }
                Some(health) => format!("Up {} ({})", since(run.started_ns), health.status),
                None => format!("Up {}", since(run.started_ns)),
            },
            State::Paused(run) => format!("Up {} (Paused)", since(run.started_ns)),
            State::Restarting(exit) => {
                format!("Restarting ({}) {} ago", exit.code, since(exit.finished_ns))
            }
            State::Exited(exit) => {
                format!("Exited ({}) {} ago", exit.code, since(exit.finished_ns))
            }
            State::Removing { .. } => "Removal In Progress".to_owned(),
        }
    }
}

fn details(state: &State, health: Option<Health>) -> StateDetails {
    let mut details = StateDetails {
        status: state.status(),
        pid: state.run().map_or(0, |run| run.pid),
        exit_code: state.exit_code(),
        error: String::new(),
        oom_killed: false,
        started_ns: state.run().map(|run| run.started_ns),
        finished_ns: None,
        health,
    };
    match state {
        State::Created { failure: Some(failure) } => details.error.clone_from(&failure.message),
        State::Exited(exit) | State::Restarting(exit) => {
            details.error.clone_from(&exit.error);
            details.oom_killed = exit.oom_killed;
            details.started_ns = Some(exit.started_ns);
            details.finished_ns = Some(exit.finished_ns);
        }
        State::Removing { before } => {
            let before = self::details(before, None);
            return StateDetails { status: Status::Removing, health: details.health, ..before };
        }
        _ => {}
    }
    details
}

impl Health {
    pub(crate) fn starting() -> Self {
        Self { status: "starting".to_owned(), failing_streak: 0, log: Vec::new() }
    }

    /// Takes a probe in; the oldest makes room.
    pub(crate) fn note(&mut self, status: String, failing_streak: u32, probe: Probe) {
        self.status = status;
        self.failing_streak = failing_streak;
        self.log.push(probe);
        let surplus = self.log.len().saturating_sub(PROBES_MAX);
        self.log.drain(..surplus);
    }
}

/// A duration as Docker says it: one unit, rounded down, with its own words for small ones.
pub fn human_duration(nanoseconds: i64) -> String {
    let duration = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0));
    let seconds = duration.as_secs();
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match seconds {
        0 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".to_owned(),
        120..3600 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn durations_in_dockers_words() {
        let check = |seconds: i64, expected: &str| {
            assert_eq!(human_duration(seconds * SECOND), expected, "{seconds}");
        };
        check(-5, "Less than a second");
        check(0, "Less than a second");
        check(1, "1 second");
        check(59, "59 seconds");
        check(60, "About a minute");
        check(120, "2 minutes");
        check(45 * 60, "45 minutes");
        check(3600, "About an hour");
        check(47 * 3600, "47 hours");
        check(48 * 3600, "2 days");
        check(14 * 86_400, "2 weeks");
        check(60 * 86_400, "2 months");
        check(730 * 86_400, "2 years");
    }

    #[test]
    fn a_state_comes_back_as_it_went() {
        let exit = Exit {
            code: 137,
            oom_killed: true,
            started_ns: 1,
            finished_ns: 2,
            error: String::new(),
        };
        let states = [
            State::Making,
            State::Created { failure: None },
            State::Running(Run { pid: 7, started_ns: 1 }),
            State::Paused(Run { pid: 7, started_ns: 1 }),
            State::Restarting(exit.clone()),
            State::Removing { before: Box::new(State::Exited(exit)) },
        ];
        for state in states {
            let standing = Standing { state, ..Standing::making() };
            let text = serde_json::to_string(&standing).expect("it prints");
            assert_eq!(serde_json::from_str::<Standing>(&text).expect("it parses"), standing);
        }
    }

    #[test]
    fn what_lists_say() {
        let check = |state: State, expected: &str| {
            let standing = Standing { state, ..Standing::making() };
            assert_eq!(standing.describe(10 * SECOND), expected);
        };
        let run = Run { pid: 7, started_ns: 5 * SECOND };
        check(State::Created { failure: None }, "Created");
        check(State::Running(run), "Up 5 seconds");
        check(State::Paused(run), "Up 5 seconds (Paused)");
        let exit = Exit {
            code: 3,
            oom_killed: false,
            started_ns: 0,
            finished_ns: 9 * SECOND,
            error: String::new(),
        };
        check(State::Exited(exit.clone()), "Exited (3) 1 second ago");
        check(State::Restarting(exit), "Restarting (3) 1 second ago");
    }
}
