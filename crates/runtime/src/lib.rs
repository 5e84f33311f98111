//! From a specification to a process.

#[allow(dead_code, unused_imports, reason = "the cgroups come before the commands that use them")]
mod cgroup;
#[allow(dead_code, reason = "watching comes before the containers to watch")]
mod foreground;
#[allow(dead_code, reason = "the hooks come before the containers that call them")]
mod hooks;
#[allow(dead_code, unused_imports, reason = "the compiler comes before what loads its programs")]
mod seccomp;
#[allow(dead_code, reason = "shared by what is to come")]
mod text;
#[allow(dead_code, unused_imports, reason = "the tables come before what looks things up in them")]
mod words;
