//! How a container lives on this host: mounts, namespaces, limits, rights.
//!
//! Invariant: [`HostConfig::check`] holds everything that can be said without a look at the machine.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use dhow_spec::runtime::Clock;
use serde::{Deserialize, Serialize};

use super::config::ContainerConfig;
use super::error::{Conflict, LimitFault, RequestError};
use super::mode::{CgroupnsMode, IpcMode, NetworkMode, PidMode, UsernsMode, UtsMode};
use super::mount::{Bind, MountRequest, VolumesFrom, check_target};
use super::policy::{LogConfig, RestartPolicy};
use super::port::{Port, PortBinding};
use super::resources::Resources;
use super::security::{Capability, ExtraHost, SecurityOption};

/// How it lives here.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HostConfig {
    /// Paths and volumes, as texts.
    pub binds: Vec<Bind>,
    /// A file of the client's; kept for who asks.
    pub container_id_file: String,
    /// Where its output goes.
    pub log: LogConfig,
    /// Where its network comes from.
    pub network: NetworkMode,
    /// Ways from the host to its ports.
    pub ports: BTreeMap<Port, Vec<PortBinding>>,
    /// Whether it is started again.
    pub restart: RestartPolicy,
    /// Whether it is removed once it has ended.
    pub auto_remove: bool,
    /// Driver of its volumes; `local` where empty.
    pub volume_driver: String,
    /// Containers whose volumes it shares.
    pub volumes_from: Vec<VolumesFrom>,
    /// Paths, volumes, memory, images.
    pub mounts: Vec<MountRequest>,
    /// Rows and columns of its terminal at the start.
    pub console_size: Option<(u16, u16)>,
    /// Notes for the runtime.
    pub annotations: BTreeMap<String, String>,
    /// Capabilities beside the default ones.
    pub cap_add: Vec<Capability>,
    /// Default capabilities that it does not get.
    pub cap_drop: Vec<Capability>,
    /// How much of the cgroup tree it sees.
    pub cgroupns: CgroupnsMode,
    /// Name servers.
    pub dns: Vec<IpAddr>,
    /// Options of the resolver.
    pub dns_options: Vec<String>,
    /// Domains to search.
    pub dns_search: Vec<String>,
    /// Names that it knows.
    pub extra_hosts: Vec<ExtraHost>,
    /// More groups, by name or number.
    pub group_add: Vec<String>,
    /// Where shared memory comes from.
    pub ipc: IpcMode,
    /// A cgroup of somebody else's; refused where not empty.
    pub cgroup: String,
    /// Containers that it knows by another name.
    pub links: Vec<String>,
    /// The OOM killer's bias.
    pub oom_score_adj: i64,
    /// Where processes are seen.
    pub pid: PidMode,
    /// Whether it may do what root of the host may.
    pub privileged: bool,
    /// Whether every exposed port gets a port of the host.
    pub publish_all_ports: bool,
    /// Whether its root cannot be written to.
    pub readonly_rootfs: bool,
    /// What guards it.
    pub security: Vec<SecurityOption>,
    /// Options of the storage driver.
    pub storage_options: BTreeMap<String, String>,
    /// Memory, by place; options as in fstab.
    pub tmpfs: BTreeMap<String, String>,
    /// Where the host name lives.
    pub uts: UtsMode,
    /// Whose user ids.
    pub userns: UsernsMode,
    /// Bytes of `/dev/shm`; 64 MiB where zero.
    pub shm_size: i64,
    /// Kernel parameters.
    pub sysctls: BTreeMap<String, String>,
    /// Which runtime; the engine's choice where empty.
    pub runtime: String,
    /// Windows: only `default` is nothing special.
    pub isolation: String,
    /// Paths that it does not see; Docker's list where absent.
    pub masked_paths: Option<Vec<String>>,
    /// Paths that it cannot write to; Docker's list where absent.
    pub readonly_paths: Option<Vec<String>>,
    /// Whether a small init stands before its program; the engine's choice where absent.
    pub init: Option<bool>,
    /// Limits.
    pub resources: Resources,
    /// How far its clocks are off, in nanoseconds.
    pub time_offsets: BTreeMap<Clock, i64>,
}

impl HostConfig {
    pub(super) fn check(&self, config: &ContainerConfig) -> Result<(), RequestError> {
        if self.auto_remove && self.restart != RestartPolicy::No {
            return Err(RequestError::Conflict(Conflict::AutoRemoveAndRestart));
        }
        if !matches!(self.isolation.as_str(), "" | "default") {
            return Err(RequestError::word(super::error::Field::Isolation, &self.isolation));
        }
        if self.annotations.contains_key("") {
            return Err(RequestError::EmptyAnnotation);
        }
        self.check_unsupported()?;
        self.check_links()?;
        self.check_namespaces(config).map_err(RequestError::Conflict)?;
        if self.shm_size < 0 {
            return Err(RequestError::Limit(LimitFault::ShmSize));
        }
        let value = self.oom_score_adj;
        if !(-1000..=1000).contains(&value) {
            return Err(RequestError::Limit(LimitFault::OomScoreAdj { value }));
        }
        self.check_clocks()?;
        self.resources.check()?;
        self.check_mounts()
    }

    fn check_unsupported(&self) -> Result<(), RequestError> {
        let what = match () {
            () if !self.cgroup.is_empty() => "Cgroup",
            () if !matches!(self.volume_driver.as_str(), "" | "local") => {
                "a VolumeDriver other than local"
            }
            () => return Ok(()),
        };
        Err(RequestError::Unsupported { what })
    }

    fn check_links(&self) -> Result<(), RequestError> {
        let bad = self.links.iter().find(|link| crate::networks::parse_link(link).is_none());
        bad.map_or(Ok(()), |link| Err(RequestError::Link { text: link.clone() }))
    }

    fn check_namespaces(&self, config: &ContainerConfig) -> Result<(), Conflict> {
        let named = !config.hostname.is_empty();
        if self.uts == UtsMode::Host && named {
            return Err(Conflict::HostnameAndUts);
        }
        if self.network == NetworkMode::Host && !self.links.is_empty() {
            return Err(Conflict::LinksAndHost);
        }
        if !matches!(self.network, NetworkMode::Container(_)) {
            return Ok(());
        }
        match () {
            () if named => Err(Conflict::HostnameAndNetwork),
            () if !self.links.is_empty() => Err(Conflict::LinksAndContainer),
            () if !self.dns.is_empty() => Err(Conflict::DnsAndNetwork),
            () if !self.extra_hosts.is_empty() => Err(Conflict::HostsAndNetwork),
            () if !self.ports.is_empty() || self.publish_all_ports => {
                Err(Conflict::PublishAndNetwork)
            }
            () if !config.exposed_ports.is_empty() => Err(Conflict::ExposeAndNetwork),
            () => Ok(()),
        }
    }

    /// The kernel keeps an offset below about 146 years, so that a clock never wraps.
    fn check_clocks(&self) -> Result<(), RequestError> {
        const MAX_NS: u64 = i64::MAX.unsigned_abs() / 2;
        let bad = self.time_offsets.iter().find(|(_, offset)| offset.unsigned_abs() > MAX_NS);
        bad.map_or(Ok(()), |(clock, _)| Err(RequestError::TimeOffset { clock: *clock }))
    }

    fn check_mounts(&self) -> Result<(), RequestError> {
        let mut places = BTreeSet::new();
        let mut take = |destination: String| match places.insert(destination.clone()) {
            true => Ok(()),
            false => Err(RequestError::DuplicateMount { destination }),
        };
        for bind in &self.binds {
            take(bind.destination.clone())?;
        }
        for mount in &self.mounts {
            mount.check()?;
            take(mount.destination())?;
        }
        for place in self.tmpfs.keys() {
            take(check_target(place).map_err(|fault| RequestError::Tmpfs { fault })?)?;
        }
        Ok(())
    }
}

/// Reads a time offset: `[monotonic=|boottime=]SECONDS`, with a sign and a fraction if wanted.
///
/// Without a clock it is meant for both.
pub fn parse_time_offset(text: &str) -> Result<Vec<(Clock, i64)>, RequestError> {
    let fault = || RequestError::word(super::error::Field::TimeOffset, text);
    let (clocks, seconds) = match text.split_once('=') {
        Some(("monotonic", seconds)) => (vec![Clock::Monotonic], seconds),
        Some(("boottime", seconds)) => (vec![Clock::Boottime], seconds),
        Some(_) => return Err(fault()),
        None => (vec![Clock::Boottime, Clock::Monotonic], text),
    };
    let offset = nanoseconds(seconds).ok_or_else(fault)?;
    Ok(clocks.into_iter().map(|clock| (clock, offset)).collect())
}

fn nanoseconds(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let digits = digits.strip_suffix('s').unwrap_or(digits);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) || fraction.len() > 9 {
        return None;
    }
    let fraction: i64 = format!("{fraction:0<9}").parse().ok()?;
    let total = whole.parse::<i64>().ok()?.checked_mul(1_000_000_000)?.checked_add(fraction)?;
    Some(if negative { -total } else { total })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_offsets_have_signs_and_fractions() {
        let offset = |text: &str| parse_time_offset(text).expect(text);
        assert_eq!(offset("monotonic=3600"), [(Clock::Monotonic, 3_600_000_000_000)]);
        assert_eq!(offset("boottime=-1.5s"), [(Clock::Boottime, -1_500_000_000)]);
        assert_eq!(offset("+1").len(), 2);
        for text in ["", "realtime=1", "monotonic=", "1h", "1.", "--1", "9999999999999"] {
            assert!(parse_time_offset(text).is_err(), "{text}");
        }
    }

    #[test]
    fn conflicts_are_told_in_dockers_words() {
        let check = |change: &dyn Fn(&mut HostConfig, &mut ContainerConfig), expected: &str| {
            let (mut host, mut config) = (HostConfig::default(), ContainerConfig::default());
            change(&mut host, &mut config);
            assert_eq!(host.check(&config).expect_err(expected).to_string(), expected);
        };
        let container = || NetworkMode::Container("x".to_owned());
        check(
            &|host, _| (host.auto_remove, host.restart) = (true, RestartPolicy::Always),
            "can't create 'AutoRemove' container with restart policy",
        );
        check(
            &|host, config| (host.network, config.hostname) = (container(), "h".to_owned()),
            "conflicting options: hostname and the network mode",
        );
        check(
            &|host, _| (host.network, host.publish_all_ports) = (container(), true),
            "conflicting options: port publishing and the container type network mode",
        );
        check(
            &|host, config| (host.uts, config.hostname) = (UtsMode::Host, "h".to_owned()),
            "conflicting options: hostname and the UTS mode",
        );
        check(
            &|host, _| {
                host.binds = vec!["/a:/x".parse().expect("a bind")];
                host.tmpfs = BTreeMap::from([("/x/".to_owned(), String::new())]);
            },
            "Duplicate mount point: /x",
        );
        check(
            &|host, _| host.oom_score_adj = 1001,
            "Invalid value 1001, range for oom score adj is [-1000, 1000]",
        );
        check(
            &|host, _| host.isolation = "hyperv".to_owned(),
            "invalid isolation 'hyperv' on linux",
        );
        check(&|host, _| host.links = vec!["a:b:c".to_owned()], "bad format for links: a:b:c");
    }
}
