//! The kernel's text formats: pairs, lists of numbers, tables of devices, pressure.
//!
//! A line that is not understood is passed over: newer kernels add lines and columns.

use std::collections::BTreeMap;

use super::{IoEntry, Pressure, PressureLine, RdmaStats};

/// `name value` on each line.
pub(super) fn pairs(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| {
        let (name, value) = line.split_once(' ')?;
        Some((name, value.trim().parse().ok()?))
    })
}

/// The value of one name, or zero.
pub(in crate::cgroup) fn value_of(text: &str, name: &str) -> u64 {
    pairs(text).find(|(found, _)| *found == name).map_or(0, |(_, value)| value)
}

/// Numbers in a row.
pub(super) fn row(text: &str) -> Vec<u64> {
    text.split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect()
}

/// `0-2,7` as single numbers.
pub(in crate::cgroup) fn ranges(text: &str) -> Option<Vec<u16>> {
    let mut numbers = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u16, u16) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

/// Kilobytes as the kernel names page sizes in files.
pub(super) fn page_size(kilobytes: u64) -> String {
    match kilobytes {
        0x10_0000.. => format!("{}GB", kilobytes >> 20),
        0x400.. => format!("{}MB", kilobytes >> 10),
        _ => format!("{kilobytes}KB"),
    }
}

fn device(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Version 1: `8:0 Read 4096`, or `8:0 4096` where there is one kind only.
pub(super) fn io_v1(text: &str) -> Vec<IoEntry> {
    let entry = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (op, value) = match fields[..] {
            [_, op, value] => (op, value),
            [_, value] => ("", value),
            _ => return None,
        };
        let (major, minor) = device(fields[0])?;
        Some(IoEntry { major, minor, op: op.to_owned(), value: value.parse().ok()? })
    };
    text.lines().filter_map(entry).collect()
}

/// Version 2: `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6`; bytes first, then operations.
pub(super) fn io_v2(text: &str) -> (Vec<IoEntry>, Vec<IoEntry>) {
    let (mut bytes, mut operations) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let mut fields = line.split_ascii_whitespace();
        let Some((major, minor)) = fields.next().and_then(device) else { continue };
        for (key, value) in fields.filter_map(|field| field.split_once('=')) {
            let Ok(value) = value.parse() else { continue };
            let (list, op) = match key {
                "rbytes" => (&mut bytes, "Read"),
                "wbytes" => (&mut bytes, "Write"),
                "dbytes" => (&mut bytes, "Discard"),
                "rios" => (&mut operations, "Read"),
                "wios" => (&mut operations, "Write"),
                "dios" => (&mut operations, "Discard"),
                _ => continue,
            };
            list.push(IoEntry { major, minor, op: op.to_owned(), value });
        }
    }
    (bytes, operations)
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same for `full`.
pub(super) fn pressure(text: &str) -> Pressure {
    let mut found = Pressure::default();
    for line in text.lines() {
        let mut fields = line.split(' ');
        let kind = fields.next();
        let mut numbers = PressureLine::default();
        for (key, value) in fields.filter_map(|field| field.split_once('=')) {
            match key {
                "avg10" => numbers.avg10 = value.parse().unwrap_or(0.0),
                "avg60" => numbers.avg60 = value.parse().unwrap_or(0.0),
                "avg300" => numbers.avg300 = value.parse().unwrap_or(0.0),
                "total" => numbers.total = value.parse().unwrap_or(0),
                _ => {}
            }
        }
        match kind {
            Some("some") => found.some = Some(numbers),
            Some("full") => found.full = Some(numbers),
            _ => {}
        }
    }
    found
}

/// `mlx4_0 hca_handle=2 hca_object=2000`; `max` where nothing bounds it.
pub(super) fn rdma(text: &str) -> BTreeMap<String, RdmaStats> {
    let line = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let device = fields.next()?.to_owned();
        let mut stats = RdmaStats::default();
        for (key, value) in fields.filter_map(|field| field.split_once('=')) {
            let value = value.parse().unwrap_or(u64::from(u32::MAX));
            match key {
                "hca_handle" => stats.hca_handles = value,
                "hca_object" => stats.hca_objects = value,
                _ => {}
            }
        }
        Some((device, stats))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_pairs_are_picked_out() {
        assert_eq!(value_of("oom 1\noom_kill 2\nodd\n", "oom_kill"), 2);
        assert_eq!(value_of("", "oom_kill"), 0);
        assert_eq!(row("1 2  30\n"), [1, 2, 30]);
        assert_eq!(ranges("0-2,7\n"), Some(vec![0, 1, 2, 7]));
        assert_eq!(ranges("\n"), Some(vec![]));
        assert_eq!(ranges("3-1"), None);
        assert_eq!(ranges("a"), None);
        assert_eq!([page_size(2048), page_size(1 << 20), page_size(64)], ["2MB", "1GB", "64KB"]);
    }

    #[test]
    fn device_tables_of_both_versions_come_out_alike() {
        let read = IoEntry { major: 8, minor: 0, op: "Read".to_owned(), value: 4096 };
        assert_eq!(io_v1("8:0 Read 4096\nTotal 4096\n"), std::slice::from_ref(&read));
        let (bytes, operations) = io_v2("8:0 rbytes=4096 rios=3 cost.usage=7\n252:1 \n");
        assert_eq!(bytes, [read]);
        assert_eq!((operations[0].value, operations.len()), (3, 1));
    }

    #[test]
    fn pressure_keeps_its_two_lines() {
        let found = pressure("some avg10=6.50 avg60=44.95 avg300=50.34 total=5335\n");
        let some = found.some.unwrap();
        assert_eq!((some.avg10, some.total), (6.5, 5335));
        assert_eq!(found.full, None);
    }

    #[test]
    fn rdma_lines_may_be_unbounded() {
        let found = rdma("mlx4_0 hca_handle=2 hca_object=max\n");
        assert_eq!(found["mlx4_0"].hca_handles, 2);
        assert_eq!(found["mlx4_0"].hca_objects, u64::from(u32::MAX));
    }
}
