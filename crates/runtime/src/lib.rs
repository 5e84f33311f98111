//! From a specification to a process.
