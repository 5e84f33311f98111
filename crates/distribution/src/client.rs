//! The client: what all its operations share, and how a registry is found.
//!
//! Invariant: a [`Client`] and its copies share connections, tokens and what was learnt about hosts;
//! they differ in whom they act for.
//! Absent on purpose: the operations, one file each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::auth::{Bearer, Tokens};
use crate::config::{Config, ConfigError};
use crate::credentials::Keyring;
use crate::error::Fault;
use crate::http::{OutBody, Request, Transport};
use crate::net::{ConnectFault, Resolver, Tls};
use crate::site::{Health, Site, api_host, is_loopback};
use crate::url::{Origin, Scheme};

/// Talks to registries. Copies are cheap and share what can be shared; everything can be called from
/// many tasks at once.
#[derive(Clone)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
    pub(crate) keyring: Arc<Keyring>,
}

/// What copies of a client have in common.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) transport: Transport,
    pub(crate) tokens: Tokens,
    pub(crate) health: Health,
    /// What each origin wants to see.
    pub(crate) wants: Mutex<HashMap<Origin, Wanted>>,
    /// Where each registry is.
    origins: Mutex<HashMap<String, Found>>,
    resolver: Arc<dyn Resolver>,
    tls: Arc<Tls>,
}

/// A registry's origin, looked for by whoever comes first, and when that was.
type Found = (Instant, Arc<OnceCell<Origin>>);

/// What was found out about a registry without proofs is looked at again: it may have got some.
const LAX_LIFE: Duration = Duration::from_secs(60);

/// What an origin wants to see of us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    Basic,
    Bearer(Bearer),
}

impl Client {
    /// A client that acts for nobody in particular.
    pub fn new(config: Config, resolver: Arc<dyn Resolver>) -> Result<Self, ConfigError> {
        let tls = Arc::new(Tls::new(&config, api_host)?);
        let transport = Transport::new(&config, resolver.clone(), tls.clone())?;
        let shared = Shared {
            config,
            transport,
            tokens: Tokens::default(),
            health: Health::default(),
            wants: Mutex::default(),
            origins: Mutex::default(),
            resolver,
            tls,
        };
        Ok(Self { shared: Arc::new(shared), keyring: Arc::new(Keyring::anonymous()) })
    }

    /// The same client, acting for somebody. Tokens are not shared between different credentials.
    pub fn with_credentials(&self, keyring: Keyring) -> Self {
        Self { shared: self.shared.clone(), keyring: Arc::new(keyring) }
    }

    /// Who serves a registry's content, in the order in which they are asked; the registry is last.
    pub(crate) fn mirrors(&self, registry: &str) -> Vec<Site> {
        let entry = self.shared.config.registry(registry);
        let mirrors = entry.into_iter().flat_map(|entry| &entry.mirrors);
        mirrors
            .map(|mirror| Site::mirror(registry, mirror))
            .filter(|site| self.shared.health.is_good(&site.origin))
            .inspect(|site| {
                if self.shared.config.insecure.names(&site.name) {
                    self.shared.tls.trust_blindly(&site.origin);
                }
            })
            .collect()
    }

    /// The registry itself.
    pub(crate) async fn upstream(&self, registry: &str) -> Result<Site, Fault> {
        let cell = {
            let mut origins = self.shared.origins.lock().unwrap_or_else(PoisonError::into_inner);
            let new = || (Instant::now(), Arc::default());
            let found = origins.entry(registry.to_owned()).or_insert_with(new);
            if found.0.elapsed() > LAX_LIFE {
                *found = new();
            }
            found.1.clone()
        };
        let origin = cell.get_or_try_init(|| self.shared.find(registry)).await?;
        Ok(Site::upstream(registry, origin.clone()))
    }
}

impl Shared {
    /// A registry's scheme: TLS, but for those that need not prove anything; those are asked.
    async fn find(&self, registry: &str) -> Result<Origin, Fault> {
        let origin = |scheme| {
            Origin::of_authority(scheme, api_host(registry)).ok_or_else(|| {
                let why = ConnectFault::Address { text: registry.to_owned() };
                Fault::Unreachable { host: registry.to_owned(), why: Arc::new(why) }
            })
        };
        let secure = origin(Scheme::Https)?;
        if !self.is_insecure(registry, &secure).await {
            return Ok(secure);
        }
        self.tls.trust_blindly(&secure);
        if self.probe(&secure).await.is_ok() {
            return Ok(secure);
        }
        let plain = origin(Scheme::Http)?;
        self.probe(&plain).await?;
        Ok(plain)
    }

    /// As Docker decides it: by name, by address, and the machine itself; but a registry with
    /// certificates of its own is one that proves itself, wherever it is.
    async fn is_insecure(&self, registry: &str, origin: &Origin) -> bool {
        let insecure = &self.config.insecure;
        if insecure.names(registry) {
            return true;
        }
        if self.tls.is_special(origin) {
            return false;
        }
        if is_loopback(origin) {
            return true;
        }
        let host = origin.bare_host();
        if let Ok(address) = host.parse() {
            return insecure.contains(address);
        }
        if !insecure.has_ranges() {
            return false;
        }
        let found = self.resolver.resolve(host, origin.port).await.unwrap_or_default();
        found.iter().any(|address| insecure.contains(address.ip()))
    }

    /// Whether anybody there speaks HTTP, whatever he says.
    async fn probe(&self, origin: &Origin) -> Result<(), Fault> {
        let request = Request::get(origin.join("/v2/"));
        let answer = self.transport.send(&request, None, OutBody::empty(), None).await?;
        answer.discard().await;
        Ok(())
    }
}
