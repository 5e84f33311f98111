//! The engine as seen from here: a socket that speaks Docker's API.
//!
//! One connection is kept between requests, so that a command costs one; the API version is the newest
//! and comes down only when an older engine asks for it. Absent on purpose: a ping before each command.

mod endpoint;
mod http;
mod ssh;
mod stream;
mod tls;

use std::cell::RefCell;
use std::io;
use std::sync::Arc;

pub(crate) use endpoint::{Endpoint, EndpointError};
pub(crate) use http::{Body, Connection, Head, Payload, Request, escape, query};
pub(crate) use stream::Stream;
pub(crate) use tls::TlsFiles;

use crate::failure::Failure;
use crate::json::Json;
use http::{Idle, SourceFailed};

/// The newest version of the API, which this program speaks.
pub(crate) const API_VERSION: &str = "1.56";

/// No document that the engine sends whole is longer.
const DOCUMENT_MAX: u64 = 256 << 20;

/// Called when nobody listens: may start the engine, and says whether to try again.
pub(crate) type Starter = Box<dyn Fn() -> Result<(), Failure>>;

/// The way to one engine.
pub(crate) struct Client {
    endpoint: Endpoint,
    tls: Option<Arc<rustls::ClientConfig>>,
    version: RefCell<String>,
    /// The user's word on the version is final.
    version_fixed: bool,
    idle: Idle,
    starter: Option<Starter>,
}

/// An answer whose body is still to be read.
pub(crate) struct Answer {
    pub(crate) head: Head,
    pub(crate) body: Body,
}

impl Client {
    pub(crate) fn new(
        endpoint: Endpoint,
        tls: Option<Arc<rustls::ClientConfig>>,
        version: Option<String>,
        starter: Option<Starter>,
    ) -> Client {
        Client {
            endpoint,
            tls,
            version_fixed: version.is_some(),
            version: RefCell::new(version.unwrap_or_else(|| API_VERSION.to_owned())),
            idle: Idle::default(),
            starter,
        }
    }

    /// The API's version in use.
    pub(crate) fn version(&self) -> String {
        self.version.borrow().clone()
    }

    fn connect(&self) -> Result<Connection, Failure> {
        let first = match Stream::connect(&self.endpoint, self.tls.as_ref()) {
            Ok(stream) => return Ok(Connection::new(stream)),
            Err(error) => error,
        };
        let absent =
            matches!(first.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused);
        if let Some(starter) = self.starter.as_ref().filter(|_| absent) {
            starter()?;
            let again = Stream::connect(&self.endpoint, self.tls.as_ref());
            return again.map(Connection::new).map_err(|source| self.unreachable(source));
        }
        Err(self.unreachable(first))
    }

    fn unreachable(&self, source: io::Error) -> Failure {
        Failure::Unreachable { endpoint: self.endpoint.clone(), source }
    }

    fn lost(&self, source: io::Error) -> Failure {
        Failure::Lost { endpoint: self.endpoint.clone(), source }
    }

    /// A connection of its own, without a request on it.
    pub(crate) fn dial(&self) -> Result<Stream, Failure> {
        Ok(self.connect()?.stream)
    }

    /// The kept connection if it is still good, else a new one.
    fn take(&self) -> Result<Connection, Failure> {
        let kept = self.idle.borrow_mut().take();
        match kept.filter(|connection| connection.ahead.is_empty() && is_quiet(&connection.stream))
        {
            Some(connection) => Ok(connection),
            None => self.connect(),
        }
    }

    /// Sends a request and waits for the head of the answer, whatever it is.
    fn exchange(
        &self,
        mut request: Request<'_>,
        hijack: bool,
    ) -> Result<(Head, Connection), Failure> {
        let mut connection = self.take()?;
        request.path = format!("/v{}{}", self.version.borrow(), request.path);
        // An engine that refuses a long body answers before it has read it all.
        let sent = connection.send(request, hijack);
        if let Some(source) = sent.as_ref().err().and_then(SourceFailed::of) {
            // The engine waits for what will not come: there is no answer to wait for.
            return Err(Failure::io("read", "what is to be sent")(source));
        }
        match (connection.receive(), sent) {
            (Ok(head), _) => Ok((head, connection)),
            (Err(_), Err(source)) | (Err(source), Ok(())) => Err(self.lost(source)),
        }
    }

    /// Sends a request; whatever comes is an answer.
    pub(crate) fn ask(&self, request: Request<'_>) -> Result<Answer, Failure> {
        let method = request.method;
        let (head, connection) = self.exchange(request, false)?;
        let body = Body::of(&head, method, connection, self.idle.clone());
        Ok(Answer { head, body })
    }

    /// An answer of 400 or more is an error.
    pub(crate) fn accept(&self, answer: Answer) -> Result<Answer, Failure> {
        match answer.head.status < 400 {
            true => Ok(answer),
            false => Err(self.refusal(&answer.head, answer.body)?),
        }
    }

    /// Reads an answer that does not matter but for the version that it may name.
    pub(crate) fn step_down_for(&self, answer: Answer) -> Result<(), Failure> {
        let refusal = self.refusal(&answer.head, answer.body)?;
        self.step_down(&refusal);
        Ok(())
    }

    /// Sends a request; an answer of 400 or more is an error.
    pub(crate) fn send(&self, request: Request<'_>) -> Result<Answer, Failure> {
        let again = match &request.payload {
            Payload::Stream(_) => None,
            Payload::Empty => Some(None),
            Payload::Json(body) => Some(Some(body.clone())),
        };
        let (method, path, headers) =
            (request.method, request.path.clone(), request.headers.clone());
        let answer = self.ask(request)?;
        let refusal = match self.accept(answer) {
            Ok(answer) => return Ok(answer),
            Err(refusal) => refusal,
        };
        let Some(payload) = again.filter(|_| self.step_down(&refusal)) else {
            return Err(refusal);
        };
        let payload = payload.map_or(Payload::Empty, Payload::Json);
        self.accept(self.ask(Request { method, path, headers, payload })?)
    }

    /// An older engine names the newest version that it knows; from then on we speak that.
    fn step_down(&self, refusal: &Failure) -> bool {
        let Failure::Refused { status: 400, message } = refusal else { return false };
        let told = message.split_once("Maximum supported API version is ");
        let Some((_, version)) = told.filter(|_| !self.version_fixed) else { return false };
        let digits = version.trim_end_matches('.');
        if !digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return false;
        }
        *self.version.borrow_mut() = digits.to_owned();
        true
    }

    fn refusal(&self, head: &Head, body: Body) -> Result<Failure, Failure> {
        let bytes = body.read_all(1 << 20).map_err(|source| self.lost(source))?;
        let text = String::from_utf8_lossy(&bytes).trim().to_owned();
        let message = match Json::parse(&bytes) {
            Ok(json) if !json.text("message").is_empty() => json.text("message").to_owned(),
            _ if text.is_empty() => format!("request returned status {}", head.status),
            _ => text,
        };
        Ok(Failure::Refused { status: head.status, message })
    }

    /// A request whose answer is a document.
    pub(crate) fn json(&self, request: Request<'_>) -> Result<Json, Failure> {
        self.document(self.send(request)?)
    }

    /// An answer that is a document.
    pub(crate) fn document(&self, answer: Answer) -> Result<Json, Failure> {
        let bytes = answer.body.read_all(DOCUMENT_MAX).map_err(|source| self.lost(source))?;
        if bytes.is_empty() {
            return Ok(Json::Null);
        }
        Json::parse(&bytes).map_err(|source| Failure::Answer { source })
    }

    pub(crate) fn get(&self, path: impl Into<String>) -> Result<Json, Failure> {
        self.json(plain("GET", path.into()))
    }

    pub(crate) fn post(&self, path: impl Into<String>) -> Result<Json, Failure> {
        self.json(plain("POST", path.into()))
    }

    pub(crate) fn delete(&self, path: impl Into<String>) -> Result<Json, Failure> {
        self.json(plain("DELETE", path.into()))
    }

    pub(crate) fn post_json(&self, path: impl Into<String>, body: &Json) -> Result<Json, Failure> {
        let payload = Payload::Json(body.compact().into_bytes());
        self.json(Request { method: "POST", path: path.into(), headers: Vec::new(), payload })
    }

    /// A request whose answer comes bit by bit.
    pub(crate) fn stream(&self, path: impl Into<String>) -> Result<Answer, Failure> {
        self.send(plain("GET", path.into()))
    }

    /// A request that turns its connection into a stream of bytes both ways.
    pub(crate) fn hijack(
        &self,
        path: impl Into<String>,
        body: Option<&Json>,
    ) -> Result<(Head, Connection), Failure> {
        let payload = match body {
            Some(body) => Payload::Json(body.compact().into_bytes()),
            None => Payload::Empty,
        };
        let request = Request { method: "POST", path: path.into(), headers: Vec::new(), payload };
        let (head, connection) = self.exchange(request, true)?;
        if head.status == 101 || head.status == 200 {
            return Ok((head, connection));
        }
        let body = Body::of(&head, "POST", connection, self.idle.clone());
        Err(self.refusal(&head, body)?)
    }
}

/// A request without a body.
pub(crate) fn plain(method: &'static str, path: String) -> Request<'static> {
    Request { method, path, headers: Vec::new(), payload: Payload::Empty }
}

/// Whether nothing, not even the end, waits to be read.
fn is_quiet(stream: &Stream) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(stream, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(poll(&mut fds, Some(&now)), Ok(0))
}
