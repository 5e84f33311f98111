//! Looking up what a request names on the host: devices, sources of binds, paths below volumes.
//!
//! Invariant: only what is named is looked at, and nothing is made but missing directories that are to be
//! sources of binds.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use dhow_spec::runtime::{Device, DeviceKind, Propagation};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::error::PlanError;
use super::facts::Found;
use super::mount_point::{MountKind, MountPoint};
use crate::request::{CreateRequest, MountFault, RequestError};

/// What is no device of the host's, though it lies below `/dev`.
const NOT_DEVICES: &[&str] = &["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"];

/// Finds what a container's request names on the host, and makes missing sources that are to be made.
pub fn look_up(request: &CreateRequest, points: &[MountPoint]) -> Result<Found, PlanError> {
    let mut found = Found::default();
    let own = &request.host;
    for asked in &own.resources.devices {
        let devices = devices(&asked.host_path)?;
        found.devices.insert(asked.host_path.clone(), devices);
    }
    if own.privileged {
        walk(Path::new("/dev"), &mut found.all_devices);
        // Runtimes make a console of their own.
        found.all_devices.retain(|device| device.path != "/dev/console");
    }
    let limits = &own.resources;
    let rates = [
        &limits.blkio_read_bps,
        &limits.blkio_write_bps,
        &limits.blkio_read_iops,
        &limits.blkio_write_iops,
    ];
    let rates = rates.into_iter().flatten().map(|rate| &rate.path);
    for path in rates.chain(limits.blkio_weight_device.iter().map(|weight| &weight.path)) {
        let device = device(Path::new(path), path)?;
        found.numbers.insert(path.clone(), (device.major, device.minor));
    }
    for point in points {
        look_at(point, &mut found)?;
    }
    Ok(found)
}

/// Whether the sources are there that will not be made; asked when a container is created.
pub fn check_sources(points: &[MountPoint]) -> Result<(), PlanError> {
    let fixed = points.iter().filter(|point| point.kind == MountKind::Bind && !point.create);
    for point in fixed {
        source(point)?;
    }
    Ok(())
}

fn look_at(point: &MountPoint, found: &mut Found) -> Result<(), PlanError> {
    if point.kind == MountKind::Bind {
        source(point)?;
        let private = [None, Some(Propagation::Private), Some(Propagation::RecursivePrivate)];
        if !private.contains(&point.propagation) {
            let mount = mount_of(&point.source)
                .map_err(|error| path_error("look up", &point.source, error))?;
            found.mounts.insert(point.source.clone(), mount);
        }
    }
    if point.kind == MountKind::Volume && !point.subpath.is_empty() {
        let path = below(Path::new(&point.source), &point.subpath)?;
        found.subpaths.insert(point.destination.clone(), path);
    }
    Ok(())
}

/// Sees to it that the source of a bind is there.
fn source(point: &MountPoint) -> Result<(), PlanError> {
    let path = point.source.as_str();
    match rustix::fs::stat(path) {
        Ok(_) => Ok(()),
        Err(Errno::NOENT) if point.create => fs::create_dir_all(path)
            .map_err(|error| path_error("create the source of a bind,", path, errno(&error))),
        Err(Errno::NOENT | Errno::NOTDIR) => Err(PlanError::Request(RequestError::Mount {
            kind: "bind".to_owned(),
            fault: MountFault::SourceAbsent { path: path.to_owned() },
        })),
        Err(error) => Err(path_error("look up", path, error)),
    }
}

/// Where a path below a volume really is: never out of the volume, whatever links are on the way.
fn below(volume: &Path, subpath: &str) -> Result<PathBuf, PlanError> {
    let shown = || format!("{}/{subpath}", volume.display());
    let fault = |error| path_error("look up", &shown(), error);
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let directory = rustix::fs::open(volume, flags | OFlags::DIRECTORY, Mode::empty());
    let directory = directory.map_err(fault)?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let found = rustix::fs::openat2(&directory, subpath, flags, Mode::empty(), resolve);
    let found = found.map_err(fault)?;
    fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd()))
        .map_err(|error| fault(errno(&error)))
}

/// The device at a path, or all below it.
fn devices(path: &str) -> Result<Vec<Device>, PlanError> {
    let real = fs::canonicalize(path)
        .map_err(|error| PlanError::Device { path: path.to_owned(), error: Some(errno(&error)) })?;
    if !real.is_dir() {
        return Ok(vec![device(&real, path)?]);
    }
    let mut all = Vec::new();
    walk(&real, &mut all);
    for device in &mut all {
        // Named as they were asked for, even where that was a link.
        let rest = device.path.strip_prefix(&*real.to_string_lossy()).unwrap_or_default();
        device.path = format!("{}{rest}", path.trim_end_matches('/'));
    }
    Ok(all)
}

fn device(real: &Path, called: &str) -> Result<Device, PlanError> {
    let fault = |error| PlanError::Device { path: called.to_owned(), error };
    let metadata = fs::metadata(real).map_err(|error| fault(Some(errno(&error))))?;
    of_metadata(&metadata, called.to_owned()).ok_or_else(|| fault(None))
}

fn of_metadata(metadata: &fs::Metadata, path: String) -> Option<Device> {
    let kind = metadata.file_type();
    let kind = match () {
        () if kind.is_char_device() => DeviceKind::Char,
        () if kind.is_block_device() => DeviceKind::Block,
        () => return None,
    };
    let number = metadata.rdev();
    Some(Device {
        path,
        kind,
        major: rustix::fs::major(number).into(),
        minor: rustix::fs::minor(number).into(),
        file_mode: Some(metadata.mode() & 0o7777),
        uid: Some(metadata.uid()),
        gid: Some(metadata.gid()),
    })
}

/// All devices below a directory, in the order of their names; links and what went away are skipped.
fn walk(directory: &Path, found: &mut Vec<Device>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if metadata.is_dir() {
            if !NOT_DEVICES.contains(&name.as_str()) {
                walk(&path, found);
            }
        } else if let Some(text) = path.to_str() {
            found.extend(of_metadata(&metadata, text.to_owned()));
        }
    }
}

/// The mount that a path lies on, and whether that one spreads or is spread to.
fn mount_of(path: &str) -> Result<(String, Propagation), Errno> {
    let real = fs::canonicalize(path).map_err(|error| errno(&error))?;
    let table = fs::read_to_string("/proc/self/mountinfo").map_err(|error| errno(&error))?;
    Ok(nearest(&table, &real))
}

fn nearest(table: &str, path: &Path) -> (String, Propagation) {
    let mut best = ("/".to_owned(), Propagation::Private);
    for line in table.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let Some(point) = fields.get(4).map(|point| unescape(point)) else { continue };
        // Of several on one place, the last covers the others.
        if !path.starts_with(&point) || point.len() < best.0.len() {
            continue;
        }
        let tags = fields.iter().skip(6).take_while(|field| **field != "-");
        let tag = |word: &str| tags.clone().any(|tag| tag.starts_with(word));
        let spreads = match () {
            () if tag("shared:") => Propagation::Shared,
            () if tag("master:") => Propagation::Slave,
            () => Propagation::Private,
        };
        best = (point, spreads);
    }
    best
}

/// The kernel writes blanks and backslashes as three octal digits.
fn unescape(text: &str) -> String {
    ["\\040", "\\011", "\\012", "\\134"]
        .iter()
        .zip([" ", "\t", "\n", "\\"])
        .fold(text.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain))
}

fn path_error(doing: &'static str, path: &str, error: Errno) -> PlanError {
    PlanError::Path { doing, path: path.to_owned(), error }
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_decides() {
        let table = "1 0 8:1 / / rw - ext4 /dev/sda rw\n\
            2 1 8:2 / /data rw shared:5 - ext4 /dev/sdb rw\n\
            3 2 8:3 / /data/my\\040disk rw master:5 - ext4 /dev/sdc rw\n";
        let nearest = |path: &str| nearest(table, Path::new(path));
        assert_eq!(nearest("/etc"), ("/".to_owned(), Propagation::Private));
        assert_eq!(nearest("/data/x"), ("/data".to_owned(), Propagation::Shared));
        assert_eq!(nearest("/database"), ("/".to_owned(), Propagation::Private));
        assert_eq!(nearest("/data/my disk"), ("/data/my disk".to_owned(), Propagation::Slave));
    }

    #[test]
    fn devices_are_found_and_refused() {
        let null = devices("/dev/null").expect("a device");
        assert_eq!((null[0].major, null[0].minor, null[0].path.as_str()), (1, 3, "/dev/null"));
        let refusal = |path: &str| devices(path).expect_err(path).to_string();
        assert_eq!(
            refusal("/dev/nothing"),
            "error gathering device information while adding custom device \"/dev/nothing\": no such file or directory"
        );
        assert!(refusal("/proc/self/status").ends_with("not a device node"));
    }

    #[test]
    fn paths_below_volumes_stay_there() {
        let volume = crate::plan::tests::scratch("look");
        std::fs::create_dir_all(volume.path().join("a/b")).expect("a directory");
        std::os::unix::fs::symlink("/etc", volume.path().join("out")).expect("a link");
        std::os::unix::fs::symlink("a", volume.path().join("in")).expect("a link");
        let found = below(volume.path(), "in/b").expect("a path");
        assert!(found.ends_with("a/b"), "{found:?}");
        assert!(below(volume.path(), "out").is_err());
        assert!(below(volume.path(), "none").is_err());
    }
}
