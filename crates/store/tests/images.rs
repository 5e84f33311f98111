//! Images: names, look-up, platforms, history, and documents that nobody should believe.

mod common;

use common::{
    Piece, Scratch, Single, add, index, layer, lease, name, open, put, put_single, single,
};
use dhow_spec::image::{
    Compression, Descriptor, Family, History, ImageConfig, Index, Manifest, MediaType, RootFs,
};
use dhow_spec::{Digest, Platform};
use dhow_store::{ManifestKind, Store, StoreImageError, chain_ids};

fn amd64() -> Platform {
    Platform::new("linux", "amd64", "")
}

/// An index of two platforms, of which only the first is there.
fn half(store: &Store, text: &str) -> (Piece, Single, Single) {
    let (here, there) = (single("amd64", &["a", "b"]), single("arm64", &["a", "c"]));
    let top = index(&[&here, &there]);
    let id = lease(store, "pull");
    put_single(store, &id, &here);
    put(store, &id, &top).expect("an index");
    store.images().put(&name(text), &top.descriptor).expect("an image");
    (top, here, there)
}

fn found(store: &Store, text: &str) -> String {
    match store.images().find(text) {
        Ok(image) => image.names.iter().map(|name| name.familiar()).collect::<Vec<_>>().join(" "),
        Err(error) => error.to_string(),
    }
}

#[test]
fn by_name_and_by_any_id() {
    let scratch = Scratch::new();
    let store = open(scratch.path());
    let (top, here, there) = half(&store, "app:1");
    let id = top.digest();
    for text in [
        "app:1",
        "docker.io/library/app:1",
        &id.to_string(),
        &id.hex(),
        &id.hex()[..12],
        &format!("sha256:{}", &id.hex()[..6]),
        &format!("app@{id}"),
        &here.config.digest().to_string(),
        &here.config.digest().hex()[..12],
        &here.manifest.digest().to_string(),
    ] {
        assert_eq!(found(&store, text), "app:1", "{text}");
    }
    let no = |text: &str| format!("no such image: {text}");
    let gone = there.config.digest().to_string();
    for text in ["app", "other:1", &format!("other@{id}"), "abcd", &gone] {
        assert_eq!(found(&store, text), no(text));
    }
    assert!(found(&store, "App").contains("must be lowercase"), "{}", found(&store, "App"));
}

#[test]
fn a_beginning_that_fits_two_is_refused() {
    let scratch = Scratch::new();
    let store = open(scratch.path());
    let id = lease(&store, "a");
    let mut known: Vec<Digest> = Vec::new();
    let prefix = (0..).find_map(|number| {
        let one = single("amd64", &[&format!("layer {number}")]);
        put_single(&store, &id, &one);
        let text = format!("app:{number}");
        store.images().put(&name(&text), &one.manifest.descriptor).expect("an image");
        let prefix = one.manifest.digest().hex()[..4].to_owned();
        let twice = known.iter().any(|other| other.hex().starts_with(&prefix));
        known.push(one.manifest.digest());
        twice.then_some(prefix)
    });
    let prefix = prefix.expect("two of many begin alike");
    let error = store.images().find(&prefix).expect_err("ambiguous");
    assert!(matches!(error, StoreImageError::Ambiguous(_)), "{error}");
}

#[test]
fn names_come_and_go() {
    let scratch = Scratch::new();
    let store = open(scratch.path());
    let (first, second) = (single("amd64", &["a"]), single("amd64", &["b"]));
    add(&store, "app:1", &first);
    let image = store.images().find("app:1").expect("it");
    store.images().tag(&image, &common::reference("app:stable")).expect("a tag");
    assert_eq!(found(&store, "app:stable"), "app:1 app:stable");
    store.images().untag(&common::reference("app:1")).expect("a name less");
    assert_eq!(found(&store, "app:stable"), "app:stable");

    // What loses its last name to another stays under its id.
    add(&store, "app:stable", &second);
    let list = store.images().list().expect("a list");
    assert_eq!(list.len(), 2);
    let unnamed = list.iter().find(|image| image.names.is_empty()).expect("one without a name");
    assert_eq!(unnamed.target.digest, first.manifest.digest());
    assert_eq!(found(&store, &first.manifest.digest().to_string()), "");

    // A name of its own again.
    store.images().tag(unnamed, &common::reference("old")).expect("a tag");
    assert_eq!(found(&store, &first.manifest.digest().to_string()), "old:latest");
    assert_eq!(store.images().list().expect("a list").len(), 2);

    store.images().remove_name(&common::reference("old"), false).expect("it");
    store.images().remove(&store.images().find("app:stable").expect("it")).expect("it");
    assert_eq!(store.images().list().expect("a list"), []);
    let error = store.images().untag(&common::reference("old")).expect_err("gone");
    assert_eq!(error.to_string(), "no such image: old:latest");
}

#[test]
fn platforms_and_what_they_miss() {
    let scratch = Scratch::new();
    let store = open(scratch.path());
    let (top, here, there) = half(&store, "app");
    let image = store.images().find("app").expect("it");
    assert_eq!(image.target, top.descriptor, "the index is kept whole");
    let manifests = store.images().manifests(&image).expect("a list");
    let [first, second] = &manifests[..] else { panic!("{manifests:?}") };
    assert_eq!(first.missing, []);
    let bytes: u64 = here.pieces().iter().map(|piece| piece.descriptor.size).sum();
    assert_eq!(first.content_bytes, bytes);
    let ManifestKind::Image { platform, config: Some(_), chain } = &first.kind else {
        panic!("{:?}", first.kind)
    };
    assert_eq!(platform, &Some(amd64()));
    assert_eq!(chain, &chain_ids(&here.diff_ids));
    assert_eq!(second.missing, [there.manifest.digest()]);
    assert_eq!(second.content_bytes, 0);

    let selected = store.images().select(&image, &amd64()).expect("it");
    assert_eq!(selected.descriptor.digest, here.manifest.digest());
    let error = store.images().select(&image, &Platform::new("linux", "arm64", ""));
    let place = format!("image {}: {}", top.digest(), there.manifest.digest());
    assert_eq!(error.expect_err("missing").to_string(), format!("{place} is not there"));
    let error = store.images().select(&image, &Platform::new("linux", "s390x", ""));
    let error = error.expect_err("not offered").to_string();
    assert!(error.ends_with("has nothing for linux/s390x, only for linux/amd64, linux/arm64"));

    // The other platform comes later.
    let id = lease(&store, "pull");
    put_single(&store, &id, &there);
    store.images().put(&name("app"), &top.descriptor).expect("the same image");
    let manifests = store.images().manifests(&image).expect("a list");
    assert!(manifests.iter().all(|manifest| manifest.missing.is_empty()));
    assert_eq!(found(&store, &there.config.digest().to_string()), "app:latest");
}

#[test]
fn history_tells_layers_and_steps() {
    let scratch = Scratch::new();
    let store = open(scratch.path());
    let step = |words: &str, empty_layer| History {
        created: None,
        created_by: Some(words.to_owned()),
        author: None,
        comment: None,
        empty_layer,
    };
    let mut one = single("amd64", &["a", "b"]);
    let mut config = ImageConfig::parse(&one.config.bytes).expect("a configuration");
    config.history = vec![step("ENV", true), step("COPY", false), step("CMD", true)];
    one.config = Piece::new(MediaType::Config(Family::Oci), config.to_json());
    let layers = one.layers.iter().map(|layer| layer.descriptor.clone()).collect();
    let manifest = Manifest::new(one.config.descriptor.clone(), layers).to_json();
    one.manifest = Piece::new(MediaType::Manifest(Family::Oci), manifest);
    add(&store, "app", &one);
    let image = store.images().find("app").expect("it");
    let history = store.images().select(&image, &amd64()).expect("it").history();
    let told: Vec<_> = (history.iter())
        .map(|step| {
            let layer = step.layer.as_ref().map(|(layer, _)| layer.digest);
            (step.created_by.as_str(), layer)
        })
        .collect();
    let (low, top) = (Some(one.layers[0].digest()), Some(one.layers[1].digest()));
    assert_eq!(told, [("CMD", None), ("COPY", top), ("ENV", None), ("", low)]);
}

/// What a store says to an image that it should not believe; nothing of it may be recorded.
fn refusal(target: &Piece, others: &[&Piece]) -> String {
    let scratch = Scratch::new();
    let store = open(scratch.path());
    let id = lease(&store, "pull");
    for piece in others.iter().chain([&target]) {
        put(&store, &id, piece).expect("a blob");
    }
    let error = store.images().put(&name("app"), &target.descriptor).expect_err("refused");
    assert_eq!(store.images().list().expect("a list"), []);
    error.to_string().replace(&target.digest().to_string(), "TARGET")
}

#[test]
fn documents_that_lie_are_refused() {
    let one = single("amd64", &["a"]);
    let pieces = || vec![&one.manifest, &one.config, &one.layers[0]];

    let mut pointer = one.manifest.descriptor.clone();
    pointer.media_type = MediaType::Index(Family::Oci);
    let lies = Piece::new(MediaType::Index(Family::Oci), Index::new(vec![pointer]).to_json());
    let error = refusal(&lies, &pieces());
    assert!(error.starts_with(&format!("image TARGET: {}: ", one.manifest.digest())), "{error}");

    let mut pointer = one.manifest.descriptor.clone();
    pointer.size += 1;
    let lies = Piece::new(MediaType::Index(Family::Oci), Index::new(vec![pointer]).to_json());
    let error = refusal(&lies, &pieces());
    assert!(error.contains(" bytes long instead of "), "{error}");

    // A layer that is also said to be the configuration.
    let pointers = vec![{
        let mut pointer = one.config.descriptor.clone();
        pointer.media_type = MediaType::layer(Family::Oci, Compression::None);
        pointer
    }];
    let manifest = Manifest::new(one.config.descriptor.clone(), pointers).to_json();
    let lies = Piece::new(MediaType::Manifest(Family::Oci), manifest);
    let error = refusal(&lies, &pieces());
    assert!(error.contains(" is said to be application/vnd.oci.image.config"), "{error}");

    // More layers than the configuration knows of.
    let more = vec![one.layers[0].descriptor.clone(), layer("b").descriptor];
    let manifest = Manifest::new(one.config.descriptor.clone(), more).to_json();
    let lies = Piece::new(MediaType::Manifest(Family::Oci), manifest);
    let error = refusal(&lies, &pieces());
    assert!(error.starts_with("image TARGET: "), "{error}");

    let lies = Piece::new(MediaType::Manifest(Family::Oci), "{\"schemaVersion\":2");
    let error = refusal(&lies, &[]);
    assert!(error.starts_with("image TARGET: "), "{error}");
}

#[test]
fn what_is_huge_is_not_read() {
    let filler = "x".repeat(5 << 20);
    let json = format!(r#"{{"schemaVersion":2,"annotations":{{"a":"{filler}"}}}}"#);
    let huge = Piece::new(MediaType::Manifest(Family::Oci), json);
    let error = refusal(&huge, &[]);
    assert!(error.contains("more than 4194304 bytes"), "{error}");

    let one = single("amd64", &["a"]);
    let wide: Vec<Descriptor> = (0..100_001_u32)
        .map(|number| {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&number.to_le_bytes());
            let other = MediaType::parse("application/x").expect("a media type");
            Descriptor::new(other, Digest::Sha256(bytes), 1)
        })
        .collect();
    let parts: Vec<_> = wide
        .chunks(20_000)
        .map(|part| Piece::new(MediaType::Index(Family::Oci), Index::new(part.to_vec()).to_json()))
        .collect();
    let pointers = parts.iter().map(|part| part.descriptor.clone()).collect();
    let top = Piece::new(MediaType::Index(Family::Oci), Index::new(pointers).to_json());
    let error = refusal(&top, &parts.iter().chain([&one.manifest]).collect::<Vec<_>>());
    assert_eq!(error, "image TARGET: more than 100000 blobs");
}

#[test]
fn depth_is_bounded_and_repetition_harmless() {
    let one = single("amd64", &["a"]);
    let mut nested = vec![index(&[&one])];
    while nested.len() < 10 {
        let last = nested.last().expect("one").descriptor.clone();
        // Twice the same: read once, or this would be two to the tenth.
        let json = Index::new(vec![last.clone(), last]).to_json();
        nested.push(Piece::new(MediaType::Index(Family::Oci), json));
    }
    let all: Vec<_> = nested.iter().chain(one.pieces()).collect();
    let error = refusal(nested.last().expect("one"), &all);
    assert_eq!(error, "image TARGET: more than 8 levels of indexes");

    let scratch = Scratch::new();
    let store = open(scratch.path());
    let id = lease(&store, "pull");
    for piece in &all {
        put(&store, &id, piece).expect("a blob");
    }
    store.images().put(&name("app"), &nested[7].descriptor).expect("eight levels");
    let image = store.images().find("app").expect("it");
    assert_eq!(store.images().manifests(&image).expect("a list").len(), 1);
}

#[test]
fn other_things_are_kept_and_not_run() {
    let scratch = Scratch::new();
    let store = open(scratch.path());
    let chart = MediaType::parse("application/vnd.cncf.helm.config.v1+json").expect("a type");
    let config = Piece::new(chart, "{}");
    let data = Piece::new(MediaType::parse("application/x").expect("a type"), "data");
    let json = Manifest::new(config.descriptor.clone(), vec![data.descriptor.clone()]).to_json();
    let manifest = Piece::new(MediaType::Manifest(Family::Oci), json);
    let id = lease(&store, "pull");
    for piece in [&config, &data, &manifest] {
        put(&store, &id, piece).expect("a blob");
    }
    store.images().put(&name("chart"), &manifest.descriptor).expect("kept");
    store.end_lease(&id).expect("the end");
    assert_eq!(common::collect(&store).blobs, 0);
    let image = store.images().find("chart").expect("it");
    let manifests = store.images().manifests(&image).expect("a list");
    assert_eq!(manifests[0].kind, ManifestKind::Other);
    let error = store.images().select(&image, &amd64()).expect_err("no image");
    assert!(matches!(error, StoreImageError::NotAnImage { .. }), "{error}");
}

#[test]
fn two_images_that_share_a_configuration() {
    let scratch = Scratch::new();
    let store = open(scratch.path());
    let one = single("amd64", &["a"]);
    let mut config = ImageConfig::parse(&one.config.bytes).expect("a configuration");
    config.rootfs = RootFs::new(one.diff_ids.clone());
    add(&store, "a", &one);
    let top = index(&[&one]);
    let id = lease(&store, "pull");
    put(&store, &id, &top).expect("an index");
    store.images().put(&name("b"), &top.descriptor).expect("an image");
    // Either would be right; it is always the same.
    let text = one.config.digest().to_string();
    let expected = if one.manifest.digest() < top.digest() { "a:latest" } else { "b:latest" };
    assert_eq!(found(&store, &text), expected);
}
