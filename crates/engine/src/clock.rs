//! What time it is: the wall's for records.
//!
//! Absent on purpose: measuring time. Who waits uses a clock that does not jump.

use std::time::{SystemTime, UNIX_EPOCH};

use dhow_spec::image::Timestamp;

/// Nanoseconds since 1970.
pub(crate) fn now_ns() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(past) => i64::try_from(past.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_nanos()).unwrap_or(i64::MAX),
    }
}

/// A time as RFC 3339 has it, in UTC.
pub(crate) fn rfc3339(time_ns: i64) -> String {
    let nanoseconds = u32::try_from(time_ns.rem_euclid(1_000_000_000)).unwrap_or_default();
    let time = Timestamp::from_unix(time_ns.div_euclid(1_000_000_000), nanoseconds);
    time.map(|time| time.as_str().to_owned()).unwrap_or_default()
}
