//! What is asked of containers that exist, as values.
//!
//! Invariant: none of its own; what makes no sense is refused where it is carried out.

use std::os::fd::{AsFd, OwnedFd};

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::filters::Filters;

/// Which containers a list is to have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListRequest {
    /// Those that do not run, too.
    pub all: bool,
    /// The newest of them only.
    pub limit: Option<usize>,
    /// With what their writable layers take.
    pub size: bool,
    /// Narrowed to these.
    pub filters: Filters,
}

/// How a container is to be ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StopRequest {
    /// Another signal than its own first.
    pub signal: Option<i32>,
    /// Another time than its own until it is killed; negative is for ever.
    pub timeout_s: Option<i64>,
}

/// How a container is to be removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RemoveRequest {
    /// Even if it runs.
    pub force: bool,
    /// With its anonymous volumes.
    pub volumes: bool,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WaitCondition {
    /// That it does not run; at once if that is so.
    #[default]
    NotRunning,
    /// That it ends the next time.
    NextExit,
    /// That it is gone.
    Removed,
}

/// What a wait has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waited {
    /// Its exit code.
    pub code: i32,
    /// Why there is none.
    pub error: Option<String>,
}

/// A client's connection, taken over with what was already read from it.
#[derive(Debug)]
pub struct ClientStream {
    /// The socket. The answer that it is taken over has been written.
    pub fd: OwnedFd,
    /// What came behind the request.
    pub read_ahead: Vec<u8>,
}

impl ClientStream {
    /// Waits a moment for the client to have read what was written to it. Clients that look for the end of an
    /// answer's head with a buffer lose what comes in the same moment as the head.
    pub async fn head_was_read(&self) {
        const TURNS: u32 = 50;
        for _ in 0..TURNS {
            match dhow_sys::bytes_unread_by_peer(self.fd.as_fd()) {
                Ok(0) | Err(_) => return,
                Ok(_) => tokio::time::sleep(std::time::Duration::from_millis(1)).await,
            }
        }
    }
}

/// How a client is connected to a container's streams.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttachRequest {
    /// What was logged comes first.
    pub logs: bool,
    /// What comes is streamed; without it, the client gets the logs and goes.
    pub stream: bool,
    /// The client writes standard input.
    pub stdin: bool,
    /// It gets standard output.
    pub stdout: bool,
    /// It gets standard error.
    pub stderr: bool,
    /// Keys that detach it (`ctrl-p,ctrl-q`); the default's if absent.
    pub detach_keys: Option<String>,
    /// Both outputs come as they are, in one stream.
    pub raw: bool,
}

/// What there is to be attached to: needed for the answer, before the connection is taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachTarget {
    /// The container's or exec's whole id.
    pub id: String,
    /// There is a terminal: output is not multiplexed.
    pub terminal: bool,
}

/// One more process, as it is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecRequest {
    /// What runs; the program first.
    pub command: Vec<String>,
    /// As whom; the container's user if empty.
    pub user: String,
    /// With a terminal.
    pub terminal: bool,
    /// With all capabilities.
    pub privileged: bool,
    /// A client will write standard input.
    pub stdin: bool,
    /// It will get standard output.
    pub stdout: bool,
    /// It will get standard error.
    pub stderr: bool,
    /// Keys that detach it.
    pub detach_keys: Option<String>,
    /// Environment beyond the container's, as `NAME=value`.
    pub env: Vec<String>,
    /// Where it begins; the container's directory if empty.
    pub working_dir: String,
    /// Rows and columns of its terminal.
    pub terminal_size: Option<(u16, u16)>,
}

/// How an exec is started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecStart {
    /// Rows and columns of its terminal, if they are known only now.
    pub terminal_size: Option<(u16, u16)>,
    /// The client wants output as it is. As in Docker, whoever starts an exec says so, and not the exec: that of a
    /// terminal comes in frames, too, unless they do.
    pub raw: bool,
}

/// What is known of an exec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecDetails {
    /// Its id.
    pub id: String,
    /// The container's.
    pub container: String,
    /// How it was asked for.
    pub request: ExecRequest,
    /// Somebody has asked for its start, and how that went is not known yet.
    #[serde(default)]
    pub starting: bool,
    /// Whether it runs.
    pub running: bool,
    /// Its process; zero while there is none.
    pub pid: i32,
    /// How it ended, if it did.
    pub exit_code: Option<i32>,
}

impl ExecDetails {
    /// An exec is started once.
    pub(crate) fn check_fresh(&self) -> Result<(), Error> {
        let id = self.id.clone();
        match self.exit_code {
            Some(_) => Err(Error::ExecEnded { id }),
            None if self.running => Err(Error::ExecRunning { id }),
            None => Ok(()),
        }
    }
}

/// Which of a container's logs are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogsRequest {
    /// Standard output's lines.
    pub stdout: bool,
    /// Standard error's lines.
    pub stderr: bool,
    /// From then on, in nanoseconds since 1970.
    pub since_ns: Option<i64>,
    /// Until then.
    pub until_ns: Option<i64>,
    /// Only the last so many.
    pub tail: Option<u64>,
    /// What comes, too, until the container ends.
    pub follow: bool,
}
