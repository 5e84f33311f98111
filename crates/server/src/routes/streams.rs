//! What flows: logs, statistics, attached clients.
//!
//! Invariant: a stream ends when its client goes, and waits for one that is slow.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use dhow_engine::{AttachRequest, AttachTarget, ClientStream, Engine, LogLine, LogsRequest};
use dhow_wire::{Stream, frame_header};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use crate::app::App;
use crate::convert;
use crate::http::api_version::ApiVersion;
use crate::http::call::Call;
use crate::http::error::ApiError;
use crate::http::reply::{MULTIPLEXED_STREAM, RAW_STREAM, Reply};
use crate::http::takeover::{Taken, Takeover};
use crate::http::websocket;

/// Between two samples, as in Docker.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// What a stream is called that has or has not a terminal at its end.
pub(super) fn upgraded_type(call: &Call, terminal: bool) -> &'static str {
    match terminal || call.version < ApiVersion::new(1, 42) {
        true => RAW_STREAM,
        false => MULTIPLEXED_STREAM,
    }
}

/// Whether the client may lose what comes in the same moment as an answer's head: Docker's Python client does.
pub(super) fn wants_patience(call: &Call) -> bool {
    let agent = call.header("user-agent");
    !["dhow/", "Docker-Client/"].iter().any(|known| agent.starts_with(known))
}

/// `POST /containers/{id}/attach`.
pub(super) fn attach(app: &Arc<App>, call: &Call, id: &str) -> Result<Reply, ApiError> {
    let request = attach_request(call);
    let target = app.engine.attach_target(id)?;
    let kind = upgraded_type(call, target.terminal);
    let engine = app.engine.clone();
    let coming = engine.attach_announced(&target)?;
    let then = move |taken: Taken| async move {
        let client = ClientStream { fd: taken.fd, read_ahead: taken.read_ahead };
        connect(&engine, &target, request, client).await;
        drop(coming);
    };
    Ok(Reply::Takeover(Takeover::new(&call.headers, kind, then)))
}

/// `GET /containers/{id}/attach/ws`: the same in a web socket's messages, with both outputs in one stream.
pub(super) fn attach_by_websocket(
    app: &Arc<App>,
    call: &Call,
    id: &str,
) -> Result<Reply, ApiError> {
    let request = AttachRequest { raw: true, ..attach_request(call) };
    let target = AttachTarget { terminal: true, ..app.engine.attach_target(id)? };
    let head = websocket::answer(&call.headers)?;
    let engine = app.engine.clone();
    let coming = engine.attach_announced(&target)?;
    let then = move |taken: Taken| async move {
        let Ok((ours, theirs)) = std::os::unix::net::UnixStream::pair() else { return };
        let Ok(ours) = ours.set_nonblocking(true).and_then(|()| UnixStream::from_std(ours)) else {
            return;
        };
        // Both sides hear of the other's end; there is nobody to tell of anything else.
        tokio::spawn(websocket::relay(taken.fd, taken.read_ahead, ours));
        let client = ClientStream { fd: theirs.into(), read_ahead: Vec::new() };
        connect(&engine, &target, request, client).await;
        drop(coming);
    };
    Ok(Reply::Takeover(Takeover::with_head(head, then)))
}

fn attach_request(call: &Call) -> AttachRequest {
    let query = &call.query;
    let keys = query.text("detachKeys");
    AttachRequest {
        logs: query.flag("logs"),
        stream: query.flag("stream"),
        stdin: query.flag("stdin"),
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
        detach_keys: Some(keys.to_owned()).filter(|keys| !keys.is_empty()),
        raw: false,
    }
}

/// Gives a client what it asked for: the log so far, the streams.
async fn connect(
    engine: &Engine,
    target: &AttachTarget,
    request: AttachRequest,
    mut client: ClientStream,
) {
    if request.logs {
        match replay(engine, target, &request, client.fd).await {
            Ok(fd) => client.fd = fd,
            // The client has gone.
            Err(_) => return,
        }
    }
    if request.stream {
        // The client sees the end of its connection; the container's state says why.
        let _ = engine.attach(&target.id, request, client).await;
    }
}

/// Writes what was logged so far to a client that attaches, and gives its socket back. As in Docker, what is said
/// between the last of it and the attaching is in the log only.
async fn replay(
    engine: &Engine,
    target: &AttachTarget,
    request: &AttachRequest,
    fd: OwnedFd,
) -> io::Result<OwnedFd> {
    let mut client = UnixStream::from_std(fd.into())?;
    let request =
        LogsRequest { stdout: request.stdout, stderr: request.stderr, ..LogsRequest::default() };
    let mut lines = match engine.logs(&target.id, request).await {
        Ok(lines) => lines,
        Err(error) => {
            client.write_all(&log_fault(&error, target.terminal)).await?;
            return Ok(client.into_std()?.into());
        }
    };
    loop {
        let piece = match lines.next().await {
            Ok(Some(line)) => framed(&line, target.terminal, false, false),
            Ok(None) => return Ok(client.into_std()?.into()),
            Err(error) => {
                client.write_all(&log_fault(&error, target.terminal)).await?;
                return Ok(client.into_std()?.into());
            }
        };
        client.write_all(&piece).await?;
    }
}

/// `GET /containers/{id}/logs`.
pub(super) async fn logs(app: &Arc<App>, call: &Call, id: &str) -> Result<Reply, ApiError> {
    let query = &call.query;
    let request = LogsRequest {
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
        since_ns: query.time_ns("since")?,
        until_ns: query.time_ns("until")?,
        // Everything that is no number means everything, as in Docker.
        tail: query.text("tail").parse().ok(),
        follow: query.flag("follow"),
    };
    if !request.stdout && !request.stderr {
        return Err(ApiError::invalid("Bad parameters: you must choose at least one stream"));
    }
    let (timestamps, details) = (query.flag("timestamps"), query.flag("details"));
    let mut lines = app.engine.logs(id, request).await?;
    let terminal = lines.terminal;
    let (pieces, reply) = Reply::stream(upgraded_type(call, terminal));
    tokio::spawn(async move {
        loop {
            let next = tokio::select! {
                next = lines.next() => next,
                () = pieces.gone() => return,
            };
            let piece = match next {
                Ok(Some(line)) => framed(&line, terminal, timestamps, details),
                Ok(None) => return,
                Err(error) => {
                    // Asked again, it would fail again: the stream ends here.
                    let _ = pieces.send(log_fault(&error, terminal)).await;
                    return;
                }
            };
            if pieces.send(piece).await.is_err() {
                return;
            }
        }
    });
    Ok(reply)
}

/// A line as clients get it: when and with what it was kept, if they want to know, then its text.
fn framed(line: &LogLine, terminal: bool, timestamps: bool, details: bool) -> Vec<u8> {
    let mut text = Vec::with_capacity(line.bytes.len() + 64);
    if timestamps {
        text.extend_from_slice(time_of_line(line.time_ns).as_bytes());
        text.push(b' ');
    }
    if details {
        let kept: BTreeMap<String, String> =
            serde_json::from_str(&line.attributes).unwrap_or_default();
        let words: Vec<_> = kept.iter().map(|(name, value)| format!("{name}={value}")).collect();
        text.extend_from_slice(words.join(",").as_bytes());
        text.push(b' ');
    }
    text.extend_from_slice(&line.bytes);
    frame(if line.stderr { Stream::Stderr } else { Stream::Stdout }, &text, terminal)
}

/// What a client hears of a log that cannot be read, in its stream's own words.
fn log_fault(error: &dyn std::fmt::Display, terminal: bool) -> Vec<u8> {
    frame(Stream::System, format!("Error grabbing logs: {error}\n").as_bytes(), terminal)
}

fn frame(stream: Stream, bytes: &[u8], terminal: bool) -> Vec<u8> {
    if terminal {
        return bytes.to_vec();
    }
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    [&frame_header(stream, length)[..], bytes].concat()
}

/// With all nine digits, so that columns stay in line.
fn time_of_line(time_ns: i64) -> String {
    let whole = convert::time(time_ns - time_ns.rem_euclid(1_000_000_000));
    format!("{}.{:09}Z", whole.trim_end_matches('Z'), time_ns.rem_euclid(1_000_000_000))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_what_was_asked_for() {
        let line = LogLine {
            time_ns: 1_500_000_000,
            stderr: true,
            bytes: b"x\n".to_vec(),
            partial: false,
            attributes: r#"{"b":"2","a":"1"}"#.to_owned(),
        };
        assert_eq!(framed(&line, true, false, false), b"x\n");
        assert_eq!(framed(&line, true, true, false), b"1970-01-01T00:00:01.500000000Z x\n");
        assert_eq!(framed(&line, false, false, true), b"\x02\0\0\0\0\0\0\x0aa=1,b=2 x\n");
    }
}
