//! Builds on a real engine: what a file says, what the image has, what is remembered, and what must never be seen.
//!
//! Absent on purpose: the language's own rules, which `builder` tests without an engine.
#![allow(clippy::print_stderr, reason = "a test says what it skips")]

mod rig;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dhow_archive::tar::{Content, Entry, Kind, Metadata, Time, Writer};
use dhow_engine::request::NetworkMode;
use dhow_engine::{
    BuildEvent, BuildFault, BuildObserver, BuildOptions, BuiltImage, CachePrune, Cancel,
    LogsRequest,
};
use dhow_spec::Reference;
use dhow_store::SnapshotState;
use rig::{Rig, sh};

/// What a build told.
#[derive(Default)]
struct Told {
    text: Mutex<String>,
    cached: Mutex<Vec<bool>>,
}

impl BuildObserver for Told {
    fn event(&self, event: &BuildEvent<'_>) {
        match event {
            BuildEvent::Output { bytes, .. } => {
                self.text.lock().unwrap().push_str(&String::from_utf8_lossy(bytes));
            }
            BuildEvent::Done { cached, .. } => self.cached.lock().unwrap().push(*cached),
            _ => {}
        }
    }
}

fn context(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = Writer::new(Vec::new());
    for (path, text) in files {
        let modified = Time { seconds: 1_700_000_000, nanoseconds: 0 };
        let metadata = Metadata { mode: 0o644, modified, ..Metadata::default() };
        let kind = Kind::File(Content::plain(text.len() as u64));
        let entry = Entry { path: path.as_bytes().to_vec(), kind, metadata };
        tar.append(&entry, text.as_bytes()).expect("an entry");
    }
    tar.finish().expect("an archive")
}

fn options() -> BuildOptions {
    BuildOptions {
        dockerfile: "Dockerfile".to_owned(),
        tags: vec![Reference::parse("built").expect("a name")],
        network: NetworkMode::None,
        ..BuildOptions::default()
    }
}

async fn build(
    rig: &Rig,
    files: &[(&str, &str)],
    options: BuildOptions,
) -> (Result<BuiltImage, BuildFault>, Arc<Told>) {
    let told = Arc::new(Told::default());
    let source = std::io::Cursor::new(context(files));
    let built = match rig.engine().begin_build(source, options, Cancel::default()).await {
        Ok(build) => build.run(told.clone(), Cancel::default(), Box::new(())).await,
        Err(fault) => Err(fault),
    };
    (built, told)
}

/// What a container of the image says.
async fn says(rig: &Rig, name: &str, text: &str) -> Vec<String> {
    let mut request = sh(text);
    request.config.image = "built".to_owned();
    rig.start(name, request).await;
    rig.until_status(name, dhow_engine::Status::Exited).await;
    let lines = rig.logs(name, LogsRequest::default()).await;
    lines.iter().map(|line| line.trim_end().to_owned()).collect()
}

const FILE: &str = r#"
ARG BASE=busybox
FROM ${BASE} AS base
ARG WHO=world
ENV GREETING="hello $WHO"
WORKDIR /app
COPY a.txt dir/ ./
RUN echo "$GREETING" > out.txt
FROM base AS other
RUN echo other > /other.txt
FROM scratch AS unused
RUN false
FROM base
COPY --from=other /other.txt /got/
COPY --chown=1:2 --chmod=700 a.txt /owned
COPY <<one <<"two" /inline/
says $GREETING
one
says $GREETING
two
RUN <<EOF
echo script > /script.txt
EOF
USER nobody
LABEL kind=test
CMD ["true"]
"#;

#[test]
fn a_file_with_stages_becomes_an_image() {
    Rig::run("a_file_with_stages_becomes_an_image", async |rig| {
        let files = [("Dockerfile", FILE), ("a.txt", "content\n"), ("dir/b.txt", "b"), ("c", "c")];
        let mut own = options();
        own.args.insert("WHO".to_owned(), "you".to_owned());
        let (built, told) = build(rig, &files, own.clone()).await;
        let built = built.expect("an image");
        assert!(!told.cached.lock().unwrap().iter().any(|cached| *cached));
        let said = says(
            rig,
            "look",
            "cat /app/out.txt /app/a.txt /got/other.txt /inline/one /inline/two /script.txt; ls /app; ls -ln /owned; id -un; ls -a /; ls /etc",
        )
        .await;
        assert_eq!(
            said[..8],
            [
                "hello you",
                "content",
                "other",
                "says hello you",
                "says $GREETING",
                "script",
                "a.txt",
                "b.txt"
            ]
        );
        assert_eq!(said[8], "out.txt");
        assert!(said[9].starts_with("-rwx------    1 1        2"), "{}", said[9]);
        assert_eq!(said[10], "nobody");
        // What was made for mounts alone is not there: no `hosts` of the build's.
        let image = rig.engine().images().inspect("built", None).await.expect("an image");
        assert_eq!(image.row.labels.get("kind").map(String::as_str), Some("test"));
        let run = image.config.config.expect("a configuration");
        assert_eq!(run.cmd, ["true"]);
        assert_eq!(image.config.rootfs.diff_ids.len(), 8);
        let again = build(rig, &files, own).await;
        assert_eq!(again.0.expect("the same"), built);
        // What a stage begins with is looked for every time.
        let cached = again.1.cached.lock().unwrap().iter().filter(|cached| **cached).count();
        assert_eq!(cached, 13);
    });
}

#[test]
fn only_what_changed_is_done_again() {
    Rig::run("only_what_changed_is_done_again", async |rig| {
        let file = "FROM busybox\nCOPY a /a\nRUN cat /a\nCOPY b /b\nRUN cat /b\n";
        let first = build(rig, &[("Dockerfile", file), ("a", "A"), ("b", "B")], options()).await;
        first.0.expect("an image");
        let (second, told) =
            build(rig, &[("Dockerfile", file), ("a", "A"), ("b", "C"), ("x", "x")], options())
                .await;
        second.expect("an image");
        assert_eq!(*told.cached.lock().unwrap(), [false, true, true, false, false]);
        assert_eq!(*told.text.lock().unwrap(), "C");
        let (fresh, told) = build(
            rig,
            &[("Dockerfile", file), ("a", "A"), ("b", "C")],
            BuildOptions { no_cache: true, ..options() },
        )
        .await;
        fresh.expect("an image");
        assert!(told.cached.lock().unwrap().iter().all(|cached| !cached));
        let rows = rig.engine().build_cache().await.expect("rows");
        assert!(rows.len() >= 4, "{rows:?}");
        let all = CachePrune { all: true, ..CachePrune::default() };
        rig.engine().prune_builds(all).await.expect("pruned");
        assert!(rig.engine().build_cache().await.expect("rows").is_empty());
        // Images keep what is theirs.
        assert_eq!(says(rig, "still", "cat /b").await, ["C"]);
    });
}

#[test]
fn mounts_are_seen_and_leave_nothing() {
    Rig::run("mounts_are_seen_and_leave_nothing", async |rig| {
        let file = "FROM busybox AS src\nRUN echo out > /made\n\
            FROM busybox\n\
            RUN --mount=type=cache,target=/c,id=k echo x >> /c/f; cat /c/f\n\
            RUN --mount=type=bind,target=/ctx cat /ctx/a && ! touch /ctx/no\n\
            RUN --mount=type=bind,from=src,source=/made,target=/in/made,rw cat /in/made && echo w > /in/made\n\
            RUN --mount=type=tmpfs,target=/t touch /t/x\n\
            RUN --mount=type=secret,id=key K=$(cat /run/secrets/key) && [ ${#K} = 6 ]\n\
            RUN --mount=type=secret,id=key,env=KEY [ ${#KEY} = 6 ]\n";
        let files = [("Dockerfile", file), ("a", "A\n")];
        let mut own = options();
        own.secrets.insert("key".to_owned(), b"hidden".to_vec());
        let (built, told) = build(rig, &files, own.clone()).await;
        built.expect("an image");
        assert!(told.text.lock().unwrap().contains("out\n"), "{}", told.text.lock().unwrap());
        let said = says(rig, "look", "ls / /run 2>&1").await.join(" ");
        for gone in ["ctx", "secrets", "made", " c ", " t "] {
            assert!(!said.contains(gone), "{gone}: {said}");
        }
        // The secret is nowhere: not in history, records or blobs.
        let image = rig.engine().images().inspect("built", None).await.expect("an image");
        assert!(!image.config.to_json().contains("hidden"));
        let rows = rig.engine().build_cache().await.expect("rows");
        assert!(rows.iter().any(|row| row.kind == "exec.cachemount" && row.size > 0), "{rows:?}");
        assert!(!format!("{rows:?}").contains("hidden"));
        // The cache is found again where the step is done again.
        let own = BuildOptions { no_cache: true, ..own };
        let (_, told) = build(rig, &files, own).await;
        assert!(told.text.lock().unwrap().contains("x\nx\n"));
        let none = build(rig, &files, options()).await.0;
        none.expect("a secret that need not be there");
    });
}

#[test]
fn what_is_ignored_is_never_seen() {
    Rig::run("what_is_ignored_is_never_seen", async |rig| {
        let file = "FROM busybox\nCOPY . /all\nRUN --mount=type=bind,target=/m ls -a /m /all\n";
        let files = [
            ("Dockerfile", file),
            (".dockerignore", "secret\nDockerfile\n.dockerignore\n"),
            ("secret/key", "hidden"),
            ("fine", ""),
        ];
        let (built, told) = build(rig, &files, options()).await;
        built.expect("an image");
        let text = told.text.lock().unwrap().clone();
        assert!(
            text.contains("fine") && !text.contains("secret") && !text.contains("Dockerfile"),
            "{text}"
        );
        let (missing, _) = build(
            rig,
            &[
                ("Dockerfile", "FROM busybox\nCOPY secret/key /\n"),
                (".dockerignore", "secret"),
                ("secret/key", ""),
            ],
            options(),
        )
        .await;
        let text = missing.expect_err("it is ignored").to_string();
        assert!(text.contains("excluded by .dockerignore"), "{text}");
    });
}

#[test]
fn failures_say_what_and_where() {
    Rig::run("failures_say_what_and_where", async |rig| {
        for (file, expected) in [
            (
                "FROM busybox\nRUN exit 3\n",
                "The command 'sh -c exit 3' returned a non-zero code: 3",
            ),
            (
                "FROM busybox\nCOPY none /\n",
                "COPY failed on line 2: file not found in build context or excluded by .dockerignore: stat none: file does not exist",
            ),
            (
                "FROM busybox\nBOGUS\n",
                "dockerfile parse error on line 2: unknown instruction: BOGUS",
            ),
            (
                "FROM busybox AS a\nCOPY --from=a x y\n",
                "COPY failed on line 2: invalid stage, circular dependency detected on stage: a",
            ),
            (
                "FROM busybox\nRUN --security=insecure true\n",
                "RUN failed on line 2: granting entitlement security.insecure is not allowed by build request",
            ),
            (
                "FROM busybox\nRUN --mount=type=secret,id=k,required true\n",
                "RUN failed on line 2: secret k: not found",
            ),
            (
                "FROM busybox\nENV x=${\n",
                "ENV failed on line 2: failed to process the word: syntax error: missing '}'",
            ),
            ("", "the Dockerfile (Dockerfile) cannot be empty"),
        ] {
            let (built, _) = build(rig, &[("Dockerfile", file)], options()).await;
            let text = built.expect_err(file).to_string();
            assert_eq!(text.replace("/bin/sh", "sh"), expected, "{file}");
        }
        let (none, _) = build(rig, &[("other", "")], options()).await;
        assert_eq!(
            none.expect_err("no file").to_string(),
            "Cannot locate specified Dockerfile: Dockerfile"
        );
        let own = BuildOptions { target: Some("none".to_owned()), ..options() };
        let (none, _) = build(rig, &[("Dockerfile", "FROM busybox\n")], own).await;
        assert_eq!(
            none.expect_err("no stage").to_string(),
            "target stage \"none\" could not be found"
        );
    });
}

#[test]
fn a_build_that_nobody_wants_ends() {
    Rig::run("a_build_that_nobody_wants_ends", async |rig| {
        let told = Arc::new(Told::default());
        let file =
            "FROM busybox AS a\nRUN echo begun; sleep 600\nFROM busybox\nCOPY --from=a / /\n";
        let source = std::io::Cursor::new(context(&[("Dockerfile", file)]));
        let begun =
            rig.engine().begin_build(source, options(), Cancel::default()).await.expect("begun");
        let cancel = Cancel::default();
        let running = tokio::spawn(begun.run(told.clone(), cancel.clone(), Box::new(())));
        rig.until(|| told.text.lock().unwrap().contains("begun").then_some(())).await;
        let start = Instant::now();
        cancel.cancel();
        let error = running.await.expect("no panic").expect_err("cancelled");
        assert_eq!(error.to_string(), "the build was cancelled");
        assert!(start.elapsed() < Duration::from_secs(10));
        let left = || std::fs::read_dir(rig.root.join("run/oci")).expect("a directory").count();
        rig.until(|| (left() == 0).then_some(())).await;
        // Nothing half done is remembered, and nothing is kept.
        let rows = rig.engine().build_cache().await.expect("rows");
        assert!(rows.iter().all(|row| !row.description.contains("sleep")), "{rows:?}");
        let records = rig.engine().snapshots().list().expect("records");
        assert_eq!(
            records
                .iter()
                .filter(|record| matches!(record.state, SnapshotState::Active(_)))
                .count(),
            0
        );
    });
}

#[test]
fn the_same_sources_and_epoch_make_the_same_image() {
    Rig::run("the_same_sources_and_epoch_make_the_same_image", async |rig| {
        let file = "FROM busybox\nWORKDIR /w\nCOPY a .\nRUN echo x > y\n";
        let mut own = BuildOptions { no_cache: true, ..options() };
        own.args.insert("SOURCE_DATE_EPOCH".to_owned(), "1600000000".to_owned());
        let files = [("Dockerfile", file), ("a", "A")];
        let first = build(rig, &files, own.clone()).await.0.expect("an image");
        let second = build(rig, &files, own).await.0.expect("an image");
        assert_eq!(first.id, second.id);
    });
}
