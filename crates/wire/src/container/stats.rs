//! What a container uses, counted.
//!
//! Invariant: none of its own. Absent on purpose: what only Windows counts.

use std::collections::BTreeMap;

use crate::go::object;

object! {
    /// One line of `GET /containers/{id}/stats`.
    Stats {
        id: String => "id",
        name: String => "name",
        os_type: String => "os_type",
        read: String = "read",
        cpu: CpuStats = "cpu_stats",
        memory: MemoryStats = "memory_stats",
        networks: BTreeMap<String, NetworkStats> => "networks",
        pids: PidsStats = "pids_stats",
        blkio: BlkioStats = "blkio_stats",
        num_procs: u32 = "num_procs",
        storage: StorageStats = "storage_stats",
        preread: String = "preread",
        precpu: CpuStats = "precpu_stats",
    }

    /// Processor time.
    CpuStats {
        usage: CpuUsage = "cpu_usage",
        system_usage: u64 => "system_cpu_usage",
        online_cpus: u32 => "online_cpus",
        throttling: Throttling = "throttling_data",
    }

    /// Processor time in nanoseconds.
    CpuUsage {
        total: u64 = "total_usage",
        per_cpu: Vec<u64> => "percpu_usage",
        kernel: u64 = "usage_in_kernelmode",
        user: u64 = "usage_in_usermode",
    }

    /// How often a limit of processor time held it up.
    Throttling {
        periods: u64 = "periods",
        throttled_periods: u64 = "throttled_periods",
        throttled_time: u64 = "throttled_time",
    }

    /// Memory in bytes.
    MemoryStats {
        usage: u64 => "usage",
        max_usage: u64 => "max_usage",
        stats: BTreeMap<String, u64> => "stats",
        failcnt: u64 => "failcnt",
        limit: u64 => "limit",
    }

    /// Processes and threads.
    PidsStats {
        current: u64 => "current",
        limit: u64 => "limit",
    }

    /// Block devices.
    BlkioStats {
        service_bytes: Option<Vec<BlkioEntry>> = "io_service_bytes_recursive",
        serviced: Option<Vec<BlkioEntry>> = "io_serviced_recursive",
        queued: Option<Vec<BlkioEntry>> = "io_queue_recursive",
        service_time: Option<Vec<BlkioEntry>> = "io_service_time_recursive",
        wait_time: Option<Vec<BlkioEntry>> = "io_wait_time_recursive",
        merged: Option<Vec<BlkioEntry>> = "io_merged_recursive",
        time: Option<Vec<BlkioEntry>> = "io_time_recursive",
        sectors: Option<Vec<BlkioEntry>> = "sectors_recursive",
    }

    /// One count of one block device.
    BlkioEntry {
        major: u64 = "major",
        minor: u64 = "minor",
        op: String = "op",
        value: u64 = "value",
    }

    /// Only Windows fills this.
    StorageStats {
        read_count_normalized: u64 => "read_count_normalized",
        read_size_bytes: u64 => "read_size_bytes",
        write_count_normalized: u64 => "write_count_normalized",
        write_size_bytes: u64 => "write_size_bytes",
    }

    /// One network interface.
    NetworkStats {
        rx_bytes: u64 = "rx_bytes",
        rx_packets: u64 = "rx_packets",
        rx_errors: u64 = "rx_errors",
        rx_dropped: u64 = "rx_dropped",
        tx_bytes: u64 = "tx_bytes",
        tx_packets: u64 = "tx_packets",
        tx_errors: u64 = "tx_errors",
        tx_dropped: u64 = "tx_dropped",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_container_has_empty_counts() {
        let json = serde_json::to_value(Stats::default()).unwrap();
        assert_eq!(json["memory_stats"], serde_json::json!({}));
        assert_eq!(json["blkio_stats"]["io_time_recursive"], serde_json::Value::Null);
        assert_eq!(json["cpu_stats"]["cpu_usage"]["total_usage"], 0);
        assert!(json.get("networks").is_none());
    }
}
