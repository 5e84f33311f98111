//! Files between this machine, containers and images, by the command line; and what it knows of engines.
//!
//! Absent on purpose: what the crates' own tests know already; here only the whole way is walked.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use crate::whole::{self, IMAGE, TestEngine};

#[test]
fn cp_goes_where_docker_s_would() {
    let Some(engine) = TestEngine::start("cp_goes_where_docker_s_would") else { return };
    let path = |name: &str| engine.root.join(name).display().to_string();
    fs::create_dir_all(path("dir/sub")).expect("a directory");
    fs::write(path("file"), "hello").expect("a file");
    fs::write(path("dir/sub/x"), "x").expect("a file");
    symlink("sub/x", path("dir/link")).expect("a link");
    engine.ok(&["create", "--name", "box", "--volume", "/data", IMAGE, "sleep", "1000"]);
    for running in [false, true] {
        if running {
            engine.ok(&["start", "box"]);
        }
        let place = |name: &str| format!("box:/data/{name}{running}");
        engine.ok(&["cp", &path("file"), "box:/tmp/"]);
        engine.ok(&["cp", &path("file"), &place("renamed")]);
        engine.ok(&["cp", &path("dir"), &place("dir")]);
        engine.ok(&["cp", &format!("{}/.", path("dir")), "box:/data/"]);
        engine.ok(&["cp", &place("dir"), &path(&format!("back-{running}"))]);
        let back = format!("back-{running}");
        assert_eq!(fs::read(path(&format!("{back}/link"))).expect("by the link"), b"x");
        engine.ok(&["cp", &place("renamed"), &path("file-back")]);
        assert_eq!(fs::read(path("file-back")).expect("a file"), b"hello");
        let (sent, came) = (fs::metadata(path("file")), fs::metadata(path("file-back")));
        let times = [sent, came].map(|found| found.expect("a file").mtime_nsec());
        assert_eq!(times[0], times[1], "times are whole");
    }
    let archive = engine.command(&["cp", "box:/data/dirtrue", "-"]).output().expect("a client");
    let unpacked = engine.fed(&["cp", "-", "box:/tmp"], &archive.stdout);
    assert_eq!(unpacked.code, 0, "{unpacked:?}");
    assert_eq!(engine.ok(&["exec", "box", "cat", "/tmp/dirtrue/sub/x"]), "x");

    let refused = |words: &[&str]| {
        let said = engine.dhow(words);
        assert_eq!(said.code, 1, "{words:?}: {said:?}");
        said.err
    };
    let missing = refused(&["cp", "box:/none", &path("x")]);
    assert!(missing.contains("Could not find the file /none in container box"), "{missing}");
    let missing = refused(&["cp", &path("none"), "box:/x"]);
    assert!(missing.contains("no such file or directory"), "{missing}");
    let big = path("big");
    fs::write(&big, vec![7; 8 << 20]).expect("a file");
    let missing = refused(&["cp", &big, "nobody:/x"]);
    assert!(missing.contains("No such container: nobody"), "{missing}");
    let wrong = refused(&["cp", &path("dir"), "box:/tmp/file"]);
    assert!(wrong.contains("cannot copy directory"), "{wrong}");
    let wrong = refused(&["cp", "box:/a", "box:/b"]);
    assert!(wrong.contains("copying between containers is not supported"), "{wrong}");
}

#[test]
fn what_a_container_changed_becomes_an_image() {
    let Some(engine) = TestEngine::start("what_a_container_changed_becomes_an_image") else {
        return;
    };
    engine.ok(&["run", "--name", "idle", IMAGE, "true"]);
    assert_eq!(engine.ok(&["diff", "idle"]), "", "a start is no change");
    engine.ok(&["run", "--name", "made", IMAGE, "sh", "-c", "echo new > /etc/new"]);
    let changes = engine.ok(&["diff", "made"]);
    assert_eq!(changes, "C /etc\nA /etc/new");
    let change = "CMD [\"cat\", \"/etc/new\"]";
    let id = engine.ok(&["commit", "-m", "why", "-c", change, "made", "image:1"]);
    assert!(id.starts_with("sha256:"), "{id}");
    assert_eq!(engine.ok(&["run", "--rm", "image:1"]), "new");
    let history = engine.ok(&["history", "--format", "{{.Comment}}", "image:1"]);
    assert!(history.starts_with("why"), "{history}");
    let archive = engine.root.join("root.tar").display().to_string();
    engine.ok(&["export", "-o", &archive, "made"]);
    engine.ok(&["import", "-c", "ENTRYPOINT [\"/bin/cat\", \"/etc/new\"]", &archive, "flat"]);
    assert_eq!(engine.ok(&["run", "--rm", "flat"]), "new");
    let refused = engine.dhow(&["commit", "-c", "RUN true", "made", "image:2"]);
    assert!(refused.err.contains("RUN is not a valid change command"), "{refused:?}");
    let usage = engine.ok(&["system", "df", "--format", "{{.Type}} {{.TotalCount}}"]);
    assert!(usage.contains("Containers 2") && usage.contains("Local Volumes 0"), "{usage}");
    let pruned = engine.ok(&["system", "prune", "--force", "--volumes"]);
    assert!(pruned.contains("Deleted Containers:"), "{pruned}");
    assert!(pruned.contains("Total reclaimed space:"), "{pruned}");
    assert_eq!(engine.ok(&["ps", "-aq"]), "");
}

#[test]
fn contexts_and_plugins_know_the_engine() {
    let Some(engine) = TestEngine::start("contexts_and_plugins_know_the_engine") else { return };
    let socket = format!("host=unix://{}", engine.socket().display());
    engine.ok(&["context", "create", "own", "--description", "ours", "--docker", &socket]);
    let list = engine.ok(&["context", "ls", "--format", "{{.Name}} {{.Description}}"]);
    assert!(list.contains("own ours"), "{list}");
    let mut command = engine.command(&["--context", "own", "ps", "-q"]);
    let output = command.env_remove("DHOW_HOST").output().expect("a client");
    assert!(output.status.success(), "{output:?}");
    let file = engine.root.join("own.tar").display().to_string();
    engine.ok(&["context", "export", "own", &file]);
    engine.ok(&["context", "rm", "own"]);
    engine.ok(&["context", "import", "again", &file]);
    let host =
        engine.ok(&["context", "inspect", "--format", "{{.Endpoints.docker.Host}}", "again"]);
    assert!(host.ends_with("run/dhow.sock"), "{host}");
    let refused = engine.dhow(&["context", "inspect", "own"]);
    assert_eq!(refused.code, 1, "{refused:?}");

    let plugins = engine.root.join("cli-plugins");
    fs::create_dir(&plugins).expect("a directory");
    let plugin = plugins.join("docker-played");
    fs::write(&plugin, "#!/bin/sh\necho \"$DOCKER_HOST $*\"\nexit 4\n").expect("a program");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&plugin, mode).expect("a mode");
    let said = engine.dhow(&["played", "--flag", "word"]);
    let expected = format!("unix://{} played --flag word\n", engine.socket().display());
    assert_eq!((said.out, said.code), (expected, 4));

    engine.ok(&["create", "--name", "complete-me", IMAGE, "true"]);
    assert_eq!(engine.ok(&["__complete", "rm", "comp"]), "complete-me");
    assert_eq!(engine.ok(&["__complete", "container", "pru"]), "prune");
    assert!(engine.ok(&["__complete", "run", "--na"]).contains("--name"));
}

#[test]
fn settings_are_read_again() {
    let test = "settings_are_read_again";
    let file = std::env::temp_dir().join(format!("dhow-daemon-{}.json", std::process::id()));
    fs::write(&file, r#"{"labels": ["a=1"], "userland-proxy": false}"#).expect("a file");
    let name = file.display().to_string();
    if let Some(engine) = TestEngine::with_flags(test, &["--config-file", &name]) {
        assert_eq!(engine.ok(&["info", "--format", "{{.Labels}}"]), "[a=1]");
        fs::write(&file, r#"{"labels": ["a=2"]}"#).expect("a file");
        let pid = fs::read_to_string(engine.root.join("run/engine.pid")).expect("a number");
        let pid = pid.trim().parse().ok().and_then(rustix::process::Pid::from_raw).expect("a pid");
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("told");
        whole::until("the new label is there", || {
            (engine.ok(&["info", "--format", "{{.Labels}}"]) == "[a=2]").then_some(())
        });
    }
    fs::remove_file(&file).expect("removed");
}
