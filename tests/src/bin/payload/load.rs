//! Work that strains limits: children, memory, CPU time.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{io, thread};

use serde_json::json;

fn child() -> io::Result<Child> {
    Command::new("/proc/self/exe")
        .arg0("payload")
        .arg("wait")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

/// Starts children until `count` run or the kernel refuses; prints how many.
pub(crate) fn spawn(count: u64) -> io::Result<()> {
    let mut children = Vec::new();
    let mut errno = None;
    for _ in 0..count {
        match child() {
            Ok(c) => children.push(c),
            Err(e) => {
                errno = e.raw_os_error();
                break;
            }
        }
    }
    super::say(&json!({ "started": children.len(), "errno": errno }).to_string())
}

/// Leaves a child in a process group of its own behind.
pub(crate) fn orphan() -> io::Result<()> {
    let child = Command::new("/proc/self/exe")
        .arg("wait")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    super::say(&child.id().to_string())
}

/// Fills memory, page by page.
pub(crate) fn alloc(megabytes: usize) -> io::Result<()> {
    super::say("allocating")?;
    let mut blocks = Vec::new();
    for index in 0..megabytes {
        blocks.push(vec![index as u8 | 1; 1 << 20]);
    }
    let sum: u64 = blocks.iter().map(|b| u64::from(b[b.len() / 2])).sum();
    super::say(&format!("allocated {megabytes} {}", sum > 0))
}

/// Keeps one CPU busy.
pub(crate) fn burn(time: Duration) {
    let start = Instant::now();
    let mut x = 1u64;
    while start.elapsed() < time {
        for _ in 0..10_000 {
            x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        }
        std::hint::black_box(x);
        thread::yield_now();
    }
}
