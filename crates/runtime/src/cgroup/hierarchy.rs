//! Which cgroup file systems this host has mounted, and where this process stands in them.
//!
//! Hosts are pure version 2, pure version 1, or hybrid; on a hybrid one controllers may be on both sides,
//! and each is used where it is. A host whose `/sys/fs/cgroup` is version 2 is recognised by one call;
//! elsewhere `/proc/self/mountinfo` tells. Nothing is mounted or changed here.

use std::cell::OnceCell;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use super::controller::{Controller, Controllers};
use super::error::CgroupError;
use super::node::{read_file, read_value};

/// Where init systems mount cgroups.
const STANDARD: &str = "/sys/fs/cgroup";
const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;

/// Which of the kernel's two interfaces a hierarchy speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// Several hierarchies with some controllers each.
    V1,
    /// The one unified hierarchy.
    V2,
}

/// One mounted tree of cgroups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    pub(super) version: Version,
    /// Version 1: the controllers of the mount. Version 2: empty, `cgroup.controllers` tells them.
    pub(super) controllers: Controllers,
    /// `name=…` of a version 1 hierarchy without controllers.
    pub(super) name: Option<String>,
    /// Where it is mounted.
    pub(super) mount: PathBuf,
    /// Which of its directories is mounted there; unknown where mountinfo was not needed.
    root: Option<PathBuf>,
}

/// Every hierarchy that this process can reach.
#[derive(Debug, Clone)]
pub(crate) struct Hierarchies {
    list: Vec<Hierarchy>,
    /// `/proc/self/cgroup`, read when the first relative path asks for it.
    membership: OnceCell<String>,
}

impl Hierarchies {
    /// Looks at the host: one call where `/sys/fs/cgroup` is version 2, mountinfo otherwise.
    ///
    /// Hierarchies that have a name and no controller matter to systemd alone and are left out where it
    /// does not run.
    pub(crate) fn discover() -> Result<Hierarchies, CgroupError> {
        let standard = rustix::fs::statfs(STANDARD);
        if standard.is_ok_and(|found| found.f_type as u64 == CGROUP2_SUPER_MAGIC) {
            return Ok(Hierarchies::from_list(vec![Hierarchy::unified(STANDARD.into(), None)]));
        }
        let mut list = parse_mountinfo(&read_file(Path::new("/proc/self/mountinfo"))?);
        if list.iter().any(|one| one.name.is_some()) && !systemd_runs() {
            list.retain(|one| one.name.is_none());
        }
        if list.is_empty() {
            return Err(CgroupError::NoHierarchy);
        }
        Ok(Hierarchies::from_list(list))
    }

    fn from_list(list: Vec<Hierarchy>) -> Hierarchies {
        Hierarchies { list, membership: OnceCell::new() }
    }

    /// As if version 2 were not mounted, which is what some hosts and namespaces are like.
    #[cfg(test)]
    pub(super) fn without_v2(mut self) -> Hierarchies {
        self.list.retain(|one| one.version == Version::V1);
        self
    }

    /// The hierarchies, version 2 first where there is one.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Hierarchy> {
        self.list.iter()
    }

    /// Whether the unified hierarchy is the only one.
    pub(crate) fn is_pure_v2(&self) -> bool {
        self.list.iter().all(|one| one.version == Version::V2)
    }

    /// All controllers that some version 1 hierarchy has taken.
    pub(super) fn on_v1(&self) -> Controllers {
        self.list.iter().fold(Controllers::default(), |all, one| all.or(one.controllers))
    }

    /// This process's own cgroup in `hierarchy`, below its mount point, without a leading slash.
    pub(super) fn own_path(&self, hierarchy: &Hierarchy) -> Result<PathBuf, CgroupError> {
        let membership = match self.membership.get() {
            Some(text) => text,
            None => {
                let text = read_value(Path::new("/proc/self/cgroup"))?;
                self.membership.get_or_init(|| text)
            }
        };
        let Some(own) = find_membership(membership, hierarchy) else { return Ok(PathBuf::new()) };
        if let Some(root) = &hierarchy.root {
            return Ok(below_root(own, root));
        }
        // Found without mountinfo, which is long on a host with many containers: if our cgroup is where
        // it would be in the whole tree, then the whole tree is what is mounted.
        let whole = below_root(own, Path::new("/"));
        if rustix::fs::access(hierarchy.mount.join(&whole), Access::EXISTS).is_ok() {
            return Ok(whole);
        }
        let mounts = parse_mountinfo(&read_file(Path::new("/proc/self/mountinfo"))?);
        let same = mounts.into_iter().find(|one| one.mount == hierarchy.mount);
        let root = same.and_then(|one| one.root).unwrap_or_else(|| "/".into());
        Ok(below_root(own, &root))
    }
}

impl Hierarchy {
    fn unified(mount: PathBuf, root: Option<PathBuf>) -> Hierarchy {
        Hierarchy {
            version: Version::V2,
            controllers: Controllers::default(),
            name: None,
            mount,
            root,
        }
    }

    /// The key under which a state file knows this hierarchy: each controller, `name=…`, or "".
    pub(super) fn keys(&self) -> Vec<String> {
        match (&self.name, self.version) {
            (Some(name), _) => vec![format!("name={name}")],
            (None, Version::V2) => vec![String::new()],
            (None, Version::V1) => {
                self.controllers.iter().map(|one| one.v1_name().to_owned()).collect()
            }
        }
    }

    /// How good a place this mount of the hierarchy is: an init system's, and the whole tree.
    fn rank(&self) -> (bool, bool) {
        let whole = self.root.as_deref().is_none_or(|root| root == Path::new("/"));
        (self.mount.starts_with(STANDARD), whole)
    }

    fn is_same_tree(&self, other: &Hierarchy) -> bool {
        self.version == other.version
            && self.controllers == other.controllers
            && self.name == other.name
    }
}

fn systemd_runs() -> bool {
    rustix::fs::access("/run/systemd/system", Access::EXISTS).is_ok()
}

/// Picks the cgroup mounts out of mountinfo, one for each tree, version 2 first.
///
/// The same tree may be mounted often (in every container's root file system, for instance): the mount
/// below `/sys/fs/cgroup` wins, then one of the whole tree, then the first. At one mount point the last
/// mount hides the others.
fn parse_mountinfo(text: &[u8]) -> Vec<Hierarchy> {
    let mut list: Vec<Hierarchy> = Vec::new();
    for found in text.split(|byte| *byte == b'\n').filter_map(parse_mount) {
        list.retain(|one| one.mount != found.mount);
        match list.iter_mut().find(|one| one.is_same_tree(&found)) {
            Some(known) if found.rank() > known.rank() => *known = found,
            Some(_) => {}
            None => list.push(found),
        }
    }
    list.sort_by_key(|one| one.version == Version::V1);
    list
}

/// `36 35 0:29 /root /mount rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct`
fn parse_mount(line: &[u8]) -> Option<Hierarchy> {
    let mut fields = line.split(|byte| *byte == b' ');
    let root = unescape(fields.nth(3)?);
    let mount = unescape(fields.next()?);
    let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
    match fields.next()? {
        b"cgroup2" => Some(Hierarchy::unified(mount, Some(root))),
        b"cgroup" => {
            let options = std::str::from_utf8(fields.nth(1)?).ok()?;
            let name = options.split(',').find_map(|option| option.strip_prefix("name="));
            let controllers: Controllers =
                options.split(',').filter_map(Controller::from_v1_name).collect();
            let name = name.filter(|_| controllers.is_empty()).map(str::to_owned);
            let known = name.is_some() || !controllers.is_empty();
            known.then_some(Hierarchy {
                version: Version::V1,
                controllers,
                name,
                mount,
                root: Some(root),
            })
        }
        _ => None,
    }
}

/// Undoes mountinfo's octal escapes of space, tab, line break and backslash.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        if let (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) =
            (first, tail)
        {
            bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
            rest = after;
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    PathBuf::from(std::ffi::OsStr::from_bytes(&bytes))
}

/// The path that `/proc/self/cgroup` gives for `hierarchy`.
fn find_membership<'a>(text: &'a str, hierarchy: &Hierarchy) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (key, path) = rest.split_once(':')?;
        let matches = match (&hierarchy.name, hierarchy.version) {
            (_, Version::V2) => key.is_empty(),
            (Some(name), Version::V1) => key.strip_prefix("name=") == Some(name),
            (None, Version::V1) => {
                key.split(',').filter_map(Controller::from_v1_name).collect::<Controllers>()
                    == hierarchy.controllers
            }
        };
        matches.then_some(path)
    })
}

/// Where the cgroup `own` is below a mount whose own root is `root`.
///
/// A mount from outside our cgroup namespace has a root like `/../..`: how our cgroup is called from
/// there cannot be known, and the mount's top stands for it.
fn below_root(own: &str, root: &Path) -> PathBuf {
    let own = Path::new(own.strip_suffix(" (deleted)").unwrap_or(own));
    let inside = own.strip_prefix(root).unwrap_or(Path::new(""));
    let climbs = inside.components().any(|part| part.as_os_str() == "..");
    if climbs { PathBuf::new() } else { inside.to_path_buf() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:5 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,release_agent=/x,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
50 31 0:32 /docker/c1 /var/lib/x\\040y/sys/fs/cgroup/memory ro - cgroup cgroup rw,memory
";

    fn found(text: &str) -> Vec<(String, String)> {
        parse_mountinfo(text.as_bytes())
            .iter()
            .map(|one| (one.keys().join("+"), one.mount.display().to_string()))
            .collect()
    }

    fn pair(key: &str, mount: &str) -> (String, String) {
        (key.to_owned(), mount.to_owned())
    }

    #[test]
    fn a_hybrid_host_has_both_versions_the_unified_one_first() {
        assert_eq!(
            found(HYBRID),
            [
                pair("", "/sys/fs/cgroup/unified"),
                pair("cpu+cpuacct", "/sys/fs/cgroup/cpu,cpuacct"),
                pair("memory", "/sys/fs/cgroup/memory"),
                pair("name=systemd", "/sys/fs/cgroup/systemd"),
            ]
        );
    }

    #[test]
    fn a_container_s_bind_mount_gives_way_to_the_host_s_mount_in_either_order() {
        let bind = "50 31 0:32 /docker/c1 /mnt/memory ro - cgroup cgroup rw,memory\n";
        let host = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        for text in [format!("{bind}{host}"), format!("{host}{bind}")] {
            assert_eq!(found(&text), [pair("memory", "/sys/fs/cgroup/memory")]);
        }
        assert_eq!(found(bind), [pair("memory", "/mnt/memory")]);
    }

    #[test]
    fn the_last_mount_at_one_point_hides_the_others() {
        let text = "\
35 31 0:32 / /sys/fs/cgroup/x rw - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/x rw - cgroup cgroup rw,pids
";
        assert_eq!(found(text), [pair("pids", "/sys/fs/cgroup/x")]);
    }

    #[test]
    fn lines_that_are_no_cgroups_or_cut_short_are_passed_over() {
        assert_eq!(found("1 2 0:3 / / rw - ext4 /dev/vda rw\n36 31 0:33 /\n\n- cgroup\n"), []);
        assert_eq!(found("35 31 0:32 / /c rw - cgroup cgroup rw,something_new\n"), []);
    }

    #[test]
    fn own_cgroups_are_found_below_the_mounted_root() {
        let list = parse_mountinfo(HYBRID.as_bytes());
        let text = "2:cpuacct,cpu:/a/b\n1:name=systemd:/s\n4:memory:/process/x (deleted)\n0::/u\n";
        let own: Vec<_> = list.iter().map(|one| find_membership(text, one)).collect();
        assert_eq!(own, [Some("/u"), Some("/a/b"), Some("/process/x (deleted)"), Some("/s")]);

        let below = |own: &str, root: &str| below_root(own, Path::new(root)).display().to_string();
        assert_eq!(below("/process/x (deleted)", "/"), "process/x");
        assert_eq!(below("/docker/c1/in", "/docker/c1"), "in");
        assert_eq!(below("/docker/c1", "/docker/c1"), "");
        assert_eq!(below("/elsewhere", "/docker/c1"), "");
        assert_eq!(below("/", "/../.."), "");
        assert_eq!(below("/../x", "/"), "");
    }

    #[test]
    fn escapes_are_undone_and_lone_backslashes_kept() {
        assert_eq!(unescape(br"/a\040b\134\0"), Path::new(r"/a b\\0"));
    }
}
