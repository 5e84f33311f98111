//! Further processes in containers.
//!
//! Invariant: whatever can be refused is refused before the connection is taken over; what goes wrong later is
//! told on the connection.

use std::sync::Arc;

use dhow_engine::{ClientStream, ExecRequest, ExecStart};
use dhow_wire::{CreateExec, ExecInspect, ExecProcess, IdResponse, StartExec, frame_header};
use hyper::{Method, StatusCode};

use crate::app::App;
use crate::convert::size;
use crate::http::call::Call;
use crate::http::error::ApiError;
use crate::http::reply::Reply;
use crate::http::takeover::Takeover;
use crate::routes::streams::{upgraded_type, wants_patience};

pub(super) async fn dispatch(app: &Arc<App>, call: Call, path: &[&str]) -> Result<Reply, ApiError> {
    match (&call.method, path) {
        (&Method::POST, [id, "start"]) => start(app, call, id).await,
        (&Method::POST, [id, "resize"]) => {
            let (rows, cols) = super::containers::size(&call)?;
            app.engine.exec_resize(id, rows, cols).await?;
            Ok(Reply::status(StatusCode::OK))
        }
        (&Method::GET, [id, "json"]) => inspect(app, id).await,
        _ => Err(ApiError::page_not_found()),
    }
}

/// `POST /containers/{id}/exec`.
pub(super) async fn create(
    app: &Arc<App>,
    mut call: Call,
    container: &str,
) -> Result<Reply, ApiError> {
    let wanted: CreateExec = call.json().await?;
    let request = ExecRequest {
        command: wanted.cmd.unwrap_or_default(),
        user: wanted.user,
        terminal: wanted.tty,
        privileged: wanted.privileged,
        stdin: wanted.attach_stdin,
        stdout: wanted.attach_stdout,
        stderr: wanted.attach_stderr,
        detach_keys: Some(wanted.detach_keys).filter(|keys| !keys.is_empty()),
        env: wanted.env.unwrap_or_default(),
        working_dir: wanted.working_dir,
        terminal_size: wanted.console_size.and_then(size),
    };
    let id = app.engine.exec_create(container, request).await?;
    Ok(Reply::json(StatusCode::CREATED, &IdResponse { id }))
}

async fn start(app: &Arc<App>, mut call: Call, id: &str) -> Result<Reply, ApiError> {
    let wanted: StartExec = call.json_or_nothing().await?.unwrap_or_default();
    let terminal_size = wanted.console_size.and_then(size);
    let start = ExecStart { terminal_size, raw: wanted.tty };
    if wanted.detach {
        app.engine.exec_start(id, start, None).await?;
        return Ok(Reply::status(StatusCode::OK));
    }
    let target = app.engine.exec_target(id)?;
    let kind = upgraded_type(&call, wanted.tty);
    let (engine, patient) = (app.engine.clone(), wants_patience(&call));
    let then = move |taken: crate::http::takeover::Taken| async move {
        let Ok(ours) = taken.fd.try_clone() else { return };
        let client = ClientStream { fd: taken.fd, read_ahead: taken.read_ahead };
        if patient {
            client.head_was_read().await;
        }
        if let Err(error) = engine.exec_start(&target.id, start, Some(client)).await {
            let text = format!("{error}\r\n");
            let header = frame_header(
                dhow_wire::Stream::Stdout,
                u32::try_from(text.len()).unwrap_or(u32::MAX),
            );
            let frame = if wanted.tty { &[][..] } else { &header[..] };
            // A client that does not take so little is gone.
            let _ = rustix::io::write(&ours, &[frame, text.as_bytes()].concat());
        }
    };
    Ok(Reply::Takeover(Takeover::new(&call.headers, kind, then)))
}

async fn inspect(app: &Arc<App>, id: &str) -> Result<Reply, ApiError> {
    let exec = app.engine.exec_settled(id).await?;
    let request = exec.request;
    let mut command = request.command.into_iter();
    Ok(Reply::ok(&ExecInspect {
        id: exec.id,
        running: exec.running,
        exit_code: exec.exit_code,
        process_config: ExecProcess {
            tty: request.terminal,
            entrypoint: command.next().unwrap_or_default(),
            arguments: command.collect(),
            privileged: Some(request.privileged),
            user: request.user,
        },
        open_stdin: request.stdin,
        open_stderr: request.stderr,
        open_stdout: request.stdout,
        can_remove: exec.exit_code.is_some(),
        container_id: exec.container,
        detach_keys: String::new(),
        pid: exec.pid,
    }))
}
