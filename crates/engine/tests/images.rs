//! Images by way of a registry that others wrote: the one that Debian packages.

mod common;

use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use common::registry::Registry;
use common::{Layer, Root, Seen, engine, layer, plain_tar, read, reference, runtime};
use dhow_archive::compress::Limits;
use dhow_engine::{ImageEngineOptions, ImageFilters, PullRequest};
use dhow_spec::image::{History, ImageConfig, RootFs};
use dhow_spec::{Platform, Reference};
use dhow_store::{DiskUsage, Import, LeaseId, LoadLimits, Mounts, View};

#[test]
fn an_image_comes_back_as_it_went() {
    let Some(registry) = Registry::start("an_image_comes_back_as_it_went", None) else { return };
    let name = reference(&registry, "lib/one:1");
    let layers = [
        layer(&[("etc/", ""), ("etc/motd", "first"), ("etc/gone", "x")]),
        layer(&[("etc/motd", "second"), ("etc/.wh.gone", "")]),
    ];
    let (here, there) = (Root::new(), Root::new());
    let target = here.make(&name, &layers);
    assert_eq!(here.push(&name), target);

    let seen = Arc::<Seen>::default();
    assert_eq!(there.pull(&name, &seen), Ok(false));
    assert_eq!(seen.counts(), (3, 2), "a configuration and two layers");
    let image = there.store.images().by_name(&name).expect("read").expect("there");
    assert_eq!(image.target, target);
    let files = there.files(&layers);
    assert_eq!(read(&files.join("etc/motd")), "second");
    assert!(!files.join("etc/gone").exists());
    let metadata = std::fs::metadata(files.join("etc/motd")).expect("there");
    let (mode, nanoseconds) = (metadata.mode() & 0o7777, metadata.mtime_nsec());
    assert_eq!((mode, metadata.mtime(), nanoseconds), (0o750, 1_700_000_000, 5));

    let again = Arc::<Seen>::default();
    assert_eq!(there.pull(&name, &again), Ok(true));
    assert_eq!(again.counts(), (0, 0));
    assert_eq!(there.emptied(), DiskUsage::default());
}

#[test]
fn what_is_shared_is_neither_fetched_nor_unpacked_again() {
    let test = "what_is_shared_is_neither_fetched_nor_unpacked_again";
    let Some(registry) = Registry::start(test, None) else { return };
    let (first, second) = (reference(&registry, "a:1"), reference(&registry, "b:1"));
    let mut layers: Vec<Layer> =
        (0..9).map(|number| layer(&[(&format!("file-{number}"), "shared")])).collect();
    let (here, there) = (Root::new(), Root::new());
    here.make(&first, &layers);
    layers.push(layer(&[("last", "new")]));
    here.make(&second, &layers);
    here.push(&first);
    here.push(&second);
    there.pull(&first, &Arc::default()).expect("a pull");
    let before = there.store.usage().expect("usage");
    let seen = Arc::<Seen>::default();
    there.pull(&second, &seen).expect("a pull");
    assert_eq!(seen.counts(), (2, 1), "a configuration and one layer");
    let after = there.store.usage().expect("usage");
    assert_eq!(after.snapshots, before.snapshots + 1);
}

#[test]
fn what_is_unpacked_and_can_be_had_again_need_not_be_kept() {
    let test = "what_is_unpacked_and_can_be_had_again_need_not_be_kept";
    let Some(registry) = Registry::start(test, None) else { return };
    let (first, second) = (reference(&registry, "a:1"), reference(&registry, "b:1"));
    let layers = [layer(&[("low", "1")]), layer(&[("high", "2")])];
    let (here, there) = (Root::new(), Root::discarding());
    let target = here.make(&first, &layers);
    here.push(&first);
    let seen = Arc::<Seen>::default();
    assert_eq!(there.pull(&first, &seen), Ok(false));
    assert_eq!(seen.counts(), (3, 2));
    let kept = there.store.usage().expect("usage");
    assert_eq!((kept.blobs, kept.snapshots), (2, 2), "a manifest and a configuration");
    assert_eq!(read(&there.files(&layers).join("high")), "2");
    let again = Arc::<Seen>::default();
    assert_eq!((there.pull(&first, &again), again.counts()), (Ok(true), (0, 0)));
    let rows = runtime().block_on(there.engine.list(&ImageFilters::default())).expect("a list");
    assert!(rows[0].manifests[0].available, "{rows:?}");

    // Under another name, with the first one gone, it still goes where it is wanted, as it came.
    let image = there.store.images().by_name(&first).expect("read").expect("there");
    there.store.images().tag(&image, &second).expect("a tag");
    there.store.images().untag(&first).expect("untagged");
    assert_eq!(there.push(&second), target);
    assert_eq!(there.store.usage().expect("usage"), kept, "and goes again");
    let archive = there.path.join("saved.tar");
    let file = std::fs::File::create(&archive).expect("a file");
    runtime()
        .block_on(async {
            let saved = there.engine.saveable(vec![second.to_string()]).await.expect("it");
            there.engine.save(saved, None, file).await
        })
        .expect("saved");
    assert!(std::fs::metadata(&archive).expect("a file").len() > 4096);
    assert_eq!(there.store.usage().expect("usage"), kept);

    // What no registry has is not given up, and what a second image needs is not either.
    let own = Reference::parse("own:1").expect("a name");
    there.make(&own, &[layer(&[("own", "3")])]);
    there.pull(&first, &Arc::default()).expect("a pull");
    assert_eq!(there.store.usage().expect("usage").blobs, kept.blobs + 3);
    assert_eq!(there.emptied(), DiskUsage::default());
}

#[test]
fn a_layer_that_is_not_what_it_should_be_leaves_nothing() {
    let test = "a_layer_that_is_not_what_it_should_be_leaves_nothing";
    let Some(registry) = Registry::start(test, None) else { return };
    let name = reference(&registry, "liar:1");
    let layers = [layer(&[("good", "1")]), layer(&[("bad", "2")])];
    let (here, there) = (Root::new(), Root::new());
    let wrong = layer(&[("other", "3")]).diff_id;
    let config = ImageConfig {
        rootfs: RootFs::new(vec![layers[0].diff_id, wrong]),
        ..ImageConfig::new(&Platform::of_build())
    };
    here.make_with(&name, &layers, &config);
    here.push(&name);
    let error = there.pull(&name, &Arc::default()).expect_err("a lie");
    let expected =
        format!("it unpacks to {}, but the image's configuration says {wrong}", layers[1].diff_id);
    assert!(error.starts_with(&format!("image {name}: layer sha256:")), "{error}");
    assert!(error.ends_with(&expected), "{error}");
    assert!(there.store.images().by_name(&name).expect("read").is_none());
    assert_eq!(there.emptied(), DiskUsage::default());
}

#[test]
fn many_pulls_of_one_image_share_its_downloads() {
    let test = "many_pulls_of_one_image_share_its_downloads";
    let Some(registry) = Registry::start(test, None) else { return };
    let name = reference(&registry, "busy:1");
    let text = "x".repeat(3 << 20);
    let layers = [layer(&[("large", &text)]), layer(&[("small", "2")])];
    let (here, there) = (Root::new(), Root::new());
    here.make(&name, &layers);
    here.push(&name);
    let seen = Arc::<Seen>::default();
    runtime().block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let (engine, seen) = (there.engine.clone(), seen.clone());
            let request = PullRequest { reference: name.clone(), platform: None };
            tasks.spawn(async move { engine.pull(&request, seen).await.map(drop) });
        }
        for result in tasks.join_all().await {
            result.expect("a pull");
        }
    });
    let mut downloads = seen.downloads.lock().expect("no panic").clone();
    let all = downloads.len();
    downloads.sort_by_key(ToString::to_string);
    downloads.dedup();
    assert_eq!(all, downloads.len(), "nothing travels twice");
    assert_eq!(read(&there.files(&layers).join("small")), "2");
    assert_eq!(there.emptied(), DiskUsage::default());
}

#[test]
fn what_is_here_is_made_ready_without_a_registry() {
    let root = Root::new();
    let name = Reference::parse("127.0.0.1:1/nobody/there").expect("a reference");
    let layers = [layer(&[("first", "1")]), layer(&[("second", "2")])];
    root.make(&name, &layers);
    let image = root.store.images().find(&name.to_string()).expect("an image");
    let platform = Platform::of_build();
    for _ in 0..2 {
        let ready = runtime().block_on(root.engine.ready(&image, &platform, Arc::new(())));
        let ready = ready.expect("unpacked");
        assert_eq!(ready.selected.chain.len(), 2);
        runtime().block_on(root.engine.done_with(&ready.lease)).expect("ended");
    }
    let files = root.files(&layers);
    assert_eq!((read(&files.join("first")), read(&files.join("second"))), ("1".into(), "2".into()));
    assert_eq!(root.emptied(), DiskUsage::default());
}

#[test]
fn hello_is_made_of_a_program() {
    let root = Root::new();
    let program = root.path.join("program");
    std::fs::write(&program, "of four thousand words").expect("a file");
    let made = runtime().block_on(root.engine.make_hello(&program)).expect("made");
    let again = runtime().block_on(root.engine.make_hello(&program)).expect("made");
    assert_eq!(made.target, again.target);
    assert_eq!(made.names, [Reference::parse("hello").expect("a name")]);
    let platform = Platform::of_build();
    let ready = runtime().block_on(root.engine.ready(&made, &platform, Arc::new(())));
    let top = *ready.expect("unpacked").selected.chain.last().expect("a layer");
    match root.snapshots.mounts_of_committed(&top, &View::READ).expect("a snapshot") {
        Mounts::Bind { source, .. } => {
            assert_eq!(read(&source.join("dhow")), "of four thousand words");
        }
        other => panic!("{other:?}"),
    }
    let missing = runtime().block_on(root.engine.make_hello(&root.path.join("nothing")));
    let error = missing.expect_err("no program").to_string();
    assert!(error.contains("nothing"), "{error}");
    assert_eq!(root.emptied(), DiskUsage::default());
}

#[test]
fn plain_layers_are_compressed_on_their_way() {
    let test = "plain_layers_are_compressed_on_their_way";
    let Some(registry) = Registry::start(test, None) else { return };
    let name = reference(&registry, "plain:1");
    let (here, there) = (Root::new(), Root::new());
    let text = "compress me ".repeat(100_000);
    let (tar, diff_id) = plain_tar(&[("large", &text)]);
    let lease = LeaseId::parse("importing").expect("a word");
    here.store.lease(&lease, None).expect("a lease");
    let import = Import {
        name: Some(name.clone()),
        config: ImageConfig::new(&Platform::of_build()),
        step: History::default(),
    };
    let limits = LoadLimits { bytes_max: u64::MAX, compression: Limits::NONE };
    let made = here.store.import(&lease, &tar[..], import, limits).expect("an image");
    here.store.end_lease(&lease).expect("ended");

    let pushed = here.push(&name);
    assert_ne!(pushed, made.target, "another manifest");
    assert_eq!(here.push(&name), pushed, "the same bytes again");
    assert_eq!(there.pull(&name, &Arc::default()), Ok(false));
    let image = there.store.images().by_name(&name).expect("read").expect("there");
    let selected = there.store.images().select(&image, &Platform::of_build()).expect("whole");
    let layer = &selected.manifest.layers[0];
    assert!(layer.size < tar.len() as u64 / 20, "{} bytes", layer.size);
    assert_eq!(selected.config.rootfs.diff_ids, [diff_id]);
    let layers = [Layer { blob: Vec::new(), diff_id }];
    assert_eq!(read(&there.files(&layers).join("large")), text);

    // What came from a registry goes on as it came.
    let other = reference(&registry, "other:1");
    there.store.images().tag(&image, &other).expect("a name");
    assert_eq!(there.push(&other), image.target);
    for root in [here, there] {
        assert_eq!(root.emptied(), DiskUsage::default());
    }
}

#[test]
fn a_bomb_is_refused_and_leaves_nothing() {
    let test = "a_bomb_is_refused_and_leaves_nothing";
    let Some(registry) = Registry::start(test, None) else { return };
    let name = reference(&registry, "bomb:1");
    let layers = [layer(&[("harmless", "1")]), layer(&[("bomb", &"0".repeat(64 << 20))])];
    assert!(layers[1].blob.len() < 1 << 20, "a thousandth of what it unpacks to");
    let (here, there) = (Root::new(), Root::new());
    here.make(&name, &layers);
    here.push(&name);
    let options =
        ImageEngineOptions { layer_bytes_max: 1 << 20, ..ImageEngineOptions::standard(2) };
    let engine = engine(&there.store, &there.snapshots, options);
    let request = PullRequest { reference: name.clone(), platform: None };
    let error = runtime().block_on(engine.pull(&request, Arc::new(()))).expect_err("a bomb");
    let layer = common::digest_of(&layers[1].blob);
    let begins = format!("image {name}: layer {layer}: ");
    assert!(error.to_string().starts_with(&begins), "{error}");
    assert!(there.store.images().by_name(&name).expect("read").is_none());
    assert_eq!(there.emptied(), DiskUsage::default());
}
