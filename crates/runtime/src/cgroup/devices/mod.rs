//! Which devices the processes of a cgroup may open and make.
//!
//! The rules are the configuration's in their order, then those that every container has. Version 1 gets
//! them as a list, version 2 as an eBPF program of ours on the container's cgroup. Programs of others
//! (systemd attaches some) stay: access needs the consent of all.

mod list;
mod program;
pub(super) mod rules;

use dhow_spec::runtime::DeviceRule;
use dhow_sys::DeviceProgram;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::controller::Controller;
use super::error::CgroupError;
use super::node::{Node, open, read_text};
use super::{Cgroup, is_host_root};
use list::{Change, DeviceList};
use rules::Rule;

/// By this name, programs of ours are known again when they are to be replaced.
const PROGRAM_NAME: &str = "dhow_devices";

impl Cgroup {
    /// Puts `given` and the usual rules on the cgroup; what is allowed before and after is allowed
    /// throughout. `fresh` says that the directories are new and have what they have from above.
    pub(super) fn guard_devices(
        &self,
        given: &[DeviceRule],
        fresh: bool,
    ) -> Result<(), CgroupError> {
        let rules = rules::complete(given)?;
        if let Some(node) = self.node_of_v1(Controller::Devices) {
            return match guard_v1(node, given, &rules, fresh) {
                // Neither may an unprivileged user's container make nodes, whatever the list says.
                Err(error) if error.is_denied() && !is_host_root() => Ok(()),
                done => done,
            };
        }
        match self.unified() {
            // What is new has no program, and none is as good as one that consents to all.
            Some(_) if fresh && rules::allows_all(&rules) => Ok(()),
            Some(node) => attach_program(node, &rules, fresh),
            None if is_host_root() => Err(self.why_not(Controller::Devices, "devices")),
            None => Ok(()),
        }
    }
}

/// The rules as systemd's properties can say them.
pub(super) enum DeviceAllowance {
    /// Not at all, or nothing is denied: systemd is to deny nothing.
    All,
    /// Nodes, or names of drivers, with the letters of what is allowed.
    Some(Vec<(String, String)>),
}

/// What `given` and the usual rules allow, for systemd to keep up on version 1.
pub(super) fn allowances(given: &[DeviceRule]) -> DeviceAllowance {
    let rules = rules::complete(given);
    match rules.and_then(|rules| DeviceList::from_rules(&rules)) {
        Ok(list) if !list.allow => {
            let drivers = read_text("/proc/devices".as_ref()).unwrap_or_default();
            DeviceAllowance::Some(list.for_systemd(&drivers))
        }
        _ => DeviceAllowance::All,
    }
}

/// A new cgroup is as its parent. That need not be read: as the host's it allows all, and under a narrower
/// one the same writes end in the same list, less what the parent does not have.
fn guard_v1(
    node: &Node,
    given: &[DeviceRule],
    rules: &[Rule],
    fresh: bool,
) -> Result<(), CgroupError> {
    let now = if fresh { DeviceList::of_all() } else { read_list(node)? };
    change_list(node, &now, given, rules)
}

fn read_list(node: &Node) -> Result<DeviceList, CgroupError> {
    let text = node.read("devices.list")?;
    DeviceList::parse(&text)
        .ok_or_else(|| CgroupError::Malformed { file: node.file("devices.list"), text })
}

fn change_list(
    node: &Node,
    now: &DeviceList,
    given: &[DeviceRule],
    rules: &[Rule],
) -> Result<(), CgroupError> {
    let changes = now.changes_to(&DeviceList::from_rules(rules)?);
    let mut files: [Option<OwnedFd>; 2] = [None, None];
    for change in &changes {
        let at = usize::from(change.file == "devices.deny");
        let fd = match &files[at] {
            Some(fd) => fd,
            None => files[at].insert(node.open(change.file, OFlags::WRONLY)?),
        };
        match rustix::io::write(fd, change.line.as_bytes()) {
            Ok(_) => {}
            // What the cgroup above does not have it cannot give; of what only we want, we do without.
            Err(Errno::PERM) if !is_asked_for(change, given)? => {}
            Err(errno) => {
                let (file, value) = (node.file(change.file), change.line.clone());
                return Err(CgroupError::Write { file, value, errno });
            }
        }
    }
    Ok(())
}

fn is_asked_for(change: &Change, given: &[DeviceRule]) -> Result<bool, CgroupError> {
    Ok(DeviceList::from_rules(&rules::configured(given)?)?.shares(change))
}

/// Puts our program on the cgroup, in the place of one of ours that may be there if it is not `fresh`.
fn attach_program(node: &Node, rules: &[Rule], fresh: bool) -> Result<(), CgroupError> {
    let fail = |errno| CgroupError::DeviceProgram { dir: node.path.clone(), errno };
    let dir = open(&node.path, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let program = match load(rules) {
        // An unprivileged user may not, and has no node to open either: the kernel makes none for him.
        Err(Errno::PERM) if !is_host_root() => return Ok(()),
        program => program.map_err(fail)?,
    };
    if fresh {
        return program.attach(dir.as_fd()).map_err(fail);
    }
    let attached = DeviceProgram::attached(dir.as_fd()).map_err(fail)?;
    let is_ours = |old: &DeviceProgram| old.name().is_ok_and(|name| name == PROGRAM_NAME);
    let mut ours = attached.into_iter().filter(is_ours);
    let Some(first) = ours.next() else { return program.attach(dir.as_fd()).map_err(fail) };
    match program.replace(dir.as_fd(), &first) {
        // Before Linux 5.6: for a moment both decide, which is stricter than either.
        Err(Errno::INVAL) => {
            program.attach(dir.as_fd()).map_err(fail)?;
            first.detach(dir.as_fd()).map_err(fail)?;
        }
        done => done.map_err(fail)?,
    }
    ours.try_for_each(|old| old.detach(dir.as_fd())).map_err(fail)
}

/// Before Linux 5.11 a program counts as locked memory, of which the usual limit is too little. The limit
/// is raised for the call alone: the container must not inherit it.
fn load(rules: &[Rule]) -> Result<DeviceProgram, Errno> {
    let program = program::assemble(rules).ok_or(Errno::TOOBIG)?;
    let first = DeviceProgram::load(PROGRAM_NAME, &program);
    if !matches!(first, Err(Errno::PERM)) {
        return first;
    }
    let before = getrlimit(Resource::Memlock);
    if setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None }).is_err() {
        return first;
    }
    let second = DeviceProgram::load(PROGRAM_NAME, &program);
    setrlimit(Resource::Memlock, before)?;
    second
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::os::fd::BorrowedFd;
    use std::path::Path;

    use dhow_sys::{Clone, Exit, Memory, Namespaces, clone_child, exit_now};
    use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

    use super::*;
    use crate::cgroup::testing::{ScratchDir, TestPlace};

    const READ_NULL: i32 = 1;
    const READ_FULL: i32 = 2;
    const WRITE_FULL: i32 = 4;
    const MAKE_NULL: i32 = 8;

    fn rules(text: &str) -> Vec<DeviceRule> {
        serde_json::from_str(text).unwrap()
    }

    /// What a process that has entered may do, as a sum of the numbers above. Allocates nothing: the test
    /// has other threads, of which the child has none.
    fn abilities(node: &Path) -> i32 {
        let may_open = |path, flags| rustix::fs::open(path, flags, Mode::empty()).is_ok();
        let made = mknodat(CWD, node, FileType::CharacterDevice, Mode::RUSR, makedev(1, 3)).is_ok();
        let _ = rustix::fs::unlink(node);
        [
            (READ_NULL, may_open("/dev/null", OFlags::RDONLY)),
            (READ_FULL, may_open("/dev/full", OFlags::RDONLY)),
            (WRITE_FULL, may_open("/dev/full", OFlags::WRONLY)),
            (MAKE_NULL, made),
        ]
        .iter()
        .map(|(number, able)| if *able { *number } else { 0 })
        .sum()
    }

    fn abilities_inside(cgroup: BorrowedFd<'_>) -> i32 {
        let scratch = ScratchDir::new(&[]);
        let node = scratch.path().join("node");
        let clone = Clone {
            namespaces: Namespaces::empty(),
            cgroup: Some(cgroup),
            memory: Memory::Copied,
            sibling: false,
        };
        let work = || -> Infallible { exit_now(abilities(&node)) };
        match clone_child(&clone, work).unwrap().wait().unwrap() {
            Exit::Code(code) => code.into(),
            Exit::Signal(signal) => panic!("killed by {signal}"),
        }
    }

    #[test]
    fn the_program_decides_in_the_kernel_and_is_replaced_not_added_to() {
        let Some(place) = TestPlace::new() else { return };
        let cgroup = Cgroup::create(&place.hierarchies, &place.path, None).unwrap();
        let Some(node) = cgroup.unified() else { return cgroup.remove().unwrap() };
        let all = rules(r#"[{"allow": true}]"#);
        cgroup.guard_devices(&all, false).unwrap();

        let dir = open(&node.path, OFlags::RDONLY | OFlags::DIRECTORY).unwrap();
        attach_program(node, &rules::complete(&[]).unwrap(), false).unwrap();
        let usual = READ_NULL | READ_FULL | WRITE_FULL | MAKE_NULL;
        assert_eq!(abilities_inside(dir.as_fd()), usual);

        let narrow = rules(
            r#"[{"allow": true, "type": "c", "major": 1, "access": "rw"},
                {"allow": false, "type": "c", "major": 1, "minor": 7, "access": "w"}]"#,
        );
        attach_program(node, &rules::configured(&narrow).unwrap(), false).unwrap();
        assert_eq!(abilities_inside(dir.as_fd()), READ_NULL | READ_FULL);

        attach_program(node, &rules::configured(&[]).unwrap(), false).unwrap();
        assert_eq!(abilities_inside(dir.as_fd()), 0);
        for _ in 0..70 {
            attach_program(node, &rules::complete(&[]).unwrap(), false).unwrap();
        }
        assert_eq!(abilities_inside(dir.as_fd()), usual);
        assert_eq!(DeviceProgram::attached(dir.as_fd()).unwrap().len(), 1);
        cgroup.remove().unwrap();
    }

    #[test]
    fn version_1_has_a_list_that_changes_by_what_differs() {
        let Some(place) = TestPlace::new() else { return };
        let cgroup = Cgroup::create(&place.hierarchies, &place.path, None).unwrap();
        let Some(node) = cgroup.node_of_v1(Controller::Devices) else {
            return cgroup.remove().unwrap();
        };
        let usual = DeviceList::from_rules(&rules::complete(&[]).unwrap()).unwrap();
        assert_eq!(read_list(node).unwrap(), usual);

        let more =
            rules(r#"[{"allow": true, "type": "b", "major": 7, "minor": 0, "access": "r"}]"#);
        cgroup.guard_devices(&more, false).unwrap();
        assert!(node.read("devices.list").unwrap().contains("b 7:0 r\n"));
        cgroup.guard_devices(&[], false).unwrap();
        assert_eq!(read_list(node).unwrap(), usual);
        cgroup.guard_devices(&rules(r#"[{"allow": true}]"#), false).unwrap();
        assert_eq!(node.read("devices.list").unwrap(), "a *:* rwm\n");

        // A cgroup below one without these devices cannot have them: an error only if they were wanted.
        node.write("devices.deny", "c 10:200 rwm").unwrap();
        let inner = node.path.join("inner");
        rustix::fs::mkdir(&inner, Mode::RWXU).unwrap();
        let inner = Node::new(node.version, node.keys.clone(), inner);
        guard_v1(&inner, &[], &rules::complete(&[]).unwrap(), true).unwrap();
        assert!(!inner.read("devices.list").unwrap().contains("10:200"));
        let wanted = rules(r#"[{"allow": true, "type": "c", "major": 10, "minor": 200}]"#);
        let refused = guard_v1(&inner, &wanted, &rules::complete(&wanted).unwrap(), true);
        assert_eq!(refused.unwrap_err().errno(), Some(Errno::PERM));
        cgroup.remove().unwrap();
    }
}
