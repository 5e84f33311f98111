//! The mount namespace that a contender works in, held by its file alone.
//!
//! This process enters it before it starts a program, so that no helper stands between the two. That
//! works only while the process has a single thread. Nothing mounted inside is seen outside.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::contender::Contender;
use crate::task::{At, TaskError};

/// Gives the hierarchies a folder of their own to be mounted in: engines make folders between them.
const PRIVATE_CGROUP_DIR: &str = "\
    [ \"$(stat -f -c %T /sys/fs/cgroup)\" = tmpfs ] || exit 0
    old=$(mktemp -d) && mount --rbind /sys/fs/cgroup \"$old\" && mount -t tmpfs cgroup /sys/fs/cgroup
    for tree in \"$old\"/*/; do
        name=$(basename \"$tree\") && mkdir /sys/fs/cgroup/\"$name\"
        mount --bind \"$tree\" /sys/fs/cgroup/\"$name\"
    done
    umount --lazy \"$old\" && rmdir \"$old\"";

/// A mount namespace.
#[derive(Debug)]
pub(crate) struct Host {
    namespace: File,
}

impl Host {
    /// The one that this process is in now.
    pub(crate) fn current() -> Result<Host, TaskError> {
        let path = "/proc/self/ns/mnt";
        Ok(Host { namespace: File::open(path).at("open", path)? })
    }

    /// A new one in which `contender` works.
    pub(crate) fn of(contender: &Contender) -> Result<Host, TaskError> {
        Host::hold(contender.around("sh"), "")
    }

    /// The same, where folders can be made in `/sys/fs/cgroup` without anybody noticing.
    pub(crate) fn with_private_cgroup_dir(contender: &Contender) -> Result<Host, TaskError> {
        Host::hold(contender.around("sh"), PRIVATE_CGROUP_DIR)
    }

    /// Moves this process there.
    pub(crate) fn enter(&self) -> Result<(), TaskError> {
        let kind = Some(LinkNameSpaceType::Mount);
        move_into_link_name_space(self.namespace.as_fd(), kind).at("enter", "mount namespace")
    }

    /// Lets a shell prepare the namespace and hold it until we have its file.
    fn hold(mut shell: Command, preparation: &str) -> Result<Host, TaskError> {
        let script = format!("(set -e; {preparation}\n) && echo ready && exec sleep 60");
        let mut holder =
            shell.args(["-c", &script]).stdout(Stdio::piped()).spawn().at("start", "unshare")?;
        let mut line = String::new();
        if let Some(stdout) = holder.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).at("read", "unshare")?;
        }
        let path = format!("/proc/{}/ns/mnt", holder.id());
        let namespace = File::open(&path).at("open", &path);
        holder.kill().at("end", "unshare")?;
        holder.wait().at("wait for", "unshare")?;
        match line.trim() {
            "ready" => Ok(Host { namespace: namespace? }),
            _ => Err(TaskError::Program { line: "unshare --mount".to_owned(), code: None }),
        }
    }
}
