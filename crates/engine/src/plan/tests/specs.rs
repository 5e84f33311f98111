//! What each request comes to in the specification.
//!
//! Invariant: a line that starts with `-` is the plain run's, one with `+` stands in its place.

use std::collections::BTreeMap;
use std::path::PathBuf;

use dhow_spec::runtime::{Device, DeviceKind, Propagation, User};

use super::{Case, check, check_case};
use crate::plan::CgroupFacts;
use crate::request::{
    BindRequest, DeviceRate, DeviceRequest, MountRequest, MountSource, TmpfsRequest, Ulimit,
    UtsMode, parse_time_offset,
};

#[test]
fn the_plain_run() {
    let text = Case::new(|_| {}).text();
    let expected = include_str!("plain.txt");
    assert_eq!(text, expected, "\n{text}");
}

#[test]
fn terminals() {
    check(
        |request| {
            request.config.tty = true;
            request.host.console_size = Some((24, 80));
            request.config.hostname = "box".to_owned();
            request.config.domainname = "lan".to_owned();
            request.config.working_dir = "/srv".to_owned();
        },
        r#"
            -hostname: "0123456789ab"
            +hostname: "box"
            -linux.sysctl: net.ipv4.ip_unprivileged_port_start="0" net.ipv4.ping_group_range="0 2147483647"
            +linux.sysctl: kernel.domainname="lan" net.ipv4.ip_unprivileged_port_start="0" net.ipv4.ping_group_range="0 214…
            -process.cwd: "/"
            -process.env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","HOSTNAME=0123456789ab"]
            +process.consoleSize: height=24 width=80
            +process.cwd: "/srv"
            +process.env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","HOSTNAME=box","TERM=xterm"]
            +process.terminal: true
        "#,
    );
}

#[test]
fn users() {
    let mut case = Case::new(|_| {});
    case.start.user = User { uid: 33, gid: 33, additional_gids: vec![4], ..User::default() };
    check_case(
        case,
        r#"
            -process.capabilities.effective: ["CAP_CHOWN","CAP_DAC_OVERRIDE","CAP_FOWNER","CAP_FSETID","CAP_KILL","CAP_SETG…
            -process.capabilities.permitted: ["CAP_CHOWN","CAP_DAC_OVERRIDE","CAP_FOWNER","CAP_FSETID","CAP_KILL","CAP_SETG…
            -process.user: additionalGids=[0] gid=0 uid=0
            +process.user: additionalGids=[33,4] gid=33 uid=33
        "#,
    );
}

#[test]
fn privileged() {
    let mut case = Case::new(|request| request.host.privileged = true);
    case.start.found.all_devices = vec![device("/dev/kmsg", DeviceKind::Char, 1, 11)];
    check_case(
        case,
        r#"
            -linux.maskedPaths: ["/proc/acpi","/proc/asound","/proc/interrupts","/proc/kcore","/proc/keys","/proc/latency_s…
            +linux.devices[]: fileMode=432 gid=5 major=1 minor=11 path=/dev/kmsg type=c uid=0
            -linux.readonlyPaths: ["/proc/bus","/proc/fs","/proc/irq","/proc/sys","/proc/sysrq-trigger"]
            -linux.resources.devices[]: access=rwm allow=false
            -linux.resources.devices[]: access=rwm allow=true major=1 minor=5 type=c
            -linux.resources.devices[]: access=rwm allow=true major=1 minor=3 type=c
            -linux.resources.devices[]: access=rwm allow=true major=1 minor=9 type=c
            -linux.resources.devices[]: access=rwm allow=true major=1 minor=8 type=c
            -linux.resources.devices[]: access=rwm allow=true major=5 minor=0 type=c
            -linux.resources.devices[]: access=rwm allow=true major=5 minor=1 type=c
            -linux.resources.devices[]: access=rwm allow=false major=10 minor=229 type=c
            +linux.resources: devices=[{"access":"rwm","allow":true}]
            -mounts[]: destination=/sys options=nosuid,noexec,nodev,ro source=sysfs type=sysfs
            -mounts[]: destination=/sys/fs/cgroup options=nosuid,noexec,nodev,ro source=cgroup type=cgroup
            +mounts[]: destination=/sys options=nosuid,noexec,nodev source=sysfs type=sysfs
            +mounts[]: destination=/sys/fs/cgroup options=nosuid,noexec,nodev source=cgroup type=cgroup
            -process.capabilities.bounding: ["CAP_CHOWN","CAP_DAC_OVERRIDE","CAP_FOWNER","CAP_FSETID","CAP_KILL","CAP_SETGI…
            -process.capabilities.effective: ["CAP_CHOWN","CAP_DAC_OVERRIDE","CAP_FOWNER","CAP_FSETID","CAP_KILL","CAP_SETG…
            -process.capabilities.permitted: ["CAP_CHOWN","CAP_DAC_OVERRIDE","CAP_FOWNER","CAP_FSETID","CAP_KILL","CAP_SETG…
            +process.capabilities.bounding: ["CAP_CHOWN","CAP_DAC_OVERRIDE","CAP_DAC_READ_SEARCH","CAP_FOWNER","CAP_FSETID"…
            +process.capabilities.effective: ["CAP_CHOWN","CAP_DAC_OVERRIDE","CAP_DAC_READ_SEARCH","CAP_FOWNER","CAP_FSETID…
            +process.capabilities.permitted: ["CAP_CHOWN","CAP_DAC_OVERRIDE","CAP_DAC_READ_SEARCH","CAP_FOWNER","CAP_FSETID…
            -seccomp: true
            +seccomp: false
        "#,
    );
}

fn device(path: &str, kind: DeviceKind, major: i64, minor: i64) -> Device {
    Device {
        path: path.to_owned(),
        kind,
        major,
        minor,
        file_mode: Some(0o660),
        uid: Some(0),
        gid: Some(5),
    }
}

#[test]
fn limits() {
    let rate = |path: &str, rate| vec![DeviceRate { path: path.to_owned(), rate }];
    let mut case = Case::new(|request| {
        let limits = &mut request.host.resources;
        limits.memory = 64 << 20;
        limits.memory_reservation = 32 << 20;
        limits.nano_cpus = 1_500_000_000;
        limits.cpu_shares = 512;
        limits.cpuset_cpus = "0-1".to_owned();
        limits.pids_limit = Some(100);
        limits.blkio_weight = 300;
        limits.blkio_read_bps = rate("/dev/sda", 1 << 20);
        limits.ulimits = vec![Ulimit { name: "nofile".to_owned(), soft: 1024, hard: -1 }];
        request.host.oom_score_adj = 500;
        request.host.shm_size = 1 << 20;
    });
    case.start.found.numbers = BTreeMap::from([("/dev/sda".to_owned(), (8, 0))]);
    check_case(
        case,
        r#"
            +linux.resources.blockIO: throttleReadBpsDevice=[{"major":8,"minor":0,"rate":1048576}] weight=300
            +linux.resources.cpu: cpus="0-1" period=100000 quota=150000 shares=512
            +linux.resources.memory: limit=67108864 reservation=33554432 swap=134217728
            +linux.resources.pids: limit=100
            -mounts[]: destination=/dev/shm options=nosuid,noexec,nodev,mode=1777,size=67108864 source=shm type=tmpfs
            +mounts[]: destination=/dev/shm options=nosuid,noexec,nodev,mode=1777,size=1048576 source=shm type=tmpfs
            -process.oomScoreAdj: 0
            +process.oomScoreAdj: 500
            +process.rlimits[]: hard=18446744073709551615 soft=1024 type=RLIMIT_NOFILE
        "#,
    );
}

#[test]
fn devices() {
    let mut case = Case::new(|request| {
        request.host.resources.devices = vec![DeviceRequest {
            host_path: "/dev/snd".to_owned(),
            container_path: "/dev/sound".to_owned(),
            permissions: "rw".to_owned(),
        }];
        request.host.resources.device_cgroup_rules = vec!["b 8:* r".parse().expect("a rule")];
    });
    let found = vec![device("/dev/snd/seq", DeviceKind::Char, 116, 1)];
    case.start.found.devices = BTreeMap::from([("/dev/snd".to_owned(), found)]);
    check_case(
        case,
        r#"
            +linux.devices[]: fileMode=432 gid=5 major=116 minor=1 path=/dev/sound/seq type=c uid=0
            +linux.resources.devices[]: access=rw allow=true major=116 minor=1 type=c
            +linux.resources.devices[]: access=r allow=true major=8 minor=-1 type=b
        "#,
    );
}

#[test]
fn mounts_of_every_type() {
    check(
        |request| {
            let host = &mut request.host;
            host.binds = ["/src:/data/deep:ro", "vol:/data", "/etc/own:/etc/hosts"]
                .map(|text| text.parse().expect("a bind"))
                .to_vec();
            host.tmpfs = BTreeMap::from([("/run".to_owned(), "rw,exec,size=64k".to_owned())]);
            let mount = |target: &str, read_only, source| MountRequest {
                target: target.to_owned(),
                read_only,
                consistency: String::new(),
                source,
            };
            host.mounts = vec![
                mount(
                    "/b",
                    true,
                    MountSource::Bind(BindRequest {
                        path: "/host".to_owned(),
                        read_only_non_recursive: true,
                        ..BindRequest::default()
                    }),
                ),
                mount(
                    "/t",
                    true,
                    MountSource::Tmpfs(TmpfsRequest {
                        size_bytes: 4096,
                        mode: 0o700,
                        ..TmpfsRequest::default()
                    }),
                ),
            ];
        },
        r#"
            +mounts[]: destination=/b options=rbind,ro,rprivate source=/host type=bind
            +mounts[]: destination=/data options=rbind source=/d/volumes/vol/_data type=bind
            +mounts[]: destination=/t options=noexec,nosuid,nodev,rprivate,size=4096,mode=700,ro source=tmpfs type=tmpfs
            +mounts[]: destination=/run options=nosuid,nodev,rprivate,rw,exec,size=64k source=tmpfs type=tmpfs
            +mounts[]: destination=/data/deep options=rbind,rro,rprivate source=/src type=bind
            +mounts[]: destination=/etc/hosts options=rbind,rprivate source=/etc/own type=bind
            -mounts[]: destination=/etc/hosts options=rbind,rprivate source=/d/c/hosts type=bind
        "#,
    );
}

#[test]
fn images_as_mounts() {
    let mut case = Case::new(|request| {
        let image = crate::request::ImageRequest { image: "y".to_owned(), subpath: String::new() };
        request.host.mounts = vec![MountRequest {
            target: "/i".to_owned(),
            read_only: false,
            consistency: String::new(),
            source: MountSource::Image(image),
        }];
    });
    let layers = ["/s/2", "/s/1"].map(PathBuf::from).to_vec();
    case.start.found.images = BTreeMap::from([("/i".to_owned(), layers)]);
    check_case(
        case,
        r#"
            +mounts[]: destination=/i options=ro,lowerdir=/s/2:/s/1 source=overlay type=overlay
        "#,
    );
}

#[test]
fn mounts_that_spread() {
    let spreading = |how| {
        let mut case = Case::new(|request| {
            request.host.binds = vec!["/mnt:/mnt:rslave".parse().expect("a bind")];
        });
        let mount = ("/mnt".to_owned(), ("/".to_owned(), how));
        case.start.found.mounts = BTreeMap::from([mount]);
        case
    };
    check_case(
        spreading(Propagation::Shared),
        r#"
            +linux.rootfsPropagation: "rslave"
            +mounts[]: destination=/mnt options=rbind,rslave source=/mnt type=bind
        "#,
    );
    assert_eq!(
        spreading(Propagation::Private).plan().expect_err("a refusal").to_string(),
        "path /mnt is mounted on / but it is not a shared or slave mount"
    );
}

#[test]
fn guards() {
    check(
        |request| {
            let option = |text: &str| text.parse().expect("an option");
            request.host.security = vec![option("no-new-privileges"), option("seccomp=unconfined")];
            request.host.cap_drop = vec!["ALL".parse().expect("a capability")];
            request.host.cap_add = vec!["NET_ADMIN".parse().expect("a capability")];
            request.host.masked_paths = Some(Vec::new());
            request.host.readonly_paths = Some(vec!["/proc/sys".to_owned()]);
            request.host.readonly_rootfs = true;
        },
        r#"
            -linux.maskedPaths: ["/proc/acpi","/proc/asound","/proc/interrupts","/proc/kcore","/proc/keys","/proc/latency_s…
            -linux.readonlyPaths: ["/proc/bus","/proc/fs","/proc/irq","/proc/sys","/proc/sysrq-trigger"]
            +linux.readonlyPaths: ["/proc/sys"]
            -mounts[]: destination=/etc/resolv.conf options=rbind,rprivate source=/d/c/resolv.conf type=bind
            -mounts[]: destination=/etc/hostname options=rbind,rprivate source=/d/c/hostname type=bind
            -mounts[]: destination=/etc/hosts options=rbind,rprivate source=/d/c/hosts type=bind
            +mounts[]: destination=/etc/resolv.conf options=rbind,ro,rprivate source=/d/c/resolv.conf type=bind
            +mounts[]: destination=/etc/hostname options=rbind,ro,rprivate source=/d/c/hostname type=bind
            +mounts[]: destination=/etc/hosts options=rbind,ro,rprivate source=/d/c/hosts type=bind
            -process.capabilities.bounding: ["CAP_CHOWN","CAP_DAC_OVERRIDE","CAP_FOWNER","CAP_FSETID","CAP_KILL","CAP_SETGI…
            -process.capabilities.effective: ["CAP_CHOWN","CAP_DAC_OVERRIDE","CAP_FOWNER","CAP_FSETID","CAP_KILL","CAP_SETG…
            -process.capabilities.permitted: ["CAP_CHOWN","CAP_DAC_OVERRIDE","CAP_FOWNER","CAP_FSETID","CAP_KILL","CAP_SETG…
            +process.capabilities: bounding=["CAP_NET_ADMIN"] effective=["CAP_NET_ADMIN"] permitted=["CAP_NET_ADMIN"]
            +process.noNewPrivileges: true
            -root: path="rootfs"
            -seccomp: true
            +root: path="rootfs" readonly=true
            +seccomp: false
        "#,
    );
}

#[test]
fn modules() {
    let mut case = Case::new(|_| {});
    case.host.apparmor = true;
    case.host.apparmor_profiles = ["docker-default".to_owned()].into();
    case.host.selinux = true;
    check_case(
        case,
        r#"
            +linux.mountLabel: "system_u:object_r:container_file_t:s0:c383,c586"
            +process.apparmorProfile: "docker-default"
            +process.selinuxLabel: "system_u:system_r:container_t:s0:c383,c586"
        "#,
    );
}

#[test]
fn namespaces_of_others() {
    let mut case = Case::new(|request| {
        request.host.network = "container:n".parse().expect("a mode");
        request.host.pid = "container:p".parse().expect("a mode");
        request.host.ipc = "container:i".parse().expect("a mode");
        request.host.cgroupns = crate::request::CgroupnsMode::Host;
    });
    case.start.network = Some(PathBuf::from("/run/x/netns/other"));
    (case.start.pid_of, case.start.ipc_of) = (Some(7), Some(8));
    case.start.shm = Some(PathBuf::from("/run/x/other/shm"));
    check_case(
        case,
        r#"
            -linux.namespaces[]: path=/run/x/netns/1 type=network
            +linux.namespaces[]: path=/run/x/netns/other type=network
            -linux.namespaces[]: type=pid
            -linux.namespaces[]: type=ipc
            -linux.namespaces[]: type=cgroup
            +linux.namespaces[]: path=/proc/7/ns/pid type=pid
            +linux.namespaces[]: path=/proc/8/ns/ipc type=ipc
            -linux.sysctl: net.ipv4.ip_unprivileged_port_start="0" net.ipv4.ping_group_range="0 2147483647"
            -mounts[]: destination=/dev/shm options=nosuid,noexec,nodev,mode=1777,size=67108864 source=shm type=tmpfs
            +mounts[]: destination=/dev/shm options=rbind,rprivate source=/run/x/other/shm type=bind
        "#,
    );
}

#[test]
fn the_hosts_namespaces() {
    check(
        |request| {
            request.host.network = crate::request::NetworkMode::Host;
            request.host.pid = crate::request::PidMode::Host;
            request.host.ipc = crate::request::IpcMode::Host;
            request.host.uts = UtsMode::Host;
        },
        r#"
            -hostname: "0123456789ab"
            -linux.namespaces[]: path=/run/x/netns/1 type=network
            -linux.namespaces[]: type=uts
            -linux.namespaces[]: type=pid
            -linux.namespaces[]: type=ipc
            -linux.sysctl: net.ipv4.ip_unprivileged_port_start="0" net.ipv4.ping_group_range="0 2147483647"
            -mounts[]: destination=/dev/shm options=nosuid,noexec,nodev,mode=1777,size=67108864 source=shm type=tmpfs
            +mounts[]: destination=/dev/shm options=rbind,rprivate source=/dev/shm type=bind
            -process.env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","HOSTNAME=0123456789ab"]
            +process.env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","HOSTNAME=machine"]
        "#,
    );
}

#[test]
fn small_things() {
    check(
        |request| {
            request.host.init = Some(true);
            request.host.time_offsets =
                parse_time_offset("monotonic=-1.5").expect("an offset").into_iter().collect();
            let sysctl = ("net.core.somaxconn".to_owned(), "9".to_owned());
            request.host.sysctls = BTreeMap::from([sysctl]);
            request.host.resources.cgroup_parent = "/mine".to_owned();
        },
        r#"
            -linux.cgroupsPath: "/dhow-x/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
            +linux.cgroupsPath: "/mine/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
            +linux.namespaces[]: type=time
            -linux.sysctl: net.ipv4.ip_unprivileged_port_start="0" net.ipv4.ping_group_range="0 2147483647"
            +linux.sysctl: net.core.somaxconn="9" net.ipv4.ip_unprivileged_port_start="0" net.ipv4.ping_group_range="0 2147…
            +linux.timeOffsets: monotonic={"nanosecs":500000000,"secs":-2}
            +mounts[]: destination=/sbin/docker-init options=bind,ro source=/usr/bin/dhow type=bind
            -process.args: ["true"]
            +process.args: ["/sbin/docker-init","--","true"]
        "#,
    );
}

#[test]
fn systemd() {
    let mut case = Case::new(|_| {});
    (case.host.cgroup.systemd, case.host.defaults.cgroup_parent) =
        (true, "system.slice".to_owned());
    check_case(
        case,
        r#"
            -linux.cgroupsPath: "/dhow-x/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
            +linux.cgroupsPath: "system.slice:dhow:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
        "#,
    );
}

#[test]
fn version_1() {
    let mut case = Case::new(|_| {});
    case.host.cgroup = CgroupFacts::complete(false);
    check_case(
        case,
        r#"
            -linux.namespaces[]: type=cgroup
        "#,
    );
}
