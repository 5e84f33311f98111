//! How a container's health is found out.
//!
//! Invariant: durations of zero have been replaced by Docker's defaults.

use dhow_monitor::HealthCheck;
use dhow_spec::runtime::Process;

use crate::request::ContainerConfig;

const SECOND_NS: i64 = 1_000_000_000;

/// The check, if there is one; it runs as the container's program does, without a terminal.
pub(super) fn health(config: &ContainerConfig, process: &Process) -> Option<HealthCheck> {
    let asked = config.healthcheck.as_ref()?;
    let (kind, rest) = asked.test.split_first()?;
    let args = match kind.as_str() {
        "CMD" if !rest.is_empty() => rest.to_vec(),
        "CMD-SHELL" => {
            let shell = ["/bin/sh", "-c"].map(str::to_owned);
            let shell = if config.shell.is_empty() { &shell[..] } else { &config.shell };
            shell.iter().chain(rest.first()).cloned().collect()
        }
        _ => return None,
    };
    let ms = |ns: i64, default_s: i64| {
        let ns = if ns == 0 { default_s * SECOND_NS } else { ns };
        u64::try_from(ns / 1_000_000).unwrap_or_default()
    };
    Some(HealthCheck {
        process: Process { args, terminal: false, console_size: None, ..process.clone() },
        interval_ms: ms(asked.interval, 30),
        timeout_ms: ms(asked.timeout, 30),
        start_period_ms: ms(asked.start_period, 0),
        start_interval_ms: ms(asked.start_interval, 5),
        retries: u32::try_from(asked.retries).ok().filter(|retries| *retries > 0).unwrap_or(3),
    })
}
