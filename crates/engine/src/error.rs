//! What can go wrong with containers, in the words that Docker's clients and scripts look for.
//!
//! Invariant: every error has a class, which is all that decides about statuses and exit codes; a message names
//! the object that it is about. Texts that scripts match are Docker's, capitals included.
//! Absent on purpose: HTTP statuses.

use std::fmt;
use std::io;
use std::path::PathBuf;

pub use dhow_monitor::StartFailure;
use dhow_store::{ContainerRecordError, DbError, SnapshotsError, StoreError, StoreImageError};

use crate::containers::request::RequestError;
use crate::images::PullError;
use crate::plan::{PlanError, UserError};
use crate::volumes::VolumeError;

/// What can be done about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// There is no such thing.
    NotFound,
    /// The request makes no sense.
    Invalid,
    /// Something else has it, or its state does not allow it.
    Conflict,
    /// It is so already.
    NotModified,
    /// The caller may not.
    Forbidden,
    /// Who the caller is was not proven.
    Unauthorized,
    /// It is not built, or the host cannot do it.
    Unsupported,
    /// Not now.
    Unavailable,
    /// Everything else.
    Internal,
}

/// A request that was not carried out.
#[derive(Debug)]
pub enum Error {
    /// No container has that name or id.
    NoSuchContainer {
        /// What was asked for.
        query: String,
    },
    /// More than one container's id begins so.
    AmbiguousId {
        /// What was asked for.
        query: String,
    },
    /// Another container is called so.
    NameTaken {
        /// The name.
        name: String,
        /// The other's id.
        by: String,
    },
    /// Nothing can be called so.
    InvalidName {
        /// The name.
        name: String,
    },
    /// No image has that name or id.
    NoSuchImage {
        /// What was asked for.
        reference: String,
    },
    /// Nobody made an exec with that id, or its container has ended since.
    NoSuchExec {
        /// What was asked for.
        id: String,
    },
    /// It must run for that.
    NotRunning {
        /// What was to be done, as the beginning of the message; may be empty.
        doing: &'static str,
        /// The container.
        id: String,
    },
    /// It must not be paused for that.
    Paused {
        /// Docker's sentence about it.
        said: PausedFor,
        /// The container.
        id: String,
    },
    /// It is not paused.
    NotPaused {
        /// The container.
        id: String,
    },
    /// It waits for its next start.
    Restarting {
        /// The container.
        id: String,
    },
    /// It is so already: started, stopped.
    NotModified,
    /// It runs and nobody said `force`.
    StillRunning {
        /// The container's name.
        name: String,
        /// What it is doing, in Docker's word.
        status: &'static str,
    },
    /// It is being removed.
    BeingRemoved {
        /// The container.
        id: String,
    },
    /// The container that another one lives in, or takes volumes from, is not as it must be.
    Dependency {
        /// Whole sentence.
        message: String,
        /// Its class.
        class: ErrorClass,
    },
    /// An exec has run already.
    ExecEnded {
        /// The exec.
        id: String,
    },
    /// An exec was started already.
    ExecRunning {
        /// The exec.
        id: String,
    },
    /// Something in the request is wrong.
    Invalid {
        /// Docker's sentence about it.
        message: String,
    },
    /// Something in the request is understood and not built.
    Unsupported {
        /// The field or option.
        what: String,
    },
    /// A filter that this list does not know.
    InvalidFilter {
        /// Its name.
        name: String,
    },
    /// A filter's value that says nothing.
    InvalidFilterValue {
        /// Its name.
        name: String,
        /// The value.
        value: String,
    },
    /// What was asked for collides with something.
    Conflict {
        /// Docker's sentence about it.
        message: String,
    },
    /// The container did not come up; see the start's error.
    Start(StartError),
    /// The container's monitor said no.
    Monitor {
        /// What it said.
        message: String,
    },
    /// The container's monitor cannot be reached.
    NoMonitor {
        /// The container.
        id: String,
    },
    /// The container's network.
    Network {
        /// What the network said.
        message: String,
        /// Its class.
        class: ErrorClass,
    },
    /// The built-in image could not be made.
    Hello {
        /// Why.
        message: String,
    },
    /// The container's root cannot be looked into.
    Root {
        /// Why.
        message: String,
    },
    /// Nobody takes the output where it is to be sent.
    LogDestination {
        /// The log driver.
        driver: String,
        /// Why.
        message: String,
    },
    /// The logs cannot be read.
    Logs {
        /// Why.
        message: String,
    },
    /// The runtime's word.
    Runtime(Box<dhow_runtime::Error>),
    /// The store's images.
    Image(Box<StoreImageError>),
    /// The store's snapshots.
    Snapshot(Box<SnapshotsError>),
    /// The store itself.
    Store(Box<StoreError>),
    /// The store's database.
    Db(Box<DbError>),
    /// A file of the engine's.
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// This machine cannot do what was asked for.
    Plan(Box<PlanError>),
    /// The container's files know no such user or group.
    User(UserError),
    /// What was asked for makes no sense.
    Request(Box<RequestError>),
    /// The image is here, and cannot be made ready to run.
    Unready {
        /// The image.
        image: String,
        /// Why not.
        error: Box<PullError>,
    },
    /// A container's record cannot be read.
    Record {
        /// Its id.
        id: String,
        /// Why not.
        reason: String,
    },
    /// A path of a container where nothing is.
    NoSuchFile {
        /// The path.
        path: String,
        /// The container, as asked for.
        container: String,
    },
    /// Files of a container could not be copied.
    Files(Box<dhow_store::FilesError>),
    /// A container did not become an image.
    Commit {
        /// Why.
        message: String,
    },
    /// It may not be done there.
    Forbidden {
        /// Docker's sentence about it.
        message: String,
    },
    /// The engine is going down.
    Closing,
    /// A volume.
    Volume(Box<VolumeError>),
}

/// What a paused container was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PausedFor {
    /// To be paused.
    Pause,
    /// To run something more.
    Exec,
    /// To be started.
    Start,
    /// To be attached to.
    Attach,
}

/// Why a container's program does not run. Clients take their exit code from the words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartError {
    /// What kind it is.
    pub kind: StartFailure,
    /// What the runtime said.
    pub message: String,
}

impl Error {
    /// What can be done about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::NoSuchContainer { .. }
            | Self::NoSuchImage { .. }
            | Self::NoSuchExec { .. }
            | Self::NoSuchFile { .. } => ErrorClass::NotFound,
            Self::Forbidden { .. } => ErrorClass::Forbidden,
            Self::Files(error) => match error.class() {
                dhow_store::Class::NotFound => ErrorClass::NotFound,
                dhow_store::Class::Invalid => ErrorClass::Invalid,
                _ => ErrorClass::Internal,
            },
            Self::AmbiguousId { .. }
            | Self::InvalidName { .. }
            | Self::Invalid { .. }
            | Self::InvalidFilter { .. }
            | Self::InvalidFilterValue { .. } => ErrorClass::Invalid,
            Self::NameTaken { .. }
            | Self::NotRunning { .. }
            | Self::Paused { .. }
            | Self::Restarting { .. }
            | Self::StillRunning { .. }
            | Self::BeingRemoved { .. }
            | Self::ExecRunning { .. }
            | Self::ExecEnded { .. }
            | Self::Conflict { .. } => ErrorClass::Conflict,
            Self::NotPaused { .. } => ErrorClass::Internal,
            Self::Volume(error) => error.class(),
            Self::NotModified => ErrorClass::NotModified,
            Self::Dependency { class, .. } | Self::Network { class, .. } => *class,
            Self::Unsupported { .. } => ErrorClass::Unsupported,
            Self::Request(error) => match **error {
                RequestError::Unsupported { .. } => ErrorClass::Unsupported,
                _ => ErrorClass::Invalid,
            },
            Self::Start(error) => match error.kind {
                StartFailure::NotFound | StartFailure::NotExecutable => ErrorClass::Invalid,
                StartFailure::Other => ErrorClass::Internal,
            },
            Self::Plan(error) => plan_class(error),
            Self::User(_) => ErrorClass::Invalid,
            Self::Image(error) => image_class(error),
            Self::Closing | Self::NoMonitor { .. } => ErrorClass::Unavailable,
            Self::Monitor { .. }
            | Self::Commit { .. }
            | Self::Root { .. }
            | Self::Hello { .. }
            | Self::LogDestination { .. }
            | Self::Logs { .. }
            | Self::Runtime(_)
            | Self::Snapshot(_)
            | Self::Store(_)
            | Self::Db(_)
            | Self::Unready { .. }
            | Self::Record { .. }
            | Self::Io { .. } => ErrorClass::Internal,
        }
    }

    pub(crate) fn io(doing: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { doing, path: path.into(), source }
    }
}

fn plan_class(error: &PlanError) -> ErrorClass {
    match error {
        PlanError::Path { .. } | PlanError::Device { .. } => ErrorClass::Internal,
        PlanError::Unsupported { .. } => ErrorClass::Unsupported,
        _ => ErrorClass::Invalid,
    }
}

fn image_class(error: &StoreImageError) -> ErrorClass {
    match error {
        StoreImageError::NotFound { .. } | StoreImageError::NoPlatform { .. } => {
            ErrorClass::NotFound
        }
        StoreImageError::MissingContent(_) => ErrorClass::NotFound,
        StoreImageError::Db(_) | StoreImageError::Content(_) => ErrorClass::Internal,
        _ => ErrorClass::Invalid,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchContainer { query } => write!(f, "No such container: {query}"),
            Self::Volume(error) => error.fmt(f),
            Self::AmbiguousId { query } => {
                write!(f, "Multiple IDs found with provided prefix: {query}")
            }
            Self::NameTaken { name, by } => write!(
                f,
                "Conflict. The container name \"/{name}\" is already in use by container \"{by}\". \
                 You have to remove (or rename) that container to be able to reuse that name."
            ),
            Self::InvalidName { name } => write!(
                f,
                "Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
            ),
            Self::NoSuchImage { reference } => write!(f, "No such image: {reference}"),
            Self::NoSuchExec { id } => write!(f, "No such exec instance: {id}"),
            Self::NotRunning { doing, id } => write!(f, "{doing}container {id} is not running"),
            Self::Paused { said, id } => said.write(f, id),
            Self::NotPaused { id } => write!(f, "Container {id} is not paused"),
            Self::Restarting { id } => {
                write!(f, "Container {id} is restarting, wait until the container is running")
            }
            Self::NotModified => f.write_str("not modified"),
            Self::StillRunning { name, status: "paused" } => write!(
                f,
                "cannot remove container \"/{name}\": container is paused and must be unpaused first"
            ),
            Self::StillRunning { name, status } => write!(
                f,
                "cannot remove container \"/{name}\": container is {status}: \
                 stop the container before removing or force remove"
            ),
            Self::BeingRemoved { id } => {
                write!(f, "removal of container {id} is already in progress")
            }
            Self::ExecEnded { id } => write!(f, "Error: Exec command {id} has already run"),
            Self::ExecRunning { id } => {
                write!(f, "Error: Exec command {id} is already running")
            }
            Self::Dependency { message, .. }
            | Self::Invalid { message }
            | Self::Conflict { message }
            | Self::Forbidden { message }
            | Self::Commit { message }
            | Self::Monitor { message }
            | Self::Network { message, .. }
            | Self::Root { message }
            | Self::Hello { message }
            | Self::Logs { message } => f.write_str(message),
            Self::LogDestination { driver, message } => {
                write!(f, "failed to initialize logging driver: {driver}: {message}")
            }
            Self::Unsupported { what } => write!(f, "{what} is not supported by this engine"),
            Self::InvalidFilter { name } => write!(f, "invalid filter '{name}'"),
            Self::InvalidFilterValue { name, value } => {
                write!(f, "invalid filter '{name}={value}'")
            }
            Self::Start(error) => error.fmt(f),
            Self::NoMonitor { id } => write!(f, "container {id}: its monitor does not answer"),
            Self::Runtime(error) => error.fmt(f),
            Self::Image(error) => error.fmt(f),
            Self::Snapshot(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
            Self::Db(error) => error.fmt(f),
            Self::Io { doing, path, source } => write!(f, "{doing} {}: {source}", path.display()),
            Self::Plan(error) => error.fmt(f),
            Self::User(error) => error.fmt(f),
            Self::Request(error) => error.fmt(f),
            Self::Unready { error, .. } => error.fmt(f),
            Self::Record { id, reason } => {
                write!(f, "container {id}: its record cannot be read: {reason}")
            }
            Self::NoSuchFile { path, container } => {
                write!(f, "Could not find the file {path} in container {container}")
            }
            Self::Files(error) => error.fmt(f),
            Self::Closing => f.write_str("the engine is going down"),
        }
    }
}

impl PausedFor {
    fn write(self, f: &mut fmt::Formatter<'_>, id: &str) -> fmt::Result {
        match self {
            Self::Pause => write!(f, "Container {id} is already paused"),
            Self::Exec => {
                write!(f, "container {id} is paused, unpause the container before exec")
            }
            Self::Start => f.write_str("cannot start a paused container, try unpause instead"),
            Self::Attach => {
                write!(f, "container {id} is paused, unpause the container before attach")
            }
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "failed to create task for container: failed to create shim task: \
             OCI runtime create failed: {}",
            self.message
        )
    }
}

impl std::error::Error for Error {}

impl std::error::Error for StartError {}

impl From<VolumeError> for Error {
    fn from(error: VolumeError) -> Self {
        Self::Volume(Box::new(error))
    }
}

impl From<ContainerRecordError> for Error {
    fn from(error: ContainerRecordError) -> Self {
        match error {
            ContainerRecordError::NameTaken { name, by } => Self::NameTaken { name, by },
            ContainerRecordError::NotFound { id } => Self::NoSuchContainer { query: id },
            ContainerRecordError::Db(error) => error.into(),
        }
    }
}

impl From<PlanError> for Error {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Request(error) => error.into(),
            error => Self::Plan(Box::new(error)),
        }
    }
}

impl From<UserError> for Error {
    fn from(error: UserError) -> Self {
        Self::User(error)
    }
}

impl From<RequestError> for Error {
    fn from(error: RequestError) -> Self {
        Self::Request(Box::new(error))
    }
}

impl From<StoreImageError> for Error {
    fn from(error: StoreImageError) -> Self {
        Self::Image(Box::new(error))
    }
}

impl From<SnapshotsError> for Error {
    fn from(error: SnapshotsError) -> Self {
        Self::Snapshot(Box::new(error))
    }
}

impl From<DbError> for Error {
    fn from(error: DbError) -> Self {
        Self::Db(Box::new(error))
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::Store(Box::new(error))
    }
}

impl From<dhow_runtime::Error> for Error {
    fn from(error: dhow_runtime::Error) -> Self {
        Self::Runtime(Box::new(error))
    }
}
