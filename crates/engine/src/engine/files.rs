//! Files of containers: copied out and in, compared with the image, taken out as a whole.
//!
//! Invariant: what streams to or from a client runs in a thread of its own; nothing that a listing needs waits
//! for it. A container that does not run is written to by its task's leave, so that it cannot be started meanwhile.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::sync::Arc;

use dhow_archive::layer::{Change, Node};
use dhow_store::{
    ChangeKind, DiffError, DiffOptions, DiffSink, FilesError, LayerWriter, LiveRoot, PathStat,
    RootView, UnpackOptions,
};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use super::{Engine, Shared};
use crate::containers::document::{Places, snapshot_key};
use crate::containers::root::{Access, Origin};
use crate::containers::table::View;
use crate::containers::task::Task;
use crate::error::Error;
use crate::plan::resolve_user_in;

/// How an archive goes into a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UnpackRequest {
    /// Nothing takes a directory's place, and no directory takes another's.
    pub keep_kinds: bool,
    /// Everything becomes the container's user's.
    pub as_user: bool,
}

impl Engine {
    /// What stands at a path of a container.
    pub async fn path_stat(&self, query: &str, path: &str) -> Result<PathStat, Error> {
        let (view, shared) = (self.find(query)?.view(), self.shared.clone());
        let (container, path) = (query.to_owned(), path.to_owned());
        in_thread(move || {
            let root = open(&shared, &view, Access::Read)?;
            root.stat(&path).map_err(|error| files_error(error, &container))
        })
        .await
    }

    /// Sends what stands at a path of a container as an archive, and says what it is before all of it is there.
    pub async fn path_pack(
        &self,
        query: &str,
        path: &str,
        sink: impl Write + Send + 'static,
    ) -> Result<PathStat, Error> {
        let entry = self.find(query)?;
        let (view, shared) = (entry.view(), self.shared.clone());
        let (container, path) = (query.to_owned(), path.to_owned());
        let (tell, hear) = oneshot::channel();
        let begin = move || -> Result<_, Error> {
            let root = open(&shared, &view, Access::Read)?;
            let found = root.stat(&path).map_err(|error| files_error(error, &container))?;
            Ok((root, path, found))
        };
        spawn(move || match begin() {
            Err(error) => drop(tell.send(Err(error))),
            Ok((root, path, found)) => {
                if tell.send(Ok(found)).is_ok() {
                    // Whoever reads sees that the archive has no end.
                    let _ = root.pack(&path, sink).map(|mut sink| sink.flush());
                }
            }
        })?;
        let found = hear.await.map_err(|_| Error::Closing)??;
        self.note(query, "archive-path").await?;
        Ok(found)
    }

    /// Unpacks an archive into a directory of a container.
    pub async fn path_unpack(
        &self,
        query: &str,
        path: &str,
        request: UnpackRequest,
        source: impl Read + Send + 'static,
    ) -> Result<(), Error> {
        let entry = self.find(query)?;
        let (container, path) = (query.to_owned(), path.to_owned());
        let unpack = move |shared: &Arc<Shared>, view: &View| {
            let root = open(shared, view, Access::Write)?;
            unpack(view, &root, &path, request, source)
                .map_err(|error| error.of_container(&container))
        };
        if entry.view().standing.state.run().is_some() {
            let (view, shared) = (entry.view(), self.shared.clone());
            in_thread(move || unpack(&shared, &view)).await?;
        } else {
            entry
                .call(move |task: &mut Task| {
                    let (view, shared) = (task.view(), task.shared().clone());
                    Box::pin(in_thread(move || unpack(&shared, &view)))
                })
                .await?;
        }
        self.note(query, "extract-to-dir").await
    }

    /// What is otherwise in a container than in its image, by path.
    pub async fn changes(&self, query: &str) -> Result<Vec<(ChangeKind, String)>, Error> {
        let (view, shared) = (self.find(query)?.view(), self.shared.clone());
        spawn_blocking(move || {
            let mut changes = Changes::default();
            shared.snapshots.diff(&snapshot_key(&view.id), &DiffOptions::NAMES, &mut changes)?;
            Ok(changes.done())
        })
        .await?
    }

    /// Begins to send a container's root file system as one archive.
    pub async fn export(
        &self,
        query: &str,
        sink: impl Write + Send + 'static,
    ) -> Result<(), Error> {
        let (view, shared) = (self.find(query)?.view(), self.shared.clone());
        spawn(move || {
            let mut writer = LayerWriter::new(sink);
            // Whoever reads sees that the archive has no end.
            let key = snapshot_key(&view.id);
            if shared.snapshots.export(&key, &DiffOptions::LAYER, &mut writer).is_ok() {
                let _ = writer.finish().map(|mut sink| sink.flush());
            }
        })?;
        self.note(query, "export").await
    }

    /// Tells that something was done with a container.
    pub(super) async fn note(&self, query: &str, action: &'static str) -> Result<(), Error> {
        let view = self.find(query)?.view();
        let event = crate::containers::task::event_of(
            &view.id,
            &view.name,
            &view.document,
            crate::clock::now_ns(),
            action,
            &[],
        );
        self.shared.hub.publish(crate::events::Happened::one(event)).await
    }
}

fn open(shared: &Shared, view: &View, access: Access) -> Result<LiveRoot, Error> {
    let places = Places::of(&shared.data_root, &shared.exec_root, &view.id);
    let frozen = view.document.request.host.readonly_rootfs;
    Origin::find(shared, view, access)?.enter(&places.data, access, frozen)
}

fn unpack(
    view: &View,
    root: &LiveRoot,
    path: &str,
    request: UnpackRequest,
    source: impl Read,
) -> Result<(), Refused> {
    if root.is_read_only(path)? {
        return Err(Refused::ReadOnly { volume: is_in_volume(view, path) });
    }
    let owner = match request.as_user && !view.document.request.config.user.is_empty() {
        false => None,
        true => {
            let directory = root.open(b"", rustix::fs::OFlags::RDONLY, true);
            let directory = directory.map_err(|errno| {
                Refused::Other(Error::io("open the root of", view.name.clone(), errno.into()))
            })?;
            let root = RootView::of_directory(directory);
            let user = &view.document.request.config.user;
            let user = resolve_user_in(&root, user, &[]).map_err(|e| Refused::Other(e.into()))?;
            Some((user.uid, user.gid))
        }
    };
    let options = UnpackOptions { keep_kinds: request.keep_kinds, owner };
    match root.unpack(path, source, options) {
        Err(error) if error.is_read_only() => Err(Refused::ReadOnly { volume: true }),
        other => Ok(other?),
    }
}

/// Whether a path leads below one of the container's mount points, as text.
fn is_in_volume(view: &View, path: &str) -> bool {
    let path = format!("/{}/", path.trim_matches('/'));
    let below =
        |destination: &str| path.starts_with(&format!("{}/", destination.trim_end_matches('/')));
    view.document.points.iter().any(|point| below(&point.destination))
}

/// Why nothing was unpacked.
enum Refused {
    ReadOnly { volume: bool },
    Files(FilesError),
    Other(Error),
}

impl From<FilesError> for Refused {
    fn from(error: FilesError) -> Self {
        Self::Files(error)
    }
}

impl Refused {
    fn of_container(self, container: &str) -> Error {
        match self {
            Self::ReadOnly { volume: true } => {
                Error::Forbidden { message: "mounted volume is marked read-only".to_owned() }
            }
            Self::ReadOnly { volume: false } => {
                Error::Forbidden { message: "container rootfs is marked read-only".to_owned() }
            }
            Self::Files(FilesError::NotDirectory { .. }) => {
                Error::Invalid { message: "extraction point is not a directory".to_owned() }
            }
            Self::Files(error) => files_error(error, container),
            Self::Other(error) => error,
        }
    }
}

/// In Docker's words, where clients look for them.
fn files_error(error: FilesError, container: &str) -> Error {
    match error {
        FilesError::NotFound { path } => {
            Error::NoSuchFile { path, container: container.to_owned() }
        }
        error => Error::Files(Box::new(error)),
    }
}

/// Whether a start made it, because something is mounted there.
pub(super) fn is_place_of_ours(kind: ChangeKind, change: &Change) -> bool {
    const FILES: [&[u8]; 4] = [b"etc/hostname", b"etc/hosts", b"etc/resolv.conf", b"dev/console"];
    const DIRECTORIES: [&[u8]; 6] =
        [b"dev", b"dev/mqueue", b"dev/pts", b"dev/shm", b"proc", b"sys"];
    match change {
        Change::Put { path, node: Node::File(content), .. } if kind == ChangeKind::Added => {
            content.size == 0 && FILES.contains(&path.as_bytes())
        }
        Change::Put { path, node: Node::Directory, .. } => {
            let at_start = kind == ChangeKind::Added || path.as_bytes() == b"dev";
            at_start && DIRECTORIES.contains(&path.as_bytes())
        }
        _ => false,
    }
}

/// Names alone.
#[derive(Default)]
struct Changes {
    found: Vec<(ChangeKind, String)>,
    /// Directories in which a start made something.
    ours: BTreeSet<String>,
}

impl Changes {
    /// By path; without directories that only a start has changed.
    fn done(self) -> Vec<(ChangeKind, String)> {
        let Self { found, ours } = self;
        let is_ours = |(kind, path): &(ChangeKind, String)| {
            let below = format!("{path}/");
            *kind == ChangeKind::Modified
                && ours.contains(path)
                && !found.iter().any(|(_, other)| other.starts_with(&below))
        };
        let mut kept: Vec<_> = found.iter().filter(|change| !is_ours(change)).cloned().collect();
        kept.sort_by(|a, b| a.1.cmp(&b.1));
        kept
    }
}

impl DiffSink for Changes {
    fn change(
        &mut self,
        kind: ChangeKind,
        change: Change,
        _: Option<&mut dyn Read>,
    ) -> Result<(), DiffError> {
        let path = match &change {
            Change::Put { path, .. }
            | Change::Link { path, .. }
            | Change::Whiteout { path }
            | Change::Opaque { path } => path,
        };
        let text = format!("/{}", String::from_utf8_lossy(path.as_bytes()));
        if is_place_of_ours(kind, &change) {
            let parent = text.rsplit_once('/').map_or("", |(parent, _)| parent);
            self.ours.insert(parent.to_owned());
        } else if !path.is_root() {
            // The root is in every layer.
            self.found.push((kind, text));
        }
        Ok(())
    }
}

/// Runs something in a thread that may change its view of the file system and ends afterwards.
async fn in_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let (tell, hear) = oneshot::channel();
    spawn(move || drop(tell.send(work())))?;
    hear.await.map_err(|_| Error::Closing)?
}

fn spawn(work: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    let thread = std::thread::Builder::new().name("files".to_owned()).spawn(work);
    thread.map(drop).map_err(|error| Error::io("start a thread of", "files", error))
}
