//! Who serves a repository: the registry, or a mirror of it.
//!
//! Invariant: a mirror is asked only for what the registry could be asked for as well, and always
//! before it; one that failed is left alone for a while.
//! Absent on purpose: asking.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use dhow_spec::Repository;
use tokio::time::Instant;

use crate::config::Mirror;
use crate::url::{Origin, Url};

/// Doublings of a mirror's pause.
const PAUSE_DOUBLINGS_MAX: u32 = 5;

/// One server and its name for a registry's repositories.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    pub(crate) origin: Origin,
    /// Under which name credentials are kept.
    pub(crate) name: String,
    /// Goes before the repository's path; ends with a slash, or is empty.
    pub(crate) prefix: String,
    /// The registry, if the server must be told.
    pub(crate) namespace: Option<String>,
    pub(crate) is_mirror: bool,
}

/// Which mirrors failed lately.
#[derive(Debug, Default)]
pub(crate) struct Health {
    failed: Mutex<HashMap<Origin, Failures>>,
}

#[derive(Debug)]
struct Failures {
    count: u32,
    until: Instant,
}

impl Site {
    pub(crate) fn upstream(registry: &str, origin: Origin) -> Self {
        let name = registry.to_ascii_lowercase();
        Self { origin, name, prefix: String::new(), namespace: None, is_mirror: false }
    }

    pub(crate) fn mirror(registry: &str, mirror: &Mirror) -> Self {
        Self {
            origin: mirror.origin.clone(),
            name: mirror.origin.authority(),
            prefix: mirror.prefix.clone(),
            namespace: mirror.names_registry.then(|| registry.to_owned()),
            is_mirror: true,
        }
    }

    /// The repository's path as this server knows it.
    pub(crate) fn path(&self, repository: &Repository) -> String {
        format!("{}{}", self.prefix, repository.path())
    }

    /// An address below a repository (`blobs/sha256:…`).
    pub(crate) fn url(&self, repository: &Repository, rest: &str) -> Url {
        let url = self.origin.join(&format!("/v2/{}/{rest}", self.path(repository)));
        match &self.namespace {
            Some(registry) => url.with_query("ns", registry),
            None => url,
        }
    }

    pub(crate) fn host(&self) -> String {
        self.origin.authority()
    }
}

impl Health {
    /// Whether a mirror may be asked now.
    pub(crate) fn is_good(&self, origin: &Origin) -> bool {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.get(origin).is_none_or(|failures| failures.until <= Instant::now())
    }

    pub(crate) fn failed(&self, origin: &Origin, pause: Duration) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let failures = failed.entry(origin.clone()).or_insert(Failures { count: 0, until: now });
        // Several requests that fail together are one failure.
        if failures.until > now {
            return;
        }
        failures.until = now + pause * (1 << failures.count.min(PAUSE_DOUBLINGS_MAX));
        failures.count += 1;
    }

    pub(crate) fn worked(&self, origin: &Origin) {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).remove(origin);
    }
}

/// Docker's own registry is served under another name than it is called.
pub(crate) fn api_host(registry: &str) -> &str {
    if registry == "docker.io" { "registry-1.docker.io" } else { registry }
}

/// Whether a host is the machine itself, judged by its name alone.
pub(crate) fn is_loopback(origin: &Origin) -> bool {
    let host = origin.bare_host();
    let address: Option<IpAddr> = host.parse().ok();
    host == "localhost" || address.is_some_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::url::Scheme;

    fn origin(authority: &str) -> Origin {
        Origin::of_authority(Scheme::Https, authority).expect(authority)
    }

    #[test]
    fn addresses() {
        let repository = Repository::parse("ubuntu").expect("a repository");
        let site = Site::upstream("docker.io", origin(api_host("docker.io")));
        let url = site.url(&repository, "tags/list");
        assert_eq!(url.to_string(), "https://registry-1.docker.io/v2/library/ubuntu/tags/list");
        let mirror = Mirror::parse("http://m:5000/hub").expect("a mirror").naming_registry();
        let url = Site::mirror("docker.io", &mirror).url(&repository, "tags/list");
        assert_eq!(url.to_string(), "http://m:5000/v2/hub/library/ubuntu/tags/list?ns=docker.io");
    }

    #[test]
    fn the_machine_itself() {
        for own in ["localhost", "localhost:5000", "127.0.0.1:1", "127.9.9.9", "[::1]:5"] {
            assert!(is_loopback(&origin(own)), "{own}");
        }
        for other in ["128.0.0.1", "localhost.example", "[::2]"] {
            assert!(!is_loopback(&origin(other)), "{other}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn mirrors_rest_after_failures() {
        let (health, mirror) = (Health::default(), origin("m"));
        let pause = Duration::from_secs(10);
        let mut rested = Vec::new();
        for _ in 0..8 {
            health.failed(&mirror, pause);
            health.failed(&mirror, pause);
            let began = Instant::now();
            while !health.is_good(&mirror) {
                tokio::time::advance(pause).await;
            }
            rested.push(began.elapsed().as_secs());
        }
        assert_eq!(rested, [10, 20, 40, 80, 160, 320, 320, 320]);
        health.failed(&mirror, pause);
        health.worked(&mirror);
        assert!(health.is_good(&mirror));
    }
}
