//! When to try again, and after how long.
//!
//! Invariant: waits grow and differ between callers, so that many clients do not come back at once; a
//! registry's own wish is respected or, if it is too long, told to the caller.
//! Absent on purpose: what can be tried again (see `Fault::may_pass`).

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::time::sleep;

use crate::config::Limits;
use crate::error::Fault;
use crate::observer::{Event, Observer};

/// The attempts at one thing.
#[derive(Debug)]
pub(crate) struct Attempts<'a> {
    limits: &'a Limits,
    failed: u32,
    max: u32,
    /// Where nobody was ever met: a typing error should not take long to tell.
    dead_max: u32,
    progressed: bool,
}

impl<'a> Attempts<'a> {
    pub(crate) fn new(limits: &'a Limits) -> Self {
        let max = limits.attempts_max;
        Self { limits, failed: 0, max, dead_max: max.min(2), progressed: false }
    }

    /// Fewer, where somebody else can be asked instead.
    pub(crate) fn impatient(limits: &'a Limits) -> Self {
        Self { max: limits.attempts_max.min(2), dead_max: 1, ..Self::new(limits) }
    }

    /// Something arrived: whoever makes progress is not failing.
    pub(crate) fn progressed(&mut self) {
        self.failed = 0;
        self.progressed = true;
    }

    /// Waits for the next attempt, or gives the fault back if there is none.
    pub(crate) async fn again(
        &mut self,
        host: &str,
        fault: Fault,
        observer: &dyn Observer,
    ) -> Result<(), Fault> {
        self.failed += 1;
        let dead = fault.seems_dead() && !self.progressed;
        let max = if dead { self.dead_max } else { self.max };
        if !fault.may_pass() || self.failed >= max {
            return Err(fault);
        }
        let wished = fault.retry_after();
        if wished.is_some_and(|wished| wished > self.limits.retry_after_max) {
            return Err(fault);
        }
        let own = back_off(self.limits, self.failed, RandomState::new().hash_one(self.failed));
        let wait = wished.map_or(own, |wished| wished.max(own));
        observer.event(&Event::Retrying { host, wait, why: &fault });
        sleep(wait).await;
        Ok(())
    }
}

/// Doubles with every failure, up to a maximum; between half of that and all of it.
fn back_off(limits: &Limits, failed: u32, random: u64) -> Duration {
    let doubled = limits.back_off.saturating_mul(1 << (failed - 1).min(16));
    let full = doubled.min(limits.back_off_max);
    let share = f64::from((random >> 32) as u32) / f64::from(u32::MAX);
    full.mul_f64(0.5 + share / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_within_bounds() {
        let limits = Limits {
            back_off: Duration::from_millis(100),
            back_off_max: Duration::from_secs(1),
            ..Limits::standard()
        };
        let check = |failed, random, expected| {
            assert_eq!(back_off(&limits, failed, random).as_millis(), expected, "{failed}");
        };
        check(1, 0, 50);
        check(1, u64::MAX, 100);
        check(2, u64::MAX, 200);
        check(4, u64::MAX, 800);
        check(5, u64::MAX, 1000);
        check(5, 0, 500);
        check(u32::MAX, u64::MAX, 1000);
    }
}
