//! Indexes and manifests: from a reference to the bytes behind it, or to an image for a platform.
//!
//! Invariant: what is given out hashes to the digest that it is given out under; where the reference
//! names a digest, to that one. Bytes are kept as they came.
//! Absent on purpose: remembering them.

use bytes::Bytes;
use dhow_spec::image::{
    CONFIG_BYTES_MAX, Descriptor, Document, Family, ImageConfig, Index, MANIFEST_BYTES_MAX,
    Manifest, MediaType,
};
use dhow_spec::{Algorithm, Digest, Platform, PlatformMatcher, Reference, Repository};
use hyper::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderName};
use hyper::{Method, StatusCode};

use crate::auth::Scopes;
use crate::client::Client;
use crate::error::{Action, Error, Fault, Subject};
use crate::exchange::Call;
use crate::http::{Request, Whole};
use crate::observer::Observer;
use crate::site::Site;
use crate::verifier::{Mismatch, digest_of};

/// Everything that we can read; schema 1 is named last, so that a registry that has nothing else
/// gives it and we can say by name what is wrong.
const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.v1+prettyjws;q=0.1, */*;q=0.1";

pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// How deep an index may hold indexes.
const NESTING_MAX: usize = 4;

/// A document as the registry has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Its media type, digest and size.
    pub descriptor: Descriptor,
    /// Its very bytes.
    pub bytes: Bytes,
    /// What they say.
    pub document: Document,
}

/// An image for a platform, and the way to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedImage {
    /// What the reference leads to: the manifest itself, or an index; then what that led to, down to
    /// the manifest. Never empty.
    pub path: Vec<Fetched>,
    /// The last document of the path.
    pub manifest: Manifest,
}

impl FetchedImage {
    /// What the reference leads to.
    pub fn target(&self) -> &Descriptor {
        &self.path[0].descriptor
    }
}

impl Client {
    /// What a reference leads to, without fetching it where the registry allows that. A HEAD request
    /// does not count as a pull.
    pub async fn resolve(
        &self,
        reference: &Reference,
        observer: &dyn Observer,
    ) -> Result<Descriptor, Error> {
        self.find_descriptor(reference, observer)
            .await
            .map_err(|fault| fault.at(Action::Pull, Subject::Reference(reference.clone())))
    }

    /// What a reference leads to, whole.
    pub async fn manifest(
        &self,
        reference: &Reference,
        observer: &dyn Observer,
    ) -> Result<Fetched, Error> {
        self.find(reference, observer)
            .await
            .map_err(|fault| fault.at(Action::Pull, Subject::Reference(reference.clone())))
    }

    /// The image behind a reference that a platform likes best.
    pub async fn image(
        &self,
        reference: &Reference,
        matcher: &PlatformMatcher,
        wanted: &Platform,
        observer: &dyn Observer,
    ) -> Result<FetchedImage, Error> {
        let found = self.image_below(reference, matcher, wanted, observer).await;
        found.map_err(|fault| fault.at(Action::Pull, Subject::Reference(reference.clone())))
    }

    async fn image_below(
        &self,
        reference: &Reference,
        matcher: &PlatformMatcher,
        wanted: &Platform,
        observer: &dyn Observer,
    ) -> Result<FetchedImage, Fault> {
        let repository = reference.repository();
        let mut path = vec![self.find(reference, observer).await?];
        loop {
            let last = path.last().expect("never empty");
            let index = match &last.document {
                Document::Manifest(manifest) => {
                    let manifest = manifest.clone();
                    return Ok(FetchedImage { path, manifest });
                }
                Document::Index(index) if path.len() <= NESTING_MAX => index,
                Document::Index(_) => return Err(no_platform(wanted)),
            };
            let next = self.choose(repository, index, matcher, observer).await?;
            path.push(next.ok_or_else(|| no_platform(wanted))?);
        }
    }

    /// The best entry of an index, fetched. Entries that do not say their platform are looked into.
    async fn choose(
        &self,
        repository: &Repository,
        index: &Index,
        matcher: &PlatformMatcher,
        observer: &dyn Observer,
    ) -> Result<Option<Fetched>, Fault> {
        for entry in index.candidates(matcher) {
            if !matches!(entry.media_type, MediaType::Index(_) | MediaType::Manifest(_)) {
                continue;
            }
            let fetched = self.entry(repository, entry, observer).await?;
            if entry.platform.is_some()
                || self.suits(repository, &fetched, matcher, observer).await?
            {
                return Ok(Some(fetched));
            }
        }
        Ok(None)
    }

    /// A document that a descriptor names.
    pub(crate) async fn entry(
        &self,
        repository: &Repository,
        entry: &Descriptor,
        observer: &dyn Observer,
    ) -> Result<Fetched, Fault> {
        let pinned = Reference::pinned(repository.clone(), entry.digest);
        let fetched = self.find(&pinned, observer).await?;
        let (expected, actual) = (entry.size, fetched.descriptor.size);
        if expected != actual {
            return Err(Mismatch::Size { expected, actual }.into());
        }
        let document = Document::parse(&fetched.bytes, Some(&entry.media_type))?;
        Ok(Fetched { document, ..fetched })
    }

    /// Whether the configuration of an image is for the platform.
    async fn suits(
        &self,
        repository: &Repository,
        fetched: &Fetched,
        matcher: &PlatformMatcher,
        observer: &dyn Observer,
    ) -> Result<bool, Fault> {
        let manifest = match &fetched.document {
            Document::Index(_) => return Ok(true),
            Document::Manifest(manifest) if manifest.is_image() => manifest,
            Document::Manifest(_) => return Ok(false),
        };
        let bytes = self.small_blob(repository, &manifest.config, CONFIG_BYTES_MAX, observer);
        let config = ImageConfig::parse(&bytes.await?)?;
        Ok(matcher.matches(&config.platform()))
    }

    async fn find_descriptor(
        &self,
        reference: &Reference,
        observer: &dyn Observer,
    ) -> Result<Descriptor, Fault> {
        let mut round = self.round(reference.repository());
        loop {
            let site = round.next().await?;
            match self.resolve_at(&site, reference, observer).await {
                Ok(descriptor) => return Ok(round.worked(&site, descriptor)),
                Err(fault) => round.failed(&site, fault, observer)?,
            }
        }
    }

    async fn find(&self, reference: &Reference, observer: &dyn Observer) -> Result<Fetched, Fault> {
        let mut round = self.round(reference.repository());
        loop {
            let site = round.next().await?;
            match self.manifest_at(&site, reference, observer).await {
                Ok(fetched) => return Ok(round.worked(&site, fetched)),
                Err(fault) => round.failed(&site, fault, observer)?,
            }
        }
    }

    async fn resolve_at(
        &self,
        site: &Site,
        reference: &Reference,
        observer: &dyn Observer,
    ) -> Result<Descriptor, Fault> {
        let call = manifest_call(site, reference, Method::HEAD);
        let answer = self.exchange_whole(&call, MANIFEST_BYTES_MAX, observer).await?;
        let descriptor = match answer.status {
            StatusCode::OK => described(&answer, reference),
            // Nobody who has no HEAD says so in one way; and what a refusal is for, only GET tells.
            _ => None,
        };
        match descriptor {
            Some(descriptor) => Ok(descriptor),
            None => Ok(self.manifest_at(site, reference, observer).await?.descriptor),
        }
    }

    pub(crate) async fn manifest_at(
        &self,
        site: &Site,
        reference: &Reference,
        observer: &dyn Observer,
    ) -> Result<Fetched, Fault> {
        let call = manifest_call(site, reference, Method::GET);
        let answer = self.exchange_whole(&call, MANIFEST_BYTES_MAX, observer).await?;
        if answer.status != StatusCode::OK {
            return Err(answer.fault());
        }
        checked(answer, reference)
    }
}

fn no_platform(wanted: &Platform) -> Fault {
    Fault::NoPlatform { wanted: wanted.to_string() }
}

/// A digest decides where there is also a tag.
pub(crate) fn manifest_name(reference: &Reference) -> String {
    match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, Some(tag)) => tag.to_string(),
        (None, None) => unreachable!("a reference has one of the two"),
    }
}

pub(crate) fn manifest_call<'a>(site: &'a Site, reference: &Reference, method: Method) -> Call<'a> {
    let repository = reference.repository();
    let url = site.url(repository, &format!("manifests/{}", manifest_name(reference)));
    let request = Request::new(method, url).with(ACCEPT, ACCEPTED);
    let call = Call::new(site, request, Scopes::pull(&site.path(repository)));
    if reference.digest().is_some() { call.verified() } else { call }
}

/// What the head of an answer says about the body; `None` if it does not say enough.
fn described(answer: &Whole, reference: &Reference) -> Option<Descriptor> {
    let media_type = declared(answer)?;
    let size = answer.header(&CONTENT_LENGTH)?.parse().ok().filter(|&size: &u64| size > 0)?;
    let digest = Digest::parse(answer.header(&CONTENT_DIGEST)?).ok()?;
    let known = matches!(media_type, MediaType::Index(_) | MediaType::Manifest(_));
    let right = reference.digest().is_none_or(|wanted| *wanted == digest);
    (known && right).then(|| Descriptor::new(media_type, digest, size))
}

/// The content type without parameters, unless it is one that says nothing.
fn declared(answer: &Whole) -> Option<MediaType> {
    let text = answer.header(&CONTENT_TYPE)?.split(';').next().unwrap_or_default().trim();
    match text {
        "application/json" | "application/octet-stream" | "text/plain" => None,
        text => MediaType::parse(text).ok(),
    }
}

/// The body against everything that names it.
pub(crate) fn checked(answer: Whole, reference: &Reference) -> Result<Fetched, Fault> {
    let said = answer.header(&CONTENT_DIGEST).and_then(|text| Digest::parse(text).ok());
    let names = [reference.digest().copied(), said];
    for expected in names.into_iter().flatten() {
        let actual = digest_of(expected.algorithm(), &answer.body);
        if actual != expected {
            return Err(Mismatch::digest(expected, actual).into());
        }
    }
    let digest = names.into_iter().flatten().next();
    let digest = digest.unwrap_or_else(|| digest_of(Algorithm::Sha256, &answer.body));
    let declared = declared(&answer);
    let document = Document::parse(&answer.body, declared.as_ref())?;
    let own = match &document {
        Document::Index(index) => index.media_type.clone(),
        Document::Manifest(manifest) => manifest.media_type.clone(),
    };
    let otherwise = match &document {
        Document::Index(_) => MediaType::Index(Family::Oci),
        Document::Manifest(_) => MediaType::Manifest(Family::Oci),
    };
    let media_type = declared.or(own).unwrap_or(otherwise);
    let descriptor = Descriptor::new(media_type, digest, answer.body.len() as u64);
    Ok(Fetched { descriptor, bytes: answer.body, document })
}
