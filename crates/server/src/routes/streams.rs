//! What flows: logs, statistics, attached clients.
//!
//! Invariant: a stream ends when its client goes, and waits for one that is slow.

use std::sync::Arc;
use std::time::Duration;

use dhow_engine::{AttachRequest, ClientStream};

use crate::app::App;
use crate::convert;
use crate::http::api_version::ApiVersion;
use crate::http::call::Call;
use crate::http::error::ApiError;
use crate::http::reply::{MULTIPLEXED_STREAM, RAW_STREAM, Reply};
use crate::http::takeover::{Taken, Takeover};

/// Between two samples, as in Docker.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// What a stream is called that has or has not a terminal at its end.
pub(super) fn upgraded_type(call: &Call, terminal: bool) -> &'static str {
    match terminal || call.version < ApiVersion::new(1, 42) {
        true => RAW_STREAM,
        false => MULTIPLEXED_STREAM,
    }
}

/// `POST /containers/{id}/attach`.
pub(super) fn attach(app: &Arc<App>, call: &Call, id: &str) -> Result<Reply, ApiError> {
    let query = &call.query;
    let keys = query.text("detachKeys");
    let request = AttachRequest {
        logs: query.flag("logs"),
        stream: query.flag("stream"),
        stdin: query.flag("stdin"),
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
        detach_keys: Some(keys.to_owned()).filter(|keys| !keys.is_empty()),
    };
    let target = app.engine.attach_target(id)?;
    let kind = upgraded_type(call, target.terminal);
    let engine = app.engine.clone();
    let then = move |taken: Taken| async move {
        let client = ClientStream { fd: taken.fd, read_ahead: taken.read_ahead };
        // The client sees the end of its connection; the container's state says why.
        let _ = engine.attach(&target.id, request, client).await;
    };
    Ok(Reply::Takeover(Takeover::new(&call.headers, kind, then)))
}

/// `GET /containers/{id}/logs`.
pub(super) async fn logs(_app: &Arc<App>, _call: &Call, _id: &str) -> Result<Reply, ApiError> {
    Err(ApiError::unsupported("reading logs"))
}

/// `GET /containers/{id}/stats`.
pub(super) async fn stats(app: &Arc<App>, call: &Call, id: &str) -> Result<Reply, ApiError> {
    let stream = call.query.flag_or("stream", true);
    let one_shot = call.query.flag("one-shot");
    if stream && one_shot {
        return Err(ApiError::invalid("cannot have stream=true and one-shot=true"));
    }
    let first = app.engine.stats(id).await?;
    if !stream {
        if one_shot || first.usage.is_none() {
            return Ok(Reply::ok(&convert::stats(&first, None)));
        }
        tokio::time::sleep(SAMPLE_EVERY).await;
        let second = app.engine.stats(id).await?;
        return Ok(Reply::ok(&convert::stats(&second, Some(&first))));
    }
    let (pieces, reply) = Reply::stream("application/json");
    let (engine, id) = (app.engine.clone(), first.id.clone());
    tokio::spawn(async move {
        let mut before = None;
        let mut now = first;
        loop {
            if pieces.line(&convert::stats(&now, before.as_ref()), "\n").await.is_err() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(SAMPLE_EVERY) => {}
                () = pieces.gone() => return,
            }
            // It is gone, and so are its numbers.
            let Ok(next) = engine.stats(&id).await else { return };
            before = Some(std::mem::replace(&mut now, next));
        }
    });
    Ok(reply)
}
