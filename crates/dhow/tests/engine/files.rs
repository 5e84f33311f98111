//! Files between this machine, containers and images, by the command line; and what it knows of engines.
//!
//! Absent on purpose: what the crates' own tests know already; here only the whole way is walked.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use crate::whole::{self, IMAGE, TestEngine, text, until};

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
        let more = r#"{"labels": ["a=2"], "debug": true, "insecure-registries": ["10.9.0.0/16"],
            "registry-mirrors": ["https://mirror.example"], "default-runtime": "other",
            "runtimes": {"other": {"path": "/bin/true"}}}"#;
        fs::write(&file, more).expect("a file");
        let pid = fs::read_to_string(engine.root.join("run/engine.pid")).expect("a number");
        let pid = pid.trim().parse().ok().and_then(rustix::process::Pid::from_raw).expect("a pid");
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("told");
        whole::until("the new label is there", || {
            (engine.ok(&["info", "--format", "{{.Labels}}"]) == "[a=2]").then_some(())
        });
        let info = engine.ok(&["info", "--format", "json"]);
        for word in [
            "\"Debug\":true",
            "10.9.0.0/16",
            "https://mirror.example",
            "\"DefaultRuntime\":\"other\"",
        ] {
            assert!(info.contains(word), "{word}: {info}");
        }
        engine.ok(&["create", "--name", "later", IMAGE]);
        let runtime = engine.ok(&["inspect", "--format", "{{.HostConfig.Runtime}}", "later"]);
        assert_eq!(runtime, "other");
    }
    fs::remove_file(&file).expect("removed");
}

#[test]
fn volumes_are_saved_copied_and_renamed() {
    let test = "volumes_are_saved_copied_and_renamed";
    let Some(engine) = TestEngine::start(test) else { return };
    let write = "i=0; while :; do i=$((i+1)); echo $i >/data/number; echo $i >/data/again; done";
    let run = ["run", "-d", "--name", "db", "-v", "base:/data", IMAGE, "sh", "-c", write];
    engine.ok(&run);
    until("it writes", || {
        let said = engine.dhow(&["exec", "db", "cat", "/data/again"]);
        (said.code == 0 && !said.out.is_empty()).then_some(())
    });
    assert_eq!(engine.ok(&["volume", "snapshot", "base", "kept"]), "kept");
    assert_eq!(engine.ok(&["inspect", "-f", "{{.State.Status}}", "db"]), "running");
    let read = ["run", "--rm", "-v", "kept:/data", IMAGE, "cat", "/data/number", "/data/again"];
    let said = engine.ok(&read);
    let numbers: Vec<u64> = said.lines().filter_map(|line| line.parse().ok()).collect();
    // Between the two lines the container was stopped at most once; a line may have been on its way.
    assert!(numbers.len() < 2 || numbers[0].abs_diff(numbers[1]) <= 1, "{said}");
    let taken = engine.dhow(&["volume", "snapshot", "base", "kept"]);
    assert!(taken.err.contains("already exists"), "{taken:?}");
    let refused = engine.dhow(&["volume", "rename", "base", "other"]);
    assert!(refused.err.contains("volume is in use"), "{refused:?}");
    engine.ok(&["rm", "-f", "db"]);
    engine.ok(&["volume", "rename", "kept", "safe"]);
    let archive = engine.root.join("safe.tar");
    engine.ok(&["volume", "export", "-o", text(&archive), "safe"]);
    assert_eq!(engine.ok(&["volume", "import", "back", text(&archive)]), "back");
    let read = ["run", "--rm", "-v", "back:/data", IMAGE, "cat", "/data/number", "/data/again"];
    assert_eq!(engine.ok(&read), said);
    assert_eq!(engine.ok(&["volume", "ls", "-q"]), "back\nbase\nsafe");
    let sized = engine.dhow(&["volume", "create", "-o", "size=1m", "small"]);
    assert!(sized.err.contains("size"), "{sized:?}");
}

/// A program for the client, in a directory that is on its path.
fn put_program(directory: &std::path::Path, name: &str, script: &str) {
    let path = directory.join(name);
    fs::write(&path, script).expect("a program");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&path, mode).expect("a mode");
}

#[test]
fn an_engine_is_reached_by_ssh() {
    let test = "an_engine_is_reached_by_ssh";
    let Some(engine) = TestEngine::start(test) else { return };
    let programs = engine.root.join("bin");
    fs::create_dir(&programs).expect("a directory");
    symlink(whole::PROGRAM, programs.join("dhow")).expect("a link");
    let played = "#!/bin/sh\necho \"$*\" >>$0.said\nwhile [ \"$1\" != -- ]; do shift; done\nshift 2\nexec sh -c \"$*\"\n";
    put_program(&programs, "ssh", played);
    let host = format!("ssh://me@box:22{}", engine.socket().display());
    let through = |words: &[&str]| {
        let mut command = engine.command(&[&["--host", &host], words].concat());
        command.env("PATH", format!("{}:/usr/bin:/bin", programs.display()));
        whole::said(command.output().expect("a client"))
    };
    // A call, and a session with streams of its own.
    assert_eq!(through(&["version", "--format", "{{.Server.Os}}"]).out, "linux\n");
    let said = through(&["run", "--rm", IMAGE, "sh", "-c", "echo out; echo err >&2; exit 3"]);
    assert_eq!((said.out.as_str(), said.err.as_str(), said.code), ("out\n", "err\n", 3));
    let asked = fs::read_to_string(programs.join("ssh.said")).expect("what it was asked");
    assert!(asked.starts_with("-o ConnectTimeout=30 -T -l me -p 22 -- box sh -c "), "{asked}");
    put_program(&programs, "ssh", "#!/bin/sh\necho 'no way to box' >&2\nexit 255\n");
    let refused = through(&["ps"]);
    assert!(refused.code == 1 && refused.err.contains("no way to box"), "{refused:?}");
}

#[test]
fn logins_are_kept_by_the_file_or_by_a_helper() {
    /// The user `ann` with the password "pass word".
    const ANN: &str = "ann:$2y$04$jgc9Ob8vPwLlSxJrEfZUiO1kyOo0hu1DC8DMEaTExUuCYxf82VnnK\n";
    let test = "logins_are_kept_by_the_file_or_by_a_helper";
    let Some(engine) = TestEngine::start(test) else { return };
    let Some(registry) = crate::registry::Registry::start(test, Some(ANN)) else { return };
    let address = registry.address.to_string();
    let name = registry.name("team/tool:1");
    engine.ok(&["tag", IMAGE, &name]);
    let login = ["login", "-u", "ann", "--password-stdin", &address];
    let refused = engine.fed(&login, b"wrong\n");
    assert_eq!(refused.code, 1, "{refused:?}");
    assert_eq!(engine.dhow(&["push", "-q", &name]).code, 1);
    let said = engine.fed(&login, b"pass word\n");
    assert!(said.code == 0 && said.out.contains("Login Succeeded"), "{said:?}");
    let config = engine.root.join("config.json");
    assert!(fs::read_to_string(&config).expect("a file").contains(&address));
    engine.ok(&["push", "-q", &name]);
    engine.ok(&["logout", &address]);
    assert!(!fs::read_to_string(&config).expect("a file").contains("YW5u"));
    assert_eq!(engine.dhow(&["push", "-q", &name]).code, 1);

    let programs = engine.root.join("bin");
    fs::create_dir(&programs).expect("a directory");
    let helper = "#!/bin/sh\nkept=$0.kept\ncase $1 in\nstore) cat >$kept ;;\nerase) rm -f $kept ;;\n\
        get) if [ -e $kept ]; then cat $kept; else echo credentials not found in native keychain; exit 1; fi ;;\nesac\n";
    put_program(&programs, "docker-credential-played", helper);
    fs::write(&config, "{\"credsStore\": \"played\"}").expect("a file");
    let with_helper = |words: &[&str]| {
        let mut command = engine.command(words);
        command.env("PATH", format!("{}:/usr/bin:/bin", programs.display()));
        whole::said(command.output().expect("a client"))
    };
    let said = with_helper(&["login", "-u", "ann", "-p", "pass word", &address]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(programs.join("docker-credential-played.kept").exists());
    assert!(!fs::read_to_string(&config).expect("a file").contains("YW5u"));
    assert_eq!(with_helper(&["push", "-q", &name]).code, 0);
    assert_eq!(with_helper(&["logout", &address]).code, 0);
    assert_eq!(with_helper(&["push", "-q", &name]).code, 1);
}
