//! What the caller of an unpacking decides, and what it hears of it.

use std::sync::atomic::AtomicBool;

use dhow_archive::tar::End;

use crate::layer::owners::Owners;

/// What to do with what this machine or this user cannot make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmakeable {
    /// Refuse the layer.
    Refuse,
    /// Leave it out, and say so in [`Applied::skipped`].
    Skip,
}

/// How a layer is to be unpacked.
#[derive(Clone, Copy, Debug)]
pub struct ApplyOptions<'a> {
    /// Most bytes of data; holes cost nothing.
    pub bytes_max: u64,
    /// Most entries, whatever they are.
    pub entries_max: u64,
    /// Device nodes, where they cannot be made or `devices_allowed` is false.
    pub devices: Unmakeable,
    /// Whether devices may be made at all.
    pub devices_allowed: bool,
    /// Extended attributes that the file system or the user's rights do not allow.
    pub xattrs: Unmakeable,
    /// How owners are moved.
    pub owners: &'a Owners,
    /// Turns true when nobody wants the layer any more.
    pub cancel: Option<&'a AtomicBool>,
}

impl ApplyOptions<'_> {
    /// Everything as the layer says it, or not at all, and without limits: for layers of our own.
    pub const EXACT: Self = Self {
        bytes_max: u64::MAX,
        entries_max: u64::MAX,
        devices: Unmakeable::Refuse,
        devices_allowed: true,
        xattrs: Unmakeable::Refuse,
        owners: &Owners::SAME,
        cancel: None,
    };
}

/// What an unpacked layer was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// How many entries it had.
    pub entries: u64,
    /// How many bytes of data.
    pub bytes: u64,
    /// How many devices and attributes were left out.
    pub skipped: u64,
    /// How the archive ended.
    pub end: End,
}
