//! `linux.intelRdt`: the resctrl group that holds a container's processes to a share of caches and memory
//! bandwidth.
//!
//! A group is a directory of the resctrl file system, made by mkdir; every group, the root included, has
//! monitoring groups below `mon_groups`. Invariant: a group that was there before the container was is
//! never written and never removed, only compared; one with a `closID` of its own is not removed either,
//! for others may have joined it. Which directories go with the container is on record before they are
//! made.
//! Absent on purpose: mounting resctrl, which is the administrator's, and reading what is monitored.

use std::path::{Path, PathBuf};

use dhow_spec::runtime::IntelRdt;
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::Pid;

use super::ContainerId;
use super::mountinfo;
use crate::error::Error;

/// Where the file system belongs.
const USUAL_ROOT: &str = "/sys/fs/resctrl";
/// `RDTGROUP_SUPER_MAGIC`.
const MAGIC: u64 = 0x0765_5821;
/// The `closID` of the group that everything is in from the start.
const DEFAULT_GROUP: &str = "/";
/// Directories of the root that are no groups.
const RESERVED: [&str; 3] = ["info", "mon_groups", "mon_data"];

/// The group that a container's processes are put into.
#[derive(Debug)]
pub(super) struct Group {
    root: PathBuf,
    dir: PathBuf,
    /// It is not there yet.
    new: bool,
    /// Nobody but this container has a name for it.
    own: bool,
    /// The container's own monitoring group in it.
    monitoring: Option<PathBuf>,
    /// What is written to a new group's `schemata`, one write each.
    schemata: Vec<String>,
}

impl Group {
    /// Finds the container's group, and compares one that is there with what is asked for.
    pub(super) fn find(words: Option<&IntelRdt>, id: &ContainerId) -> Result<Option<Self>, Error> {
        let Some(words) = words else { return Ok(None) };
        let root = mounted().ok_or(Error::Refused {
            field: "linux.intelRdt",
            value: String::new(),
            reason: "no resctrl file system is mounted",
        })?;
        Self::find_below(root, words, id).map(Some)
    }

    /// The group of a container that is there already, whatever its shares are by now. One that somebody
    /// has removed since, or unmounted, is none.
    pub(super) fn of_container(words: Option<&IntelRdt>, id: &ContainerId) -> Option<Self> {
        let (words, root) = (words?, mounted()?);
        let group = Self::named(class(words).unwrap_or(id.as_str()), root, words, id);
        (!group.new).then_some(group)
    }

    fn named(name: &str, root: PathBuf, words: &IntelRdt, id: &ContainerId) -> Self {
        let dir = if name == DEFAULT_GROUP { root.clone() } else { root.join(name) };
        Self {
            new: !dir.exists(),
            own: class(words).is_none(),
            monitoring: words.enable_monitoring.then(|| dir.join("mon_groups").join(id.as_str())),
            schemata: writes(words),
            root,
            dir,
        }
    }

    fn find_below(root: PathBuf, words: &IntelRdt, id: &ContainerId) -> Result<Self, Error> {
        let name = class(words).unwrap_or(id.as_str());
        if RESERVED.contains(&name) {
            return Err(Error::Refused {
                field: "linux.intelRdt.closID",
                value: name.to_owned(),
                reason: "the file system keeps this name for itself",
            });
        }
        let group = Self::named(name, root, words, id);
        match (group.new, group.schemata.is_empty()) {
            (true, true) if !group.own => Err(Error::Refused {
                field: "linux.intelRdt.closID",
                value: name.to_owned(),
                reason: "there is no such group, and no schemata to make one with",
            }),
            (false, false) => group.compare().map(|()| group),
            _ => Ok(group),
        }
    }
    /// Whether a group that is there has the shares that are asked for.
    fn compare(&self) -> Result<(), Error> {
        let path = self.dir.join("schemata");
        let present = std::fs::read_to_string(&path)
            .map_err(|error| Error::file("read", &path, errno(&error)))?;
        let asked = self.schemata.iter().flat_map(|text| text.lines());
        match asked.into_iter().find(|line| !holds(&present, line)) {
            None => Ok(()),
            Some(line) => Err(Error::Refused {
                field: "linux.intelRdt",
                value: line.to_owned(),
                reason: "the group is there already and has another share",
            }),
        }
    }

    /// The directories that are to go with the container, in the order in which they can.
    pub(super) fn goes_with_container(&self) -> Vec<PathBuf> {
        let own = (self.new && self.own).then(|| self.dir.clone());
        self.monitoring.iter().cloned().chain(own).collect()
    }

    /// Makes what is not there yet.
    pub(super) fn make(&self) -> Result<(), Error> {
        if self.new {
            make_directory(&self.dir)?;
            for text in &self.schemata {
                self.write_schemata(text)?;
            }
        }
        self.monitoring.as_deref().map_or(Ok(()), make_directory)
    }

    fn write_schemata(&self, text: &str) -> Result<(), Error> {
        let path = self.dir.join("schemata");
        std::fs::write(&path, text).map_err(|error| Error::Schemata {
            path,
            text: text.trim_end().to_owned(),
            errno: errno(&error),
            said: self.last_word(),
        })
    }

    /// What the kernel has to say of the last operation: more than a number, often.
    fn last_word(&self) -> String {
        let said = std::fs::read_to_string(self.root.join("info/last_cmd_status"));
        said.unwrap_or_default().trim().to_owned()
    }

    /// Puts a process into the group; its children follow.
    pub(super) fn add(&self, pid: Pid) -> Result<(), Error> {
        // A monitoring group takes only what is in its parent already.
        for dir in [Some(&self.dir), self.monitoring.as_ref()].into_iter().flatten() {
            let path = dir.join("tasks");
            std::fs::write(&path, pid.as_raw_nonzero().to_string())
                .map_err(|error| Error::file("add the process to", &path, errno(&error)))?;
        }
        Ok(())
    }
}

/// Removes what went with a container.
pub(super) fn remove(dirs: &[PathBuf]) -> Result<(), Error> {
    let failures = dirs.iter().filter_map(|dir| match rustix::fs::rmdir(dir) {
        Ok(()) | Err(Errno::NOENT) => None,
        Err(errno) => Some(Error::file("remove resctrl group", dir, errno)),
    });
    // Every one is tried; the first that stays is told of.
    failures.collect::<Vec<_>>().into_iter().next().map_or(Ok(()), Err)
}

fn make_directory(dir: &Path) -> Result<(), Error> {
    rustix::fs::mkdir(dir, Mode::from_raw_mode(0o755))
        .map_err(|errno| Error::file("make resctrl group", dir, errno))
}

fn mounted() -> Option<PathBuf> {
    let usual = rustix::fs::statfs(USUAL_ROOT).is_ok_and(|stat| stat.f_type as u64 == MAGIC);
    if usual { Some(USUAL_ROOT.into()) } else { mountinfo::first_of_kind("resctrl") }
}

/// The class that is asked for by name.
fn class(words: &IntelRdt) -> Option<&str> {
    words.clos_id.as_deref().filter(|class| !class.is_empty())
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// The two single fields come first, and apart: the same cache may be named again by the list, which
/// has the last word, and one write may name it only once.
fn writes(words: &IntelRdt) -> Vec<String> {
    let single = [words.l3_cache_schema.as_deref(), words.mem_bw_schema.as_deref()];
    let list = words.schemata.iter().map(String::as_str);
    [lines(single.into_iter().flatten()), lines(list)]
        .into_iter()
        .filter(|text| !text.is_empty())
        .collect()
}

fn lines<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words
        .flat_map(str::lines)
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| format!("{line}\n"))
        .collect()
}

/// Whether `present`, the text of a `schemata` file, gives each domain that `asked` names the same value.
fn holds(present: &str, asked: &str) -> bool {
    let Some((resource, domains)) = line(asked) else { return false };
    let Some((_, found)) = present.lines().filter_map(line).find(|(name, _)| *name == resource)
    else {
        return false;
    };
    domains.iter().all(|domain| found.contains(domain))
}

/// A resource and its domains' values. The kernel pads values with spaces or zeros, to taste.
fn line(text: &str) -> Option<(&str, Vec<(u32, String)>)> {
    let (resource, rest) = text.split_once(':')?;
    let domains: Option<Vec<_>> =
        rest.split(';').map(str::trim).filter(|one| !one.is_empty()).map(domain).collect();
    Some((resource.trim(), domains?))
}

fn domain(text: &str) -> Option<(u32, String)> {
    let (number, value) = text.split_once('=')?;
    let value = value.trim();
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let significant = value.trim_start_matches('0').to_ascii_lowercase();
    Some((number.trim().parse().ok()?, significant))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::testing::ScratchDir;

    /// A directory that looks like resctrl on a machine of two sockets.
    fn resctrl() -> ScratchDir {
        ScratchDir::new(&[
            ("schemata", "    L3:0=7ff;1=7ff\n    MB:0= 100;1= 100\n"),
            ("tasks", ""),
            ("mon_groups/.keep", ""),
            ("info/last_cmd_status", "ok\n"),
        ])
    }

    /// As the kernel does when a group is made: its files and directories are there.
    fn furnish(root: &ScratchDir, group: &str) {
        root.add(&format!("{group}/schemata"), "");
        root.add(&format!("{group}/tasks"), "");
    }

    fn words(json: &str) -> IntelRdt {
        serde_json::from_str(json).unwrap()
    }

    fn find(root: &ScratchDir, json: &str) -> Result<Group, String> {
        let id = ContainerId::parse("c1").unwrap();
        Group::find_below(root.path().to_owned(), &words(json), &id)
            .map_err(|error| error.to_string())
    }

    fn me() -> Pid {
        rustix::process::getpid()
    }

    #[test]
    fn a_container_without_a_class_gets_a_group_of_its_name_that_goes_with_it() {
        let root = resctrl();
        let group = find(&root, r#"{"l3CacheSchema":"L3:0=f","memBwSchema":"MB:0=20"}"#).unwrap();
        assert_eq!(group.goes_with_container(), [root.path().join("c1")]);
        group.make().unwrap();
        assert_eq!(root.text("c1/schemata"), "L3:0=f\nMB:0=20\n");
        group.add(me()).unwrap();
        assert_eq!(root.text("c1/tasks"), me().to_string());
        std::fs::remove_file(root.path().join("c1/schemata")).unwrap();
        std::fs::remove_file(root.path().join("c1/tasks")).unwrap();
        remove(&group.goes_with_container()).unwrap();
        assert!(!root.path().join("c1").exists());
        remove(&group.goes_with_container()).unwrap();
    }

    #[test]
    fn single_fields_are_written_before_the_list() {
        let words = words(
            r#"{"l3CacheSchema":"L3:0=f","memBwSchema":"MB:0=20","schemata":["L3:0=ff","L2:0=1"]}"#,
        );
        assert_eq!(writes(&words), ["L3:0=f\nMB:0=20\n", "L3:0=ff\nL2:0=1\n"]);
    }

    #[test]
    fn nothing_is_written_where_nothing_is_asked_for() {
        let root = resctrl();
        let group = find(&root, "{}").unwrap();
        group.make().unwrap();
        assert!(!root.path().join("c1/schemata").exists());
    }

    #[test]
    fn a_class_is_made_where_it_is_missing_and_stays() {
        let root = resctrl();
        let group = find(&root, r#"{"closID":"gold","schemata":["L3:0=f"]}"#).unwrap();
        assert!(group.goes_with_container().is_empty());
        group.make().unwrap();
        assert_eq!(root.text("gold/schemata"), "L3:0=f\n");
        assert_eq!(
            find(&root, r#"{"closID":"silver"}"#).unwrap_err(),
            "linux.intelRdt.closID: \"silver\": there is no such group, and no schemata to make one with"
        );
    }

    #[test]
    fn a_class_that_is_there_is_compared_and_joined() {
        let root = resctrl();
        furnish(&root, "gold");
        root.add("gold/schemata", "    MB:0=  20;1= 100\n    L3:0=00f;1=7ff\n");
        let same = r#"{"closID":"gold","schemata":["L3: 0 = F","MB:1=100;0=20"]}"#;
        let group = find(&root, same).unwrap();
        group.make().unwrap();
        group.add(me()).unwrap();
        assert_eq!(root.text("gold/tasks"), me().to_string());
        assert!(root.text("gold/schemata").starts_with("    MB"), "it was not written");
        find(&root, r#"{"closID":"gold"}"#).unwrap().add(me()).unwrap();
        for other in ["L3:0=1f", "L3:2=f", "L2:0=f", "nonsense", "L3:0=", "MB:0=200"] {
            let error =
                find(&root, &format!(r#"{{"closID":"gold","schemata":["{other}"]}}"#)).unwrap_err();
            assert_eq!(
                error,
                format!(
                    "linux.intelRdt: {other:?}: the group is there already and has another share"
                )
            );
        }
    }

    #[test]
    fn the_default_class_is_the_root() {
        let root = resctrl();
        let group = find(&root, r#"{"closID":"/","enableMonitoring":true}"#).unwrap();
        group.make().unwrap();
        let monitored = root.path().join("mon_groups/c1");
        assert!(monitored.is_dir());
        assert_eq!(group.goes_with_container(), [monitored]);
        root.add("mon_groups/c1/tasks", "");
        group.add(me()).unwrap();
        assert_eq!(root.text("tasks"), me().to_string());
        assert_eq!(root.text("mon_groups/c1/tasks"), me().to_string());
        let error = find(&root, r#"{"closID":"info"}"#).unwrap_err();
        assert!(error.contains("keeps this name"), "{error}");
    }

    #[test]
    fn a_monitoring_group_goes_before_the_one_that_holds_it() {
        let root = resctrl();
        let group = find(&root, r#"{"enableMonitoring":true}"#).unwrap();
        assert_eq!(
            group.goes_with_container(),
            [root.path().join("c1/mon_groups/c1"), root.path().join("c1")]
        );
    }

    #[test]
    fn a_monitoring_group_that_cannot_be_made_is_an_error() {
        let root = resctrl();
        furnish(&root, "gold");
        let error = find(&root, r#"{"closID":"gold","enableMonitoring":true}"#)
            .unwrap()
            .make()
            .unwrap_err();
        let dir = root.path().join("gold/mon_groups/c1");
        assert_eq!(
            error.to_string(),
            format!("make resctrl group {}: no such file or directory", dir.display())
        );
    }

    #[test]
    fn a_refused_line_comes_with_the_kernels_reason() {
        let root = resctrl();
        root.add("info/last_cmd_status", "Mask out of range\n");
        let group = find(&root, r#"{"schemata":["L3:0=fffff"]}"#).unwrap();
        std::fs::create_dir_all(root.path().join("c1/schemata")).unwrap();
        let error = group.write_schemata("L3:0=fffff\n").unwrap_err();
        let file = root.path().join("c1/schemata");
        assert_eq!(
            error.to_string(),
            format!(
                "write \"L3:0=fffff\" to {}: is a directory (Mask out of range)",
                file.display()
            )
        );
    }
}
