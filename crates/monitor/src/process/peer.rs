//! An engine at the other end of a connection.

use std::os::fd::{AsFd, BorrowedFd};

use crate::connection::Connection;

#[derive(Debug)]
pub(super) struct Peer {
    key: u32,
    connection: Connection,
    follows: bool,
}

impl Peer {
    pub(super) fn new(key: u32, connection: Connection) -> Self {
        Self { key, connection, follows: false }
    }

    pub(super) fn key(&self) -> u32 {
        self.key
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Whether it is told records.
    pub(super) fn follows(&self) -> bool {
        self.follows
    }

    pub(super) fn follow(&mut self) {
        self.follows = true;
    }
}

impl AsFd for Peer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}
