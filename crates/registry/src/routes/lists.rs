//! Lists that come page by page: repositories and tags.
//!
//! Invariant: an answer has a bounded number of entries, and says where the next ones are.

use std::sync::Arc;

use dhow_spec::RepositoryPath;
use hyper::Method;
use hyper::header::LINK;
use serde_json::json;

use super::{Answer, only};
use crate::access::Action;
use crate::app::{App, blocking};
use crate::http::call::Call;
use crate::http::error::{ApiError, Code};
use crate::http::query::escape;
use crate::http::reply::Reply;
use crate::mirror;

/// Entries of one answer if nobody asks for fewer.
const PAGE_MAX: usize = 1000;

/// Which part of a list is asked for.
struct Page {
    after: String,
    count: usize,
}

impl Page {
    fn of(call: &Call) -> Result<Self, ApiError> {
        let invalid = || ApiError::new(Code::PaginationInvalid, "n is no number");
        let count = match call.query.get("n") {
            None | Some("") => PAGE_MAX,
            Some(text) => text.parse::<usize>().map_err(|_| invalid())?.min(PAGE_MAX),
        };
        Ok(Self { after: call.query.get("last").unwrap_or_default().to_owned(), count })
    }

    /// What of a whole list comes next, and one entry more.
    fn of_all(&self, mut names: Vec<String>) -> Vec<String> {
        names.retain(|name| *name > self.after);
        names.truncate(self.count + 1);
        names
    }

    /// Cuts the list to the page; one entry more tells that there is a next one.
    fn cut(&self, path: &str, mut names: Vec<String>) -> (Vec<String>, Option<String>) {
        let more = names.len() > self.count;
        names.truncate(self.count);
        let last = names.last().filter(|_| more);
        let link = last
            .map(|last| format!("<{path}?n={}&last={}>; rel=\"next\"", self.count, escape(last)));
        (names, link)
    }
}

/// `GET` of the tags of a repository.
pub(super) async fn tags(app: &Arc<App>, call: &Call, name: &RepositoryPath) -> Answer {
    only(call, &[Method::GET, Method::HEAD])?;
    app.access.allow(call, name, Action::Pull)?;
    let page = Page::of(call)?;
    let found = match mirror::tags(app, name).await {
        Some(tags) => Some(page.of_all(tags)),
        None => known_tags(app, name, &page).await?,
    };
    let Some(found) = found else {
        return Err(ApiError::new(Code::NameUnknown, "no such repository").about("name", name));
    };
    let (tags, link) = page.cut(&format!("/v2/{name}/tags/list"), found);
    Ok(linked(Reply::json(&json!({ "name": name.as_str(), "tags": tags })), link))
}

/// The tags that are here; `None` if there is no such repository.
async fn known_tags(
    app: &Arc<App>,
    name: &RepositoryPath,
    page: &Page,
) -> Result<Option<Vec<String>>, ApiError> {
    let (app, name) = (app.clone(), name.clone());
    let (after, count) = (page.after.clone(), page.count + 1);
    blocking(move || {
        if !app.repositories.exists(&name)? {
            return Ok(None);
        }
        let tags = app.repositories.tags(&name, &after, count)?;
        Ok(Some(tags.iter().map(|tag| tag.name.to_string()).collect()))
    })
    .await
}

/// `GET` of the repositories that the caller may read.
pub(super) async fn catalog(app: &Arc<App>, call: &Call) -> Answer {
    only(call, &[Method::GET, Method::HEAD])?;
    app.access.catalog(call)?;
    let page = Page::of(call)?;
    let (mut names, mut after) = (Vec::new(), page.after.clone());
    // What the caller may not read takes no place on the page.
    while names.len() <= page.count {
        let some = {
            let (app, after) = (app.clone(), after.clone());
            blocking(move || Ok(app.repositories.list(&after, PAGE_MAX)?)).await?
        };
        let Some(last) = some.last() else { break };
        after.clone_from(&last.name);
        let readable = |name: &String| {
            RepositoryPath::parse(name).is_some_and(|name| app.access.may_list(call, &name))
        };
        names.extend(some.into_iter().map(|repository| repository.name).filter(readable));
    }
    let (names, link) = page.cut("/v2/_catalog", names);
    Ok(linked(Reply::json(&json!({ "repositories": names })), link))
}

pub(super) fn linked(reply: Reply, link: Option<String>) -> Reply {
    match link {
        Some(link) => reply.with(LINK, link),
        None => reply,
    }
}
