//! The file that this process runs, exchanged for the same file by another way to it.
//!
//! What a process runs is in two places: the mappings of its file, and the kernel's note of which file that is,
//! behind `/proc/self/exe`. Once no mapping goes the old way the kernel lets the note be changed
//! (`PR_SET_MM_MAP`, made for restoring processes). An exec does the same and costs as much as a new process.
//!
//! Invariant: a failure half-way leaves a program that runs on as before.

use std::ffi::{CStr, c_int, c_ulong, c_void};
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use rustix::io::Errno;

use crate::process::check;
use crate::signal::{SignalSet, set_mask};

const OWN: &CStr = c"/proc/self/exe";

/// Has the kernel take `file`, opened for reading, as the file that this process runs. Allocates nothing.
///
/// # Errors
///
/// `EXDEV`: it is not the file that runs. `EBUSY`: another thread runs too, or something else maps the old
/// file. `ENOSYS`: no `/proc/self/stat` as expected. Otherwise the kernel's own word: `EINVAL` without
/// `CONFIG_CHECKPOINT_RESTORE`, `EPERM` without `CAP_CHECKPOINT_RESTORE` and `CAP_SYS_ADMIN`.
pub fn adopt_program(file: BorrowedFd<'_>) -> Result<(), Errno> {
    let (own, new) = (rustix::fs::stat(OWN)?, rustix::fs::fstat(file)?);
    if (own.st_dev, own.st_ino) != (new.st_dev, new.st_ino) {
        return Err(Errno::XDEV);
    }
    let layout = layout(file)?;
    let segments = Segments::find()?;
    let mask = set_mask(SignalSet::ALL);
    // SAFETY: `layout` has seen that this is the only thread, no signal handler runs, and `file` is the
    // program itself.
    let remapped = unsafe { segments.remap(file) };
    set_mask(mask);
    remapped?;
    // SAFETY: the kernel reads the one structure.
    check(unsafe {
        libc::syscall(
            libc::SYS_prctl,
            libc::PR_SET_MM,
            libc::PR_SET_MM_MAP,
            &raw const layout,
            size_of_val(&layout),
            0,
        )
    })?;
    Ok(())
}

/// `struct prctl_mm_map` of `linux/prctl.h`: where the parts of a process are, and its file.
#[repr(C)]
struct Layout {
    start_code: u64,
    end_code: u64,
    start_data: u64,
    end_data: u64,
    start_brk: u64,
    brk: u64,
    start_stack: u64,
    arg_start: u64,
    arg_end: u64,
    env_start: u64,
    env_end: u64,
    auxv: u64,
    auxv_size: u32,
    exe_fd: u32,
}

/// Everything as it is, but for the new file.
fn layout(file: BorrowedFd<'_>) -> Result<Layout, Errno> {
    let mut line = [0; 1024];
    let stat = rustix::fs::open(
        c"/proc/self/stat",
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?;
    let length = rustix::io::read(&stat, &mut line)?;
    let text = str::from_utf8(&line[..length]).map_err(|_| Errno::NOSYS)?;
    // The name, in brackets, may contain anything; what follows begins with field 3, the state.
    let (_, rest) = text.rsplit_once(") ").ok_or(Errno::NOSYS)?;
    let field = |number: usize| -> Result<u64, Errno> {
        let text = rest.split_ascii_whitespace().nth(number - 3).ok_or(Errno::NOSYS)?;
        text.parse().map_err(|_| Errno::NOSYS)
    };
    if field(20)? != 1 {
        return Err(Errno::BUSY);
    }
    Ok(Layout {
        start_code: field(26)?,
        end_code: field(27)?,
        start_stack: field(28)?,
        start_data: field(45)?,
        end_data: field(46)?,
        start_brk: field(47)?,
        // SAFETY: asking for 0 changes nothing and tells where the heap ends.
        brk: unsafe { libc::syscall(libc::SYS_brk, 0) } as u64,
        arg_start: field(48)?,
        arg_end: field(49)?,
        env_start: field(50)?,
        env_end: field(51)?,
        auxv: 0,
        auxv_size: 0,
        exe_fd: file.as_raw_fd() as u32,
    })
}

/// The program's headers, as the kernel loaded them.
struct Segments {
    headers: &'static [libc::Elf64_Phdr],
    /// What addresses in the file are counted from; 0 for a program at a fixed place.
    base: usize,
    page: usize,
}

impl Segments {
    fn find() -> Result<Self, Errno> {
        let size = auxiliary(libc::AT_PHENT);
        if size != size_of::<libc::Elf64_Phdr>() {
            return Err(Errno::NOEXEC);
        }
        let (at, count) = (auxiliary(libc::AT_PHDR), auxiliary(libc::AT_PHNUM));
        if at == 0 {
            return Err(Errno::NOEXEC);
        }
        // SAFETY: the kernel has told of so many headers of this size there, in memory that stays.
        let headers = unsafe {
            std::slice::from_raw_parts(ptr::with_exposed_provenance::<libc::Elf64_Phdr>(at), count)
        };
        let own = headers.iter().find(|header| header.p_type == libc::PT_PHDR);
        let own = own.ok_or(Errno::NOEXEC)?;
        Ok(Self {
            headers,
            base: at.wrapping_sub(own.p_vaddr as usize),
            page: auxiliary(libc::AT_PAGESZ),
        })
    }

    /// Puts the same contents from `file` in the place of every mapping, and memory of no file where it could
    /// have been written.
    ///
    /// # Safety
    ///
    /// `file` is the program's own file, and nobody else changes or runs this memory meanwhile.
    unsafe fn remap(&self, file: BorrowedFd<'_>) -> Result<(), Errno> {
        for header in self.headers.iter().filter(|header| header.p_type == libc::PT_LOAD) {
            let start = self.down(self.base.wrapping_add(header.p_vaddr as usize));
            let end = self.base.wrapping_add(header.p_vaddr as usize + header.p_filesz as usize);
            let length = self.down(end + self.page - 1) - start;
            if header.p_flags & libc::PF_W == 0 {
                let offset = self.down(header.p_offset as usize);
                // SAFETY: the same bytes at the same place, exchanged in one step.
                unsafe { map(start, length, protection(header.p_flags), file, offset)? };
            } else {
                // SAFETY: nobody writes between the copy and its move.
                unsafe { replace_by_copy(start, length)? };
            }
        }
        for header in self.headers.iter().filter(|header| header.p_type == libc::PT_GNU_RELRO) {
            let start = self.base.wrapping_add(header.p_vaddr as usize);
            let (start, end) = (self.down(start), self.down(start + header.p_memsz as usize));
            let at = ptr::with_exposed_provenance_mut(start);
            // SAFETY: the start-up code had made it so, and nothing there changes after it.
            let done = unsafe { libc::mprotect(at, end - start, libc::PROT_READ) };
            check(done.into())?;
        }
        Ok(())
    }

    fn down(&self, address: usize) -> usize {
        address & !(self.page - 1)
    }
}

fn auxiliary(kind: c_ulong) -> usize {
    // SAFETY: it looks up a number.
    unsafe { libc::getauxval(kind) as usize }
}

fn protection(flags: u32) -> c_int {
    let pairs = [
        (libc::PF_R, libc::PROT_READ),
        (libc::PF_W, libc::PROT_WRITE),
        (libc::PF_X, libc::PROT_EXEC),
    ];
    pairs.iter().filter(|(flag, _)| flags & flag != 0).fold(0, |all, (_, bit)| all | bit)
}

/// # Safety
///
/// What is mapped there may be replaced by that part of the file.
unsafe fn map(
    start: usize,
    length: usize,
    protection: c_int,
    file: BorrowedFd<'_>,
    offset: usize,
) -> Result<(), Errno> {
    let flags = libc::MAP_PRIVATE | libc::MAP_FIXED;
    let at = ptr::with_exposed_provenance_mut(start);
    // SAFETY: promised by the caller.
    let got = unsafe {
        libc::mmap(at, length, protection, flags, file.as_raw_fd(), offset as libc::off_t)
    };
    placed(got)
}

/// # Safety
///
/// The range can be read, and nobody writes there meanwhile.
unsafe fn replace_by_copy(start: usize, length: usize) -> Result<(), Errno> {
    let (read_write, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: new memory, wherever there is room.
    let copy = unsafe { libc::mmap(ptr::null_mut(), length, read_write, flags, -1, 0) };
    placed(copy)?;
    let place = ptr::with_exposed_provenance_mut::<c_void>(start);
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    // SAFETY: both are `length` bytes, and nothing happens between the two calls; the old place is exchanged
    // for the same bytes in one step.
    placed(unsafe {
        ptr::copy_nonoverlapping(place.cast::<u8>().cast_const(), copy.cast::<u8>(), length);
        libc::mremap(copy, length, length, flags, place)
    })
}

fn placed(address: *mut c_void) -> Result<(), Errno> {
    if address == libc::MAP_FAILED { check(-1).map(mem::drop) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::os::fd::{AsFd, OwnedFd};

    use rustix::fs::{CWD, Mode, OFlags};
    use rustix::mount::OpenTreeFlags;

    use super::*;
    use crate::{Clone, Exit, Memory, Namespaces, clone_child, exit_now, fd_path};

    fn own_by_another_mount() -> Result<OwnedFd, Errno> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let view = rustix::mount::open_tree(CWD, OWN, flags)?;
        rustix::fs::open(fd_path(view.as_fd()).as_c_str(), OFlags::RDONLY, Mode::empty())
    }

    fn mount_of(path: &CStr) -> Result<u64, Errno> {
        let parts = rustix::fs::StatxFlags::MNT_ID;
        Ok(rustix::fs::statx(CWD, path, rustix::fs::AtFlags::empty(), parts)?.stx_mnt_id)
    }

    /// Written before the exchange and read after it.
    static MARK: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);

    fn exchange(file: BorrowedFd<'_>) -> Result<bool, Errno> {
        use std::sync::atomic::Ordering;
        MARK.store(7, Ordering::SeqCst);
        let before = mount_of(OWN)?;
        adopt_program(file)?;
        let kept = MARK.fetch_add(1, Ordering::SeqCst) == 7 && MARK.load(Ordering::SeqCst) == 8;
        Ok(kept && mount_of(OWN)? != before)
    }

    #[test]
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    fn the_program_runs_on_from_the_other_mount() {
        let Ok(file) = own_by_another_mount() else {
            eprintln!("SKIPPED the_program_runs_on_from_the_other_mount: needs root");
            return;
        };
        // The test harness has threads; a child has but one.
        let clone = Clone {
            namespaces: Namespaces::empty(),
            cgroup: None,
            memory: Memory::Copied,
            sibling: false,
        };
        let child = clone_child(&clone, || -> Infallible {
            match exchange(file.as_fd()) {
                Ok(true) => exit_now(0),
                Ok(false) => exit_now(200),
                Err(errno) => exit_now(errno.raw_os_error()),
            }
        });
        assert_eq!(child.unwrap().wait(), Ok(Exit::Code(0)));
    }

    #[test]
    fn another_file_and_another_thread_are_refused() {
        let other = rustix::fs::open(c"/proc/self/maps", OFlags::RDONLY, Mode::empty()).unwrap();
        assert_eq!(adopt_program(other.as_fd()), Err(Errno::XDEV));
        let own = rustix::fs::open(OWN, OFlags::RDONLY, Mode::empty()).unwrap();
        let stop = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| stop.wait());
            assert_eq!(adopt_program(own.as_fd()), Err(Errno::BUSY));
            stop.wait();
        });
    }
}
