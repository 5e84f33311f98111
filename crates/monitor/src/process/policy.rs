//! When a container is started again, and how long that waits: Docker's rules.
//!
//! 100 ms, doubled with every life shorter than ten seconds up to a minute, and again 100 ms after one that
//! was longer. All by the monotonic clock.

use std::time::Duration;

use crate::protocol::RestartPolicy;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(60);
/// A life of this length was a good one.
const GOOD_LIFE: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Policy {
    /// How often it has restarted.
    pub(super) count: u32,
    /// Somebody asked for the end: nothing is restarted any more.
    pub(super) cancelled: bool,
    delay: Duration,
}

impl Policy {
    /// The policy of a container that has restarted so often.
    pub(super) fn after(count: u32) -> Self {
        Self { count, ..Self::default() }
    }

    /// How long to wait before the next life, if there is to be one.
    pub(super) fn next(
        &mut self,
        policy: RestartPolicy,
        life: Duration,
        code: Option<i32>,
    ) -> Option<Duration> {
        let again = !self.cancelled
            && match policy {
                RestartPolicy::No => false,
                RestartPolicy::OnFailure { max } => {
                    code != Some(0) && (max == 0 || self.count < max)
                }
                RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
            };
        if !again {
            return None;
        }
        if life >= GOOD_LIFE {
            self.delay = Duration::ZERO;
        }
        self.delay = match self.delay {
            Duration::ZERO => FIRST,
            delay => (delay * 2).min(LONGEST),
        };
        self.count += 1;
        Some(self.delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_secs(1);

    #[test]
    fn waiting_doubles_up_to_a_minute_and_begins_anew_after_a_good_life() {
        let mut policy = Policy::default();
        let mut waits =
            |life| policy.next(RestartPolicy::Always, life, Some(0)).unwrap().as_millis();
        let short: Vec<_> = (0..12).map(|_| waits(SHORT)).collect();
        assert_eq!(short[..5], [100, 200, 400, 800, 1600]);
        assert_eq!(short[9..], [51_200, 60_000, 60_000]);
        assert_eq!((waits(GOOD_LIFE), waits(SHORT)), (100, 200));
        assert_eq!(policy.count, 14);
    }

    #[test]
    fn failures_alone_are_restarted_and_only_so_often() {
        let on_failure = RestartPolicy::OnFailure { max: 2 };
        let mut policy = Policy::default();
        assert_eq!(policy.next(on_failure, SHORT, Some(0)), None);
        assert!(policy.next(on_failure, SHORT, Some(1)).is_some());
        assert!(policy.next(on_failure, SHORT, None).is_some(), "nobody knows");
        assert_eq!(policy.next(on_failure, SHORT, Some(1)), None);
        assert_eq!(policy.next(RestartPolicy::No, SHORT, Some(1)), None);
        let mut stopped = Policy { cancelled: true, ..Policy::default() };
        assert_eq!(stopped.next(RestartPolicy::UnlessStopped, SHORT, Some(1)), None);
    }
}
