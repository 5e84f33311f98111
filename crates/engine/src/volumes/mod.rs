//! Volumes: directories that outlive containers.
//!
//! A volume is a record and a directory `volumes/<name>/_data` below the data root. Making one records it
//! first, removing one sets the directory aside first; opening finishes what was interrupted.
//! Invariant: a volume that containers have is not removed; a volume that has anything in it is never
//! written to by us; copying never leaves the image's root or the volume.
//! Absent on purpose: who uses a volume, which whoever asks must say; drivers of others.

mod error;
mod mounting;
mod record;
mod select;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dhow_store::{CopiedUp, Db, Mounts, RootView};
use rustix::fs::{Mode, OFlags};
use rustix::rand::GetRandomFlags;

use crate::request::check_volume_name;
use mounting::Mounting;
pub(crate) use record::ANONYMOUS;
use record::LOCAL;

pub use error::VolumeError;
pub use record::Volume;
pub use select::{Pruned, VolumeUsers};

/// Begins the names of directories that are being removed; no volume can be called so.
const REMOVED: &str = ".removed-";

/// All volumes of an engine.
pub struct Volumes {
    directory: PathBuf,
    db: Db,
    /// Making and removing look before they act.
    turn: Mutex<()>,
}

/// A volume to be made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewVolume {
    /// What it is to be called; a name is made up where empty.
    pub name: String,
    /// Its driver; `local` where empty.
    pub driver: String,
    /// The driver's options.
    pub options: BTreeMap<String, String>,
    /// Free notes.
    pub labels: BTreeMap<String, String>,
    /// When, in milliseconds since 1970.
    pub created_ms: i64,
}

impl Volumes {
    /// Opens the volumes below a data root, and finishes what was interrupted.
    pub fn open(data_root: &Path, db: Db) -> Result<Self, VolumeError> {
        let directory = data_root.join("volumes");
        make_directory(&directory, 0o701)?;
        let volumes = Self { directory, db, turn: Mutex::new(()) };
        volumes.recover()?;
        Ok(volumes)
    }

    /// Makes a volume, or gives the one that has the name; says whether it is new.
    pub fn create(&self, new: NewVolume) -> Result<(Volume, bool), VolumeError> {
        let NewVolume { mut name, driver, options, mut labels, created_ms } = new;
        if !matches!(driver.as_str(), "" | LOCAL) {
            return Err(VolumeError::Driver { driver });
        }
        if name.is_empty() {
            name = made_up_name();
            labels.entry(ANONYMOUS.to_owned()).or_default();
        }
        check_volume_name(&name).map_err(VolumeError::Name)?;
        check_options(&name, &options)?;
        let _turn = self.turn();
        if let Some(volume) = self.find(&name)? {
            return Ok((volume, false));
        }
        let own = self.directory.join(&name).join("_data");
        let mountpoint = Volume::device(&options).map_or(own, Path::to_owned);
        let volume = Volume { name, mountpoint, created_ms, labels, options };
        self.db.insert_volume(volume.row())?;
        if let Err(error) = self.make(&volume) {
            self.db.remove_volume(&volume.name)?;
            return Err(error);
        }
        Ok((volume, true))
    }

    /// The volume of a name.
    pub fn inspect(&self, name: &str) -> Result<Volume, VolumeError> {
        self.find(name)?.ok_or_else(|| VolumeError::NotFound { name: name.to_owned() })
    }

    /// Removes a volume that no container has; with `force`, one that is not there is no error.
    pub fn remove(
        &self,
        name: &str,
        users: &VolumeUsers,
        force: bool,
    ) -> Result<Option<Volume>, VolumeError> {
        let _turn = self.turn();
        let Some(volume) = self.find(name)? else {
            return match force {
                true => Ok(None),
                false => Err(VolumeError::NotFound { name: name.to_owned() }),
            };
        };
        let by = users.of(name).to_vec();
        if !by.is_empty() {
            return Err(VolumeError::InUse { name: name.to_owned(), by });
        }
        self.forget(&volume)?;
        Ok(Some(volume))
    }

    /// Calls a volume otherwise. A crash on the way leaves both names, and the files under one of them.
    pub fn rename(&self, name: &str, to: &str, users: &VolumeUsers) -> Result<Volume, VolumeError> {
        check_volume_name(to).map_err(VolumeError::Name)?;
        let _turn = self.turn();
        let not_found = || VolumeError::NotFound { name: name.to_owned() };
        let old = self.find(name)?.ok_or_else(not_found)?;
        let by = users.of(name).to_vec();
        if !by.is_empty() {
            return Err(VolumeError::InUse { name: name.to_owned(), by });
        }
        if self.find(to)?.is_some() {
            return Err(VolumeError::Exists { name: to.to_owned() });
        }
        let stands_elsewhere = Volume::device(&old.options).is_some();
        let own = self.directory.join(to).join("_data");
        let mountpoint = if stands_elsewhere { old.mountpoint.clone() } else { own };
        let new = Volume { name: to.to_owned(), mountpoint, ..old.clone() };
        self.db.insert_volume(new.row())?;
        if !stands_elsewhere {
            let (from, into) = (self.directory.join(name), self.directory.join(to));
            if let Err(error) = fs::rename(&from, &into) {
                self.db.remove_volume(to)?;
                return Err(VolumeError::io("rename", &from, error));
            }
        }
        self.db.remove_volume(name)?;
        Ok(new)
    }

    /// Copies all that a volume holds into another, which is empty; blocks are shared where the file system can.
    pub fn copy_all(&self, from: &Volume, to: &Volume) -> Result<(), VolumeError> {
        let fault = |error| VolumeError::Copy { name: to.name.clone(), error };
        let source = from.mountpoint.clone();
        let mounts = Mounts::Bind { source, readonly: true, idmap: None };
        let view = RootView::open(&mounts).map_err(fault)?;
        view.copy_directory("/", self.open_directory(to)?).map(drop).map_err(fault)
    }

    /// The directory of its files.
    pub fn open_directory(&self, volume: &Volume) -> Result<OwnedFd, VolumeError> {
        let path = &volume.mountpoint;
        open_directory(path).map_err(|error| VolumeError::io("open", path, error))
    }

    /// Gives a volume that is empty what the container's root has at `destination`.
    ///
    /// One that has anything in it stays as it is, whoever put it there.
    pub fn copy_up(
        &self,
        volume: &Volume,
        root: &RootView,
        destination: &str,
    ) -> Result<(), VolumeError> {
        let path = &volume.mountpoint;
        let fault = |error| VolumeError::io("look into", path, error);
        // Two containers that start at once must not both find it empty.
        let _turn = self.turn();
        if fs::read_dir(path).map_err(fault)?.next().is_some() {
            return Ok(());
        }
        let copied = root.copy_directory(destination, open_directory(path).map_err(fault)?);
        let name = volume.name.clone();
        match copied {
            Ok(CopiedUp::Whole | CopiedUp::Nothing) => Ok(()),
            Ok(CopiedUp::NoDirectory) => {
                Err(VolumeError::OverFile { destination: destination.to_owned() })
            }
            Err(error) => {
                // Half of it would look like a volume in use at the next start.
                empty(path).map_err(|error| VolumeError::io("empty", path, error))?;
                Err(VolumeError::Copy { name, error })
            }
        }
    }

    /// Makes a volume that is a file system of its own ready for a container's start.
    pub fn mount(&self, volume: &Volume) -> Result<(), VolumeError> {
        let Some(mounting) = Mounting::of(&volume.options) else { return Ok(()) };
        let _turn = self.turn();
        mounting.mount(&volume.mountpoint)
    }

    /// Takes such a volume's mount away; the caller knows that no container that runs has it.
    pub fn unmount(&self, volume: &Volume) -> Result<(), VolumeError> {
        if Mounting::of(&volume.options).is_none() {
            return Ok(());
        }
        let _turn = self.turn();
        mounting::unmount(&volume.mountpoint)
    }

    /// Bytes on disk; none for a volume that stands for a path of the host.
    pub fn size_bytes(&self, volume: &Volume) -> u64 {
        match Volume::device(&volume.options) {
            Some(_) => 0,
            None => select::usage(&volume.mountpoint),
        }
    }

    fn all(&self) -> Result<Vec<Volume>, VolumeError> {
        let rows = self.db.volumes()?;
        rows.into_iter().map(|row| Volume::read(row, &self.directory)).collect()
    }

    fn find(&self, name: &str) -> Result<Option<Volume>, VolumeError> {
        // The list is short and sorted in the database's own memory; a statement of its own would be
        // one more thing to keep.
        let row = self.db.volumes()?.into_iter().find(|row| row.name == name);
        row.map(|row| Volume::read(row, &self.directory)).transpose()
    }

    fn make(&self, volume: &Volume) -> Result<(), VolumeError> {
        if let Some(device) = Volume::device(&volume.options) {
            let found = fs::metadata(device).map(drop);
            return found.map_err(|error| VolumeError::io("look up", device, error));
        }
        make_directory(&self.directory.join(&volume.name), 0o701)?;
        make_directory(&volume.mountpoint, 0o755)
    }

    fn forget(&self, volume: &Volume) -> Result<(), VolumeError> {
        if Mounting::of(&volume.options).is_some() {
            mounting::unmount(&volume.mountpoint)?;
        }
        let own = self.directory.join(&volume.name);
        let aside = self.directory.join(format!("{REMOVED}{}", volume.name));
        let fault = |doing, error| VolumeError::io(doing, &own, error);
        match fs::rename(&own, &aside) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(fault("set aside", error)),
        }
        self.db.remove_volume(&volume.name)?;
        remove_all(&aside).map_err(|error| fault("remove", error))
    }

    /// Finishes removals, and makes directories whose records are there.
    fn recover(&self) -> Result<(), VolumeError> {
        let fault = |error| VolumeError::io("list", &self.directory, error);
        for entry in fs::read_dir(&self.directory).map_err(fault)? {
            let entry = entry.map_err(fault)?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if let Some(volume) = name.strip_prefix(REMOVED) {
                // Where the directory is there again, the name belongs to another volume by now.
                if !self.directory.join(volume).exists() {
                    self.db.remove_volume(volume)?;
                }
                let path = entry.path();
                remove_all(&path).map_err(|error| VolumeError::io("remove", &path, error))?;
            }
        }
        for volume in self.all()? {
            if Volume::device(&volume.options).is_none() {
                self.make(&volume)?;
            }
        }
        Ok(())
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the driver knows, and what belongs together.
fn check_options(name: &str, options: &BTreeMap<String, String>) -> Result<(), VolumeError> {
    let value = |option: &str| options.get(option).map_or("", String::as_str);
    let known = ["type", "o", "device", "size"];
    if let Some(option) = options.keys().find(|option| !known.contains(&option.as_str())) {
        return Err(VolumeError::Option { name: name.to_owned(), option: option.clone() });
    }
    if !value("size").is_empty() {
        return Err(VolumeError::Unsupported { what: "the option size".to_owned() });
    }
    let missing = |option| Err(VolumeError::Missing { name: name.to_owned(), option });
    match (value("type"), value("o"), value("device")) {
        ("", "", "") => Ok(()),
        ("none" | "bind" | "", "bind" | "rbind", device) if device.starts_with('/') => Ok(()),
        (_, _, "") => missing("device"),
        ("", ..) => missing("type"),
        (kind, o, _) if Mounting::of(options).is_none() => {
            Err(VolumeError::Unsupported { what: format!("the options type={kind}, o={o}") })
        }
        _ => Ok(()),
    }
}

/// 64 hexadecimal digits, as everybody's who makes names up.
pub(crate) fn made_up_name() -> String {
    let mut bytes = [0; 32];
    let mut filled = 0;
    while filled < bytes.len() {
        // Up to 256 bytes come whole once the machine has been up for a moment.
        filled += rustix::rand::getrandom(&mut bytes[filled..], GetRandomFlags::empty())
            .unwrap_or_default();
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn make_directory(path: &Path, mode: u32) -> Result<(), VolumeError> {
    match fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(VolumeError::io("make", path, error)),
    }
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

fn remove_all(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn empty(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
