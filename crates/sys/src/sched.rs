//! How a process is scheduled: attributes, I/O priority, memory policy, execution domain.
//!
//! Every call here acts on the calling thread and allocates nothing, so that all of them can stand
//! between clone and exec. Absent: CPU affinity, which rustix has.

use crate::process::check;
use rustix::io::Errno;

/// The kernel's `struct sched_attr` in its second version (56 bytes, Linux 5.3); older kernels take
/// it too, as long as the last two fields are 0.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SchedAttr {
    /// The length of this structure; whatever it says, [`sched_setattr`] fills it in.
    pub size: u32,
    /// `SCHED_…`.
    pub policy: u32,
    /// `SCHED_FLAG_…`.
    pub flags: u64,
    /// For `SCHED_OTHER` and `SCHED_BATCH`.
    pub nice: i32,
    /// For `SCHED_FIFO` and `SCHED_RR`.
    pub priority: u32,
    /// For `SCHED_DEADLINE`, nanoseconds.
    pub runtime: u64,
    /// For `SCHED_DEADLINE`, nanoseconds.
    pub deadline: u64,
    /// For `SCHED_DEADLINE`, nanoseconds.
    pub period: u64,
    /// Looked at with `SCHED_FLAG_UTIL_CLAMP_MIN`.
    pub util_min: u32,
    /// Looked at with `SCHED_FLAG_UTIL_CLAMP_MAX`.
    pub util_max: u32,
}

impl SchedAttr {
    /// Whether the policy is `SCHED_DEADLINE`.
    pub fn is_deadline(&self) -> bool {
        self.policy == libc::SCHED_DEADLINE as u32
    }
}

/// Gives the calling thread the policy and parameters of `attr`.
pub fn sched_setattr(attr: &SchedAttr) -> Result<(), Errno> {
    let attr = SchedAttr { size: size_of::<SchedAttr>() as u32, ..*attr };
    // SAFETY: the kernel reads `size` bytes at the pointer, which are `attr`'s own.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) }).map(drop)
}

/// Gives the calling thread an I/O priority: class in the upper three bits, level in the rest.
pub fn ioprio_set(priority: u16) -> Result<(), Errno> {
    const WHO_PROCESS: libc::c_int = 1;
    let priority = libc::c_int::from(priority);
    // SAFETY: three numbers; no memory is involved.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, priority) }).map(drop)
}

/// Sets the calling thread's memory policy: mode and flags in one number, `nodes` a bit each.
/// `ENOSYS` where the kernel has no NUMA.
pub fn set_mempolicy(mode: u32, nodes: &[u64]) -> Result<(), Errno> {
    // The kernel reads one bit less than it is told.
    let bits = nodes.len() * 64 + 1;
    let nodes = if nodes.iter().all(|word| *word == 0) {
        (std::ptr::null(), 0)
    } else {
        (nodes.as_ptr(), bits)
    };
    // SAFETY: the kernel reads at most `bits - 1` bits at the pointer, which is the slice's length.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, nodes.0, nodes.1) }).map(drop)
}

/// Sets the execution domain of the calling thread; it survives exec.
pub fn set_personality(domain: u32) -> Result<(), Errno> {
    // SAFETY: one number; no memory is involved.
    check(unsafe { libc::syscall(libc::SYS_personality, libc::c_ulong::from(domain)) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `body` in a thread of its own: everything here belongs to a thread.
    fn apart<T: Send>(body: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| scope.spawn(body).join()).unwrap()
    }

    fn stat_field(number: usize) -> i64 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let rest = stat.rsplit_once(')').unwrap().1;
        rest.split_whitespace().nth(number - 3).unwrap().parse().unwrap()
    }

    #[test]
    fn policy_and_nice_are_taken_over() {
        apart(|| {
            sched_setattr(&SchedAttr { policy: 3, nice: 7, ..SchedAttr::default() }).unwrap();
            assert_eq!((stat_field(41), stat_field(19)), (3, 7));
        });
        let unknown = SchedAttr { policy: 77, ..SchedAttr::default() };
        assert_eq!(apart(|| sched_setattr(&unknown)), Err(Errno::INVAL));
    }

    #[test]
    fn io_priority_is_taken_over() {
        let read = apart(|| {
            ioprio_set(2 << 13 | 6).unwrap();
            // SAFETY: two numbers; no memory is involved.
            unsafe { libc::syscall(libc::SYS_ioprio_get, 1, 0) }
        });
        assert_eq!(read, 2 << 13 | 6);
        assert_eq!(apart(|| ioprio_set(7 << 13)), Err(Errno::INVAL));
    }

    #[test]
    fn memory_policy_is_judged_by_the_kernel() {
        let empty = apart(|| set_mempolicy(0, &[0; 16]));
        if empty == Err(Errno::NOSYS) {
            return;
        }
        assert_eq!(empty, Ok(()));
        assert_eq!(apart(|| set_mempolicy(2, &[1, 0])), Ok(()));
        assert_eq!(apart(|| set_mempolicy(2, &[0])), Err(Errno::INVAL));
    }

    #[test]
    fn personality_is_taken_over() {
        let read = apart(|| {
            set_personality(8).unwrap();
            std::fs::read_to_string("/proc/thread-self/personality").unwrap()
        });
        assert_eq!(read.trim(), "00000008");
    }
}
