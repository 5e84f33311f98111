//! Removing tags, manifests and blobs from a registry.
//!
//! Absent on purpose: the registry's own garbage collection; what becomes unreachable is its matter.

use dhow_spec::{Digest, Reference, Repository};
use hyper::Method;

use crate::auth::Scopes;
use crate::blob::blob;
use crate::client::Client;
use crate::error::{Action, Error, Fault, Subject};
use crate::exchange::Call;
use crate::http::Request;
use crate::manifest::manifest_name;
use crate::observer::Observer;
use crate::publish::subject_of;
use crate::site::Site;

impl Client {
    /// Removes what a reference names: by digest the manifest with all its tags, otherwise the tag
    /// alone. Many registries remove no tags, or nothing at all.
    pub async fn delete_manifest(
        &self,
        reference: &Reference,
        observer: &dyn Observer,
    ) -> Result<(), Error> {
        let deleted = async {
            let repository = reference.repository();
            let site = self.upstream(repository.domain()).await?;
            self.unlist(&site, reference, observer).await?;
            let rest = format!("manifests/{}", manifest_name(reference));
            self.delete(&site, repository, &rest, observer).await
        };
        let subject = || Subject::Reference(reference.clone());
        deleted.await.map_err(|fault| fault.at(Action::Delete, subject()))
    }

    /// Removes a blob from a repository.
    pub async fn delete_blob(
        &self,
        repository: &Repository,
        digest: Digest,
        observer: &dyn Observer,
    ) -> Result<(), Error> {
        let deleted = async {
            let site = self.upstream(repository.domain()).await?;
            self.delete(&site, repository, &format!("blobs/{digest}"), observer).await
        };
        deleted.await.map_err(|fault| fault.at(Action::Delete, blob(repository, digest)))
    }

    async fn delete(
        &self,
        site: &Site,
        repository: &Repository,
        rest: &str,
        observer: &dyn Observer,
    ) -> Result<(), Fault> {
        let request = Request::new(Method::DELETE, site.url(repository, rest));
        let call = Call::new(site, request, Scopes::delete(repository.path()));
        let answer = self.exchange(&call, &mut self.attempts(site), observer).await?;
        if !answer.status.is_success() {
            return Err(answer.into_fault().await);
        }
        answer.discard().await;
        Ok(())
    }

    /// Takes a manifest out of the list that stands in for a registry's own list of referrers, if
    /// there is such a list.
    async fn unlist(
        &self,
        site: &Site,
        reference: &Reference,
        observer: &dyn Observer,
    ) -> Result<(), Fault> {
        if reference.digest().is_none() {
            return Ok(());
        }
        let repository = reference.repository();
        let fetched = match self.manifest_at(site, reference, observer).await {
            Ok(fetched) => fetched,
            // What cannot be read can still be removed, or that will say why not.
            Err(_) => return Ok(()),
        };
        let Some(subject) = subject_of(&fetched.document) else { return Ok(()) };
        let digest = fetched.descriptor.digest;
        self.change_list(site, repository, subject.digest, observer, |entries| {
            let before = entries.len();
            entries.retain(|entry| entry.digest != digest);
            entries.len() < before
        })
        .await
    }
}
