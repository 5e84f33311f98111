//! Looking at the machine once, when the engine opens.
//!
//! Invariant: what cannot be read is not there; a survey never fails.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::facts::{CgroupFacts, Defaults, HostFacts};
use super::files;
use super::resources::numbers;

const CGROUP2_MAGIC: u64 = 0x6367_7270;

/// Gathers the facts; `systemd` says whether systemd is to make cgroups.
pub fn survey(defaults: Defaults, systemd: bool) -> HostFacts {
    let release = rustix::system::uname();
    let mut facts = HostFacts {
        cgroup: cgroups(systemd),
        cpus: online("/sys/devices/system/cpu/online"),
        memory_nodes: online("/sys/devices/system/node/online"),
        kernel: version(&release.release().to_string_lossy()),
        architecture: architecture().to_owned(),
        seccomp: Path::new("/proc/sys/kernel/seccomp/actions_avail").exists(),
        apparmor: read("/sys/module/apparmor/parameters/enabled").starts_with('Y'),
        apparmor_profiles: profiles(&read("/sys/kernel/security/apparmor/profiles")),
        selinux: Path::new("/sys/fs/selinux/enforce").exists(),
        hostname: String::new(),
        resolv_conf: String::new(),
        hosts: String::new(),
        defaults,
    };
    facts.refresh();
    facts
}

impl HostFacts {
    /// Reads again what may change while the engine runs; done before each start.
    pub fn refresh(&mut self) {
        self.hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
        self.hosts = read("/etc/hosts");
        self.resolv_conf = read("/etc/resolv.conf");
        if files::only_local_stub(&self.resolv_conf) {
            // systemd's resolver keeps the real servers there.
            let real = read("/run/systemd/resolve/resolv.conf");
            if !real.is_empty() {
                self.resolv_conf = real;
            }
        }
    }
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

fn online(path: &str) -> BTreeSet<u32> {
    let set: BTreeSet<u32> = numbers(read(path).trim()).collect();
    if set.is_empty() { BTreeSet::from([0]) } else { set }
}

fn version(release: &str) -> (u32, u32) {
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().ok());
    let mut next = || parts.next().flatten().unwrap_or_default();
    (next(), next())
}

/// Go's word for the machine that this program was built for.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        "loongarch64" => "loong64",
        other => other,
    }
}

/// Lines such as `docker-default (enforce)`.
fn profiles(text: &str) -> BTreeSet<String> {
    let name = |line: &str| line.rsplit_once(" (").map(|(name, _)| name.to_owned());
    text.lines().filter_map(name).collect()
}

fn cgroups(systemd: bool) -> CgroupFacts {
    let root = Path::new("/sys/fs/cgroup");
    let unified = rustix::fs::statfs(root)
        .is_ok_and(|found| u64::try_from(found.f_type).is_ok_and(|magic| magic == CGROUP2_MAGIC));
    if unified {
        version_2(root, systemd)
    } else {
        version_1(&read("/proc/self/mountinfo"), systemd)
    }
}

fn version_2(root: &Path, systemd: bool) -> CgroupFacts {
    let controllers = read(root.join("cgroup.controllers"));
    let has = |name: &str| controllers.split_whitespace().any(|known| known == name);
    let throttled = has("io");
    CgroupFacts {
        systemd,
        memory: has("memory"),
        memory_reservation: has("memory"),
        // The kernel may have been told not to count swap; any group below the root shows it.
        swap: has("memory") && below_has(root, "memory.swap.max"),
        cpu_shares: has("cpu"),
        cpu_quota: has("cpu"),
        cpuset: has("cpuset"),
        blkio_weight: throttled && weighs(root),
        blkio_weight_device: throttled && weighs(root),
        blkio_throttle: throttled,
        pids: has("pids"),
        ..CgroupFacts::complete(true)
    }
}

/// Weights need the scheduler BFQ or the cost model of the controller.
fn weighs(root: &Path) -> bool {
    ["io.weight", "io.bfq.weight"].iter().any(|file| below_has(root, file))
}

fn below_has(root: &Path, file: &str) -> bool {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let mut groups = entries.filter(|entry| entry.path().is_dir()).map(|entry| entry.path());
    groups.any(|group| group.join(file).exists())
}

fn version_1(mounts: &str, systemd: bool) -> CgroupFacts {
    let place = |controller: &str| -> Option<PathBuf> {
        mounts.lines().find_map(|line| {
            let (left, right) = line.split_once(" - cgroup ")?;
            let options = right.split_whitespace().last()?;
            let point = left.split(' ').nth(4)?;
            options.split(',').any(|option| option == controller).then(|| PathBuf::from(point))
        })
    };
    let has = |controller: &str, file: &str| {
        place(controller).is_some_and(|place| place.join(file).exists())
    };
    CgroupFacts {
        unified: false,
        systemd,
        memory: has("memory", "memory.limit_in_bytes"),
        memory_reservation: has("memory", "memory.soft_limit_in_bytes"),
        swap: has("memory", "memory.memsw.limit_in_bytes"),
        swappiness: has("memory", "memory.swappiness"),
        oom_kill_disable: has("memory", "memory.oom_control"),
        cpu_shares: has("cpu", "cpu.shares"),
        cpu_quota: has("cpu", "cpu.cfs_quota_us"),
        cpu_realtime: has("cpu", "cpu.rt_period_us"),
        cpuset: has("cpuset", "cpuset.cpus"),
        blkio_weight: has("blkio", "blkio.weight") || has("blkio", "blkio.bfq.weight"),
        blkio_weight_device: has("blkio", "blkio.weight_device")
            || has("blkio", "blkio.bfq.weight_device"),
        blkio_throttle: has("blkio", "blkio.throttle.read_bps_device"),
        // The root of this hierarchy has no limit.
        pids: place("pids").is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_a_kernel_and_a_cpu() {
        assert_eq!(version("6.18.3-debian"), (6, 18));
        let defaults = Defaults::new("/dhow".to_owned(), PathBuf::from("/bin/dhow"));
        let facts = survey(defaults, false);
        assert!(facts.kernel > (4, 0) && !facts.cpus.is_empty() && !facts.hostname.is_empty());
        assert_eq!(profiles("a (b) (enforce)\nx\n").into_iter().collect::<Vec<_>>(), ["a (b)"]);
    }
}
