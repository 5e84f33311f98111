//! Images to and from registries, told line by line.
//!
//! Until the first line a failure is the request's; after it, it is a line. Invariant: a client that goes away
//! ends the transfer; one that reads slowly misses progress, but no step.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dhow_engine::{
    Credentials, Progress, PullRequest, Pulled, PushRequest, Step, Transfer, Watcher,
};
use dhow_spec::{Digest, Reference, Repository};
use dhow_wire::{AuthConfig, JsonMessage, ProgressDetail};
use tokio::sync::mpsc;

use crate::app::App;
use crate::http::call::Call;
use crate::http::error::ApiError;
use crate::http::reply::Reply;
use crate::routes::images::{parse_tag, platform};
use dhow_spec::base64;

/// Lines under way; progress is left out when half of them wait.
const LINES_MAX: usize = 1024;
/// One layer's progress is not told more often.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// `POST /images/create`: pulls, or imports.
pub(super) async fn create(app: &Arc<App>, call: Call) -> Result<Reply, ApiError> {
    let from = call.query.text("fromImage");
    if from.is_empty() {
        return super::files::import(app, call).await;
    }
    let tag = call.query.text("tag");
    let first = reference(from, tag)?;
    let platform = platform(call.query.text("platform"))?;
    let mut images = app.images.clone();
    if let Some(credentials) = credentials(&call) {
        images = images.with_credentials(first.repository().domain(), credentials);
    }
    let wanted = match is_bare(from, tag) {
        false => vec![first.clone()],
        true => {
            let tags = images.remote_tags(first.repository()).await?.into_iter();
            tags.map(|tag| Reference::tagged(first.repository().clone(), tag)).collect()
        }
    };
    let (lines, teller) = lines(Direction::Pull, &first);
    let app = app.clone();
    let work = async move {
        let mut last = Vec::new();
        for reference in wanted {
            for line in last.drain(..) {
                teller.say(line);
            }
            let request = PullRequest { reference: reference.clone(), platform: platform.clone() };
            let watcher = teller.of(&reference);
            let pulled = images.pull(&request, watcher).await.map_err(ApiError::from)?;
            let name = reference.familiar();
            app.tell_image("pull", &name, &name).await;
            last = pulled_lines(&reference, &pulled);
        }
        Ok(last)
    };
    tell(lines, work).await
}

/// Whether a name means all tags of its repository.
fn is_bare(name: &str, tag: &str) -> bool {
    tag.is_empty() && matches!(Reference::split(name), Ok((_, None, None)))
}

/// The tags of a repository that are here.
async fn local_tags(app: &App, name: &str) -> Result<Vec<Reference>, ApiError> {
    let (repository, ..) = Reference::split(name)
        .map_err(|error| ApiError::invalid(format!("invalid reference format: {error}")))?;
    let rows = app.images.list(&dhow_engine::ImageFilters::default()).await?;
    let tags = rows.iter().flat_map(|row| &row.tags);
    let found: Vec<_> = tags
        .filter_map(|tag| Reference::parse(tag).ok())
        .filter(|tag| *tag.repository() == repository)
        .collect();
    match found.is_empty() {
        true => Err(ApiError::not_found(format!(
            "An image does not exist locally with the tag: {}",
            repository.familiar()
        ))),
        false => Ok(found),
    }
}

/// `POST /images/{name}/push`.
pub(super) async fn push(app: &Arc<App>, call: &Call, name: &str) -> Result<Reply, ApiError> {
    let platform = platform(call.query.text("platform"))?;
    let tag = call.query.text("tag");
    let first = reference(name, tag)?;
    let wanted = match is_bare(name, tag) {
        false => vec![first.clone()],
        true => local_tags(app, name).await?,
    };
    let mut images = app.images.clone();
    if let Some(credentials) = credentials(call) {
        images = images.with_credentials(first.repository().domain(), credentials);
    }
    let (lines, teller) = lines(Direction::Push, &first);
    let repository = first.repository().to_string();
    teller.say(JsonMessage::status("", format!("The push refers to repository [{repository}]")));
    let work = async move {
        let mut last = Vec::new();
        for reference in wanted {
            for line in last.drain(..) {
                teller.say(line);
            }
            let request = PushRequest { reference: reference.clone(), platform: platform.clone() };
            let target =
                images.push(&request, teller.of(&reference)).await.map_err(ApiError::from)?;
            let tag = reference.tag().map(ToString::to_string).unwrap_or_default();
            let size = target.size;
            let status = format!("{tag}: digest: {} size: {size}", target.digest);
            last = vec![JsonMessage::status("", status)];
        }
        Ok(last)
    };
    tell(lines, work).await
}

/// Answers with what `work` tells; with its error alone if it had told nothing yet.
async fn tell(
    mut lines: mpsc::Receiver<JsonMessage>,
    work: impl Future<Output = Result<Vec<JsonMessage>, ApiError>> + Send + 'static,
) -> Result<Reply, ApiError> {
    let mut work = Box::pin(work);
    let (first, done) = tokio::select! {
        biased;
        Some(line) = lines.recv() => (vec![line], None),
        done = &mut work => match done {
            Err(error) if lines.is_empty() => return Err(error),
            done => (Vec::new(), Some(done)),
        },
    };
    let (pieces, reply) = Reply::stream("application/json");
    tokio::spawn(async move {
        for line in first {
            if pieces.line(&line, "\r\n").await.is_err() {
                return;
            }
        }
        let done = match done {
            Some(done) => done,
            None => loop {
                tokio::select! {
                    biased;
                    Some(line) = lines.recv() => {
                        if pieces.line(&line, "\r\n").await.is_err() {
                            return;
                        }
                    }
                    done = &mut work => break done,
                    () = pieces.gone() => return,
                }
            },
        };
        let last = done.unwrap_or_else(|error| vec![JsonMessage::failure(error.message)]);
        lines.close();
        while let Some(line) = lines.recv().await {
            if pieces.line(&line, "\r\n").await.is_err() {
                return;
            }
        }
        for line in last {
            if pieces.line(&line, "\r\n").await.is_err() {
                return;
            }
        }
    });
    Ok(reply)
}

fn pulled_lines(reference: &Reference, pulled: &Pulled) -> Vec<JsonMessage> {
    let name = reference.familiar();
    let status = match pulled.unchanged {
        true => format!("Status: Image is up to date for {name}"),
        false => format!("Status: Downloaded newer image for {name}"),
    };
    let digest = format!("Digest: {}", pulled.target.digest);
    vec![JsonMessage::status("", digest), JsonMessage::status("", status)]
}

/// What `name` and `tag` mean together; `tag` may be a digest.
fn reference(name: &str, tag: &str) -> Result<Reference, ApiError> {
    let invalid = |error: dhow_spec::ReferenceError| ApiError::invalid(error.to_string());
    if tag.is_empty() {
        return Reference::parse(name).map_err(invalid);
    }
    let (repository, _, digest): (Repository, _, _) = Reference::split(name).map_err(invalid)?;
    if let Some(digest) = digest {
        return Ok(Reference::pinned(repository, digest));
    }
    match Digest::parse(tag) {
        Ok(digest) => Ok(Reference::pinned(repository, digest)),
        Err(_) => Ok(Reference::tagged(repository, parse_tag(tag)?)),
    }
}

/// Who the client is to the registry. As in Docker, what cannot be read counts as nobody.
pub(super) fn credentials(call: &Call) -> Option<Credentials> {
    let json = base64::decode(call.header("x-registry-auth"))?;
    from_config(serde_json::from_slice(&json).ok()?)
}

pub(super) fn from_config(config: AuthConfig) -> Option<Credentials> {
    if !config.identity_token.is_empty() {
        return Some(Credentials::Identity { token: config.identity_token });
    }
    if !config.registry_token.is_empty() {
        return Some(Credentials::Registry { token: config.registry_token });
    }
    let pair = base64::decode(&config.auth).and_then(|bytes| String::from_utf8(bytes).ok());
    let pair = pair.as_deref().and_then(|pair| pair.split_once(':'));
    let (username, password) = match (config.username.is_empty(), pair) {
        (true, Some((username, password))) => (username.to_owned(), password.to_owned()),
        (true, None) => return None,
        (false, _) => (config.username, config.password),
    };
    Some(Credentials::Password { username, password })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Pull,
    Push,
}

/// Words what happens, line by line.
struct Teller {
    direction: Direction,
    reference: Reference,
    lines: mpsc::Sender<JsonMessage>,
    state: Mutex<BTreeMap<Digest, Layer>>,
}

/// What was told of a layer.
#[derive(Default)]
struct Layer {
    /// Of its manifest's layers, not a document beside them.
    known: bool,
    told: Option<Instant>,
}

fn lines(
    direction: Direction,
    reference: &Reference,
) -> (mpsc::Receiver<JsonMessage>, Arc<Teller>) {
    let (sender, receiver) = mpsc::channel(LINES_MAX);
    let teller =
        Teller { direction, reference: reference.clone(), lines: sender, state: Mutex::default() };
    (receiver, Arc::new(teller))
}

impl Teller {
    /// The same for another name, with layers of its own.
    fn of(&self, reference: &Reference) -> Arc<Self> {
        Arc::new(Self {
            direction: self.direction,
            reference: reference.clone(),
            lines: self.lines.clone(),
            state: Mutex::default(),
        })
    }

    /// A step; lost only for a client that has not read for long.
    fn say(&self, line: JsonMessage) {
        let _ = self.lines.try_send(line);
    }

    fn step(&self, digest: &Digest, status: &str) {
        let known = self.with(digest, |layer| layer.known);
        if known || self.direction == Direction::Push {
            let mut line = JsonMessage::status(short(digest), status);
            line.progress = Some(ProgressDetail::default());
            self.say(line);
        }
    }

    fn advance(&self, digest: &Digest, status: &str, current: u64, total: u64) {
        let wanted = self.with(digest, |layer| {
            let now = Instant::now();
            let early = layer.told.is_some_and(|told| now - told < PROGRESS_EVERY);
            let wanted = layer.known && !early;
            if wanted {
                layer.told = Some(now);
            }
            wanted
        });
        if !wanted || self.lines.capacity() < LINES_MAX / 2 {
            return;
        }
        let number = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let mut line = JsonMessage::status(short(digest), status);
        line.progress = Some(ProgressDetail {
            current: number(current),
            total: number(total),
            ..ProgressDetail::default()
        });
        self.say(line);
    }

    fn with<T>(&self, digest: &Digest, change: impl FnOnce(&mut Layer) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(state.entry(*digest).or_default())
    }

    fn resolved(&self, layers: &[&dhow_spec::image::Descriptor]) {
        if self.direction == Direction::Pull {
            let id = match (self.reference.tag(), self.reference.digest()) {
                (_, Some(digest)) => digest.to_string(),
                (Some(tag), None) => tag.to_string(),
                (None, None) => String::new(),
            };
            let repository = self.reference.repository();
            let path = match repository.domain() {
                "docker.io" => repository.path().to_owned(),
                _ => repository.to_string(),
            };
            self.say(JsonMessage::status(id, format!("Pulling from {path}")));
        }
        for layer in layers {
            self.with(&layer.digest, |known| known.known = true);
            let first = match self.direction {
                Direction::Pull => "Pulling fs layer",
                Direction::Push => "Preparing",
            };
            self.step(&layer.digest, first);
        }
    }

    fn transfer(&self, event: &Transfer<'_>) {
        match (event, self.direction) {
            (Transfer::Progress { digest, done, size }, Direction::Pull) => {
                self.advance(digest, "Downloading", *done, *size);
            }
            (Transfer::Finished { digest }, Direction::Pull) => {
                self.step(digest, "Verifying Checksum");
            }
            (Transfer::Started { digest, .. }, Direction::Push) => {
                self.with(digest, |layer| layer.known = true);
            }
            (Transfer::Progress { digest, done, size }, Direction::Push) => {
                self.advance(digest, "Pushing", *done, *size);
            }
            (Transfer::Finished { digest }, Direction::Push) => self.step(digest, "Pushed"),
            (Transfer::Exists { digest }, Direction::Push) => {
                self.step(digest, "Layer already exists");
            }
            (Transfer::Mounted { digest, from }, Direction::Push) => {
                self.step(digest, &format!("Mounted from {from}"));
            }
            (Transfer::Retrying { wait, .. }, _) => {
                let status = format!("Retrying in {} seconds", wait.as_secs().max(1));
                self.say(JsonMessage::status("", status));
            }
            (Transfer::Warning { text, .. }, _) => self.say(JsonMessage::status("", *text)),
            _ => {}
        }
    }
}

impl Watcher for Teller {
    fn progress(&self, progress: &Progress<'_>) {
        match progress {
            Progress::Resolved { layers, .. } => self.resolved(layers),
            Progress::Layer { digest, step } => match step {
                Step::Waiting => self.step(digest, "Waiting"),
                Step::Exists => self.step(digest, "Already exists"),
                Step::Downloaded => self.step(digest, "Download complete"),
                Step::Unpacking { done, size } => {
                    self.advance(digest, "Extracting", *done, *size);
                }
                Step::Done => self.step(digest, "Pull complete"),
            },
            Progress::Transfer(event) => self.transfer(event),
            _ => {}
        }
    }
}

fn short(digest: &Digest) -> String {
    digest.hex().chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_digests() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let familiar = |name: &str, tag: &str| reference(name, tag).map(|found| found.familiar());
        assert_eq!(familiar("debian", "").unwrap(), "debian:latest");
        assert_eq!(familiar("debian", "12").unwrap(), "debian:12");
        assert_eq!(familiar("debian:11", "12").unwrap(), "debian:12");
        assert_eq!(familiar("debian", &digest).unwrap(), format!("debian@{digest}"));
        assert!(is_bare("r.example:5000/debian", "") && !is_bare("debian:11", ""));
        assert!(!is_bare("debian", "12"));
        assert_eq!(familiar("debian", "a b").unwrap_err().to_string(), "invalid tag format");
        familiar("Debian", "").unwrap_err();
    }

    #[test]
    fn all_ways_to_say_who_one_is() {
        let of = |json| from_config(serde_json::from_str(json).unwrap());
        let password = Credentials::Password { username: "u".into(), password: "p:q".into() };
        assert_eq!(of(r#"{"username":"u","password":"p:q"}"#), Some(password.clone()));
        assert_eq!(of(r#"{"auth":"dTpwOnE="}"#), Some(password));
        let token = || "t".to_owned();
        assert_eq!(
            of(r#"{"username":"u","identitytoken":"t"}"#),
            Some(Credentials::Identity { token: token() })
        );
        assert_eq!(of(r#"{"registrytoken":"t"}"#), Some(Credentials::Registry { token: token() }));
        assert_eq!(of("{}"), None);
    }
}
