//! A registry in memory that behaves, as far as it is not told otherwise.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use dhow_spec::Digest;

use crate::server::{Handler, Reply, Request};
use crate::support::digest_of;

/// A rule that comes before the registry's own; `None` leaves the request to the next.
pub(crate) type Rule = Box<dyn Fn(&Request, &mut Content) -> Option<Reply> + Send + Sync>;

/// A limit for what is read of a request's body.
pub(crate) type Limit = Box<dyn Fn(&Request) -> Option<usize> + Send + Sync>;

/// The registry.
pub(crate) struct Memory {
    pub(crate) content: Arc<Mutex<Content>>,
    rules: Vec<Rule>,
    limit: Option<Limit>,
}

/// What it holds; repositories share their blobs, but not their manifests.
#[derive(Default)]
pub(crate) struct Content {
    pub(crate) blobs: BTreeMap<String, Vec<u8>>,
    /// By repository and tag or digest: media type and bytes.
    pub(crate) manifests: BTreeMap<(String, String), (String, Vec<u8>)>,
    pub(crate) uploads: BTreeMap<String, Vec<u8>>,
    sessions: usize,
}

impl Content {
    pub(crate) fn add_blob(&mut self, bytes: &[u8]) -> Digest {
        let digest = digest_of(bytes);
        self.blobs.insert(digest.to_string(), bytes.to_vec());
        digest
    }

    pub(crate) fn add_manifest(
        &mut self,
        repository: &str,
        tag: &str,
        kind: &str,
        bytes: &[u8],
    ) -> Digest {
        let digest = digest_of(bytes);
        for name in [tag.to_owned(), digest.to_string()] {
            let stored = (kind.to_owned(), bytes.to_vec());
            self.manifests.insert((repository.to_owned(), name), stored);
        }
        digest
    }
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self { content: Arc::default(), rules: Vec::new(), limit: None }
    }

    pub(crate) fn rule(
        mut self,
        rule: impl Fn(&Request, &mut Content) -> Option<Reply> + Send + Sync + 'static,
    ) -> Self {
        self.rules.push(Box::new(rule));
        self
    }

    pub(crate) fn limit(
        mut self,
        limit: impl Fn(&Request) -> Option<usize> + Send + Sync + 'static,
    ) -> Self {
        self.limit = Some(Box::new(limit));
        self
    }

    pub(crate) fn fill<T>(&self, fill: impl FnOnce(&mut Content) -> T) -> T {
        fill(&mut self.content.lock().expect("nobody panics here"))
    }
}

impl Handler for Memory {
    fn handle(&self, request: &Request) -> Reply {
        let mut content = self.content.lock().expect("nobody panics here");
        let ruled = self.rules.iter().find_map(|rule| rule(request, &mut content));
        ruled.unwrap_or_else(|| content.answer(request))
    }

    fn read_max(&self, request: &Request) -> Option<usize> {
        self.limit.as_ref().and_then(|limit| limit(request))
    }
}

impl Content {
    /// As a registry that knows no referrers.
    pub(crate) fn answer(&mut self, request: &Request) -> Reply {
        let path = request.path();
        if path == "/v2/" {
            return Reply::ok("{}");
        }
        let parts = path.strip_prefix("/v2/").and_then(|rest| {
            ["/manifests/", "/blobs/uploads/", "/blobs/"].iter().find_map(|kind| {
                let (repository, name) = rest.split_once(kind)?;
                Some((repository.to_owned(), *kind, name.to_owned()))
            })
        });
        match parts {
            Some((repository, "/manifests/", name)) => self.manifest(request, repository, name),
            Some((repository, "/blobs/uploads/", id)) => self.upload(request, &repository, &id),
            Some((_, "/blobs/", digest)) => self.blob(request, &digest),
            _ => Reply::error(404, "NAME_UNKNOWN", "repository name not known to registry"),
        }
    }

    fn manifest(&mut self, request: &Request, repository: String, name: String) -> Reply {
        let unknown = || Reply::error(404, "MANIFEST_UNKNOWN", "manifest unknown");
        match request.method.as_str() {
            "PUT" => {
                let kind = request.header("content-type").expect("a type").to_owned();
                let digest = self.add_manifest(&repository, &name, &kind, &request.body);
                Reply::new(201).with("Docker-Content-Digest", digest)
            }
            "DELETE" => match self.manifests.remove(&(repository, name)) {
                Some(_) => Reply::new(202),
                None => unknown(),
            },
            _ => match self.manifests.get(&(repository, name)) {
                Some((kind, bytes)) => Reply::ok(bytes.clone())
                    .with("Content-Type", kind)
                    .with("Docker-Content-Digest", digest_of(bytes)),
                None => unknown(),
            },
        }
    }

    fn blob(&mut self, request: &Request, digest: &str) -> Reply {
        let Some(bytes) = self.blobs.get(digest) else {
            return Reply::error(404, "BLOB_UNKNOWN", "blob unknown to registry");
        };
        if request.method == "DELETE" {
            self.blobs.remove(digest);
            return Reply::new(202);
        }
        let from = request.header("range").and_then(|range| {
            range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok()
        });
        match from {
            None => Reply::ok(bytes.clone()),
            Some(from) if from >= bytes.len() => {
                Reply::new(416).with("Content-Range", format!("bytes */{}", bytes.len()))
            }
            Some(from) => {
                let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
                Reply::new(206).with("Content-Range", range).body(&bytes[from..])
            }
        }
    }

    fn upload(&mut self, request: &Request, repository: &str, id: &str) -> Reply {
        let location = |id: &str| format!("/v2/{repository}/blobs/uploads/{id}");
        if request.method == "POST" {
            if let Some(digest) = request.query("mount")
                && self.blobs.contains_key(&digest)
            {
                return Reply::new(201)
                    .with("Location", format!("/v2/{repository}/blobs/{digest}"));
            }
            self.sessions += 1;
            let id = format!("s{}", self.sessions);
            self.uploads.insert(id.clone(), Vec::new());
            return Reply::new(202).with("Location", location(&id)).with("Range", "0-0");
        }
        let Some(upload) = self.uploads.get_mut(id) else {
            return Reply::error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry");
        };
        let range = |size: usize| format!("0-{}", size.saturating_sub(1));
        if let Some(stated) = request.header("content-range") {
            let from: usize =
                stated.split('-').next().and_then(|text| text.parse().ok()).expect("a range");
            if from != upload.len() {
                return Reply::new(416)
                    .with("Range", range(upload.len()))
                    .with("Location", location(id));
            }
        }
        upload.extend_from_slice(&request.body);
        match request.method.as_str() {
            "GET" => {
                Reply::new(204).with("Location", location(id)).with("Range", range(upload.len()))
            }
            "PATCH" => {
                Reply::new(202).with("Location", location(id)).with("Range", range(upload.len()))
            }
            "DELETE" => {
                self.uploads.remove(id);
                Reply::new(204)
            }
            _ => {
                let bytes = self.uploads.remove(id).expect("just seen");
                let digest = request.query("digest").expect("a digest");
                if digest_of(&bytes).to_string() != digest {
                    return Reply::error(400, "DIGEST_INVALID", "provided digest did not match");
                }
                self.add_blob(&bytes);
                let place = format!("/v2/{repository}/blobs/{digest}");
                Reply::new(201).with("Location", place).with("Docker-Content-Digest", digest)
            }
        }
    }
}
