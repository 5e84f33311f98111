//! What an engine is told: dockerd's flags, and the same words in a configuration file.
//!
//! Invariant: a word is known or refused by name, and never ignored; a word of the file that is also a flag is a
//! conflict, as with dockerd.
//! Absent on purpose: what becomes of the settings.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;

use dhow_distribution::Mirror;
use dhow_engine::plan::Defaults;
use dhow_engine::request::Ulimit;
use dhow_network::{AddressPool, DefaultNetwork};

use super::without_effect::{DOCKERS_PLACES, is_taken, refusal};

/// All that was said.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) data_root: PathBuf,
    pub(super) exec_root: PathBuf,
    pub(super) hosts: Vec<String>,
    pub(super) group: Option<String>,
    pub(super) storage_driver: Option<String>,
    pub(super) level: Level,
    pub(super) pid_file: Option<PathBuf>,
    pub(super) config_file: Option<PathBuf>,
    pub(super) network: DefaultNetwork,
    pub(super) pools: Vec<AddressPool>,
    /// Options of networks to be made, by driver.
    pub(super) network_options: BTreeMap<String, BTreeMap<String, String>>,
    pub(super) forwarding: bool,
    pub(super) labels: Vec<String>,
    pub(super) insecure: Vec<String>,
    pub(super) mirrors: Vec<Mirror>,
    /// The same as they were written.
    pub(super) mirror_texts: Vec<String>,
    /// `http_proxy`, `https_proxy` and `no_proxy`, as far as they are said here.
    pub(super) proxies: BTreeMap<&'static str, String>,
    pub(super) attempts_max: Option<u32>,
    pub(super) systemd_cgroups: bool,
    pub(super) tls: Tls,
    pub(super) ready_fd: Option<u32>,
    /// Only to be read, not to be obeyed.
    pub(super) validate: bool,
    /// What a registry can serve again is not kept once it is unpacked.
    pub(super) discard_unpacked_layers: bool,
    pub(super) downloads_max: Option<usize>,
    pub(super) uploads_max: Option<usize>,
    pub(super) defaults: Defaults,
}

/// How much is said about what goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Fatal,
    Error,
    Warn,
    Info,
    Debug,
}

/// Certificates for TCP.
#[derive(Debug, Default)]
pub(super) struct Tls {
    pub(super) verify: bool,
    pub(super) ca: Option<PathBuf>,
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
}

/// A word that cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused(pub(super) String);

/// Flags without a value.
const SWITCHES: &[&str] = &[
    "allow-direct-routing",
    "cri-containerd",
    "debug",
    "discard-unpacked-layers",
    "experimental",
    "icc",
    "init",
    "ip-forward",
    "ip-forward-no-drop",
    "ip-masq",
    "ip6tables",
    "iptables",
    "ipv6",
    "live-restore",
    "no-new-privileges",
    "raw-logs",
    "selinux-enabled",
    "tlsverify",
    "userland-proxy",
    "validate",
];

/// Where we look for a file if nobody names one, in this order.
const OURS: &str = "/etc/dhow/daemon.json";
const DOCKERS: &str = "/etc/docker/daemon.json";

/// Whose configuration file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// The one that a flag names.
    Named,
    Ours,
    /// Docker's: what it says of its own places is not for us.
    Dockers,
}

impl Settings {
    /// Reads the command line, then the file that it names or the usual one.
    pub(super) fn read(
        words: impl Iterator<Item = OsString>,
        program: PathBuf,
    ) -> Result<Self, Refused> {
        let mut settings = Self::standard(program);
        let mut said = BTreeSet::new();
        settings.read_flags(words, &mut said)?;
        let candidates = match &settings.config_file {
            Some(path) => vec![(path.clone(), Whose::Named)],
            None => vec![(OURS.into(), Whose::Ours), (DOCKERS.into(), Whose::Dockers)],
        };
        for (path, whose) in candidates {
            match std::fs::read_to_string(&path) {
                Ok(text) => {
                    let read = settings.read_file(&text, &said, whose);
                    read.map_err(|Refused(why)| Refused(format!("{}: {why}", path.display())))?;
                    break;
                }
                Err(error)
                    if whose != Whose::Named && error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(Refused(format!("read {}: {error}", path.display()))),
            }
        }
        Ok(settings)
    }

    fn standard(program: PathBuf) -> Self {
        Self {
            data_root: "/var/lib/dhow".into(),
            exec_root: "/run/dhow".into(),
            hosts: Vec::new(),
            group: None,
            storage_driver: None,
            level: Level::Info,
            pid_file: None,
            config_file: None,
            network: DefaultNetwork::standard(),
            pools: Vec::new(),
            network_options: BTreeMap::new(),
            forwarding: true,
            labels: Vec::new(),
            insecure: Vec::new(),
            mirrors: Vec::new(),
            mirror_texts: Vec::new(),
            proxies: BTreeMap::new(),
            attempts_max: None,
            systemd_cgroups: false,
            tls: Tls::default(),
            ready_fd: None,
            validate: false,
            discard_unpacked_layers: false,
            downloads_max: None,
            uploads_max: None,
            defaults: Defaults::new("dhow".to_owned(), program),
        }
    }

    fn read_flags(
        &mut self,
        words: impl Iterator<Item = OsString>,
        said: &mut BTreeSet<String>,
    ) -> Result<(), Refused> {
        use lexopt::prelude::*;
        let refused = |error: lexopt::Error| Refused(error.to_string());
        let mut parser = lexopt::Parser::from_args(words);
        while let Some(argument) = parser.next().map_err(refused)? {
            let name = match argument {
                Short('H') => "host".to_owned(),
                Short('G') => "group".to_owned(),
                Short('s') => "storage-driver".to_owned(),
                Short('l') => "log-level".to_owned(),
                Short('p') => "pidfile".to_owned(),
                Short('b') => "bridge".to_owned(),
                Short('D') => "debug".to_owned(),
                Long(name) => name.to_owned(),
                other => return Err(refused(other.unexpected())),
            };
            let value = if SWITCHES.contains(&name.as_str()) {
                parser.optional_value().unwrap_or_else(|| "true".into())
            } else {
                parser.value().map_err(refused)?
            };
            let value = value
                .into_string()
                .map_err(|value| Refused(format!("--{name}: {value:?} is not UTF-8")))?;
            self.set(&name, &value)?;
            said.insert(name);
        }
        Ok(())
    }

    /// A JSON object of the same words; lists and maps say a word more than once.
    fn read_file(
        &mut self,
        text: &str,
        said: &BTreeSet<String>,
        whose: Whose,
    ) -> Result<(), Refused> {
        use serde_json::Value;
        let file: serde_json::Map<String, Value> = serde_json::from_str(text)
            .map_err(|error| Refused(format!("the configuration file: {error}")))?;
        for (name, value) in &file {
            // dockerd's names of lists are plural.
            let flag = match name.as_str() {
                "hosts" => "host",
                "labels" => "label",
                "insecure-registries" => "insecure-registry",
                "registry-mirrors" => "registry-mirror",
                "exec-opts" => "exec-opt",
                "log-opts" => "log-opt",
                "dns-opts" => "dns-opt",
                "default-address-pools" => "default-address-pool",
                "default-network-opts" => "default-network-opt",
                "runtimes" => "add-runtime",
                "default-ulimits" => "default-ulimit",
                "features" => "feature",
                "node-generic-resources" => "node-generic-resource",
                other => other,
            };
            if whose == Whose::Dockers && DOCKERS_PLACES.contains(&name.as_str()) {
                continue;
            }
            if name == "builder" && value.is_object() {
                // A tree of rules for a cache that has its own.
                continue;
            }
            if let ("proxies", Value::Object(proxies)) = (name.as_str(), value) {
                for (name, value) in proxies {
                    let text = value.as_str().filter(|_| name.ends_with("-proxy"));
                    let text = text.ok_or_else(|| {
                        Refused(format!("the configuration file: proxies: {name} cannot be read"))
                    })?;
                    self.set(name, text)?;
                }
                continue;
            }
            if said.contains(flag) {
                return Err(Refused(format!(
                    "the following directives are specified both as a flag and in the configuration file: {name}"
                )));
            }
            for text in texts(flag, value).ok_or_else(|| {
                Refused(format!("the configuration file: {name}: {value} cannot be read"))
            })? {
                self.set(flag, &text)?;
            }
        }
        Ok(())
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), Refused> {
        let bad = |why: &dyn std::fmt::Display| Refused(format!("--{name} {value:?}: {why}"));
        let path = || absolute(value).ok_or_else(|| bad(&"not an absolute path"));
        let flag = || parse_flag(value).ok_or_else(|| bad(&"not true or false"));
        let defaults = &mut self.defaults;
        match name {
            "data-root" => self.data_root = path()?,
            "exec-root" => self.exec_root = path()?,
            "host" => self.hosts.push(value.to_owned()),
            "group" => self.group = Some(value.to_owned()),
            "storage-driver" => self.storage_driver = Some(value.to_owned()),
            "log-level" => self.level = Level::parse(value).ok_or_else(|| bad(&"no level"))?,
            "debug" => {
                if flag()? {
                    self.level = Level::Debug;
                }
            }
            "pidfile" => self.pid_file = Some(path()?),
            "config-file" => self.config_file = Some(value.into()),
            "ip-forward" => self.forwarding = flag()?,
            "label" => self.labels.push(value.to_owned()),
            "insecure-registry" => self.insecure.push(value.to_owned()),
            "registry-mirror" => {
                self.mirrors.push(Mirror::parse(value).map_err(|error| bad(&error))?);
                self.mirror_texts.push(value.to_owned());
            }
            "tlsverify" => self.tls.verify = flag()?,
            "tlscacert" => self.tls.ca = Some(value.into()),
            "tlscert" => self.tls.certificate = Some(value.into()),
            "tlskey" => self.tls.key = Some(value.into()),
            "ready-fd" => self.ready_fd = Some(value.parse().map_err(|error| bad(&error))?),
            // Containers never depend on the engine: nothing else is to be had.
            "live-restore" if flag()? => {}
            "live-restore" => return Err(bad(&"containers always survive this engine")),
            "exec-opt" => match value {
                "native.cgroupdriver=systemd" => {
                    self.systemd_cgroups = true;
                    defaults.cgroup_parent = "system.slice".to_owned();
                }
                "native.cgroupdriver=cgroupfs" => self.systemd_cgroups = false,
                _ => return Err(bad(&"no such option")),
            },
            "cgroup-parent" => defaults.cgroup_parent = value.to_owned(),
            "init" => defaults.init = flag()?,
            "no-new-privileges" => defaults.no_new_privileges = flag()?,
            "log-driver" => defaults.log.driver = value.to_owned(),
            "log-opt" => {
                let (key, text) = value.split_once('=').ok_or_else(|| bad(&"not NAME=VALUE"))?;
                defaults.log.options.insert(key.to_owned(), text.to_owned());
            }
            "add-runtime" => {
                let (key, text) = value.split_once('=').ok_or_else(|| bad(&"not NAME=PATH"))?;
                let program = absolute(text).ok_or_else(|| bad(&"not an absolute path"))?;
                defaults.runtimes.insert(key.to_owned(), program);
            }
            "default-ulimit" => {
                defaults
                    .ulimits
                    .push(parse_ulimit(value).ok_or_else(|| bad(&"not NAME=SOFT:HARD"))?);
            }
            "dns" => defaults.dns.push(value.parse().map_err(|error| bad(&error))?),
            "dns-opt" => defaults.dns_options.push(value.to_owned()),
            "dns-search" => defaults.dns_search.push(value.to_owned()),
            "host-gateway-ip" => {
                defaults.host_gateway = Some(value.parse().map_err(|error| bad(&error))?);
            }
            "default-shm-size" => {
                defaults.shm_size = parse_size(value).ok_or_else(|| bad(&"not a size"))?;
            }
            "seccomp-profile" => defaults.seccomp = Some(profile(value).map_err(|e| bad(&e))?),
            "validate" => self.validate = flag()?,
            "discard-unpacked-layers" => self.discard_unpacked_layers = flag()?,
            "max-concurrent-downloads" => {
                self.downloads_max = Some(count(value).map_err(|e| bad(&e))?)
            }
            "max-download-attempts" => {
                let attempts = count(value).map_err(|e| bad(&e))?;
                self.attempts_max = Some(attempts.try_into().map_err(|e| bad(&e))?);
            }
            "http-proxy" => drop(self.proxies.insert("http_proxy", value.to_owned())),
            "https-proxy" => drop(self.proxies.insert("https_proxy", value.to_owned())),
            "no-proxy" => drop(self.proxies.insert("no_proxy", value.to_owned())),
            "default-runtime" => {
                let is_ours = matches!(value, "dhow" | "runc");
                defaults.runtime = if is_ours { String::new() } else { value.to_owned() };
            }
            "max-concurrent-uploads" => self.uploads_max = Some(count(value).map_err(|e| bad(&e))?),
            _ if self.set_network(name, value)? => {}
            _ => match is_taken(name, value) {
                Some(true) => {}
                Some(false) => return Err(bad(&"not to be had from this engine")),
                None => {
                    return Err(match refusal(name) {
                        Some(why) => Refused(format!("--{name}: {why}")),
                        None => Refused(format!("unknown flag: --{name}")),
                    });
                }
            },
        }
        Ok(())
    }
}

impl Settings {
    /// The words about networks; whether it is one of them.
    fn set_network(&mut self, name: &str, value: &str) -> Result<bool, Refused> {
        let bad = |why: &dyn std::fmt::Display| Refused(format!("--{name} {value:?}: {why}"));
        let flag = || parse_flag(value).ok_or_else(|| bad(&"not true or false"));
        let network = &mut self.network;
        match name {
            "bip" => network.address = Some(of_kind(value, false).map_err(|e| bad(&e))?),
            "bip6" => network.address6 = Some(of_kind(value, true).map_err(|e| bad(&e))?),
            "fixed-cidr" => network.range = Some(of_kind(value, false).map_err(|e| bad(&e))?),
            "fixed-cidr-v6" => network.range6 = Some(of_kind(value, true).map_err(|e| bad(&e))?),
            "default-gateway" => {
                network.gateway = Some(of_kind(value, false).map_err(|e| bad(&e))?);
            }
            "default-gateway-v6" => {
                network.gateway6 = Some(of_kind(value, true).map_err(|e| bad(&e))?);
            }
            "bridge" => {
                network.is_absent = value == "none";
                network.interface =
                    Some(value.to_owned()).filter(|name| !matches!(name.as_str(), "" | "none"));
            }
            "icc" => network.icc = flag()?,
            "ip-masq" => network.masquerade = flag()?,
            "ipv6" => network.ipv6 = flag()?,
            "mtu" => {
                let mtu: u32 = value.parse().map_err(|error| bad(&error))?;
                // Docker's word for the usual one.
                network.mtu = if mtu == 0 { DefaultNetwork::standard().mtu } else { mtu };
            }
            "ip" => {
                let address: std::net::Ipv4Addr = value.parse().map_err(|error| bad(&error))?;
                network.binding = Some(address).filter(|address| !address.is_unspecified());
            }
            "default-address-pool" => self.pools.push(value.parse().map_err(|e| bad(&e))?),
            "default-network-opt" => {
                let (driver, option) =
                    value.split_once('=').ok_or_else(|| bad(&"not DRIVER=NAME=VALUE"))?;
                let (key, text) =
                    option.split_once('=').ok_or_else(|| bad(&"not DRIVER=NAME=VALUE"))?;
                let options = self.network_options.entry(driver.to_owned()).or_default();
                options.insert(key.to_owned(), text.to_owned());
            }
            _ => return Ok(false),
        }
        if network.interface.is_some() && network.address.is_some() {
            let words =
                "you specified -b & --bip, mutually exclusive options. Please specify only one";
            return Err(Refused(words.to_owned()));
        }
        Ok(true)
    }
}

/// An address or subnet of one kind, told by its text.
fn of_kind<T>(text: &str, is_ipv6: bool) -> Result<T, String>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    match (text.contains(':'), is_ipv6) {
        (true, false) => Err("not of IPv4".to_owned()),
        (false, true) => Err("not of IPv6".to_owned()),
        _ => text.parse().map_err(|fault: T::Err| fault.to_string()),
    }
}

impl Level {
    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "debug" | "trace" => Self::Debug,
            "info" => Self::Info,
            "warn" | "warning" => Self::Warn,
            "error" => Self::Error,
            "fatal" | "panic" => Self::Fatal,
            _ => return None,
        })
    }
}

/// What a value of the file says, as so many flags.
fn texts(name: &str, value: &serde_json::Value) -> Option<Vec<String>> {
    use serde_json::Value;
    let one = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        _ => None,
    };
    match value {
        Value::Array(values) if name == "default-address-pool" => {
            let pool = |pool: &Value| {
                Some(format!("base={},size={}", one(pool.get("base")?)?, one(pool.get("size")?)?))
            };
            values.iter().map(pool).collect()
        }
        Value::Object(drivers) if name == "default-network-opt" => {
            let mut all = Vec::new();
            for (driver, options) in drivers {
                for (key, value) in options.as_object()? {
                    all.push(format!("{driver}={key}={}", one(value)?));
                }
            }
            Some(all)
        }
        Value::Array(values) => values.iter().map(one).collect(),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| {
                let text = match (name, value) {
                    ("add-runtime", value) => one(value.get("path")?)?,
                    ("default-ulimit", value) => {
                        let number = |field| value.get(field).and_then(Value::as_i64);
                        format!("{}:{}", number("Soft")?, number("Hard")?)
                    }
                    (_, value) => one(value)?,
                };
                Some(format!("{key}={text}"))
            })
            .collect(),
        value => Some(vec![one(value)?]),
    }
}

/// A number of things, at least one.
fn count(text: &str) -> Result<usize, &'static str> {
    text.parse().ok().filter(|count| *count > 0).ok_or("not a number above zero")
}

fn absolute(text: &str) -> Option<PathBuf> {
    text.starts_with('/').then(|| PathBuf::from(text))
}

fn parse_flag(text: &str) -> Option<bool> {
    match text {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

fn parse_ulimit(text: &str) -> Option<Ulimit> {
    let (name, limits) = text.split_once('=')?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    Some(Ulimit { name: name.to_owned(), soft: soft.parse().ok()?, hard: hard.parse().ok()? })
}

fn parse_size(text: &str) -> Option<i64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return None,
    };
    digits.parse::<i64>().ok()?.checked_mul(1 << shift)
}

/// A file's content; `builtin` and `unconfined` are words.
fn profile(value: &str) -> Result<String, std::io::Error> {
    match value {
        "unconfined" | "builtin" => Ok(value.to_owned()),
        path => std::fs::read_to_string(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str], file: &str) -> Result<Settings, Refused> {
        let mut settings = Settings::standard("/dhow".into());
        let mut said = BTreeSet::new();
        settings.read_flags(words.iter().map(OsString::from), &mut said)?;
        settings.read_file(file, &said, Whose::Named)?;
        Ok(settings)
    }

    #[test]
    fn flags_and_file_say_the_same() {
        let flags = [
            "--data-root",
            "/d",
            "-H",
            "unix:///a",
            "-Hunix:///b",
            "--debug",
            "--log-opt=max-size=1m",
        ];
        let settings = read(&flags, "{}").expect("known words");
        assert_eq!(settings.data_root, PathBuf::from("/d"));
        assert_eq!(settings.hosts, ["unix:///a", "unix:///b"]);
        assert_eq!(settings.level, Level::Debug);
        assert_eq!(settings.defaults.log.options["max-size"], "1m");
        let file = r#"{"data-root": "/d", "hosts": ["unix:///a", "unix:///b"], "debug": true,
            "log-opts": {"max-size": "1m"}, "runtimes": {"crun": {"path": "/usr/bin/crun"}},
            "default-ulimits": {"nofile": {"Name": "nofile", "Soft": 1, "Hard": 2}}}"#;
        let settings = read(&[], file).expect("known words");
        assert_eq!(settings.hosts.len(), 2);
        assert_eq!(settings.defaults.runtimes["crun"], PathBuf::from("/usr/bin/crun"));
        assert_eq!(settings.defaults.ulimits[0].hard, 2);
    }

    #[test]
    fn docker_s_own_file_is_read_but_for_its_places() {
        let file = r#"{"data-root": "/var/lib/docker", "hosts": ["fd://"], "userland-proxy": false,
            "features": {"containerd-snapshotter": true}, "builder": {"gc": {"enabled": true}},
            "log-opts": {"max-size": "1m"}, "max-concurrent-downloads": 7}"#;
        let mut settings = Settings::standard("/dhow".into());
        settings.read_file(file, &BTreeSet::new(), Whose::Dockers).expect("known words");
        assert_eq!(settings.data_root, PathBuf::from("/var/lib/dhow"));
        assert_eq!(settings.hosts, [""; 0]);
        assert_eq!(settings.downloads_max, Some(7));
        assert_eq!(settings.defaults.log.options["max-size"], "1m");
    }

    /// dockerd's flags, but for those that end it at once.
    const DOCKERD: &str = "add-runtime allow-direct-routing authorization-plugin bip \
        bridge-accept-fwmark cdi-spec-dir cgroup-parent config-file containerd containerd-namespace \
        containerd-plugins-namespace cpu-rt-period cpu-rt-runtime cri-containerd data-root debug \
        default-cgroupns-mode default-ipc-mode default-runtime default-shm-size default-ulimit dns \
        dns-opt dns-search exec-opt exec-root experimental feature firewall-backend group host \
        host-gateway-ip http-proxy https-proxy init init-path insecure-registry ip-forward \
        ip-forward-no-drop ip-masq ip6tables iptables label live-restore log-driver log-format \
        log-level log-opt max-concurrent-downloads max-concurrent-uploads max-download-attempts \
        metrics-addr network-control-plane-mtu no-new-privileges no-proxy node-generic-resource \
        pidfile raw-logs registry-mirror rootless seccomp-profile selinux-enabled shutdown-timeout \
        storage-driver storage-opt swarm-default-advertise-addr tls tlscacert tlscert tlskey \
        tlsverify userland-proxy userland-proxy-path userns-remap validate bip6 bridge \
        default-address-pool default-gateway default-gateway-v6 default-network-opt fixed-cidr \
        fixed-cidr-v6 icc ip ipv6 mtu";

    #[test]
    fn every_flag_of_dockerd_is_known_and_told() {
        let page = include_str!("../../../../docs/configuration.md");
        for name in DOCKERD.split_whitespace() {
            // Whatever is wrong with the value, it is not the name.
            let mut settings = Settings::standard("/dhow".into());
            let said = settings.set(name, "").err().map(|Refused(why)| why).unwrap_or_default();
            assert!(!said.contains("unknown flag"), "{said}");
            assert!(page.contains(&format!("`{name}`")), "{name}");
        }
    }

    #[test]
    fn the_default_network_is_settled_by_dockerd_s_words() {
        let flags = [
            "--bip=10.5.0.7/16",
            "--fixed-cidr",
            "10.5.1.0/24",
            "--default-gateway=10.5.0.9",
            "--ipv6",
            "--fixed-cidr-v6=fd00:5::/64",
            "--mtu=1400",
            "--icc=false",
            "--ip-masq=false",
            "--ip=127.0.0.1",
            "--default-address-pool=base=10.10.0.0/16,size=24",
            "--default-network-opt=bridge=com.docker.network.driver.mtu=1200",
        ];
        let by_flags = read(&flags, "{}").expect("known words");
        let file = r#"{"bip": "10.5.0.7/16", "fixed-cidr": "10.5.1.0/24", "default-gateway": "10.5.0.9",
            "ipv6": true, "fixed-cidr-v6": "fd00:5::/64", "mtu": 1400, "icc": false, "ip-masq": false,
            "ip": "127.0.0.1", "default-address-pools": [{"base": "10.10.0.0/16", "size": 24}],
            "default-network-opts": {"bridge": {"com.docker.network.driver.mtu": "1200"}}}"#;
        let by_file = read(&[], file).expect("known words");
        assert_eq!(by_flags.network, by_file.network);
        assert_eq!(
            (by_flags.pools, &by_flags.network_options),
            (by_file.pools, &by_file.network_options)
        );
        let network = by_file.network;
        assert_eq!(network.address.map(|own| own.address), "10.5.0.7".parse().ok());
        assert_eq!((network.mtu, network.icc, network.masquerade), (1400, false, false));
        assert_eq!(by_file.network_options["bridge"]["com.docker.network.driver.mtu"], "1200");
        let none = read(&["-b", "none"], "{}").expect("known words").network;
        assert!(none.is_absent && none.interface.is_none());
        let refused = |words: &[&str]| read(words, "{}").expect_err("refused").0;
        assert!(refused(&["--bridge=br0", "--bip=10.0.0.1/8"]).contains("mutually exclusive"));
        assert_eq!(refused(&["--bip=fd00::1/64"]), "--bip \"fd00::1/64\": not of IPv4");
    }

    #[test]
    fn refusals_name_the_word() {
        let check = |words: &[&str], file: &str, expected: &str| {
            assert_eq!(read(words, file).expect_err(expected).0, expected);
        };
        check(&["--bird"], "{}", "missing argument for option '--bird'");
        check(&["--bird=1"], "{}", "unknown flag: --bird");
        check(&["--iptables=false"], "{}", "--iptables \"false\": not to be had from this engine");
        check(&[], r#"{"bird": 1}"#, "unknown flag: --bird");
        check(&["--data-root", "d"], "{}", "--data-root \"d\": not an absolute path");
        check(
            &["--live-restore=false"],
            "{}",
            "--live-restore \"false\": containers always survive this engine",
        );
        check(
            &["--data-root", "/d"],
            r#"{"data-root": "/e"}"#,
            "the following directives are specified both as a flag and in the configuration file: data-root",
        );
    }
}
