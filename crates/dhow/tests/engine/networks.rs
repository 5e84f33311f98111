//! Networks of one's own: names, several of them, and engines that are killed meanwhile.

use crate::whole::{IMAGE, TestEngine, until};

const SERVE: &str = "echo served >/tmp/index.html; exec httpd -f -p 80 -h /tmp";

#[test]
fn containers_find_each_other_by_name() {
    let test = "containers_find_each_other_by_name";
    let Some(mut engine) = TestEngine::start(test) else { return };
    for network in ["front", "back"] {
        engine.ok(&["network", "create", network]);
    }
    let serve =
        ["run", "-d", "--name", "web", "--network", "front", "--network-alias", "www", IMAGE];
    engine.ok(&[&serve[..], &["sh", "-c", SERVE]].concat());
    engine.ok(&["run", "-d", "--name", "client", "--network", "front", IMAGE, "sleep", "1000"]);
    engine.ok(&["run", "-d", "--name", "other", "--network", "back", IMAGE, "sleep", "1000"]);
    // Not by wget: a static busybox cannot look names up for it.
    let reaches = |engine: &TestEngine, from: &str, host: &str| {
        engine.dhow(&["exec", from, "ping", "-c", "1", "-W", "2", host]).code == 0
    };
    for host in ["web", "www"] {
        assert!(reaches(&engine, "client", host), "{host}");
    }
    // Who is in another network knows neither name nor address, until he is let in.
    let address = "{{.NetworkSettings.Networks.front.IPAddress}}";
    let address = engine.ok(&["inspect", "-f", address, "web"]);
    assert!(!reaches(&engine, "other", "web"));
    assert!(!reaches(&engine, "other", &address));
    engine.ok(&["network", "connect", "front", "other"]);
    assert!(reaches(&engine, "other", "web"));
    // Names are answered while there is no engine, and what was connected stays so.
    let pid = engine.ok(&["inspect", "-f", "{{.State.Pid}}", "client"]);
    engine.kill();
    let enter = format!("nsenter -t {pid} -n nslookup web 127.0.0.11");
    let answer = std::process::Command::new("busybox").args(["sh", "-c", &enter]).output();
    let answer = String::from_utf8_lossy(&answer.expect("busybox").stdout).into_owned();
    assert!(answer.contains(&address), "{answer}");
    engine.open();
    assert!(reaches(&engine, "other", "web"));
    engine.ok(&["network", "disconnect", "front", "other"]);
    assert!(!reaches(&engine, "other", "web"));
    let refused = engine.dhow(&["network", "rm", "front"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.err.contains("has active endpoints"), "{refused:?}");
    engine.ok(&["rm", "-f", "web", "client", "other"]);
    engine.ok(&["network", "rm", "front", "back"]);
}

#[test]
fn a_running_container_gets_one_more_port() {
    let test = "a_running_container_gets_one_more_port";
    let Some(engine) = TestEngine::start(test) else { return };
    engine.ok(&["run", "-d", "--name", "web", IMAGE, "sh", "-c", SERVE]);
    engine.ok(&["update", "--publish-add", "127.0.0.1:8080:80", "web"]);
    assert_eq!(engine.ok(&["port", "web", "80"]), "127.0.0.1:8080");
    until("the server answers", || super::life::fetch(8080).filter(|page| page.contains("served")));
    engine.ok(&["update", "--publish-rm", "8080:80", "web"]);
    assert_eq!(super::life::fetch(8080), None);
}

#[test]
fn containers_of_the_default_network_are_linked() {
    let test = "containers_of_the_default_network_are_linked";
    let flags = ["--bip=10.99.0.1/24", "--mtu=1400"];
    let Some(engine) = TestEngine::with_flags(test, &flags) else { return };
    let refused = engine.dhow(&["run", "--link", "nobody", IMAGE, "true"]);
    let words = "could not get container for nobody: No such container: nobody";
    assert!(refused.err.contains(words), "{refused:?}");
    let db = ["run", "-d", "--name", "db", "--expose", "5432", "-e", "USER=x", IMAGE];
    engine.ok(&[&db[..], &["sleep", "1000"]].concat());
    engine.ok(&["run", "-d", "--name", "web", "--link", "db:sql", IMAGE, "sleep", "1000"]);
    let env = engine.ok(&["exec", "web", "env"]);
    for line in ["SQL_PORT_5432_TCP_ADDR=10.99.0.2", "SQL_NAME=/web/sql", "SQL_ENV_USER=x"] {
        assert!(env.lines().any(|one| one == line), "{line} in {env}");
    }
    engine.ok(&["exec", "web", "ping", "-c", "1", "-W", "2", "sql"]);
    assert_eq!(engine.ok(&["inspect", "-f", "{{.HostConfig.Links}}", "web"]), "[/db:/web/sql]");
    assert_eq!(
        engine.ok(&["ps", "--no-trunc", "--format", "{{.Names}}", "-f", "name=db"]),
        "db,web/sql"
    );
    assert_eq!(engine.ok(&["exec", "web", "cat", "/sys/class/net/eth0/mtu"]), "1400");
    // It is found where it is after its next start, under whatever name.
    engine.ok(&["stop", "-t", "0", "db"]);
    let refused = engine.dhow(&["run", "--name", "late", "--link", "db", IMAGE, "true"]);
    let words = "Cannot link to a non running container: /db AS /late/db";
    assert!(refused.err.contains(words), "{refused:?}");
    engine.ok(&["rename", "db", "base"]);
    engine.ok(&["start", "base"]);
    let address = "{{.NetworkSettings.Networks.bridge.IPAddress}}";
    let address = engine.ok(&["inspect", "-f", address, "base"]);
    until("the line changes", || {
        let hosts = engine.ok(&["exec", "web", "cat", "/etc/hosts"]);
        hosts.lines().any(|line| line.starts_with(&format!("{address}\tsql "))).then_some(())
    });
    engine.ok(&["rm", "--link", "/web/sql"]);
    assert_eq!(engine.ok(&["inspect", "-f", "{{json .HostConfig.Links}}", "web"]), "null");
    assert!(!engine.ok(&["exec", "web", "cat", "/etc/hosts"]).contains("sql"));
}

#[test]
fn what_is_in_a_network_s_way_is_told_and_builds_know_its_names() {
    let test = "what_is_in_a_network_s_way_is_told_and_builds_know_its_names";
    let Some(engine) = TestEngine::start(test) else { return };
    let nft = |words: &str| {
        std::process::Command::new("nft").args(words.split(' ')).status().is_ok_and(|s| s.success())
    };
    nft("add table inet theirs");
    let in_the_way = nft(
        "add chain inet theirs forward { type filter hook forward priority 0 ; policy drop ; }",
    );
    let made = engine.dhow(&["network", "create", "front"]);
    assert_eq!(made.code, 0, "{made:?}");
    if in_the_way {
        let words = "WARNING: the chain inet theirs forward drops what it does not know";
        assert!(made.err.contains(words), "{made:?}");
        nft("delete table inet theirs");
    }
    let bridge = format!("br-{}", &made.out[..12]);
    let rules =
        engine.ok(&["network", "inspect", "--verbose", "-f", "{{json .DhowRules}}", "front"]);
    assert!(rules.contains(&format!("set bridges: {bridge}")), "{rules}");
    assert!(!engine.ok(&["network", "inspect", "front"]).contains("DhowRules"));
    engine.ok(&["run", "-d", "--name", "web", "--network", "front", IMAGE, "sleep", "1000"]);
    let context = engine.root.join("context");
    std::fs::create_dir(&context).expect("a directory");
    let dockerfile = format!("FROM {IMAGE}\nRUN ping -c 1 -W 2 web && ping -c 1 -W 2 up\n");
    std::fs::write(context.join("Dockerfile"), dockerfile).expect("a file");
    let place = context.display().to_string();
    engine.ok(&["build", "--network", "front", "--add-host", "up:host-gateway", "-q", &place]);
}
