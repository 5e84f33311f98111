//! What is about something: signatures, bills of materials, provenance.
//!
//! Absent on purpose: believing any of it.

use dhow_spec::image::{Descriptor, Document, MANIFEST_BYTES_MAX, MediaType};
use dhow_spec::{Digest, Repository};
use hyper::StatusCode;
use hyper::header::{ACCEPT, HeaderName};

use crate::auth::Scopes;
use crate::blob::blob;
use crate::client::Client;
use crate::error::{Action, Error, Fault, ProtocolFault};
use crate::exchange::Call;
use crate::http::Request;
use crate::list::{PAGES_MAX, next_page};
use crate::observer::Observer;
use crate::publish::referrers_tag;
use crate::site::Site;

const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

impl Client {
    /// What in the repository is about this digest, perhaps only of one kind; nothing, if nothing
    /// is.
    pub async fn referrers(
        &self,
        repository: &Repository,
        digest: Digest,
        kind: Option<&MediaType>,
        observer: &dyn Observer,
    ) -> Result<Vec<Descriptor>, Error> {
        let found = async {
            let mut round = self.round(repository);
            loop {
                let site = round.next().await?;
                match self.referrers_at(&site, repository, digest, kind, observer).await {
                    Ok(found) => return Ok(round.worked(&site, found)),
                    Err(fault) => round.failed(&site, fault, observer)?,
                }
            }
        };
        found.await.map_err(|fault: Fault| fault.at(Action::List, blob(repository, digest)))
    }

    async fn referrers_at(
        &self,
        site: &Site,
        repository: &Repository,
        digest: Digest,
        kind: Option<&MediaType>,
        observer: &dyn Observer,
    ) -> Result<Vec<Descriptor>, Fault> {
        let mut url = site.url(repository, &format!("referrers/{digest}"));
        if let Some(kind) = kind {
            url = url.with_query("artifactType", &kind.to_string());
        }
        let mut found = Vec::new();
        for _ in 0..PAGES_MAX {
            let request = Request::get(url).with(ACCEPT, INDEX);
            let call = Call::new(site, request, Scopes::pull(&site.path(repository)));
            let answer = self.exchange_whole(&call, MANIFEST_BYTES_MAX, observer).await?;
            match answer.status {
                StatusCode::OK => {}
                StatusCode::NOT_FOUND if found.is_empty() => {
                    return self.referrers_by_tag(site, repository, digest, kind, observer).await;
                }
                _ => return Err(answer.fault()),
            }
            let entries = match Document::parse(&answer.body, None)? {
                Document::Index(index) => index.manifests,
                Document::Manifest(_) => {
                    return Err(Fault::protocol(&answer.host(), ProtocolFault::List));
                }
            };
            let is_filtered = answer.header(&FILTERS_APPLIED).is_some_and(|applied| {
                applied.split(',').any(|filter| filter.trim() == "artifactType")
            });
            let kind = kind.filter(|_| !is_filtered);
            found.extend(entries.into_iter().filter(|entry| fits(entry, kind)));
            match next_page(&answer)? {
                Some(next) => url = next,
                None => return Ok(found),
            }
        }
        Err(Fault::protocol(&site.host(), ProtocolFault::Pages))
    }

    async fn referrers_by_tag(
        &self,
        site: &Site,
        repository: &Repository,
        digest: Digest,
        kind: Option<&MediaType>,
        observer: &dyn Observer,
    ) -> Result<Vec<Descriptor>, Fault> {
        let scopes = Scopes::pull(&site.path(repository));
        let tag = referrers_tag(digest);
        let (entries, _) = self.list_behind(site, repository, &tag, scopes, observer).await?;
        Ok(entries.into_iter().flatten().filter(|entry| fits(entry, kind)).collect())
    }
}

fn fits(entry: &Descriptor, kind: Option<&MediaType>) -> bool {
    kind.is_none_or(|kind| entry.artifact_type.as_ref() == Some(kind))
}
