//! One question, asked of one server after the other.
//!
//! Invariant: mirrors first, in the order that the user gave; the registry's own answer, good or
//! bad, is the last word.

use dhow_spec::Repository;

use crate::client::Client;
use crate::error::Fault;
use crate::observer::{Event, Observer};
use crate::site::Site;

/// Whom to ask next.
pub(crate) struct Round<'a> {
    client: &'a Client,
    registry: &'a str,
    mirrors: std::vec::IntoIter<Site>,
}

impl Client {
    /// Begins to ask for something of a repository.
    pub(crate) fn round<'a>(&'a self, repository: &'a Repository) -> Round<'a> {
        let registry = repository.domain();
        Round { client: self, registry, mirrors: self.mirrors(registry).into_iter() }
    }
}

impl Round<'_> {
    /// The next server. The registry is looked for only when it is needed: a mirror may do where it
    /// cannot be reached at all.
    pub(crate) async fn next(&mut self) -> Result<Site, Fault> {
        match self.mirrors.next() {
            Some(mirror) => Ok(mirror),
            None => self.client.upstream(self.registry).await,
        }
    }

    /// A server gave what was asked for.
    pub(crate) fn worked<T>(&self, site: &Site, given: T) -> T {
        if site.is_mirror {
            self.client.shared.health.worked(&site.origin);
        }
        given
    }

    /// A server did not; gives the fault back if there is nobody else to ask.
    pub(crate) fn failed(
        &self,
        site: &Site,
        fault: Fault,
        observer: &dyn Observer,
    ) -> Result<(), Fault> {
        if !site.is_mirror || !fault.is_of_the_server() {
            return Err(fault);
        }
        observer.event(&Event::PassedOver { mirror: &site.host(), why: &fault });
        if fault.discredits() {
            let pause = self.client.shared.config.limits.mirror_pause;
            self.client.shared.health.failed(&site.origin, pause);
        }
        Ok(())
    }
}
