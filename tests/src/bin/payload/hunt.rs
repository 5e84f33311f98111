//! Hunts the runtime from inside the container, as an attacker would.
//!
//! For a while it looks at every process that appears in `/proc`. Of each whose program is not this
//! file it tries to get hold of the program and of open files, and once the process is gone, to
//! reopen the program for writing (the way of CVE-2019-5736). Nothing is ever written.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

/// What was caught.
#[derive(Default)]
struct Catch {
    programs: Vec<(String, File)>,
    seen: BTreeSet<(u32, u64)>,
    fds: BTreeSet<String>,
}

/// Hunts for `time`, then prints what it found.
pub(crate) fn run(time: Duration) -> io::Result<()> {
    super::say("ready")?;
    let own = fs::metadata("/proc/self/exe")?;
    let start = Instant::now();
    let mut catch = Catch::default();
    while start.elapsed() < time {
        for entry in fs::read_dir("/proc")?.flatten() {
            if let Ok(pid) = entry.file_name().to_string_lossy().parse() {
                look(pid, &entry.path(), (own.dev(), own.ino()), &mut catch);
            }
        }
    }
    // The processes are gone by now, "text file busy" with them.
    let writable: Vec<String> = catch
        .programs
        .iter()
        .filter(|(_, file)| {
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            OpenOptions::new().write(true).open(path).is_ok()
        })
        .map(|(name, _)| name.clone())
        .collect();
    let programs: BTreeSet<&String> = catch.programs.iter().map(|(name, _)| name).collect();
    super::print_json(&json!({ "programs": programs, "writable": writable, "fds": catch.fds }))
}

fn look(pid: u32, dir: &Path, own: (u64, u64), catch: &mut Catch) {
    let exe = dir.join("exe");
    let Ok(file) = File::open(&exe) else { return };
    let Ok(meta) = file.metadata() else { return };
    if (meta.dev(), meta.ino()) == own {
        return;
    }
    let name = fs::read_link(&exe).map(|p| p.to_string_lossy().into_owned()).unwrap_or_default();
    for entry in fs::read_dir(dir.join("fd")).into_iter().flatten().flatten() {
        if let Ok(target) = fs::read_link(entry.path()) {
            catch.fds.insert(format!("{} {}", entry.file_name().display(), target.display()));
        }
    }
    if catch.seen.insert((pid, meta.ino())) && catch.programs.len() < 200 {
        catch.programs.push((name, file));
    }
}
