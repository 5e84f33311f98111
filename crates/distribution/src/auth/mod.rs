//! Saying who we are, and no more than a registry asks.
//!
//! Invariant: credentials for one registry go to that registry and the token server that it names,
//! and never without TLS unless the registry itself has none.

mod scope;
mod token;

pub(crate) use scope::Scopes;
pub(crate) use token::{Bearer, Form, Grant, Slot, TokenKey, Tokens};
