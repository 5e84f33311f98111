//! Containers: what is asked for, and what becomes of it.
//!
//! The way of a container through this module: [`request`] is what a client wants, checked; `create` records it
//! and makes its layer; a `task` owns it from then on, starts it by way of a monitor (`link`), and writes down
//! what the monitor tells; `table` is where everybody else looks.
//!
//! Invariant: a request that got past its own checks is the only way to a container; only its task changes it.

pub(crate) mod asks;
pub(crate) mod create;
pub(crate) mod document;
mod execs;
pub(crate) mod inspect;
mod keys;
pub(crate) mod link;
pub(crate) mod list;
pub(crate) mod names;
pub(crate) mod recover;
pub mod request;
pub(crate) mod root;
pub(crate) mod stand_in;
pub(crate) mod state;
pub(crate) mod stats;
pub(crate) mod table;
pub(crate) mod task;
pub(crate) mod top;
pub(crate) mod views;

use std::fmt::Write;

use crate::error::Error;

/// Bytes that nobody can guess.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| Error::io("read", "random bytes", errno.into()))?;
    Ok(bytes)
}

/// A new id: 64 hexadecimal digits. Its first twelve are never a number alone, which some programs would take
/// a host name for.
pub(crate) fn new_id() -> Result<String, Error> {
    loop {
        let mut id = String::with_capacity(64);
        for byte in random::<32>()? {
            let _ = write!(id, "{byte:02x}");
        }
        if id[..12].bytes().any(|byte| !byte.is_ascii_digit()) {
            return Ok(id);
        }
    }
}
