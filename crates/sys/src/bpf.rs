//! eBPF programs that decide about device access, and their place on a cgroup.
//!
//! Programs come in as instructions and are of one type (`CGROUP_DEVICE`); what they decide, the caller
//! says. Deliberately absent: maps, other program types, the verifier's log.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;

use crate::process::check;

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const PROG_QUERY: libc::c_int = 16;

const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_TYPE_CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 2;
const REPLACE: u32 = 4;

const LICENSE: &CStr = c"Apache-2.0";

/// One instruction, as the kernel reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct BpfInstruction {
    /// Class, operation and source of the operand.
    pub code: u8,
    /// Destination register in the low four bits, source register in the high four.
    pub registers: u8,
    /// Offset of a jump or of memory.
    pub offset: i16,
    /// Constant operand.
    pub immediate: i32,
}

/// A loaded program; it stays in the kernel while this, or a cgroup that it is attached to, holds it.
#[derive(Debug)]
pub struct DeviceProgram(OwnedFd);

#[repr(C)]
struct Load {
    prog_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log: [u32; 4],
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    expected_attach_type: u32,
}

#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    attach_type: u32,
    flags: u32,
    replaced: u32,
}

#[repr(C)]
struct Query {
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
}

#[repr(C)]
struct ById {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

#[repr(C)]
struct InfoByFd {
    fd: u32,
    length: u32,
    info: u64,
}

/// The beginning of `struct bpf_prog_info`; the kernel fills as much as there is room for.
#[repr(C)]
#[derive(Default)]
struct Info {
    before_name: [u64; 8],
    name: [u8; 16],
}

impl DeviceProgram {
    /// Gives the instructions to the kernel, which verifies them. `name` (of letters, digits, `_` and `.`)
    /// is cut after 15 bytes.
    pub fn load(name: &str, instructions: &[BpfInstruction]) -> Result<DeviceProgram, Errno> {
        let mut attr = Load {
            prog_type: PROG_TYPE_CGROUP_DEVICE,
            instruction_count: instructions.len() as u32,
            instructions: instructions.as_ptr() as u64,
            license: LICENSE.as_ptr() as u64,
            log: [0; 4],
            kernel_version: 0,
            flags: 0,
            name: [0; 16],
            interface: 0,
            expected_attach_type: 0,
        };
        for (to, from) in attr.name[..15].iter_mut().zip(name.bytes()) {
            *to = from;
        }
        // SAFETY: the attributes and everything they point to live until the call returns, and their
        // layout is that of the kernel's union for this command.
        let fd = unsafe { bpf(PROG_LOAD, &mut attr) }?;
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(DeviceProgram(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Adds the program to those of `cgroup`: access needs the consent of all of them.
    pub fn attach(&self, cgroup: BorrowedFd<'_>) -> Result<(), Errno> {
        self.attach_with(cgroup, ALLOW_MULTI, 0)
    }

    /// Puts the program in the place of `old` on `cgroup`, in one step (Linux 5.6).
    pub fn replace(&self, cgroup: BorrowedFd<'_>, old: &DeviceProgram) -> Result<(), Errno> {
        self.attach_with(cgroup, ALLOW_MULTI | REPLACE, old.0.as_raw_fd())
    }

    fn attach_with(
        &self,
        cgroup: BorrowedFd<'_>,
        flags: u32,
        replaced: RawFd,
    ) -> Result<(), Errno> {
        let mut attr = Attach {
            target: cgroup.as_raw_fd() as u32,
            program: self.0.as_raw_fd() as u32,
            attach_type: ATTACH_TYPE_CGROUP_DEVICE,
            flags,
            replaced: replaced as u32,
        };
        // SAFETY: plain numbers in the kernel's layout for this command.
        unsafe { bpf(PROG_ATTACH, &mut attr) }.map(drop)
    }

    /// Takes the program off `cgroup`.
    pub fn detach(&self, cgroup: BorrowedFd<'_>) -> Result<(), Errno> {
        let mut attr = Attach {
            target: cgroup.as_raw_fd() as u32,
            program: self.0.as_raw_fd() as u32,
            attach_type: ATTACH_TYPE_CGROUP_DEVICE,
            flags: 0,
            replaced: 0,
        };
        // SAFETY: plain numbers in the kernel's layout for this command.
        unsafe { bpf(PROG_DETACH, &mut attr) }.map(drop)
    }

    /// The programs that were attached to `cgroup` itself, by whomever, in the order they run.
    pub fn attached(cgroup: BorrowedFd<'_>) -> Result<Vec<DeviceProgram>, Errno> {
        // The kernel allows 64 on one cgroup.
        let mut ids = [0u32; 64];
        let mut attr = Query {
            target: cgroup.as_raw_fd() as u32,
            attach_type: ATTACH_TYPE_CGROUP_DEVICE,
            query_flags: 0,
            attach_flags: 0,
            ids: ids.as_mut_ptr() as u64,
            count: ids.len() as u32,
            padding: 0,
        };
        // SAFETY: the kernel writes at most `count` numbers to `ids`, which outlives the call.
        unsafe { bpf(PROG_QUERY, &mut attr) }?;
        let count = (attr.count as usize).min(ids.len());
        ids[..count].iter().map(|id| DeviceProgram::by_id(*id)).collect()
    }

    fn by_id(id: u32) -> Result<DeviceProgram, Errno> {
        let mut attr = ById { id, next_id: 0, open_flags: 0 };
        // SAFETY: plain numbers in the kernel's layout for this command.
        let fd = unsafe { bpf(PROG_GET_FD_BY_ID, &mut attr) }?;
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(DeviceProgram(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The name that it was loaded under.
    pub fn name(&self) -> Result<String, Errno> {
        let mut info = Info::default();
        let mut attr = InfoByFd {
            fd: self.0.as_raw_fd() as u32,
            length: size_of::<Info>() as u32,
            info: (&raw mut info) as u64,
        };
        // SAFETY: the kernel writes at most `length` bytes to `info`, which is plain numbers and outlives
        // the call.
        unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut attr) }?;
        let end = info.name.iter().position(|byte| *byte == 0).unwrap_or(info.name.len());
        Ok(String::from_utf8_lossy(&info.name[..end]).into_owned())
    }
}

/// bpf(2) with the part of its union that `command` reads.
///
/// # Safety
/// `attr` must have the kernel's layout for `command`, and its addresses must be valid for what the
/// kernel reads and writes there.
unsafe fn bpf<T>(command: libc::c_int, attr: &mut T) -> Result<RawFd, Errno> {
    // SAFETY: as the caller promises; the size tells the kernel where the structure ends.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attr, size_of::<T>()) };
    check(result).map(|fd| fd as RawFd)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETURN_1: [BpfInstruction; 2] = [
        BpfInstruction { code: 0xb7, registers: 0, offset: 0, immediate: 1 },
        BpfInstruction { code: 0x95, registers: 0, offset: 0, immediate: 0 },
    ];

    #[test]
    #[expect(clippy::print_stderr, reason = "a skipped test must say so")]
    fn a_program_is_loaded_under_its_name_and_a_broken_one_refused() {
        if !rustix::process::geteuid().is_root() {
            eprintln!(
                "SKIPPED a_program_is_loaded_under_its_name_and_a_broken_one_refused: needs root"
            );
            return;
        }
        match DeviceProgram::load("dhow_test_name_that_is_too_long", &RETURN_1) {
            Ok(program) => assert_eq!(program.name().unwrap(), "dhow_test_name_"),
            // A kernel, or a container, without eBPF.
            Err(errno) => assert!(matches!(errno, Errno::PERM | Errno::NOSYS), "{errno}"),
        }
        let without_exit = &RETURN_1[..1];
        assert!(DeviceProgram::load("dhow_test", without_exit).is_err());
    }
}
