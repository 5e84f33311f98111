//! Where a container's output is kept, and how much of it.
//!
//! Invariant: bounded unless the request itself lifts the bound; an option that a driver does not have is
//! refused by name.

use std::collections::BTreeMap;
use std::path::Path;

use dhow_monitor::{LogConfig, LogDriver};

use super::error::PlanError;
use crate::request;
use crate::shipping::{self, About, Destination};

/// Kept unless told otherwise: five files of ten million bytes.
const MAX_SIZE_BYTES: u64 = 10_000_000;
const MAX_FILES: u32 = 5;

const SIZED: &[&str] = &["max-size", "max-file", "compress"];
/// The same for the local copy of what is sent elsewhere.
const CACHE: &[&str] = &["cache-max-size", "cache-max-file", "cache-compress"];
const TAGGED: &[&str] = &["labels", "labels-regex", "env", "env-regex", "tag"];
const COMMON: &[&str] = &["mode"];

/// Whether there is such a driver with such options.
pub(super) fn check(log: &request::LogConfig) -> Result<(), PlanError> {
    plan(log, Path::new("/")).map(drop)
}

/// Whether `logs` shows what was said.
pub fn is_read(log: &request::LogConfig) -> bool {
    let disabled = log.options.get("cache-disabled").map_or("", String::as_str);
    !shipping::DRIVERS.contains(&&*log.driver) || !truth(disabled).unwrap_or(false)
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
        // What goes elsewhere is kept here as well, for `logs` and until it has been sent.
        name if shipping::DRIVERS.contains(&name) => {
            Destination::parse(name, &log.options)?;
            (LogDriver::Local, directory.join("cached-logs").join("container.log"))
        }
        name => return Err(PlanError::LogDriver { name: name.to_owned() }),
    };
    shipping::check_attributes(&log.driver, &log.options)?;
    let mut config = LogConfig {
        driver,
        path,
        max_size: Some(MAX_SIZE_BYTES),
        max_file: MAX_FILES,
        compress: driver == LogDriver::Local,
        attributes: BTreeMap::default(),
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
    let is_sent = shipping::DRIVERS.contains(&driver);
    let known = match driver {
        "none" => COMMON.contains(&option),
        "local" => SIZED.contains(&option) || COMMON.contains(&option),
        // All others were looked at where the destination was.
        _ if is_sent => true,
        _ => SIZED.contains(&option) || TAGGED.contains(&option) || COMMON.contains(&option),
    };
    if !known {
        return Err(fault(None));
    }
    let wrong = || fault(Some(value));
    let own = match is_sent {
        false => option,
        true if CACHE.contains(&option) => option.trim_start_matches("cache-"),
        true if option == "cache-disabled" => return truth(value).map(drop).ok_or_else(wrong),
        true => return Ok(()),
    };
    match own {
        // `-1` is Docker's word for no bound.
        "max-size" if value == "-1" => config.max_size = None,
        "max-size" => config.max_size = Some(bytes(value).ok_or_else(wrong)?),
        "max-file" => {
            let files = value.parse().ok().filter(|files| *files > 0);
            config.max_file = files.ok_or_else(wrong)?;
        }
        "compress" => config.compress = truth(value).ok_or_else(wrong)?,
        // A file is written to without waiting for a disk: there is no other way, and no buffer.
        "mode" if value == "blocking" => {}
        "mode" => return Err(wrong()),
        _ => {}
    }
    Ok(())
}

fn truth(word: &str) -> Option<bool> {
    match word {
        "true" | "1" => Some(true),
        "" | "false" | "0" => Some(false),
        _ => None,
    }
}

/// `10m`, `1g`, `500kb`, as Docker's library reads sizes: powers of 1024.
pub(crate) fn bytes(text: &str) -> Option<u64> {
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

/// What a log's lines are to carry, as the options ask.
pub(super) fn attributes(
    request: &request::CreateRequest,
    env: &[String],
    about: &About,
) -> BTreeMap<String, String> {
    let log = &request.host.log;
    let mut found = shipping::attributes(&log.options, &request.config.labels, env);
    let tag = log.options.get("tag").filter(|tag| !tag.is_empty());
    if let Some(tag) = tag.and_then(|tag| about.tag(tag)) {
        found.insert("tag".to_owned(), tag);
    }
    found
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
    fn what_goes_elsewhere_is_kept_here_too() {
        let options = [("cache-max-size", "1m"), ("cache-max-file", "2"), ("tag", "x")];
        let log = planned("syslog", &options).expect("a log");
        assert_eq!(log.path, Path::new("/d/containers/abc/cached-logs/container.log"));
        assert_eq!((log.driver, log.max_size, log.max_file), (LogDriver::Local, Some(1 << 20), 2));
    }

    #[test]
    fn refusals() {
        let refusal =
            |driver, options: &[_]| planned(driver, options).expect_err("a refusal").to_string();
        assert_eq!(refusal("splunk", &[]), "logger: no log driver named 'splunk' is registered");
        assert_eq!(
            refusal("json-file", &[("mode", "non-blocking")]),
            "invalid value \"non-blocking\" of log opt 'mode' for json-file log driver"
        );
        assert_eq!(
            refusal("syslog", &[("max-buffer-size", "1m")]),
            "max-buffer-size option is only supported with 'mode=non-blocking'"
        );
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
