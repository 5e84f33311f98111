//! What a token is to allow.

use std::collections::{BTreeMap, BTreeSet};

use dhow_spec::Repository;

/// Resources and what is to be done with them; equal sets are equal whatever their order was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Scopes(BTreeMap<String, BTreeSet<String>>);

impl Scopes {
    pub(crate) fn none() -> Self {
        Self::default()
    }

    pub(crate) fn pull(path: &str) -> Self {
        Self::none().and(&format!("repository:{path}:pull"))
    }

    pub(crate) fn push(path: &str) -> Self {
        Self::none().and(&format!("repository:{path}:pull,push"))
    }

    pub(crate) fn delete(path: &str) -> Self {
        Self::none().and(&format!("repository:{path}:delete,pull"))
    }

    pub(crate) fn catalog() -> Self {
        Self::none().and("registry:catalog:*")
    }

    /// And to read from another repository.
    pub(crate) fn and_pull(self, other: &Repository) -> Self {
        self.and(&format!("repository:{}:pull", other.path()))
    }

    /// And what this text says (`type:name:action,action`, several separated by spaces); names may
    /// hold colons.
    pub(crate) fn and(mut self, text: &str) -> Self {
        for scope in text.split_ascii_whitespace() {
            if let Some((resource, actions)) = scope.rsplit_once(':') {
                let known = self.0.entry(resource.to_owned()).or_default();
                known.extend(actions.split(',').map(str::to_owned));
            }
        }
        self
    }

    /// Each as text.
    pub(crate) fn texts(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(resource, actions)| {
            let actions: Vec<&str> = actions.iter().map(String::as_str).collect();
            format!("{resource}:{}", actions.join(","))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_merge() {
        let check = |scopes: Scopes, expected: &[&str]| {
            assert_eq!(scopes.texts().collect::<Vec<_>>(), expected);
        };
        check(Scopes::push("a/b").and("repository:a/b:pull"), &["repository:a/b:pull,push"]);
        check(
            Scopes::pull("a").and("x nonsense: repository:h:1/a:pull"),
            &["nonsense:", "repository:a:pull", "repository:h:1/a:pull"],
        );
        check(Scopes::none(), &[]);
        assert_eq!(Scopes::none().and("r:x:b,a"), Scopes::none().and("r:x:a r:x:b"));
    }
}
