//! What tests push.

use dhow_spec::Algorithm;

use crate::http::{Answer, send};
use crate::server::Server;

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

pub(crate) fn digest(bytes: &[u8]) -> String {
    dhow_store::measure(bytes, Algorithm::Sha256).to_string()
}

/// Pushes a blob in one request.
pub(crate) fn push(server: &Server, name: &str, bytes: &[u8]) -> Answer {
    let path = format!("/v2/{name}/blobs/uploads/?digest={}", digest(bytes));
    send(server.address, "POST", &path, &[], bytes)
}

/// Begins an upload; gives where it goes on.
pub(crate) fn begin(server: &Server, name: &str) -> String {
    let answer = send(server.address, "POST", &format!("/v2/{name}/blobs/uploads/"), &[], b"");
    assert_eq!(answer.status, 202);
    answer.header("location").to_owned()
}

/// A manifest of these blobs, the first of which is its configuration.
pub(crate) fn manifest(blobs: &[&[u8]], more: &str) -> String {
    let entry = |bytes: &&[u8]| {
        let (digest, size) = (digest(bytes), bytes.len());
        format!(r#"{{"mediaType":"application/octet-stream","digest":"{digest}","size":{size}}}"#)
    };
    let layers: Vec<_> = blobs[1..].iter().map(entry).collect();
    let (config, layers) = (entry(&blobs[0]), layers.join(","));
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{config},"layers":[{layers}]{more}}}"#
    )
}

pub(crate) fn push_manifest(server: &Server, name: &str, tag: &str, text: &str) -> Answer {
    let path = format!("/v2/{name}/manifests/{tag}");
    send(server.address, "PUT", &path, &[("content-type", MANIFEST)], text.as_bytes())
}

/// Pushes an image of one blob.
pub(crate) fn push_image(server: &Server, name: &str, tag: &str, bytes: &[u8]) -> String {
    assert_eq!(push(server, name, bytes).status, 201);
    let text = manifest(&[bytes], "");
    let pushed = push_manifest(server, name, tag, &text);
    assert_eq!(pushed.status, 201, "{}", pushed.text());
    digest(text.as_bytes())
}
