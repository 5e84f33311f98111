//! One request to a registry as it should be made: with the right to make it, along its redirects,
//! again where that helps.
//!
//! Invariant: what says who we are goes to the origin it is for and nowhere else; nothing but
//! content that is verified anyway is taken from a redirect that leaves TLS.

use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue, LOCATION, WWW_AUTHENTICATE};
use hyper::{Method, StatusCode};
use tokio::time::Instant;

use crate::auth::{Bearer, Form, Grant, Scopes, Slot, TokenKey};
use crate::challenge::Challenge;
use crate::client::{Client, Wanted};
use crate::credentials::Credentials;
use crate::error::{Fault, ProtocolFault};
use crate::http::{Answer, OutBody, Request, Whole};
use crate::observer::{Event, Observer};
use crate::retry::Attempts;
use crate::said::{ApiError, Said, tidy, warnings};
use crate::site::Site;
use crate::url::Scheme;

const REDIRECTS_MAX: usize = 10;
const TOKEN_BYTES_MAX: usize = 1 << 20;
/// How we introduce ourselves to token servers.
pub(crate) const CLIENT_ID: &str = "dhow";

/// A request, whom it is for, and what it needs.
#[derive(Debug, Clone)]
pub(crate) struct Call<'a> {
    pub(crate) site: &'a Site,
    pub(crate) request: Request,
    pub(crate) body: Bytes,
    pub(crate) scopes: Scopes,
    /// Whether the answer is verified by a digest that we know from elsewhere.
    pub(crate) is_verified: bool,
    /// Longer than usual, for what takes a registry long.
    pub(crate) patience: Option<Duration>,
}

impl<'a> Call<'a> {
    pub(crate) fn new(site: &'a Site, request: Request, scopes: Scopes) -> Self {
        let (body, patience) = (Bytes::new(), None);
        Self { site, request, body, scopes, is_verified: false, patience }
    }

    /// The answer proves itself.
    pub(crate) fn verified(mut self) -> Self {
        self.is_verified = true;
        self
    }
}

impl Client {
    pub(crate) fn attempts(&self, site: &Site) -> Attempts<'_> {
        let limits = &self.shared.config.limits;
        if site.is_mirror { Attempts::impatient(limits) } else { Attempts::new(limits) }
    }

    /// Makes a request. The answer may be a refusal, but none that says who we are not, or that may
    /// be another a moment later.
    pub(crate) async fn exchange(
        &self,
        call: &Call<'_>,
        attempts: &mut Attempts<'_>,
        observer: &dyn Observer,
    ) -> Result<Answer, Fault> {
        loop {
            let answer = match self.authorized(call).await {
                Ok(answer) if is_trouble(answer.status) => Err(answer.into_fault().await),
                answer => answer,
            };
            match answer {
                Ok(answer) => {
                    for text in warnings(&answer.headers) {
                        observer.event(&Event::Warning { host: &answer.host(), text: &text });
                    }
                    return Ok(answer);
                }
                Err(fault) => attempts.again(&call.site.host(), fault, observer).await?,
            }
        }
    }

    /// Makes a request whose answer is small, with all of it.
    pub(crate) async fn exchange_whole(
        &self,
        call: &Call<'_>,
        max: usize,
        observer: &dyn Observer,
    ) -> Result<Whole, Fault> {
        let mut attempts = self.attempts(call.site);
        loop {
            match self.exchange(call, &mut attempts, observer).await?.whole(max).await {
                Ok(whole) => return Ok(whole),
                Err(fault) => attempts.again(&call.site.host(), fault, observer).await?,
            }
        }
    }

    /// With the right to make the request, got on the way if need be.
    async fn authorized(&self, call: &Call<'_>) -> Result<Answer, Fault> {
        let mut scopes = call.scopes.clone();
        let mut shown = self.authorization(call.site, &scopes, None).await?;
        let mut rounds = 0;
        loop {
            let answer = self.follow(call, shown.as_ref()).await?;
            if answer.status != StatusCode::UNAUTHORIZED {
                return Ok(answer);
            }
            rounds += 1;
            let extra = self.learn(call.site, &answer).filter(|_| rounds <= 2);
            // Read to its end first: while it is open it takes a place at the host, and the token
            // server may be the same host.
            let refused = answer.into_fault().await;
            let Some(extra) = extra else {
                return Err(refusal(refused, shown.as_ref()));
            };
            let wider = scopes.clone().and(&extra);
            let next = self.authorization(call.site, &wider, shown.as_ref()).await?;
            // Showing the same thing again, or nothing, changes nothing.
            if next.is_none() || next == shown && wider == scopes {
                return Err(refusal(refused, shown.as_ref()));
            }
            (shown, scopes) = (next, wider);
        }
    }

    /// Remembers what a registry wants to see; gives the scope that it asks for. `None` if it asks
    /// for nothing that we could show, or if it is not the registry that asks.
    pub(crate) fn learn(&self, site: &Site, answer: &Answer) -> Option<String> {
        if answer.url.origin != site.origin {
            return None;
        }
        let headers = answer.headers.get_all(WWW_AUTHENTICATE).iter();
        let texts = headers.filter_map(|value| value.to_str().ok());
        let challenges: Vec<Challenge> = texts.flat_map(Challenge::parse_all).collect();
        let of = |scheme: &'static str| {
            challenges.iter().filter(move |challenge| challenge.scheme == scheme)
        };
        let bearer = of("bearer").find_map(|challenge| Some((challenge, Bearer::of(challenge)?)));
        let (wanted, scope) = match bearer {
            Some((challenge, bearer)) => {
                (Wanted::Bearer(bearer), challenge.get("scope").unwrap_or_default().to_owned())
            }
            None => (of("basic").next().map(|_| Wanted::Basic)?, String::new()),
        };
        let mut wants = self.shared.wants.lock().unwrap_or_else(PoisonError::into_inner);
        wants.insert(site.origin.clone(), wanted);
        Some(scope)
    }

    /// What a registry wants to see, if it said so.
    pub(crate) fn wanted(&self, site: &Site) -> Option<Wanted> {
        let wants = self.shared.wants.lock().unwrap_or_else(PoisonError::into_inner);
        wants.get(&site.origin).cloned()
    }

    /// Makes a request as nobody, again where that helps; the answer may well be that nobody may.
    pub(crate) async fn exchange_as_nobody(&self, call: &Call<'_>) -> Result<Answer, Fault> {
        let mut attempts = self.attempts(call.site);
        loop {
            let answer = match self.follow(call, None).await {
                Ok(answer) if is_trouble(answer.status) => Err(answer.into_fault().await),
                answer => answer,
            };
            match answer {
                Ok(answer) => return Ok(answer),
                Err(fault) => attempts.again(&call.site.host(), fault, &()).await?,
            }
        }
    }

    /// What to show a registry, as far as it is known; `refused` is what it just did not accept.
    pub(crate) async fn authorization(
        &self,
        site: &Site,
        scopes: &Scopes,
        refused: Option<&HeaderValue>,
    ) -> Result<Option<HeaderValue>, Fault> {
        let credentials = self.keyring.get(&site.name);
        if let Some(token @ Credentials::Registry { .. }) = credentials {
            return token.header().map(|text| secret(&text, site)).transpose();
        }
        match self.wanted(site) {
            None => Ok(None),
            Some(Wanted::Basic) => {
                let header = credentials.and_then(Credentials::header);
                header.map(|text| secret(&text, site)).transpose()
            }
            Some(Wanted::Bearer(bearer)) => {
                let stale = refused.and_then(|refused| refused.to_str().ok());
                let stale = stale.and_then(|text| text.strip_prefix("Bearer "));
                let token = self.token(site, bearer, scopes.clone(), stale).await?;
                secret(&format!("Bearer {token}"), site).map(Some)
            }
        }
    }

    /// A token, from memory or from its server.
    async fn token(
        &self,
        site: &Site,
        bearer: Bearer,
        scopes: Scopes,
        stale: Option<&str>,
    ) -> Result<String, Fault> {
        let began = Instant::now();
        let credentials = self.keyring.get(&site.name).cloned();
        let key = TokenKey { bearer: bearer.clone(), scopes, credentials };
        let slot = self.shared.tokens.slot(key.clone());
        let mut slot = slot.lock().await;
        if let Some(token) = slot.usable(stale) {
            return Ok(token.to_owned());
        }
        if let Some(said) = slot.refused_since(began) {
            return Err(Fault::Unauthorized { said: said.clone() });
        }
        let form = bearer.form(&key.scopes, key.credentials.as_ref(), CLIENT_ID, false);
        match self.grant(site, form).await {
            Ok(grant) => {
                let token = grant.token.clone();
                *slot = grant.into_slot();
                Ok(token)
            }
            Err(fault) => {
                if let Fault::Unauthorized { said } = &fault {
                    *slot = Slot::Refused { said: said.clone(), at: Instant::now() };
                }
                Err(fault)
            }
        }
    }

    /// Asks a token server.
    pub(crate) async fn grant(&self, site: &Site, form: Form) -> Result<Grant, Fault> {
        let is_secret = form.authorization.is_some() || form.body.is_some();
        if is_secret
            && form.url.origin.scheme == Scheme::Http
            && site.origin.scheme == Scheme::Https
        {
            let text = form.url.origin.to_string();
            return Err(Fault::protocol(&site.host(), ProtocolFault::PlainRealm { text }));
        }
        let server = Site::upstream(&form.url.origin.authority(), form.url.origin.clone());
        let shown = form.authorization.map(|text| secret(&text, site)).transpose()?;
        let request = match &form.body {
            None => Request::get(form.url),
            Some(_) => Request::new(Method::POST, form.url)
                .with(CONTENT_TYPE, "application/x-www-form-urlencoded"),
        };
        let mut call = Call::new(&server, request, Scopes::none());
        call.body = form.body.unwrap_or_default();
        let mut attempts = self.attempts(site);
        let whole = loop {
            let answer = match self.follow(&call, shown.as_ref()).await {
                Ok(answer) if is_trouble(answer.status) => Err(answer.into_fault().await),
                Ok(answer) => answer.whole(TOKEN_BYTES_MAX).await,
                Err(fault) => Err(fault),
            };
            match answer {
                Ok(whole) => break whole,
                Err(fault) => attempts.again(&server.host(), fault, &()).await?,
            }
        };
        match whole.status.as_u16() {
            200..=299 => Grant::parse(&whole.body)
                .ok_or_else(|| Fault::protocol(&whole.host(), ProtocolFault::Token)),
            400 | 401 => Err(Fault::Unauthorized { said: Said::parse(&whole.body) }),
            _ => Err(whole.fault()),
        }
    }

    /// Along redirects, leaving behind what is not for others.
    async fn follow(
        &self,
        call: &Call<'_>,
        authorization: Option<&HeaderValue>,
    ) -> Result<Answer, Fault> {
        let mut request = call.request.clone();
        let own = request.url.origin == call.site.origin;
        let origin = request.url.origin.clone();
        let mut redirects = 0;
        loop {
            let shown = authorization.filter(|_| own && request.url.origin == origin);
            let body = OutBody::Whole(call.body.clone());
            let answer = self.shared.transport.send(&request, shown, body, call.patience).await?;
            if !leads_on(answer.status, &request.method) {
                return Ok(answer);
            }
            let host = answer.host();
            let location = answer.header(&LOCATION).unwrap_or_default();
            let (next, text) = (request.url.join(location), tidy(location));
            let Some(next) = next else {
                return Err(Fault::protocol(&host, ProtocolFault::Location { text }));
            };
            let leaves_tls =
                request.url.origin.scheme == Scheme::Https && next.origin.scheme == Scheme::Http;
            if leaves_tls && !call.is_verified {
                let text = next.origin.to_string();
                return Err(Fault::protocol(&host, ProtocolFault::Downgrade { text }));
            }
            // A body may hold what is for nobody else.
            if !call.body.is_empty() && next.origin != origin {
                return Err(Fault::protocol(&host, ProtocolFault::Location { text }));
            }
            redirects += 1;
            if redirects > REDIRECTS_MAX {
                return Err(Fault::protocol(&host, ProtocolFault::Redirects));
            }
            answer.discard().await;
            request.url = next;
        }
    }
}

/// What an answer means that does not take what we showed: a token that a server gave us for
/// exactly this, and that is refused, means that we may not, or that it is not there.
fn refusal(fault: Fault, shown: Option<&HeaderValue>) -> Fault {
    let by_token = shown.is_some_and(|shown| shown.as_bytes().starts_with(b"Bearer "));
    match fault {
        Fault::Unauthorized { said } if by_token => Fault::Denied { said: denied(said) },
        fault => fault,
    }
}

/// Registries say "authentication required" even to who has authenticated; Docker says this.
fn denied(said: Said) -> Said {
    if said.has("DENIED") {
        return said;
    }
    let message = "requested access to the resource is denied".to_owned();
    Said { errors: vec![ApiError { code: "DENIED".to_owned(), message }] }
}

/// Whether a status says that somebody is in trouble, not that we are wrong.
fn is_trouble(status: StatusCode) -> bool {
    status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED
        || matches!(status.as_u16(), 408 | 425 | 429)
}

/// Only what can be repeated as it is; other redirects would turn one method into another.
fn leads_on(status: StatusCode, method: &Method) -> bool {
    match status.as_u16() {
        301..=303 => matches!(*method, Method::GET | Method::HEAD),
        307 | 308 => true,
        _ => false,
    }
}

fn secret(text: &str, site: &Site) -> Result<HeaderValue, Fault> {
    // A password with a line break in it; in base64 that cannot happen, in a token it can.
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| Fault::protocol(&site.host(), ProtocolFault::Token))?;
    value.set_sensitive(true);
    Ok(value)
}
