//! Tokens: fetched from the server that a registry names, kept until they end, shared by all who
//! wait for the same.
//!
//! Invariant: of many who want the same token at once, one fetches it; a refusal is shared as well,
//! so that a wrong password is tried once.
//! Absent on purpose: reading what a token says; that is between those two servers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use tokio::time::Instant;

use super::Scopes;
use crate::challenge::Challenge;
use crate::credentials::Credentials;
use crate::said::Said;
use crate::url::{Url, escape};

/// What the field's registries give when they do not say how long.
const LIFE_MIN: Duration = Duration::from_secs(60);
const LIFE_MAX: Duration = Duration::from_secs(24 * 3600);
/// A token that ends on the way is of no use.
const MARGIN: Duration = Duration::from_secs(10);
const TOKENS_MAX: usize = 1024;

/// A registry's word on where tokens come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Bearer {
    /// The address of the token server, as text.
    pub(crate) realm: String,
    pub(crate) service: Option<String>,
}

/// What a token is for: by whom, from whom, to do what.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct TokenKey {
    pub(crate) bearer: Bearer,
    pub(crate) scopes: Scopes,
    pub(crate) credentials: Option<Credentials>,
}

/// A token server's answer.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) token: String,
    life: Duration,
    /// For later logins, if one was asked for.
    pub(crate) identity: Option<String>,
}

/// What is known of one key.
#[derive(Debug, Default)]
pub(crate) enum Slot {
    #[default]
    Empty,
    Token {
        text: String,
        until: Instant,
    },
    Refused {
        said: Said,
        at: Instant,
    },
}

/// All tokens.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    slots: Mutex<HashMap<TokenKey, Arc<tokio::sync::Mutex<Slot>>>>,
}

/// How a token is asked for.
#[derive(Debug)]
pub(crate) struct Form {
    pub(crate) url: Url,
    /// A form to post; otherwise the address says everything.
    pub(crate) body: Option<Bytes>,
    /// For the header `Authorization`.
    pub(crate) authorization: Option<String>,
}

#[derive(Deserialize)]
struct GrantBody {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    refresh_token: Option<String>,
    #[serde(default)]
    expires_in: Option<f64>,
}

impl Bearer {
    /// From a challenge that has all that is needed.
    pub(crate) fn of(challenge: &Challenge) -> Option<Self> {
        let realm = challenge.get("realm")?;
        Url::parse(realm)?;
        let service = challenge.get("service").map(str::to_owned);
        Some(Self { realm: realm.to_owned(), service })
    }

    pub(crate) fn url(&self) -> Url {
        Url::parse(&self.realm).expect("looked at when it was made")
    }

    /// How to ask for a token: an identity token is posted, a password goes into the header, as
    /// Docker does.
    pub(crate) fn form(
        &self,
        scopes: &Scopes,
        credentials: Option<&Credentials>,
        client: &str,
        offline: bool,
    ) -> Form {
        let mut members: Vec<(&str, String)> = Vec::new();
        members.extend(self.service.clone().map(|service| ("service", service)));
        let mut authorization = None;
        match credentials {
            Some(Credentials::Identity { token }) => {
                let scope: Vec<String> = scopes.texts().collect();
                members.push(("scope", scope.join(" ")));
                members.push(("client_id", client.to_owned()));
                members.push(("grant_type", "refresh_token".to_owned()));
                members.push(("refresh_token", token.clone()));
                let pairs: Vec<String> =
                    members.iter().map(|(key, value)| format!("{key}={}", escape(value))).collect();
                let body = Some(Bytes::from(pairs.join("&")));
                return Form { url: self.url(), body, authorization };
            }
            Some(credentials @ Credentials::Password { username, .. }) => {
                members.push(("account", username.clone()));
                authorization = credentials.header();
            }
            Some(Credentials::Registry { .. }) | None => {}
        }
        members.extend(scopes.texts().map(|text| ("scope", text)));
        if offline {
            members.push(("offline_token", "true".to_owned()));
        }
        members.push(("client_id", client.to_owned()));
        let url = members.iter().fold(self.url(), |url, (key, value)| url.with_query(key, value));
        Form { url, body: None, authorization }
    }
}

impl Grant {
    /// Reads the answer; `None` if it holds no token that a header can carry.
    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        let body: GrantBody = serde_json::from_slice(body).ok()?;
        let usable =
            |text: &String| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        let token = body.token.filter(usable).or_else(|| body.access_token.filter(usable))?;
        let seconds = body.expires_in.unwrap_or_default().clamp(0.0, LIFE_MAX.as_secs_f64());
        // Docker's own floor: some servers say a second, or nothing.
        let life = Duration::from_secs_f64(seconds).max(LIFE_MIN);
        Some(Self { token, life, identity: body.refresh_token.filter(usable) })
    }

    pub(crate) fn into_slot(self) -> Slot {
        Slot::Token { text: self.token, until: Instant::now() + self.life.saturating_sub(MARGIN) }
    }
}

impl Tokens {
    /// The place of a key's token; locked by whoever fetches it.
    pub(crate) fn slot(&self, key: TokenKey) -> Arc<tokio::sync::Mutex<Slot>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= TOKENS_MAX {
            slots.retain(|_, slot| slot.try_lock().map_or(true, |slot| slot.is_fresh()));
        }
        slots.entry(key).or_default().clone()
    }
}

impl Slot {
    fn is_fresh(&self) -> bool {
        matches!(self, Self::Token { until, .. } if *until > Instant::now())
    }

    /// A token that is still good, and not the one that was just refused.
    pub(crate) fn usable(&self, stale: Option<&str>) -> Option<&str> {
        match self {
            Self::Token { text, .. } if self.is_fresh() && stale != Some(text) => Some(text),
            _ => None,
        }
    }

    /// A refusal that came while we waited for it.
    pub(crate) fn refused_since(&self, began: Instant) -> Option<&Said> {
        match self {
            Self::Refused { said, at } if *at >= began => Some(said),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer() -> Bearer {
        let header = r#"Bearer realm="https://auth.example/token?x=y",service="reg istry""#;
        Bearer::of(&Challenge::parse_all(header)[0]).expect("a bearer")
    }

    #[test]
    fn forms() {
        let scopes = Scopes::push("a/b").and("repository:c:pull");
        let form = bearer().form(&scopes, None, "dhow", false);
        let expected = "https://auth.example/token?x=y&service=reg%20istry\
                        &scope=repository%3Aa%2Fb%3Apull%2Cpush&scope=repository%3Ac%3Apull\
                        &client_id=dhow";
        assert_eq!(
            (form.url.to_string().as_str(), form.body, form.authorization),
            (expected, None, None)
        );

        let password = Credentials::Password { username: "u".into(), password: "p".into() };
        let form = bearer().form(&Scopes::none(), Some(&password), "dhow", true);
        let expected = "https://auth.example/token?x=y&service=reg%20istry&account=u\
                        &offline_token=true&client_id=dhow";
        assert_eq!(form.url.to_string(), expected);
        assert_eq!(form.authorization.as_deref(), Some("Basic dTpw"));

        let identity = Credentials::Identity { token: "t+t".into() };
        let form = bearer().form(&scopes, Some(&identity), "dhow", false);
        let body = "service=reg%20istry&scope=repository%3Aa%2Fb%3Apull%2Cpush%20\
                    repository%3Ac%3Apull&client_id=dhow&grant_type=refresh_token\
                    &refresh_token=t%2Bt";
        assert_eq!(form.body.as_deref(), Some(body.as_bytes()));
        assert_eq!(form.authorization, None);
    }

    #[test]
    fn grants() {
        let check = |body: &str, expected: Option<(&str, u64)>| {
            let grant = Grant::parse(body.as_bytes());
            let read = grant.as_ref().map(|grant| (grant.token.as_str(), grant.life.as_secs()));
            assert_eq!(read, expected, "{body}");
        };
        check(r#"{"token":"t","expires_in":300}"#, Some(("t", 300)));
        check(r#"{"access_token":"a","token":""}"#, Some(("a", 60)));
        check(r#"{"token":"t","expires_in":1}"#, Some(("t", 60)));
        check(r#"{"token":"t","expires_in":1e300}"#, Some(("t", 86400)));
        check(r#"{"token":"t","expires_in":-5}"#, Some(("t", 60)));
        check(r#"{"token":"a\r\nX: y"}"#, None);
        check("{}", None);
        check("", None);
    }

    #[test]
    fn realms_must_be_addresses() {
        for header in ["Bearer service=x", "Bearer realm=token", "Bearer realm=\"file:///x\""] {
            assert_eq!(Bearer::of(&Challenge::parse_all(header)[0]), None, "{header}");
        }
    }
}
