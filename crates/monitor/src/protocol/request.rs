//! What an engine asks of a monitor, and the answers.

use dhow_spec::runtime::{Process, Resources};
use serde::{Deserialize, Serialize};

use super::event::{Record, StartFailure};
use super::launch::RestartPolicy;

/// What an engine asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
#[non_exhaustive]
pub enum Request {
    /// Who speaks; answered with [`Reply::Hello`]. Not obligatory.
    Hello {
        /// The engine's [`super::VERSION`].
        version: u32,
    },
    /// Start the container; answered with [`Reply::Started`].
    Start,
    /// Watch a container that another monitor started; answered with [`Reply::Started`]. Beside it travels
    /// what [`Request::Streams`] gave: the pidfd, then the streams, as far as they are still there.
    Adopt {
        /// Which streams the descriptors after the pidfd are.
        streams: StreamKinds,
        /// A pidfd comes first.
        pidfd: bool,
    },
    /// Give duplicates of the pidfd and the streams, for a later [`Request::Adopt`]; answered with
    /// [`Reply::Streams`]. They change with every start.
    Streams,
    /// From now on tell every record, those after this number first.
    Follow {
        /// The last one that the engine has stored.
        after: u64,
    },
    /// The engine has stored all records up to this one: the journal may forget them.
    Stored {
        /// The last of them.
        number: u64,
    },
    /// End the container, and let no policy start it again. Answered when the signal is sent;
    /// [`super::Event::Exited`] tells the end.
    #[serde(rename_all = "camelCase")]
    Stop {
        /// Another signal than the launch's.
        #[serde(default)]
        signal: Option<i32>,
        /// Another timeout than the launch's; -1 is for ever.
        #[serde(default)]
        timeout_s: Option<i64>,
    },
    /// Send a signal to the first process. KILL and the stop signal end the policy too.
    Kill {
        /// Which.
        signal: i32,
    },
    /// Freeze all processes.
    Pause,
    /// Let them go on.
    Resume,
    /// Change the terminal's size.
    Resize {
        /// Rows.
        rows: u16,
        /// Columns.
        cols: u16,
    },
    /// Connect a client's socket, which travels beside it, to the container's streams.
    Attach(AttachRequest),
    /// Run one more process; a client's socket travels beside it unless it is detached. Answered with
    /// [`Reply::Started`].
    Exec(Box<ExecRequest>),
    /// Change the size of an exec's terminal.
    #[serde(rename_all = "camelCase")]
    ExecResize {
        /// Which.
        exec_id: String,
        /// Rows.
        rows: u16,
        /// Columns.
        cols: u16,
    },
    /// Change limits, the restart policy, or both.
    Update {
        /// The limits that change, and no others.
        #[serde(default)]
        resources: Option<Box<Resources>>,
        /// The new policy.
        #[serde(default)]
        restart: Option<RestartPolicy>,
    },
    /// The files about the container's network have changed.
    Network,
    /// List the processes; answered with [`Reply::Processes`].
    Processes,
    /// Leave; refused while the container runs.
    Quit,
    /// Something that a newer engine knows; answered with an error.
    #[serde(other)]
    Unknown,
}

/// Which streams come as descriptors, in the order of the fields. A terminal's master comes alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamKinds {
    /// The terminal's master.
    #[serde(default)]
    pub terminal: bool,
    /// The writing end of standard input.
    #[serde(default)]
    pub stdin: bool,
    /// The reading end of standard output.
    #[serde(default)]
    pub stdout: bool,
    /// The reading end of standard error.
    #[serde(default)]
    pub stderr: bool,
}

/// A client at the container's streams. Whatever the HTTP answer needs has been written before.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttachRequest {
    /// What the client sends goes to standard input.
    #[serde(default)]
    pub stdin: bool,
    /// The client gets standard output.
    #[serde(default)]
    pub stdout: bool,
    /// The client gets standard error.
    #[serde(default)]
    pub stderr: bool,
    /// The keys that end the session, as bytes; none for none.
    #[serde(default)]
    pub detach_keys: Vec<u8>,
    /// Output is framed by Docker's header of 8 bytes; not for terminals.
    #[serde(default)]
    pub multiplexed: bool,
    /// What of the client's input the engine has already read.
    #[serde(default)]
    pub read_ahead: Vec<u8>,
}

/// One more process in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecRequest {
    /// The engine's name for it.
    pub exec_id: String,
    /// What is run, and as whom; its `terminal` and `consoleSize` count.
    pub process: Process,
    /// It is given every capability that can be given.
    #[serde(default)]
    pub privileged: bool,
    /// The client, if one is there, and what of it is connected.
    #[serde(default)]
    pub attach: Option<AttachRequest>,
}

/// What a monitor answers or tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
#[non_exhaustive]
pub enum Reply {
    /// Who answers.
    Hello {
        /// The monitor's [`super::VERSION`].
        version: u32,
        /// The last record of the journal, 0 for none.
        last: u64,
        /// The first process runs.
        running: bool,
        /// And is frozen.
        paused: bool,
    },
    /// It is done.
    Ok,
    /// The process runs.
    Started {
        /// It, in the monitor's PID namespace.
        pid: i32,
    },
    /// Duplicates travel beside it: the pidfd, then these.
    Streams {
        /// Which.
        streams: StreamKinds,
    },
    /// The container's processes, in the monitor's PID namespace.
    Processes {
        /// Their pids.
        pids: Vec<i32>,
    },
    /// It is not done.
    Error {
        /// Whose fault it is.
        kind: ErrorKind,
        /// Why.
        message: String,
    },
    /// Something happened.
    Record(Record),
    /// Something that a newer monitor says.
    #[serde(other)]
    Unknown,
}

/// Whose fault it is that a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ErrorKind {
    /// The program could not be started.
    Start(StartFailure),
    /// The container is in a state that does not allow it.
    Conflict,
    /// There is no such exec.
    NotFound,
    /// The request makes no sense.
    Invalid,
    /// A newer engine asks for what this monitor does not know.
    Unsupported,
    /// Anything else.
    Internal,
}
