//! `HOME` for a process whose environment has none: what the container's own `/etc/passwd` says.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

use dhow_spec::runtime::Process;
use rustix::fs::OFlags;

use super::launch::open_directory;
use crate::init::open_beneath;
use crate::plan::variable;

/// More than this of a container's user list is not read: it is the container's to write.
const PASSWD_BYTES_MAX: u64 = 1 << 20;

/// The home directory of the process's user below `root`, `/` if nothing says so; not looked for where
/// the environment has one.
pub(super) fn of(root: &Path, process: Option<&Process>) -> String {
    let fallback = || "/".to_owned();
    let Some(process) = process else { return fallback() };
    if variable(process, "HOME").is_some_and(|home| !home.is_empty()) {
        return fallback();
    }
    read(root)
        .and_then(|passwd| home_in(&passwd, process.user.uid).map(str::to_owned))
        .unwrap_or_else(fallback)
}

/// The same below a mount that has no path.
pub(super) fn of_mount(root: BorrowedFd<'_>, process: Option<&Process>) -> String {
    of(Path::new(&format!("/proc/self/fd/{}", root.as_raw_fd())), process)
}

fn read(root: &Path) -> Option<String> {
    let root = open_directory(root).ok()?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
    let file = File::from(open_beneath(root.as_fd(), c"etc/passwd", flags).ok()?.into_fd()?);
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = Vec::new();
    file.take(PASSWD_BYTES_MAX).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

fn home_in(passwd: &str, uid: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':').skip(2);
        let own = fields.next()?.parse::<u32>().ok()? == uid;
        let home = fields.nth(2)?;
        (own && !home.is_empty()).then_some(home)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_the_user_counts() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\n\
                      a:x:1000:1000::/home/a:/bin/sh\nb:x:1000:1::/home/b:/bin/sh\nc:x:7:7:::\n";
        assert_eq!(home_in(passwd, 0), Some("/root"));
        assert_eq!(home_in(passwd, 1000), Some("/home/a"));
        assert_eq!(home_in(passwd, 7), None);
        assert_eq!(home_in(passwd, 8), None);
    }
}
