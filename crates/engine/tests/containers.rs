//! Containers' lives on the real kernel: an engine with roots of its own, in namespaces of its own, and the
//! program that `cargo build` has put beside this test as monitor.
#![allow(clippy::print_stderr, reason = "a test says what it skips")]

mod rig;

use std::time::{Duration, Instant};

use dhow_engine::{
    Error, ErrorClass, EventsRequest, ExecRequest, ExecStart, Filters, ListRequest, LogsRequest,
    RemoveRequest, Status, StopRequest, WaitCondition,
};
use rig::{Rig, sh};

#[test]
fn a_whole_life() {
    Rig::run("a_whole_life", async |rig| {
        let engine = &rig.engine();
        let mut events = engine
            .events(EventsRequest { since_ns: Some(0), ..EventsRequest::default() })
            .await
            .expect("events");
        let request = sh("echo out; echo err >&2; exit 3");
        let created = engine.create(Some("life"), request).await.expect("created");
        let error = engine.create(Some("life"), sh("true")).await.expect_err("taken");
        assert_eq!(error.class(), ErrorClass::Conflict);
        assert!(error.to_string().contains(&format!("by container \"{}\"", created.id)), "{error}");
        let next = engine.wait("life", WaitCondition::NextExit).expect("a wait");
        engine.start("life").await.expect("started");
        assert_eq!(next.done().await.code, 3);
        let details = engine.inspect("life", true).await.expect("details");
        assert_eq!(details.state.status, Status::Exited);
        assert_eq!((details.state.exit_code, details.path.as_str()), (3, "sh"));
        assert!(details.size.is_some_and(|size| size.root_bytes > 0));
        assert_eq!(rig.logs("life", LogsRequest::default()).await, ["out\n", "2:err\n"]);
        let all = ListRequest { all: true, ..ListRequest::default() };
        assert_eq!(engine.list(all.clone()).await.expect("a list").len(), 1);
        assert_eq!(engine.list(ListRequest::default()).await.expect("a list"), []);
        engine.start("life").await.expect("started again");
        engine.wait("life", WaitCondition::NotRunning).expect("a wait").done().await;
        engine.remove("life", RemoveRequest::default()).await.expect("removed");
        assert_eq!(engine.list(all).await.expect("a list"), []);
        let mut actions = Vec::new();
        while actions.last().is_none_or(|action| action != "destroy") {
            actions.push(events.next().await.expect("an event").action.clone());
        }
        assert_eq!(actions, ["create", "start", "die", "start", "die", "destroy"]);
    });
}

#[test]
fn a_start_that_fails_says_why_and_leaves_nothing() {
    Rig::run("a_start_that_fails_says_why_and_leaves_nothing", async |rig| {
        let engine = &rig.engine();
        let mut request = sh("");
        request.config.cmd = Some(vec!["/no/such".to_owned()]);
        engine.create(Some("fails"), request.clone()).await.expect("created");
        let error = engine.start("fails").await.expect_err("no program");
        assert_eq!(error.class(), ErrorClass::Invalid, "{error}");
        assert!(error.to_string().contains("no such file or directory"), "{error}");
        let state = engine.inspect("fails", false).await.expect("details").state;
        assert_eq!((state.status, state.exit_code), (Status::Created, 127));
        assert!(state.error.contains("no such file or directory"), "{}", state.error);
        engine.remove("fails", RemoveRequest::default()).await.expect("removed");
        request.host.auto_remove = true;
        engine.create(Some("fails"), request).await.expect("created");
        let removed = engine.wait("fails", WaitCondition::Removed).expect("a wait");
        engine.start("fails").await.expect_err("no program");
        assert_eq!(removed.done().await.code, 127);
    });
}

#[test]
fn stop_kill_pause_and_restart() {
    Rig::run("stop_kill_pause_and_restart", async |rig| {
        let engine = &rig.engine();
        rig.start("web", sh("trap 'exit 5' TERM; while :; do sleep 0.1; done")).await;
        let error = engine.start("web").await.expect_err("it runs");
        assert!(matches!(error, Error::NotModified));
        engine.pause("web").await.expect("paused");
        assert_eq!(rig.status("web").await, Status::Paused);
        engine.pause("web").await.expect_err("paused already");
        engine.unpause("web").await.expect("it goes on");
        let error = engine.remove("web", RemoveRequest::default()).await.expect_err("it runs");
        assert_eq!(
            error.to_string(),
            "cannot remove container \"/web\": container is running: \
             stop the container before removing or force remove"
        );
        engine.stop("web", StopRequest::default()).await.expect("stopped");
        assert_eq!(engine.inspect("web", false).await.expect("details").state.exit_code, 5);
        let error = engine.stop("web", StopRequest::default()).await.expect_err("stopped already");
        assert!(matches!(error, Error::NotModified));
        engine.restart("web", StopRequest::default()).await.expect("restarted");
        let before = Instant::now();
        engine.kill("web", 9).await.expect("killed");
        assert!(before.elapsed() < Duration::from_secs(5));
        assert_eq!(engine.inspect("web", false).await.expect("details").state.exit_code, 137);
        engine.rename("web", "net").await.expect("renamed");
        engine.inspect("web", false).await.expect_err("no more");
        engine.start("net").await.expect("started");
        engine.remove("net", RemoveRequest { force: true, volumes: true }).await.expect("removed");
    });
}

#[test]
fn a_program_without_a_handler_stops_at_once() {
    Rig::run("a_program_without_a_handler_stops_at_once", async |rig| {
        rig.start("deaf", sh("sleep 1000")).await;
        let before = Instant::now();
        rig.engine().stop("deaf", StopRequest::default()).await.expect("stopped");
        assert!(before.elapsed() < Duration::from_secs(5), "{:?}", before.elapsed());
    });
}

#[test]
fn processes_execs_and_counters() {
    Rig::run("processes_execs_and_counters", async |rig| {
        let engine = &rig.engine();
        rig.start("busy", sh("sleep 1000 & wait")).await;
        let top = engine.top("busy", "-o pid,args").await.expect("a table");
        assert!(top.processes.iter().any(|row| row[1].contains("sleep 1000")), "{top:?}");
        let request = ExecRequest {
            command: ["sh", "-c", "exit 7"].map(str::to_owned).into(),
            user: "nobody".to_owned(),
            ..ExecRequest::default()
        };
        let id = engine.exec_create("busy", request).await.expect("an exec");
        engine.exec_start(&id, ExecStart::default(), None).await.expect("started");
        let exec = rig.until(|| {
            let exec = engine.exec_inspect(&id).expect("an exec");
            exec.exit_code.is_some().then_some(exec)
        });
        assert_eq!(exec.await.exit_code, Some(7));
        let stats = engine.stats("busy").await.expect("stats");
        assert!(stats.usage.is_some(), "{stats:?}");
        let mut filters = Filters::default();
        filters.add("name", "^bus");
        let some = ListRequest { filters, ..ListRequest::default() };
        assert_eq!(engine.list(some).await.expect("a list").len(), 1);
        engine.remove("busy", RemoveRequest { force: true, volumes: true }).await.expect("removed");
    });
}
