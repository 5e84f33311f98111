//! What volumes hold: taken out and put in as archives, copied as they are at one moment, called otherwise.
//!
//! Invariant: a snapshot is of one moment: the containers that have the volume are frozen while it is copied, which
//! takes no time to speak of where the file system shares blocks of files. One that fails leaves no volume.
//! Absent on purpose: volumes that stand for a path of the host, where it is not ours to copy or rename.

use std::io::{Read, Write};
use std::sync::Arc;

use dhow_store::{LiveRoot, UnpackOptions};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use super::{Engine, Shared};
use crate::containers::state::State;
use crate::containers::table::Entry;
use crate::error::Error;
use crate::plan::MountKind;
use crate::volumes::{ANONYMOUS, NewVolume, Volume};

impl Engine {
    /// Begins to send what a volume holds as an archive; gives the volume before all of it is there.
    pub async fn volume_export(
        &self,
        name: &str,
        sink: impl Write + Send + 'static,
    ) -> Result<Volume, Error> {
        let (shared, name) = (self.shared.clone(), name.to_owned());
        let (tell, hear) = oneshot::channel();
        let work = move || {
            let opened = shared.volumes.inspect(&name).map_err(Error::from);
            let opened = opened.and_then(|volume| {
                let root = shared.open_volume(&volume)?;
                Ok((volume, root))
            });
            match opened {
                Err(error) => drop(tell.send(Err(error))),
                Ok((volume, root)) => {
                    if tell.send(Ok(volume.clone())).is_ok() {
                        // Whoever reads sees that the archive has no end.
                        let _ = root.pack("/.", sink).map(|mut sink| sink.flush());
                    }
                    // One that stays mounted is unmounted with its next container.
                    let _ = shared.close_volume(&volume);
                }
            }
        };
        let thread = std::thread::Builder::new().name("volume-export".to_owned()).spawn(work);
        thread.map_err(|error| Error::io("start", "a thread", error))?;
        hear.await.map_err(|_| Error::Closing)?
    }

    /// Unpacks an archive into a volume, which is made if it is not there.
    pub async fn volume_import(
        &self,
        name: &str,
        source: impl Read + Send + 'static,
    ) -> Result<Volume, Error> {
        let new = NewVolume { name: name.to_owned(), ..NewVolume::default() };
        let volume = self.volume_create(new).await?;
        let (shared, target) = (self.shared.clone(), volume.clone());
        spawn_blocking(move || {
            let root = shared.open_volume(&target)?;
            let unpacked = root.unpack("/", source, UnpackOptions::default());
            let closed = shared.close_volume(&target);
            unpacked.map_err(|error| Error::Invalid { message: error.to_string() })?;
            closed
        })
        .await??;
        Ok(volume)
    }

    /// Makes a new volume of what another one holds now. With `freeze`, nobody writes meanwhile.
    pub async fn volume_snapshot(
        &self,
        name: &str,
        as_name: &str,
        freeze: bool,
    ) -> Result<Volume, Error> {
        let source = self.volume_inspect(name).await?;
        let mut labels = source.labels.clone();
        // Somebody who names a copy wants it to stay.
        labels.remove(ANONYMOUS);
        let new = NewVolume { name: as_name.to_owned(), labels, ..NewVolume::default() };
        if !as_name.is_empty() && self.volume_inspect(as_name).await.is_ok() {
            let message = format!("a volume named {as_name} already exists");
            return Err(Error::Conflict { message });
        }
        let volume = self.volume_create(new).await?;
        let frozen = if freeze { self.freeze_users(name).await } else { Vec::new() };
        let (shared, target) = (self.shared.clone(), volume.clone());
        let copied = spawn_blocking(move || {
            shared.volumes.mount(&source)?;
            let copied = shared.volumes.copy_all(&source, &target);
            shared.close_volume(&source)?;
            copied.map_err(Error::from)
        });
        let copied = copied.await.map_err(Error::from).and_then(|copied| copied);
        for entry in frozen {
            // One that has ended meanwhile is thawed for good.
            let _ = entry.call(|task| Box::pin(task.unpause())).await;
        }
        if let Err(error) = copied {
            self.volume_remove(&volume.name, true).await?;
            return Err(error);
        }
        Ok(volume)
    }

    /// Calls a volume otherwise; no container may have it, for theirs know it by its name.
    pub async fn volume_rename(&self, name: &str, to: &str) -> Result<Volume, Error> {
        let (shared, name, to) = (self.shared.clone(), name.to_owned(), to.to_owned());
        let renamed =
            spawn_blocking(move || shared.volumes.rename(&name, &to, &shared.volume_users(None)));
        let volume = renamed.await??;
        self.shared.hub.publish(super::volumes::happened("rename", &volume)).await?;
        Ok(volume)
    }

    /// Freezes the containers that run with a volume; gives those that were not frozen already.
    async fn freeze_users(&self, name: &str) -> Vec<Entry> {
        let mut frozen = Vec::new();
        for entry in self.shared.table.all() {
            let view = entry.view();
            let has = view
                .document
                .points
                .iter()
                .any(|point| point.kind == MountKind::Volume && point.name == name);
            let runs = matches!(view.standing.state, State::Running(_));
            if has && runs && entry.call(|task| Box::pin(task.pause())).await.is_ok() {
                frozen.push(entry);
            }
        }
        frozen
    }
}

impl Shared {
    /// A volume's directory, with what is mounted there.
    fn open_volume(self: &Arc<Self>, volume: &Volume) -> Result<LiveRoot, Error> {
        self.volumes.mount(volume)?;
        Ok(LiveRoot::new(self.volumes.open_directory(volume)?))
    }

    /// Unmounts what was mounted only to look into it.
    fn close_volume(&self, volume: &Volume) -> Result<(), Error> {
        let is_used = self.table.all().iter().any(|entry| {
            let view = entry.view();
            let mut points = view.document.points.iter();
            view.standing.state.is_active()
                && points.any(|point| point.kind == MountKind::Volume && point.name == volume.name)
        });
        if !is_used {
            self.volumes.unmount(volume)?;
        }
        Ok(())
    }
}
