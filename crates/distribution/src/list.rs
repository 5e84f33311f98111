//! Names: the tags of a repository, the repositories of a registry.
//!
//! Invariant: a list is asked for page by page and has an end, whatever the registry says.

use dhow_spec::Repository;
use hyper::header::LINK;
use serde::Deserialize;

use crate::auth::Scopes;
use crate::client::Client;
use crate::error::{Action, Error, Fault, ProtocolFault, Subject};
use crate::exchange::Call;
use crate::http::{Request, Whole};
use crate::observer::Observer;
use crate::said::tidy;
use crate::site::Site;
use crate::url::Url;

/// More pages than any list of ours has.
pub(crate) const PAGES_MAX: u32 = 10_000;
const PAGE_BYTES_MAX: usize = 8 << 20;
/// Names asked for at once; registries give fewer if they like.
const PAGE_NAMES: &str = "1000";

#[derive(Deserialize)]
struct Names {
    #[serde(default, alias = "repositories")]
    tags: Option<Vec<String>>,
}

impl Client {
    /// All tags of a repository, in the registry's order.
    pub async fn tags(
        &self,
        repository: &Repository,
        observer: &dyn Observer,
    ) -> Result<Vec<String>, Error> {
        let listed = async {
            let mut round = self.round(repository);
            loop {
                let site = round.next().await?;
                let url = site.url(repository, "tags/list");
                let scopes = Scopes::pull(&site.path(repository));
                match self.names(&site, url, scopes, observer).await {
                    Ok(tags) => return Ok(round.worked(&site, tags)),
                    Err(fault) => round.failed(&site, fault, observer)?,
                }
            }
        };
        let subject = || Subject::Repository(repository.clone());
        listed.await.map_err(|fault: Fault| fault.at(Action::List, subject()))
    }

    /// All repositories of a registry, as far as it tells.
    pub async fn catalog(
        &self,
        registry: &str,
        observer: &dyn Observer,
    ) -> Result<Vec<String>, Error> {
        let listed = async {
            let site = self.upstream(registry).await?;
            let url = site.origin.join("/v2/_catalog");
            self.names(&site, url, Scopes::catalog(), observer).await
        };
        let subject = || Subject::Registry(registry.to_owned());
        listed.await.map_err(|fault: Fault| fault.at(Action::List, subject()))
    }

    async fn names(
        &self,
        site: &Site,
        url: Url,
        scopes: Scopes,
        observer: &dyn Observer,
    ) -> Result<Vec<String>, Fault> {
        let mut all = Vec::new();
        let mut url = url.with_query("n", PAGE_NAMES);
        for _ in 0..PAGES_MAX {
            let call = Call::new(site, Request::get(url.clone()), scopes.clone());
            let answer = self.exchange_whole(&call, PAGE_BYTES_MAX, observer).await?;
            if !answer.status.is_success() {
                return Err(answer.fault());
            }
            let names: Names = serde_json::from_slice(&answer.body)
                .map_err(|_| Fault::protocol(&answer.host(), ProtocolFault::List))?;
            let names = names.tags.unwrap_or_default();
            let is_empty = names.is_empty();
            all.extend(names);
            match next_page(&answer)? {
                // A page of nothing is the last, whatever it points to.
                Some(next) if next != url && !is_empty => url = next,
                _ => return Ok(all),
            }
        }
        Err(Fault::protocol(&site.host(), ProtocolFault::Pages))
    }
}

/// `Link: </v2/x/tags/list?n=1&last=a>; rel="next"`; to the same origin only, since what says who we
/// are goes with it.
pub(crate) fn next_page(answer: &Whole) -> Result<Option<Url>, Fault> {
    let Some(text) = answer.header(&LINK) else { return Ok(None) };
    let next = links(text).find(|(_, rest)| {
        let rest = rest.to_ascii_lowercase().replace(' ', "");
        rest.contains("rel=\"next\"") || rest.contains("rel=next")
    });
    let Some((location, _)) = next else { return Ok(None) };
    match answer.url.join(location) {
        Some(url) if url.origin == answer.url.origin => Ok(Some(url)),
        _ => {
            let fault = ProtocolFault::Location { text: tidy(location) };
            Err(Fault::protocol(&answer.host(), fault))
        }
    }
}

/// Each target with its parameters.
fn links(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split('<').skip(1).filter_map(|link| link.split_once('>'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_and_parameters() {
        let header = r#"</a?x=1,2>; rel="prev", <https://h/b>;rel=next"#;
        let read: Vec<_> = links(header).collect();
        assert_eq!(read, [("/a?x=1,2", "; rel=\"prev\", "), ("https://h/b", ";rel=next")]);
        assert_eq!(links("nonsense").count(), 0);
    }
}
