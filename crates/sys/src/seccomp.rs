//! Seccomp: loading a filter, and what this kernel's seccomp can do.
//!
//! A filter is loaded as it is given: the kernel checks the program, nobody here reads it. A
//! listener's descriptor is close-on-exec from birth, which the kernel sees to. Absent: making
//! filters, and answering the notifications of a listener.

use crate::process::check;
use rustix::io::Errno;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// One instruction of a classic BPF program, the kernel's `struct sock_filter`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SockFilter {
    /// What to do.
    pub code: u16,
    /// How far to jump if true.
    pub jt: u8,
    /// How far to jump if not.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

/// The most instructions that the kernel takes, `BPF_MAXINSNS`.
pub const FILTER_LENGTH_MAX: usize = 4096;

/// How a filter is loaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SeccompFlags(u32);

impl SeccompFlags {
    /// Every thread of the process gets the filter, not the calling one alone.
    pub const TSYNC: Self = Self(1);
    /// What the filter refuses is logged.
    pub const LOG: Self = Self(1 << 1);
    /// The filter does not switch off speculation for the process.
    pub const SPEC_ALLOW: Self = Self(1 << 2);
    /// The filter has a listener, which [`load_seccomp`] returns.
    pub const NEW_LISTENER: Self = Self(1 << 3);
    /// With `TSYNC`, a thread that cannot take the filter is told as `ESRCH` and not as its id.
    const TSYNC_ESRCH: Self = Self(1 << 4);
    /// A notified call that the listener has received waits on through signals that do not kill.
    pub const WAIT_KILLABLE_RECV: Self = Self(1 << 5);

    /// These flags and those.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These flags but not those.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether all of `other` is in these.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The kernel's bits.
    pub const fn bits(self) -> u32 {
        self.0
    }
}

/// The kernel's `struct sock_fprog`.
#[repr(C)]
struct SockFprog {
    length: u16,
    filter: *const SockFilter,
}

/// Puts the calling thread behind `filter` for good; the answer is the listener if `flags` ask for
/// one. Needs `no_new_privs` or CAP_SYS_ADMIN. May run between clone and exec.
///
/// `TSYNC` with a thread that has filters of its own fails with `ESRCH`, and nothing is loaded. An
/// unknown flag or a faulty program fails with `EINVAL`, a second listener with `EBUSY`.
pub fn load_seccomp(filter: &[SockFilter], flags: SeccompFlags) -> Result<Option<OwnedFd>, Errno> {
    let length = u16::try_from(filter.len()).map_err(|_| Errno::INVAL)?;
    let program = SockFprog { length, filter: filter.as_ptr() };
    let flags = if flags.has(SeccompFlags::TSYNC) {
        // Else a thread's id and a listener's descriptor could not be told apart; the kernel
        // itself asks for this flag only where both could come.
        tsync_flags(flags)
    } else {
        flags
    };
    // SAFETY: the kernel reads the program that `program` points to, whose length is the slice's.
    let answer = check(unsafe { seccomp(SET_MODE_FILTER, flags.0, (&raw const program).cast()) })?;
    if flags.has(SeccompFlags::NEW_LISTENER) {
        // SAFETY: with this flag the answer is a descriptor made for us that nobody else knows.
        return Ok(Some(unsafe { OwnedFd::from_raw_fd(answer as RawFd) }));
    }
    match answer {
        0 => Ok(None),
        // A thread's id: that thread could not take the filter (kernels before 5.7).
        _ => Err(Errno::SRCH),
    }
}

/// With a listener the kernel takes `TSYNC` only together with its `ESRCH` form, of Linux 5.7; alone
/// `TSYNC` is older, and stays as it is.
fn tsync_flags(flags: SeccompFlags) -> SeccompFlags {
    if flags.has(SeccompFlags::NEW_LISTENER) {
        return flags.with(SeccompFlags::TSYNC_ESRCH);
    }
    flags
}

/// Whether this kernel knows a filter's `SECCOMP_RET_…` action.
pub fn seccomp_action_available(action: u32) -> bool {
    // SAFETY: the kernel reads the four bytes of `action`.
    check(unsafe { seccomp(GET_ACTION_AVAIL, 0, (&raw const action).cast()) }).is_ok()
}

/// Whether this kernel knows all of `flags`; nothing is loaded.
pub fn seccomp_flags_supported(flags: SeccompFlags) -> bool {
    let flags = tsync_flags(flags);
    // Flags are checked before the program is read: from a null pointer, known ones fail with EFAULT.
    // SAFETY: the kernel finds nothing to read at a null pointer and says so.
    let answer = check(unsafe { seccomp(SET_MODE_FILTER, flags.0, std::ptr::null()) });
    answer == Err(Errno::FAULT)
}

const SET_MODE_FILTER: libc::c_uint = 1;
const GET_ACTION_AVAIL: libc::c_uint = 2;

/// # Safety
/// `argument` has to be what `operation` reads.
unsafe fn seccomp(
    operation: libc::c_uint,
    flags: u32,
    argument: *const libc::c_void,
) -> libc::c_long {
    // SAFETY: as the caller promises.
    unsafe { libc::syscall(libc::SYS_seccomp, operation, flags, argument) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETURN: u16 = 0x06;
    const LOAD: u16 = 0x20;
    const JUMP_EQUAL: u16 = 0x15;
    const ALLOW: u32 = 0x7fff_0000;
    const ERRNO: u32 = 0x0005_0000;
    const USER_NOTIF: u32 = 0x7fc0_0000;

    /// Answers `getppid` with `action`, allows everything else.
    fn filter(action: u32) -> [SockFilter; 4] {
        let getppid = libc::SYS_getppid as u32;
        [
            SockFilter { code: LOAD, jt: 0, jf: 0, k: 0 },
            SockFilter { code: JUMP_EQUAL, jt: 0, jf: 1, k: getppid },
            SockFilter { code: RETURN, jt: 0, jf: 0, k: action },
            SockFilter { code: RETURN, jt: 0, jf: 0, k: ALLOW },
        ]
    }

    /// Runs `body` in a thread of its own, which takes its filters to its end.
    fn apart<T: Send>(body: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let run = || {
                rustix::thread::set_no_new_privs(true).unwrap();
                body()
            };
            scope.spawn(run).join()
        })
        .unwrap()
    }

    fn getppid() -> Result<i64, Errno> {
        // SAFETY: no argument, no memory.
        check(unsafe { libc::syscall(libc::SYS_getppid) })
    }

    #[test]
    fn a_filter_holds_in_its_thread() {
        let seen = apart(|| {
            let loaded = load_seccomp(&filter(ERRNO | 7), SeccompFlags::default());
            assert!(matches!(loaded, Ok(None)));
            getppid()
        });
        assert_eq!(seen, Err(Errno::from_raw_os_error(7)));
        assert!(getppid().is_ok());
    }

    #[test]
    fn flags_are_known_and_taken() {
        let flags = SeccompFlags::LOG.with(SeccompFlags::SPEC_ALLOW);
        assert!(seccomp_flags_supported(flags));
        assert!(!seccomp_flags_supported(SeccompFlags(1 << 31)));
        assert!(matches!(apart(|| load_seccomp(&filter(ALLOW), flags)), Ok(None)));
    }

    #[test]
    fn a_listener_is_returned_close_on_exec() {
        apart(|| {
            let flags = SeccompFlags::NEW_LISTENER;
            let listener = load_seccomp(&filter(USER_NOTIF), flags).unwrap().unwrap();
            let flags = rustix::io::fcntl_getfd(&listener).unwrap();
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        });
        let flags = SeccompFlags::NEW_LISTENER.with(SeccompFlags::WAIT_KILLABLE_RECV);
        assert!(seccomp_flags_supported(flags));
        assert!(seccomp_flags_supported(SeccompFlags::NEW_LISTENER.with(SeccompFlags::TSYNC)));
    }

    #[test]
    fn the_kernel_says_what_it_knows() {
        assert!([ALLOW, ERRNO, USER_NOTIF].into_iter().all(seccomp_action_available));
        assert!(!seccomp_action_available(0x1234_0000));
    }

    #[test]
    fn faulty_programs_are_refused() {
        let endless = [SockFilter { code: LOAD, jt: 0, jf: 0, k: 0 }];
        for program in [&endless[..], &[]] {
            let answer = apart(|| load_seccomp(program, SeccompFlags::default()));
            assert_eq!(answer.unwrap_err(), Errno::INVAL);
        }
        let long = vec![SockFilter { code: RETURN, jt: 0, jf: 0, k: ALLOW }; 70_000];
        let answer = apart(|| load_seccomp(&long, SeccompFlags::default()));
        assert_eq!(answer.unwrap_err(), Errno::INVAL);
    }
}
