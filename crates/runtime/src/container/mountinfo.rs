//! Which kernel file systems the host's tree has, and where.

use std::path::{Path, PathBuf};

/// The mount points of every proc and sysfs outside of `rootfs`: through those that show the whole file
/// system a container could reach the host after its root is merely moved.
pub(super) fn kernel_mounts(rootfs: &Path) -> Vec<String> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    parse(&text, &rootfs.to_string_lossy())
}

fn parse(text: &str, rootfs: &str) -> Vec<String> {
    let inside = |place: &str| {
        place.strip_prefix(rootfs).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    mounts(text)
        .filter(|mount| matches!(mount.kind, "proc" | "sysfs") && mount.root == "/")
        .filter(|mount| !inside(mount.place))
        .map(|mount| unescape(mount.place))
        .collect()
}

/// Where the first file system of this kind is mounted whole.
pub(super) fn first_of_kind(kind: &str) -> Option<PathBuf> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts(&text)
        .find(|mount| mount.kind == kind && mount.root == "/")
        .map(|mount| unescape(mount.place).into())
}

/// One line of mountinfo; texts are as the kernel escapes them.
struct Mount<'a> {
    kind: &'a str,
    /// Which part of the file system is mounted.
    root: &'a str,
    place: &'a str,
}

fn mounts(text: &str) -> impl Iterator<Item = Mount<'_>> {
    text.lines().filter_map(|line| {
        let (mount, rest) = line.split_once(" - ")?;
        let kind = rest.split(' ').next()?;
        let mut fields = mount.split(' ').skip(3);
        Some(Mount { kind, root: fields.next()?, place: fields.next()? })
    })
}

/// The kernel writes space, tab, line break and backslash as `\040` and so on.
pub(crate) fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let octal = (*first == b'\\').then(|| tail.get(..3)).flatten();
        let value = octal
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match value {
            Some(value) => {
                bytes.push(value);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_of_a_kind_is_found() {
        let own = first_of_kind("proc").unwrap();
        assert!(own.join("self/mountinfo").exists(), "{}", own.display());
        assert_eq!(first_of_kind("no such kind"), None);
    }

    #[test]
    fn whole_kernel_file_systems_outside_the_root_are_found() {
        let text = "22 1 0:20 / /proc rw - proc proc rw\n\
                    23 1 0:21 / /sys rw - sysfs sysfs rw\n\
                    24 1 0:20 /sys /mnt rw - proc proc rw\n\
                    25 1 0:20 / /root/fs/proc rw - proc proc rw\n\
                    26 1 0:20 / /a\\040b rw - proc proc rw\n\
                    27 1 8:1 / / rw - ext4 /dev/vda rw\n";
        assert_eq!(parse(text, "/root/fs"), ["/proc", "/sys", "/a b"]);
    }
}
