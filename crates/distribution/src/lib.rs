//! The registry protocol (distribution-spec 1.1), client side.
//!
//! Invariant: bytes come from and go to a source or sink that the caller gives; nothing that a registry
//! says is believed before its digest is right.
//! Absent on purpose: our disk layout, snapshots, configuration files and credential helpers.
