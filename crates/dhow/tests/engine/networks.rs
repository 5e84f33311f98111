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
    assert_eq!(engine.ok(&["inspect", "-f", "{{json .HostConfig.Links}}", "web"]), "[]");
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

#[test]
fn what_cannot_be_is_refused_in_docker_s_words() {
    let test = "what_cannot_be_is_refused_in_docker_s_words";
    let Some(engine) = TestEngine::start(test) else { return };
    let create = |name: &str, driver: &str, pools: &str| {
        let body =
            format!(r#"{{"Name":"{name}","Driver":"{driver}","IPAM":{{"Config":[{pools}]}}}}"#);
        engine.ask("POST", "/networks/create", &body).expect("an answer")
    };
    let check = |answer: String, status: u16, words: &str| {
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{words}: {answer}");
        assert!(answer.contains(words), "{words}: {answer}");
    };
    check(create("lan", "", r#"{"Subnet":"10.1.0.0/16"}"#), 201, "Id");
    let overlap = "invalid pool request: Pool overlaps with other one on this address space";
    check(create("other", "", r#"{"Subnet":"10.1.2.0/24"}"#), 403, overlap);
    let outside = r#"{"Subnet":"10.2.0.0/24","Gateway":"10.3.0.1"}"#;
    let words = "invalid gateway 10.3.0.1: parent subnet 10.2.0.0/24 doesn't contain this address";
    check(create("other", "", outside), 400, words);
    let words = "invalid subnet 10.2.0.7/24: it should be 10.2.0.0/24";
    check(create("other", "", r#"{"Subnet":"10.2.0.7/24"}"#), 400, words);
    let two = r#"{"Subnet":"10.2.0.0/24"},{"Subnet":"10.3.0.0/24"}"#;
    check(create("other", "", two), 403, "bridge driver doesn't support multiple subnets");
    let words = "could not find plugin strange in v1 plugin registry: plugin not found";
    check(create("other", "strange", ""), 404, words);
    check(create("lan", "", ""), 409, "network with name lan already exists");
    check(create("bridge", "", ""), 403, "operation is not permitted on predefined bridge network");
    let failed = |words: &[&str]| {
        let said = engine.dhow(words);
        assert_eq!(said.code, 125, "{said:?}");
        said.err
    };
    let one = [
        "run",
        "-d",
        "--name",
        "one",
        "--network",
        "lan",
        "--ip",
        "10.1.0.9",
        IMAGE,
        "sleep",
        "99",
    ];
    engine.ok(&one);
    let said = failed(&["run", "--network", "lan", "--ip", "10.1.0.9", IMAGE, "true"]);
    assert!(
        said.contains("failed to set up container networking: Address already in use"),
        "{said}"
    );
    let said = failed(&["run", "--network", "lan", "--ip", "10.9.0.9", IMAGE, "true"]);
    let words = "no configured subnet or ip range contain the IP address 10.9.0.9";
    assert!(said.contains(words), "{said}");
    let said = failed(&["run", "--network", "nowhere", IMAGE, "true"]);
    assert!(said.contains("network nowhere not found"), "{said}");
    let said = failed(&["run", "-p", "x:80", IMAGE, "true"]);
    assert!(said.contains("invalid hostPort: x"), "{said}");
    let said = failed(&["run", "-p", "8080:80/icmp", IMAGE, "true"]);
    assert!(said.contains("invalid proto: icmp"), "{said}");
    let refused = engine.dhow(&["network", "rm", "lan"]);
    let words = "error while removing network: network lan has active endpoints (name:\"one\" id:";
    assert!(refused.err.contains(words), "{refused:?}");
    let refused = engine.dhow(&["network", "disconnect", "--force", "lan", "nobody"]);
    assert!(refused.err.contains("endpoint nobody not found"), "{refused:?}");
    // Configurations for others.
    engine.ok(&["network", "create", "--config-only", "--subnet", "10.4.0.0/24", "settings"]);
    let told = "{{.ConfigOnly}} {{.Driver}} {{(index .IPAM.Config 0).Subnet}}";
    assert_eq!(engine.ok(&["network", "inspect", "-f", told, "settings"]), "true null 10.4.0.0/24");
    let said = failed(&["run", "--network", "settings", IMAGE, "true"]);
    assert!(said.contains("cannot create endpoint on configuration-only network"), "{said}");
    engine.ok(&["network", "create", "--config-from", "settings", "made"]);
    let told = "{{.ConfigFrom.Network}} {{(index .IPAM.Config 0).Subnet}}";
    assert_eq!(engine.ok(&["network", "inspect", "-f", told, "made"]), "settings 10.4.0.0/24");
    let refused = engine.dhow(&["network", "rm", "settings"]);
    assert!(refused.err.contains("configuration network \"settings\" is in use"), "{refused:?}");
    engine.ok(&["network", "rm", "made", "settings"]);
    let refused = engine.dhow(&["network", "create", "--config-from", "settings", "late"]);
    assert!(refused.err.contains("configuration network \"settings\" not found"), "{refused:?}");
}
