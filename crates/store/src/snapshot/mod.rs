//! Snapshots: writable under a key, then read-only under the name of their chain; one file per driver.
