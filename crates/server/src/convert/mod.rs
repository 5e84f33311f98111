//! Between Docker's words and the engine's.
//!
//! `request` reads what a client wants, `echo` gives it back as it was asked for, `details` tells what became of
//! it. Invariant: what `request` reads, `echo` gives back. A field that is not built is refused by name.

mod details;
mod echo;
mod request;

pub(crate) use details::{container, row, stats};
pub(crate) use request::{
    config as container_config, create_request, endpoint, published, size, update_request,
};

use dhow_spec::image::Timestamp;

/// How Go writes a time that never was.
pub(crate) const NEVER: &str = "0001-01-01T00:00:00Z";

/// A time as inspections have it.
pub(crate) fn time(nanoseconds: i64) -> String {
    let (seconds, rest) =
        (nanoseconds.div_euclid(1_000_000_000), nanoseconds.rem_euclid(1_000_000_000));
    let time = Timestamp::from_unix(seconds, u32::try_from(rest).unwrap_or(0));
    time.map_or_else(|| NEVER.to_owned(), |time| time.as_str().to_owned())
}

pub(crate) fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_nanoseconds() {
        assert_eq!(time(1_500_000_000), "1970-01-01T00:00:01.5Z");
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
    }
}
