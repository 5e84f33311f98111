//! Documents of images: what is understood is understood again when we have written it.

use dhow_spec::image::{Document, ImageConfig, Index, Manifest};
use dhow_spec::{Platform, PlatformMatcher};

/// Reads an index, a manifest or a configuration, asks it all that a pull would, and writes it again.
pub fn manifest(data: &[u8]) {
    match Document::parse(data, None) {
        Ok(Document::Index(index)) => of_index(&index),
        Ok(Document::Manifest(manifest)) => of_manifest(&manifest),
        Err(error) => drop(error.to_string()),
    }
    if let Ok(config) = ImageConfig::parse(data) {
        let _ = config.check_layers(config.rootfs.diff_ids.len());
        let platform = config.platform();
        let _ = PlatformMatcher::compatible(&platform).rank(&Platform::of_build());
        let again = ImageConfig::parse(config.to_json().as_bytes());
        assert_eq!(again.ok(), Some(config), "a configuration of ours");
    }
}

fn of_index(index: &Index) {
    let matcher = PlatformMatcher::compatible(&Platform::of_build());
    assert!(index.candidates(&matcher).len() <= index.manifests.len());
    match Document::parse(index.to_json().as_bytes(), None) {
        Ok(Document::Index(again)) => assert_eq!(again, *index),
        other => panic!("{other:?} in place of {index:?}"),
    }
}

fn of_manifest(manifest: &Manifest) {
    if let Ok(layers) = manifest.unpackable_layers() {
        assert_eq!(layers.len(), manifest.layers.len());
    }
    match Document::parse(manifest.to_json().as_bytes(), None) {
        Ok(Document::Manifest(again)) => assert_eq!(again, *manifest),
        other => panic!("{other:?} in place of {manifest:?}"),
    }
}
