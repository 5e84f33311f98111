//! Safe wrappers of the Linux calls that dhow needs and `rustix` lacks.
//!
//! The only crate with `unsafe`. Everything takes and gives file descriptors and plain values; nothing
//! here knows a container, a policy, a log or a path of the host. Functions that may run between clone
//! and exec say so: they neither allocate nor lock.
//!
//! What rustix offers safely is used from rustix directly, not wrapped again.

mod bpf;
mod btrfs;
mod fd;
mod keyring;
mod link;
mod mount;
mod namespace;
mod net;
mod netlink;
mod process;
mod program;
mod quota;
mod sched;
mod seccomp;
mod signal;

pub use bpf::{BpfInstruction, DeviceProgram};
pub use btrfs::{btrfs_create, btrfs_destroy, btrfs_limit, btrfs_set_readonly, btrfs_snapshot};
pub use fd::{
    FdPath, close_on_exec_from, close_others, fd_path, is_inheritable, keep_at_exec, place_at,
    take_descriptor,
};
pub use keyring::{KeySerial, allow_key, join_session_keyring};
pub use link::{Link, LinkAddress, Links};
pub use mount::{MOUNT_ATTR_IDMAP, MountAttr, mount_setattr};
pub use namespace::{Namespaces, set_namespace, unshare};
pub use net::{bytes_unread_by_peer, loopback_up};
pub use netlink::{NetlinkError, NetlinkRequest, NetlinkSocket, attributes as netlink_attributes};
pub use process::{
    Argv, Child, Clone, Exit, Memory, clone_child, close_copy, exec_again, execve, exit_now,
    release_memory, working_directory_is_reachable,
};
pub use program::adopt_program;
pub use quota::{limit_project, set_project};
pub use rustix::io::Errno;
pub use sched::{SchedAttr, ioprio_set, sched_setattr, set_mempolicy, set_personality};
pub use seccomp::{
    FILTER_LENGTH_MAX, SeccompFlags, SockFilter, load_seccomp, seccomp_action_available,
    seccomp_flags_supported,
};
pub use signal::{
    ReceivedSignal, SignalSet, blocked_signals, end_on_signals, ignored_signals, kill, pidfd_exit,
    pidfd_kill, read_signal, reset_dispositions, set_mask, signal_fd,
};
