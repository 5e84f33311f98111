//! `dhow_spec::image` against the reference schemas, as a stranger would use it.

mod schema;

use dhow_spec::image::{Document, ImageConfig, ImageError, Index, Layout, MediaType};
use proptest::prelude::*;
use schema::generate::Hints;
use schema::judge::{Judge, Kind, Refusal};

const LAYER: &str = "application/vnd\\.(oci\\.image\\.layer\\.(nondistributable\\.)?v1\\.tar(\\+gzip|\\+zstd)?(\\+encrypted)?|docker\\.image\\.rootfs\\.(foreign\\.)?diff\\.tar(\\.gzip)?)";
const ANY: &str = "[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,20}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,20}";
const DIGEST: &str = "(sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128})";
const DATE: &str =
    "20[0-9]{2}-0[1-9]-[0-2][1-8]T0[0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,12})?(Z|[+-]0[0-9]:30)";

const fn hints(texts: &'static [(&'static str, &'static str)]) -> Hints {
    Hints {
        skip: &[],
        require: &[],
        texts,
        numbers: &[("size", 0, i64::MAX), ("schemaVersion", 2, 2)],
    }
}

const MANIFEST: Hints = hints(&[
    (".mediaType", "application/vnd\\.oci\\.image\\.manifest\\.v1\\+json"),
    ("layers.mediaType", LAYER),
    ("mediaType", ANY),
    ("digest", DIGEST),
    ("urls", "https://[a-z]{1,6}/[a-z]{0,6}"),
]);

const INDEX: Hints = hints(&[
    (".mediaType", "application/vnd\\.oci\\.image\\.index\\.v1\\+json"),
    ("mediaType", ANY),
    ("digest", DIGEST),
    ("urls", "https://[a-z]{1,6}/[a-z]{0,6}"),
]);

const CONFIG: Hints = hints(&[("diff_ids", DIGEST), ("created", DATE)]);

const JUDGE: Judge = Judge {
    directory: "oci-image",
    kinds: &[
        Kind { name: "manifest", file: "image-manifest-schema.json", hints: &MANIFEST, read },
        Kind { name: "index", file: "image-index-schema.json", hints: &INDEX, read },
        Kind {
            name: "config",
            file: "config-schema.json",
            hints: &CONFIG,
            read: |bytes| ImageConfig::parse(bytes).map(|all| all.to_json()).map_err(refusal),
        },
        Kind {
            name: "layout",
            file: "image-layout-schema.json",
            hints: &CONFIG,
            read: |bytes| Layout::parse(bytes).map(|layout| layout.to_json()).map_err(refusal),
        },
    ],
    zero_is_absent: &["empty_layer", "ArgsEscaped"],
};

fn read(bytes: &[u8]) -> Result<String, Refusal> {
    match Document::parse(bytes, None).map_err(refusal)? {
        Document::Index(index) => Ok(index.to_json()),
        Document::Manifest(manifest) => Ok(manifest.to_json()),
    }
}

fn refusal(error: ImageError) -> Refusal {
    let text = error.to_string();
    let path = match error {
        ImageError::Json(error) => error.path,
        _ => String::new(),
    };
    Refusal { path, text, beyond_schema: false }
}

#[test]
fn every_member_of_the_schemas_is_known() {
    JUDGE.everything_is_known("every_member_of_the_schemas_is_known");
}

#[test]
fn every_wrong_value_is_refused_by_its_path() {
    JUDGE.wrong_values_are_refused("every_wrong_value_is_refused_by_its_path");
}

#[test]
fn null_is_absent_unless_required() {
    JUDGE.null_is_absent("null_is_absent_unless_required");
}

#[test]
fn random_documents_come_back_and_keep_the_schema() {
    JUDGE.random_documents_come_back("random_documents_come_back_and_keep_the_schema");
}

/// An index as Docker pushes it, with provenance beside the image.
const PUSHED: &str = r#"{"mediaType":"application/vnd.oci.image.index.v1+json","schemaVersion":2,
    "manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json",
    "digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "size":480,"platform":{"architecture":"amd64","os":"linux"}},
    {"mediaType":"application/vnd.oci.image.manifest.v1+json",
    "digest":"sha256:a3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":566,
    "annotations":{"vnd.docker.reference.type":"attestation-manifest"},
    "platform":{"architecture":"unknown","os":"unknown"}}]}"#;

#[test]
fn attestations_are_no_images() {
    let index = Index::parse(PUSHED.as_bytes()).expect("an index");
    let all: Vec<_> = index.manifests.iter().map(|entry| entry.is_attestation()).collect();
    assert_eq!(all, [false, true]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Damaged anywhere, the document is refused or means something that survives printing.
    #[test]
    fn damage_never_panics(
        cut in 0..PUSHED.len(),
        damage in prop::collection::vec((0..PUSHED.len(), any::<u8>()), 0..4),
        declared in prop::option::of(ANY),
    ) {
        let mut bytes = PUSHED.as_bytes().to_vec();
        for &(at, byte) in &damage {
            bytes[at] = byte;
        }
        if damage.is_empty() {
            bytes.truncate(cut);
        }
        let declared = declared.map(|text| MediaType::parse(&text).expect("a media type"));
        prop_assert!(declared.is_none() || Document::parse(&bytes, declared.as_ref()).is_err());
        if let Ok(Document::Index(index)) = Document::parse(&bytes, None) {
            prop_assert_eq!(Index::parse(index.to_json().as_bytes()).expect("ours"), index);
        }
    }
}
