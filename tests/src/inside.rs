//! What the payload sees from inside a container, as one JSON value.
//!
//! Shared by the payload, which gathers, and the scenarios, which compare; plain reads of `/proc` and
//! plain system calls, so that nothing here depends on how a runtime did its work. A fact that cannot
//! be read is left out rather than reported as an error: a container may well lack `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use rustix::fs::{CWD, FileType, Mode};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::time::ClockId;
use serde::{Deserialize, Serialize};

/// One look around from inside a container.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Its own process id, as it sees it.
    pub pid: u32,
    /// Real and effective user and group.
    pub ids: [u32; 4],
    /// Supplementary groups, sorted.
    pub groups: Vec<u32>,
    /// The working directory, as the kernel names it.
    pub cwd: String,
    /// Arguments after `report`.
    pub args: Vec<String>,
    /// The environment, in its order.
    pub env: Vec<(String, String)>,
    /// From uname.
    pub hostname: String,
    /// NIS domain name, from uname.
    pub domainname: String,
    /// Machine name, from uname: the personality shows here.
    pub machine: String,
    /// Name of the namespace to its inode number.
    pub namespaces: BTreeMap<String, u64>,
    /// `/proc/self/mountinfo`.
    pub mounts: Vec<Mount>,
    /// `/proc/self/status`.
    pub status: BTreeMap<String, String>,
    /// `/proc/self/limits`: soft and hard, as printed there.
    pub limits: BTreeMap<String, (String, String)>,
    /// Open file descriptors and what they point to.
    pub fds: BTreeMap<i32, String>,
    /// Lines of `/proc/self/cgroup`.
    pub cgroups: Vec<String>,
    /// `/proc/self/oom_score_adj`.
    pub oom_score_adj: Option<i32>,
    /// CPUs that it may run on.
    pub cpus: Vec<usize>,
    /// Names of network interfaces.
    pub interfaces: Vec<String>,
    /// `/proc/self/uid_map` and `gid_map`, numbers only.
    pub uid_map: Vec<[u64; 3]>,
    /// See `uid_map`.
    pub gid_map: Vec<[u64; 3]>,
    /// `/proc/self/timens_offsets`.
    pub timens_offsets: BTreeMap<String, (i64, i64)>,
    /// Seconds since boot, as the clock tells it here.
    pub boottime_s: i64,
    /// Seconds of the monotonic clock.
    pub monotonic_s: i64,
    /// Standard input, output, error: is it a terminal?
    pub terminals: [bool; 3],
    /// Rows and columns of the terminal on standard input.
    pub window: Option<(u16, u16)>,
    /// The program's name as it was called.
    pub argv0: String,
    /// Fields of `/proc/self/stat` after the command name, from field 3 on.
    pub stat: Vec<String>,
}

/// One line of a mountinfo file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Mount id.
    pub id: u32,
    /// Device number, `major:minor`.
    pub device: String,
    /// What of the file system is mounted.
    pub root: String,
    /// Where.
    pub point: String,
    /// Per-mount options.
    pub options: Vec<String>,
    /// `shared:N`, `master:N`, `unbindable`, …
    pub propagation: Vec<String>,
    /// File system type.
    pub kind: String,
    /// Source.
    pub source: String,
    /// Options of the file system.
    pub super_options: Vec<String>,
}

impl Mount {
    /// Whether the mount or its file system has this option.
    pub fn has(&self, option: &str) -> bool {
        self.options.iter().chain(&self.super_options).any(|o| o == option)
    }

    /// Whether this very mount (not its file system) has the option.
    pub fn has_own(&self, option: &str) -> bool {
        self.options.iter().any(|o| o == option)
    }
}

impl Report {
    /// The topmost mount at `point`.
    pub fn mount(&self, point: &str) -> Option<&Mount> {
        self.mounts.iter().rfind(|m| m.point == point)
    }

    /// A field of `/proc/self/status`, empty if absent.
    pub fn status(&self, field: &str) -> &str {
        self.status.get(field).map_or("", String::as_str)
    }

    /// A variable of the environment.
    pub fn env(&self, name: &str) -> Option<&str> {
        self.env.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// A number of `/proc/self/stat`, by its number in proc(5), from 4 on.
    pub fn stat(&self, field: usize) -> Option<i64> {
        self.stat.get(field - 3)?.parse().ok()
    }

    /// A capability set of `/proc/self/status` as bits.
    pub fn caps(&self, set: &str) -> u64 {
        u64::from_str_radix(self.status(set), 16).unwrap_or(u64::MAX)
    }
}

/// Looks around; `args` are handed through into the report.
pub fn gather(args: Vec<String>) -> Report {
    let uname = rustix::system::uname();
    let text = |c: &std::ffi::CStr| c.to_string_lossy().into_owned();
    let clock = |id| rustix::time::clock_gettime(id).tv_sec;
    Report {
        pid: std::process::id(),
        ids: [
            rustix::process::getuid().as_raw(),
            rustix::process::geteuid().as_raw(),
            rustix::process::getgid().as_raw(),
            rustix::process::getegid().as_raw(),
        ],
        groups: groups(),
        cwd: rustix::process::getcwd(Vec::new()).map(|c| text(&c)).unwrap_or_default(),
        args,
        env: std::env::vars_os()
            .map(|(n, v)| (n.to_string_lossy().into_owned(), v.to_string_lossy().into_owned()))
            .collect(),
        hostname: text(uname.nodename()),
        domainname: text(uname.domainname()),
        machine: text(uname.machine()),
        namespaces: namespaces(Path::new("/proc/self/ns")),
        mounts: parse_mountinfo(&read("/proc/self/mountinfo")),
        status: pairs(&read("/proc/self/status")),
        limits: limits(&read("/proc/self/limits")),
        fds: fds(),
        cgroups: read("/proc/self/cgroup").lines().map(str::to_owned).collect(),
        oom_score_adj: read("/proc/self/oom_score_adj").trim().parse().ok(),
        cpus: cpus(),
        interfaces: interfaces(),
        uid_map: id_map(&read("/proc/self/uid_map")),
        gid_map: id_map(&read("/proc/self/gid_map")),
        timens_offsets: offsets(&read("/proc/self/timens_offsets")),
        boottime_s: clock(ClockId::Boottime),
        monotonic_s: clock(ClockId::Monotonic),
        terminals: [
            rustix::termios::isatty(rustix::stdio::stdin()),
            rustix::termios::isatty(rustix::stdio::stdout()),
            rustix::termios::isatty(rustix::stdio::stderr()),
        ],
        window: rustix::termios::tcgetwinsize(rustix::stdio::stdin())
            .ok()
            .map(|w| (w.ws_row, w.ws_col)),
        argv0: std::env::args_os().next().unwrap_or_default().to_string_lossy().into_owned(),
        stat: stat(&read("/proc/self/stat")),
    }
}

fn read(path: &str) -> String {
    fs::read(path).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
}

fn groups() -> Vec<u32> {
    let mut groups: Vec<u32> = rustix::process::getgroups()
        .map(|g| g.into_iter().map(rustix::process::Gid::as_raw).collect())
        .unwrap_or_default();
    groups.sort_unstable();
    groups
}

/// The namespaces of a process, by the name of their link; `_for_children` ones are left out.
pub(crate) fn namespaces(dir: &Path) -> BTreeMap<String, u64> {
    let Ok(entries) = fs::read_dir(dir) else { return BTreeMap::new() };
    entries
        .flatten()
        .filter_map(|e| {
            let name = e.file_name().to_string_lossy().into_owned();
            let inode = fs::metadata(e.path()).ok()?.ino();
            (!name.ends_with("_for_children")).then_some((name, inode))
        })
        .collect()
}

/// Parses a mountinfo file; lines that do not look like one are left out.
pub fn parse_mountinfo(text: &str) -> Vec<Mount> {
    text.lines().filter_map(parse_mount).collect()
}

fn parse_mount(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let left: Vec<&str> = left.split(' ').collect();
    let mut right = right.splitn(3, ' ');
    let list = |s: &str| s.split(',').map(str::to_owned).collect();
    Some(Mount {
        id: left.first()?.parse().ok()?,
        device: (*left.get(2)?).to_owned(),
        root: unescape(left.get(3)?),
        point: unescape(left.get(4)?),
        options: list(left.get(5)?),
        propagation: left[6..].iter().map(|s| (*s).to_owned()).collect(),
        kind: right.next()?.to_owned(),
        source: unescape(right.next()?),
        super_options: list(right.next().unwrap_or("")),
    })
}

/// Undoes the kernel's octal escapes of blanks and backslashes.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |t, (from, to)| t.replace(from, to))
}

fn pairs(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|l| l.split_once(':'))
        .map(|(k, v)| (k.to_owned(), v.trim().to_owned()))
        .collect()
}

fn limits(text: &str) -> BTreeMap<String, (String, String)> {
    text.lines()
        .skip(1)
        .filter_map(|l| {
            let values: Vec<&str> = l.get(26..)?.split_whitespace().collect();
            let name = l.get(..26)?.trim().to_owned();
            Some((name, ((*values.first()?).to_owned(), (*values.get(1)?).to_owned())))
        })
        .collect()
}

fn fds() -> BTreeMap<i32, String> {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else { return BTreeMap::new() };
    entries
        .flatten()
        .filter_map(|e| {
            let fd = e.file_name().to_string_lossy().parse().ok()?;
            let target = fs::read_link(e.path()).ok()?.to_string_lossy().into_owned();
            // The directory being read is ours, not the runtime's; its pid may be that of another PID
            // namespace's view.
            let own = target.starts_with("/proc/") && target.ends_with("/fd");
            (!own).then_some((fd, target))
        })
        .collect()
}

fn cpus() -> Vec<usize> {
    rustix::thread::sched_getaffinity(None)
        .map(|set| (0..rustix::thread::CpuSet::MAX_CPU).filter(|c| set.is_set(*c)).collect())
        .unwrap_or_default()
}

fn interfaces() -> Vec<String> {
    let mut names: Vec<String> = read("/proc/self/net/dev")
        .lines()
        .skip(2)
        .filter_map(|l| l.split_once(':'))
        .map(|(name, _)| name.trim().to_owned())
        .collect();
    names.sort();
    names
}

fn id_map(text: &str) -> Vec<[u64; 3]> {
    text.lines()
        .filter_map(|l| {
            let n: Vec<u64> = l.split_whitespace().filter_map(|w| w.parse().ok()).collect();
            n.try_into().ok()
        })
        .collect()
}

fn offsets(text: &str) -> BTreeMap<String, (i64, i64)> {
    text.lines()
        .filter_map(|l| {
            let w: Vec<&str> = l.split_whitespace().collect();
            Some(((*w.first()?).to_owned(), (w.get(1)?.parse().ok()?, w.get(2)?.parse().ok()?)))
        })
        .collect()
}

fn stat(text: &str) -> Vec<String> {
    let after = text.rsplit_once(") ").map_or("", |(_, rest)| rest);
    after.split_whitespace().map(str::to_owned).collect()
}

/// The outcome of one attempted operation.
#[derive(Debug, Serialize, Deserialize)]
pub struct Attempt {
    /// The operation and its arguments.
    pub op: Vec<String>,
    /// What it gave, if it worked.
    pub ok: Option<String>,
    /// Why it did not.
    pub errno: Option<i32>,
}

/// Tries one operation; see `operate` for the list. An unknown one is `EINVAL`.
pub fn attempt(op: &[String]) -> Attempt {
    let words: Vec<&str> = op.iter().map(String::as_str).collect();
    let (ok, errno) = match operate(&words) {
        Ok(text) => (Some(text), None),
        Err(e) => (None, Some(e.raw_os_error())),
    };
    Attempt { op: op.to_vec(), ok, errno }
}

type Tried = Result<String, Errno>;

fn io<T>(result: std::io::Result<T>) -> Result<T, Errno> {
    result.map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::INVAL))
}

fn done<T>(result: Result<T, Errno>) -> Tried {
    result.map(|_| String::new())
}

fn operate(words: &[&str]) -> Tried {
    match *words {
        ["read", path] => {
            io(fs::read(path)).map(|b| String::from_utf8_lossy(&b[..b.len().min(65536)]).into())
        }
        // Opens read-write without creating, and closes again.
        ["open", path] => done(io(fs::OpenOptions::new().read(true).write(true).open(path))),
        ["open-read", path] => done(io(fs::File::open(path))),
        ["write", path, text] => done(io(fs::write(path, text))),
        ["ls", path] => {
            let mut names: Vec<String> = io(fs::read_dir(path))?
                .flatten()
                .map(|e| e.file_name().to_string_lossy().into_owned())
                .collect();
            names.sort();
            Ok(names.join(" "))
        }
        ["stat", path] => io(fs::metadata(path)).map(|m| describe(&m)),
        ["lstat", path] => io(fs::symlink_metadata(path)).map(|m| describe(&m)),
        ["readlink", path] => io(fs::read_link(path)).map(|p| p.to_string_lossy().into()),
        ["mkdir", path] => done(io(fs::create_dir(path))),
        ["rm", path] => done(io(fs::remove_file(path))),
        ["link", from, to] => done(io(fs::hard_link(from, to))),
        ["rename", from, to] => done(io(fs::rename(from, to))),
        ["chmod", path, mode] => {
            let mode = u32::from_str_radix(mode, 8).map_err(|_| Errno::INVAL)?;
            done(io(fs::set_permissions(path, fs::Permissions::from_mode(mode))))
        }
        ["chown", path, uid, gid] => {
            done(io(std::os::unix::fs::chown(path, Some(number(uid)?), Some(number(gid)?))))
        }
        ["mknod", path, kind, major, minor] => {
            let kind = if kind == "b" { FileType::BlockDevice } else { FileType::CharacterDevice };
            let device = rustix::fs::makedev(number(major)?, number(minor)?);
            done(rustix::fs::mknodat(CWD, path, kind, Mode::from_raw_mode(0o666), device))
        }
        ["mount", kind, target] => {
            done(rustix::mount::mount("none", target, kind, MountFlags::empty(), None))
        }
        ["bind", source, target] => done(rustix::mount::mount_bind(source, target)),
        ["remount-rw", target] => done(rustix::mount::mount_remount(target, MountFlags::BIND, "")),
        ["make-private", target] => {
            done(rustix::mount::mount_change(target, MountPropagationFlags::PRIVATE))
        }
        ["umount", target] => done(rustix::mount::unmount(target, UnmountFlags::DETACH)),
        ["hostname", name] => done(rustix::system::sethostname(name.as_bytes())),
        ["chroot", path] => done(io(std::os::unix::fs::chroot(path))),
        ["bind-port", port] => {
            done(io(std::net::TcpListener::bind(("127.0.0.1", number(port)? as u16))))
        }
        ["kill", pid, signal] => {
            let pid = rustix::process::Pid::from_raw(number(pid)? as i32).ok_or(Errno::INVAL)?;
            let signal = rustix::process::Signal::from_named_raw(number(signal)? as i32);
            done(rustix::process::kill_process(pid, signal.ok_or(Errno::INVAL)?))
        }
        // Runs a program and gives its exit code, or 128 + the signal that ended it.
        ["run", program, ref args @ ..] => {
            let output = io(Command::new(program).args(args).output())?;
            let code = output.status.code().unwrap_or_else(|| {
                128 + std::os::unix::process::ExitStatusExt::signal(&output.status).unwrap_or(0)
            });
            Ok(format!("{code} {}", String::from_utf8_lossy(&output.stdout).trim_end()))
        }
        _ => Err(Errno::INVAL),
    }
}

fn number(word: &str) -> Result<u32, Errno> {
    word.parse().map_err(|_| Errno::INVAL)
}

/// `kind mode uid gid major:minor size`, the mode in octal.
pub(crate) fn describe(m: &fs::Metadata) -> String {
    let t = m.file_type();
    let kind = if t.is_dir() {
        "dir"
    } else if t.is_symlink() {
        "link"
    } else if t.is_char_device() {
        "char"
    } else if t.is_block_device() {
        "block"
    } else if t.is_fifo() {
        "fifo"
    } else if t.is_socket() {
        "socket"
    } else {
        "file"
    };
    let device = m.rdev();
    format!(
        "{kind} {:o} {} {} {}:{} {}",
        m.permissions().mode() & 0o7777,
        m.uid(),
        m.gid(),
        rustix::fs::major(device),
        rustix::fs::minor(device),
        m.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_line() {
        let text =
            "36 35 98:0 /r\\040x /m\\040p rw,noatime shared:1 master:2 - ext3 /dev/r rw,e=c\n";
        let mounts = parse_mountinfo(text);
        assert_eq!(mounts.len(), 1);
        assert_eq!(mounts[0].point, "/m p");
        assert_eq!(mounts[0].root, "/r x");
        assert_eq!(mounts[0].propagation, ["shared:1", "master:2"]);
        assert!(mounts[0].has("e=c") && mounts[0].has_own("noatime"));
        assert_eq!(mounts[0].kind, "ext3");
    }

    #[test]
    fn own_report_survives_json() {
        let report = gather(vec!["x".into()]);
        let text = serde_json::to_string(&report).expect("a report is plain data");
        let back: Report = serde_json::from_str(&text).expect("what was printed parses");
        assert_eq!(back.pid, std::process::id());
        assert!(back.limits.contains_key("Max open files"), "{:?}", back.limits);
        assert_eq!(back.status("Pid"), std::process::id().to_string());
        assert!(back.fds.contains_key(&0));
    }

    #[test]
    fn attempts_give_the_errno() {
        let op =
            |words: &[&str]| attempt(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
        assert_eq!(op(&["read", "/proc/self/comm/x"]).errno, Some(Errno::NOTDIR.raw_os_error()));
        assert_eq!(op(&["no-such-operation"]).errno, Some(Errno::INVAL.raw_os_error()));
        assert!(op(&["stat", "/dev/zero"]).ok.is_some_and(|s| s.starts_with("char 666 0 0 1:5")));
    }
}
