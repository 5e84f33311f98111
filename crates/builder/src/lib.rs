//! From a Dockerfile to an image: the language, the stages, the cache keys.
//!
//! Invariant: nothing here touches a disk, a process or a registry: they are brought by whoever builds.
//! Absent on purpose: the store's layout, the API, async code. A stage is a thread.

pub mod dockerfile;
