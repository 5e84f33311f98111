//! Layers: a tar stream applied to a snapshot, and a snapshot's changes as a tar stream.
