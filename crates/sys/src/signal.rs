//! Signals: sets, dispositions, sending by number (real-time ones too) and receiving through a descriptor.

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::Pid;

use crate::process::{Exit, check};

/// A set of signals, as the kernel keeps it: bit `n - 1` for signal `n`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SignalSet(u64);

impl SignalSet {
    /// Every signal (the kernel leaves out `SIGKILL` and `SIGSTOP`).
    pub const ALL: Self = Self(u64::MAX);
    /// No signal.
    pub const NONE: Self = Self(0);
}

/// Replaces the calling thread's mask of blocked signals; gives the old one. May run between clone and
/// exec.
pub fn set_mask(blocked: SignalSet) -> SignalSet {
    let mut old = 0u64;
    // SAFETY: both pointers are to live 8-byte sets, the size that is given; SIG_SETMASK with valid
    // pointers cannot fail.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const blocked.0,
            &raw mut old,
            size_of::<u64>(),
        )
    };
    SignalSet(old)
}

/// The calling thread's mask of blocked signals.
pub fn blocked_signals() -> SignalSet {
    let mut old = 0u64;
    // SAFETY: without a new set the call only writes the old one, into 8 bytes that are there.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            std::ptr::null::<u64>(),
            &raw mut old,
            size_of::<u64>(),
        )
    };
    SignalSet(old)
}

/// The signals that this process ignores, read from `/proc/self/status`: a caller's `nohup` and Rust's
/// own start (`SIGPIPE`) leave some behind, and exec hands them on.
pub fn ignored_signals() -> SignalSet {
    let mut text = [0u8; 4096];
    let count = rustix::fs::open(
        c"/proc/self/status",
        rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .and_then(|file| rustix::io::read(file, &mut text));
    let status = text.get(..count.unwrap_or(0)).and_then(|text| std::str::from_utf8(text).ok());
    let mask = status
        .unwrap_or_default()
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // Without procfs, the one that is surely ignored.
    SignalSet(mask.unwrap_or(1 << (libc::SIGPIPE - 1)))
}

/// Gives the signals of `set` their default action. May run between clone and exec.
pub fn reset_dispositions(set: SignalSet) {
    // The kernel's `struct sigaction` differs between architectures, an all-zero one does not: default
    // handler, no flags, empty mask.
    let default = [0u64; 8];
    for signal in (1..=64).filter(|signal| set.0 & (1 << (signal - 1)) != 0) {
        // SAFETY: the buffer is longer than any architecture's kernel sigaction; the default action
        // needs no handler to stay alive.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                std::ptr::null_mut::<u64>(),
                size_of::<u64>(),
            )
        };
    }
}

/// Has the process end with status 128 + n when signal n of those that mean "end" comes, until it executes
/// a program: the first process of a PID namespace gets no signal that it does not handle. May run between
/// clone and exec, in a copy of the parent's memory.
pub fn end_on_signals() {
    extern "C" fn end(signal: libc::c_int) {
        crate::process::exit_now(128 + signal)
    }
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
        // SAFETY: an all-zero sigaction is a valid one: no flags, an empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = end as extern "C" fn(libc::c_int) as usize;
        // SAFETY: the handler lives as long as the program and does nothing but end the process.
        unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
    }
}

/// Sends signal `number` to the process `pid`.
pub fn kill(pid: Pid, number: i32) -> Result<(), Errno> {
    // SAFETY: kill touches no memory of ours.
    check(unsafe { libc::syscall(libc::SYS_kill, pid.as_raw_nonzero().get(), number) }).map(drop)
}

/// Sends signal `number` to the process behind `pidfd`: never to one that took over its pid.
pub fn pidfd_kill(pidfd: BorrowedFd<'_>, number: i32) -> Result<(), Errno> {
    // SAFETY: a null siginfo asks for the same one that kill(2) would send.
    check(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            number,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    })
    .map(drop)
}

/// How the process behind `pidfd` ended, also if it is no child of ours and has been reaped; `None` while it
/// lives or nobody has reaped it. Fails with `ENOTTY` or `EINVAL` before Linux 6.15, which cannot tell.
pub fn pidfd_exit(pidfd: BorrowedFd<'_>) -> Result<Option<Exit>, Errno> {
    /// `struct pidfd_info` in its first version.
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        mask: u64,
        cgroup: u64,
        ids: [u32; 11],
        exit_code: i32,
    }
    const EXIT: u64 = 1 << 3;
    /// `_IOWR(0xff, 11, struct pidfd_info)`.
    const GET_INFO: libc::Ioctl =
        (3 << 30 | size_of::<Info>() << 16 | 0xff << 8 | 11) as libc::Ioctl;
    let mut info = Info { mask: EXIT, ..Info::default() };
    // SAFETY: the request carries the structure's size, and the kernel writes no more than that.
    let result = unsafe { libc::ioctl(pidfd.as_raw_fd(), GET_INFO, &raw mut info) };
    match check(result.into()) {
        Err(errno) => Err(errno),
        Ok(_) if info.mask & EXIT == 0 => Ok(None),
        Ok(_) if libc::WIFSIGNALED(info.exit_code) => {
            Ok(Some(Exit::Signal(libc::WTERMSIG(info.exit_code))))
        }
        Ok(_) => Ok(Some(Exit::Code(libc::WEXITSTATUS(info.exit_code) as u8))),
    }
}

/// A signal that came in.
#[derive(Clone, Copy, Debug)]
pub struct ReceivedSignal {
    /// Its number.
    pub number: i32,
    /// The sender's pid, 0 for the kernel.
    pub sender: u32,
}

/// A descriptor that becomes readable when a signal of `set` is pending; the caller blocks the set
/// first. Non-blocking and close-on-exec.
pub fn signal_fd(set: SignalSet) -> Result<OwnedFd, Errno> {
    // SAFETY: the pointer is to a live 8-byte set, the size that is given.
    let fd = check(unsafe {
        libc::syscall(
            libc::SYS_signalfd4,
            -1,
            &raw const set.0,
            size_of::<u64>(),
            libc::SFD_CLOEXEC | libc::SFD_NONBLOCK,
        )
    })?;
    // SAFETY: the kernel has just made this descriptor and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// The next pending signal, `None` if there is none.
pub fn read_signal(fd: BorrowedFd<'_>) -> Result<Option<ReceivedSignal>, Errno> {
    let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
    // SAFETY: the buffer is as long as the length says.
    let count = unsafe {
        libc::read(fd.as_raw_fd(), info.as_mut_ptr().cast(), size_of::<libc::signalfd_siginfo>())
    };
    match check(count as libc::c_long) {
        Err(Errno::AGAIN) => Ok(None),
        Err(errno) => Err(errno),
        Ok(_) => {
            // SAFETY: a signalfd gives whole records only, so this one is filled.
            let info = unsafe { info.assume_init() };
            Ok(Some(ReceivedSignal { number: info.ssi_signo as i32, sender: info.ssi_pid }))
        }
    }
}
