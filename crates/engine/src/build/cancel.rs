//! That nobody wants a build any more, told to all of its threads.
//!
//! Invariant: once said, it stays so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// A way to say so; cloned freely.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<State>);

#[derive(Debug, Default)]
struct State {
    said: AtomicBool,
    told: Notify,
}

impl Cancel {
    /// Says so.
    pub fn cancel(&self) {
        self.0.said.store(true, Ordering::SeqCst);
        self.0.told.notify_waiters();
    }

    /// Whether somebody has.
    pub fn is_cancelled(&self) -> bool {
        self.0.said.load(Ordering::SeqCst)
    }

    /// For what looks by itself.
    pub(super) fn flag(&self) -> &AtomicBool {
        &self.0.said
    }

    /// Returns once somebody has.
    pub(super) async fn said(&self) {
        loop {
            let told = self.0.told.notified();
            tokio::pin!(told);
            // Listening begins before looking, so that nothing falls between.
            told.as_mut().enable();
            if self.is_cancelled() {
                return;
            }
            told.await;
        }
    }
}
