//! Limits of a container, as asked for when it is created or updated.
//!
//! Invariant: zero, empty and absent mean what they mean in Docker: no limit, or no change.
//! Absent on purpose: what this machine's cgroups can do, and the numbers of devices.

use std::collections::BTreeMap;
use std::str::FromStr;

use dhow_spec::runtime::RlimitKind;
use serde::{Deserialize, Serialize};

use super::error::{Conflict, Field, LimitFault, RequestError};
use super::security::DeviceRuleText;

/// Less memory than that no container starts in.
const MEMORY_MIN_BYTES: i64 = 6 << 20;

/// The limits.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Relative weight of CPU time, in v1's scale.
    pub cpu_shares: i64,
    /// Memory in bytes.
    pub memory: i64,
    /// CPU time in billionths of a CPU.
    pub nano_cpus: i64,
    /// Above which cgroup; the engine's own where empty.
    pub cgroup_parent: String,
    /// Relative weight of block I/O.
    pub blkio_weight: u16,
    /// The same by device.
    pub blkio_weight_device: Vec<DeviceWeight>,
    /// Bytes read per second, by device.
    pub blkio_read_bps: Vec<DeviceRate>,
    /// Bytes written per second, by device.
    pub blkio_write_bps: Vec<DeviceRate>,
    /// Reads per second, by device.
    pub blkio_read_iops: Vec<DeviceRate>,
    /// Writes per second, by device.
    pub blkio_write_iops: Vec<DeviceRate>,
    /// Length of a period of CPU time, in microseconds.
    pub cpu_period: i64,
    /// CPU time in a period, in microseconds.
    pub cpu_quota: i64,
    /// The period of real-time tasks.
    pub cpu_realtime_period: i64,
    /// CPU time of real-time tasks in it.
    pub cpu_realtime_runtime: i64,
    /// Which CPUs.
    pub cpuset_cpus: String,
    /// Which memory nodes.
    pub cpuset_mems: String,
    /// Devices of the host.
    pub devices: Vec<DeviceRequest>,
    /// Rules about devices that are not there yet.
    pub device_cgroup_rules: Vec<DeviceRuleText>,
    /// Devices that a driver provides.
    pub device_drivers: Vec<DeviceDriverRequest>,
    /// Memory that is left to it under pressure.
    pub memory_reservation: i64,
    /// Memory and swap together; −1 for no limit.
    pub memory_swap: i64,
    /// How gladly to swap.
    pub memory_swappiness: Option<i64>,
    /// Whether tasks wait at the limit rather than being killed (v1).
    pub oom_kill_disable: Option<bool>,
    /// Number of tasks; zero and below mean no limit.
    pub pids_limit: Option<i64>,
    /// Limits of each process.
    pub ulimits: Vec<Ulimit>,
}

/// A weight for a device of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceWeight {
    /// Its path.
    pub path: String,
    /// The weight, 10 to 1000.
    pub weight: u16,
}

/// A rate for a device of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRate {
    /// Its path.
    pub path: String,
    /// Bytes or operations per second.
    pub rate: u64,
}

/// A device of the host, or a directory of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRequest {
    /// Its path there.
    pub host_path: String,
    /// Its path in the container; the same where empty.
    pub container_path: String,
    /// Of the letters `r`, `w` and `m`; all where empty.
    pub permissions: String,
}

/// Devices that a driver provides, such as `--gpus`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceDriverRequest {
    /// The driver.
    pub driver: String,
    /// How many; −1 for all.
    pub count: i64,
    /// Which.
    pub device_ids: Vec<String>,
    /// What they must be able to do: one of these lists, all of its words.
    pub capabilities: Vec<Vec<String>>,
    /// The driver's options.
    pub options: BTreeMap<String, String>,
}

/// A limit of each process; −1 means none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// Docker's name for it (`nofile`).
    pub name: String,
    /// What the kernel enforces.
    pub soft: i64,
    /// Ceiling of the soft limit.
    pub hard: i64,
}

impl Resources {
    pub(super) fn check(&self) -> Result<(), RequestError> {
        self.memory().map_err(RequestError::Limit)?;
        self.cpu()?;
        self.block_io().map_err(RequestError::Limit)?;
        self.devices()?;
        self.ulimits.iter().try_for_each(Ulimit::check)
    }

    fn memory(&self) -> Result<(), LimitFault> {
        let (limit, swap, reserved) = (self.memory, self.memory_swap, self.memory_reservation);
        match () {
            () if limit != 0 && limit < MEMORY_MIN_BYTES => return Err(LimitFault::MemoryMin),
            () if limit == 0 && swap > 0 => return Err(LimitFault::SwapAlone),
            () if limit > 0 && swap > 0 && swap < limit => return Err(LimitFault::SwapBelowMemory),
            () if swap < -1 => return Err(LimitFault::Negative { field: "MemorySwap" }),
            () if reserved != 0 && reserved < MEMORY_MIN_BYTES => {
                return Err(LimitFault::ReservationMin);
            }
            () if limit > 0 && reserved > limit => return Err(LimitFault::ReservationAboveLimit),
            () => {}
        }
        match self.memory_swappiness {
            Some(value) if !(-1..=100).contains(&value) => Err(LimitFault::Swappiness { value }),
            _ => Ok(()),
        }
    }

    fn cpu(&self) -> Result<(), RequestError> {
        if self.nano_cpus > 0 && self.cpu_period > 0 {
            return Err(RequestError::Conflict(Conflict::NanoCpusAndPeriod));
        }
        if self.nano_cpus > 0 && self.cpu_quota > 0 {
            return Err(RequestError::Conflict(Conflict::NanoCpusAndQuota));
        }
        self.cpu_limits().map_err(RequestError::Limit)
    }

    fn cpu_limits(&self) -> Result<(), LimitFault> {
        let (period, runtime) = (self.cpu_realtime_period, self.cpu_realtime_runtime);
        let list = |text: &str| text.is_empty() || is_list(text);
        match () {
            () if self.nano_cpus < 0 => Err(LimitFault::Negative { field: "NanoCpus" }),
            () if self.cpu_shares < 0 => Err(LimitFault::Negative { field: "CpuShares" }),
            () if self.cpu_period != 0 && !(1_000..=1_000_000).contains(&self.cpu_period) => {
                Err(LimitFault::CpuPeriod)
            }
            () if self.cpu_quota > 0 && self.cpu_quota < 1_000 => Err(LimitFault::CpuQuota),
            () if period < 0 => Err(LimitFault::Negative { field: "CpuRealtimePeriod" }),
            () if runtime < 0 => Err(LimitFault::Negative { field: "CpuRealtimeRuntime" }),
            () if period != 0 && runtime > period => Err(LimitFault::RealtimeRuntime),
            () if !list(&self.cpuset_cpus) => {
                Err(LimitFault::CpusetCpus { text: self.cpuset_cpus.clone() })
            }
            () if !list(&self.cpuset_mems) => {
                Err(LimitFault::CpusetMems { text: self.cpuset_mems.clone() })
            }
            () => Ok(()),
        }
    }

    fn block_io(&self) -> Result<(), LimitFault> {
        let good = |weight: u16| weight == 0 || (10..=1000).contains(&weight);
        let all = self.blkio_weight_device.iter().all(|device| good(device.weight));
        if good(self.blkio_weight) && all { Ok(()) } else { Err(LimitFault::BlkioWeight) }
    }

    fn devices(&self) -> Result<(), RequestError> {
        if !self.device_drivers.is_empty() {
            return Err(RequestError::Unsupported { what: "DeviceRequests (--gpus)" });
        }
        for device in &self.devices {
            let letters = &device.permissions;
            if letters.len() > 3 || !letters.bytes().all(|letter| b"rwm".contains(&letter)) {
                return Err(RequestError::word(Field::DevicePermissions, letters));
            }
        }
        Ok(())
    }
}

impl Ulimit {
    /// What is limited, in the specification's words.
    pub fn kind(&self) -> Result<RlimitKind, RequestError> {
        RlimitKind::from_str(&format!("RLIMIT_{}", self.name.to_ascii_uppercase()))
            .map_err(|_| RequestError::word(Field::Ulimit, &self.name))
    }

    fn check(&self) -> Result<(), RequestError> {
        self.kind()?;
        let Self { name, soft, hard } = self;
        // −1 is the largest number, in either place.
        if *hard != -1 && (*soft == -1 || soft > hard) {
            let fault = LimitFault::Ulimit { name: name.clone(), soft: *soft, hard: *hard };
            return Err(RequestError::Limit(fault));
        }
        if *soft < -1 || *hard < -1 {
            return Err(RequestError::Limit(LimitFault::Negative { field: "Ulimits" }));
        }
        Ok(())
    }
}

/// `0-3,7`: numbers and ranges whose ends are in order.
fn is_list(text: &str) -> bool {
    text.split(',').all(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<u32>().ok();
        matches!((number(first), number(last)), (Some(first), Some(last)) if first <= last)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_refused_in_dockers_words() {
        let check = |change: &dyn Fn(&mut Resources), expected: &str| {
            let mut resources = Resources::default();
            change(&mut resources);
            assert_eq!(resources.check().expect_err(expected).to_string(), expected);
        };
        check(&|r| r.memory = 1, "Minimum memory limit allowed is 6MB");
        check(
            &|r| r.memory_swap = 1 << 30,
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        );
        check(
            &|r| (r.memory, r.memory_swap) = (8 << 20, 7 << 20),
            "Minimum memoryswap limit should be larger than memory limit, see usage",
        );
        check(
            &|r| r.memory_swappiness = Some(101),
            "Invalid value: 101, valid memory swappiness range is 0-100",
        );
        check(
            &|r| (r.nano_cpus, r.cpu_period) = (1, 1000),
            "Conflicting options: Nano CPUs and CPU Period cannot both be set",
        );
        check(&|r| r.cpu_quota = 999, "CPU cfs quota can not be less than 1ms (i.e. 1000)");
        check(&|r| r.cpuset_cpus = "0-".to_owned(), "Invalid value 0- for cpuset cpus");
        check(&|r| r.blkio_weight = 5, "Range of blkio weight is from 10 to 1000");
        let ulimit = |name: &str, soft, hard| Ulimit { name: name.to_owned(), soft, hard };
        check(
            &|r| r.ulimits = vec![ulimit("nofile", 2, 1)],
            "ulimit nofile: soft limit must be less than or equal to hard limit: 2 > 1",
        );
        check(&|r| r.ulimits = vec![ulimit("files", 1, 1)], "invalid ulimit type: files");
        let good = Resources {
            ulimits: vec![ulimit("nofile", 1024, -1), ulimit("core", -1, -1)],
            cpuset_cpus: "0-3,7".to_owned(),
            memory: 6 << 20,
            memory_swap: -1,
            ..Resources::default()
        };
        assert_eq!(good.check(), Ok(()));
    }
}
