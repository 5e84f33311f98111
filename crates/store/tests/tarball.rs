//! Archives of images: written and read, old and new, and not to be believed.

mod common;

use std::io::Write;
use std::num::NonZeroUsize;

use common::{Scratch, add, collect, files, index, lease, name, open, put, put_single};
use common::{Tar, docker_archive, reference, single};
use dhow_archive::compress::{Encoder, Encoding, Limits};
use dhow_archive::tar::{Device, Kind, Options, Reader};
use dhow_spec::Platform;
use dhow_spec::image::{Compression, History, ImageConfig};
use dhow_store::{Import, LoadLimits, SaveItem, Store, chain_ids};

const LIMITS: LoadLimits = LoadLimits { bytes_max: 1 << 20, compression: Limits::NONE };

fn load(store: &Store, bytes: &[u8]) -> Result<Vec<String>, String> {
    let id = lease(store, "load");
    let loaded = store.load(&id, bytes, LIMITS).map_err(|error| error.to_string());
    store.end_lease(&id).expect("the end");
    Ok(loaded?
        .into_iter()
        .map(|loaded| match loaded.name {
            Some(name) => name.familiar(),
            None => loaded.target.digest.to_string(),
        })
        .collect())
}

/// What is said to an archive; nothing of it may stay.
fn refusal(tar: &Tar) -> String {
    let scratch = Scratch::new();
    let store = open(scratch.path());
    let error = load(&store, &tar.bytes()).expect_err("refused");
    assert_eq!(store.images().list().expect("a list"), []);
    collect(&store);
    assert_eq!(files(scratch.path()), [] as [&str; 0]);
    error
}

fn save(store: &Store, texts: &[&str], platform: Option<&Platform>) -> Result<Vec<u8>, String> {
    let items: Vec<_> = texts
        .iter()
        .map(|text| {
            let image = store.images().find(text).expect("an image");
            SaveItem { names: image.names.clone(), image }
        })
        .collect();
    store.save(&items, platform, Vec::new()).map_err(|error| error.to_string())
}

fn paths(bytes: &[u8]) -> Vec<String> {
    let mut reader = Reader::new(bytes, Options::GENERAL);
    let mut paths = Vec::new();
    while let Some(entry) = reader.next_entry().expect("an entry") {
        paths.push(String::from_utf8(entry.path).expect("our own"));
    }
    paths
}

#[test]
fn what_is_saved_is_loaded() {
    let (scratch, other) = (Scratch::new(), Scratch::new());
    let (store, target) = (open(scratch.path()), open(other.path()));
    let (one, two) = (single("amd64", &["base", "one"]), single("amd64", &["base", "two"]));
    add(&store, "one:1", &one);
    add(&store, "example.com:5000/two", &two);
    let bytes = save(&store, &["one:1", "example.com:5000/two"], None).expect("an archive");
    assert_eq!(save(&store, &["one:1", "example.com:5000/two"], None), Ok(bytes.clone()));
    let paths = paths(&bytes);
    assert_eq!(
        paths[..5],
        ["oci-layout", "index.json", "manifest.json", "blobs/", "blobs/sha256/"]
    );
    assert_eq!(paths.len(), 5 + 7, "what is shared is there once");
    let loaded = load(&target, &bytes).expect("images");
    assert_eq!(loaded, ["one:1", "example.com:5000/two:latest"]);
    assert_eq!(files(other.path()), files(scratch.path()));
    assert_eq!(collect(&target).blobs, 0);
    // Once more changes nothing.
    assert_eq!(load(&target, &bytes).expect("images"), loaded);
    assert_eq!(target.images().list().expect("a list").len(), 2);
    for compression in [Compression::Gzip, Compression::Zstd] {
        let encoding = Encoding::customary(compression, NonZeroUsize::MIN);
        let mut encoder = Encoder::new(Vec::new(), encoding).expect("an encoder");
        encoder.write_all(&bytes).expect("bytes");
        let packed = encoder.finish().expect("an archive");
        assert_eq!(load(&target, &packed).expect("images"), loaded);
    }
}

#[test]
fn platforms_that_are_not_here_stay_named() {
    let (scratch, other) = (Scratch::new(), Scratch::new());
    let (store, target) = (open(scratch.path()), open(other.path()));
    let (here, there) = (single("amd64", &["a"]), single("arm64", &["b"]));
    let top = index(&[&there, &here]);
    let id = lease(&store, "pull");
    put(&store, &id, &top).expect("an index");
    store.images().put(&name("app"), &top.descriptor).expect("an image");
    let error = save(&store, &["app"], None).expect_err("nothing is here");
    let missing = there.manifest.digest();
    let expected = format!("image {}: no platform is here as a whole: {missing}", top.digest());
    assert!(error.starts_with(&expected), "{error}");

    put_single(&store, &id, &here);
    store.images().put(&name("app"), &top.descriptor).expect("an image");
    load(&target, &save(&store, &["app"], None).expect("an archive")).expect("an image");
    let image = target.images().find("app").expect("it");
    assert_eq!(image.target.digest, top.digest(), "the digest is kept");
    let manifests = target.images().manifests(&image).expect("a list");
    assert_eq!(manifests[0].missing, [missing]);
    assert_eq!(manifests[1].missing, []);

    let amd64 = Platform::new("linux", "amd64", "");
    let bytes = save(&store, &["app"], Some(&amd64)).expect("an archive");
    load(&target, &bytes).expect("an image");
    let image = target.images().find("app").expect("it");
    assert_eq!(image.target.digest, here.manifest.digest(), "one platform only");
    let arm64 = Platform::new("linux", "arm64", "");
    save(&store, &["app"], Some(&arm64)).expect_err("it is not here");
}

#[test]
fn old_archives_are_read() {
    let scratch = Scratch::new();
    let store = open(scratch.path());
    let one = single("amd64", &["a", "a"]);
    let loaded =
        load(&store, &docker_archive(&one, r#""app:1","app:2""#).bytes()).expect("an image");
    assert_eq!(loaded, ["app:1", "app:2"]);
    let image = store.images().find("app:1").expect("it");
    assert_eq!(image.names, [reference("app:1"), reference("app:2")]);
    let selected = store.images().select(&image, &Platform::new("linux", "amd64", "")).expect("it");
    assert_eq!(selected.chain, chain_ids(&one.diff_ids));
    assert_eq!(selected.manifest.config.digest, one.config.digest());
    assert_eq!(collect(&store).blobs, 0, "nothing but the image was kept");
    assert_eq!(files(scratch.path()).len(), 3);
    // What was loaded can be saved, and is the same when it is loaded.
    let bytes = save(&store, &["app:1"], None).expect("an archive");
    assert_eq!(load(&store, &bytes).expect("an image"), ["app:1", "app:2"]);
    assert_eq!(store.images().list().expect("a list").len(), 1);
}

#[test]
fn images_without_names_are_kept() {
    let scratch = Scratch::new();
    let store = open(scratch.path());
    let one = single("amd64", &["a"]);
    add(&store, "app", &one);
    let image = store.images().find("app").expect("it");
    let bytes = store.save(&[SaveItem { image, names: Vec::new() }], None, Vec::new());
    let bytes = bytes.expect("an archive");
    assert_eq!(load(&store, &bytes).expect("it"), [one.manifest.digest().to_string()]);
    assert_eq!(store.images().list().expect("a list").len(), 1, "it has a name already");
    store.images().remove_name(&reference("app"), false).expect("it");
    collect(&store);
    load(&store, &bytes).expect("it");
    let list = store.images().list().expect("a list");
    assert_eq!((list.len(), list[0].names.len()), (1, 0));
}

#[test]
fn archives_that_are_not_believed() {
    let one = single("amd64", &["a", "a"]);
    let check = |tar: Tar, expected: &str| {
        let error = refusal(&tar);
        assert!(error.contains(expected), "{error:?} instead of {expected:?}");
    };
    let layout = || {
        let one = single("amd64", &["a", "b"]);
        let json = index(&[&one]).bytes;
        Tar::default().pieces(&one).file("index.json", json)
    };
    check(Tar::default(), "neither manifest.json nor index.json");
    check(Tar::default().file("etc/passwd", "x"), "neither manifest.json nor index.json");
    check(layout().file("../x", "x"), r#"entry "../x": leads out of the archive"#);
    check(layout().file("/x", "x"), r#"entry "/x": leads out of the archive"#);
    check(layout().symlink("x/y", "../../z"), r#"entry "x/y": leads out of the archive"#);
    check(layout().file("./index.json", "{}"), r#"entry "./index.json": there are two"#);
    let device = Kind::CharDevice(Device { major: 1, minor: 3 });
    check(layout().other("null", device), r#"entry "null": neither file, directory nor link"#);
    check(layout().file("oci-layout", r#"{"imageLayoutVersion":"9"}"#), r#"entry "oci-layout": "#);
    check(layout().file("large", vec![0; 2 << 20]), r#"entry "large": more than 1048576 bytes"#);

    let lying = format!("blobs/sha256/{}", common::layer("what it should be").digest().hex());
    let error = refusal(&layout().file(&lying, "what it is"));
    assert!(error.starts_with(&format!("entry {lying:?}: blob sha256:")), "{error}");

    // An image that lacks its configuration's layer count, or its manifest.
    let json = index(&[&one]).bytes;
    let error = refusal(&Tar::default().file("index.json", json));
    assert_eq!(error, format!("image {0}: image {0} is not there", one.manifest.digest()));

    let manifest = |layers: &str| {
        let config = format!("{}.json", one.config.digest().hex());
        Tar::default()
            .file(&config, &one.config.bytes)
            .file("x/layer.tar", "other bytes")
            .symlink("loop", "loop")
            .file(
                "manifest.json",
                format!(r#"[{{"Config":"{config}","RepoTags":["app"],"Layers":[{layers}]}}]"#),
            )
    };
    check(
        manifest(r#""x/layer.tar","x/layer.tar""#),
        r#"image app: layer "x/layer.tar" is sha256:"#,
    );
    check(manifest(r#""loop","loop""#), r#"image app: the archive has no entry "loop""#);
    check(manifest(r#""../x","y""#), r#"image app: the archive has no entry "../x""#);
    check(manifest(r#""x/layer.tar""#), "image app: entry ");
    check(Tar::default().file("manifest.json", "[{}]"), r#"entry "manifest.json": missing field"#);
    check(Tar::default().file("manifest.json", "{"), r#"entry "manifest.json": "#);
    let nameless = r#"[{"Config":"a","RepoTags":["A:b:c"],"Layers":null}]"#;
    check(
        Tar::default().file("manifest.json", nameless),
        r#"image A:b:c: the archive has no entry"#,
    );
}

#[test]
fn archives_that_end_early_leave_nothing() {
    let one = single("amd64", &["a", "b"]);
    let json = index(&[&one]).bytes;
    let whole = Tar::default().pieces(&one).file("index.json", json).bytes();
    let scratch = Scratch::new();
    let store = open(scratch.path());
    let ends = (1..whole.len()).step_by(509).chain([whole.len()]);
    let first = { ends }.find(|end| {
        let loaded = load(&store, &whole[..*end]).is_ok();
        assert_eq!(store.images().list().expect("a list").is_empty(), !loaded, "{end}");
        loaded
    });
    // Behind the last entry nothing is missed.
    assert!(first.expect("all of it") > whole.len() - 1536);
    for image in store.images().list().expect("a list") {
        store.images().remove(&image).expect("removed");
    }
    collect(&store);
    assert_eq!(files(scratch.path()), [] as [&str; 0]);
}

#[test]
fn a_file_system_becomes_an_image() {
    let scratch = Scratch::new();
    let store = open(scratch.path());
    let tar = Tar::default().file("etc/hostname", "x").symlink("sbin", "usr/sbin").bytes();
    let amd64 = Platform::new("linux", "amd64", "");
    let import = |name: &str, bytes: &[u8]| {
        let id = lease(&store, "import");
        let step = History {
            created: None,
            created_by: None,
            author: None,
            comment: Some("imported".to_owned()),
            empty_layer: false,
        };
        let config = ImageConfig::new(&amd64);
        let import = Import { name: Some(reference(name)), config, step };
        let imported = store.import(&id, bytes, import, LIMITS).map_err(|error| error.to_string());
        store.end_lease(&id).expect("the end");
        imported
    };
    let encoding = Encoding::customary(Compression::Gzip, NonZeroUsize::MIN);
    let mut encoder = Encoder::new(Vec::new(), encoding).expect("an encoder");
    encoder.write_all(&tar).expect("bytes");
    let packed = encoder.finish().expect("a blob");
    for (name, bytes) in [("plain", &tar), ("packed", &packed)] {
        import(name, bytes).expect("an image");
        let image = store.images().find(name).expect("it");
        let selected = store.images().select(&image, &amd64).expect("it");
        assert_eq!(selected.config.rootfs.diff_ids, [common::digest_of(&tar)]);
        let [layer] = &selected.manifest.layers[..] else { panic!("one layer") };
        assert_eq!(store.content().read(&layer.digest, 1 << 20).expect("it"), *bytes);
        assert_eq!(selected.history()[0].comment, "imported");
    }
    assert_eq!(collect(&store).blobs, 0);
    let before = files(scratch.path());
    let error = import("broken", &tar[..700]).expect_err("cut off");
    assert!(error.starts_with("tar entry 1 \"etc/hostname\": "), "{error}");
    let error = import("large", &vec![0; 2 << 20]).expect_err("too large");
    assert!(error.ends_with("more than 1048576 bytes"), "{error}");
    import("none", b"BZh91AY&SY").expect_err("bzip2");
    assert_eq!(files(scratch.path()), before, "nothing of these stays");
}
