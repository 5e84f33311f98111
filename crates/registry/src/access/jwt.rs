//! Tokens: JSON between dots with a keyed hash behind it (RFC 7519, HS256).
//!
//! Invariant: one algorithm, ours; what a token says of its algorithm must be that. Nothing of a token is
//! believed before its hash was compared in constant time.

use std::collections::BTreeMap;

use dhow_spec::base64;
use ring::hmac;
use serde::{Deserialize, Serialize};

use crate::config::Action;

const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;
/// A token with more is none of ours.
const BYTES_MAX: usize = 16 << 10;

/// What a token says, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claims {
    /// Who it was given to; empty for anybody.
    pub(crate) sub: String,
    /// What it is good for, by repository.
    pub(crate) grants: BTreeMap<String, Vec<Action>>,
}

/// What is written into one.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Payload {
    pub(super) iss: String,
    pub(super) sub: String,
    pub(super) aud: String,
    pub(super) exp: i64,
    pub(super) nbf: i64,
    pub(super) iat: i64,
    pub(super) jti: String,
    pub(super) access: Vec<Entry>,
}

/// One thing that it is good for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) actions: Vec<String>,
}

/// Puts the hash behind it.
pub(super) fn sign(key: &hmac::Key, payload: &Payload) -> String {
    let json = serde_json::to_string(payload).unwrap_or_default();
    let text = format!("{}.{}", encode(HEADER.as_bytes()), encode(json.as_bytes()));
    let hash = hmac::sign(key, text.as_bytes());
    format!("{text}.{}", encode(hash.as_ref()))
}

/// What a token says, if it is ours, for us, and good at that time.
pub(super) fn verify(key: &hmac::Key, audience: &str, now_s: i64, token: &str) -> Option<Claims> {
    if token.len() > BYTES_MAX {
        return None;
    }
    let (text, hash) = token.rsplit_once('.')?;
    hmac::verify(key, text.as_bytes(), &base64::decode(hash)?).ok()?;
    let (header, payload) = text.split_once('.')?;
    let payload: Payload = serde_json::from_slice(&base64::decode(payload)?).ok()?;
    let ours = header == encode(HEADER.as_bytes()) && payload.aud == audience;
    let good = ours && payload.nbf <= now_s && now_s < payload.exp;
    good.then(|| Claims { sub: payload.sub, grants: grants(payload.access) })
}

fn grants(access: Vec<Entry>) -> BTreeMap<String, Vec<Action>> {
    let repositories = access.into_iter().filter(|entry| entry.kind == "repository");
    repositories
        .map(|entry| {
            let actions = entry.actions.iter().filter_map(|word| action(word)).collect();
            (entry.name, actions)
        })
        .collect()
}

/// The action that a scope means by a word.
pub(super) fn action(word: &str) -> Option<Action> {
    match word {
        "pull" => Some(Action::Pull),
        "push" => Some(Action::Push),
        "delete" => Some(Action::Delete),
        _ => None,
    }
}

fn encode(bytes: &[u8]) -> String {
    base64::encode_url(bytes).trim_end_matches('=').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes())
    }

    fn payload() -> Payload {
        let entry = |kind: &str| Entry {
            kind: kind.to_owned(),
            name: "a/b".to_owned(),
            actions: vec!["pull".to_owned(), "fly".to_owned()],
        };
        Payload {
            iss: "r".to_owned(),
            sub: "ann".to_owned(),
            aud: "r".to_owned(),
            exp: 200,
            nbf: 100,
            iat: 100,
            jti: "1".to_owned(),
            access: vec![entry("repository"), entry("registry")],
        }
    }

    #[test]
    fn a_token_says_what_it_was_given_for() {
        let token = sign(&key("k"), &payload());
        let claims = verify(&key("k"), "r", 150, &token).expect("ours");
        assert_eq!(claims.sub, "ann");
        assert_eq!(claims.grants, BTreeMap::from([("a/b".to_owned(), vec![Action::Pull])]));
    }

    #[test]
    fn forged_tokens() {
        let token = sign(&key("k"), &payload());
        let none =
            |token: &str, at: i64| assert_eq!(verify(&key("k"), "r", at, token), None, "{token}");
        none(&token, 99);
        none(&token, 200);
        none(&sign(&key("other"), &payload()), 150);
        none(&sign(&key("k"), &Payload { aud: "x".to_owned(), ..payload() }), 150);
        // The algorithm `none`, and another header under a good hash.
        let (_, rest) = token.split_once('.').expect("dots");
        let (body, hash) = rest.split_once('.').expect("dots");
        let unsigned = encode(br#"{"alg":"none","typ":"JWT"}"#);
        none(&format!("{unsigned}.{body}."), 150);
        none(&format!("{unsigned}.{body}.{hash}"), 150);
        let text = format!("{unsigned}.{body}");
        let signed = hmac::sign(&key("k"), text.as_bytes());
        none(&format!("{text}.{}", encode(signed.as_ref())), 150);
        for wrong in ["", ".", "..", "a.b.c", &token[1..], &token[..token.len() - 2]] {
            none(wrong, 150);
        }
        none(&"x".repeat(BYTES_MAX + 1), 150);
    }
}
