//! What Prometheus asks for, as text.
//!
//! Invariant: names and labels are a fixed set: no client can make them grow.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::CONTENT_TYPE;

use crate::http::body::Body;
use crate::http::reply::Reply;

/// Upper ends of the buckets of requests' durations, in milliseconds.
const BUCKETS_MS: [u64; 8] = [1, 5, 25, 100, 500, 2500, 10_000, 60_000];

/// Counters since the start.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// By hundreds of the status.
    statuses: [AtomicU64; 6],
    durations: [AtomicU64; BUCKETS_MS.len()],
    duration_us: AtomicU64,
    pulled_bytes: AtomicU64,
    pushed_bytes: AtomicU64,
    changes: AtomicU64,
    connections: AtomicU64,
    collections: AtomicU64,
    collected_bytes: AtomicU64,
    hooks_delivered: AtomicU64,
    hooks_failed: AtomicU64,
    hooks_dropped: AtomicU64,
}

impl Metrics {
    pub(crate) fn answered(&self, status: StatusCode, took: Duration) {
        let class = usize::from(status.as_u16() / 100).min(self.statuses.len() - 1);
        add(&self.statuses[class], 1);
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        add(&self.duration_us, us);
        for (end_ms, bucket) in BUCKETS_MS.iter().zip(&self.durations) {
            add(bucket, u64::from(us <= end_ms * 1000));
        }
    }

    pub(crate) fn pulled(&self, bytes: u64) {
        add(&self.pulled_bytes, bytes);
    }

    pub(crate) fn pushed(&self, bytes: u64) {
        add(&self.pushed_bytes, bytes);
    }

    pub(crate) fn changed(&self) {
        add(&self.changes, 1);
    }

    pub(crate) fn collected(&self, bytes: u64) {
        add(&self.collections, 1);
        add(&self.collected_bytes, bytes);
    }

    pub(crate) fn hook_delivered(&self) {
        add(&self.hooks_delivered, 1);
    }

    pub(crate) fn hook_failed(&self) {
        add(&self.hooks_failed, 1);
    }

    pub(crate) fn hook_dropped(&self) {
        add(&self.hooks_dropped, 1);
    }

    pub(crate) fn connected(&self) {
        add(&self.connections, 1);
    }

    pub(crate) fn disconnected(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// All of it, in the text format.
    pub(crate) fn page(&self, uploads: usize) -> Reply {
        Reply::new(StatusCode::OK)
            .with(CONTENT_TYPE, "text/plain; version=0.0.4")
            .with_body(Body::whole(self.text(uploads)))
    }

    fn text(&self, uploads: usize) -> String {
        let mut text = String::new();
        let mut one = |kind: &str, name: &str, help: &str, value: u64| {
            let _ = writeln!(
                text,
                "# HELP dhow_registry_{name} {help}\n# TYPE dhow_registry_{name} {kind}\n\
                 dhow_registry_{name} {value}"
            );
        };
        one("gauge", "connections", "Connections that are open.", get(&self.connections));
        one("gauge", "uploads_open", "Files of uploads that are open.", uploads as u64);
        one(
            "counter",
            "pulled_bytes_total",
            "Bytes of what was asked for.",
            get(&self.pulled_bytes),
        );
        one("counter", "pushed_bytes_total", "Bytes that were kept.", get(&self.pushed_bytes));
        one("counter", "changes_total", "Changes, as the audit log has them.", get(&self.changes));
        one("counter", "collections_total", "Garbage collections.", get(&self.collections));
        one(
            "counter",
            "collected_bytes_total",
            "Bytes that they gave back.",
            get(&self.collected_bytes),
        );
        let name = "dhow_registry_webhook_events_total";
        let _ = writeln!(text, "# HELP {name} Events of webhooks by end.\n# TYPE {name} counter");
        for (end, count) in [
            ("delivered", &self.hooks_delivered),
            ("given-up", &self.hooks_failed),
            ("queue-full", &self.hooks_dropped),
        ] {
            let _ = writeln!(text, "{name}{{end=\"{end}\"}} {}", get(count));
        }
        let name = "dhow_registry_requests_total";
        let _ = writeln!(text, "# HELP {name} Requests by class of status.\n# TYPE {name} counter");
        let mut total = 0;
        for (class, count) in self.statuses.iter().enumerate().skip(1) {
            total += get(count);
            let _ = writeln!(text, "{name}{{status=\"{class}xx\"}} {}", get(count));
        }
        let name = "dhow_registry_request_seconds";
        let _ = writeln!(text, "# HELP {name} How long answers took.\n# TYPE {name} histogram");
        for (end_ms, count) in BUCKETS_MS.iter().zip(&self.durations) {
            let end = *end_ms as f64 / 1000.0;
            let _ = writeln!(text, "{name}_bucket{{le=\"{end}\"}} {}", get(count));
        }
        let sum = get(&self.duration_us) as f64 / 1e6;
        let _ = writeln!(
            text,
            "{name}_bucket{{le=\"+Inf\"}} {total}\n{name}_sum {sum}\n{name}_count {total}"
        );
        text
    }
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_agree() {
        let metrics = Metrics::default();
        metrics.answered(StatusCode::OK, Duration::from_millis(3));
        metrics.answered(StatusCode::NOT_FOUND, Duration::from_secs(120));
        metrics.pulled(5);
        let text = metrics.text(2);
        for line in [
            "dhow_registry_uploads_open 2",
            "dhow_registry_pulled_bytes_total 5",
            "dhow_registry_requests_total{status=\"2xx\"} 1",
            "dhow_registry_requests_total{status=\"4xx\"} 1",
            "dhow_registry_request_seconds_bucket{le=\"0.001\"} 0",
            "dhow_registry_request_seconds_bucket{le=\"0.005\"} 1",
            "dhow_registry_request_seconds_bucket{le=\"60\"} 1",
            "dhow_registry_request_seconds_bucket{le=\"+Inf\"} 2",
            "dhow_registry_request_seconds_count 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
