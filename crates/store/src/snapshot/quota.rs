//! Size limits of a directory tree, where the file system can hold one.
//!
//! A project per snapshot, numbered from [`FIRST`] on so that projects of people's own are met by accident
//! only on file systems with a great many of them.
//! Absent on purpose: ext4, which lets everybody with `CAP_SYS_RESOURCE` pass its limits. Overlay writes with
//! the rights of whoever mounted it, so a container would have no limit at all.

use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::io::Errno;

use super::error::SnapshotError;
use crate::db::SnapshotNumber;

const FIRST: u32 = 1 << 24;
const NEEDS: &str = "xfs, mounted with prjquota";
/// What `statfs` calls xfs.
const XFS: u64 = 0x5846_5342;

/// Limits what is made in `dir` from now on.
pub(super) fn limit(
    dir: BorrowedFd<'_>,
    path: &Path,
    number: SnapshotNumber,
    bytes_max: u64,
    driver: &'static str,
) -> Result<(), SnapshotError> {
    let stat = rustix::fs::fstatfs(dir).map_err(SnapshotError::io("look at", path))?;
    if stat.f_type as u64 != XFS {
        return Err(SnapshotError::NoSizeLimit { driver, needs: NEEDS });
    }
    let project = project(number);
    // The limit first: it says whether there are quotas at all.
    let limited = dhow_sys::limit_project(dir, project, bytes_max)
        .and_then(|()| dhow_sys::set_project(dir, project));
    match limited {
        Ok(()) => Ok(()),
        Err(
            Errno::NOSYS
            | Errno::OPNOTSUPP
            | Errno::NOTTY
            | Errno::INVAL
            | Errno::SRCH
            | Errno::NOENT
            | Errno::PERM,
        ) => Err(SnapshotError::NoSizeLimit { driver, needs: NEEDS }),
        Err(errno) => Err(SnapshotError::io("limit the size of", path)(errno)),
    }
}

/// Takes a limit back, if there is one; a project without files and limits takes no space.
pub(super) fn forget(dir: BorrowedFd<'_>, number: SnapshotNumber) {
    let _ = dhow_sys::limit_project(dir, project(number), 0);
}

fn project(number: SnapshotNumber) -> u32 {
    FIRST | (number.as_i64() as u32 & (FIRST - 1))
}
