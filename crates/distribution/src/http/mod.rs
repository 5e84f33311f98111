//! One request and its answer, without any word of registries.
//!
//! Invariant: nothing waits without end — a connection, an answer and every piece of a body have
//! their time — and no host sees more requests at once than it should.
//! Absent on purpose: trying again, redirects, credentials.

mod answer;
mod body;
mod transport;

pub(crate) use answer::{Answer, Whole};
pub(crate) use body::OutBody;
pub(crate) use transport::{Request, Transport};
