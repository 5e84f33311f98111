//! The upstream's lists, for repositories of a mirror: its tags, and what is about a manifest.
//!
//! Invariant: a list is the upstream's as it is now; `None` if the upstream has no such repository or does not
//! answer, and what is here is told instead.

use std::sync::Arc;

use dhow_distribution::{Class, Error};
use dhow_spec::image::Descriptor;
use dhow_spec::{Digest, RepositoryPath};

use crate::app::App;

/// All tags, in their order.
pub(crate) async fn tags(app: &Arc<App>, name: &RepositoryPath) -> Option<Vec<String>> {
    let mirror = app.mirrors.of(name)?;
    let repository = mirror.repository(name)?;
    let listed = mirror.client.tags(&repository, &()).await;
    let mut tags = listed.map_err(|error| say(app, name, &error)).ok()?;
    tags.sort_unstable();
    tags.dedup();
    Some(tags)
}

/// All that is about a manifest, in the order of digests.
pub(crate) async fn referrers(
    app: &Arc<App>,
    name: &RepositoryPath,
    subject: &Digest,
) -> Option<Vec<Descriptor>> {
    let mirror = app.mirrors.of(name)?;
    let repository = mirror.repository(name)?;
    let listed = mirror.client.referrers(&repository, *subject, None, &()).await;
    let mut found = listed.map_err(|error| say(app, name, &error)).ok()?;
    found.sort_by_cached_key(|entry| entry.digest.to_string());
    found.dedup_by_key(|entry| entry.digest);
    Some(found)
}

fn say(app: &App, name: &RepositoryPath, error: &Error) {
    if error.class() != Class::NotFound {
        app.log.say(&format!("mirror of {name}: {error}; what is here is listed"));
    }
}
