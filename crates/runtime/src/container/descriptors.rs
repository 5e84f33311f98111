//! The descriptors that a caller leaves to the container's program: `--preserve-fds`, socket activation.
//!
//! Invariant: what the program finds above its standard streams is what was open and inheritable, within
//! the range asked for, before the container was begun. The runtime's own descriptors are close-on-exec
//! from birth, so none of them is in the list even if it took a number of the range that was free; and
//! the child marks everything that is not in the list, so none could be passed by mistake.

use std::os::fd::RawFd;

use crate::error::Error;

/// The first number above the standard streams.
const FIRST: u32 = 3;

/// The numbers from 3 on, `count` of them, at which an inheritable descriptor is open.
///
/// A free number stays free: a caller may leave 3 and 5. One that is close-on-exec is the runtime's, or its
/// embedder's, who did not mean it for programs.
pub(super) fn inheritable(count: u32) -> Result<Vec<RawFd>, Error> {
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let end = u64::from(FIRST) + u64::from(count);
    if most.is_some_and(|most| end > most) {
        return Err(Error::Refused {
            field: "--preserve-fds",
            value: count.to_string(),
            reason: "more than a process may have open",
        });
    }
    let end = RawFd::try_from(end).unwrap_or(RawFd::MAX);
    Ok((FIRST as RawFd..end).filter(|fd| dhow_sys::is_inheritable(*fd)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn only_open_and_inheritable_descriptors_are_passed() {
        let own = std::fs::File::open("/dev/null").unwrap();
        let high = rustix::io::fcntl_dupfd_cloexec(&own, 700).unwrap();
        let (own, passed) = (own.as_raw_fd(), high.as_raw_fd());
        assert!(!inheritable(passed as u32 - 2).unwrap().contains(&passed));
        dhow_sys::keep_at_exec(passed).unwrap();
        let all = inheritable(passed as u32 - 2).unwrap();
        assert_eq!(all.last(), Some(&passed));
        assert!(!all.contains(&own));
        assert!(!inheritable(passed as u32 - 3).unwrap().contains(&passed));
        assert!(inheritable(0).unwrap().is_empty());
    }

    #[test]
    fn more_than_can_be_open_is_refused() {
        let error = inheritable(u32::MAX).unwrap_err().to_string();
        assert_eq!(error, "--preserve-fds: \"4294967295\": more than a process may have open");
    }
}
