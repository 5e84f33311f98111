//! Files of containers, in and out, on the real kernel: what a start changed, whole roots, images made of
//! containers.
#![allow(clippy::print_stderr, reason = "a test says what it skips")]

mod rig;

use std::io::{Cursor, Read, Write};
use std::sync::{Arc, Mutex};

use dhow_archive::tar::{Content, Entry, Kind, Metadata, Options, Reader, Writer};
use dhow_engine::{
    ChangeKind, CommitRequest, Engine, ErrorClass, ImportRequest, LogsRequest, Status, StopRequest,
    UnpackRequest, WaitCondition,
};
use dhow_spec::Reference;
use rig::{Rig, sh};

/// Bytes that a thread writes and a test reads once the writer is gone.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Shared {
    /// What was written, once nobody writes any more.
    async fn all(self) -> Vec<u8> {
        while Arc::strong_count(&self.0) > 1 {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        self.0.lock().expect("no panic").clone()
    }
}

/// Names and texts of an archive's entries.
fn entries(archive: Vec<u8>) -> Vec<(String, String, Metadata)> {
    let mut reader = Reader::new(Cursor::new(archive), Options::GENERAL);
    let mut found = Vec::new();
    while let Some(entry) = reader.next_entry().expect("an archive") {
        let mut text = Vec::new();
        reader.body().take(100).read_to_end(&mut text).expect("its beginning");
        let text = String::from_utf8_lossy(&text).into_owned();
        found.push((String::from_utf8_lossy(&entry.path).into_owned(), text, entry.metadata));
    }
    found
}

async fn pack(engine: &Engine, path: &str) -> Vec<(String, String, Metadata)> {
    let sink = Shared::default();
    engine.path_pack("files", path, sink.clone()).await.expect(path);
    entries(sink.all().await)
}

fn tar(files: &[(&str, &str)]) -> Cursor<Vec<u8>> {
    let mut writer = Writer::new(Vec::new());
    for (path, text) in files {
        let kind = Kind::File(Content::plain(text.len() as u64));
        let metadata = Metadata { mode: 0o640, uid: 7, gid: 8, ..Metadata::default() };
        let entry = Entry { path: path.as_bytes().to_vec(), kind, metadata };
        writer.append(&entry, text.as_bytes()).expect("an entry");
    }
    Cursor::new(writer.finish().expect("an archive"))
}

#[test]
fn copies_in_and_out_of_what_runs_and_what_does_not() {
    Rig::run("copies_in_and_out_of_what_runs_and_what_does_not", async |rig| {
        let engine = &rig.engine();
        let mut request = sh("echo run > /data/run; sleep 1000");
        request.config.volumes.insert("/data".to_owned());
        engine.create(Some("files"), request).await.expect("created");
        let keep = UnpackRequest { keep_kinds: true, as_user: false };
        let files = tar(&[("new/in-volume", "v")]);
        engine.path_unpack("files", "/data", keep, files).await.expect("before a start");
        let files = tar(&[("in-root", "r")]);
        engine.path_unpack("files", "/etc", keep, files).await.expect("before a start");
        let error = engine.path_unpack("files", "/none", keep, tar(&[])).await.expect_err("none");
        assert_eq!(error.class(), ErrorClass::NotFound);
        assert_eq!(error.to_string(), "Could not find the file /none in container files");
        engine.start("files").await.expect("started");
        rig.until_async(async || engine.path_stat("files", "/data/run").await.ok()).await;
        for running in [true, false] {
            if !running {
                let request = StopRequest { timeout_s: Some(0), ..StopRequest::default() };
                engine.stop("files", request).await.expect("stopped");
            }
            let found = pack(engine, "/data").await;
            let names: Vec<_> = found.iter().map(|(name, ..)| name.as_str()).collect();
            assert_eq!(&names[..4], ["data/", "data/new/", "data/new/in-volume", "data/run"]);
            assert_eq!((found[2].2.uid, found[2].2.gid, found[2].2.mode), (7, 8, 0o640));
            let found = pack(engine, "/etc/in-root").await;
            assert_eq!(found[0].1, "r");
            let text = format!("{running}");
            let files = tar(&[("state", &text)]);
            engine.path_unpack("files", "/data", keep, files).await.expect("unpacked");
            assert_eq!(pack(engine, "/data/state").await[0].1, text);
        }
        assert_eq!(rig.status("files").await, Status::Exited);
        let stat = engine.path_stat("files", "/bin/sh").await.expect("a link");
        assert_eq!(stat.link_target, Some(b"/bin/busybox".to_vec()));
    });
}

#[test]
fn what_is_read_only_is_refused() {
    Rig::run("what_is_read_only_is_refused", async |rig| {
        let engine = &rig.engine();
        let mut request = sh("sleep 1000");
        request.host.readonly_rootfs = true;
        let volume = rig.root.join("volume");
        std::fs::create_dir(&volume).expect("a directory");
        request.host.binds =
            vec![format!("{}:/data:ro", volume.display()).parse().expect("a bind")];
        engine.create(Some("files"), request).await.expect("created");
        for running in [false, true] {
            if running {
                engine.start("files").await.expect("started");
            }
            let unpack = async |path: &str| {
                let request = UnpackRequest::default();
                let files = tar(&[("x", "x")]);
                engine.path_unpack("files", path, request, files).await.expect_err(path)
            };
            let error = unpack("/etc").await;
            assert_eq!(error.class(), ErrorClass::Forbidden, "{running} {error}");
            assert_eq!(error.to_string(), "container rootfs is marked read-only");
            let error = unpack("/data").await;
            assert_eq!(error.to_string(), "mounted volume is marked read-only");
        }
        assert!(!volume.join("x").exists());
    });
}

#[test]
fn changes_whole_roots_and_images() {
    Rig::run("changes_whole_roots_and_images", async |rig| {
        let engine = &rig.engine();
        let text = "echo new > /etc/new; echo more >> /etc/group; kill -9 $$";
        rig.start("files", sh(text)).await;
        engine.wait("files", WaitCondition::NotRunning).expect("a wait").done().await;
        let changes = engine.changes("files").await.expect("changes");
        let kind = |path: &str| changes.iter().find(|change| change.1 == path).map(|c| c.0);
        assert_eq!(kind("/etc/new"), Some(ChangeKind::Added));
        assert_eq!(kind("/etc/group"), Some(ChangeKind::Modified));
        assert_eq!(kind("/etc"), Some(ChangeKind::Modified));
        assert_eq!(kind("/etc/passwd"), None);

        let request = CommitRequest {
            name: Some(Reference::parse("made:1").expect("a name")),
            comment: "why".to_owned(),
            pause: true,
            changes: vec!["CMD [\"cat\", \"/etc/new\"]".to_owned(), "LABEL a=b".to_owned()],
            ..CommitRequest::default()
        };
        let id = engine.commit("files", request).await.expect("an image");
        let details = engine.images().inspect("made:1", None).await.expect("details");
        assert_eq!(details.row.target.digest.to_string(), id);
        assert_eq!(details.config.rootfs.diff_ids.len(), 2);
        let mut request = sh("");
        request.config.image = "made:1".to_owned();
        request.config.cmd = None;
        rig.start("of-image", request).await;
        engine.wait("of-image", WaitCondition::NotRunning).expect("a wait").done().await;
        assert_eq!(rig.logs("of-image", LogsRequest::default()).await, ["new\n"]);
        let inspected = engine.inspect("of-image", false).await.expect("details");
        assert_eq!(inspected.request.config.labels.get("a").map(String::as_str), Some("b"));

        let sink = Shared::default();
        engine.export("files", sink.clone()).await.expect("an archive");
        let archive = sink.all().await;
        let names: Vec<_> = entries(archive.clone()).into_iter().map(|(name, ..)| name).collect();
        for name in ["etc/new", "bin/busybox"] {
            assert!(names.iter().any(|known| known == name), "{name} in {names:?}");
        }
        let request = ImportRequest {
            name: Some(Reference::parse("flat").expect("a name")),
            platform: None,
            message: String::new(),
            changes: vec!["ENTRYPOINT [\"/bin/cat\", \"/etc/new\"]".to_owned()],
        };
        engine.images().import(request, Cursor::new(archive)).await.expect("an image");
        let mut request = sh("");
        request.config.image = "flat".to_owned();
        request.config.cmd = None;
        rig.start("of-tar", request).await;
        engine.wait("of-tar", WaitCondition::NotRunning).expect("a wait").done().await;
        assert_eq!(rig.logs("of-tar", LogsRequest::default()).await, ["new\n"]);
    });
}
