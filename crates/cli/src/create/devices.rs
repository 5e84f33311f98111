//! Devices, their limits, ulimits and GPUs.
//!
//! Absent on purpose: whether a device exists.

use std::collections::BTreeMap;

use dhow_wire::{Device, DeviceRequest, ThrottleDevice, Ulimit, WeightDevice};

use super::csv;
use crate::units::parse_ram;

/// A mode of a device is made of `r`, `w` and `m`, each once.
fn is_mode(text: &str) -> bool {
    let once = |letter| text.matches(letter).count() <= 1;
    !text.is_empty() && text.chars().all(|letter| "rwm".contains(letter)) && "rwm".chars().all(once)
}

/// Whether the name is one of the Container Device Interface: `vendor/class=name`.
pub(crate) fn is_cdi(text: &str) -> bool {
    let word = |text: &str| {
        let letter = |c: char| c.is_ascii_alphanumeric() || "_-.:".contains(c);
        text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(letter)
    };
    let parts = text.split_once('=').and_then(|(kind, name)| Some((kind.split_once('/')?, name)));
    parts.is_some_and(|((vendor, class), name)| word(vendor) && word(class) && word(name))
}

/// `HOST[:CONTAINER][:MODE]`.
pub(crate) fn device(text: &str) -> Result<Device, String> {
    let parts: Vec<&str> = text.split(':').collect();
    if parts.len() > 3 || parts[0].is_empty() {
        return Err(format!("bad format for path: {text}"));
    }
    let (inside, mode) = match parts[..] {
        [_, mode] if is_mode(mode) => (parts[0], mode),
        [_, inside] => (inside, "rwm"),
        [_, inside, mode] if is_mode(mode) => (inside, mode),
        [_, _, mode] => return Err(format!("bad mode specified: {mode}")),
        _ => (parts[0], "rwm"),
    };
    if !inside.starts_with('/') {
        return Err(format!("{inside} is not an absolute path"));
    }
    Ok(Device {
        path_on_host: parts[0].to_owned(),
        path_in_container: inside.to_owned(),
        cgroup_permissions: mode.to_owned(),
    })
}

/// `type major:minor mode` of a `--device-cgroup-rule`.
pub(crate) fn check_rule(text: &str) -> Result<(), String> {
    let number =
        |part: &str| part == "*" || part.bytes().all(|b| b.is_ascii_digit()) && !part.is_empty();
    let words: Vec<&str> = text.split(' ').collect();
    if let [kind, numbers, mode] = words[..]
        && matches!(kind, "a" | "b" | "c")
        && numbers.split_once(':').is_some_and(|(major, minor)| number(major) && number(minor))
        && (1..=3).contains(&mode.len())
        && mode.chars().all(|letter| "rwm".contains(letter))
    {
        return Ok(());
    }
    Err(format!("invalid device cgroup format '{text}'"))
}

fn path_and_value(text: &str) -> Result<(&str, &str), String> {
    let pair = text.split_once(':').filter(|(path, _)| !path.is_empty());
    let (path, value) = pair.ok_or_else(|| format!("bad format: {text}"))?;
    if !path.starts_with("/dev/") {
        return Err(format!("bad format for device path: {text}"));
    }
    Ok((path, value))
}

/// `PATH:WEIGHT`.
pub(crate) fn weight(text: &str) -> Result<WeightDevice, String> {
    let (path, value) = path_and_value(text)?;
    let weight = value.parse().ok().filter(|weight| matches!(weight, 0 | 10..=1000));
    let weight = weight.ok_or_else(|| format!("invalid weight for device: {text}"))?;
    Ok(WeightDevice { path: path.to_owned(), weight })
}

/// `PATH:BYTES` with a unit or without.
pub(crate) fn rate_bytes(text: &str) -> Result<ThrottleDevice, String> {
    let (path, value) = path_and_value(text)?;
    let rate = parse_ram(value).ok().and_then(|rate| u64::try_from(rate).ok());
    let rate = rate.ok_or_else(|| {
        format!(
            "invalid rate for device: {text}. The correct format is <device-path>:<number>[<unit>]. \
             Number must be a positive integer. Unit is optional and can be kb, mb, or gb"
        )
    })?;
    Ok(ThrottleDevice { path: path.to_owned(), rate })
}

/// `PATH:OPERATIONS`.
pub(crate) fn rate_count(text: &str) -> Result<ThrottleDevice, String> {
    let (path, value) = path_and_value(text)?;
    let rate = value.parse().map_err(|_| {
        format!(
            "invalid rate for device: {text}. The correct format is <device-path>:<number>. \
             Number must be a positive integer"
        )
    })?;
    Ok(ThrottleDevice { path: path.to_owned(), rate })
}

const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// `NAME=SOFT[:HARD]`; -1 is no limit.
pub(crate) fn ulimit(text: &str) -> Result<Ulimit, String> {
    let pair = text.split_once('=');
    let (name, values) = pair.ok_or_else(|| format!("invalid ulimit argument: {text}"))?;
    if !ULIMITS.contains(&name) {
        return Err(format!("invalid ulimit type: {name}"));
    }
    let number = |part: &str| -> Result<i64, String> {
        let wrong = |_| format!("strconv.ParseInt: parsing {part:?}: invalid syntax");
        part.parse().map_err(wrong)
    };
    let (soft, hard) = match values.split(':').collect::<Vec<_>>()[..] {
        [soft] => (number(soft)?, number(soft)?),
        [soft, hard] => {
            let hard = number(hard)?;
            (number(soft)?, hard)
        }
        _ => {
            return Err(format!(
                "too many limit value arguments - {values}, can only have up to two, `soft[:hard]`"
            ));
        }
    };
    let order = "ulimit soft limit must be less than or equal to hard limit";
    if hard != -1 && soft == -1 {
        return Err(format!("{order}: soft: -1 (unlimited), hard: {hard}"));
    }
    if hard != -1 && soft > hard {
        return Err(format!("{order}: {soft} > {hard}"));
    }
    Ok(Ulimit { name: name.to_owned(), hard, soft })
}

/// `all`, a number, or `count=…,driver=…,device=…,capabilities=…,options=…`.
pub(crate) fn gpus(text: &str) -> Result<DeviceRequest, String> {
    let mut request = DeviceRequest::default();
    let mut seen: Vec<String> = Vec::new();
    for field in csv::fields(text).map_err(|error| error.to_string())? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (field.as_str(), None),
        };
        if seen.iter().any(|known| known == key) {
            return Err(format!("gpu request key '{key}' can be specified only once"));
        }
        seen.push(key.to_owned());
        let list = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        match (key, value) {
            (number, None) => {
                seen.push("count".to_owned());
                request.count = count(number)?;
            }
            ("count", Some(number)) => request.count = count(number)?,
            ("driver", Some(driver)) => driver.clone_into(&mut request.driver),
            ("device", Some(ids)) => request.device_ids = Some(list(ids)),
            ("capabilities", Some(names)) => {
                let mut names = list(names);
                names.push("gpu".to_owned());
                request.capabilities = Some(vec![names]);
            }
            ("options", Some(pairs)) => {
                let pairs = csv::fields(pairs);
                let pairs =
                    pairs.map_err(|error| format!("failed to read gpu options: {error}"))?;
                request.options = Some(super::text::pairs(pairs.iter().map(String::as_str)));
            }
            (key, Some(_)) => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    if !seen.iter().any(|key| key == "count") && request.device_ids.is_none() {
        request.count = 1;
    }
    request.options.get_or_insert_with(BTreeMap::new);
    request.capabilities.get_or_insert_with(|| vec![vec!["gpu".to_owned()]]);
    Ok(request)
}

fn count(text: &str) -> Result<i64, String> {
    if text == "all" {
        return Ok(-1);
    }
    let wrong = |_| {
        format!(
            "invalid count ({text}): value must be either \"all\" or an integer: invalid syntax"
        )
    };
    text.parse().map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_in_all_spellings() {
        let read = |text| {
            let device = device(text)?;
            Ok::<_, String>(
                [device.path_on_host, device.path_in_container, device.cgroup_permissions]
                    .join("|"),
            )
        };
        assert_eq!(read("/dev/a").as_deref(), Ok("/dev/a|/dev/a|rwm"));
        assert_eq!(read("/dev/a:r").as_deref(), Ok("/dev/a|/dev/a|r"));
        assert_eq!(read("/dev/a:/dev/b").as_deref(), Ok("/dev/a|/dev/b|rwm"));
        assert_eq!(read("/dev/a:/dev/b:rw").as_deref(), Ok("/dev/a|/dev/b|rw"));
        assert_eq!(read("/dev/a:/dev/b:x").unwrap_err(), "bad mode specified: x");
        assert_eq!(read("a:b:c:d").unwrap_err(), "bad format for path: a:b:c:d");
        assert_eq!(read("x").unwrap_err(), "x is not an absolute path");
        assert!(is_cdi("vendor.com/class=name") && !is_cdi("/dev/a=b"));
    }

    #[test]
    fn limits() {
        assert_eq!(
            ulimit("nofile=1:2"),
            Ok(Ulimit { name: "nofile".to_owned(), hard: 2, soft: 1 })
        );
        assert_eq!(ulimit("x").unwrap_err(), "invalid ulimit argument: x");
        assert_eq!(ulimit("x=1").unwrap_err(), "invalid ulimit type: x");
        assert_eq!(
            ulimit("nofile=3:2").unwrap_err(),
            "ulimit soft limit must be less than or equal to hard limit: 3 > 2"
        );
        assert!(check_rule("c 1:* rwm").is_ok() && check_rule("x 1:1 r").is_err());
        assert_eq!(rate_bytes("/dev/a:1k").unwrap().rate, 1024);
        assert_eq!(rate_bytes("x").unwrap_err(), "bad format: x");
        assert!(weight("/dev/a:5").is_err());
    }

    #[test]
    fn gpus_as_docker_reads_them() {
        assert_eq!(gpus("all").unwrap().count, -1);
        let request = gpus("\"device=0,1\",capabilities=utility").unwrap();
        assert_eq!((request.count, request.device_ids.unwrap().len()), (0, 2));
        assert_eq!(request.capabilities.unwrap()[0], ["utility", "gpu"]);
        assert_eq!(gpus("x=y").unwrap_err(), "unexpected key 'x' in 'x=y'");
    }
}
