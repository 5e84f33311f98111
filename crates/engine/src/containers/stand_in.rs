//! A layer below all of an image's: the places that a container's own files are mounted on, for images without them.
//!
//! Made once for all containers. Without it each start would copy the image's `/etc` up and make empty files in
//! it, which cost more than the mounts themselves and would be found by `diff` and `commit`.
//!
//! Invariant: nobody writes to it once it is there; what an image has itself hides it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use dhow_monitor::RootMount;
use dhow_store::Mounts;

use super::task::root_mount;

const DIRECTORIES: [&str; 4] = ["dev", "etc", "proc", "sys"];
const FILES: [&str; 3] = ["etc/hostname", "etc/hosts", "etc/resolv.conf"];

/// Where it is.
#[derive(Debug, Clone)]
pub(crate) struct StandIn(PathBuf);

impl StandIn {
    /// Makes what is missing of it below the data root.
    pub(crate) fn open(data_root: &Path) -> io::Result<Self> {
        let root = data_root.join("stand-in");
        for directory in DIRECTORIES {
            fs::create_dir_all(root.join(directory))?;
        }
        for file in FILES {
            File::options().create(true).append(true).open(root.join(file))?;
        }
        Ok(Self(root))
    }

    /// A container's root upon it, where layers are stacked.
    pub(crate) fn below(&self, mut mounts: Mounts) -> RootMount {
        if let Mounts::Overlay { lowers, .. } = &mut mounts {
            lowers.push(self.0.clone());
        }
        root_mount(mounts)
    }
}
