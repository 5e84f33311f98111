//! Making a process and becoming a program.
//!
//! [`clone_child`] is the one way to a new process. With [`Memory::Shared`] the child borrows the
//! caller's memory while the caller stands still (`CLONE_VM | CLONE_VFORK`), which saves copying the
//! page tables; with [`Memory::Copied`] both run on, as after `fork`.

use std::convert::Infallible;
use std::ffi::{CStr, CString, c_char};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Pid, WaitIdOptions, WaitIdStatus};

use crate::namespace::Namespaces;

/// Wider than libc's type for the clone flags.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Turns a raw return value of `libc::syscall` into its result.
pub(crate) fn check(result: libc::c_long) -> Result<libc::c_long, Errno> {
    if result == -1 {
        // SAFETY: errno's address is valid for the whole life of the thread.
        return Err(Errno::from_raw_os_error(unsafe { *libc::__errno_location() }));
    }
    Ok(result)
}

/// How the child gets its memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Memory {
    /// The caller's own, while the caller waits for the child's exec or exit.
    Shared,
    /// A copy; caller and child run at the same time.
    Copied,
}

/// What [`clone_child`] makes.
#[derive(Debug)]
pub struct Clone<'a> {
    /// Namespaces to make new; not `TIME`, and `CGROUP` only if the caller's own cgroup is to be the
    /// new one's root (the kernel takes the caller's, even with `cgroup` below).
    pub namespaces: Namespaces,
    /// The cgroup v2 directory to be born in (`CLONE_INTO_CGROUP`, Linux 5.7).
    pub cgroup: Option<BorrowedFd<'a>>,
    /// See [`Memory`].
    pub memory: Memory,
    /// Make the new process a sibling: a child of the caller's parent.
    pub sibling: bool,
}

/// A process that [`clone_child`] made, not yet waited for.
#[derive(Debug)]
pub struct Child {
    /// Its pid in the caller's PID namespace.
    pub pid: Pid,
    /// The process itself: stays meaningful when the pid is taken by another.
    pub pidfd: OwnedFd,
}

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// It called exit with this status.
    Code(u8),
    /// This signal ended it.
    Signal(i32),
}

impl Exit {
    /// The status that a shell would show: the code, or 128 + the signal.
    pub fn status(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128u8.saturating_add(signal as u8),
        }
    }
}

impl Child {
    /// Waits until the process has ended, and reaps it.
    pub fn wait(&self) -> Result<Exit, Errno> {
        loop {
            match rustix::process::waitid(
                rustix::process::WaitId::PidFd(as_borrowed(&self.pidfd)),
                WaitIdOptions::EXITED,
            ) {
                Ok(Some(status)) => return Ok(exit_of(&status)),
                Ok(None) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

fn as_borrowed(fd: &OwnedFd) -> BorrowedFd<'_> {
    std::os::fd::AsFd::as_fd(fd)
}

fn exit_of(status: &WaitIdStatus) -> Exit {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Exit::Code(code as u8),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Signal(libc::SIGKILL),
    }
}

/// Makes a process that runs `child` and nothing else; `child` ends by exec or exit.
///
/// All signals are blocked in the child from birth, and in the caller while the memory is shared; the
/// child unblocks what it wants with [`crate::set_mask`]. With `Memory::Shared`, `child` runs while
/// every other thread of the caller goes on, so it must not allocate or lock unless the caller is
/// single-threaded; with `Memory::Copied` the same holds because another thread's lock is copied locked.
pub fn clone_child(
    clone: &Clone<'_>,
    mut child: impl FnMut() -> Infallible,
) -> Result<Child, Errno> {
    let mut pidfd: libc::c_int = -1;
    let mut flags = clone.namespaces.bits() | libc::CLONE_PIDFD as u64;
    if clone.memory == Memory::Shared {
        flags |= (libc::CLONE_VM | libc::CLONE_VFORK) as u64;
    }
    if clone.sibling {
        flags |= libc::CLONE_PARENT as u64;
    }
    // SAFETY: clone_args is plain numbers, for which zero is "not asked for".
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    if let Some(cgroup) = clone.cgroup {
        flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    args.flags = flags;
    args.pidfd = (&raw mut pidfd) as u64;
    // A sibling's death is told by the parent's signal, and clone3 wants 0 here.
    args.exit_signal = if clone.sibling { 0 } else { libc::SIGCHLD as u64 };

    let mut entry: &mut dyn FnMut() -> Infallible = &mut child;
    let mask = crate::set_mask(crate::SignalSet::ALL);
    let argument = (&raw mut entry).cast();
    // SAFETY: `args` and `pidfd` live through the call; `entry` points to a closure that outlives the
    // child's use of it: with shared memory the caller resumes only after the child's exec or exit, with
    // copied memory the child has its own copy. `run_child` never returns.
    let mut pid = unsafe { clone_by(Call::Clone3, &args, run_child, argument) };
    if pid == Err(Errno::NOSYS) && clone.cgroup.is_none() {
        // Containers' usual filters say so of a call whose flags they cannot read; no child was made.
        // SAFETY: as above.
        pid = unsafe { clone_by(Call::Clone, &args, run_child, argument) };
    }
    crate::set_mask(mask);
    let pid = pid?;
    let pid = Pid::from_raw(pid as i32).ok_or(Errno::CHILD)?;
    // SAFETY: CLONE_PIDFD made this descriptor for us alone.
    Ok(Child { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } })
}

/// Where the child begins. Being `extern "C"`, it turns a panic into an abort of the child alone.
extern "C" fn run_child(entry: *mut libc::c_void) -> ! {
    // SAFETY: `clone_child` passes a pointer to its `&mut dyn FnMut`, alive as it explains.
    let entry = unsafe { &mut *entry.cast::<&mut dyn FnMut() -> Infallible>() };
    match entry() {}
}

/// The two calls that make a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Call {
    Clone3,
    /// Knows neither cgroups nor all namespaces, but filters can read its flags.
    Clone,
}

impl Call {
    /// The call's number and its first three arguments; the others are zero.
    fn words(self, args: &libc::clone_args) -> (libc::c_long, [u64; 3]) {
        match self {
            Self::Clone3 => {
                let size = size_of::<libc::clone_args>() as u64;
                (libc::SYS_clone3, [std::ptr::from_ref(args) as u64, size, 0])
            }
            // Without a stack of its own, as there; the descriptor comes where the parent's copy of the pid would.
            Self::Clone => (libc::SYS_clone, [args.flags | args.exit_signal, 0, args.pidfd]),
        }
    }
}

/// A clone whose child calls `entry(argument)` and never comes back here.
///
/// The child of a shared-memory clone runs on the caller's stack, below its live frames: everything from
/// the system call to `entry` therefore happens inside one assembly block, so that the compiler keeps
/// nothing there that the child could overwrite.
///
/// # Safety
/// `args` must be valid for clone3 without a stack of its own, `entry` must be fit to run in the child.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
unsafe fn clone_by(
    call: Call,
    args: &libc::clone_args,
    entry: extern "C" fn(*mut libc::c_void) -> !,
    argument: *mut libc::c_void,
) -> Result<libc::c_long, Errno> {
    let (number, words) = call.words(args);
    let result: libc::c_long;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the parent's path through the block is a plain system call; the child's pushes only below
    // the stack pointer, aligned as the ABI wants, and never returns.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "and rsp, -16",
            "mov rdi, {argument}",
            "call {entry}",
            "ud2",
            "2:",
            entry = in(reg) entry,
            argument = in(reg) argument,
            inlateout("rax") number => result,
            in("rdi") words[0],
            in("rsi") words[1],
            in("rdx") words[2],
            in("r10") 0,
            in("r8") 0,
            out("rcx") _,
            out("r11") _,
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above; the stack pointer is always 16-byte aligned here.
    unsafe {
        std::arch::asm!(
            "svc #0",
            "cbnz x0, 2f",
            "mov x0, {argument}",
            "blr {entry}",
            "brk #1",
            "2:",
            entry = in(reg) entry,
            argument = in(reg) argument,
            in("x8") number,
            inlateout("x0") words[0].cast_signed() => result,
            in("x1") words[1],
            in("x2") words[2],
            in("x3") 0,
            in("x4") 0,
        );
    }
    if result < 0 { Err(Errno::from_raw_os_error(-result as i32)) } else { Ok(result) }
}

/// The same for architectures without a block of their own: memory is always copied.
///
/// # Safety
/// As above.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn clone_by(
    call: Call,
    args: &libc::clone_args,
    entry: extern "C" fn(*mut libc::c_void) -> !,
    argument: *mut libc::c_void,
) -> Result<libc::c_long, Errno> {
    let mut args = *args;
    args.flags &= !((libc::CLONE_VM | libc::CLONE_VFORK) as u64);
    let (number, words) = call.words(&args);
    // SAFETY: a fork by another name; the child has its own copy of this frame.
    match unsafe { libc::syscall(number, words[0], words[1], words[2], 0, 0) } {
        0 => entry(argument),
        other => check(other),
    }
}

/// Arguments or environment in the form that exec takes, built once by the parent.
#[derive(Debug)]
pub struct Argv {
    strings: Vec<CString>,
    pointers: Vec<*const c_char>,
}

impl Argv {
    /// Takes the strings in order.
    pub fn new(strings: Vec<CString>) -> Self {
        let mut pointers: Vec<_> = strings.iter().map(|text| text.as_ptr()).collect();
        pointers.push(std::ptr::null());
        Self { strings, pointers }
    }

    /// The strings themselves.
    pub fn strings(&self) -> &[CString] {
        &self.strings
    }
}

/// Becomes the program at `path`; returns only if that failed. May run between clone and exec.
pub fn execve(path: &CStr, argv: &Argv, envp: &Argv) -> Errno {
    // SAFETY: all three are NUL-terminated; the arrays end with a null pointer and their strings live as
    // long as the borrow.
    let result = unsafe {
        libc::syscall(
            libc::SYS_execve,
            path.as_ptr(),
            argv.pointers.as_ptr(),
            envp.pointers.as_ptr(),
        )
    };
    match check(result) {
        Err(errno) => errno,
        Ok(_) => Errno::NOEXEC,
    }
}

unsafe extern "C" {
    /// The environment as it stands.
    static environ: *const *const c_char;
}

/// Becomes the program that `file` is, with the environment as it stands; returns only if that failed.
pub fn exec_again(file: BorrowedFd<'_>, argv: &Argv) -> Errno {
    // SAFETY: the path is empty and NUL-terminated, `argv` ends with a null pointer and lives through the
    // call; `environ` is the C library's, which this program never changes.
    let result = unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            argv.pointers.as_ptr(),
            environ,
            libc::AT_EMPTY_PATH,
        )
    };
    match check(result) {
        Err(errno) => errno,
        Ok(_) => Errno::NOEXEC,
    }
}

/// Fails with `ENOENT` if the working directory cannot be reached from the root: the kernel then begins
/// its answer with `(unreachable)`. May run between clone and exec.
pub fn working_directory_is_reachable() -> Result<(), Errno> {
    let mut path = [0u8; libc::PATH_MAX as usize];
    // SAFETY: the buffer is as long as the length says.
    check(unsafe { libc::syscall(libc::SYS_getcwd, path.as_mut_ptr(), path.len()) })?;
    if path[0] == b'/' { Ok(()) } else { Err(Errno::NOENT) }
}

/// Closes a child's copy of a descriptor that its parent owns and keeps. For children made by
/// [`clone_child`], which have a descriptor table of their own.
pub fn close_copy(fd: BorrowedFd<'_>) {
    // SAFETY: the number is open, being borrowed; the owner's descriptor is in the parent's table, and
    // the child, which ends by exec or exit, drops no owner of it.
    unsafe { rustix::io::close(fd.as_raw_fd()) };
}

/// Gives back to the kernel what the allocator holds and nobody uses, as far as it can. Costs a walk through
/// the heap: for moments after which a process will be idle.
pub fn release_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: only pages that the allocator itself knows to be free are touched.
    unsafe {
        libc::malloc_trim(0)
    };
}

/// Ends the process at once: no destructor, no buffer, no exit handler runs. For children made by
/// [`clone_child`].
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exits_with(memory: Memory, code: i32) -> Exit {
        let clone = Clone { namespaces: Namespaces::empty(), cgroup: None, memory, sibling: false };
        clone_child(&clone, || exit_now(code)).unwrap().wait().unwrap()
    }

    #[test]
    fn a_child_runs_its_closure_and_is_waited_for() {
        assert_eq!(exits_with(Memory::Copied, 7), Exit::Code(7));
        assert_eq!(exits_with(Memory::Shared, 9), Exit::Code(9));
    }

    #[test]
    fn a_shared_child_can_tell_the_caller_by_memory() {
        let mut told = 0;
        let clone = Clone {
            namespaces: Namespaces::empty(),
            cgroup: None,
            memory: Memory::Shared,
            sibling: false,
        };
        let child = clone_child(&clone, || {
            told = 42;
            exit_now(0)
        })
        .unwrap();
        child.wait().unwrap();
        assert_eq!(told, 42);
    }

    #[test]
    fn a_program_is_executed_with_its_arguments() {
        let argv = Argv::new(vec![c"sh".into(), c"-c".into(), c"exit $X".into()]);
        let envp = Argv::new(vec![c"X=5".into()]);
        let clone = Clone {
            namespaces: Namespaces::empty(),
            cgroup: None,
            memory: Memory::Shared,
            sibling: false,
        };
        let child = clone_child(&clone, || {
            execve(c"/bin/sh", &argv, &envp);
            exit_now(127)
        })
        .unwrap();
        assert_eq!(child.wait().unwrap(), Exit::Code(5));
    }

    #[test]
    fn a_signal_death_is_seen_as_one() {
        let clone = Clone {
            namespaces: Namespaces::empty(),
            cgroup: None,
            memory: Memory::Copied,
            sibling: false,
        };
        let child = clone_child(&clone, || {
            crate::set_mask(crate::SignalSet::NONE);
            loop {
                std::thread::park();
            }
        })
        .unwrap();
        crate::pidfd_kill(as_borrowed(&child.pidfd), libc::SIGKILL).unwrap();
        let exit = child.wait().unwrap();
        assert_eq!(exit, Exit::Signal(libc::SIGKILL));
        assert_eq!(exit.status(), 137);
    }
}
