//! What flows: clients at containers' streams, logs, events.
//!
//! Invariant: a slow listener slows nobody but itself.

use std::collections::BTreeMap;

use super::Engine;
use crate::containers::asks::{AttachRequest, AttachTarget, ClientStream};
use crate::containers::state::State;
use crate::containers::table::Coming;
use crate::error::{Error, PausedFor};
use crate::events::{Event, EventKind, EventStream, EventsRequest, Happened};

impl Engine {
    /// Says what attaching would connect to, or why it cannot be: asked before the connection is taken over.
    pub fn attach_target(&self, query: &str) -> Result<AttachTarget, Error> {
        let entry = self.find(query)?;
        let (view, id) = (entry.view(), entry.id.to_string());
        match view.standing.state {
            State::Paused(_) => Err(Error::Paused { said: PausedFor::Attach, id }),
            State::Restarting(_) => Err(Error::Restarting { id }),
            _ => Ok(AttachTarget { id, terminal: view.document.request.config.tty }),
        }
    }

    /// Announces a client that is about to be told that it is attached: a start waits for it, as long as the value
    /// is kept.
    pub fn attach_announced(&self, target: &AttachTarget) -> Result<Coming, Error> {
        Ok(self.find(&target.id)?.announce())
    }

    /// Connects a client to a container's streams; before its start it waits for that.
    pub async fn attach(
        &self,
        query: &str,
        request: AttachRequest,
        stream: ClientStream,
    ) -> Result<(), Error> {
        let entry = self.find(query)?;
        entry.call(move |task| Box::pin(task.attach(request, stream))).await
    }

    /// Records and tells what happened to something that is no container: an image, a volume.
    pub async fn tell(
        &self,
        kind: EventKind,
        action: &str,
        id: &str,
        attributes: BTreeMap<String, String>,
    ) -> Result<(), Error> {
        let time_ns = crate::clock::now_ns();
        let (action, id) = (action.to_owned(), id.to_owned());
        let event = Event { kind, action, id, attributes, time_ns };
        self.shared.hub.publish(Happened::one(event)).await
    }

    /// What happens, and on request what has happened.
    pub async fn events(&self, request: EventsRequest) -> Result<EventStream, Error> {
        self.shared.hub.listen(request).await
    }
}
