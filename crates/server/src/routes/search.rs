//! `GET /images/search`: repositories of a registry by a word.
//!
//! Invariant: filters are applied to what the registry found; a name can be pulled as it is told.

use std::sync::Arc;

use dhow_engine::FoundRepository;
use dhow_wire::{Filters, SearchResult};

use crate::app::App;
use crate::http::call::Call;
use crate::http::error::ApiError;
use crate::http::query::quoted;
use crate::http::reply::Reply;

const HUB: &str = "docker.io";
const LIMIT: i64 = 25;
const LIMIT_MAX: i64 = 100;

pub(super) async fn search(app: &Arc<App>, call: &Call) -> Result<Reply, ApiError> {
    let filters = call.query.filters()?;
    let wanted = Wanted::read(&filters)?;
    let limit = match call.query.number_checked("limit")? {
        None | Some(0) => LIMIT,
        Some(limit @ 1..=LIMIT_MAX) => limit,
        Some(limit) => {
            return Err(ApiError::invalid(format!(
                "limit {limit} is outside the range of [1, {LIMIT_MAX}]"
            )));
        }
    };
    let (registry, term) = split(call.query.text("term"));
    if term.is_empty() {
        return Err(ApiError::invalid("a search needs a term"));
    }
    let mut images = app.images.clone();
    if let Some(credentials) = super::pull::credentials(call) {
        images = images.with_credentials(registry, credentials);
    }
    let limit = usize::try_from(limit).unwrap_or_default();
    let found = images.search(registry, term, limit).await?;
    let prefix = if registry == HUB { String::new() } else { format!("{registry}/") };
    let rows = found.into_iter().filter(|one| wanted.fits(one)).map(|one| SearchResult {
        name: format!("{prefix}{}", one.name),
        description: one.description.unwrap_or_default(),
        star_count: one.star_count,
        is_official: one.is_official,
        is_automated: one.is_automated,
    });
    Ok(Reply::ok(&rows.collect::<Vec<_>>()))
}

/// The registry that a term begins with, if it begins with one, and the rest.
fn split(term: &str) -> (&str, &str) {
    match term.split_once('/') {
        Some((HUB | "index.docker.io", rest)) => (HUB, rest),
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (host, rest),
        _ => (HUB, term),
    }
}

#[derive(Default)]
struct Wanted {
    official: Option<bool>,
    automated: Option<bool>,
    stars: i64,
}

impl Wanted {
    fn read(filters: &Filters) -> Result<Self, ApiError> {
        let mut wanted = Self::default();
        for (name, values) in filters.iter() {
            let text = values.iter().next().map_or("", AsRef::as_ref);
            let wrong = || ApiError::invalid(format!("invalid filter '{name}=[{text}]'"));
            let truth = match text {
                "1" | "true" => Some(true),
                "0" | "false" => Some(false),
                _ => None,
            };
            match name {
                "is-official" => wanted.official = Some(truth.ok_or_else(wrong)?),
                "is-automated" => wanted.automated = Some(truth.ok_or_else(wrong)?),
                "stars" => wanted.stars = text.parse().map_err(|_| wrong())?,
                other => {
                    return Err(ApiError::invalid(format!("invalid filter {}", quoted(other))));
                }
            }
        }
        Ok(wanted)
    }

    fn fits(&self, found: &FoundRepository) -> bool {
        self.official.is_none_or(|wanted| wanted == found.is_official)
            && self.automated.is_none_or(|wanted| wanted == found.is_automated)
            && found.star_count >= self.stars
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_may_begin_with_a_registry() {
        assert_eq!(split("nginx"), ("docker.io", "nginx"));
        assert_eq!(split("library/nginx"), ("docker.io", "library/nginx"));
        assert_eq!(split("box:5000/a/b"), ("box:5000", "a/b"));
        assert_eq!(split("docker.io/a"), ("docker.io", "a"));
    }

    #[test]
    fn filters_are_read() {
        let mut filters = Filters::default();
        filters.add("stars", "3");
        filters.add("is-official", "true");
        let wanted = Wanted::read(&filters).expect("known filters");
        let found = |stars, official| FoundRepository {
            star_count: stars,
            is_official: official,
            ..FoundRepository::default()
        };
        assert!(wanted.fits(&found(3, true)) && !wanted.fits(&found(3, false)));
        assert!(!wanted.fits(&found(2, true)));
        filters.add("bird", "1");
        assert!(Wanted::read(&filters).is_err());
    }
}
