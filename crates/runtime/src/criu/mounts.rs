//! Which of a container's mounts come from outside: CRIU saves their places, not what is in them.
//!
//! A mount is external if its file system is mounted on the host as well, at whatever place; the root and
//! file systems of which each namespace has its own are not. Kept with the images is where on the host each
//! one came from, for a restore whose configuration does not say.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One line of mountinfo, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    /// Major and minor number of the file system.
    device: String,
    /// What of the file system is mounted.
    root: PathBuf,
    /// Where.
    place: PathBuf,
    kind: String,
}

/// The container's external mounts: where they are inside, and where the same is on the host.
pub(crate) fn external(container: &str, host: &str) -> BTreeMap<PathBuf, PathBuf> {
    let host: Vec<Mount> = host.lines().filter_map(parse).collect();
    let inside = container.lines().filter_map(parse);
    inside
        .filter(|mount| mount.place != Path::new("/") && !is_own(mount))
        .filter_map(|mount| Some((mount.place.clone(), place_on(&host, &mount)?)))
        .collect()
}

/// Whether a fresh mount of the kind shows the same.
fn is_own(mount: &Mount) -> bool {
    let per_namespace = ["proc", "sysfs", "mqueue", "devpts"].contains(&mount.kind.as_str());
    per_namespace && mount.root == Path::new("/")
}

/// Where on the host a mount's root is to be found: below the mount that shows it most directly.
fn place_on(host: &[Mount], wanted: &Mount) -> Option<PathBuf> {
    host.iter()
        .filter(|mount| mount.device == wanted.device)
        .filter_map(|mount| Some((mount, wanted.root.strip_prefix(&mount.root).ok()?)))
        .min_by_key(|(_, below)| below.components().count())
        .map(|(mount, below)| match below.as_os_str().is_empty() {
            true => mount.place.clone(),
            false => mount.place.join(below),
        })
}

fn parse(line: &str) -> Option<Mount> {
    let (mount, rest) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(2);
    Some(Mount {
        device: fields.next()?.to_owned(),
        root: crate::container::unescape(fields.next()?).into(),
        place: crate::container::unescape(fields.next()?).into(),
        kind: rest.split(' ').next()?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_has_too_is_external() {
        let host = "1 0 254:0 / / rw - ext4 /dev/vda rw\n\
                    2 1 0:6 / /dev rw - devtmpfs devtmpfs rw\n\
                    3 1 0:20 / /proc rw - proc proc rw\n\
                    4 1 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                    5 1 254:0 /srv/data /mnt/d rw - ext4 /dev/vda rw\n";
        let container = "9 8 254:0 /b/rootfs / rw - ext4 /dev/vda rw\n\
                         10 9 0:48 / /proc rw - proc proc rw\n\
                         11 9 0:49 / /dev rw - tmpfs tmpfs rw\n\
                         12 9 0:6 /null /proc/keys rw - devtmpfs devtmpfs rw\n\
                         13 9 0:29 /c1 /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n\
                         14 9 254:0 /srv/data/x\\040y /data rw - ext4 /dev/vda rw\n\
                         15 9 254:0 /b/hosts /etc/hosts rw - ext4 /dev/vda rw\n\
                         16 9 0:20 / /host/proc rw - proc proc rw\n\
                         17 9 0:20 /sys /host/sys rw - proc proc rw\n";
        let expected = [
            ("/proc/keys", "/dev/null"),
            ("/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu/c1"),
            ("/data", "/mnt/d/x y"),
            ("/etc/hosts", "/b/hosts"),
            ("/host/sys", "/proc/sys"),
        ];
        let expected = expected.map(|(a, b)| (a.into(), b.into())).into();
        assert_eq!(external(container, host), expected);
    }
}
