//! Schedulers: the specification's words as the attributes of `sched_setattr(2)`.
//!
//! What the kernel would take but never look at (a deadline beside `SCHED_FIFO`) is refused here;
//! whether it grants the rest is its own affair.

use super::{WordError, look_up};
use dhow_sys::SchedAttr;

const POLICIES: [(&str, u32); 7] = [
    ("SCHED_OTHER", OTHER),
    ("SCHED_FIFO", FIFO),
    ("SCHED_RR", RR),
    ("SCHED_BATCH", BATCH),
    ("SCHED_ISO", 4),
    ("SCHED_IDLE", 5),
    ("SCHED_DEADLINE", DEADLINE),
];
const OTHER: u32 = 0;
const FIFO: u32 = 1;
const RR: u32 = 2;
const BATCH: u32 = 3;
const DEADLINE: u32 = 6;

const FLAGS: [(&str, u64); 7] = [
    ("SCHED_FLAG_RESET_ON_FORK", 0x01),
    ("SCHED_FLAG_RECLAIM", 0x02),
    ("SCHED_FLAG_DL_OVERRUN", 0x04),
    ("SCHED_FLAG_KEEP_POLICY", 0x08),
    ("SCHED_FLAG_KEEP_PARAMS", 0x10),
    ("SCHED_FLAG_UTIL_CLAMP_MIN", 0x20),
    ("SCHED_FLAG_UTIL_CLAMP_MAX", 0x40),
];

/// The fields of the specification's `scheduler` object; absent numbers are 0.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SchedulerWords<'a> {
    pub(crate) policy: &'a str,
    pub(crate) nice: i32,
    pub(crate) priority: i32,
    pub(crate) flags: &'a [String],
    pub(crate) runtime: u64,
    pub(crate) deadline: u64,
    pub(crate) period: u64,
}

/// The attributes that these words ask for.
pub(crate) fn scheduler(words: &SchedulerWords<'_>) -> Result<SchedAttr, WordError> {
    let policy = look_up("scheduler policy", &POLICIES, words.policy)?;
    check_nice(policy, words.nice)?;
    check_deadline(policy, words)?;
    Ok(SchedAttr {
        policy,
        flags: words.flags.iter().try_fold(0, |set, flag| {
            look_up("scheduler flag", &FLAGS, flag).map(|flag| set | flag)
        })?,
        nice: words.nice,
        priority: check_priority(policy, words.priority)?,
        runtime: words.runtime,
        deadline: words.deadline,
        period: words.period,
        ..SchedAttr::default()
    })
}

/// The other policies ignore it, and so do we, as the specification's examples do.
fn check_nice(policy: u32, nice: i32) -> Result<(), WordError> {
    match nice {
        -20..=19 => Ok(()),
        _ if policy != OTHER && policy != BATCH => Ok(()),
        _ => Err(WordError::Range { kind: "nice", value: nice.into(), min: -20, max: 19 }),
    }
}

fn check_priority(policy: u32, priority: i32) -> Result<u32, WordError> {
    let real_time = policy == FIFO || policy == RR;
    match u32::try_from(priority) {
        Ok(0) if !real_time => Ok(0),
        Ok(priority @ 1..=99) if real_time => Ok(priority),
        _ if real_time => {
            let kind = "scheduler priority";
            Err(WordError::Range { kind, value: priority.into(), min: 1, max: 99 })
        }
        _ => {
            let beside = "a policy other than SCHED_FIFO and SCHED_RR";
            Err(WordError::Senseless { field: "scheduler priority", beside })
        }
    }
}

fn check_deadline(policy: u32, words: &SchedulerWords<'_>) -> Result<(), WordError> {
    let given = words.runtime != 0 || words.deadline != 0 || words.period != 0;
    if given && policy != DEADLINE {
        let (field, beside) =
            ("scheduler runtime, deadline or period", "a policy other than SCHED_DEADLINE");
        return Err(WordError::Senseless { field, beside });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: SchedulerWords<'static> = SchedulerWords {
        policy: "SCHED_OTHER",
        nice: 0,
        priority: 0,
        flags: &[],
        runtime: 0,
        deadline: 0,
        period: 0,
    };

    #[test]
    fn every_policy_has_its_number() {
        for (number, policy) in
            ["OTHER", "FIFO", "RR", "BATCH", "ISO", "IDLE", "DEADLINE"].into_iter().enumerate()
        {
            let priority = if matches!(policy, "FIFO" | "RR") { 9 } else { 0 };
            let policy = format!("SCHED_{policy}");
            let attr = scheduler(&SchedulerWords { policy: &policy, priority, ..PLAIN }).unwrap();
            assert_eq!((attr.policy, attr.priority), (number as u32, priority as u32));
        }
    }

    #[test]
    fn fields_and_flags_are_carried_over() {
        let flags = ["SCHED_FLAG_RESET_ON_FORK".to_owned(), "SCHED_FLAG_DL_OVERRUN".to_owned()];
        let words = SchedulerWords {
            policy: "SCHED_DEADLINE",
            flags: &flags,
            runtime: 1,
            deadline: 2,
            period: 3,
            ..PLAIN
        };
        let attr = scheduler(&words).unwrap();
        assert_eq!((attr.flags, attr.runtime, attr.deadline, attr.period), (5, 1, 2, 3));
        let words = SchedulerWords { policy: "SCHED_RR", priority: 42, ..PLAIN };
        assert_eq!(scheduler(&words).unwrap().priority, 42);
        assert_eq!(scheduler(&SchedulerWords { nice: -20, ..PLAIN }).unwrap().nice, -20);
    }

    #[test]
    fn wrong_words_are_refused() {
        let wrong = [
            SchedulerWords { policy: "SCHED_EXT", ..PLAIN },
            SchedulerWords { policy: "", ..PLAIN },
            SchedulerWords { flags: &["SCHED_FLAG_X".to_owned()], ..PLAIN },
            SchedulerWords { nice: 20, ..PLAIN },
            SchedulerWords { nice: -21, policy: "SCHED_BATCH", ..PLAIN },
            SchedulerWords { priority: 1, ..PLAIN },
            SchedulerWords { priority: -1, policy: "SCHED_FIFO", ..PLAIN },
            SchedulerWords { priority: 0, policy: "SCHED_FIFO", ..PLAIN },
            SchedulerWords { priority: 100, policy: "SCHED_RR", ..PLAIN },
            SchedulerWords { runtime: 1, ..PLAIN },
            SchedulerWords { period: 1, policy: "SCHED_FIFO", ..PLAIN },
        ];
        for words in wrong {
            assert!(scheduler(&words).is_err(), "{words:?}");
        }
    }
}
