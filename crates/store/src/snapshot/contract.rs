//! What every storage driver does.
//!
//! # A snapshot
//!
//! is the file system that a chain of layers adds up to. It is *active* while it may be written, *committed*
//! from then on, and never changes back. A driver knows snapshots by numbers, that nobody gives twice; names,
//! keys, parents and what may be removed are kept by [`Snapshots`](super::Snapshots), which also says
//! in every call what a snapshot stands on: `parents`, the nearest first, all committed.
//!
//! # A life
//!
//! 1. [`prepare`](Snapshotter::prepare) makes an active snapshot on its parents, or on none.
//! 2. Either [`apply`](Snapshotter::apply) unpacks one layer into it, once; or somebody mounts what
//!    [`mounts`](Snapshotter::mounts) describes and writes. Not both.
//! 3. [`diff`](Snapshotter::diff) tells at any time what is otherwise than in the parents. Whoever writes at
//!    the same moment gets some mixture, never a crash.
//! 4. [`commit`](Snapshotter::commit) makes it read-only. The parents may be given as late as here, if it
//!    was prepared on none, a layer was unpacked into it, and the driver [`rebases`](Snapshotter::rebases);
//!    so the layers of an image can be unpacked side by side. Before it returns, everything is on disk.
//! 5. [`release`](Snapshotter::release) gives back what `mounts` made ready, when nothing is mounted any
//!    more; [`remove`](Snapshotter::remove) removes it. Nobody may stand on it then.
//!
//! # Promises
//!
//! - A driver mounts nothing, runs no program, and touches nothing outside of its own directory,
//!   `snapshots/<driver>`; of a snapshot's files it touches nothing outside of their root.
//! - A snapshot whose `apply` or `commit` failed, or was ended by a crash, is fit for nothing but `remove`.
//!   Any other call that fails leaves it as it was.
//! - `release` and `remove` may be done again after a crash in the middle.
//! - Calls on different snapshots may run at the same time. Calls on one are the caller's to put in order.
//! - A committed snapshot shows the same files whichever driver has it: owners, modes, attributes, times to
//!   the nanosecond, hard links, holes, devices.
//!
//! # A worked example
//!
//! Two layers of an image are unpacked side by side, then a container is put on top:
//!
//! ```text
//! prepare(1, [])  apply(1, layer 1)  commit(1, [])
//! prepare(2, [])  apply(2, layer 2)  commit(2, [1])
//! prepare(3, [2, 1])  mounts(3, [2, 1], write)  …  diff(3, [2, 1])  release(3)  remove(3)
//! ```

use std::io::Read;

use super::error::SnapshotError;
use super::mounts::{Mounts, View};
use crate::db::{SnapshotNumber, SnapshotUsage};
use crate::layer::{Applied, ApplyOptions, DiffOptions, DiffSink};

/// A storage driver; the module's text is the contract.
pub trait Snapshotter: Send + Sync {
    /// Its name, as users choose it.
    fn name(&self) -> &'static str;

    /// Whether `commit` may be the first to know the parents of an unpacked layer.
    fn rebases(&self) -> bool;

    /// Begins a writable snapshot on `parents`; nothing is mounted. Fails with `Exists` if the number is
    /// taken, with `NoSizeLimit` if a limit is wanted and cannot be held.
    fn prepare(
        &self,
        number: SnapshotNumber,
        parents: &[SnapshotNumber],
        options: &PrepareOptions,
    ) -> Result<(), SnapshotError>;

    /// Unpacks a layer, read to its very end, into a fresh active snapshot.
    fn apply(
        &self,
        number: SnapshotNumber,
        layer: &mut dyn Read,
        options: &ApplyOptions<'_>,
    ) -> Result<Applied, SnapshotError>;

    /// Makes an active snapshot read-only, and everything in it durable.
    fn commit(
        &self,
        number: SnapshotNumber,
        parents: &[SnapshotNumber],
    ) -> Result<(), SnapshotError>;

    /// What to mount to see it. Fails with `Committed` if it is to be written and cannot be any more.
    fn mounts(
        &self,
        number: SnapshotNumber,
        parents: &[SnapshotNumber],
        view: &View,
    ) -> Result<Mounts, SnapshotError>;

    /// Tells `sink` what is otherwise than in the parents, in the order of a layer.
    fn diff(
        &self,
        number: SnapshotNumber,
        parents: &[SnapshotNumber],
        options: &DiffOptions<'_>,
        sink: &mut dyn DiffSink,
    ) -> Result<(), SnapshotError>;

    /// Tells `sink` all that it shows, as one layer upon nothing.
    fn export(
        &self,
        number: SnapshotNumber,
        parents: &[SnapshotNumber],
        options: &DiffOptions<'_>,
        sink: &mut dyn DiffSink,
    ) -> Result<(), SnapshotError>;

    /// What it takes on disk beyond its parents.
    fn usage(
        &self,
        number: SnapshotNumber,
        parents: &[SnapshotNumber],
    ) -> Result<SnapshotUsage, SnapshotError>;

    /// Gives back what `mounts` made ready: devices, servers; that there is nothing is no error.
    fn release(&self, number: SnapshotNumber) -> Result<(), SnapshotError>;

    /// Removes it with all that it holds; that it is not there is no error.
    fn remove(&self, number: SnapshotNumber) -> Result<(), SnapshotError>;

    /// All snapshots that there is anything of, in order: for recovery.
    fn walk(&self) -> Result<Vec<SnapshotNumber>, SnapshotError>;
}

/// How a snapshot is to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrepareOptions {
    /// Most bytes that it may take beyond its parents.
    pub size_bytes_max: Option<u64>,
}

impl PrepareOptions {
    /// As large as the disk.
    pub const UNLIMITED: Self = Self { size_bytes_max: None };
}
