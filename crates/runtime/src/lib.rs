//! From an OCI runtime specification to a live, walled-in process.
//!
//! The way of a container through this crate: [`container`] claims its name and calls the others;
//! [`cgroup`] makes its cgroup; [`plan`] turns the configuration into a program of steps, pure but for
//! opening what it names; [`init`] is that program's language and the interpreter that runs between clone
//! and exec; [`hooks`], [`foreground`] and [`external`] are the parent's company on the way. [`words`] and
//! [`seccomp`] translate the specification's terms for the kernel.
//!
//! Nobody here knows images, names of networks, or HTTP; there are no threads.

mod cgroup;
mod container;
mod criu;
mod error;
mod external;
mod foreground;
mod hooks;
mod init;
mod notice;
mod oci;
mod plan;
mod seccomp;
mod selfexe;
mod text;
mod words;

pub use cgroup::{OomEvent, OomWatch};
pub use container::{
    CgroupManager, CheckpointOptions, Container, ContainerId, CreateOptions, CriuOptions,
    ExecFlags, ExecOptions, ExecProcess, Given, IoCount, Live, RestoreOptions, StateRoot, Streams,
    Usage, create, delete_damaged, restore, run, spawn, user_namespace,
};
pub use criu::CgroupMode;
pub use error::{Error, StepError, StepKind};
pub use notice::on_notice;
pub use oci::{Environment, main as oci_main};
pub use words::capability_names;
