//! The interpreter of the program: what runs between clone and exec.
//!
//! Invariants: it allocates nothing, locks nothing, logs nothing and formats nothing; every descriptor it
//! opens is close-on-exec; the first step that fails is reported by number, and the process ends.

use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use dhow_sys::{Argv, Clone, Errno, Memory, SignalSet, clone_child, exit_now};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::process::{DumpableBehavior, Signal, Uid};

use super::beneath::Place;
use super::report::{At, Fault, InStep, Report, SyncPoint};
use super::step::{MountStep, Step};
use super::terminal::{self, Terminal};
use super::{beneath, identity, mounts};

/// `KEY_USR_SEARCH`: lets the user whom the key belongs to search it.
const KEY_USER_SEARCH: u32 = 0x8_0000;

/// What a child that failed exits with; its parent knows why from the report.
const FAILED: i32 = 1;

/// The child's own state: descriptors that steps made for later ones.
struct Child<'a> {
    control: BorrowedFd<'a>,
    /// The host's procfs.
    proc: BorrowedFd<'a>,
    /// The connection to whoever started the container, once it has been waited for.
    starter: Option<OwnedFd>,
    root: Option<Place>,
    /// Which candidate `Find` chose.
    program: usize,
    /// The working directory could not be entered as root; it will be as the user.
    directory_pending: bool,
}

/// Carries out `steps` and never returns: the last one executes the container's program.
/// `proc` is the host's procfs.
pub(crate) fn run(steps: &[Step], control: BorrowedFd<'_>, proc: BorrowedFd<'_>) -> Infallible {
    // Modes are given in full; the mask would only take away from them.
    rustix::process::umask(Mode::empty());
    let mut child =
        Child { control, proc, starter: None, root: None, program: 0, directory_pending: false };
    go_on(&mut child, steps, 0)
}

fn go_on(child: &mut Child<'_>, steps: &[Step], from: usize) -> Infallible {
    for (index, step) in steps.iter().enumerate().skip(from) {
        let done = match step {
            Step::Replace { namespaces } => child.replace(*namespaces, steps, index + 1),
            Step::Mount(mount) => child.mount(index, mount),
            step => child.take(step),
        };
        if let Err(fault) = done {
            let _ = Report::Failed { step: index, fault }.send(child.reporting_to());
            exit_now(FAILED)
        }
    }
    exit_now(FAILED)
}

impl Child<'_> {
    fn reporting_to(&self) -> BorrowedFd<'_> {
        self.starter.as_ref().map_or(self.control, AsFd::as_fd)
    }

    fn root(&self) -> Result<BorrowedFd<'_>, Fault> {
        self.root.as_ref().map(AsFd::as_fd).ok_or(Fault::from(Errno::BADF))
    }

    fn take(&mut self, step: &Step) -> Result<(), Fault> {
        match step {
            Step::TakeRoot { .. }
            | Step::AttachRoot { .. }
            | Step::HoldRoot { .. }
            | Step::DetachRootParent
            | Step::Remount { .. }
            | Step::Devices { .. }
            | Step::Links(_)
            | Step::MakeDirectory { .. }
            | Step::MakeDirectories { .. }
            | Step::Mask { .. }
            | Step::ReadOnly { .. }
            | Step::Terminal { .. }
            | Step::Pivot { .. }
            | Step::MoveRoot { .. }
            | Step::ChangeRoot => self.take_below_root(step),
            Step::OwnStdio(_)
            | Step::Bounding(_)
            | Step::User { .. }
            | Step::Capabilities { .. }
            | Step::WorkingDirectory { .. }
            | Step::Find(_)
            | Step::BecomeRoot => self.take_identity(step),
            Step::WriteProc { name, value } => {
                let flags = OFlags::WRONLY | OFlags::CLOEXEC;
                let file = rustix::fs::openat(self.proc, &**name, flags, Mode::empty())?;
                Ok(write_all(file.as_fd(), value.as_bytes())?)
            }
            Step::PutOnRecord { file } => self.put_on_record(file.as_fd()),
            Step::Sync(point) => self.sync(*point, 0),
            Step::AwaitStart { listener, keep } => self.await_start(listener.as_fd(), keep),
            Step::Seccomp { filter, flags, listener } => self.seccomp(filter, *flags, *listener),
            Step::Exec { argv, envp, candidates, mask, defaults, .. } => {
                self.exec(argv, envp, candidates, *mask, *defaults)
            }
            step => take_plain(step),
        }
    }

    fn mount(&self, index: usize, mount: &MountStep) -> Result<(), Fault> {
        mounts::mount(self.root()?, mount, || {
            Report::Wants { step: index }.send(self.control)?;
            terminal::receive_descriptor(self.control)?.ok_or(Errno::PIPE)
        })
    }

    fn take_below_root(&mut self, step: &Step) -> Result<(), Fault> {
        match step {
            Step::TakeRoot { path } => {
                self.root = Some(mounts::take_root(path)?);
                Ok(())
            }
            Step::AttachRoot { mount, path } => {
                self.root = Some(mounts::attach_root(mount.as_fd(), path)?);
                Ok(())
            }
            Step::HoldRoot { root } => {
                self.root = Some(Place::from(rustix::io::fcntl_dupfd_cloexec(root, 3)?));
                Ok(())
            }
            Step::DetachRootParent => mounts::detach_root_parent(self.root()?),
            Step::Remount { target, attr, recursive } => {
                mounts::remount(self.root()?, target, attr, *recursive)
            }
            Step::Devices { dir, nodes } => mounts::devices(self.root()?, dir, nodes),
            Step::Links(links) => mounts::links(self.root()?, links),
            Step::MakeDirectory { path } => {
                beneath::open_or_make(self.root()?, path, beneath::Kind::Directory).map(drop)
            }
            Step::MakeDirectories { dir, names } => {
                mounts::make_directories(self.root()?, dir, names)
            }
            Step::Mask { paths, label } => mounts::mask(self.root()?, paths, label.as_deref()),
            Step::ReadOnly { paths } => mounts::read_only(self.root()?, paths),
            Step::Pivot { shared } => mounts::pivot(self.root()?, *shared),
            Step::MoveRoot { unmount } => mounts::move_root(self.root()?, unmount),
            Step::ChangeRoot => mounts::chroot_to(self.root()?),
            Step::Terminal { socket, size, console, owner, plain_line_ends } => {
                if self.root.is_none() {
                    // A process that joins a running container: its root is `/` already.
                    let flags = OFlags::PATH | OFlags::CLOEXEC;
                    let root = rustix::fs::open(c"/", flags, Mode::empty())?;
                    self.root = Some(Place::from(root));
                }
                let terminal = Terminal {
                    socket: socket.as_fd(),
                    size: *size,
                    console: *console,
                    owner: *owner,
                    plain_line_ends: *plain_line_ends,
                };
                terminal::open(self.root()?, &terminal)
            }
            _ => Err(Fault::from(Errno::NOSYS)),
        }
    }

    fn take_identity(&mut self, step: &Step) -> Result<(), Fault> {
        match step {
            Step::BecomeRoot => identity::become_root(),
            Step::OwnStdio(uid) => own_stdio(*uid),
            Step::Bounding(keep) => identity::bound(*keep),
            Step::User { uid, gid, groups } => identity::change_user(*uid, *gid, groups.as_deref()),
            Step::Capabilities { sets, ambient } => identity::set_capabilities(*sets, *ambient),
            Step::WorkingDirectory { path, retry } => {
                if !*retry && !self.directory_pending {
                    return Ok(());
                }
                self.directory_pending = false;
                match identity::enter_directory(path) {
                    Err(Fault { at: At::Itself, errno: Errno::ACCESS }) if *retry => {
                        self.directory_pending = true;
                        Ok(())
                    }
                    other => other,
                }
            }
            Step::Find(program) => {
                self.program = identity::find(program)?;
                Ok(())
            }
            _ => Err(Fault::from(Errno::NOSYS)),
        }
    }

    /// Copies `/proc/self/stat`: the host's procfs tells the pid that the host knows.
    fn put_on_record(&self, file: BorrowedFd<'_>) -> Result<(), Fault> {
        let mut line = [0u8; 2048];
        let stat = rustix::fs::openat(self.proc, c"self/stat", OFlags::CLOEXEC, Mode::empty())
            .at(At::Source)?;
        let count = rustix::io::read(stat, &mut line).at(At::Source)?;
        Ok(write_all(file, &line[..count])?)
    }

    /// Reports, and reads the one byte that lets the child go on.
    fn sync(&self, point: SyncPoint, value: i32) -> Result<(), Fault> {
        let to = self.reporting_to();
        Report::Reached(point, value).send(to)?;
        wait_for_word(to)
    }

    fn await_start(&mut self, listener: BorrowedFd<'_>, keep: &[RawFd]) -> Result<(), Fault> {
        let number = listener.as_raw_fd();
        let (below, above) = keep.split_at(keep.partition_point(|kept| *kept < number));
        dhow_sys::close_others(below.iter().chain(&[number]).chain(above).copied())?;
        dhow_sys::end_on_signals();
        dhow_sys::set_mask(SignalSet::NONE);
        let connection = rustix::io::retry_on_intr(|| {
            rustix::net::accept_with(listener, rustix::net::SocketFlags::CLOEXEC)
        })?;
        // A starter that dies before it gives the word takes the container with it: it has already
        // taken the socket's name away, so nobody else could start it.
        if wait_for_word(connection.as_fd()).is_err() {
            exit_now(FAILED)
        }
        self.starter = Some(connection);
        Ok(())
    }

    fn seccomp(
        &self,
        filter: &[dhow_sys::SockFilter],
        flags: dhow_sys::SeccompFlags,
        listener: bool,
    ) -> Result<(), Fault> {
        let fd = dhow_sys::load_seccomp(filter, flags)?;
        match (listener, fd) {
            (true, Some(fd)) => self.sync(SyncPoint::Listener, fd.as_raw_fd()),
            _ => Ok(()),
        }
    }

    fn exec(
        &self,
        argv: &Argv,
        envp: &Argv,
        candidates: &[CString],
        mask: SignalSet,
        defaults: SignalSet,
    ) -> Result<(), Fault> {
        dhow_sys::reset_dispositions(defaults);
        dhow_sys::set_mask(mask);
        let path = candidates.get(self.program).ok_or(Errno::NOENT)?;
        Err(Fault::from(dhow_sys::execve(path, argv, envp)))
    }

    /// Clones the rest of the program into a sibling and ends; the parent is told the new pid.
    fn replace(
        &mut self,
        namespaces: dhow_sys::Namespaces,
        steps: &[Step],
        next: usize,
    ) -> Result<(), Fault> {
        let clone = Clone { namespaces, cgroup: None, memory: Memory::Copied, sibling: true };
        let (control, proc) = (self.control, self.proc);
        let mut root = self.root.take();
        let made = clone_child(&clone, || {
            let mut child = Child {
                control,
                proc,
                starter: None,
                root: root.take(),
                program: 0,
                directory_pending: false,
            };
            // The parent must know the pid before anything is told of it.
            if wait_for_word(control).is_err() {
                exit_now(FAILED)
            }
            go_on(&mut child, steps, next)
        })?;
        Report::Replaced(made.pid.as_raw_nonzero().get()).send(control)?;
        exit_now(0)
    }
}

fn wait_for_word(from: BorrowedFd<'_>) -> Result<(), Fault> {
    let mut word = [0u8; 1];
    match rustix::io::retry_on_intr(|| rustix::io::read(from, &mut word))? {
        0 => Err(Fault::from(Errno::PIPE)),
        _ => Ok(()),
    }
}

/// Gives the standard streams to `uid`, but for the null device and what cannot be given.
///
/// The null device is the host's, and everybody's. It is known by its number: what `/dev/null` is inside,
/// the image says.
fn own_stdio(uid: Uid) -> Result<(), Fault> {
    let null = (FileType::CharacterDevice, rustix::fs::makedev(1, 3));
    let streams = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    for stream in streams {
        let Ok(stat) = rustix::fs::fstat(stream) else { continue };
        let kind = (FileType::from_raw_mode(stat.st_mode), stat.st_rdev);
        if stat.st_uid == uid.as_raw() || kind == null {
            continue;
        }
        match rustix::fs::fchown(stream, Some(uid), None) {
            Err(Errno::PERM | Errno::INVAL | Errno::ROFS) => {}
            other => other.at(At::Owner)?,
        }
    }
    Ok(())
}

/// The steps that are one call each.
fn take_plain(step: &Step) -> Result<(), Fault> {
    match step {
        Step::DieWithParent => {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        }
        Step::OutliveParent => rustix::process::set_parent_process_death_signal(None)?,
        Step::EnterCgroups { tasks } => {
            for file in tasks {
                rustix::io::write(file, b"0")?;
            }
        }
        Step::Join { namespace, kinds, .. } => {
            // Nobody in there may trace or read this process before it is one of them.
            rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
            dhow_sys::set_namespace(namespace.as_fd(), *kinds)?;
        }
        Step::Streams([stdin, stdout, stderr]) => {
            rustix::stdio::dup2_stdin(stdin)?;
            rustix::stdio::dup2_stdout(stdout)?;
            rustix::stdio::dup2_stderr(stderr)?;
        }
        Step::Unshare(namespaces) => dhow_sys::unshare(*namespaces)?,
        Step::LoopbackUp => dhow_sys::loopback_up()?,
        Step::NewSession => {
            rustix::process::setsid()?;
        }
        Step::HostName(name) => rustix::system::sethostname(name.as_bytes())?,
        Step::DomainName(name) => rustix::system::setdomainname(name.as_bytes())?,
        Step::Propagation { flags } => {
            rustix::mount::mount_change(
                c"/",
                rustix::mount::MountPropagationFlags::from_bits_retain(flags.bits()),
            )?;
        }
        Step::Limit { resource, limit, .. } => {
            rustix::process::setrlimit(*resource, *limit)?;
        }
        Step::SessionKeyring { name } => {
            match dhow_sys::join_session_keyring(name) {
                // The user that the container ends as must find its own session keyring.
                Ok(key) => dhow_sys::allow_key(key, KEY_USER_SEARCH)?,
                // A kernel without keyrings has none to share either.
                Err(Errno::NOSYS) => {}
                Err(errno) => return Err(Fault::from(errno)),
            }
        }
        Step::Scheduler(attr) => dhow_sys::sched_setattr(attr)?,
        Step::IoPriority(value) => dhow_sys::ioprio_set(*value)?,
        Step::MemoryPolicy { mode, nodes } => dhow_sys::set_mempolicy(*mode, nodes)?,
        Step::AllProcessors => {
            // The kernel takes those away that are not there or not the cgroup's. A process with a deadline
            // has all of them already, and may not change that.
            let mut all = rustix::thread::CpuSet::new();
            (0..rustix::thread::CpuSet::MAX_CPU).for_each(|cpu| all.set(cpu));
            let _ = rustix::thread::sched_setaffinity(None, &all);
        }
        Step::Affinity(cpus) => rustix::thread::sched_setaffinity(None, cpus)?,
        Step::Personality(value) => dhow_sys::set_personality(*value)?,
        Step::Umask(mask) => {
            rustix::process::umask(Mode::from_raw_mode(*mask));
        }
        Step::NoNewPrivileges => rustix::thread::set_no_new_privs(true)?,
        Step::CloseOthers { keep } => {
            dhow_sys::close_on_exec_from(3)?;
            for number in keep {
                dhow_sys::keep_at_exec(*number)?;
            }
        }
        _ => return Err(Fault::from(Errno::NOSYS)),
    }
    Ok(())
}

/// One write: the kernel's files take a value whole or not at all.
fn write_all(file: BorrowedFd<'_>, value: &[u8]) -> Result<(), Errno> {
    match rustix::io::retry_on_intr(|| rustix::io::write(file, value))? {
        count if count == value.len() => Ok(()),
        _ => Err(Errno::IO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dhow_sys::{Child as Process, Exit, Namespaces};
    use rustix::net::{AddressFamily, SocketFlags, SocketType};

    /// A shell as the last step of a program.
    fn shell(script: &str) -> Step {
        let strings = ["sh", "-c", script].map(|word| CString::new(word).unwrap());
        Step::Exec {
            argv: Argv::new(strings.to_vec()),
            envp: Argv::new(Vec::new()),
            candidates: vec![c"/bin/sh".to_owned()],
            name: "sh".to_owned(),
            mask: SignalSet::NONE,
            defaults: SignalSet::NONE,
        }
    }

    /// Runs a program in a child and gives its end and the last word that it sent.
    fn end_of(steps: &[Step]) -> (Exit, Option<Report>) {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
                .unwrap();
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let proc = rustix::fs::open(c"/proc", flags, Mode::empty()).unwrap();
        let clone = Clone {
            namespaces: Namespaces::empty(),
            cgroup: None,
            memory: Memory::Copied,
            sibling: false,
        };
        let child: Process =
            clone_child(&clone, || run(steps, theirs.as_fd(), proc.as_fd())).unwrap();
        drop(theirs);
        let report = Report::receive(ours.as_fd()).unwrap();
        (child.wait().unwrap(), report)
    }

    #[test]
    fn a_program_gets_the_descriptors_it_is_to_have_and_no_other() {
        let null = std::fs::File::open("/dev/null").unwrap();
        let inherited =
            [810, 811, 812].map(|min| rustix::io::fcntl_dupfd_cloexec(&null, min).unwrap());
        let numbers = inherited.each_ref().map(AsRawFd::as_raw_fd);
        numbers.into_iter().for_each(|number| dhow_sys::keep_at_exec(number).unwrap());
        let keep = vec![numbers[0], numbers[2]];
        // The shell's own glob opens the directory, so the others are looked for by number.
        let there = |number: i32| format!("[ -e /proc/self/fd/{number} ]");
        let script = format!(
            "{} && ! {} && {} && ! {}",
            there(numbers[0]),
            there(numbers[1]),
            there(numbers[2]),
            there(null.as_raw_fd())
        );
        let (exit, report) = end_of(&[Step::CloseOthers { keep }, shell(&script)]);
        assert_eq!((exit, report), (Exit::Code(0), None));
        let (exit, _) = end_of(&[shell(&there(numbers[1]))]);
        assert_eq!(exit, Exit::Code(0), "without the step it is there");
    }
}
