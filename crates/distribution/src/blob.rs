//! Blobs, on their way to whoever takes them.
//!
//! Invariant: a sink that is told to finish holds exactly the bytes that the descriptor names; what
//! has arrived is not fetched again, whatever breaks in between.
//! Absent on purpose: disks, and sharing one download among several who want it.

use std::io;

use bytes::Bytes;
use dhow_spec::image::Descriptor;
use dhow_spec::{Digest, Repository};
use hyper::header::{ACCEPT_ENCODING, CONTENT_RANGE, RANGE};
use hyper::{Method, StatusCode};

use crate::auth::Scopes;
use crate::client::Client;
use crate::error::{Action, Error, Fault, ProtocolFault, Subject};
use crate::exchange::Call;
use crate::http::{Answer, Request};
use crate::observer::{Event, Observer};
use crate::retry::Attempts;
use crate::said::tidy;
use crate::site::Site;
use crate::verifier::{Mismatch, Verifier};

/// What must arrive between two failures for them to count as separate: who gives a byte at a time
/// could keep us busy forever.
const PROGRESS_BYTES_MIN: u64 = 64 << 10;

/// Takes a blob. The calls come in this order: `begin` once, then `write` and `rewind` any number of
/// times, then `finish` once, if it comes to that; whoever sees neither `finish` nor another call
/// has a part of a blob, which the next `begin` may take up. A sink may take its time, but must not
/// wait for another download: the one that it waits for may be waiting for its connection.
pub trait Sink: Send {
    /// The download begins. A sink that has the first part of the blob already gives those bytes to
    /// the verifier; the download goes on behind them. One that finds its part unusable rewinds the
    /// verifier together with itself: what the verifier has seen is what the sink holds.
    fn begin(&mut self, verifier: &mut Verifier) -> impl Future<Output = io::Result<()>> + Send;

    /// The next bytes.
    fn write(&mut self, bytes: Bytes) -> impl Future<Output = io::Result<()>> + Send;

    /// What was there and what was written is wrong: forget all of it, another source is tried from
    /// the beginning. A sink that cannot fails here, and the download with it.
    fn rewind(&mut self) -> impl Future<Output = io::Result<()>> + Send;

    /// Everything was written and is what it should be.
    fn finish(&mut self) -> impl Future<Output = io::Result<()>> + Send;
}

/// A download in progress.
struct Download<'a, S> {
    repository: &'a Repository,
    descriptor: &'a Descriptor,
    verifier: Verifier,
    sink: &'a mut S,
    observer: &'a dyn Observer,
    /// Whether a part of it came from the sink, and may be what is wrong.
    resumed: bool,
}

impl Client {
    /// Fetches a blob into a sink.
    pub async fn fetch<S: Sink>(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        sink: &mut S,
        observer: &dyn Observer,
    ) -> Result<(), Error> {
        let fetched = self.download(repository, descriptor, sink, observer).await;
        fetched.map_err(|fault| fault.at(Action::Pull, blob(repository, descriptor.digest)))
    }

    /// A blob that fits into memory, such as a configuration.
    pub async fn fetch_bytes(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        max: usize,
        observer: &dyn Observer,
    ) -> Result<Bytes, Error> {
        let fetched = self.small_blob(repository, descriptor, max, observer).await;
        fetched.map_err(|fault| fault.at(Action::Pull, blob(repository, descriptor.digest)))
    }

    /// Whether the registry has a blob.
    pub async fn has_blob(&self, repository: &Repository, digest: Digest) -> Result<bool, Error> {
        let found = async {
            let site = self.upstream(repository.domain()).await?;
            self.has_blob_at(&site, repository, digest, Scopes::pull(repository.path()), &()).await
        };
        found.await.map_err(|fault| fault.at(Action::Pull, blob(repository, digest)))
    }

    pub(crate) async fn has_blob_at(
        &self,
        site: &Site,
        repository: &Repository,
        digest: Digest,
        scopes: Scopes,
        observer: &dyn Observer,
    ) -> Result<bool, Fault> {
        let url = site.url(repository, &format!("blobs/{digest}"));
        let call = Call::new(site, Request::new(Method::HEAD, url), scopes).verified();
        let answer = self.exchange(&call, &mut self.attempts(site), observer).await?;
        match answer.status {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(answer.into_fault().await),
        }
    }

    pub(crate) async fn small_blob(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        max: usize,
        observer: &dyn Observer,
    ) -> Result<Bytes, Fault> {
        if descriptor.size > max as u64 {
            let fault = ProtocolFault::TooLarge { max };
            return Err(Fault::protocol(repository.domain(), fault));
        }
        let mut bytes = Vec::new();
        self.download(repository, descriptor, &mut bytes, observer).await?;
        Ok(bytes.into())
    }

    async fn download<S: Sink>(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        sink: &mut S,
        observer: &dyn Observer,
    ) -> Result<(), Fault> {
        let mut verifier = Verifier::new(descriptor);
        sink.begin(&mut verifier).await.map_err(Fault::Sink)?;
        let (digest, size, done) = (descriptor.digest, descriptor.size, verifier.seen());
        observer.event(&Event::Started { digest, done, size });
        let resumed = done > 0;
        let mut download = Download { repository, descriptor, verifier, sink, observer, resumed };
        let mut round = self.round(repository);
        loop {
            let site = round.next().await?;
            match download.run(self, &site).await {
                Ok(()) => {
                    round.worked(&site, ());
                    break;
                }
                Err(fault) => {
                    let rotten = matches!(fault, Fault::Corrupt(_));
                    round.failed(&site, fault, observer)?;
                    if rotten {
                        download.rewind().await?;
                    }
                }
            }
        }
        download.sink.finish().await.map_err(Fault::Sink)?;
        observer.event(&Event::Finished { digest });
        Ok(())
    }
}

impl<S: Sink> Download<'_, S> {
    /// All that is missing, from one server.
    async fn run(&mut self, client: &Client, site: &Site) -> Result<(), Fault> {
        loop {
            let mut attempts = client.attempts(site);
            while self.verifier.missing() > 0 {
                let before = self.verifier.seen();
                let Err(fault) = self.stream(client, site, &mut attempts).await else { continue };
                if self.verifier.seen() - before >= PROGRESS_BYTES_MIN {
                    attempts.progressed();
                }
                attempts.again(&site.host(), fault, self.observer).await?;
            }
            match self.verifier.clone().finish() {
                Ok(()) => return Ok(()),
                // The sink's part may be what is wrong: a crash can have left anything there.
                Err(_) if self.resumed => self.rewind().await?,
                Err(mismatch) => return Err(mismatch.into()),
            }
        }
    }

    async fn rewind(&mut self) -> Result<(), Fault> {
        self.resumed = false;
        self.verifier.rewind();
        self.sink.rewind().await.map_err(Fault::Sink)
    }

    /// As much as one answer gives.
    async fn stream(
        &mut self,
        client: &Client,
        site: &Site,
        attempts: &mut Attempts<'_>,
    ) -> Result<(), Fault> {
        let offset = self.verifier.seen();
        let digest = self.descriptor.digest;
        let url = site.url(self.repository, &format!("blobs/{digest}"));
        let mut request = Request::get(url).with(ACCEPT_ENCODING, "identity");
        if offset > 0 {
            request = request.with(RANGE, &format!("bytes={offset}-"));
        }
        let scopes = Scopes::pull(&site.path(self.repository));
        let call = Call::new(site, request, scopes).verified();
        let mut answer = client.exchange(&call, attempts, self.observer).await?;
        let skip = match answer.status {
            StatusCode::OK => self.check_whole(&answer)?,
            StatusCode::PARTIAL_CONTENT => self.check_part(&answer)?,
            StatusCode::RANGE_NOT_SATISFIABLE => return Err(self.too_short(&answer)),
            _ => return Err(answer.into_fault().await),
        };
        self.take(&mut answer, skip).await
    }

    /// The body, without its first `skip` bytes.
    async fn take(&mut self, answer: &mut Answer, mut skip: u64) -> Result<(), Fault> {
        let (digest, size) = (self.descriptor.digest, self.descriptor.size);
        while self.verifier.missing() > 0 {
            let Some(mut bytes) = answer.chunk().await? else {
                let why = "the answer ends too early".to_owned();
                return Err(Fault::Interrupted { host: answer.host(), why });
            };
            let known = skip.min(bytes.len() as u64);
            skip -= known;
            bytes = bytes.slice(known as usize..);
            if bytes.is_empty() {
                continue;
            }
            self.verifier.update(&bytes)?;
            self.sink.write(bytes).await.map_err(Fault::Sink)?;
            self.observer.event(&Event::Progress { digest, done: self.verifier.seen(), size });
        }
        // All is here; but an answer that goes on is of something else.
        match answer.chunk().await {
            Ok(Some(bytes)) => {
                let actual = size + bytes.len() as u64;
                Err(Mismatch::Size { expected: size, actual }.into())
            }
            Ok(None) | Err(_) => Ok(()),
        }
    }

    /// The whole blob, though we may have asked for a part: what we have is skipped.
    fn check_whole(&self, answer: &Answer) -> Result<u64, Fault> {
        let expected = self.descriptor.size;
        match answer.content_length() {
            Some(actual) if actual != expected => Err(Mismatch::Size { expected, actual }.into()),
            _ => Ok(self.verifier.seen()),
        }
    }

    /// The part that we asked for, of a blob of the right size.
    fn check_part(&self, answer: &Answer) -> Result<u64, Fault> {
        let text = answer.header(&CONTENT_RANGE).unwrap_or_default();
        let wrong = || {
            let fault = ProtocolFault::Range { text: tidy(text) };
            Fault::protocol(&answer.host(), fault)
        };
        let (from, size) = content_range(text).ok_or_else(wrong)?;
        let expected = self.descriptor.size;
        match size {
            Some(actual) if actual != expected => Err(Mismatch::Size { expected, actual }.into()),
            _ if from == Some(self.verifier.seen()) => Ok(0),
            _ => Err(wrong()),
        }
    }

    /// There is nothing where more should be.
    fn too_short(&self, answer: &Answer) -> Fault {
        let text = answer.header(&CONTENT_RANGE).unwrap_or_default();
        let size = content_range(text).and_then(|(_, size)| size);
        let actual = size.unwrap_or_else(|| self.verifier.seen());
        Mismatch::Size { expected: self.descriptor.size, actual }.into()
    }
}

/// Where a part begins, and how large the whole is: `bytes 5-9/10`, `bytes */10`.
fn content_range(text: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let from = match range {
        "*" => None,
        range => Some(range.split_once('-')?.0.parse().ok()?),
    };
    let size = if size == "*" { None } else { Some(size.parse().ok()?) };
    Some((from, size))
}

pub(crate) fn blob(repository: &Repository, digest: Digest) -> Subject {
    Subject::Blob(repository.clone(), digest)
}

/// Memory, for blobs that are known to fit.
impl Sink for Vec<u8> {
    async fn begin(&mut self, _: &mut Verifier) -> io::Result<()> {
        self.clear();
        Ok(())
    }

    async fn write(&mut self, bytes: Bytes) -> io::Result<()> {
        self.extend_from_slice(&bytes);
        Ok(())
    }

    async fn rewind(&mut self) -> io::Result<()> {
        self.clear();
        Ok(())
    }

    async fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        assert_eq!(content_range("bytes 5-9/10"), Some((Some(5), Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((Some(5), None)));
        assert_eq!(content_range("bytes */10"), Some((None, Some(10))));
        for bad in ["", "bytes", "bytes 5/10", "bytes x-9/10", "items 5-9/10", "bytes 5-9/x"] {
            assert_eq!(content_range(bad), None, "{bad}");
        }
    }
}
