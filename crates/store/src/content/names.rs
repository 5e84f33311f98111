//! Who writes which blob, and which names are being given or taken away right now.
//!
//! Invariant: a blob has one writer; a name that garbage collection takes away is not given at the
//! same time. Both hold within this process, and no other has the store.
//! Absent on purpose: files and records.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dhow_spec::Digest;

use super::{ContentError, IngestId};

/// The registry of all three.
#[derive(Debug, Default)]
pub(crate) struct Names {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Ingests and who writes them.
    writers: HashMap<IngestId, String>,
    /// Blobs between their rename and their record, by how many.
    arriving: HashMap<Digest, u32>,
    /// Blobs whose record is gone and whose file will be.
    leaving: HashSet<Digest>,
}

/// The right to write one blob, until dropped.
#[derive(Debug)]
pub(super) struct Claim {
    names: Arc<Names>,
    id: IngestId,
}

/// A blob on its way to its record, until dropped.
#[derive(Debug)]
pub(super) struct Arrival {
    names: Arc<Names>,
    digest: Digest,
}

/// Blobs on their way out, until dropped.
#[derive(Debug)]
pub(crate) struct Departure {
    names: Arc<Names>,
    digests: Vec<Digest>,
}

impl Names {
    /// Waits up to `patience` for whoever writes it.
    pub(super) fn claim(
        self: &Arc<Self>,
        id: &IngestId,
        by: &str,
        patience: Duration,
    ) -> Result<Claim, ContentError> {
        let deadline = Instant::now() + patience;
        let mut state = self.state();
        while let Some(writer) = state.writers.get(id) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ContentError::Busy { ingest: id.clone(), by: writer.clone() });
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.writers.insert(id.clone(), by.to_owned());
        Ok(Claim { names: self.clone(), id: id.clone() })
    }

    /// Whether anybody writes it.
    pub(super) fn is_claimed(&self, id: &IngestId) -> bool {
        self.state().writers.contains_key(id)
    }

    /// Keeps garbage collection from the name; waits for its end if it has begun.
    pub(super) fn arrive(self: &Arc<Self>, digest: Digest) -> Arrival {
        let mut state = self.state();
        while state.leaving.contains(&digest) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        *state.arriving.entry(digest).or_default() += 1;
        Arrival { names: self.clone(), digest }
    }

    /// Takes away those names that are not being given. Called within the transaction that
    /// deletes their records.
    pub(crate) fn leave(self: &Arc<Self>, candidates: Vec<Digest>) -> Departure {
        let mut state = self.state();
        let mut digests = candidates;
        digests.retain(|digest| !state.arriving.contains_key(digest));
        state.leaving.extend(&digests);
        Departure { names: self.clone(), digests }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Departure {
    /// Which they are.
    pub(crate) fn digests(&self) -> &[Digest] {
        &self.digests
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.names.state().writers.remove(&self.id);
        self.names.changed.notify_all();
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        let mut state = self.names.state();
        if let Some(count) = state.arriving.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                state.arriving.remove(&self.digest);
            }
        }
    }
}

impl Drop for Departure {
    fn drop(&mut self) {
        let mut state = self.names.state();
        for digest in &self.digests {
            state.leaving.remove(digest);
        }
        drop(state);
        self.names.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: Digest = Digest::Sha256([1; 32]);

    #[test]
    fn one_writer_at_a_time() {
        let names = Arc::new(Names::default());
        let id = IngestId::of(DIGEST);
        let claim = names.claim(&id, "pull of a", Duration::ZERO).expect("nobody else");
        let error = names.claim(&id, "pull of b", Duration::ZERO).expect_err("taken");
        assert_eq!(error.to_string(), format!("blob {DIGEST} is being written by pull of a"));
        let waiting = std::thread::spawn({
            let (names, id) = (names.clone(), id.clone());
            move || names.claim(&id, "pull of b", Duration::from_secs(60)).map(|_| ())
        });
        drop(claim);
        waiting.join().expect("no panic").expect("its turn");
        assert!(!names.is_claimed(&id));
    }

    #[test]
    fn what_arrives_does_not_leave() {
        let names = Arc::new(Names::default());
        let arrival = names.arrive(DIGEST);
        assert_eq!(names.leave(vec![DIGEST]).digests(), []);
        drop(arrival);
        let departure = names.leave(vec![DIGEST]);
        assert_eq!(departure.digests(), [DIGEST]);
        let waiting = std::thread::spawn({
            let names = names.clone();
            move || drop(names.arrive(DIGEST))
        });
        drop(departure);
        waiting.join().expect("its turn");
    }
}
