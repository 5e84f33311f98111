//! Repositories by a word: the search that Docker Hub and old registries have, else the catalogue.
//!
//! Invariant: what comes back has the word in it as far as the registry's own search says so; nothing is made up:
//! a catalogue has names and no more.

use serde::Deserialize;

use crate::auth::Scopes;
use crate::client::Client;
use crate::error::{Action, Error, Fault, ProtocolFault, Subject};
use crate::exchange::Call;
use crate::http::Request;
use crate::observer::Observer;

/// Docker Hub, and where its search is.
const HUB: &str = "docker.io";
const HUB_INDEX: &str = "index.docker.io";
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// A repository that was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Found {
    /// Its name in the registry.
    pub name: String,
    /// What its owner says of it.
    pub description: Option<String>,
    /// How many like it.
    pub star_count: i64,
    /// Whether the registry's owner vouches for it.
    pub is_official: bool,
    /// Whether it was built by the registry.
    pub is_automated: bool,
}

#[derive(Deserialize)]
struct Results {
    #[serde(default)]
    results: Vec<Found>,
}

impl Client {
    /// Up to `limit` repositories of a registry that have to do with `term`.
    pub async fn search(
        &self,
        registry: &str,
        term: &str,
        limit: usize,
        observer: &dyn Observer,
    ) -> Result<Vec<Found>, Error> {
        let host = if registry == HUB { HUB_INDEX } else { registry };
        let searched = self.searched(host, term, limit, observer).await;
        match searched {
            Ok(Some(found)) => Ok(found),
            Err(fault) => Err(fault.at(Action::List, Subject::Registry(registry.to_owned()))),
            Ok(None) => {
                let names = self.catalog(registry, observer).await?.into_iter();
                let fitting = names.filter(|name| name.contains(term)).take(limit);
                Ok(fitting.map(|name| Found { name, ..Found::default() }).collect())
            }
        }
    }

    /// `None` where the registry has no search of its own.
    async fn searched(
        &self,
        host: &str,
        term: &str,
        limit: usize,
        observer: &dyn Observer,
    ) -> Result<Option<Vec<Found>>, Fault> {
        let site = self.upstream(host).await?;
        let url = site.origin.join("/v1/search");
        let url = url.with_query("q", term).with_query("n", &limit.to_string());
        let call = Call::new(&site, Request::get(url), Scopes::none());
        let answer = self.exchange_whole(&call, ANSWER_BYTES_MAX, observer).await?;
        match answer.status.as_u16() {
            200..=299 => {
                let results: Results = serde_json::from_slice(&answer.body)
                    .map_err(|_| Fault::protocol(&answer.host(), ProtocolFault::List))?;
                Ok(Some(results.results.into_iter().take(limit).collect()))
            }
            404 | 405 | 501 => Ok(None),
            _ => Err(answer.fault()),
        }
    }
}
