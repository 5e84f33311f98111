//! The token service: Docker's token flow, and the challenges that lead to it.
//!
//! A client asks without a token, is told where to get one and for what, gives name and password there, and
//! comes back. Tokens are good for minutes, so that none is ever taken back.
//!
//! Invariant: a token is good for no more than the rules allow its user when it is made.

use std::time::{SystemTime, UNIX_EPOCH};

use dhow_spec::RepositoryPath;
use hyper::header::{CACHE_CONTROL, WWW_AUTHENTICATE};
use hyper::{Method, StatusCode};
use ring::hmac;
use serde_json::json;

use super::jwt::{self, Claims, Entry, Payload};
use super::{Access, BASIC, Caller, unauthorized};
use crate::app::App;
use crate::config::{Action, Span, TokenConfig};
use crate::http::call::Call;
use crate::http::error::{ApiError, Code};
use crate::http::query::Query;
use crate::http::reply::Reply;

/// Scopes of one token; a push that mounts asks for two or three.
const SCOPES_MAX: usize = 32;
const FORM_BYTES_MAX: usize = 64 << 10;

/// Gives tokens, and knows its own.
pub(super) struct TokenService {
    key: hmac::Key,
    realm: Option<String>,
    service: String,
    lifetime: Span,
}

impl TokenService {
    pub(super) fn new(config: &TokenConfig, secret: &[u8]) -> Self {
        let TokenConfig { realm, service, lifetime, .. } = config.clone();
        // The secret is the uploads' too: each use has a key of its own.
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let key = hmac::sign(&secret, b"tokens");
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()), realm, service, lifetime }
    }

    /// What a token says, if it is one of ours and good now.
    pub(super) fn verify(&self, token: &str) -> Option<Claims> {
        jwt::verify(&self.key, &self.service, now_s(), token)
    }

    /// Where to get a token, and for what.
    pub(super) fn challenge(
        &self,
        caller: &Caller,
        scope: Option<&str>,
        error: Option<&str>,
    ) -> String {
        let realm = self.realm.clone().unwrap_or_else(|| {
            let scheme = if caller.peer.tls { "https" } else { "http" };
            let host = caller.host.as_deref().unwrap_or("localhost");
            format!("{scheme}://{host}/token")
        });
        let mut text = format!("Bearer realm=\"{realm}\",service=\"{}\"", self.service);
        for (name, value) in [("scope", scope), ("error", error)] {
            if let Some(value) = value {
                text.push_str(&format!(",{name}=\"{value}\""));
            }
        }
        text
    }

    fn sign(&self, user: Option<&str>, access: Vec<Entry>) -> Result<Reply, ApiError> {
        let (now, jti) = (now_s(), crate::secret::random_name().map_err(ApiError::internal)?);
        let lifetime = self.lifetime.as_ms() / 1000;
        let sub = user.unwrap_or_default().to_owned();
        let (iss, aud) = (self.service.clone(), self.service.clone());
        let payload =
            Payload { iss, sub, aud, exp: now + lifetime, nbf: now - 5, iat: now, jti, access };
        let token = jwt::sign(&self.key, &payload);
        let answer = json!({ "token": token, "access_token": token, "expires_in": lifetime });
        Ok(Reply::json(&answer).with(CACHE_CONTROL, "no-store"))
    }
}

impl Access {
    /// Answers who wants a token: `GET` with a password in the header, or the form of OAuth 2.
    pub(crate) async fn token(&self, app: &App, mut call: Call) -> Result<Reply, ApiError> {
        let Some(tokens) = &self.tokens else {
            return Err(ApiError::new(Code::Unsupported, "there is no token service")
                .with_status(StatusCode::NOT_FOUND));
        };
        if call.caller.grants.is_some() {
            // A token is no password.
            return Err(unauthorized().with_header(WWW_AUTHENTICATE, BASIC));
        }
        let (user, scopes) = match call.method {
            Method::GET => (call.caller.user.clone(), call.query.clone()),
            Method::POST => {
                let form = call.read_all(FORM_BYTES_MAX).await?;
                let form = Query::parse(&String::from_utf8_lossy(&form));
                (self.form_user(&call, &form).await?, form)
            }
            _ => return Err(ApiError::new(Code::Unsupported, "GET or POST")),
        };
        let words = scopes.all("scope").flat_map(str::split_whitespace);
        let access = words.take(SCOPES_MAX).filter_map(|word| self.grant(user.as_deref(), word));
        let access: Vec<_> = access.collect();
        if let (Some(user), false) = (&user, access.is_empty()) {
            let names: Vec<_> = access.iter().map(|entry| entry.name.as_str()).collect();
            app.log.say(&format!("token for {user:?}: {}", names.join(" ")));
        }
        tokens.sign(user.as_deref(), access)
    }

    /// The user that a form proves.
    async fn form_user(&self, call: &Call, form: &Query) -> Result<Option<String>, ApiError> {
        if form.get("grant_type") != Some("password") {
            return Err(ApiError::new(Code::Unsupported, "only the grant \"password\" is known")
                .with_status(StatusCode::BAD_REQUEST));
        }
        let (Some(user), Some(password)) = (form.get("username"), form.get("password")) else {
            return Ok(call.caller.user.clone());
        };
        match self.knows(user, password.to_owned()).await {
            true => Ok(Some(user.to_owned())),
            false => Err(unauthorized().with_header(WWW_AUTHENTICATE, BASIC)),
        }
    }

    /// What of a scope the user is given; nothing that is not asked for.
    fn grant(&self, user: Option<&str>, scope: &str) -> Option<Entry> {
        let (kind, rest) = scope.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        // `repository(plugin)` is how Docker asks for plugins.
        let kind = kind.split_once('(').map_or(kind, |(kind, _)| kind);
        let path = RepositoryPath::parse(name).filter(|_| kind == "repository")?;
        let asked = |action: Action, word: &str| {
            actions.split(',').any(|asked| asked == word || asked == "*")
                && self.permits(user, &path, action)
        };
        let given = ["pull", "push", "delete"]
            .into_iter()
            .filter(|word| jwt::action(word).is_some_and(|action| asked(action, word)));
        let actions: Vec<_> = given.map(str::to_owned).collect();
        let entry =
            || Entry { kind: kind.to_owned(), name: name.to_owned(), actions: actions.clone() };
        (!actions.is_empty()).then(entry)
    }
}

/// Tokens are dated by the clock that all machines agree on.
fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
