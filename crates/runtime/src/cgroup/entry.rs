//! The ways into a cgroup: at birth, by the child's own hand, or moved from outside; and handing a cgroup to
//! the container's user.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Uid};

use super::Cgroup;
use super::error::{CgroupError, PathFault};
use super::hierarchy::Version;
use super::node::{Node, open, read_text};
use super::path::clean;

/// What the child needs to be born in, or to enter, its cgroup without anybody's help.
#[derive(Debug)]
pub(crate) struct Entry {
    /// For `CLONE_INTO_CGROUP`.
    pub(crate) v2_dir: Option<OwnedFd>,
    /// Each takes a `0` from the single-threaded child. Written so, the kernel moves one thread and waits
    /// for nothing; a pid from outside, or `cgroup.procs`, costs it an RCU grace period of 7 to 14 ms.
    pub(crate) v1_tasks: Vec<OwnedFd>,
}

/// Cgroups below the container's that an exec goes into, as `exec --cgroup` names them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct SubCgroups {
    /// Below the container's directory in every hierarchy that `by_controller` does not name.
    everywhere: Option<PathBuf>,
    /// By record key: `cpu`, `name=systemd`.
    by_controller: Vec<(String, PathBuf)>,
}

impl SubCgroups {
    /// Reads `[controller[,controller…]:]path`, each time the option was given.
    pub(crate) fn parse(arguments: &[String]) -> Result<SubCgroups, CgroupError> {
        let mut found = SubCgroups::default();
        for argument in arguments {
            let fault = |reason| CgroupError::Path { path: argument.clone(), reason };
            let (controllers, path) = match argument.split_once(':') {
                Some((controllers, path)) => (Some(controllers), path),
                None => (None, argument.as_str()),
            };
            if path.split('/').any(|part| part == "..") {
                return Err(fault(PathFault::Climbs));
            }
            let path = clean(path);
            match controllers {
                None if found.everywhere.is_some() => return Err(fault(PathFault::Twice)),
                None => found.everywhere = Some(path),
                Some(list) => {
                    for controller in list.split(',') {
                        if found.by_controller.iter().any(|(known, _)| known == controller) {
                            return Err(fault(PathFault::Twice));
                        }
                        found.by_controller.push((controller.to_owned(), path.clone()));
                    }
                }
            }
        }
        Ok(found)
    }

    fn path_for(&self, node: &Node) -> PathBuf {
        let named = self.by_controller.iter().find(|(key, _)| node.keys.contains(key));
        let below = named.map(|(_, path)| path).or(self.everywhere.as_ref());
        below.map_or_else(|| node.path.clone(), |below| node.path.join(below))
    }
}

impl Cgroup {
    /// Opens what the child needs to enter.
    pub(crate) fn entry(&self) -> Result<Entry, CgroupError> {
        self.entry_at(|node| node.path.clone())
    }

    /// Opens what a further process needs to enter cgroups below the container's, which must be there.
    pub(crate) fn entry_below(&self, below: &SubCgroups) -> Result<Entry, CgroupError> {
        let unknown = below
            .by_controller
            .iter()
            .find(|(key, _)| !self.nodes.iter().any(|node| node.keys.contains(key)));
        if let Some((key, _)) = unknown {
            return Err(CgroupError::Path { path: key.clone(), reason: PathFault::NotAController });
        }
        self.entry_at(|node| below.path_for(node))
    }

    /// As `entry`, but on version 2 into the cgroup where `pid` is now.
    ///
    /// A container may move its first process further down and turn controllers on: then its own top takes
    /// no processes any more (`EBUSY`), and whoever comes later has to go where the first one went.
    pub(crate) fn entry_beside(&self, pid: Pid) -> Result<Entry, CgroupError> {
        let file = PathBuf::from(format!("/proc/{}/cgroup", pid.as_raw_nonzero()));
        let text = read_text(&file)?;
        let place = text.lines().find_map(|line| line.strip_prefix("0::/"));
        self.entry_at(|node| match (node.version, place) {
            (Version::V2, Some(place)) => place_of(node, Path::new(place)),
            _ => node.path.clone(),
        })
    }

    fn entry_at(&self, path: impl Fn(&Node) -> PathBuf) -> Result<Entry, CgroupError> {
        let mut entry = Entry { v2_dir: None, v1_tasks: Vec::with_capacity(self.nodes.len()) };
        if self.waits_for_process() {
            return Ok(entry);
        }
        for node in &self.nodes {
            let path = path(node);
            match node.version {
                Version::V1 => entry.v1_tasks.push(open(&path.join("tasks"), OFlags::WRONLY)?),
                Version::V2 => {
                    entry.v2_dir = Some(open(&path, OFlags::PATH | OFlags::DIRECTORY)?);
                }
            }
        }
        Ok(entry)
    }

    /// Whether the cgroup comes into being only when a process is attached; until then it has no entry.
    ///
    /// The process has to wait meanwhile, and to make its cgroup namespace afterwards.
    pub(crate) fn waits_for_process(&self) -> bool {
        self.pending.is_some()
    }

    /// Moves a process with all its threads in, from outside; makes the cgroup that waits for one.
    pub(crate) fn attach(&mut self, pid: Pid) -> Result<(), CgroupError> {
        if self.pending.is_some() {
            return self.start_scope(pid);
        }
        let text = pid.as_raw_nonzero().to_string();
        let moved = self.nodes.iter().try_for_each(|node| node.write("cgroup.procs", &text));
        match (&self.unit, moved) {
            (Some(unit), Err(error)) if error.is_denied() => unit.attach(pid),
            (_, moved) => moved,
        }
    }

    /// Hands the version 2 cgroup to a user, who may then make cgroups in it and move processes about; its
    /// limits stay the host's. Version 1 has no such thing that would be safe.
    pub(crate) fn give_to(&self, owner: Uid) -> Result<(), CgroupError> {
        let Some(node) = self.unified() else { return Ok(()) };
        let files = match read_text("/sys/kernel/cgroup/delegate".as_ref()) {
            Ok(text) => text,
            Err(error) if error.is_absent() => {
                "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n".to_owned()
            }
            Err(error) => return Err(error),
        };
        let own = |path: &Path| {
            rustix::fs::chownat(CWD, path, Some(owner), None, rustix::fs::AtFlags::empty())
        };
        own(&node.path).map_err(|errno| CgroupError::Give { file: node.path.clone(), errno })?;
        for name in files.lines() {
            let file = node.file(name);
            match own(&file) {
                // The list is of all that this kernel could have.
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(CgroupError::Give { file, errno }),
            }
        }
        Ok(())
    }
}

/// The directory of `place`, a path from the root of the hierarchy that is `node`'s own or goes on below it.
/// Anything else is no place of the container's, and its own directory stands.
fn place_of(node: &Node, place: &Path) -> PathBuf {
    // Shortest first: the mount point is what leaves the whole of the container's own path.
    let mut above: Vec<&Path> = node.path.ancestors().skip(1).collect();
    above.reverse();
    let is_mount =
        |above: &&Path| node.path.strip_prefix(above).is_ok_and(|own| place.starts_with(own));
    above.into_iter().find(is_mount).map_or_else(|| node.path.clone(), |mount| mount.join(place))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::os::fd::AsFd;

    use dhow_sys::{Clone, Exit, Memory, Namespaces, clone_child, exit_now};

    use super::*;
    use crate::cgroup::CgroupPath;
    use crate::cgroup::testing::{ScratchDir, Sleeper, TestPlace, scratch_cgroup};

    fn below(arguments: &[&str]) -> Result<SubCgroups, String> {
        let arguments: Vec<String> = arguments.iter().map(|one| one.to_string()).collect();
        SubCgroups::parse(&arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn sub_cgroups_are_for_all_controllers_or_for_some() {
        let found = below(&["/a", "cpu,memory:b/c"]).unwrap();
        let node = |key: &str| Node::new(Version::V1, vec![key.to_owned()], "/m/x".into());
        assert_eq!(found.path_for(&node("pids")), Path::new("/m/x/a"));
        assert_eq!(found.path_for(&node("memory")), Path::new("/m/x/b/c"));
        assert_eq!(
            below(&["a", "b"]).unwrap_err(),
            "cgroup path \"b\": names the same hierarchy twice"
        );
        assert_eq!(
            below(&["cpu:../../x"]).unwrap_err(),
            "cgroup: cpu:../../x is not a sub cgroup path"
        );
    }

    #[test]
    fn an_unknown_controller_is_no_silent_default() {
        let dir = ScratchDir::new(&[("tasks", "")]);
        let error = scratch_cgroup(&dir, "pids").entry_below(&below(&["cpus:a"]).unwrap());
        assert_eq!(
            error.unwrap_err().to_string(),
            "cgroup path \"cpus\": is no controller of the container's cgroups"
        );
    }

    #[test]
    fn a_moved_process_is_followed_below_the_container_only() {
        let node = |path: &str| Node::new(Version::V2, vec![String::new()], path.into());
        let place = |path: &str, place: &str| place_of(&node(path), Path::new(place));
        assert_eq!(place("/m/c/c1/c1", "c1/c1/in"), Path::new("/m/c/c1/c1/in"));
        assert_eq!(place("/m/c/p/c1", "p/c1"), Path::new("/m/c/p/c1"));
        assert_eq!(place("/m/c/p/c1", "other/x"), Path::new("/m/c/p/c1"));
    }

    fn is_born_at(entry: &Entry, wanted: &str) -> bool {
        let clone = Clone {
            namespaces: Namespaces::empty(),
            cgroup: entry.v2_dir.as_ref().map(AsFd::as_fd),
            memory: Memory::Copied,
            sibling: false,
        };
        let look = || -> Infallible {
            let mut text = [0; 4096];
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let file = rustix::fs::open(c"/proc/self/cgroup", flags, rustix::fs::Mode::empty());
            let count = file.and_then(|file| rustix::io::read(file, &mut text)).unwrap_or(0);
            let mut lines = text[..count].split(|byte| *byte == b'\n');
            let found = lines.any(|line| line.strip_prefix(b"0::") == Some(wanted.as_bytes()));
            exit_now(i32::from(found))
        };
        clone_child(&clone, look).unwrap().wait().unwrap() == Exit::Code(1)
    }

    #[test]
    fn a_child_is_born_in_version_2_and_beside_the_first_process() {
        let Some(place) = TestPlace::new() else { return };
        let mut cgroup = Cgroup::create(&place.hierarchies, &place.path, None).unwrap();
        if cgroup.unified().is_none() {
            return cgroup.remove().unwrap();
        }
        let CgroupPath::Absolute(path) = &place.path else { unreachable!() };
        let own = format!("/{}", path.display());
        assert!(is_born_at(&cgroup.entry().unwrap(), &own));
        let first = Sleeper::new();
        cgroup.attach(first.pid()).unwrap();
        assert!(is_born_at(&cgroup.entry_beside(first.pid()).unwrap(), &own));
        let node = cgroup.unified().unwrap();
        rustix::fs::mkdir(node.file("in"), rustix::fs::Mode::RWXU).unwrap();
        let pid = first.pid().as_raw_nonzero().to_string();
        node.write("in/cgroup.procs", &pid).unwrap();
        let inside = format!("{own}/in");
        assert!(is_born_at(&cgroup.entry_beside(first.pid()).unwrap(), &inside));
        let missing = cgroup.entry_below(&below(&["absent"]).unwrap()).unwrap_err();
        assert!(missing.is_absent(), "{missing}");
        cgroup.kill().unwrap();
        drop(first);
        cgroup.remove().unwrap();
    }

    #[test]
    fn a_cgroup_that_is_given_away_can_be_worked_in_but_not_relaxed() {
        let Some(place) = TestPlace::new() else { return };
        let cgroup = Cgroup::create(&place.hierarchies, &place.path, None).unwrap();
        cgroup.give_to(Uid::from_raw(4242)).unwrap();
        if let Some(node) = cgroup.unified() {
            let owner = |name| rustix::fs::stat(node.file(name)).unwrap().st_uid;
            assert_eq!(owner(""), 4242);
            assert_eq!(owner("cgroup.procs"), 4242);
            assert_eq!(owner("cgroup.max.depth"), 0);
        }
        cgroup.remove().unwrap();
    }
}
