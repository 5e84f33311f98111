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
