//! Volumes that are file systems of their own: `type`, `device` and `o`, as mount(8) has them.
//!
//! Such a volume is mounted on its directory when the first container that has it starts, and unmounted with the
//! end of the last one. Invariant: a mount is made by one system call; no program runs for it, so that of network
//! file systems those work that the kernel mounts by itself.
//! Absent on purpose: binds: a volume that stands for a path of the host needs no mount.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::net::ToSocketAddrs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use super::error::VolumeError;

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mounting {
    kind: String,
    device: String,
    flags: MountFlags,
    data: Vec<String>,
}

impl Mounting {
    /// What the options ask for; nothing if they ask for no file system.
    pub(super) fn of(options: &BTreeMap<String, String>) -> Option<Self> {
        let text = |name: &str| options.get(name).map(String::as_str).unwrap_or_default();
        let mut made = Self {
            kind: text("type").to_owned(),
            device: text("device").to_owned(),
            flags: MountFlags::empty(),
            data: Vec::new(),
        };
        for word in text("o").split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match flag(word) {
                Some((flag, true)) => made.flags |= flag,
                Some((flag, false)) => made.flags &= !flag,
                None => made.data.push(word.to_owned()),
            }
        }
        let is_bind =
            made.flags.contains(MountFlags::BIND) || matches!(text("type"), "bind" | "none");
        (!made.kind.is_empty() && !is_bind).then_some(made)
    }

    /// Mounts it, unless it is mounted already.
    pub(super) fn mount(&self, at: &Path) -> Result<(), VolumeError> {
        let failed = |error: io::Error| VolumeError::io("mount the volume at", at, error);
        if is_mounted(at).map_err(failed)? {
            return Ok(());
        }
        let data: io::Result<Vec<String>> = self.data.iter().map(|word| resolved(word)).collect();
        let data = CString::new(data.map_err(failed)?.join(","));
        let data = data.map_err(|error| failed(error.into()))?;
        rustix::mount::mount(&*self.device, at, &*self.kind, self.flags, data.as_c_str())
            .map_err(|errno| failed(errno.into()))
    }
}

/// Takes the mount away, if there is one.
pub(super) fn unmount(at: &Path) -> Result<(), VolumeError> {
    let failed = |error: io::Error| VolumeError::io("unmount the volume at", at, error);
    match is_mounted(at) {
        Ok(true) => match rustix::mount::unmount(at, UnmountFlags::DETACH) {
            Ok(()) | Err(Errno::INVAL) => Ok(()),
            Err(errno) => Err(failed(errno.into())),
        },
        Ok(false) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

/// Another file system than its directory's.
fn is_mounted(at: &Path) -> io::Result<bool> {
    let parent = at.parent().unwrap_or(at);
    Ok(std::fs::metadata(at)?.dev() != std::fs::metadata(parent)?.dev())
}

/// The kernel's NFS knows no names of hosts.
fn resolved(word: &str) -> io::Result<String> {
    let Some(host) = word.strip_prefix("addr=") else { return Ok(word.to_owned()) };
    let found = (host, 0).to_socket_addrs()?.next();
    let found = found.ok_or_else(|| io::Error::other(format!("{host} has no address")))?;
    Ok(format!("addr={}", found.ip()))
}

/// A word that is a flag of the call, and whether it sets it; nothing for what the file system reads.
fn flag(word: &str) -> Option<(MountFlags, bool)> {
    Some(match word {
        "ro" => (MountFlags::RDONLY, true),
        "rw" => (MountFlags::RDONLY, false),
        "nosuid" => (MountFlags::NOSUID, true),
        "suid" => (MountFlags::NOSUID, false),
        "nodev" => (MountFlags::NODEV, true),
        "dev" => (MountFlags::NODEV, false),
        "noexec" => (MountFlags::NOEXEC, true),
        "exec" => (MountFlags::NOEXEC, false),
        "sync" => (MountFlags::SYNCHRONOUS, true),
        "async" => (MountFlags::SYNCHRONOUS, false),
        "dirsync" => (MountFlags::DIRSYNC, true),
        "noatime" => (MountFlags::NOATIME, true),
        "atime" => (MountFlags::NOATIME, false),
        "nodiratime" => (MountFlags::NODIRATIME, true),
        "diratime" => (MountFlags::NODIRATIME, false),
        "relatime" => (MountFlags::RELATIME, true),
        "norelatime" => (MountFlags::RELATIME, false),
        "strictatime" => (MountFlags::STRICTATIME, true),
        "bind" => (MountFlags::BIND, true),
        "rbind" => (MountFlags::BIND.union(MountFlags::REC), true),
        "defaults" => (MountFlags::empty(), true),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Option<Mounting> {
        let options = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Mounting::of(&options.collect())
    }

    #[test]
    fn options_are_mount_s() {
        let made = of(&[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m,ro,uid=7")]);
        let made = made.expect("a file system");
        assert_eq!((made.kind.as_str(), made.flags), ("tmpfs", MountFlags::RDONLY));
        assert_eq!(made.data, ["size=1m", "uid=7"]);
        assert_eq!(of(&[("type", "none"), ("o", "bind"), ("device", "/x")]), None);
        assert_eq!(of(&[]), None);
        assert_eq!(resolved("addr=127.0.0.1").expect("an address"), "addr=127.0.0.1");
        assert_eq!(resolved("vers=4").expect("a word"), "vers=4");
    }
}
