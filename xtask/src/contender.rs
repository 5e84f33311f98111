//! The runtimes that are judged side by side, and how each is called.
//!
//! Every call happens in a private mount namespace, and with a state folder of its own, so that no
//! contender sees another's containers or leaves a mount behind. crun refuses a host whose controllers
//! are on cgroup v1 while a v2 tree is mounted besides: for it, and only for it, that tree is unmounted.
//! It also gives standard streams to the container's user, `/dev/null` among them: all get a node of
//! their own.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::task::{At, TaskError, find_program, release_dir, run, scratch, workspace};

/// Where a hybrid host has its cgroup v2 tree.
pub(crate) const HYBRID_TREE: &str = "/sys/fs/cgroup/unified";

/// Covers `/dev/null` by a node that belongs to nobody else.
const OWN_NULL_DEVICE: &str = "\
    dir=$(mktemp -d) && mount -t tmpfs null \"$dir\" && mknod -m 666 \"$dir/null\" c 1 3 &&
    mount --bind \"$dir/null\" /dev/null && umount --lazy \"$dir\" && rmdir \"$dir\" && ";

/// A runtime with a name for the head of its column.
#[derive(Debug, Clone)]
pub(crate) struct Contender {
    /// The column's head; `dhow` is ours.
    pub(crate) name: String,
    /// The program.
    pub(crate) program: PathBuf,
}

impl Contender {
    /// Parses `NAME=PATH`, as the `--runtime` option takes it.
    pub(crate) fn parse(argument: &str) -> Result<Contender, TaskError> {
        match argument.split_once('=') {
            Some((name, program)) if !name.is_empty() && !program.is_empty() => {
                Ok(Contender { name: name.to_owned(), program: PathBuf::from(program) })
            }
            _ => Err(TaskError::Usage("--runtime wants NAME=PATH".into())),
        }
    }

    /// Whether this is the one that has to be in order.
    pub(crate) fn is_ours(&self) -> bool {
        self.name.starts_with("dhow")
    }

    /// Whether it works only where the hybrid tree is hidden.
    pub(crate) fn refuses_hybrid(&self) -> bool {
        self.name.starts_with("crun") && Path::new(HYBRID_TREE).join("cgroup.procs").exists()
    }

    /// `program` with a private mount namespace around it, in which this contender works.
    pub(crate) fn around(&self, program: impl Into<OsString>) -> Command {
        let hide = if self.refuses_hybrid() { "umount /sys/fs/cgroup/unified && " } else { "" };
        let script = format!("{OWN_NULL_DEVICE}{hide}exec \"$0\" \"$@\"");
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", &script]);
        command.arg(program.into());
        command
    }
}

/// Our own runtime, freshly built, and those of crun and runc that are installed.
///
/// The others' absence is said, not an error: a column is missing then.
pub(crate) fn all() -> Result<Vec<Contender>, TaskError> {
    let mut contenders = vec![ours()?];
    for name in ["crun", "runc"] {
        match find_program(name) {
            Some(program) => contenders.push(Contender { name: name.to_owned(), program }),
            None => eprintln!("SKIPPED: no {name} on this machine (apt-get install {name})"),
        }
    }
    Ok(contenders)
}

/// Builds `dhow` and gives it the name that makes it an OCI runtime.
pub(crate) fn ours() -> Result<Contender, TaskError> {
    run(Command::new("cargo")
        .args(["build", "--quiet", "--release", "--package", "dhow"])
        .current_dir(workspace()))?;
    let link = scratch("contest")?.join("dhow-oci");
    let _ = fs::remove_file(&link);
    symlink(release_dir().join("dhow"), &link).at("link", &link)?;
    Ok(Contender { name: "dhow".to_owned(), program: link })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contender_is_a_name_and_a_path() {
        let parsed = Contender::parse("dhow=/bin/dhow=x").expect("well formed");
        assert_eq!((parsed.name.as_str(), parsed.program.to_str()), ("dhow", Some("/bin/dhow=x")));
        for bad in ["", "dhow", "=/bin/true", "dhow="] {
            assert!(Contender::parse(bad).is_err(), "{bad:?}");
        }
    }
}
