//! Whether a registry knows us.
//!
//! Absent on purpose: keeping what it gives; that is for whoever keeps credentials.

use hyper::StatusCode;

use crate::auth::Scopes;
use crate::client::{Client, Wanted};
use crate::credentials::Credentials;
use crate::error::{Action, Error, Fault, Subject};
use crate::exchange::{CLIENT_ID, Call};
use crate::http::Request;

const ANSWER_BYTES_MAX: usize = 1 << 20;

/// What a login came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// The credentials are good.
    Accepted,
    /// They are, and this is to be kept instead of the password.
    Identity(Credentials),
    /// The registry asks nobody who he is.
    Open,
}

impl Client {
    /// Tries the credentials that this client has for a registry.
    pub async fn login(&self, registry: &str) -> Result<Login, Error> {
        let tried = self.try_login(registry).await;
        tried.map_err(|fault| fault.at(Action::Login, Subject::Registry(registry.to_owned())))
    }

    /// Whether a registry speaks version 2 and lets this client in.
    pub async fn ping(&self, registry: &str) -> Result<(), Error> {
        let pinged = async {
            let site = self.upstream(registry).await?;
            let call = Call::new(&site, Request::get(site.origin.join("/v2/")), Scopes::none());
            let answer = self.exchange_whole(&call, ANSWER_BYTES_MAX, &()).await?;
            if answer.status.is_success() { Ok(()) } else { Err(answer.fault()) }
        };
        let subject = || Subject::Registry(registry.to_owned());
        pinged.await.map_err(|fault: Fault| fault.at(Action::Login, subject()))
    }

    async fn try_login(&self, registry: &str) -> Result<Login, Fault> {
        let site = self.upstream(registry).await?;
        let request = Request::get(site.origin.join("/v2/"));
        // Without credentials first: only then does the registry say what it wants.
        let call = Call::new(&site, request, Scopes::none());
        let answer = self.exchange_as_nobody(&call).await?;
        match answer.status {
            StatusCode::UNAUTHORIZED => {}
            status if status.is_success() => return Ok(Login::Open),
            _ => return Err(answer.into_fault().await),
        }
        let wanted = self.learn(&site, &answer).and_then(|_| self.wanted(&site));
        answer.discard().await;
        let credentials = self.keyring.get(&site.name);
        if let (Some(Wanted::Bearer(bearer)), Some(Credentials::Password { .. })) =
            (wanted, credentials)
        {
            let form = bearer.form(&Scopes::none(), credentials, CLIENT_ID, true);
            if let Some(token) = self.grant(&site, form).await?.identity {
                return Ok(Login::Identity(Credentials::Identity { token }));
            }
        }
        let answer = self.exchange_whole(&call, ANSWER_BYTES_MAX, &()).await?;
        if answer.status.is_success() { Ok(Login::Accepted) } else { Err(answer.fault()) }
    }
}
