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
