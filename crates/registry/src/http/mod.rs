//! HTTP as registries speak it: queries, bodies, answers, errors.

pub(crate) mod body;
pub(crate) mod call;
pub(crate) mod error;
pub(crate) mod query;
pub(crate) mod range;
pub(crate) mod reply;
pub(crate) mod wire;
