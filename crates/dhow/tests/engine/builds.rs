//! From a Dockerfile to an image that runs.

use std::fs;

use crate::whole::{IMAGE, TestEngine};

#[test]
fn a_dockerfile_becomes_an_image() {
    let Some(engine) = TestEngine::start("a_dockerfile_becomes_an_image") else { return };
    let context = engine.root.join("context");
    fs::create_dir(&context).expect("a directory");
    let dockerfile = format!(
        "FROM {IMAGE} AS first\nARG WORD=none\nRUN mkdir /out && echo built-$WORD >/out/word\n\
         FROM {IMAGE}\nWORKDIR /srv\nCOPY --from=first /out/word .\nCOPY --chmod=640 kept dropped* ./\n\
         ENV GREETING=hello\nRUN --mount=type=secret,id=key cp /run/secrets/key /dev/null\n\
         CMD [\"sh\", \"-c\", \"echo $GREETING; cat word kept; ls\"]\n"
    );
    fs::write(context.join("Dockerfile"), dockerfile).expect("a file");
    fs::write(context.join(".dockerignore"), "dropped\n").expect("a file");
    fs::write(context.join("kept"), "from the context\n").expect("a file");
    fs::write(context.join("dropped"), "ignored\n").expect("a file");
    let key = engine.root.join("key");
    fs::write(&key, "secret\n").expect("a file");
    let secret = format!("id=key,src={}", key.display());
    let place = context.display().to_string();
    let build =
        ["build", "-q", "-t", "app", "--build-arg", "WORD=once", "--secret", &secret, &place];
    let first = engine.ok(&build);
    assert!(first.starts_with("sha256:"), "{first}");
    let said = engine.ok(&["run", "--rm", "app"]);
    assert_eq!(said, "hello\nbuilt-once\nfrom the context\nkept\nword");
    // Nothing has changed: the same image, and nothing is run again.
    assert_eq!(engine.ok(&build), first);
    assert!(!engine.ok(&["history", "--no-trunc", "app"]).contains("secret\n"));

    fs::write(context.join("Dockerfile"), "FROM busybox\nRUN exit 3\n").expect("a file");
    let failed = engine.dhow(&["build", &place]);
    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(failed.err.contains("exit 3"), "{failed:?}");
    fs::write(context.join("Dockerfile"), "FROM busybox\nRUM true\n").expect("a file");
    let failed = engine.dhow(&["build", &place]);
    assert!(failed.err.contains("unknown instruction: RUM"), "{failed:?}");
}

#[test]
fn what_is_remembered_is_forgotten_by_its_marks() {
    let Some(engine) = TestEngine::start("what_is_remembered_is_forgotten_by_its_marks") else {
        return;
    };
    let context = engine.root.join("context");
    fs::create_dir(&context).expect("a directory");
    let dockerfile = format!(
        "FROM {IMAGE}\nRUN echo first >/first\nRUN --mount=type=cache,target=/kept echo x >/kept/y\n\
         RUN echo last >/last\n"
    );
    fs::write(context.join("Dockerfile"), dockerfile).expect("a file");
    let place = context.display().to_string();
    let image = engine.ok(&["build", "-q", &place]);
    let prune = |filter: &str| engine.ok(&["builder", "prune", "-af", "--filter", filter]);
    let count = |said: &str| said.lines().filter(|line| line.starts_with("sha256:")).count();
    assert_eq!(count(&prune("description=echo nothing")), 0);
    assert_eq!(count(&prune("until=1h")), 0);
    let mounts = prune("type=exec.cachemount");
    assert!(mounts.contains("cache /kept") && count(&mounts) == 0, "{mounts}");
    assert_eq!(count(&prune("description=echo last")), 1);
    let built = engine.dhow(&["build", &place]);
    assert_eq!(built.err.matches(" CACHED").count(), 2, "{built:?}");
    assert_eq!(count(&prune("private=true")), 0, "the image has all of it");
    assert_eq!(count(&prune("shared=true")), 3);
    let failed = engine.dhow(&["builder", "prune", "-af", "--filter", "moon=full"]);
    assert!(failed.code == 1 && failed.err.contains("moon"), "{failed:?}");
    assert_eq!(engine.ok(&["run", "--rm", &image, "cat", "/last"]), "last");
}

#[test]
fn only_what_is_read_and_has_changed_is_sent() {
    let Some(engine) = TestEngine::start("only_what_is_read_and_has_changed_is_sent") else {
        return;
    };
    let context = engine.root.join("context");
    fs::create_dir_all(context.join("src")).expect("a directory");
    let write = |path: &str, text: &str| fs::write(context.join(path), text).expect("a file");
    let dockerfile = format!("FROM {IMAGE}\nCOPY src link /all/\n");
    write("Dockerfile", &dockerfile);
    write("src/a", "one\n");
    write("src/b", "two\n");
    write("far", "behind a link\n");
    std::os::unix::fs::symlink("far", context.join("link")).expect("a link");
    // Nobody reads it: it would take minutes.
    let large = fs::File::create(context.join("large")).expect("a file");
    large.set_len(1 << 40).expect("a hole");
    let place = context.display().to_string();
    let kept = || {
        let told = engine.ok(&["builder", "prune", "-f", "--filter", "type=source.local"]);
        told.lines().last().unwrap_or_default().to_owned()
    };
    let says = |image: &str| engine.ok(&["run", "--rm", image, "sh", "-c", "cat /all/*"]);
    let first = engine.ok(&["build", "-q", &place]);
    assert_eq!(says(&first), "one\ntwo\nbehind a link");
    assert_eq!(engine.ok(&["build", "-q", &place]), first);
    // The same size, and a time that says nothing: it was changed all the same.
    let times = fs::metadata(context.join("src/a")).expect("a file");
    write("src/a", "eno\n");
    let file = fs::File::options().write(true).open(context.join("src/a")).expect("a file");
    file.set_modified(times.modified().expect("a time")).expect("set");
    assert_eq!(says(&engine.ok(&["build", "-q", &place])), "eno\ntwo\nbehind a link");
    write("src/a", "one\n");
    assert_eq!(engine.ok(&["build", "-q", &place]), first);
    // What came is kept, and no more than that.
    let space = kept();
    assert!(space.ends_with('B') && !space.ends_with("kB"), "{space}");
    assert_eq!(kept(), "Total reclaimed space: 0B");
    // A base that may read by itself gets everything that it may read.
    write("Dockerfile", &format!("FROM {IMAGE}\nONBUILD COPY far /far\n"));
    engine.ok(&["build", "-q", "-t", "reads", &place]);
    fs::remove_file(context.join("large")).expect("removed");
    write("Dockerfile", "FROM reads\n");
    let image = engine.ok(&["build", "-q", &place]);
    assert_eq!(engine.ok(&["run", "--rm", &image, "cat", "/far"]), "behind a link");
    // A file that goes away while it is sent, or cannot be read, is no reason to wait.
    write("Dockerfile", "FROM scratch\nCOPY nothing /\n");
    let failed = engine.dhow(&["build", &place]);
    assert!(failed.code == 1 && failed.err.contains("nothing"), "{failed:?}");
}

/// By hand, for it takes a while: `DHOW_TEST_LARGE=1`.
#[test]
fn a_hundred_thousand_files() {
    if std::env::var_os("DHOW_TEST_LARGE").is_none() {
        return;
    }
    let Some(engine) = TestEngine::start("a_hundred_thousand_files") else { return };
    let context = engine.root.join("context");
    for number in 0..100_000 {
        let directory = context.join((number / 500).to_string());
        if number % 500 == 0 {
            fs::create_dir_all(&directory).expect("a directory");
        }
        fs::write(directory.join(number.to_string()), number.to_string()).expect("a file");
    }
    fs::write(context.join("Dockerfile"), format!("FROM {IMAGE}\nCOPY . /all/\n")).expect("it");
    let place = context.display().to_string();
    let begun = std::time::Instant::now();
    let first = engine.ok(&["build", "-q", &place]);
    let cold = begun.elapsed();
    assert_eq!(engine.ok(&["build", "-q", &place]), first);
    let warm = begun.elapsed() - cold;
    let counted = engine.ok(&["run", "--rm", &first, "sh", "-c", "find /all -type f | wc -l"]);
    assert_eq!(counted, "100001", "{cold:?} cold, {warm:?} cached");
}
