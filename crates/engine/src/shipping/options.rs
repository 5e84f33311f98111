//! Options of log drivers as users write them.
//!
//! Invariant: a value that cannot be read is refused with the option's name; so is an option that the driver does
//! not have.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use super::QUEUE_BYTES;
use crate::plan::{PlanError, log_bytes};

/// Options that all drivers here have.
const COMMON: &[&str] = &[
    "cache-compress",
    "cache-disabled",
    "cache-max-file",
    "cache-max-size",
    "env",
    "env-regex",
    "labels",
    "labels-regex",
    "max-buffer-size",
    "mode",
    "tag",
];

/// A driver's options.
#[derive(Debug, Clone, Copy)]
pub(super) struct Options<'a> {
    driver: &'a str,
    map: &'a BTreeMap<String, String>,
}

impl<'a> Options<'a> {
    pub(super) fn new(driver: &'a str, map: &'a BTreeMap<String, String>) -> Self {
        Self { driver, map }
    }

    /// Refuses what neither all drivers nor this one have.
    pub(super) fn know(&self, own: &[&str]) -> Result<(), PlanError> {
        let known = |name: &str| COMMON.contains(&name) || own.contains(&name);
        match self.map.keys().find(|name| !known(name)) {
            Some(name) => Err(PlanError::LogOption {
                driver: self.driver.to_owned(),
                option: name.clone(),
                value: None,
            }),
            None => Ok(()),
        }
    }

    pub(super) fn text(&self, name: &str) -> &'a str {
        self.map.get(name).map_or("", String::as_str)
    }

    pub(super) fn wrong(&self, name: &str) -> PlanError {
        PlanError::LogOption {
            driver: self.driver.to_owned(),
            option: name.to_owned(),
            value: Some(self.text(name).to_owned()),
        }
    }

    /// A value that can be read, or none.
    pub(super) fn parsed<T: FromStr>(&self, name: &str) -> Result<Option<T>, PlanError> {
        match self.text(name) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| self.wrong(name)),
        }
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, PlanError> {
        match self.text(name) {
            "" | "0" | "f" | "F" | "false" | "False" | "FALSE" => Ok(false),
            "1" | "t" | "T" | "true" | "True" | "TRUE" => Ok(true),
            _ => Err(self.wrong(name)),
        }
    }

    pub(super) fn bytes(&self, name: &str) -> Result<Option<usize>, PlanError> {
        match self.text(name) {
            "" => Ok(None),
            text => log_bytes(text)
                .and_then(|bytes| usize::try_from(bytes).ok())
                .map(Some)
                .ok_or_else(|| self.wrong(name)),
        }
    }

    /// `1s`, `500ms`, `1m30s`.
    pub(super) fn span(&self, name: &str) -> Result<Option<Duration>, PlanError> {
        match self.text(name) {
            "" => Ok(None),
            text => span(text).map(Some).ok_or_else(|| self.wrong(name)),
        }
    }

    /// How much may wait, and whether what is more is dropped.
    pub(super) fn queue(&self) -> Result<(usize, bool), PlanError> {
        let drops = match self.text("mode") {
            "" | "blocking" => false,
            "non-blocking" => true,
            _ => return Err(self.wrong("mode")),
        };
        let bytes = self.bytes("max-buffer-size")?;
        if bytes.is_some() && !drops {
            return Err(PlanError::LogBuffer);
        }
        Ok((bytes.unwrap_or(QUEUE_BYTES), drops))
    }
}

fn span(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, behind) = rest.split_at(digits);
        let letters = behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(letters);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * seconds;
        rest = behind;
    }
    Duration::try_from_secs_f64(total).ok().filter(|_| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_go_s() {
        assert_eq!(span("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(span("500ms"), Some(Duration::from_millis(500)));
        assert_eq!((span("1"), span("x"), span("")), (None, None, None));
    }
}
