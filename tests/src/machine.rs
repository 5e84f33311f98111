//! Tiny static ELF programs, assembled here: a list of system calls and nothing else.
//!
//! Seccomp, signal and personality scenarios need exact system calls with exact arguments, also through
//! the 32-bit entry, and Rust's own start-up makes calls of its own. Such a program makes the calls it
//! was told, writes raw results (8 bytes, little endian; 4 on i386) where told, and exits.
//! Code and data lie in one writable, executable segment at a fixed address, so that every address is
//! known while assembling. Deliberately absent: jumps, other machines than x86.

/// Which of the processor's system call doors the program uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Machine {
    /// `syscall` in 64-bit mode.
    X86_64,
    /// `int 0x80` in a 32-bit program.
    I386,
}

/// An argument of a system call.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Arg {
    /// A number.
    Value(u64),
    /// The address of something in the program's data.
    Data(usize),
}

impl From<u64> for Arg {
    fn from(value: u64) -> Self {
        Arg::Value(value)
    }
}

const BASE: u64 = 0x40_0000;
const DATA: usize = 0x2000;
/// The last result is kept in the first bytes of the data.
const RESULT: usize = 0;

/// A program being assembled.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    machine: Machine,
    code: Vec<u8>,
    data: Vec<u8>,
}

impl Program {
    /// An empty program.
    pub(crate) fn new(machine: Machine) -> Self {
        Program { machine, code: Vec::new(), data: vec![0; 8] }
    }

    /// A 64-bit program that makes one call and exits with 0, its result on standard output.
    pub(crate) fn one_call(number: u64, args: &[Arg]) -> Self {
        let mut program = Program::new(Machine::X86_64);
        program.call(number, args);
        program.print_result();
        program.exit(0);
        program
    }

    /// Puts bytes into the data (8-aligned) and gives where.
    pub(crate) fn data(&mut self, bytes: &[u8]) -> Arg {
        let at = self.data.len();
        self.data.extend_from_slice(bytes);
        self.data.resize(self.data.len().next_multiple_of(8), 0);
        Arg::Data(at)
    }

    /// Puts a C string into the data and gives where.
    pub(crate) fn text(&mut self, text: &str) -> Arg {
        self.data(&[text.as_bytes(), b"\0"].concat())
    }

    /// A place in the data, some bytes further.
    pub(crate) fn offset(arg: Arg, by: usize) -> Arg {
        match arg {
            Arg::Data(at) => Arg::Data(at + by),
            Arg::Value(v) => Arg::Value(v + by as u64),
        }
    }

    /// Makes a system call; its result can then be printed, or be the exit code.
    pub(crate) fn call(&mut self, number: u64, args: &[Arg]) {
        assert!(args.len() <= 6, "a system call has six arguments");
        for (index, arg) in args.iter().enumerate() {
            self.load_argument(index, *arg);
        }
        match self.machine {
            Machine::X86_64 => {
                self.emit(&[0x48, 0xb8], number.to_le_bytes()); // mov rax, number
                self.code.extend([0x0f, 0x05]); // syscall
                self.emit(&[0x48, 0xa3], Self::address(RESULT).to_le_bytes()); // mov [result], rax
            }
            Machine::I386 => {
                self.emit(&[0xb8], (number as u32).to_le_bytes()); // mov eax, number
                self.code.extend([0xcd, 0x80]); // int 0x80
                self.emit(&[0xa3], (Self::address(RESULT) as u32).to_le_bytes());
            }
        }
    }

    /// Makes a system call whose first argument is the result of the last one.
    pub(crate) fn call_on_result(&mut self, number: u64, rest: &[Arg]) {
        assert_eq!(self.machine, Machine::X86_64, "only where it is needed");
        for (index, arg) in rest.iter().enumerate() {
            self.load_argument(index + 1, *arg);
        }
        self.emit(&[0x48, 0xa1], Self::address(RESULT).to_le_bytes()); // mov rax, [result]
        self.code.extend([0x48, 0x89, 0xc7]); // mov rdi, rax
        self.emit(&[0x48, 0xb8], number.to_le_bytes());
        self.code.extend([0x0f, 0x05]);
        self.emit(&[0x48, 0xa3], Self::address(RESULT).to_le_bytes());
    }

    /// Copies 8 bytes within the data.
    pub(crate) fn copy8(&mut self, from: Arg, to: Arg) {
        let (Arg::Data(from), Arg::Data(to)) = (from, to) else {
            panic!("places in the data only")
        };
        assert_eq!(self.machine, Machine::X86_64, "only where it is needed");
        self.emit(&[0x48, 0xa1], Self::address(from).to_le_bytes());
        self.emit(&[0x48, 0xa3], Self::address(to).to_le_bytes());
    }

    /// Writes the last result to standard output.
    pub(crate) fn print_result(&mut self) {
        let length = if self.machine == Machine::X86_64 { 8 } else { 4 };
        self.print(Arg::Data(RESULT), length);
    }

    /// Writes bytes of the data to standard output; the result is that of the write.
    pub(crate) fn print(&mut self, from: Arg, length: u64) {
        let write = if self.machine == Machine::X86_64 { 1 } else { 4 };
        self.call(write, &[Arg::Value(1), from, Arg::Value(length)]);
    }

    /// Exits with a number.
    pub(crate) fn exit(&mut self, code: u64) {
        let exit = if self.machine == Machine::X86_64 { 60 } else { 1 };
        self.call(exit, &[Arg::Value(code)]);
    }

    /// Exits with the low byte of the last result.
    pub(crate) fn exit_with_result(&mut self) {
        self.call_on_result(60, &[]);
    }

    /// The finished ELF file.
    pub(crate) fn build(&self) -> Vec<u8> {
        let header = match self.machine {
            Machine::X86_64 => self.header64(),
            Machine::I386 => self.header32(),
        };
        let mut file = header;
        file.extend_from_slice(&self.code);
        assert!(file.len() <= DATA, "the code fits before the data");
        file.resize(DATA, 0);
        file.extend_from_slice(&self.data);
        file
    }

    fn address(data: usize) -> u64 {
        BASE + DATA as u64 + data as u64
    }

    fn emit<const N: usize>(&mut self, opcode: &[u8], operand: [u8; N]) {
        self.code.extend_from_slice(opcode);
        self.code.extend_from_slice(&operand);
    }

    fn load_argument(&mut self, index: usize, arg: Arg) {
        let value = match arg {
            Arg::Value(value) => value,
            Arg::Data(at) => Self::address(at),
        };
        match self.machine {
            // mov rdi/rsi/rdx/r10/r8/r9, imm64
            Machine::X86_64 => {
                let opcode = [[0x48, 0xbf], [0x48, 0xbe], [0x48, 0xba], [0x49, 0xba], [0x49, 0xb8]];
                let opcode = opcode.get(index).copied().unwrap_or([0x49, 0xb9]);
                self.emit(&opcode, value.to_le_bytes());
            }
            // mov ebx/ecx/edx/esi/edi/ebp, imm32
            Machine::I386 => {
                let opcode = [0xbb, 0xb9, 0xba, 0xbe, 0xbf, 0xbd][index];
                self.emit(&[opcode], (value as u32).to_le_bytes());
            }
        }
    }

    fn header64(&self) -> Vec<u8> {
        let size = (DATA + self.data.len()) as u64;
        let mut h = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        push16(&mut h, &[2, 62]); // executable, x86-64
        push32(&mut h, &[1]);
        push64(&mut h, &[BASE + 120, 64, 0]); // entry, program headers, sections
        push32(&mut h, &[0]);
        push16(&mut h, &[64, 56, 1, 64, 0, 0]);
        push32(&mut h, &[1, 7]); // load; read, write, execute
        push64(&mut h, &[0, BASE, BASE, size, size, 0x1000]);
        h
    }

    fn header32(&self) -> Vec<u8> {
        let size = (DATA + self.data.len()) as u32;
        let base = BASE as u32;
        let mut h = vec![0x7f, b'E', b'L', b'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        push16(&mut h, &[2, 3]); // executable, i386
        push32(&mut h, &[1, base + 84, 52, 0, 0]);
        push16(&mut h, &[52, 32, 1, 40, 0, 0]);
        push32(&mut h, &[1, 0, base, base, size, size, 7, 0x1000]);
        h
    }
}

fn push16(to: &mut Vec<u8>, values: &[u16]) {
    values.iter().for_each(|v| to.extend(v.to_le_bytes()));
}

fn push32(to: &mut Vec<u8>, values: &[u32]) {
    values.iter().for_each(|v| to.extend(v.to_le_bytes()));
}

fn push64(to: &mut Vec<u8>, values: &[u64]) {
    values.iter().for_each(|v| to.extend(v.to_le_bytes()));
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::process::{Command, Output};

    use super::*;

    fn run(name: &str, program: &Program) -> Output {
        let path = std::env::temp_dir().join(format!("machine-{}-{name}", std::process::id()));
        fs::write(&path, program.build()).expect("the temporary directory is writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
        let output = Command::new(&path).output();
        fs::remove_file(&path).expect("it was made above");
        output.expect("the kernel takes the file")
    }

    #[test]
    fn prints_a_result_and_exits() {
        let mut program = Program::new(Machine::X86_64);
        program.call(39, &[]); // getpid
        program.print_result();
        program.exit(7);
        let output = run("getpid", &program);
        assert_eq!(output.status.code(), Some(7));
        let pid = u64::from_le_bytes(output.stdout.try_into().expect("8 bytes"));
        assert!(pid > 1);
    }

    #[test]
    fn arguments_and_data_reach_the_kernel() {
        let mut program = Program::new(Machine::X86_64);
        let path = program.text("/no/such/file");
        program.call(257, &[Arg::Value(-100i64 as u64), path, 0.into(), 0.into()]); // openat
        program.print_result();
        program.exit(0);
        let output = run("openat", &program);
        assert_eq!(i64::from_le_bytes(output.stdout.try_into().expect("8 bytes")), -2);
    }

    #[test]
    fn thirty_two_bits() {
        let mut program = Program::new(Machine::I386);
        program.call(20, &[]); // getpid
        program.print_result();
        program.exit(3);
        let output = run("i386", &program);
        // A kernel without 32-bit support cannot run it; the scenarios then skip.
        if let Some(code) = output.status.code() {
            assert_eq!((code, output.stdout.len()), (3, 4));
        }
    }
}
