//! Blobs that are coming in, and those who read them meanwhile.
//!
//! Invariant: a blob comes in once at a time; a reader sees only bytes that were written, and is cut off when
//! they turn out to be wrong.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use dhow_distribution::{Client, Sink, Verifier};
use dhow_spec::image::Descriptor;
use dhow_spec::{Digest, Repository, RepositoryPath};
use dhow_store::{Ingest, IngestId};
use tokio::sync::{mpsc, watch};

use crate::app::{App, blocking};
use crate::http::error::ApiError;

/// Bytes under way to one reader, and how many such pieces.
const PIECE: u64 = 128 << 10;
const PIECES: usize = 2;
/// Digits of a digest that make the name of an ingest.
const DIGITS: usize = 100;

/// What is coming in.
#[derive(Clone, Default)]
pub(super) struct Downloads(Arc<Mutex<HashMap<Key, Arc<Download>>>>);

/// For which repository, and what.
type Key = (RepositoryPath, Digest);

/// A blob that is coming in.
pub(super) struct Download {
    state: watch::Sender<State>,
    size: u64,
}

#[derive(Clone, Default)]
struct State {
    file: Option<Arc<File>>,
    written: u64,
    /// How often it was begun.
    round: u32,
    /// How it ended; the error's words are in the log.
    end: Option<bool>,
}

impl Downloads {
    /// The download of a blob, begun if nobody has.
    pub(super) fn join(
        &self,
        app: &Arc<App>,
        client: &Client,
        from: Repository,
        name: &RepositoryPath,
        descriptor: Descriptor,
    ) -> Arc<Download> {
        let key = (name.clone(), descriptor.digest);
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(download) = table.get(&key) {
            return download.clone();
        }
        let (state, _) = watch::channel(State::default());
        let download = Arc::new(Download { state, size: descriptor.size });
        table.insert(key.clone(), download.clone());
        let (app, client, coming, downloads) =
            (app.clone(), client.clone(), download.clone(), self.clone());
        // It goes on when whoever asked has gone: the next one will want it.
        tokio::spawn(async move {
            let (name, digest) = key.clone();
            let fetched = fetch(&app, &client, &from, &name, descriptor, &coming).await;
            if let Err(error) = &fetched {
                let why = error.cause().unwrap_or("it was refused");
                app.log.say(&format!("mirror of {name}@{digest}: {why}"));
            }
            downloads.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
            coming.state.send_modify(|state| state.end = Some(fetched.is_ok()));
        });
        download
    }
}

async fn fetch(
    app: &Arc<App>,
    client: &Client,
    from: &Repository,
    name: &RepositoryPath,
    descriptor: Descriptor,
    download: &Arc<Download>,
) -> Result<(), ApiError> {
    let digest = descriptor.digest;
    let quota = app.config.rules_of(name).quota;
    let begun = {
        let (app, name) = (app.clone(), name.clone());
        blocking(move || {
            // Another repository may have it: the manifest that names it is this one's.
            if app.store.content().contains(&digest)?
                && app.repositories.adopt_blob(&name, &digest, quota)?.is_some()
            {
                return Ok(None);
            }
            let digits: String = digest.hex().chars().take(DIGITS).collect();
            let id = IngestId::named(&format!("mirror-{digits}")).expect("digits and a dash");
            let ingest = app.store.content().begin_upload(id, descriptor.size, "a mirror")?;
            Ok(Some(Box::new(ingest)))
        })
        .await?
    };
    let Some(ingest) = begun else {
        let app = app.clone();
        let file = blocking(move || Ok(app.store.content().open_blob(&digest)?.into_file()));
        download.begin(file.await?, download.size);
        return Ok(());
    };
    let mut sink = Incoming { ingest: Some(ingest), download: download.clone() };
    client.fetch(from, &descriptor, &mut sink, &()).await.map_err(ApiError::internal)?;
    let Some(ingest) = sink.ingest.take() else { return Err(ApiError::internal("no ingest")) };
    let name = name.clone();
    blocking(move || Ok(ingest.commit_to(&name, &digest, quota)?)).await?;
    Ok(())
}

impl Download {
    fn begin(&self, file: File, written: u64) {
        self.state.send_modify(|state| {
            (state.file, state.written) = (Some(Arc::new(file)), written);
            state.round += 1;
        });
    }

    /// Waits for its end.
    pub(super) async fn whole(&self) -> Result<(), ApiError> {
        let mut state = self.state.subscribe();
        let ended = state.wait_for(|state| state.end.is_some()).await;
        match ended.is_ok_and(|state| state.end == Some(true)) {
            true => Ok(()),
            false => Err(ApiError::internal("the download failed")),
        }
    }

    /// Reads it behind the writer, from the beginning.
    pub(super) fn follow(download: Arc<Self>) -> mpsc::Receiver<io::Result<Bytes>> {
        let (sender, receiver) = mpsc::channel(PIECES);
        tokio::spawn(async move {
            let mut state = download.state.subscribe();
            let (mut offset, mut round) = (0, 0);
            while offset < download.size {
                let ready = state.wait_for(|state| state.written > offset || state.end.is_some());
                let Ok(seen) = ready.await.map(|state| state.clone()) else { return };
                if round == 0 {
                    round = seen.round;
                }
                let piece = match seen.file {
                    Some(file) if seen.round == round && seen.written > offset => {
                        read(file, offset, (seen.written - offset).min(PIECE)).await
                    }
                    _ => Err(io::ErrorKind::UnexpectedEof.into()),
                };
                offset += piece.as_ref().map_or(0, |piece| piece.len() as u64);
                let failed = piece.is_err();
                if sender.send(piece).await.is_err() || failed {
                    return;
                }
            }
        });
        receiver
    }
}

async fn read(file: Arc<File>, offset: u64, length: u64) -> io::Result<Bytes> {
    let read = tokio::task::spawn_blocking(move || {
        let mut buffer = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        file.read_exact_at(&mut buffer, offset)?;
        Ok(Bytes::from(buffer))
    });
    read.await.map_err(io::Error::other)?
}

/// Writes what comes into an ingest.
struct Incoming {
    /// Absent while a thread writes to it.
    ingest: Option<Box<Ingest>>,
    download: Arc<Download>,
}

impl Incoming {
    async fn with<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Ingest) -> Result<T, dhow_store::ContentError> + Send + 'static,
    ) -> io::Result<T> {
        let mut ingest = self.ingest.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let worked = tokio::task::spawn_blocking(move || {
            let result = work(&mut ingest);
            (ingest, result)
        });
        let (ingest, result) = worked.await.map_err(io::Error::other)?;
        self.ingest = Some(ingest);
        result.map_err(io::Error::other)
    }

    /// What an earlier process had begun is not looked through: it is fetched anew.
    async fn restart(&mut self) -> io::Result<()> {
        let file = self
            .with(|ingest| {
                ingest.restart()?;
                ingest.file()
            })
            .await?;
        self.download.begin(file, 0);
        Ok(())
    }
}

impl Sink for Incoming {
    async fn begin(&mut self, _verifier: &mut Verifier) -> io::Result<()> {
        self.restart().await
    }

    async fn write(&mut self, bytes: Bytes) -> io::Result<()> {
        let written = self
            .with(move |ingest| {
                ingest.write(&bytes)?;
                Ok(ingest.offset())
            })
            .await?;
        self.download.state.send_modify(|state| state.written = written);
        Ok(())
    }

    async fn rewind(&mut self) -> io::Result<()> {
        self.restart().await
    }

    async fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}
