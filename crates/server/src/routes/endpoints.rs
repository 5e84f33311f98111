//! What Docker's clients may ask: every request with every option, and how each is taken (`endpoints.txt`).
//!
//! Invariant: an option that Docker knows is obeyed, without anything that it could change, or refused by name
//! before anything is done. An option that nobody knows is skipped, as dockerd does it.

use std::sync::OnceLock;

use hyper::Method;

use crate::http::call::Call;
use crate::http::error::ApiError;

const TEXT: &str = include_str!("endpoints.txt");

/// One kind of request.
#[derive(Debug, PartialEq, Eq)]
struct Endpoint {
    method: &'static str,
    path: Vec<&'static str>,
    /// Options that nothing here obeys.
    refused: Vec<&'static str>,
}

/// Refuses a request that has an option which is not built. One that is said to be off is none.
pub(super) fn check(call: &Call, path: &[&str]) -> Result<(), ApiError> {
    if call.query.is_empty() {
        return Ok(());
    }
    let refused = endpoints()
        .iter()
        .find(|endpoint| endpoint.is(&call.method, path))
        .map_or(&[][..], |endpoint| &endpoint.refused);
    let asked = refused.iter().find(|name| {
        call.query.all(name).any(|text| !matches!(text, "" | "0" | "false" | "False"))
    });
    match asked {
        Some(name) => Err(ApiError::unsupported(format_args!("the option {name}"))),
        None => Ok(()),
    }
}

/// Whether Docker takes such a request.
pub(super) fn is_known(method: &Method, path: &[&str]) -> bool {
    endpoints().iter().any(|endpoint| endpoint.is(method, path))
}

/// What to say of a request that nobody takes: that its path is taken by other methods, or that there is no such path.
pub(super) fn refusal(path: &[&str]) -> ApiError {
    let fits = |endpoint: &&Endpoint| {
        endpoint.path.len() == path.len()
            && endpoint
                .path
                .iter()
                .zip(path)
                .all(|(word, found)| word.starts_with('{') || word == found)
    };
    let mut methods: Vec<&str> =
        endpoints().iter().filter(fits).map(|found| found.method).collect();
    methods.sort_unstable();
    methods.dedup();
    match methods.is_empty() {
        true => ApiError::page_not_found(),
        false => ApiError::other_method(&methods),
    }
}

fn endpoints() -> &'static [Endpoint] {
    static ENDPOINTS: OnceLock<Vec<Endpoint>> = OnceLock::new();
    ENDPOINTS.get_or_init(|| lines().map(Endpoint::read).collect())
}

/// The lines that tell of a request.
fn lines() -> impl Iterator<Item = &'static str> {
    TEXT.lines().filter(|line| !line.starts_with('#'))
}

impl Endpoint {
    fn read(line: &'static str) -> Self {
        let (request, rest) = line.split_once(" ? ").unwrap_or((line, ""));
        let (method, path) = request.trim_start_matches('!').split_once(' ').unwrap_or_default();
        let options = rest.split(" # ").next().unwrap_or_default().split(' ');
        Self {
            method,
            path: segments(path).collect(),
            refused: options.filter_map(|option| option.strip_prefix('!')).collect(),
        }
    }

    fn is(&self, method: &Method, path: &[&str]) -> bool {
        // An image's name may have several segments.
        let Some(more) = path.len().checked_sub(self.path.len()) else { return false };
        let mut rest = path.iter();
        self.method == method.as_str()
            && self.path.iter().all(|expected| match (*expected, rest.next()) {
                ("{name}", Some(_)) => {
                    rest = rest.as_slice()[more..].iter();
                    true
                }
                (word, Some(_)) if word.starts_with('{') => true,
                (word, Some(found)) => word == *found,
                (_, None) => false,
            })
            && rest.next().is_none()
    }
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(method: Method, path: &str) -> Option<String> {
        let path: Vec<_> = segments(path).collect();
        let line = lines().find(|line| Endpoint::read(line).is(&method, &path))?;
        Some(line.trim_start_matches('!').split(" ? ").next().unwrap_or_default().to_owned())
    }

    #[test]
    fn requests_are_found() {
        let check = |method, path, line: &str| {
            assert_eq!(found(method, path).as_deref(), Some(line).filter(|line| !line.is_empty()));
        };
        check(Method::GET, "/containers/json", "GET /containers/json");
        check(Method::GET, "/containers/x/json", "GET /containers/{id}/json");
        check(Method::DELETE, "/containers/x", "DELETE /containers/{id}");
        check(Method::POST, "/images/host:5000/a/b/push", "POST /images/{name}/push");
        check(Method::GET, "/images/json", "GET /images/json");
        check(Method::DELETE, "/images/a/b", "DELETE /images/{name}");
        check(Method::GET, "/birds", "");
    }

    #[test]
    fn paths_know_their_methods() {
        let check = |path: &str, expected: ApiError| {
            let path: Vec<_> = segments(path).collect();
            assert_eq!(refusal(&path), expected, "{path:?}");
        };
        check("/info", ApiError::other_method(&["GET"]));
        check("/volumes/x", ApiError::other_method(&["DELETE", "GET", "PUT"]));
        check("/birds", ApiError::page_not_found());
        check("/containers/x/birds", ApiError::page_not_found());
    }

    /// An option that is obeyed is one that some route reads by its name.
    #[test]
    fn every_option_is_read_or_marked() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/src/routes");
        let mut sources = String::new();
        for entry in std::fs::read_dir(directory).expect("the routes") {
            let path = entry.expect("a route").path();
            if path.extension().is_some_and(|kind| kind == "rs") {
                sources.push_str(&std::fs::read_to_string(path).expect("a source"));
            }
        }
        let mut unread = Vec::new();
        for line in lines().filter(|line| !line.starts_with('!')) {
            let options = line.split_once(" ? ").map_or("", |(_, rest)| rest);
            let options = options.split(" # ").next().unwrap_or_default().split(' ');
            let plain = options.filter(|name| !name.is_empty() && !name.starts_with(['!', '~']));
            for name in plain.filter(|name| *name != "filters") {
                if !sources.contains(&format!("\"{name}\"")) {
                    unread.push(format!("{name} of {line}"));
                }
            }
        }
        assert_eq!(unread, [""; 0]);
    }
}
