//! Containers: what is asked for, and what becomes of it.
//!
//! Invariant: a request that got past its own checks is the only way to a container.

pub mod request;
