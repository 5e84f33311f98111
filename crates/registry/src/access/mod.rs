//! Who somebody is, and what that one may do.
//!
//! A caller comes with nothing, with a password, or with a token of the token service, which says itself what
//! it is good for. Rules say what users may do; they add up, and what none of them allows is refused.
//!
//! Invariant: nothing of a repository is looked at before it was decided that the caller may; a refusal says
//! nothing of what is there.

mod htpasswd;
mod jwt;
mod token;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use dhow_spec::{RepositoryPath, base64};
use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, HOST, HeaderMap, WWW_AUTHENTICATE};

use crate::config::{AccessConfig, RuleConfig};
use crate::http::call::Call;
use crate::http::error::{ApiError, Code};
use crate::pattern::Pattern;

pub(crate) use crate::config::Action;
use htpasswd::Htpasswd;
use token::TokenService;

/// What rules call everybody.
const ANONYMOUS: &str = "anonymous";
/// What rules call everybody with a password.
const ANY_USER: &str = "*";
const CATALOG_SCOPE: &str = "registry:catalog:*";
/// What is longer is no user's name or password.
const CREDENTIALS_BYTES_MAX: usize = 4096;

/// Where a request came from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) tls: bool,
}

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// The name, if it was proven.
    pub(crate) user: Option<String>,
    /// What a token is good for, by repository; rules decide if there is none.
    grants: Option<BTreeMap<String, Vec<Action>>>,
    /// The name by which the caller reached us.
    host: Option<String>,
    pub(crate) peer: Peer,
}

impl Caller {
    /// The name by which the caller reached us.
    pub(crate) fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }
}

/// What decides.
pub(crate) struct Access {
    /// Nothing was said about who may do what: everybody everything.
    open: bool,
    users: Option<Htpasswd>,
    rules: Vec<RuleConfig>,
    tokens: Option<TokenService>,
}

impl Access {
    pub(crate) fn new(config: Option<&AccessConfig>, secret: &[u8]) -> io::Result<Self> {
        let Some(config) = config else {
            return Ok(Self { open: true, users: None, rules: Vec::new(), tokens: None });
        };
        let users =
            config.htpasswd.as_ref().map(|path| Htpasswd::open(path.clone())).transpose()?;
        let wanted = config.token.enabled && users.is_some();
        let tokens = wanted.then(|| TokenService::new(&config.token, secret));
        Ok(Self { open: false, users, rules: config.rules.clone(), tokens })
    }

    /// Who asks; refuses a password or a token that is wrong.
    pub(crate) async fn identify(
        &self,
        headers: &HeaderMap,
        authority: Option<String>,
        peer: Peer,
    ) -> Result<Caller, ApiError> {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
        let host = host.or(authority).filter(|host| is_host(host));
        let mut caller = Caller { user: None, grants: None, host, peer };
        let Some(header) = headers.get(AUTHORIZATION).filter(|_| !self.open) else {
            return Ok(caller);
        };
        let header = header.to_str().unwrap_or_default();
        let (scheme, rest) = header.split_once(' ').unwrap_or((header, ""));
        if scheme.eq_ignore_ascii_case("bearer") {
            let claims = self.tokens.as_ref().and_then(|tokens| tokens.verify(rest.trim()));
            let Some(claims) = claims else {
                return Err(self.challenge(&caller, None, Some("invalid_token")));
            };
            caller.user = Some(claims.sub).filter(|user| !user.is_empty());
            caller.grants = Some(claims.grants);
            return Ok(caller);
        }
        let proven = match basic(rest).filter(|_| scheme.eq_ignore_ascii_case("basic")) {
            Some((user, password)) => self.knows(&user, password).await.then_some(user),
            None => None,
        };
        match proven {
            Some(user) => caller.user = Some(user),
            None => return Err(self.challenge(&caller, None, None)),
        }
        Ok(caller)
    }

    /// Whether this is that user's password.
    async fn knows(&self, user: &str, password: String) -> bool {
        match &self.users {
            Some(users) => users.verify(user, password).await,
            None => false,
        }
    }

    /// Lets somebody in at the door, or says how to get in.
    pub(crate) fn base(&self, call: &Call) -> Result<(), ApiError> {
        // Clients learn here, and only here, that there is a token service.
        let outside = call.caller.user.is_none() && call.caller.grants.is_none();
        if outside && !self.open && (self.tokens.is_some() || !self.has_anonymous()) {
            return Err(self.challenge(&call.caller, None, None));
        }
        Ok(())
    }

    /// Refuses who may not do that there.
    pub(crate) fn allow(
        &self,
        call: &Call,
        name: &RepositoryPath,
        action: Action,
    ) -> Result<(), ApiError> {
        let caller = &call.caller;
        let granted = match &caller.grants {
            Some(grants) => grants.get(name.as_str()).is_some_and(|may| may.contains(&action)),
            None => self.permits(caller.user.as_deref(), name, action),
        };
        if granted {
            return Ok(());
        }
        let scope = format!("repository:{name}:{}", wanted(action));
        // Somebody whose password is known gains nothing by giving it again.
        match (&caller.user, &caller.grants) {
            (Some(_), None) => Err(denied(name)),
            (user, Some(_)) if !self.permits(user.as_deref(), name, action) && user.is_some() => {
                Err(denied(name))
            }
            (_, Some(_)) => Err(self.challenge(caller, Some(&scope), Some("insufficient_scope"))),
            (None, None) => Err(self.challenge(caller, Some(&scope), None)),
        }
    }

    /// Refuses who may see no list of repositories.
    pub(crate) fn catalog(&self, call: &Call) -> Result<(), ApiError> {
        if self.open || call.caller.user.is_some() || self.has_anonymous() {
            return Ok(());
        }
        Err(self.challenge(&call.caller, Some(CATALOG_SCOPE), None))
    }

    /// Whether a blob of that repository may be mounted: clients ask for a token for the target alone.
    pub(crate) fn may_mount(&self, call: &Call, source: &RepositoryPath) -> bool {
        let caller = &call.caller;
        let granted = caller.grants.as_ref().and_then(|grants| grants.get(source.as_str()));
        granted.is_some_and(|may| may.contains(&Action::Pull))
            || self.permits(caller.user.as_deref(), source, Action::Pull)
    }

    /// Whether the repository is in the caller's lists: those tell what the user may read, not the token.
    pub(crate) fn may_list(&self, call: &Call, name: &RepositoryPath) -> bool {
        self.permits(call.caller.user.as_deref(), name, Action::Pull)
    }

    /// Whether somebody may look around with a browser, or how.
    pub(crate) fn page(&self, call: &Call) -> Result<(), ApiError> {
        if self.open || call.caller.user.is_some() || self.has_anonymous() {
            return Ok(());
        }
        Err(unauthorized().with_header(WWW_AUTHENTICATE, BASIC))
    }

    /// What the rules say.
    fn permits(&self, user: Option<&str>, name: &RepositoryPath, action: Action) -> bool {
        let is_meant = |meant: &String| match meant.as_str() {
            ANONYMOUS => true,
            ANY_USER => user.is_some(),
            meant => user == Some(meant),
        };
        self.open
            || self.rules.iter().any(|rule| {
                rule.allow.contains(&action)
                    && rule.users.iter().any(is_meant)
                    && Pattern::any(&rule.repositories, name)
            })
    }

    fn has_anonymous(&self) -> bool {
        let reads = |rule: &RuleConfig| {
            rule.allow.contains(&Action::Pull) && rule.users.iter().any(|user| user == ANONYMOUS)
        };
        self.open || self.rules.iter().any(reads)
    }

    fn challenge(&self, caller: &Caller, scope: Option<&str>, error: Option<&str>) -> ApiError {
        let text = match &self.tokens {
            Some(tokens) => tokens.challenge(caller, scope, error),
            None => BASIC.to_owned(),
        };
        unauthorized().with_header(WWW_AUTHENTICATE, &text)
    }
}

const BASIC: &str = "Basic realm=\"dhow registry\", charset=\"UTF-8\"";

fn unauthorized() -> ApiError {
    ApiError::new(Code::Unauthorized, "authentication required")
}

fn denied(name: &RepositoryPath) -> ApiError {
    ApiError::new(Code::Denied, "access to the repository is denied")
        .with_status(StatusCode::FORBIDDEN)
        .about("name", name)
}

/// What a client should ask a token for to get further.
const fn wanted(action: Action) -> &'static str {
    match action {
        Action::Pull => "pull",
        Action::Push => "pull,push",
        Action::Delete => "pull,push,delete",
    }
}

/// User and password of a header.
fn basic(text: &str) -> Option<(String, String)> {
    let fits = text.len() <= CREDENTIALS_BYTES_MAX;
    let bytes = fits.then(|| base64::decode(text.trim()))??;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// A name of a host that can stand in a header of ours.
fn is_host(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    !text.is_empty() && text.len() <= 263 && text.bytes().all(plain)
}
