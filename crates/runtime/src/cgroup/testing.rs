//! For the tests of this module: directories that look like cgroups, and real cgroups that are always
//! removed, also when the test panics.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::hierarchy::Version;
use super::node::Node;
use super::{Cgroup, CgroupError, CgroupPath, Hierarchies};

fn unique_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("dhow-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A directory of plain files.
pub(crate) struct ScratchDir(PathBuf);

impl ScratchDir {
    pub(crate) fn new(files: &[(&str, &str)]) -> ScratchDir {
        let dir = std::env::temp_dir().join(unique_name());
        std::fs::create_dir(&dir).unwrap();
        let dir = ScratchDir(dir);
        for (name, text) in files {
            dir.add(name, text);
        }
        dir
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn add(&self, name: &str, text: &str) {
        let file = self.0.join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }

    pub(crate) fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap()
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A cgroup that is one plain directory, under the key of a record ("" for version 2).
pub(crate) fn scratch_cgroup(dir: &ScratchDir, key: &str) -> Cgroup {
    let version = if key.is_empty() { Version::V2 } else { Version::V1 };
    let node = Node::new(version, vec![key.to_owned()], dir.path().to_owned());
    Cgroup::of(vec![node])
}

/// A place of the test's own in every hierarchy of this host.
pub(crate) struct TestPlace {
    pub(crate) hierarchies: Hierarchies,
    pub(crate) path: CgroupPath,
}

impl TestPlace {
    /// `None`, said aloud, where this process may not make cgroups.
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    pub(crate) fn new() -> Option<TestPlace> {
        let allowed = rustix::process::geteuid().is_root() && Hierarchies::discover().is_ok();
        if !allowed {
            let thread = std::thread::current();
            let test = thread.name().and_then(|path| path.rsplit("::").next()).unwrap_or("a_test");
            eprintln!("SKIPPED {test}: needs root and a cgroup file system");
            return None;
        }
        let hierarchies = Hierarchies::discover().unwrap();
        Some(TestPlace { hierarchies, path: CgroupPath::Absolute(unique_name().into()) })
    }

    /// As `new`, with a slice's name.
    pub(crate) fn in_slice() -> Option<TestPlace> {
        let mut place = TestPlace::new()?;
        // A dash would make a slice within a slice, which is nobody's own.
        let name = unique_name().replace('-', "x");
        place.path = CgroupPath::Absolute(format!("{name}.slice").into());
        Some(place)
    }

    pub(crate) fn slice(&self) -> String {
        match &self.path {
            CgroupPath::Absolute(path) => path.display().to_string(),
            other => panic!("{other:?} is no slice"),
        }
    }

    pub(crate) fn directories(&self) -> Vec<PathBuf> {
        let directory = |one| self.path.directory(&self.hierarchies, one).unwrap().unwrap();
        self.hierarchies.iter().map(directory).collect()
    }
}

impl Drop for TestPlace {
    fn drop(&mut self) {
        if let Ok(cgroup) = open(&self.hierarchies, &self.path) {
            let _ = cgroup.kill();
            let _ = cgroup.remove();
        }
    }
}

/// A process of the test's own, killed and reaped at the end.
pub(crate) struct Sleeper(pub(crate) std::process::Child);

impl Sleeper {
    pub(crate) fn new() -> Sleeper {
        Sleeper::running("exec sleep 100")
    }

    /// A shell with a pipe to its standard input.
    #[expect(clippy::disallowed_methods, reason = "a test's payload")]
    pub(crate) fn running(script: &str) -> Sleeper {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", script]);
        command.stdin(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
        Sleeper(command.spawn().unwrap())
    }

    pub(crate) fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.0)
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Finds the directories of a cgroup that somebody has made; hierarchies without one are left out.
pub(crate) fn open(hierarchies: &Hierarchies, path: &CgroupPath) -> Result<Cgroup, CgroupError> {
    let mut nodes = Vec::new();
    for hierarchy in hierarchies.iter() {
        let Some(dir) = path.directory(hierarchies, hierarchy)? else { continue };
        if rustix::fs::access(&dir, rustix::fs::Access::EXISTS).is_ok() {
            nodes.push(Node::new(hierarchy.version, hierarchy.keys(), dir));
        }
    }
    Ok(Cgroup::of(nodes))
}
