//! What builds remember, and how it is forgotten.
//!
//! Invariant: a key is worked on by one build at a time; others wait for what comes of it. A record whose layer is
//! gone counts as none.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dhow_builder::{Fault, Layer, Once, Record, WorkError};
use dhow_spec::Digest;
use dhow_spec::image::{Descriptor, Timestamp};
use dhow_store::{BuildRow, BuildRowKind, CollectOptions, SnapshotKey};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use super::contexts::ContextKey;
use super::layers::{failed, top};
use super::worker::EngineWorker;
use crate::engine::{Engine, Shared};
use crate::error::Error;

/// How long somebody waits before looking whether the own build is still wanted.
const LOOK: Duration = Duration::from_millis(200);

/// What all builds of an engine have in common.
#[derive(Debug, Default)]
pub(crate) struct Builds {
    busy: Mutex<HashSet<String>>,
    changed: Condvar,
}

/// A name that is one build's until dropped.
pub(super) struct Claim<'a> {
    builds: &'a Builds,
    name: String,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.builds.lock().remove(&self.name);
        self.builds.changed.notify_all();
    }
}

impl Builds {
    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a name, once it is nobody's; `None` when nobody wants the build any more.
    pub(super) fn claim(&self, name: &str, cancelled: &dyn Fn() -> bool) -> Option<Claim<'_>> {
        let mut busy = self.lock();
        loop {
            if cancelled() {
                return None;
            }
            if busy.insert(name.to_owned()) {
                return Some(Claim { builds: self, name: name.to_owned() });
            }
            let waited = self.changed.wait_timeout(busy, LOOK);
            busy = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes a name if it is nobody's.
    pub(super) fn try_claim(&self, name: &str) -> Option<Claim<'_>> {
        self.lock().insert(name.to_owned()).then(|| Claim { builds: self, name: name.to_owned() })
    }

    fn is_busy(&self, name: &str) -> bool {
        self.lock().contains(name)
    }
}

/// What is kept of a step.
#[derive(Debug, Serialize, Deserialize)]
struct Document {
    version: u32,
    created: String,
    #[serde(default)]
    layer: Option<DocumentLayer>,
}

#[derive(Debug, Serialize, Deserialize)]
struct DocumentLayer {
    diff_id: Digest,
    blob: Descriptor,
}

const VERSION: u32 = 1;

/// The kind of what was sent for a build.
const CONTEXT: &str = "source.local";

impl EngineWorker {
    /// See [`dhow_builder::Worker::once`].
    pub(super) fn do_once(
        &self,
        key: &Digest,
        below: &[Layer],
        about: &str,
        fresh: bool,
        make: &mut dyn FnMut() -> Result<Record, Fault>,
    ) -> Result<Once, Fault> {
        let key = key.to_string();
        let cancelled = || self.cancel.is_cancelled();
        let Some(_claim) = self.shared.builds.claim(&key, &cancelled) else {
            return Err(Fault::Work(WorkError::Cancelled));
        };
        if !fresh && let Some(record) = self.recall(&key, below).map_err(failed)? {
            self.note_used(&key, about, &record);
            return Ok(Once { record, cached: true });
        }
        let told = if fresh { None } else { self.recall_told(&key, below)? };
        let cached = told.is_some();
        let record = match told {
            Some(record) => record,
            None => make()?,
        };
        self.note_used(&key, about, &record);
        self.remember(key, below, about, &record).map_err(failed)?;
        Ok(Once { record, cached })
    }

    fn recall(&self, key: &str, below: &[Layer]) -> Result<Option<Record>, Error> {
        let db = self.shared.store.db();
        let Some(row) = db.build(key)? else { return Ok(None) };
        let Ok(document) = serde_json::from_str::<Document>(&row.document) else {
            return Ok(None);
        };
        let Ok(created) = Timestamp::parse(&document.created) else { return Ok(None) };
        if document.version > VERSION {
            return Ok(None);
        }
        let layer = document.layer.map(|DocumentLayer { diff_id, blob }| Layer { diff_id, blob });
        if let Some(layer) = &layer {
            let whole: Vec<Layer> = below.iter().chain([layer]).cloned().collect();
            let chain = top(&whole).expect("one layer at least");
            if self.only.as_ref().is_some_and(|only| !only.contains(&chain.to_string())) {
                return Ok(None);
            }
            let blob = &layer.blob.digest;
            let kept = self.shared.store.content().keep(self.lease(), blob);
            let here = kept.map_err(super::layers::content)?.is_some()
                && self.shared.snapshots.keep(&chain, self.lease())?;
            if !here {
                return Ok(None);
            }
        }
        db.use_build(key)?;
        Ok(Some(Record { created, layer }))
    }

    fn remember(
        &self,
        key: String,
        below: &[Layer],
        about: &str,
        record: &Record,
    ) -> Result<(), Error> {
        let now = self.shared.store.now_ms();
        let layer = record.layer.as_ref();
        let whole: Vec<Layer> = below.iter().chain(layer).cloned().collect();
        let snapshot = layer.and_then(|_| top(&whole));
        let document = Document {
            version: VERSION,
            created: record.created.as_str().to_owned(),
            layer: layer
                .map(|layer| DocumentLayer { diff_id: layer.diff_id, blob: layer.blob.clone() }),
        };
        self.shared.store.db().put_build(BuildRow {
            key,
            kind: BuildRowKind::Step,
            about: about.to_owned(),
            created_ms: now,
            used_ms: now,
            uses: 0,
            size: layer.map_or(0, |layer| layer.blob.size),
            blob: layer.map(|layer| layer.blob.digest.to_string()),
            snapshot: snapshot.map(|chain| chain.to_string()),
            document: serde_json::to_string(&document).expect("a record prints"),
        })?;
        Ok(())
    }
}

/// One record, as it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildCacheRow {
    /// Its id.
    pub id: String,
    /// `regular`, `exec.cachemount` or `source.local`.
    pub kind: &'static str,
    /// What it is, for people.
    pub description: String,
    /// Whether a build uses it now.
    pub in_use: bool,
    /// Whether an image has the same layer.
    pub shared: bool,
    /// Bytes that it takes.
    pub size: u64,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: i64,
    /// When it was used last.
    pub used_ms: i64,
    /// How often.
    pub uses: u64,
}

/// Which records are to be forgotten.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CachePrune {
    /// Also those whose layers images have.
    pub all: bool,
    /// Only those not used since then, in milliseconds since 1970.
    pub until_ms: Option<i64>,
    /// So many bytes of those used last are kept.
    pub keep_bytes: Option<u64>,
    /// Only these ids.
    pub ids: Vec<String>,
    /// Only these kinds.
    pub kinds: Vec<String>,
    /// Only those whose description has this in it.
    pub descriptions: Vec<String>,
    /// Only those that images have, or have not.
    pub shared: Option<bool>,
    /// Only those that a build uses, or does not.
    pub in_use: Option<bool>,
}

/// What was forgotten.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CachePruned {
    /// The ids.
    pub ids: Vec<String>,
    /// Bytes that came back.
    pub bytes: u64,
}

impl Engine {
    /// What builds remember, the one that was used longest ago first.
    pub async fn build_cache(&self) -> Result<Vec<BuildCacheRow>, Error> {
        let shared = self.shared.clone();
        spawn_blocking(move || rows(&shared)).await?
    }

    /// Forgets what fits, and gives the space back.
    pub async fn prune_builds(&self, wanted: CachePrune) -> Result<CachePruned, Error> {
        let shared = self.shared.clone();
        spawn_blocking(move || prune(&shared, &wanted)).await?
    }
}

/// The key of a cache directory's snapshot.
pub(super) fn mount_key(name: &str) -> SnapshotKey {
    let digest = dhow_archive::hash::Hasher::new(dhow_spec::Algorithm::Sha256);
    let mut digest = digest;
    digest.update(name.as_bytes());
    let hex = digest.finish().digest.hex();
    SnapshotKey::parse(&format!("cache-{}", &hex[..32])).expect("a word")
}

fn rows(shared: &Shared) -> Result<Vec<BuildCacheRow>, Error> {
    let mut held = HashSet::new();
    for image in shared.store.images().list()? {
        for manifest in shared.store.images().manifests(&image).unwrap_or_default() {
            if let dhow_store::ManifestKind::Image { chain, .. } = manifest.kind {
                held.extend(chain.iter().map(ToString::to_string));
            }
        }
    }
    let mut rows = Vec::new();
    for row in shared.store.db().builds()? {
        let size = match row.kind {
            BuildRowKind::Step => row.size,
            BuildRowKind::Mount => {
                let usage = shared.snapshots.usage(&mount_key(&row.key));
                usage.map_or(0, |usage| usage.size_bytes)
            }
        };
        rows.push(BuildCacheRow {
            kind: match row.kind {
                BuildRowKind::Step => "regular",
                BuildRowKind::Mount => "exec.cachemount",
            },
            description: row.about,
            in_use: shared.builds.is_busy(&row.key),
            shared: row.snapshot.is_some_and(|snapshot| held.contains(&snapshot)),
            size,
            created_ms: row.created_ms,
            used_ms: row.used_ms,
            uses: row.uses,
            id: row.key,
        });
    }
    rows.extend(shared.contexts.rows()?.into_iter().map(|kept| BuildCacheRow {
        id: kept.key.as_str().to_owned(),
        kind: CONTEXT,
        description: "local source for context".to_owned(),
        in_use: kept.in_use,
        shared: false,
        size: kept.size,
        created_ms: kept.created_ms,
        used_ms: kept.used_ms,
        uses: 0,
    }));
    rows.sort_by_key(|row| row.used_ms);
    Ok(rows)
}

impl CachePrune {
    fn fits(&self, row: &BuildCacheRow) -> bool {
        let id = row.id.strip_prefix("sha256:").unwrap_or(&row.id);
        (self.all || !row.shared)
            && !row.in_use
            && self.in_use != Some(true)
            && self.until_ms.is_none_or(|until| row.used_ms < until)
            && self.shared.is_none_or(|shared| row.shared == shared)
            && (self.ids.is_empty()
                || self.ids.iter().any(|wanted| row.id == *wanted || id.starts_with(&**wanted)))
            && (self.kinds.is_empty() || self.kinds.iter().any(|kind| row.kind == kind))
            && (self.descriptions.is_empty()
                || self.descriptions.iter().any(|text| row.description.contains(&**text)))
    }
}

fn prune(shared: &Shared, wanted: &CachePrune) -> Result<CachePruned, Error> {
    let mut rows = rows(shared)?;
    if let Some(keep) = wanted.keep_bytes {
        // Those used last stay until their sum is too large.
        let mut kept = 0;
        let mut first_kept = rows.len();
        while first_kept > 0 && kept + rows[first_kept - 1].size <= keep {
            first_kept -= 1;
            kept += rows[first_kept].size;
        }
        rows.truncate(first_kept);
    }
    let mut pruned = CachePruned::default();
    for row in rows.into_iter().filter(|row| wanted.fits(row)) {
        if let Some(key) = ContextKey::parse(&row.id).filter(|_| row.kind == CONTEXT) {
            if shared.contexts.forget(&key)? {
                pruned.bytes += row.size;
                pruned.ids.push(row.id);
            }
            continue;
        }
        let Some(_claim) = shared.builds.try_claim(&row.id) else { continue };
        if row.kind == "exec.cachemount" {
            shared.snapshots.remove(&mount_key(&row.id))?;
        }
        shared.store.db().forget_builds(vec![row.id.clone()])?;
        if !row.shared {
            pruned.bytes += row.size;
        }
        pruned.ids.push(row.id);
    }
    let options = CollectOptions { ingest_age_ms_max: 24 * 3600 * 1000 };
    shared.store.collect(options, &[shared.snapshots.driver()])?;
    Ok(pruned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_build_s() {
        let builds = Builds::default();
        let claim = builds.try_claim("a").expect("free");
        assert!(builds.try_claim("a").is_none());
        assert!(builds.claim("a", &|| true).is_none());
        drop(claim);
        assert!(builds.claim("a", &|| false).is_some());
    }
}
