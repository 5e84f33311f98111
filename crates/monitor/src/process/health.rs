//! A container's health: what probes said, and when the next one is due.
//!
//! Pure but for the instants it is given. Docker's rules: failures in the starting period do not count, a
//! success ends that period, so many failures in a row are ill health.

use std::time::{Duration, Instant};

use crate::protocol::{Health, HealthCheck, Probe};

/// What is kept of a probe's output.
pub(super) const OUTPUT_BYTES_MAX: usize = 4096;

#[derive(Debug)]
pub(super) struct Watch {
    started: Instant,
    status: Status,
    failing_streak: u32,
    /// When the next probe is due; none while one runs.
    pub(super) due: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Starting,
    Healthy,
    Unhealthy,
}

impl Watch {
    pub(super) fn begin(check: &HealthCheck, now: Instant) -> Self {
        let mut watch =
            Self { started: now, status: Status::Starting, failing_streak: 0, due: None };
        watch.schedule(check, now);
        watch
    }

    fn in_start_period(&self, check: &HealthCheck, now: Instant) -> bool {
        self.status == Status::Starting
            && now.duration_since(self.started) < Duration::from_millis(check.start_period_ms)
    }

    fn schedule(&mut self, check: &HealthCheck, now: Instant) {
        let interval = match self.in_start_period(check, now) {
            true => check.start_interval_ms,
            false => check.interval_ms,
        };
        self.due = Some(now + Duration::from_millis(interval.max(1)));
    }

    /// Counts a probe that has ended.
    pub(super) fn count(&mut self, check: &HealthCheck, probe: Probe, now: Instant) -> Health {
        if probe.exit_code == 0 {
            self.failing_streak = 0;
            self.status = Status::Healthy;
        } else if !self.in_start_period(check, now) {
            self.failing_streak += 1;
            if self.failing_streak >= check.retries.max(1) {
                self.status = Status::Unhealthy;
            }
        }
        self.schedule(check, now);
        self.health(Some(probe))
    }

    pub(super) fn health(&self, probe: Option<Probe>) -> Health {
        let status = match self.status {
            Status::Starting => "starting",
            Status::Healthy => "healthy",
            Status::Unhealthy => "unhealthy",
        };
        Health { status: status.to_owned(), failing_streak: self.failing_streak, probe }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check() -> HealthCheck {
        HealthCheck {
            process: dhow_spec::runtime::Process::default(),
            interval_ms: 30_000,
            timeout_ms: 30_000,
            start_period_ms: 10_000,
            start_interval_ms: 5_000,
            retries: 2,
        }
    }

    fn ended(watch: &mut Watch, at_s: u64, exit_code: i32) -> (String, u32, u64) {
        let now = watch.started + Duration::from_secs(at_s);
        let probe = Probe { start_ns: 0, end_ns: 1, exit_code, output: String::new() };
        let health = watch.count(&check(), probe, now);
        let due = watch.due.unwrap().duration_since(watch.started).as_secs();
        (health.status, health.failing_streak, due)
    }

    #[test]
    fn failures_count_after_the_start_and_in_a_row() {
        let mut watch = Watch::begin(&check(), Instant::now());
        assert_eq!(watch.due.unwrap().duration_since(watch.started).as_secs(), 5);
        assert_eq!(ended(&mut watch, 5, 1), ("starting".to_owned(), 0, 10));
        assert_eq!(ended(&mut watch, 10, 1), ("starting".to_owned(), 1, 40));
        assert_eq!(ended(&mut watch, 40, 1), ("unhealthy".to_owned(), 2, 70));
        assert_eq!(ended(&mut watch, 70, 0), ("healthy".to_owned(), 0, 100));
        assert_eq!(ended(&mut watch, 100, 1), ("healthy".to_owned(), 1, 130));
    }

    #[test]
    fn a_success_ends_the_start() {
        let mut watch = Watch::begin(&check(), Instant::now());
        assert_eq!(ended(&mut watch, 1, 0), ("healthy".to_owned(), 0, 31));
        assert_eq!(ended(&mut watch, 2, 1), ("healthy".to_owned(), 1, 32));
    }
}
