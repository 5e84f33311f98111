//! What is filled in, discarded, refused; and the texts of generated files.

use std::collections::BTreeMap;

use super::Case;
use crate::plan::{
    ExecAsk, Found, exec_process, hostname_file, hosts_file, resolv_conf, resources,
};
use crate::request::CreateRequest;

#[test]
fn defaults_are_filled_as_docker_does() {
    let mut case = Case::new(|request| request.host.resources.memory = 64 << 20);
    assert_eq!(case.settle(), Ok(Vec::new()));
    let host = &case.request.host;
    assert_eq!((host.resources.memory_swap, host.shm_size), (128 << 20, 64 << 20));
    assert_eq!(
        (host.network.to_string(), host.ipc.to_string()),
        ("bridge".into(), "private".into())
    );
    assert_eq!(host.masked_paths.as_ref().map(Vec::len), Some(12));
    // Once settled, nothing changes any more.
    let once = case.request.clone();
    assert_eq!(case.settle(), Ok(Vec::new()));
    assert_eq!(case.request, once);
}

#[test]
fn what_a_machine_lacks_is_discarded_with_a_warning() {
    let mut case = Case::new(|request| {
        request.host.resources.memory = 64 << 20;
        request.host.resources.memory_swappiness = Some(10);
        request.host.resources.cpuset_cpus = "0".to_owned();
        request.host.resources.oom_kill_disable = Some(true);
    });
    (case.host.cgroup.swap, case.host.cgroup.cpuset) = (false, false);
    assert_eq!(
        case.settle().expect("settled"),
        [
            "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap.",
            "Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory swappiness discarded.",
            "Your kernel does not support OomKillDisable. OomKillDisable discarded.",
            "Your kernel does not support cpuset or the cgroup is not mounted. Cpuset discarded.",
        ]
    );
    let resources = resources(&case.request.host.resources, &Found::default());
    assert_eq!(resources.memory.map(|memory| memory.swap), Some(Some(-1)));
    assert_eq!(resources.cpu, None);
}

#[test]
fn what_a_machine_cannot_do_is_refused_in_dockers_words() {
    let check = |change: fn(&mut CreateRequest), expected: &str| {
        let refusal = Case::new(change).plan().expect_err(expected).to_string();
        assert_eq!(refusal, expected);
    };
    check(
        |request| request.host.resources.nano_cpus = 5_000_000_000,
        "range of CPUs is from 0.01 to 4.00, as there are only 4 CPUs available",
    );
    check(
        |request| request.host.resources.cpuset_cpus = "0,9".to_owned(),
        "Requested CPUs are not available - requested 0,9, available: 0-3",
    );
    check(
        |request| request.host.runtime = "kata".to_owned(),
        "unknown or invalid runtime name: kata",
    );
    check(
        |request| request.host.security = vec!["apparmor=mine".parse().expect("an option")],
        "apparmor profile mine: AppArmor is not enabled on this host",
    );
    check(
        |request| {
            let sysctl = ("kernel.panic".to_owned(), "1".to_owned());
            request.host.sysctls = BTreeMap::from([sysctl]);
        },
        "sysctl \"kernel.panic\" is not in a separate kernel namespace",
    );
    check(
        |request| {
            request.host.network = crate::request::NetworkMode::Host;
            let sysctl = ("net.core.somaxconn".to_owned(), "1".to_owned());
            request.host.sysctls = BTreeMap::from([sysctl]);
        },
        "sysctl \"net.core.somaxconn\" not allowed in host network namespace",
    );
    check(
        |request| request.host.log.driver = "splunk".to_owned(),
        "logger: no log driver named 'splunk' is registered",
    );
}

#[test]
fn generated_files() {
    let mut case = Case::new(|request| {
        request.config.hostname = "box".to_owned();
        request.config.domainname = "lan".to_owned();
        request.host.extra_hosts =
            ["db:10.1.2.3", "up:host-gateway"].map(|text| text.parse().expect("a host")).to_vec();
    });
    let own = ["172.17.0.2".parse().expect("an address")];
    let hosts = |case: &Case| hosts_file(&case.request, &case.start.id, &case.host, &own);
    assert_eq!(
        hosts(&case).expect_err("no gateway").to_string(),
        "unable to derive the IP value for host-gateway"
    );
    case.host.defaults.host_gateway = Some("172.17.0.1".parse().expect("an address"));
    let text = hosts(&case).expect("a file");
    assert!(text.starts_with("127.0.0.1\tlocalhost\n::1\tlocalhost "));
    assert!(text.ends_with("10.1.2.3\tdb\n172.17.0.1\tup\n172.17.0.2\tbox.lan box\n"), "{text}");
    assert_eq!(hostname_file(&case.request, &case.start.id, &case.host), "box\n");
    let shared = Case::new(|request| request.host.network = "host".parse().expect("a mode"));
    assert_eq!(hosts(&shared).expect("a file"), shared.host.hosts);
}

#[test]
fn servers_that_a_container_can_reach() {
    let text = |change: fn(&mut CreateRequest), host: &str, server: Option<&str>| {
        let mut case = Case::new(change);
        host.clone_into(&mut case.host.resolv_conf);
        let server = server.map(|server| server.parse().expect("an address"));
        let text = resolv_conf(&case.request, &case.host, server);
        text.lines().skip(1).collect::<Vec<_>>().join(";")
    };
    let host = "# comment\nnameserver 127.0.0.1\nnameserver 10.0.0.2\nnameserver ::1\nnameserver fe80::1%eth0\nsearch lan\noptions edns0\nsortlist 1.2.3.4\n";
    assert_eq!(
        text(|_| {}, host, None),
        "nameserver 10.0.0.2;search lan;options edns0;sortlist 1.2.3.4"
    );
    assert_eq!(
        text(
            |request| request.host.network = "host".parse().expect("a mode"),
            "nameserver ::1\n",
            None
        ),
        "nameserver ::1"
    );
    assert_eq!(
        text(|_| {}, "nameserver 127.0.0.53\n", None),
        "nameserver 8.8.8.8;nameserver 8.8.4.4"
    );
    assert_eq!(
        text(|_| {}, "nameserver 10.0.0.2\n", Some("127.0.0.11")),
        "nameserver 127.0.0.11;options ndots:0"
    );
    let own = |request: &mut CreateRequest| {
        request.host.dns = vec!["1.1.1.1".parse().expect("an address")];
        request.host.dns_search = vec![".".to_owned()];
        request.host.dns_options = vec!["ndots:2".to_owned()];
    };
    assert_eq!(text(own, host, None), "nameserver 1.1.1.1;options ndots:2;sortlist 1.2.3.4");
}

#[test]
fn health_is_found_out_as_docker_does() {
    let health = |test: &[&str]| {
        let mut case = Case::new(|request| {
            let test = test.iter().copied().map(str::to_owned).collect();
            let check = dhow_spec::image::HealthCheck { test, retries: 0, ..Default::default() };
            request.config.healthcheck = Some(check);
            request.config.tty = true;
        });
        case.plan().expect("a plan").health
    };
    let check = health(&["CMD-SHELL", "exit 0"]).expect("a check");
    assert_eq!(check.process.args, ["/bin/sh", "-c", "exit 0"]);
    assert!(!check.process.terminal);
    assert_eq!((check.interval_ms, check.start_interval_ms, check.retries), (30_000, 5_000, 3));
    assert_eq!(health(&["NONE"]), None);
    assert_eq!(health(&[]), None);
}

#[test]
fn one_more_process() {
    let mut case = Case::new(|request| request.config.env = vec!["A=1".to_owned()]);
    let container = case.plan().expect("a plan").spec.process.expect("a process");
    let ask = ExecAsk {
        args: vec!["sh".to_owned()],
        env: vec!["A=2".to_owned()],
        tty: true,
        privileged: true,
        ..ExecAsk::default()
    };
    let process = exec_process(&container, &ask);
    assert_eq!(process.args, ["sh"]);
    assert_eq!(process.env[2..], ["A=2", "TERM=xterm"]);
    let sets = process.capabilities.expect("capabilities");
    assert_eq!((sets.bounding.len(), process.cwd.as_str()), (41, "/"));
}
