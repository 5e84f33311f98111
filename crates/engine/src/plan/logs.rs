//! Where a container's output is kept, and how much of it.
//!
//! Invariant: bounded unless the request itself lifts the bound; an option that a driver does not have is
//! refused by name.

use std::path::Path;

use dhow_monitor::{LogConfig, LogDriver};

use super::error::PlanError;
use crate::request;

/// Kept unless told otherwise: five files of ten million bytes.
const MAX_SIZE_BYTES: u64 = 10_000_000;
const MAX_FILES: u32 = 5;

const SIZED: &[&str] = &["max-size", "max-file", "compress"];
const TAGGED: &[&str] = &["labels", "env"];
const COMMON: &[&str] = &["mode"];

/// Whether there is such a driver with such options.
pub(super) fn check(log: &request::LogConfig) -> Result<(), PlanError> {
    plan(log, Path::new("/")).map(drop)
}

/// What the monitor is told; `directory` is the container's own.
pub fn plan(log: &request::LogConfig, directory: &Path) -> Result<LogConfig, PlanError> {
    let id = directory.file_name().map(|name| name.to_string_lossy().into_owned());
    let (driver, path) = match log.driver.as_str() {
        "" | "json-file" => {
            let file = format!("{}-json.log", id.unwrap_or_default());
            (LogDriver::JsonFile, directory.join(file))
        }
        "local" => (LogDriver::Local, directory.join("local-logs").join("container.log")),
        "none" => (LogDriver::None, directory.join("none")),
        name => return Err(PlanError::LogDriver { name: name.to_owned() }),
    };
    let mut config = LogConfig {
        driver,
        path,
        max_size: Some(MAX_SIZE_BYTES),
        max_file: MAX_FILES,
        compress: driver == LogDriver::Local,
        attributes: std::collections::BTreeMap::default(),
    };
    for (option, value) in &log.options {
        set(&mut config, &log.driver, option, value)?;
    }
    Ok(config)
}

fn set(config: &mut LogConfig, driver: &str, option: &str, value: &str) -> Result<(), PlanError> {
    let driver = if driver.is_empty() { "json-file" } else { driver };
    let fault = |value: Option<&str>| PlanError::LogOption {
        driver: driver.to_owned(),
        option: option.to_owned(),
        value: value.map(str::to_owned),
    };
    let known = match driver {
        "none" => COMMON.contains(&option),
        "local" => SIZED.contains(&option) || COMMON.contains(&option),
        _ => SIZED.contains(&option) || TAGGED.contains(&option) || COMMON.contains(&option),
    };
    if !known {
        return Err(fault(None));
    }
    let wrong = || fault(Some(value));
    match option {
        // `-1` is Docker's word for no bound.
        "max-size" if value == "-1" => config.max_size = None,
        "max-size" => config.max_size = Some(bytes(value).ok_or_else(wrong)?),
        "max-file" => {
            let files = value.parse().ok().filter(|files| *files > 0);
            config.max_file = files.ok_or_else(wrong)?;
        }
        "compress" => {
            config.compress = match value {
                "true" | "1" => true,
                "false" | "0" => false,
                _ => return Err(wrong()),
            }
        }
        // The monitor never waits for a log's reader; both modes mean that to it.
        "mode" if matches!(value, "blocking" | "non-blocking") => {}
        "mode" => return Err(wrong()),
        _ => {}
    }
    Ok(())
}

/// `10m`, `1g`, `500kb`, as Docker's library reads sizes: powers of 1024.
fn bytes(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(digits);
    let shift = match unit.trim().trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return None,
    };
    let whole: u64 = number.parse().ok()?;
    whole.checked_shl(shift).filter(|bytes| bytes >> shift == whole && whole > 0)
}

/// The labels and variables that a log's lines are to carry, as the options ask.
pub(super) fn attributes(
    request: &request::CreateRequest,
    env: &[String],
) -> std::collections::BTreeMap<String, String> {
    let asked = |option: &str| request.host.log.options.get(option).cloned().unwrap_or_default();
    let (labels, variables) = (asked("labels"), asked("env"));
    let names = |list: &str| -> Vec<String> {
        list.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
    };
    let mut attributes = std::collections::BTreeMap::new();
    for name in names(&labels) {
        if let Some(value) = request.config.labels.get(&name) {
            attributes.insert(name, value.clone());
        }
    }
    for name in names(&variables) {
        let value = env.iter().find_map(|entry| {
            entry.split_once('=').filter(|(known, _)| *known == name).map(|(_, value)| value)
        });
        if let Some(value) = value {
            attributes.insert(name, value.to_owned());
        }
    }
    attributes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(driver: &str, options: &[(&str, &str)]) -> Result<LogConfig, PlanError> {
        let options =
            options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let log = request::LogConfig { driver: driver.to_owned(), options };
        plan(&log, Path::new("/d/containers/abc"))
    }

    #[test]
    fn logs_are_bounded() {
        let log = planned("", &[]).expect("a log");
        assert_eq!(log.path, Path::new("/d/containers/abc/abc-json.log"));
        assert_eq!((log.max_size, log.max_file, log.compress), (Some(10_000_000), 5, false));
        let log = planned("local", &[("max-size", "20m"), ("max-file", "2")]).expect("a log");
        assert_eq!((log.max_size, log.max_file), (Some(20 << 20), 2));
    }

    #[test]
    fn refusals() {
        let refusal =
            |driver, options: &[_]| planned(driver, options).expect_err("a refusal").to_string();
        assert_eq!(refusal("syslog", &[]), "logger: no log driver named 'syslog' is registered");
        assert_eq!(
            refusal("json-file", &[("color", "red")]),
            "unknown log opt 'color' for json-file log driver"
        );
        assert_eq!(
            refusal("local", &[("max-size", "big")]),
            "invalid value \"big\" of log opt 'max-size' for local log driver"
        );
    }
}
