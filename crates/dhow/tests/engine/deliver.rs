//! What comes out of builds: files, archives, layouts, caches for others, warnings; and what keeps them honest.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use crate::registry::Registry;
use crate::whole::{IMAGE, TestEngine, text, until};

fn context(engine: &TestEngine, name: &str, dockerfile: &str, files: &[(&str, &str)]) -> PathBuf {
    let place = engine.root.join(name);
    fs::create_dir_all(&place).expect("a directory");
    fs::write(place.join("Dockerfile"), dockerfile).expect("a file");
    for (name, text) in files {
        let path = place.join(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(path, text).expect("a file");
    }
    place
}

#[test]
fn results_go_where_they_are_wanted() {
    let Some(engine) = TestEngine::start("results_go_where_they_are_wanted") else { return };
    let dockerfile = "FROM scratch AS out\nCOPY --chmod=750 word sub/\nCOPY word /\n";
    let place = context(&engine, "context", dockerfile, &[("word", "once\n")]);
    let at = |name: &str| engine.root.join(name).display().to_string();
    let (dir, tar, oci, layout) = (at("dir"), at("out.tar"), at("oci.tar"), at("layout"));
    let before = engine.ok(&["images", "-aq"]);
    let outputs = [
        "build".to_owned(),
        format!("--output={dir}"),
        format!("-otype=tar,dest={tar}"),
        format!("-otype=oci,dest={oci}"),
        format!("-otype=oci,dest={layout},tar=false"),
        "--iidfile".to_owned(),
        at("iid"),
        "--metadata-file".to_owned(),
        at("metadata"),
        "--tag=given".to_owned(),
        "--tag=given:away".to_owned(),
        "--annotation=org.example=x".to_owned(),
        text(&place).to_owned(),
    ];
    let words: Vec<&str> = outputs.iter().map(String::as_str).collect();
    let said = engine.dhow(&words);
    assert_eq!((said.code, said.out.as_str()), (0, ""), "{said:?}");
    assert!(said.err.contains("#2 [out 2/3] COPY --chmod=750 word sub/\n#2 DONE"), "{said:?}");
    assert_eq!(fs::read_to_string(Path::new(&dir).join("sub/word")).expect("it"), "once\n");
    let mode = fs::metadata(Path::new(&dir).join("sub/word")).expect("it").permissions().mode();
    assert_eq!(mode & 0o7777, 0o750);
    let names = String::from_utf8_lossy(&fs::read(&tar).expect("a tar")).into_owned();
    assert!(names.contains("sub/word") && !names.contains("manifest.json"));
    let index = fs::read_to_string(Path::new(&layout).join("index.json")).expect("a layout");
    let id = fs::read_to_string(at("iid")).expect("an id");
    assert!(index.contains(&id), "{index}");
    let metadata = fs::read_to_string(at("metadata")).expect("metadata");
    for expected in [&id, "docker.io/library/given:latest,docker.io/library/given:away"] {
        assert!(metadata.contains(expected), "{metadata}");
    }
    let blob = Path::new(&layout).join("blobs").join(id.replace(':', "/"));
    assert!(fs::read_to_string(blob).expect("a manifest").contains(r#""org.example":"x""#));
    // Given away is not kept; what was given away can be loaded.
    assert_eq!(engine.ok(&["images", "-aq"]), before);
    engine.ok(&["load", "-q", "-i", &oci]);
    assert_eq!(engine.ok(&["inspect", "--format", "{{.Id}}", "given:away"]), id);
    // On standard output, and nothing else there.
    let said = engine.command(&["build", "-o", "-", text(&place)]).output().expect("a client");
    assert!(said.status.success() && said.stdout.starts_with(b"./\0"), "{:?}", said.stderr);
    // Kept where somebody says so, with names of the output's.
    engine.ok(&["build", "-q", "-o", "type=image,name=kept:1", "-o", &at("more"), text(&place)]);
    assert!(!engine.ok(&["images", "-q", "kept:1"]).is_empty());
    for (flag, expected) in [
        ("--output=type=moon", "--output type=moon is not built"),
        ("--output=type=local", "dest is required"),
        ("--output=type=image,compression=zstd", "compression is not built"),
        ("--annotation=index:a=b", "has no index"),
        ("--cache-to=type=gha", "--cache-to type=gha is not built"),
    ] {
        let failed = engine.dhow(&["build", flag, text(&place)]);
        assert!(failed.code != 0 && failed.err.contains(expected), "{flag}: {failed:?}");
    }
}

#[test]
fn dockerfiles_are_judged() {
    let Some(engine) = TestEngine::start("dockerfiles_are_judged") else { return };
    let dockerfile = format!("FROM {IMAGE} as x\nENV A=$PAHT\nCMD echo\n");
    let place = context(&engine, "context", &dockerfile, &[]);
    let checked = engine.dhow(&["build", "--check", text(&place)]);
    assert_eq!(checked.code, 1, "{checked:?}");
    for expected in [
        "Check complete, 3 warnings have been found!",
        "WARNING: UndefinedVar - https://docs.docker.com/go/dockerfile/rule/undefined-var/",
        "Usage of undefined variable '$PAHT' (did you mean $PATH?)",
        "   2 | >>> ENV A=$PAHT",
    ] {
        assert!(checked.out.contains(expected), "{expected}: {checked:?}");
    }
    let json = engine.dhow(&["build", "--call=lint,format=json", text(&place)]).out;
    assert!(json.contains(r#""ruleName": "JSONArgsRecommended""#), "{json}");
    let built = engine.dhow(&["build", text(&place)]);
    assert_eq!(built.code, 0, "{built:?}");
    let expected = " 3 warnings found (use --check to expand):\n - FromAsCasing: 'as' and 'FROM'";
    assert!(built.err.contains(expected), "{built:?}");
    fs::write(place.join("Dockerfile"), format!("# check=error=true\n{dockerfile}")).expect("it");
    let failed = engine.dhow(&["build", text(&place)]);
    let expected =
        "lint violation found for rules: FromAsCasing, UndefinedVar, JSONArgsRecommended";
    assert!(failed.code == 1 && failed.err.contains(expected), "{failed:?}");
    fs::write(place.join("Dockerfile"), format!("# check=skip=all\n{dockerfile}")).expect("it");
    let good = engine.dhow(&["build", "--check", text(&place)]);
    assert_eq!((good.code, good.out.as_str()), (0, "Check complete, no warnings found.\n"));
    // A step that fails: what it said, where it stands, and what it left.
    let broken = format!("FROM {IMAGE}\nRUN echo half >/half; echo said; exit 7\n");
    fs::write(place.join("Dockerfile"), broken).expect("a file");
    let failed = engine.dhow(&["build", "--keep-failed", text(&place)]);
    for expected in [" > [2/2] RUN echo half", " said\n", "   2 | >>> RUN", "non-zero code: 7"] {
        assert!(failed.err.contains(expected), "{expected}: {failed:?}");
    }
    let id = failed.err.trim_end().rsplit(' ').next().expect("an id").to_owned();
    assert_eq!(engine.ok(&["run", "--rm", &id, "cat", "/half"]), "half");
    let raw = engine.dhow(&["build", "--progress=rawjson", text(&place)]);
    assert!(raw.out.contains(r#""vertexes":[{"#) && raw.out.contains(r#""logs":[{"#), "{raw:?}");
}

#[test]
fn caches_travel() {
    let Some(engine) = TestEngine::start("caches_travel") else { return };
    let dockerfile = format!(
        "FROM {IMAGE} AS first\nRUN cat /proc/sys/kernel/random/uuid >/one\n\
         FROM {IMAGE}\nCOPY --from=first /one /\nRUN cat /proc/sys/kernel/random/uuid >/two\n"
    );
    let place = context(&engine, "context", &dockerfile, &[]);
    let forget = || drop(engine.ok(&["builder", "prune", "-af"]));
    let words = |tag: &str| engine.ok(&["run", "--rm", tag, "cat", "/one", "/two"]);
    let cache = engine.root.join("cache").display().to_string();
    let to = format!("--cache-to=type=local,dest={cache},mode=max");
    let from = format!("--cache-from=type=local,src={cache}");
    engine.ok(&["build", "-q", "-t", "a", &to, &from, text(&place)]);
    let first = words("a");
    engine.ok(&["rmi", "a"]);
    forget();
    let again = engine.dhow(&["build", "-t", "a", &from, text(&place)]);
    assert_eq!(again.err.matches(" CACHED").count(), 3, "{again:?}");
    assert_eq!(words("a"), first);
    // Of itself, in the image: only what led to it.
    let only = "--target=first";
    engine.ok(&["build", "-q", "-t", "inline", only, "--cache-to=type=inline", text(&place)]);
    let one = engine.ok(&["run", "--rm", "inline", "cat", "/one"]);
    forget();
    let again = engine.dhow(&["build", "-t", "b", only, "--cache-from=inline", text(&place)]);
    assert!(again.err.contains("#2 CACHED"), "{again:?}");
    assert_eq!(engine.ok(&["run", "--rm", "b", "cat", "/one"]), one);
    // One stage anew, the other not.
    let filtered = engine.dhow(&["build", "--no-cache-filter=first", text(&place)]);
    assert!(filtered.err.contains("[first 2/2] RUN"), "{filtered:?}");
    assert!(!filtered.err.contains(" CACHED"), "{filtered:?}");
    // What is not there is warned of.
    let none = engine.dhow(&["build", "--cache-from=127.0.0.1:1/none", text(&place)]);
    assert!(none.code == 0 && none.err.contains("no cache is taken from"), "{none:?}");

    let Some(registry) = Registry::start("caches_travel", None) else { return };
    let name = format!("{}/team/cache", registry.address);
    let to = format!("--cache-to=type=registry,ref={name},mode=max");
    let tag = format!("{}/team/app:1", registry.address);
    let output = format!("type=registry,name={tag}");
    engine.ok(&["build", "-q", &to, "--output", &output, text(&place)]);
    let first = words(&tag);
    engine.ok(&["rmi", &tag]);
    forget();
    let from = format!("--cache-from=type=registry,ref={name}");
    engine.ok(&["build", "-q", "-t", "c", &from, text(&place)]);
    assert_eq!(words("c"), first);
    assert_eq!(words(&tag), first, "what was pushed");
}

#[test]
fn the_same_twice() {
    let Some(engine) = TestEngine::start("the_same_twice") else { return };
    let dockerfile = format!(
        "FROM {IMAGE}\nARG SOURCE_DATE_EPOCH\nWORKDIR /w\nCOPY word .\nADD more/ /more/\n\
         RUN date >/dev/null; mkdir -p /a/b; echo $SOURCE_DATE_EPOCH >/a/b/c\n"
    );
    let files = [("word", "once\n"), ("more/x", "y\n")];
    let place = context(&engine, "context", &dockerfile, &files);
    let build = || {
        let mut command = engine.command(&["build", "-q", "--no-cache", text(&place)]);
        let output = command.env("SOURCE_DATE_EPOCH", "1000000000").output().expect("a client");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let first = build();
    assert!(first.starts_with("sha256:"), "{first}");
    fs::write(place.join("word"), "once\n").expect("touched");
    assert_eq!(build(), first);
    let made = engine.ok(&["inspect", "--format", "{{.Created}}", &first]);
    assert!(made.starts_with("2001-09-09T01:46:40"), "{made}");
    let said =
        engine.ok(&["run", "--rm", &first, "sh", "-c", "stat -c %Y /a/b/c /w/word; cat /a/b/c"]);
    assert_eq!(said, "1000000000\n1000000000\n1000000000");

    // Contexts by name: a directory, another image.
    let other = engine.root.join("other");
    fs::create_dir(&other).expect("a directory");
    fs::write(other.join("there"), "elsewhere\n").expect("a file");
    let dockerfile =
        "FROM base\nCOPY --from=files there /\nRUN --mount=from=files,target=/m cp /m/there /two\n";
    let place = context(&engine, "named", dockerfile, &[]);
    let base = format!("--build-context=base=docker-image://{IMAGE}");
    let files = format!("--build-context=files={}", other.display());
    engine.ok(&["build", "-q", "-t", "named", &base, &files, text(&place)]);
    assert_eq!(
        engine.ok(&["run", "--rm", "named", "cat", "/there", "/two"]),
        "elsewhere\nelsewhere"
    );
}

#[test]
fn agents_and_platforms() {
    let Some(engine) = TestEngine::start("agents_and_platforms") else { return };
    let socket = engine.root.join("agent");
    let listener = UnixListener::bind(&socket).expect("a socket");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut word = [0; 4];
            // A client that leaves early asks nothing.
            if stream.read_exact(&mut word).is_ok() {
                let _ = stream.write_all(b"pong");
            }
        }
    });
    let dockerfile = format!(
        "FROM {IMAGE}\nRUN --mount=type=ssh,mode=0666 test -S $SSH_AUTH_SOCK && stat -c %a $SSH_AUTH_SOCK\n\
         RUN --mount=type=ssh,id=other test -z \"$SSH_AUTH_SOCK\"\n\
         RUN test ! -e /run/buildkit\n"
    );
    let place = context(&engine, "context", &dockerfile, &[]);
    let ssh = format!("--ssh=default={}", socket.display());
    let built = engine.dhow(&["build", "--no-cache", &ssh, text(&place)]);
    assert!(built.code == 0 && built.err.contains(" 666\n"), "{built:?}");
    let needed = dockerfile.replace("id=other", "id=other,required");
    fs::write(place.join("Dockerfile"), needed).expect("a file");
    let failed = engine.dhow(&["build", &ssh, text(&place)]);
    assert!(failed.err.contains("ssh other: not found"), "{failed:?}");
    let failed = engine.dhow(&["build", "--ssh=default=/etc/passwd", text(&place)]);
    assert!(failed.err.contains("is no socket"), "{failed:?}");

    // Several platforms: an index; commands only where something can run them.
    let dockerfile = "FROM scratch\nARG TARGETARCH\nLABEL arch=$TARGETARCH\nCOPY word /\n";
    let place = context(&engine, "many", dockerfile, &[("word", "x\n")]);
    let out = engine.root.join("out");
    let both = "--platform=linux/amd64,linux/s390x";
    engine.ok(&["build", "-q", both, "--annotation=index:a=b", "-o", text(&out), text(&place)]);
    for name in ["linux_amd64", "linux_s390x"] {
        assert!(out.join(name).join("word").is_file(), "{name}");
    }
    let built = engine.dhow(&["build", both, "-t", "many", "--load", text(&place)]);
    assert!(built.err.contains("[linux/s390x 2/2] COPY word /"), "{built:?}");
    let tree = engine.ask("GET", "/images/json?manifests=1", "").expect("an answer");
    assert!(tree.contains("s390x") && tree.contains("amd64"), "{tree}");
    if !Path::new("/proc/sys/fs/binfmt_misc/qemu-s390x").exists() {
        let dockerfile = "FROM --platform=linux/s390x scratch\nCOPY word /\nRUN [\"/word\"]\n";
        fs::write(place.join("Dockerfile"), dockerfile).expect("a file");
        let failed = engine.dhow(&["build", text(&place)]);
        assert!(failed.err.contains("commands for linux/s390x cannot be run"), "{failed:?}");
    }
}

#[test]
fn what_must_hold() {
    let Some(mut engine) = TestEngine::start("what_must_hold") else { return };
    // A secret is in no layer, line of history, log or record.
    let key = engine.root.join("key");
    fs::write(&key, "hunter2-of-the-test\n").expect("a file");
    let dockerfile = format!(
        "FROM {IMAGE}\nRUN --mount=type=secret,id=key,env=KEY --mount=type=secret,id=key \
         test \"$KEY\" && grep -q hunter2 /run/secrets/key && echo used >/used\nCOPY . /all/\n"
    );
    let files = [("kept", "x"), ("dropped", "ignored-of-the-test"), (".dockerignore", "dropped\n")];
    let place = context(&engine, "context", &dockerfile, &files);
    let secret = format!("--secret=id=key,src={}", key.display());
    let built = engine.dhow(&["build", "-t", "app", "--keep-failed", &secret, text(&place)]);
    assert_eq!(built.code, 0, "{built:?}");
    assert_eq!(engine.ok(&["run", "--rm", "app", "ls", "/all"]), "Dockerfile\nkept");
    fs::remove_file(&key).expect("removed");
    fs::remove_dir_all(&place).expect("removed");
    for word in ["hunter2-of-the-test", "ignored-of-the-test"] {
        assert_eq!(holding(&engine.root, word.as_bytes()), Vec::<PathBuf>::new(), "{word}");
    }

    // Two builds at once of the same do its work once.
    let dockerfile =
        format!("FROM {IMAGE}\nRUN cat /proc/sys/kernel/random/uuid >/id; sleep 0.3\n");
    let place = context(&engine, "twice", &dockerfile, &[]);
    let ids: Vec<String> = std::thread::scope(|scope| {
        let build = || engine.ok(&["build", "-q", text(&place)]);
        let threads = [scope.spawn(build), scope.spawn(build)];
        threads.into_iter().map(|thread| thread.join().expect("a build")).collect()
    });
    let id = |image: &str| engine.ok(&["run", "--rm", image, "cat", "/id"]);
    assert_eq!(id(&ids[0]), id(&ids[1]));

    // A hundred stages, each on the one before.
    let mut many = format!("FROM {IMAGE} AS s0\n");
    for number in 1..100 {
        many += &format!("FROM s{} AS s{number}\nENV N{number}=x\n", number - 1);
    }
    many += "COPY --from=s50 /data/from-image /here\n";
    let place = context(&engine, "many", &many, &[]);
    let image = engine.ok(&["build", "-q", text(&place)]);
    assert_eq!(engine.ok(&["run", "--rm", &image, "sh", "-c", "echo $N99; cat /here"]), "x\nkept");

    // A client that goes ends the build; so does an engine that dies. Nothing of it is taken for done.
    let dockerfile = format!("FROM {IMAGE}\nRUN echo half >/half; sleep 98765\n");
    let place = context(&engine, "long", &dockerfile, &[]);
    let sleeping = || {
        let running = engine_processes("sleep 98765");
        (!running.is_empty()).then_some(running)
    };
    let mut client = engine.command(&["build", text(&place)]).spawn().expect("a client");
    until("the command runs", sleeping);
    client.kill().expect("killed");
    client.wait().expect("reaped");
    until("the command has ended", || sleeping().is_none().then_some(()));
    let mut client = engine.command(&["build", text(&place)]).spawn().expect("a client");
    until("the command runs", sleeping);
    engine.kill();
    client.wait().expect("reaped");
    until("the command has ended", || sleeping().is_none().then_some(()));
    engine.open();
    let listed = engine.ok(&["system", "df", "-v"]);
    assert!(!listed.contains("sleep 98765"), "{listed}");
    engine.ok(&["image", "prune", "-af"]);
    engine.ok(&["builder", "prune", "-af"]);
    let left = fs::read_dir(engine.root.join("data/snapshots/overlay2")).expect("snapshots");
    let left: Vec<_> = left.filter_map(Result::ok).map(|entry| entry.file_name()).collect();
    assert!(left.iter().all(|name| name == "empty"), "snapshots stay: {left:?}");

    // Wrong files: where and what, with the classic builder's status.
    for (text, expected) in [
        ("FROM busybox\nBOGUS x\n", "dockerfile parse error on line 2: unknown instruction: BOGUS"),
        (
            "FROM busybox\nRUN --bogus x\n",
            "dockerfile parse error on line 2: unknown flag: --bogus",
        ),
        ("FROM busybox\nCOPY --from=none5 a b\n", "none5"),
        ("FROM busybox AS a\nCOPY --from=a x y\n", "circular dependency detected on stage"),
        ("FROM scratch\nCOPY gone /\n", "COPY failed on line 2: file not found in build context"),
        (
            "FROM busybox\nHEALTHCHECK --retries=x CMD y\n",
            "line 2: invalid value \"x\" for retries",
        ),
    ] {
        let place = context(&engine, "wrong", text, &[]);
        let failed = engine.dhow(&["build", place.to_str().expect("a path")]);
        assert!(failed.code == 1 && failed.err.contains(expected), "{text}: {failed:?}");
    }
    let status = engine.ask("POST", "/build?remote=ftp://x", "").expect("an answer");
    assert!(status.starts_with("HTTP/1.1 400"), "{status}");
}

/// Command lines that end so, in this test's process namespace.
fn engine_processes(end: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir("/proc").expect("processes").filter_map(Result::ok);
    let lines = entries.filter(|entry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.trim_end() == end
    });
    lines.map(|entry| entry.path()).collect()
}

/// Files below a directory that have some bytes in them.
fn holding(root: &Path, bytes: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![root.to_owned()];
    while let Some(place) = todo.pop() {
        for entry in fs::read_dir(&place).into_iter().flatten().filter_map(Result::ok) {
            let kind = entry.file_type().expect("a kind");
            if kind.is_dir() {
                todo.push(entry.path());
            } else if kind.is_file() {
                let text = fs::read(entry.path()).unwrap_or_default();
                if text.windows(bytes.len()).any(|piece| piece == bytes) {
                    found.push(entry.path());
                }
            }
        }
    }
    found
}
