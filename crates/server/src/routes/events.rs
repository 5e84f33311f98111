//! Events, as they happen and as they happened.
//!
//! Invariant: a listener gets each once; one that reads too slowly for the engine is cut off, not skipped.

use std::sync::Arc;

use dhow_engine::EventsRequest;
use dhow_wire::{Actor, Event};

use crate::app::App;
use crate::compat::{Message, adapt};
use crate::http::call::Call;
use crate::http::error::ApiError;
use crate::http::reply::Reply;
use crate::routes::engine_filters;

/// `GET /events`.
pub(super) async fn listen(app: &Arc<App>, call: &Call) -> Result<Reply, ApiError> {
    let (since_ns, until_ns) = (call.query.time_ns("since")?, call.query.time_ns("until")?);
    if let (Some(since), Some(until)) = (since_ns, until_ns)
        && since > until
    {
        return Err(ApiError::invalid("`since` time cannot be after `until` time"));
    }
    let filters = engine_filters(&call.query.filters()?);
    let mut events = app.engine.events(EventsRequest { since_ns, until_ns, filters }).await?;
    let (pieces, reply) = Reply::stream("application/json");
    let version = call.version;
    tokio::spawn(async move {
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = pieces.gone() => return,
            };
            let Some(event) = event else { return };
            let told = Event {
                kind: event.kind.as_str().to_owned(),
                action: event.action.clone(),
                actor: Actor { id: event.id.clone(), attributes: event.attributes.clone() },
                scope: "local".to_owned(),
                time: event.time_ns.div_euclid(1_000_000_000),
                time_nano: event.time_ns,
            };
            let mut value = serde_json::to_value(told).unwrap_or_default();
            adapt(version, Message::Event, &mut value);
            if pieces.line(&value, "\n").await.is_err() {
                return;
            }
        }
    });
    Ok(reply)
}
