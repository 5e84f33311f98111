//! Indexes and manifests, on their way into a registry.
//!
//! Invariant: what is about something else (`subject`) can be found from there afterwards, also in
//! registries that keep no list of such things themselves.
//! Absent on purpose: pushing what a manifest names; that comes before.

use bytes::Bytes;
use dhow_spec::image::{Descriptor, Document, Index, MANIFEST_BYTES_MAX, MediaType};
use dhow_spec::{Algorithm, Digest, Reference, Repository, Tag};
use hyper::header::{CONTENT_TYPE, ETAG, HeaderName, IF_MATCH};
use hyper::{Method, StatusCode};

use crate::auth::Scopes;
use crate::client::Client;
use crate::error::{Action, Error, Fault, Subject};
use crate::exchange::Call;
use crate::http::{Request, Whole};
use crate::manifest::{CONTENT_DIGEST, Fetched, checked, manifest_call, manifest_name};
use crate::observer::Observer;
use crate::site::Site;
use crate::verifier::{Mismatch, digest_of};

const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
/// An answer to a push has nothing to say but errors.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Attempts at a list that others write as well.
const RACES_MAX: u32 = 5;

impl Client {
    /// Writes an index or a manifest under the reference's tag, or under its digest alone; the bytes
    /// go as they are. Gives what can be found there afterwards.
    pub async fn push_manifest(
        &self,
        reference: &Reference,
        media_type: &MediaType,
        bytes: Bytes,
        observer: &dyn Observer,
    ) -> Result<Descriptor, Error> {
        let pushed = self.publish(reference, media_type, bytes, observer).await;
        pushed.map_err(|fault| fault.at(Action::Push, Subject::Reference(reference.clone())))
    }

    async fn publish(
        &self,
        reference: &Reference,
        media_type: &MediaType,
        bytes: Bytes,
        observer: &dyn Observer,
    ) -> Result<Descriptor, Fault> {
        let document = Document::parse(&bytes, Some(media_type))?;
        let algorithm = reference.digest().map_or(Algorithm::Sha256, Digest::algorithm);
        let digest = digest_of(algorithm, &bytes);
        if let Some(&expected) = reference.digest().filter(|wanted| **wanted != digest) {
            return Err(Mismatch::digest(expected, digest).into());
        }
        let descriptor = Descriptor::new(media_type.clone(), digest, bytes.len() as u64);
        let repository = reference.repository();
        let site = &self.upstream(repository.domain()).await?;
        // A tag is what names it, even where the digest is given to prove it.
        let name = reference.tag().map_or_else(|| manifest_name(reference), ToString::to_string);
        let answer = self.put(site, repository, &name, media_type, bytes, None, observer).await?;
        if answer.header(&SUBJECT).is_none()
            && let Some(listed) = listed(&document, &descriptor)
        {
            let subject = subject_of(&document).expect("listed for it");
            self.list_referrer(site, repository, subject, &listed, observer).await?;
        }
        Ok(descriptor)
    }

    #[expect(clippy::too_many_arguments, reason = "what a PUT consists of")]
    async fn put(
        &self,
        site: &Site,
        repository: &Repository,
        name: &str,
        media_type: &MediaType,
        bytes: Bytes,
        only_if: Option<&str>,
        observer: &dyn Observer,
    ) -> Result<Whole, Fault> {
        let expected = digest_of(Algorithm::Sha256, &bytes);
        let url = site.url(repository, &format!("manifests/{name}"));
        let mut request =
            Request::new(Method::PUT, url).with(CONTENT_TYPE, &media_type.to_string());
        if let Some(etag) = only_if {
            request = request.with(IF_MATCH, etag);
        }
        let mut call = Call::new(site, request, Scopes::push(repository.path()));
        call.body = bytes;
        call.patience = Some(self.shared.config.limits.commit);
        let answer = self.exchange_whole(&call, ANSWER_BYTES_MAX, observer).await?;
        if !answer.status.is_success() {
            return Err(answer.fault());
        }
        let said = answer.header(&CONTENT_DIGEST).and_then(|text| Digest::parse(text).ok());
        match said.filter(|said| said.algorithm() == Algorithm::Sha256 && *said != expected) {
            Some(actual) => Err(Mismatch::digest(expected, actual).into()),
            None => Ok(answer),
        }
    }

    /// Enters something into the list that stands in for a registry's own (`sha256-…`).
    async fn list_referrer(
        &self,
        site: &Site,
        repository: &Repository,
        subject: &Descriptor,
        listed: &Descriptor,
        observer: &dyn Observer,
    ) -> Result<(), Fault> {
        self.change_list(site, repository, subject.digest, observer, |entries| {
            let is_there = entries.iter().any(|entry| entry.digest == listed.digest);
            if !is_there {
                entries.push(listed.clone());
            }
            !is_there
        })
        .await
    }

    /// Changes such a list, unless `change` says that there is nothing to change; again if somebody
    /// else changed it meanwhile and the registry can tell.
    pub(crate) async fn change_list(
        &self,
        site: &Site,
        repository: &Repository,
        subject: Digest,
        observer: &dyn Observer,
        change: impl Fn(&mut Vec<Descriptor>) -> bool,
    ) -> Result<(), Fault> {
        let tag = referrers_tag(subject);
        let mut races = 0;
        loop {
            let scopes = Scopes::push(repository.path());
            let (old, etag) = self.list_behind(site, repository, &tag, scopes, observer).await?;
            let mut entries = old.unwrap_or_default();
            if !change(&mut entries) {
                return Ok(());
            }
            let index = Index::new(entries);
            let media_type = index.media_type.clone().expect("ours say what they are");
            let bytes = Bytes::from(index.to_json());
            let put = self.put(
                site,
                repository,
                tag.as_str(),
                &media_type,
                bytes,
                etag.as_deref(),
                observer,
            );
            match put.await {
                Err(Fault::Refused { status: 412, .. }) if races < RACES_MAX => races += 1,
                other => return other.map(drop),
            }
        }
    }

    /// The list as it is, and its version where the registry has such a thing.
    pub(crate) async fn list_behind(
        &self,
        site: &Site,
        repository: &Repository,
        tag: &Tag,
        scopes: Scopes,
        observer: &dyn Observer,
    ) -> Result<(Option<Vec<Descriptor>>, Option<String>), Fault> {
        let reference = Reference::tagged(repository.clone(), tag.clone());
        let mut call = manifest_call(site, &reference, Method::GET);
        call.scopes = scopes;
        let answer = self.exchange_whole(&call, MANIFEST_BYTES_MAX, observer).await?;
        match answer.status {
            StatusCode::OK => {
                let etag = answer.header(&ETAG).map(str::to_owned);
                let Fetched { document, .. } = checked(answer, &reference)?;
                let entries = match document {
                    Document::Index(index) => index.manifests,
                    Document::Manifest(_) => Vec::new(),
                };
                Ok((Some(entries), etag))
            }
            StatusCode::NOT_FOUND => Ok((None, None)),
            _ => Err(answer.fault()),
        }
    }
}

pub(crate) fn subject_of(document: &Document) -> Option<&Descriptor> {
    match document {
        Document::Index(index) => index.subject.as_ref(),
        Document::Manifest(manifest) => manifest.subject.as_ref(),
    }
}

/// How something appears among the referrers of its subject.
fn listed(document: &Document, descriptor: &Descriptor) -> Option<Descriptor> {
    subject_of(document)?;
    let mut listed = descriptor.clone();
    match document {
        Document::Index(index) => {
            listed.artifact_type = index.artifact_type.clone();
            listed.annotations = index.annotations.clone();
        }
        Document::Manifest(manifest) => {
            let kind = manifest.artifact_type.clone();
            listed.artifact_type = kind.or_else(|| Some(manifest.config.media_type.clone()));
            listed.annotations = manifest.annotations.clone();
        }
    }
    Some(listed)
}

/// The tag under which a registry without the function keeps the referrers of a digest.
pub(crate) fn referrers_tag(digest: Digest) -> Tag {
    let mut hex = digest.hex();
    hex.truncate(64);
    Tag::parse(&format!("{}-{hex}", digest.algorithm())).expect("letters, digits and a dash")
}
