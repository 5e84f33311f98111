//! The emulated machine: what it is made of, and one run of it.
//!
//! Three serial ports: the kernel's console into a file, the command's output to ours, its exit code
//! into a file. Plain emulation, because a `/dev/kvm` that is there may still not run a kernel.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::child;
use crate::task::{At, TaskError, find_program};

const ARGUMENTS: &str = "console=ttyS0 quiet panic=-1 mitigations=off nokaslr tsc=reliable \
    no_timer_check rdinit=/init";
const CONSOLE_LINES: usize = 25;

/// Exit code when the command did not end in time, as of `timeout`.
pub(crate) const TIMED_OUT: i32 = 124;
/// Exit code when the guest died before the command ended.
pub(crate) const DIED: i32 = 125;

/// All that a machine is started with.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) kernel: PathBuf,
    pub(crate) initramfs: PathBuf,
    /// Disks in order, each with a throw-away overlay.
    pub(crate) disks: Vec<PathBuf>,
    /// Kernel arguments besides our own.
    pub(crate) arguments: String,
    pub(crate) memory_mb: u32,
    pub(crate) cpus: u32,
    pub(crate) limit: Duration,
}

impl Machine {
    /// Runs it to its end; gives the command's exit code, [`TIMED_OUT`] or [`DIED`].
    pub(crate) fn run(&self, dir: &Path) -> Result<i32, TaskError> {
        let (console, code) = (dir.join("console"), dir.join("code"));
        let mut command = self.command(&console, &code)?;
        let mut qemu = command.stdin(Stdio::null()).spawn().at("start", "qemu")?;
        let ended = child::wait(&mut qemu, self.limit).at("wait for", "qemu")?;
        let code = fs::read_to_string(&code).unwrap_or_default();
        if let Ok(code) = code.trim().parse() {
            return Ok(code);
        }
        let text = String::from_utf8_lossy(&fs::read(&console).unwrap_or_default()).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        eprintln!("no exit code from the guest; the end of its console:");
        eprintln!("{}", lines[lines.len().saturating_sub(CONSOLE_LINES)..].join("\n"));
        Ok(if ended.is_some() { DIED } else { TIMED_OUT })
    }

    fn command(&self, console: &Path, code: &Path) -> Result<Command, TaskError> {
        let qemu = find_program("qemu-system-x86_64").ok_or(TaskError::Absent {
            what: "qemu-system-x86_64",
            remedy: "apt-get install qemu-system-x86",
        })?;
        let mut command = Command::new(qemu);
        // With 16-byte compare-and-exchange some guests panic under emulation.
        // With a thread for each CPU one executes what another is patching (static keys), and the kernel dies.
        command.args(["-accel", "tcg,thread=single", "-cpu", "max,-cx16", "-machine", "q35"]);
        command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        command.args(["-m", &self.memory_mb.to_string(), "-smp", &self.cpus.to_string()]);
        command.args(["-serial", &format!("file:{}", console.display())]);
        command.args(["-chardev", "stdio,id=out,signal=off", "-serial", "chardev:out"]);
        command.args(["-serial", &format!("file:{}", code.display())]);
        command.arg("-kernel").arg(&self.kernel).arg("-initrd").arg(&self.initramfs);
        command.args(["-append", &format!("{ARGUMENTS} {}", self.arguments)]);
        for (number, disk) in self.disks.iter().enumerate() {
            let file = disk.display();
            let drive = format!(
                "if=none,id=disk{number},file={file},format=raw,snapshot=on,cache=unsafe,aio=threads"
            );
            let device = format!("virtio-blk-pci,drive=disk{number}");
            command.args(["-drive", &drive, "-device", &device]);
        }
        Ok(command)
    }
}
