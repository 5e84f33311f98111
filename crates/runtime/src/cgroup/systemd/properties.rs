//! Limits as properties of a unit, so that systemd keeps them when it rewrites the cgroup's files.
//!
//! Not every limit has a property: the files are written besides, and have the last word. Which properties
//! there are depends on systemd's version and on the version of the hierarchy. Deliberately absent: device
//! properties on version 2, where a program of ours on the cgroup says the same exactly.

use std::collections::BTreeMap;

use dhow_spec::runtime::{Cpu, DeviceRule, Memory, Resources};

use super::super::devices::{DeviceAllowance, allowances};
use super::super::resources::convert::{SwapLimit, swap_limit, weight_of_shares};
use super::super::stats::ranges;
use super::error::BusError;
use super::text;
use super::value::Value;

/// Name and value.
pub(crate) type Property = (String, Value);

/// What systemd means by "no limit".
const INFINITY: u64 = u64::MAX;

/// The kernel's period where none is given.
const CPU_PERIOD_US: u64 = 100_000;

/// The first versions of systemd that know a property.
pub(super) mod since {
    pub(super) const CPU_QUOTA_PERIOD: u32 = 242;
    pub(super) const ALLOWED_CPUS: u32 = 244;
    pub(super) const CPU_IDLE: u32 = 252;
    pub(in super::super) const PID_DESCRIPTORS: u32 = 255;
}

/// What the properties are for.
pub(super) struct Facts {
    /// systemd's.
    pub(super) version: u32,
    /// Controllers that version 1 has.
    pub(super) memory_on_v1: bool,
    pub(super) cpu_on_v1: bool,
    pub(super) io_on_v1: bool,
}

fn property(name: &str, value: Value) -> Property {
    (name.to_owned(), value)
}

fn number(name: &str, value: u64) -> Property {
    property(name, Value::Uint64(value))
}

/// Below zero is no limit.
fn limit(name: &str, value: i64) -> Property {
    number(name, u64::try_from(value).unwrap_or(INFINITY))
}

/// Every limit of `resources` that has a property; `unified` last, so that it wins.
pub(super) fn of_resources(resources: &Resources, facts: &Facts) -> Vec<Property> {
    let mut list = Vec::new();
    if let Some(memory) = &resources.memory {
        list.extend(of_memory(memory, facts));
    }
    if let Some(cpu) = &resources.cpu {
        list.extend(of_cpu(cpu, facts));
    }
    if let Some(tasks) = resources.pids.and_then(|pids| pids.limit) {
        list.push(limit("TasksMax", if tasks == 0 { -1 } else { tasks }));
    }
    if let Some(weight) = resources.block_io.as_ref().and_then(|io| io.weight)
        && weight != 0
        && facts.io_on_v1
    {
        list.push(number("BlockIOWeight", weight.into()));
    }
    list.extend(of_unified(&resources.unified, facts));
    list
}

fn of_memory(memory: &Memory, facts: &Facts) -> Vec<Property> {
    let set = |value: Option<i64>| value.filter(|value| *value != 0);
    let mut list = Vec::new();
    if facts.memory_on_v1 {
        list.extend(set(memory.limit).map(|bytes| limit("MemoryLimit", bytes)));
        return list;
    }
    list.extend(set(memory.limit).map(|bytes| limit("MemoryMax", bytes)));
    list.extend(set(memory.reservation).map(|bytes| limit("MemoryLow", bytes)));
    match swap_limit(memory.swap, memory.limit) {
        SwapLimit::Unlimited => list.push(number("MemorySwapMax", INFINITY)),
        // Without the memory limit beside it, swap alone cannot be told; the file is.
        SwapLimit::Bytes(bytes) if set(memory.limit).is_some() => {
            list.push(number("MemorySwapMax", bytes));
        }
        // A wrong pair is the file's to refuse, with its name.
        SwapLimit::Bytes(_) | SwapLimit::Unset | SwapLimit::BelowMemory => {}
    }
    list
}

fn of_cpu(cpu: &Cpu, facts: &Facts) -> Vec<Property> {
    let mut list = Vec::new();
    let shares = cpu.shares.filter(|shares| *shares != 0);
    let idles = cpu.idle == Some(1) && !facts.cpu_on_v1 && facts.version >= since::CPU_IDLE;
    if idles {
        // Weight 0 is systemd's word for idle.
        list.push(number("CPUWeight", 0));
    } else if let Some(shares) = shares {
        list.push(match facts.cpu_on_v1 {
            true => number("CPUShares", shares),
            false => number("CPUWeight", weight_of_shares(shares)),
        });
    }
    let quota = cpu.quota.filter(|quota| *quota != 0);
    list.extend(of_quota(quota, cpu.period.filter(|period| *period != 0), facts));
    for (name, text) in [("AllowedCPUs", &cpu.cpus), ("AllowedMemoryNodes", &cpu.mems)] {
        let text = text.as_deref().filter(|text| !text.is_empty());
        list.extend(text.and_then(|text| of_set(name, text, facts)));
    }
    list
}

/// systemd counts in microseconds per second and whole percents, rounded up lest children not fit.
fn of_quota(quota: Option<i64>, period: Option<u64>, facts: &Facts) -> Vec<Property> {
    let mut list = Vec::new();
    if quota.is_none() && period.is_none() {
        return list;
    }
    if let Some(period) = period.filter(|_| facts.version >= since::CPU_QUOTA_PERIOD) {
        list.push(number("CPUQuotaPeriodUSec", period));
    }
    let per_second = match quota {
        Some(quota @ 1..) => {
            let micros = quota as u64 * 1_000_000 / period.unwrap_or(CPU_PERIOD_US);
            micros.next_multiple_of(10_000)
        }
        _ => INFINITY,
    };
    list.push(number("CPUQuotaPerSecUSec", per_second));
    list
}

/// A list of processors or nodes as a bit mask, lowest first.
fn of_set(name: &str, list: &str, facts: &Facts) -> Option<Property> {
    if facts.version < since::ALLOWED_CPUS {
        return None;
    }
    let mut mask = Vec::new();
    for number in ranges(list)? {
        let byte = usize::from(number / 8);
        if mask.len() <= byte {
            mask.resize(byte + 1, 0);
        }
        mask[byte] |= 1 << (number % 8);
    }
    Some(property(name, Value::bytes(&mask)))
}

/// Files of version 2 that are properties too.
fn of_unified(lines: &BTreeMap<String, String>, facts: &Facts) -> Vec<Property> {
    let mut list = Vec::new();
    for (file, value) in lines {
        let value = value.trim();
        let bytes = || match value {
            "max" => Some(INFINITY),
            value => value.parse().ok(),
        };
        let simple = match file.as_str() {
            "memory.min" => "MemoryMin",
            "memory.low" => "MemoryLow",
            "memory.high" => "MemoryHigh",
            "memory.max" => "MemoryMax",
            "memory.swap.max" => "MemorySwapMax",
            "pids.max" => "TasksMax",
            "cpu.weight" => "CPUWeight",
            "cpuset.cpus" => {
                list.extend(of_set("AllowedCPUs", value, facts));
                continue;
            }
            "cpuset.mems" => {
                list.extend(of_set("AllowedMemoryNodes", value, facts));
                continue;
            }
            "cpu.max" => {
                let mut words = value.split_ascii_whitespace();
                let quota = words.next().and_then(|word| word.parse().ok());
                let period = words.next().and_then(|word| word.parse().ok());
                list.extend(of_quota(quota.or(Some(-1)), period.or(Some(CPU_PERIOD_US)), facts));
                continue;
            }
            _ => continue,
        };
        list.extend(bytes().map(|bytes| number(simple, bytes)));
    }
    list
}

/// Version 1's device rules: without them systemd would allow all whenever it looks at the unit again.
pub(super) fn of_devices(rules: &[DeviceRule]) -> Vec<Property> {
    let entry = |(node, letters): (String, String)| {
        Value::Tuple(vec![Value::Text(node), Value::Text(letters)])
    };
    let allow = |list| property("DeviceAllow", Value::Array("(ss)".to_owned(), list));
    match allowances(rules) {
        DeviceAllowance::Some(list) => vec![
            property("DevicePolicy", Value::text("strict")),
            // An empty list is the order to forget the old one.
            allow(Vec::new()),
            allow(list.into_iter().map(entry).collect()),
        ],
        DeviceAllowance::All => {
            vec![property("DevicePolicy", Value::text("auto")), allow(Vec::new())]
        }
    }
}

/// The properties that annotations name (`org.systemd.property.<Name>`).
pub(in crate::cgroup) fn of_annotations(
    annotations: &BTreeMap<String, String>,
) -> Result<Vec<Property>, BusError> {
    let named = annotations.iter().filter_map(|(key, value)| {
        key.strip_prefix("org.systemd.property.").map(|name| (key, name, value))
    });
    named
        .map(|(key, name, value)| {
            let fault = || BusError::Annotation { name: key.clone(), value: value.clone() };
            let plain = name.len() >= 3 && name.bytes().all(|byte| byte.is_ascii_alphabetic());
            let parsed = text::parse(value).filter(|_| plain).ok_or_else(fault)?;
            match name.strip_suffix("Sec").filter(|short| !short.ends_with('U')) {
                Some(short) => {
                    let micros = microseconds(&parsed).ok_or_else(fault)?;
                    Ok((format!("{short}USec"), Value::Uint64(micros)))
                }
                None => Ok((name.to_owned(), parsed)),
            }
        })
        .collect()
}

/// Seconds of any number type. Unit files know `TimeoutStopSec`, the bus only `TimeoutStopUSec`.
fn microseconds(seconds: &Value) -> Option<u64> {
    let whole = match seconds {
        Value::Byte(number) => u64::from(*number),
        Value::Uint16(number) => u64::from(*number),
        Value::Uint32(number) => u64::from(*number),
        Value::Uint64(number) => *number,
        Value::Int16(number) => u64::try_from(*number).ok()?,
        Value::Int32(number) => u64::try_from(*number).ok()?,
        Value::Int64(number) => u64::try_from(*number).ok()?,
        Value::Double(number) if *number >= 0.0 => return Some((number * 1e6) as u64),
        _ => return None,
    };
    whole.checked_mul(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(on_v1: bool) -> Facts {
        Facts { version: 257, memory_on_v1: on_v1, cpu_on_v1: on_v1, io_on_v1: on_v1 }
    }

    fn properties(resources: &str, facts: &Facts) -> Vec<(String, Value)> {
        of_resources(&Resources::parse(resources.as_bytes()).unwrap(), facts)
    }

    #[test]
    fn limits_become_properties_of_version_2() {
        let found = properties(
            r#"{"memory": {"limit": 1000, "swap": 1500, "reservation": 10},
                "cpu": {"shares": 1024, "quota": 33333, "period": 100000, "cpus": "0,2-3,9"},
                "pids": {"limit": -1}}"#,
            &facts(false),
        );
        let wanted = [
            number("MemoryMax", 1000),
            number("MemoryLow", 10),
            number("MemorySwapMax", 500),
            number("CPUWeight", 100),
            number("CPUQuotaPeriodUSec", 100_000),
            number("CPUQuotaPerSecUSec", 340_000),
            property("AllowedCPUs", Value::bytes(&[0b1101, 0b10])),
            number("TasksMax", INFINITY),
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn version_1_and_old_systemds_have_other_names_or_none() {
        let resources = r#"{"memory": {"limit": 1000, "swap": 1500}, "blockIO": {"weight": 500},
            "cpu": {"shares": 100, "period": 5000, "cpus": "0"}}"#;
        let old = Facts { version: 241, ..facts(true) };
        let wanted = [
            number("MemoryLimit", 1000),
            number("CPUShares", 100),
            number("CPUQuotaPerSecUSec", INFINITY),
            number("BlockIOWeight", 500),
        ];
        assert_eq!(properties(resources, &old), wanted);
    }

    #[test]
    fn unified_lines_are_properties_where_systemd_has_them() {
        let found = properties(
            r#"{"unified": {"cpu.max": "max 100000", "memory.high": "5", "memory.max": "max",
                "pids.max": "42", "io.latency": "8:0 target=1", "cpuset.mems": "0"}}"#,
            &facts(false),
        );
        let wanted = [
            number("CPUQuotaPeriodUSec", 100_000),
            number("CPUQuotaPerSecUSec", INFINITY),
            property("AllowedMemoryNodes", Value::bytes(&[1])),
            number("MemoryHigh", 5),
            number("MemoryMax", INFINITY),
            number("TasksMax", 42),
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn annotations_are_properties_with_seconds_made_microseconds() {
        let annotations = |pairs: &[(&str, &str)]| {
            let full = |(name, value): &(&str, &str)| {
                (format!("org.systemd.property.{name}"), value.to_string())
            };
            of_annotations(&pairs.iter().map(full).collect())
        };
        let found = annotations(&[
            ("CollectMode", "'inactive-or-failed'"),
            ("RuntimeMaxUSec", "uint64 7"),
            ("TimeoutStopSec", "uint64 10"),
        ]);
        let wanted = [
            property("CollectMode", Value::text("inactive-or-failed")),
            number("RuntimeMaxUSec", 7),
            number("TimeoutStopUSec", 10_000_000),
        ];
        assert_eq!(found.unwrap(), wanted);
        assert_eq!(
            annotations(&[("CollectMode", "inactive")]).unwrap_err().to_string(),
            "annotation \"org.systemd.property.CollectMode\": \"inactive\" is no value of a systemd property"
        );
        assert!(annotations(&[("Slice/..", "'a'")]).is_err());
        assert_eq!(
            of_annotations(&BTreeMap::from([("other".to_owned(), "x".to_owned())])).unwrap(),
            []
        );
    }

    #[test]
    fn devices_are_named_by_number_or_by_their_driver() {
        let found = of_devices(&[]);
        assert_eq!(found[0], property("DevicePolicy", Value::text("strict")));
        let Value::Array(_, list) = &found[2].1 else { panic!("no array") };
        let entry =
            |node: &str, letters: &str| Value::Tuple(vec![Value::text(node), Value::text(letters)]);
        assert!(list.contains(&entry("/dev/char/1:3", "rwm")));
        assert!(list.contains(&entry("char-*", "m")) && list.contains(&entry("block-*", "m")));
        let all: Vec<DeviceRule> = serde_json::from_str(r#"[{"allow": true}]"#).unwrap();
        assert_eq!(of_devices(&all)[0], property("DevicePolicy", Value::text("auto")));
    }
}
