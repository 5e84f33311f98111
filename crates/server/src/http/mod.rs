//! HTTP as Docker's clients speak it, without a word about what is asked for.

pub(crate) mod api_version;
pub(crate) mod body;
pub(crate) mod call;
pub(crate) mod error;
pub(crate) mod query;
pub(crate) mod reply;
pub(crate) mod takeover;
pub(crate) mod transfer;
pub(crate) mod websocket;
