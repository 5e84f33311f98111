//! Volumes: made with containers, filled before the first start, and what is asked of them by name.
//!
//! Invariant: a volume belongs to every container that is on record with it, whether that runs or not.

use std::collections::BTreeMap;

use dhow_store::RootView;
use tokio::task::spawn_blocking;

use super::{Engine, Shared};
use crate::error::Error;
use crate::events::{Event, EventKind, Happened};
use crate::filters::Filters;
use crate::plan::{MountKind, MountPoint};
use crate::volumes::{ANONYMOUS, NewVolume, Pruned, Volume, VolumeUsers};

impl Shared {
    /// Makes the volumes that a container's mount points name and that are not there; says where they are.
    pub(crate) fn make_volumes(&self, points: &mut [MountPoint]) -> Result<(), Error> {
        for point in points.iter_mut().filter(|point| point.kind == MountKind::Volume) {
            let mut labels = point.labels.clone();
            if point.anonymous {
                labels.entry(ANONYMOUS.to_owned()).or_default();
            }
            let (volume, _) = self.volumes.create(NewVolume {
                name: point.name.clone(),
                driver: point.driver.name.clone(),
                options: point.driver.options.clone(),
                labels,
                created_ms: self.store.now_ms(),
            })?;
            point.source = volume.mountpoint.display().to_string();
        }
        Ok(())
    }

    /// Mounts volumes that are file systems of their own; gives those that are empty what the image has in
    /// their places.
    pub(crate) fn fill_volumes(&self, points: &[MountPoint], root: &RootView) -> Result<(), Error> {
        let is_copied = |point: &&MountPoint| point.kind == MountKind::Volume && point.copy_up;
        for point in points.iter().filter(|point| point.kind == MountKind::Volume) {
            self.volumes.mount(&self.volumes.inspect(&point.name)?)?;
        }
        for point in points.iter().filter(is_copied) {
            let volume = self.volumes.inspect(&point.name)?;
            self.volumes.copy_up(&volume, root, &point.destination)?;
        }
        Ok(())
    }

    /// Removes volumes that nobody named, with the container that they were made for. One that others have
    /// taken as well stays.
    pub(crate) fn remove_anonymous(&self, id: &str, points: &[MountPoint]) -> Result<(), Error> {
        let users = self.volume_users(Some(id));
        for point in points.iter().filter(|point| point.anonymous) {
            if users.of(&point.name).is_empty() {
                self.volumes.remove(&point.name, &users, true)?;
            }
        }
        Ok(())
    }

    /// Unmounts the volumes of a container that has ended, but for those that others are using.
    pub(crate) fn unmount_volumes(&self, id: &str, points: &[MountPoint]) -> Result<(), Error> {
        let others = self.table.all().into_iter().filter(|entry| *entry.id != *id);
        let others = others.map(|entry| entry.view());
        let others: Vec<_> = others.filter(|view| view.standing.state.is_active()).collect();
        let has = |points: &[MountPoint], name: &str| {
            points.iter().any(|point| point.kind == MountKind::Volume && point.name == name)
        };
        for point in points.iter().filter(|point| point.kind == MountKind::Volume) {
            if !others.iter().any(|view| has(&view.document.points, &point.name)) {
                self.volumes.unmount(&self.volumes.inspect(&point.name)?)?;
            }
        }
        Ok(())
    }

    /// Which containers have which volumes, but for one that is on its way out.
    pub(super) fn volume_users(&self, without: Option<&str>) -> VolumeUsers {
        let mut users = VolumeUsers::default();
        for entry in self.table.all().iter().filter(|entry| without != Some(&*entry.id)) {
            for point in &entry.view().document.points {
                if point.kind == MountKind::Volume {
                    users.add(&point.name, &entry.id);
                }
            }
        }
        users
    }
}

impl Engine {
    /// Makes a volume, or gives the one that has the name.
    pub async fn volume_create(&self, new: NewVolume) -> Result<Volume, Error> {
        let shared = self.shared.clone();
        let new = NewVolume { created_ms: shared.store.now_ms(), ..new };
        let made = spawn_blocking(move || shared.volumes.create(new)).await?;
        let (volume, is_new) = made?;
        if is_new {
            self.shared.hub.publish(happened("create", &volume)).await?;
        }
        Ok(volume)
    }

    /// The volume of a name.
    pub async fn volume_inspect(&self, name: &str) -> Result<Volume, Error> {
        let (shared, name) = (self.shared.clone(), name.to_owned());
        Ok(spawn_blocking(move || shared.volumes.inspect(&name)).await??)
    }

    /// Volumes, in the order of their names.
    pub async fn volumes(&self, filters: Filters) -> Result<Vec<Volume>, Error> {
        let shared = self.shared.clone();
        spawn_blocking(move || shared.volumes.list(&filters, &shared.volume_users(None))).await?
    }

    /// What volumes take: each with its bytes on disk and the number of containers that have it.
    pub async fn volumes_usage(&self) -> Result<Vec<(Volume, u64, usize)>, Error> {
        let shared = self.shared.clone();
        spawn_blocking(move || {
            let users = shared.volume_users(None);
            let volumes = shared.volumes.list(&Filters::default(), &users)?.into_iter();
            let taken = volumes.map(|volume| {
                let (bytes, count) =
                    (shared.volumes.size_bytes(&volume), users.of(&volume.name).len());
                (volume, bytes, count)
            });
            Ok(taken.collect())
        })
        .await?
    }

    /// Removes a volume that no container has.
    pub async fn volume_remove(&self, name: &str, force: bool) -> Result<(), Error> {
        let (shared, name) = (self.shared.clone(), name.to_owned());
        let removed =
            spawn_blocking(move || shared.volumes.remove(&name, &shared.volume_users(None), force));
        match removed.await?? {
            Some(volume) => self.shared.hub.publish(happened("destroy", &volume)).await,
            None => Ok(()),
        }
    }

    /// Removes the volumes that no container has.
    pub async fn volumes_prune(&self, filters: Filters) -> Result<Pruned, Error> {
        let shared = self.shared.clone();
        let pruned =
            spawn_blocking(move || shared.volumes.prune(&filters, &shared.volume_users(None)));
        let pruned = pruned.await??;
        for volume in &pruned.volumes {
            self.shared.hub.publish(happened("destroy", volume)).await?;
        }
        Ok(pruned)
    }
}

pub(super) fn happened(action: &str, volume: &Volume) -> Happened {
    Happened::one(Event {
        kind: EventKind::Volume,
        action: action.to_owned(),
        id: volume.name.clone(),
        attributes: BTreeMap::from([("driver".to_owned(), volume.driver().to_owned())]),
        time_ns: crate::clock::now_ns(),
    })
}
