//! From a specification to a process.

#[allow(dead_code, unused_imports, reason = "the cgroups come before the commands that use them")]
mod cgroup;
#[allow(dead_code, unused_imports, reason = "the tables come before what looks things up in them")]
mod words;
