//! Which kernel file systems the host's tree has, for roots that are moved instead of pivoted.

use std::path::Path;

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
    text.lines()
        .filter_map(|line| {
            let (mount, rest) = line.split_once(" - ")?;
            let kind = rest.split(' ').next()?;
            let mut fields = mount.split(' ').skip(3);
            let (root, place) = (fields.next()?, fields.next()?);
            let kernel = kind == "proc" || kind == "sysfs";
            (kernel && root == "/" && !inside(place)).then(|| unescape(place))
        })
        .collect()
}

/// The kernel writes space, tab, line break and backslash as `\040` and so on.
fn unescape(text: &str) -> String {
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
