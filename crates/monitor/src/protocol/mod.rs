//! What an engine and a monitor say to each other, as plain values.
//!
//! One message is one JSON object, one datagram of a seqpacket socket; descriptors travel beside it. Every
//! request is answered by exactly one [`Reply`] other than [`Reply::Record`], in order; records come in
//! between to who asked to follow. Both sides skip fields that they do not know, and a request or an event of
//! an unknown kind is [`Request::Unknown`] or [`Event::Unknown`]: an engine works with monitors of other
//! versions.
//! Absent on purpose: how messages travel (`Connection`) and how records are kept (`journal`).

mod event;
mod launch;
mod request;

pub use event::{Event, Health, Probe, Record, StartFailure};
pub use launch::{
    HealthCheck, Launch, LogConfig, LogDriver, NetworkPlace, Owners, RestartPolicy, RootMount,
    Runtime, Upper,
};
pub use request::{AttachRequest, ErrorKind, ExecRequest, Reply, Request, StreamKinds};

/// The version of these words that this program writes.
///
/// It grows when a field changes its meaning; new fields and kinds alone do not need that.
pub const VERSION: u32 = 1;
