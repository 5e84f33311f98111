//! Blobs, on their way into a registry.
//!
//! Invariant: what the registry has already does not travel; what broke off goes on where the
//! registry says it stopped; a blob is there only when the registry has confirmed its digest.
//! Absent on purpose: making blobs; a source reads what exists.

use std::io;
use std::ops::Range;

use bytes::Bytes;
use dhow_spec::image::Descriptor;
use dhow_spec::{Digest, Repository};
use hyper::header::{
    CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RANGE,
};
use hyper::{Method, StatusCode};
use tokio::sync::mpsc::Sender;

use crate::auth::Scopes;
use crate::blob::blob;
use crate::client::Client;
use crate::error::{Action, Error, Fault, ProtocolFault};
use crate::exchange::Call;
use crate::http::{Answer, OutBody, Request};
use crate::manifest::CONTENT_DIGEST;
use crate::observer::{Event, Observer};
use crate::said::tidy;
use crate::site::Site;
use crate::url::Url;
use crate::verifier::Mismatch;

const CHUNK_MIN: HeaderName = HeaderName::from_static("oci-chunk-min-length");
const OCTETS: &str = "application/octet-stream";
/// Sessions begun for one blob: a registry that loses them forever is no use.
const SESSIONS_MAX: u32 = 5;

/// Gives a blob's bytes, from any place on, as often as it is asked to.
pub trait Source: Send {
    /// The next `read` gives the bytes from `offset` on.
    fn open(&mut self, offset: u64) -> impl Future<Output = io::Result<()>> + Send;

    /// The next bytes; `None` at the end.
    fn read(&mut self) -> impl Future<Output = io::Result<Option<Bytes>>> + Send;
}

/// How a blob came to be in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It was there.
    Existed,
    /// The registry took it over from another repository.
    Mounted,
    /// It travelled.
    Uploaded,
}

/// An upload, as the registry knows it.
#[derive(Debug)]
struct Session {
    url: Url,
    /// Pieces must be at least this large.
    chunk_min: u64,
}

/// An upload that is being made.
struct Upload<'a, S> {
    client: &'a Client,
    site: &'a Site,
    repository: &'a Repository,
    descriptor: &'a Descriptor,
    scopes: Scopes,
    source: &'a mut S,
    observer: &'a dyn Observer,
    /// What of it the registry has.
    offset: u64,
    /// In pieces, because the registry refused the whole.
    in_pieces: bool,
    /// Whether a part has its own request; some registries only know the whole.
    knows_parts: bool,
}

/// What to do after an attempt.
enum Next {
    Done,
    /// From where the registry stopped.
    Resume,
    /// In a new session.
    Anew,
}

impl Client {
    /// Brings a blob into a repository, unless it is there already; `from` is another repository
    /// of the same registry that has it.
    pub async fn push<S: Source>(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        from: Option<&Repository>,
        source: &mut S,
        observer: &dyn Observer,
    ) -> Result<Pushed, Error> {
        let pushed = self.push_at(repository, descriptor, from, source, observer).await;
        pushed.map_err(|fault| fault.at(Action::Push, blob(repository, descriptor.digest)))
    }

    async fn push_at<S: Source>(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        from: Option<&Repository>,
        source: &mut S,
        observer: &dyn Observer,
    ) -> Result<Pushed, Fault> {
        let digest = descriptor.digest;
        let site = &self.upstream(repository.domain()).await?;
        let scopes = Scopes::push(repository.path());
        if self.has_blob_at(site, repository, digest, scopes.clone(), observer).await? {
            observer.event(&Event::Exists { digest });
            return Ok(Pushed::Existed);
        }
        let other = from.filter(|from| from.domain() == repository.domain() && *from != repository);
        let session = self.begin(site, repository, other.map(|other| (other, digest)), observer);
        let Some(session) = session.await? else {
            let from = other.map_or("", Repository::path);
            observer.event(&Event::Mounted { digest, from });
            return Ok(Pushed::Mounted);
        };
        observer.event(&Event::Started { digest, done: 0, size: descriptor.size });
        let upload = Upload {
            client: self,
            site,
            repository,
            descriptor,
            scopes,
            source,
            observer,
            offset: 0,
            in_pieces: false,
            knows_parts: true,
        };
        upload.run(session).await?;
        observer.event(&Event::Finished { digest });
        Ok(Pushed::Uploaded)
    }

    /// Begins an upload; `None` if the registry took the blob from elsewhere instead.
    async fn begin(
        &self,
        site: &Site,
        repository: &Repository,
        mount: Option<(&Repository, Digest)>,
        observer: &dyn Observer,
    ) -> Result<Option<Session>, Fault> {
        let mut url = site.url(repository, "blobs/uploads/");
        let mut scopes = Scopes::push(repository.path());
        if let Some((from, digest)) = mount {
            url = url.with_query("mount", &digest.to_string()).with_query("from", from.path());
            scopes = scopes.and_pull(from);
        }
        let request = Request::new(Method::POST, url).with(CONTENT_LENGTH, "0");
        let call = Call::new(site, request, scopes);
        let answer = self.exchange(&call, &mut self.attempts(site), observer).await;
        let answer = match (answer, mount) {
            // Who may not read the other repository may still write here.
            (Err(Fault::Denied { .. } | Fault::Unauthorized { .. }), Some(_)) => {
                return Box::pin(self.begin(site, repository, None, observer)).await;
            }
            (answer, _) => answer?,
        };
        match answer.status {
            StatusCode::CREATED if mount.is_some() => {
                answer.discard().await;
                Ok(None)
            }
            StatusCode::ACCEPTED | StatusCode::CREATED => {
                let session = Session::of(&answer, None)?;
                answer.discard().await;
                Ok(Some(session))
            }
            _ if mount.is_some() => {
                answer.discard().await;
                Box::pin(self.begin(site, repository, None, observer)).await
            }
            _ => Err(answer.into_fault().await),
        }
    }
}

impl Session {
    /// From an answer; the registry may move the session with every one of them.
    fn of(answer: &Answer, before: Option<&Self>) -> Result<Self, Fault> {
        let text = answer.header(&LOCATION).unwrap_or_default();
        let url = match (answer.url.join(text), before) {
            (Some(url), _) => url,
            (None, Some(before)) if text.is_empty() => before.url.clone(),
            (None, _) => {
                let fault = ProtocolFault::Location { text: tidy(text) };
                return Err(Fault::protocol(&answer.host(), fault));
            }
        };
        let stated = answer.header(&CHUNK_MIN).and_then(|text| text.parse().ok());
        let chunk_min = stated.unwrap_or_else(|| before.map_or(0, |before| before.chunk_min));
        Ok(Self { url, chunk_min })
    }
}

impl<S: Source> Upload<'_, S> {
    async fn run(mut self, mut session: Session) -> Result<(), Fault> {
        let mut attempts = self.client.attempts(self.site);
        let mut sessions = 1;
        loop {
            let before = self.offset;
            let (next, fault) = match self.advance(&mut session).await {
                Ok(()) => return Ok(()),
                Err(fault) => (self.judge(&fault), fault),
            };
            let next = match next {
                Next::Done => {
                    self.cancel(&session).await;
                    return Err(fault);
                }
                Next::Resume => {
                    attempts.again(&self.site.host(), fault, self.observer).await?;
                    self.locate(&mut session).await
                }
                Next::Anew => Next::Anew,
            };
            if self.offset > before {
                attempts.progressed();
            }
            if matches!(next, Next::Anew) {
                sessions += 1;
                if sessions > SESSIONS_MAX {
                    return Err(Fault::protocol(&self.site.host(), ProtocolFault::LostUploads));
                }
                self.offset = 0;
                let begun = self.client.begin(self.site, self.repository, None, self.observer);
                session = begun.await?.expect("nothing was to be mounted");
            }
        }
    }

    /// What a failure asks for.
    fn judge(&mut self, fault: &Fault) -> Next {
        match fault {
            // The way to the registry lets no such amount through at once.
            Fault::Refused { status: 413, .. } if !self.in_pieces => {
                self.in_pieces = true;
                Next::Anew
            }
            // The session is gone; the first thing that a registry forgets after a crash.
            Fault::NotFound { .. } => Next::Anew,
            Fault::Unsupported { .. } | Fault::Refused { .. }
                if self.offset > 0 && !self.in_pieces && self.knows_parts =>
            {
                self.knows_parts = false;
                Next::Anew
            }
            fault if fault.may_pass() => Next::Resume,
            _ => Next::Done,
        }
    }

    /// Everything that is still missing, and the registry's word that it has all.
    async fn advance(&mut self, session: &mut Session) -> Result<(), Fault> {
        let size = self.descriptor.size;
        if self.offset == 0 && !self.in_pieces {
            let url = self.closing(session);
            let answer = self.send(Method::PUT, url, 0..size).await?;
            return self.confirm(answer).await;
        }
        while self.offset < size {
            let most = match self.in_pieces {
                true => self.client.shared.config.limits.chunk_bytes.max(session.chunk_min).max(1),
                false => size,
            };
            let piece = self.offset..size.min(self.offset.saturating_add(most));
            let end = piece.end;
            let answer = self.send(Method::PATCH, session.url.clone(), piece).await?;
            // It stopped elsewhere than we think; where, it can be asked.
            if answer.status == StatusCode::RANGE_NOT_SATISFIABLE {
                let why = "the upload stopped elsewhere".to_owned();
                return Err(Fault::Interrupted { host: answer.host(), why });
            }
            if !answer.status.is_success() {
                return Err(answer.into_fault().await);
            }
            *session = Session::of(&answer, Some(session))?;
            // What the registry says it has counts, where it says so.
            self.offset = received(&answer).filter(|&has| has <= end).unwrap_or(end);
            answer.discard().await;
        }
        let url = self.closing(session);
        let answer = self.send(Method::PUT, url, size..size).await?;
        self.confirm(answer).await
    }

    fn closing(&self, session: &Session) -> Url {
        session.url.with_query("digest", &self.descriptor.digest.to_string())
    }

    async fn confirm(&self, answer: Answer) -> Result<(), Fault> {
        if !answer.status.is_success() {
            return Err(answer.into_fault().await);
        }
        let expected = self.descriptor.digest;
        let said = answer.header(&CONTENT_DIGEST).and_then(|text| Digest::parse(text).ok());
        answer.discard().await;
        match said {
            // A registry may name it by another algorithm; that proves nothing.
            Some(actual) if actual.algorithm() == expected.algorithm() && actual != expected => {
                Err(Mismatch::digest(expected, actual).into())
            }
            _ => Ok(()),
        }
    }

    /// Sends one part of the source. A refusal for want of a (fresh) token is repaired here once.
    async fn send(&mut self, method: Method, url: Url, part: Range<u64>) -> Result<Answer, Fault> {
        let own = url.origin == self.site.origin;
        let mut refused: Option<HeaderValue> = None;
        let mut is_second = false;
        loop {
            let shown = match own {
                true => {
                    let asked =
                        self.client.authorization(self.site, &self.scopes, refused.as_ref());
                    asked.await?
                }
                false => None,
            };
            let mut request = Request::new(method.clone(), url.clone()).with(CONTENT_TYPE, OCTETS);
            if method == Method::PATCH {
                let range = format!("{}-{}", part.start, part.end - 1);
                request = request.with(CONTENT_RANGE, &range);
            }
            let answer = self.transmit(&request, shown.as_ref(), part.clone()).await?;
            if answer.status != StatusCode::UNAUTHORIZED || !own || is_second {
                return Ok(answer);
            }
            self.client.learn(self.site, &answer);
            answer.discard().await;
            (refused, is_second) = (shown, true);
        }
    }

    /// One request with its body, read from the source while it goes out.
    async fn transmit(
        &mut self,
        request: &Request,
        shown: Option<&HeaderValue>,
        part: Range<u64>,
    ) -> Result<Answer, Fault> {
        let transport = &self.client.shared.transport;
        let patience = Some(self.client.shared.config.limits.commit);
        let length = part.end - part.start;
        if length == 0 {
            return transport.send(request, shown, OutBody::empty(), patience).await;
        }
        self.source.open(part.start).await.map_err(Fault::Source)?;
        let (body, pieces) = OutBody::stream(length);
        let sending = std::pin::pin!(transport.send(request, shown, body, patience));
        let (digest, size) = (self.descriptor.digest, self.descriptor.size);
        let observer = self.observer;
        let told = |done| observer.event(&Event::Progress { digest, done, size });
        let feeding = std::pin::pin!(feed(self.source, pieces, part, told));
        tokio::select! {
            biased;
            answer = sending => answer,
            Err(error) = feeding => Err(Fault::Source(error)),
        }
    }

    /// Asks the registry how far it came.
    async fn locate(&mut self, session: &mut Session) -> Next {
        if session.url.origin != self.site.origin {
            return Next::Anew;
        }
        let request = Request::get(session.url.clone());
        let call = Call::new(self.site, request, self.scopes.clone());
        let mut attempts = self.client.attempts(self.site);
        let Ok(answer) = self.client.exchange(&call, &mut attempts, self.observer).await else {
            return Next::Anew;
        };
        let moved = Session::of(&answer, Some(session));
        match (answer.status, moved) {
            (StatusCode::NO_CONTENT | StatusCode::ACCEPTED | StatusCode::OK, Ok(moved)) => {
                let has = received(&answer).filter(|&has| has <= self.descriptor.size);
                answer.discard().await;
                match has {
                    Some(has) if has == 0 || self.knows_parts => {
                        (self.offset, *session) = (has, moved);
                        Next::Resume
                    }
                    // Sending all of it behind an unknown part would give neither.
                    _ => Next::Anew,
                }
            }
            _ => Next::Anew,
        }
    }

    /// Tells the registry that nothing more comes; if it does not listen, it will find out.
    async fn cancel(&self, session: &Session) {
        if session.url.origin == self.site.origin
            && let Ok(shown) = self.client.authorization(self.site, &self.scopes, None).await
        {
            let request = Request::new(Method::DELETE, session.url.clone());
            let transport = &self.client.shared.transport;
            if let Ok(answer) =
                transport.send(&request, shown.as_ref(), OutBody::empty(), None).await
            {
                answer.discard().await;
            }
        }
    }
}

/// Gives a request the bytes of a part; ends early if nobody takes them any more, never with
/// success: then it is the answer that tells.
async fn feed<S: Source>(
    source: &mut S,
    pieces: Sender<Bytes>,
    part: Range<u64>,
    told: impl Fn(u64),
) -> io::Result<std::convert::Infallible> {
    let mut done = part.start;
    while done < part.end {
        let Some(mut bytes) = source.read().await? else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        bytes.truncate(usize::try_from(part.end - done).unwrap_or(usize::MAX));
        done += bytes.len() as u64;
        if !bytes.is_empty() && pieces.send(bytes).await.is_err() {
            break;
        }
        told(done);
    }
    drop(pieces);
    std::future::pending().await
}

/// `Range: 0-99` → 100 bytes are there; `0-0` is ambiguous in the field (a byte, or none) and then
/// means none, which costs a byte.
fn received(answer: &Answer) -> Option<u64> {
    let text = answer.header(&RANGE)?.trim();
    let text = text.strip_prefix("bytes=").unwrap_or(text);
    let last: u64 = text.split_once('-')?.1.parse().ok()?;
    Some(if last == 0 { 0 } else { last + 1 })
}

/// Bytes at hand, such as a configuration.
#[derive(Debug, Clone)]
pub struct InMemory {
    bytes: Bytes,
    rest: Bytes,
}

impl InMemory {
    /// A source of these bytes.
    pub fn new(bytes: Bytes) -> Self {
        Self { rest: bytes.clone(), bytes }
    }
}

impl Source for InMemory {
    async fn open(&mut self, offset: u64) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(self.bytes.len());
        self.rest = self.bytes.slice(offset..);
        Ok(())
    }

    async fn read(&mut self) -> io::Result<Option<Bytes>> {
        let bytes = std::mem::take(&mut self.rest);
        Ok(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }
}
