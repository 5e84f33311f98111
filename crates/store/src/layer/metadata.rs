//! Owner, mode, times and attributes of one file: read from disk, and put there.
//!
//! Absent on purpose: names of owners. They are not on disk, and whoever unpacks must not look them up.

use std::ffi::OsString;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use dhow_archive::tar::{Metadata, Time, Xattrs};
use rustix::fs::{AtFlags, FileType, Gid, Mode, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::error::ApplyFault;
use super::form::{Form, Stored};
use super::owners::Owners;

/// The permissions of a directory that keep its entries from being made as they are wanted.
pub(crate) const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";

/// One name in one directory, however it is reached best.
#[derive(Clone, Copy)]
pub(crate) enum Target<'a> {
    /// An open file or directory.
    Open(BorrowedFd<'a>),
    /// A name that must not be opened, or cannot: links, devices, pipes.
    Named(BorrowedFd<'a>, &'a [u8]),
}

impl Target<'_> {
    /// A path for the calls that know attributes by path only; its last name is not followed.
    fn proc_path(dir: BorrowedFd<'_>, name: &[u8]) -> PathBuf {
        let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
        path.extend_from_slice(name);
        OsString::from_vec(path).into()
    }

    pub(crate) fn set_owner(self, user: u32, group: u32) -> Result<(), Errno> {
        let (user, group) = (Some(Uid::from_raw(user)), Some(Gid::from_raw(group)));
        match self {
            Self::Open(fd) => rustix::fs::fchown(fd, user, group),
            Self::Named(dir, name) => {
                rustix::fs::chownat(dir, name, user, group, AtFlags::SYMLINK_NOFOLLOW)
            }
        }
    }

    /// Never for symbolic links, which have no mode.
    pub(crate) fn set_mode(self, mode: u16) -> Result<(), Errno> {
        let mode = Mode::from_raw_mode(mode.into());
        match self {
            Self::Open(fd) => rustix::fs::fchmod(fd, mode),
            Self::Named(dir, name) => rustix::fs::chmodat(dir, name, mode, AtFlags::empty()),
        }
    }

    pub(crate) fn set_times(self, times: &Timestamps) -> Result<(), Errno> {
        match self {
            Self::Open(fd) => rustix::fs::futimens(fd, times),
            Self::Named(dir, name) => {
                rustix::fs::utimensat(dir, name, times, AtFlags::SYMLINK_NOFOLLOW)
            }
        }
    }

    pub(crate) fn set_xattr(self, name: &[u8], value: &[u8]) -> Result<(), Errno> {
        match self {
            Self::Open(fd) => rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty()),
            Self::Named(dir, file) => {
                let path = Self::proc_path(dir, file);
                rustix::fs::lsetxattr(path, name, value, XattrFlags::empty())
            }
        }
    }

    pub(crate) fn remove_xattr(self, name: &[u8]) -> Result<(), Errno> {
        let result = match self {
            Self::Open(fd) => rustix::fs::fremovexattr(fd, name),
            Self::Named(dir, file) => rustix::fs::lremovexattr(Self::proc_path(dir, file), name),
        };
        match result {
            Err(Errno::NODATA) => Ok(()),
            other => other,
        }
    }

    /// The value of an attribute; `None` if there is none.
    pub(crate) fn xattr(self, name: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
        let mut value = Vec::with_capacity(256);
        loop {
            let buffer = rustix::buffer::spare_capacity(&mut value);
            let result = match self {
                Self::Open(fd) => rustix::fs::fgetxattr(fd, name, buffer),
                Self::Named(dir, file) => {
                    rustix::fs::lgetxattr(Self::proc_path(dir, file), name, buffer)
                }
            };
            match result {
                Ok(_) => return Ok(Some(value)),
                Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
                Err(Errno::RANGE) if value.capacity() < VALUE_BYTES_MAX => {
                    value.reserve(VALUE_BYTES_MAX);
                }
                Err(errno) => return Err(errno),
            }
        }
    }

    /// All names of attributes, one behind the other, each with a nul at its end.
    fn xattr_names(self) -> Result<Vec<u8>, Errno> {
        let mut names = Vec::with_capacity(1024);
        loop {
            let buffer = rustix::buffer::spare_capacity(&mut names);
            let result = match self {
                Self::Open(fd) => rustix::fs::flistxattr(fd, buffer),
                Self::Named(dir, file) => {
                    rustix::fs::llistxattr(Self::proc_path(dir, file), buffer)
                }
            };
            match result {
                Ok(_) => return Ok(names),
                Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
                Err(Errno::RANGE) if names.capacity() < VALUE_BYTES_MAX => {
                    names.reserve(VALUE_BYTES_MAX);
                }
                Err(errno) => return Err(errno),
            }
        }
    }

    /// All attributes but those that are marks of `form`, under the names that a layer has for them.
    pub(crate) fn xattrs(self, form: Form) -> Result<Xattrs, Errno> {
        let mut xattrs = Xattrs::new();
        for name in self.xattr_names()?.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            // Labels and signatures of this host; capabilities belong to the file.
            if name.starts_with(b"security.") && name != b"security.capability" {
                continue;
            }
            let Some(shown) = form.shown(name) else { continue };
            if let Some(value) = self.xattr(name)? {
                xattrs.insert(shown, value);
            }
        }
        Ok(xattrs)
    }
}

/// The kernel's own limit.
const VALUE_BYTES_MAX: usize = 64 << 10;

/// Gives a directory descriptor's or name's attributes, as a layer said them.
pub(crate) fn set_xattrs(
    target: Target<'_>,
    xattrs: &Xattrs,
    form: Form,
    mut lost: impl FnMut(&[u8], Errno) -> Result<(), ApplyFault>,
) -> Result<(), ApplyFault> {
    for (name, value) in xattrs {
        let result = match form.stored(name) {
            Stored::Plain(name) => target.set_xattr(name, value),
            Stored::Escaped(name) => target.set_xattr(&name, value),
            Stored::Reserved => {
                return Err(ApplyFault::ReservedXattr { name: name.clone() });
            }
        };
        if let Err(errno) = result {
            lost(name, errno)?;
        }
    }
    Ok(())
}

/// When it was read and changed, for the call that sets both.
pub(crate) fn timestamps(metadata: &Metadata) -> Timestamps {
    Timestamps {
        last_access: timespec(metadata.accessed.unwrap_or(metadata.modified)),
        last_modification: timespec(metadata.modified),
    }
}

pub(crate) fn timespec(time: Time) -> Timespec {
    Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() }
}

/// The times that a file has.
pub(crate) fn times_of(stat: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: stat.st_atime_nsec as i64 },
        last_modification: modified_of(stat),
    }
}

fn modified_of(stat: &Stat) -> Timespec {
    Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as i64 }
}

/// What a layer says of a file that is on disk.
pub(crate) fn read(
    stat: &Stat,
    target: Target<'_>,
    form: Form,
    owners: &Owners,
) -> Result<Metadata, ApplyFault> {
    let (uid, gid) =
        owners.layer_ids(stat.st_uid, stat.st_gid).map_err(|id| ApplyFault::Owner { id })?;
    let modified = modified_of(stat);
    let xattrs = target.xattrs(form).map_err(ApplyFault::kernel("read extended attributes"))?;
    Ok(Metadata {
        // A link's mode is what the kernel shows of all links.
        mode: (stat.st_mode & 0o7777) as u16,
        uid,
        gid,
        modified: Time { seconds: modified.tv_sec, nanoseconds: modified.tv_nsec as u32 },
        xattrs,
        ..Metadata::default()
    })
}

/// Makes `target` look like another file in all but its content: for copies.
pub(crate) fn copy(
    from: Target<'_>,
    stat: &Stat,
    from_form: Form,
    to: Target<'_>,
    to_form: Form,
) -> Result<(), ApplyFault> {
    to.set_owner(stat.st_uid, stat.st_gid).map_err(ApplyFault::kernel("change owner"))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        let mode = (stat.st_mode & 0o7777) as u16;
        to.set_mode(mode).map_err(ApplyFault::kernel("change mode"))?;
    }
    let xattrs = from.xattrs(from_form).map_err(ApplyFault::kernel("read extended attributes"))?;
    set_xattrs(to, &xattrs, to_form, |name, errno| {
        Err(ApplyFault::Xattr { name: name.to_vec(), errno })
    })?;
    to.set_times(&times_of(stat)).map_err(ApplyFault::kernel("change times"))
}

/// The metadata of a directory that nobody spoke of.
pub(crate) fn implied(modified: Time) -> Metadata {
    Metadata { mode: 0o755, modified, ..Metadata::default() }
}
