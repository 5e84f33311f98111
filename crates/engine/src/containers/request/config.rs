//! What a container runs: the part of a request that an image can have defaults for.
//!
//! Invariant: after [`ContainerConfig::merge`] there is something to run, and nothing of the image's
//! defaults is missing; merging is done once, when the container is created.

use std::collections::{BTreeMap, BTreeSet};

use dhow_spec::image::{HealthCheck, RunConfig};
use serde::{Deserialize, Serialize};

use super::error::{Field, HealthFault, RequestError};
use super::port::Port;
use super::signal::parse_signal;

/// What it runs, and how.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerConfig {
    /// Host name; made of the id where empty.
    pub hostname: String,
    /// Domain name.
    pub domainname: String,
    /// User and group, by name or number.
    pub user: String,
    /// Whether the client means to attach to its input.
    pub attach_stdin: bool,
    /// Whether the client means to attach to its output.
    pub attach_stdout: bool,
    /// Whether the client means to attach to its errors.
    pub attach_stderr: bool,
    /// Ports on which it listens.
    pub exposed_ports: BTreeSet<Port>,
    /// Whether it gets a terminal.
    pub tty: bool,
    /// Whether its input stays open.
    pub open_stdin: bool,
    /// Whether its input ends with the first client.
    pub stdin_once: bool,
    /// Environment, as `NAME=value`; a name alone takes the variable away.
    pub env: Vec<String>,
    /// Arguments; absent means the image's.
    pub cmd: Option<Vec<String>>,
    /// How to learn whether it is well.
    pub healthcheck: Option<HealthCheck>,
    /// Windows: kept for who asks.
    pub args_escaped: bool,
    /// The image, as the client wrote it.
    pub image: String,
    /// Places that get volumes of their own.
    pub volumes: BTreeSet<String>,
    /// Working directory.
    pub working_dir: String,
    /// What stands before the arguments; absent means the image's, one empty text means none.
    pub entrypoint: Option<Vec<String>>,
    /// Whether it has no network at all.
    pub network_disabled: bool,
    /// The image's instructions for builds, kept for who asks.
    pub on_build: Vec<String>,
    /// Free notes.
    pub labels: BTreeMap<String, String>,
    /// Signal that asks it to stop, as written; `SIGTERM` where absent.
    pub stop_signal: Option<String>,
    /// Seconds that it then gets; −1 for all that it wants.
    pub stop_timeout: Option<i64>,
    /// What runs commands that are written as one text.
    pub shell: Vec<String>,
}

impl ContainerConfig {
    pub(super) fn check(&self) -> Result<(), RequestError> {
        if self.image.is_empty() {
            return Err(RequestError::NoImage);
        }
        if let Some(bad) = self.env.iter().find(|entry| entry.is_empty() || entry.starts_with('='))
        {
            return Err(RequestError::word(Field::Env, bad));
        }
        if !self.working_dir.is_empty() && !self.working_dir.starts_with('/') {
            return Err(RequestError::RelativeWorkingDir { path: self.working_dir.clone() });
        }
        if let Some(signal) = self.stop_signal.as_deref().filter(|text| !text.is_empty()) {
            parse_signal(signal)?;
        }
        self.healthcheck.as_ref().map_or(Ok(()), check_health)
    }

    /// The signal that asks it to stop.
    pub fn stop_signal_number(&self) -> i32 {
        const SIGTERM: i32 = 15;
        let text = self.stop_signal.as_deref().unwrap_or_default();
        parse_signal(text).unwrap_or(SIGTERM)
    }

    /// Fills what the client left open from the image, as Docker does when it creates.
    pub fn merge(&mut self, image: &RunConfig) -> Result<(), RequestError> {
        fill(&mut self.user, image.user.as_deref());
        fill(&mut self.working_dir, image.working_dir.as_deref());
        self.merge_ports(image)?;
        self.merge_command(image);
        for entry in &image.env {
            let same = |own: &&String| name_of(own) == name_of(entry);
            if !self.env.iter().any(|own| same(&own)) {
                self.env.push(entry.clone());
            }
        }
        for (name, value) in &image.labels {
            self.labels.entry(name.clone()).or_insert_with(|| value.clone());
        }
        self.volumes.extend(image.volumes.iter().cloned());
        if self.stop_signal.as_deref().is_none_or(str::is_empty) {
            self.stop_signal.clone_from(&image.stop_signal);
        }
        if self.shell.is_empty() {
            self.shell.clone_from(&image.shell);
        }
        self.merge_health(image);
        if self.entrypoint.as_deref().is_none_or(<[_]>::is_empty)
            && self.cmd.as_deref().is_none_or(<[_]>::is_empty)
        {
            return Err(RequestError::NoCommand);
        }
        self.check()
    }

    fn merge_ports(&mut self, image: &RunConfig) -> Result<(), RequestError> {
        for text in &image.exposed_ports {
            self.exposed_ports.extend(Port::parse_range(text)?);
        }
        Ok(())
    }

    /// An entry point of the client's makes the image's arguments void.
    fn merge_command(&mut self, image: &RunConfig) {
        if self.entrypoint.as_deref().is_none_or(<[_]>::is_empty) {
            if self.cmd.as_deref().is_none_or(<[_]>::is_empty) {
                self.cmd = Some(image.cmd.clone()).filter(|cmd| !cmd.is_empty());
                self.args_escaped = image.args_escaped;
            }
            if self.entrypoint.is_none() {
                self.entrypoint = Some(image.entrypoint.clone()).filter(|entry| !entry.is_empty());
            }
        }
        if self.entrypoint.as_deref().is_some_and(|entry| entry.len() == 1 && entry[0].is_empty()) {
            self.entrypoint = None;
        }
    }

    fn merge_health(&mut self, image: &RunConfig) {
        let Some(theirs) = &image.healthcheck else { return };
        let Some(own) = &mut self.healthcheck else {
            self.healthcheck = Some(theirs.clone());
            return;
        };
        if own.test.is_empty() {
            own.test.clone_from(&theirs.test);
        }
        for (own, theirs) in [
            (&mut own.interval, theirs.interval),
            (&mut own.timeout, theirs.timeout),
            (&mut own.start_period, theirs.start_period),
            (&mut own.start_interval, theirs.start_interval),
            (&mut own.retries, theirs.retries),
        ] {
            if *own == 0 {
                *own = theirs;
            }
        }
    }

    /// Program and arguments, after merging.
    pub fn args(&self) -> Vec<String> {
        let entrypoint = self.entrypoint.iter().flatten();
        entrypoint.chain(self.cmd.iter().flatten()).cloned().collect()
    }
}

fn fill(own: &mut String, image: Option<&str>) {
    if own.is_empty() {
        image.unwrap_or_default().clone_into(own);
    }
}

fn name_of(entry: &str) -> &str {
    entry.split_once('=').map_or(entry, |(name, _)| name)
}

fn check_health(health: &HealthCheck) -> Result<(), RequestError> {
    const MIN_NS: i64 = 1_000_000;
    let error = |field, fault| Err(RequestError::Health { field, fault });
    for (field, value) in [
        ("Interval", health.interval),
        ("Timeout", health.timeout),
        ("StartPeriod", health.start_period),
        ("StartInterval", health.start_interval),
    ] {
        if value != 0 && value < MIN_NS {
            return error(field, HealthFault::TooShort);
        }
    }
    if health.retries < 0 {
        return error("Retries", HealthFault::Negative);
    }
    match health.test.first().map(String::as_str) {
        None | Some("" | "NONE" | "CMD" | "CMD-SHELL") => Ok(()),
        Some(_) => error("Test", HealthFault::Test),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().copied().map(str::to_owned).collect()
    }

    fn image() -> RunConfig {
        RunConfig {
            env: words(&["PATH=/bin", "A=image"]),
            entrypoint: words(&["/entry"]),
            cmd: words(&["serve"]),
            user: Some("www".to_owned()),
            exposed_ports: ["80/tcp".to_owned()].into(),
            stop_signal: Some("SIGQUIT".to_owned()),
            ..RunConfig::default()
        }
    }

    fn merged(change: impl Fn(&mut ContainerConfig)) -> Result<ContainerConfig, RequestError> {
        let mut config = ContainerConfig { image: "x".to_owned(), ..ContainerConfig::default() };
        change(&mut config);
        config.merge(&image())?;
        Ok(config)
    }

    #[test]
    fn the_image_fills_what_is_open() {
        let config = merged(|config| config.env = words(&["A=own", "B"])).expect("merged");
        assert_eq!(config.env, words(&["A=own", "B", "PATH=/bin"]));
        assert_eq!(config.args(), words(&["/entry", "serve"]));
        assert_eq!((config.user.as_str(), config.stop_signal_number()), ("www", 3));
        assert_eq!(config.exposed_ports.len(), 1);
    }

    #[test]
    fn entry_points_void_arguments() {
        let cmd = merged(|config| config.cmd = Some(words(&["sh"]))).expect("merged");
        assert_eq!(cmd.args(), words(&["/entry", "sh"]));
        let entry = merged(|config| config.entrypoint = Some(words(&["sh"]))).expect("merged");
        assert_eq!(entry.args(), words(&["sh"]));
        let both = |entry: &str, cmd: &[&str]| {
            merged(|config| {
                config.entrypoint = Some(words(&[entry]));
                config.cmd = Some(words(cmd)).filter(|cmd| !cmd.is_empty());
            })
        };
        assert_eq!(both("", &["sh"]).expect("merged").args(), words(&["sh"]));
        assert_eq!(both("", &[]), Err(RequestError::NoCommand));
    }

    #[test]
    fn refusals() {
        let refusal = |change: &dyn Fn(&mut ContainerConfig)| {
            merged(change).expect_err("a refusal").to_string()
        };
        assert_eq!(refusal(&|c| c.env = words(&["=x"])), "invalid environment variable: =x");
        assert_eq!(
            refusal(&|c| c.working_dir = "tmp".to_owned()),
            "the working directory 'tmp' is invalid, it needs to be an absolute path"
        );
        assert_eq!(
            refusal(&|c| c.stop_signal = Some("SIGFOO".to_owned())),
            "invalid signal: SIGFOO"
        );
        let health = HealthCheck { interval: 5, ..HealthCheck::default() };
        assert_eq!(
            refusal(&|c| c.healthcheck = Some(health.clone())),
            "Interval in Healthcheck cannot be less than 1ms"
        );
    }
}
