//! What users do with images and containers: registries, store and runtime brought together.
//!
//! Invariant: a slow operation holds nothing that a listing needs; whatever is interrupted can be done again.
//! Absent on purpose: HTTP routes, Docker's JSON, command lines.

mod build;
mod clock;
mod containers;
mod engine;
mod error;
mod events;
mod filters;
mod images;
mod networks;
pub mod plan;
mod readiness;
mod shipping;
#[cfg(test)]
mod testing;
pub mod volumes;

pub use build::{
    Annotation, AnnotationPlace, Begun, Build, BuildCacheRow, BuildFault, BuildOptions, BuildStage,
    BuiltImage, CachePrune, CachePruned, Cancel, ContextKey, ContextSource, Outlet, OutputKind,
};
pub use containers::asks::{
    AttachRequest, AttachTarget, ClientStream, ExecDetails, ExecRequest, ExecStart, ListRequest,
    LogsRequest, RemoveRequest, StopRequest, WaitCondition, Waited,
};
pub use containers::request;
pub use containers::state::{
    EndpointDetails, Health, Probe, PublishedPort, StateDetails, Status, human_duration,
};
pub use containers::stats::{Stats, Traffic};
pub use containers::table::Coming;
pub use containers::top::Top;
pub use containers::views::{
    ContainerDetails, ContainerSize, ContainerSummary, Created, MountDetails,
};
pub use dhow_builder::{
    Event as BuildEvent, Lint as BuildLint, LintWarning as BuildWarning, Observer as BuildObserver,
    OutputStream,
};
pub use dhow_distribution::{Credentials, Event as Transfer, Found as FoundRepository};
pub use dhow_runtime::{IoCount, Usage};
pub use dhow_store::{ChangeKind, PathStat};
pub use engine::{
    CommitRequest, Engine, EngineFacts, EngineOptions, ImageCount, LogLine, LogStream,
    NetworkMember, OpenError, Reload, Told, UnpackRequest, Upkeep, Wait,
};
pub use error::{Error, ErrorClass, PausedFor, StartError, StartFailure};
pub use events::{Event, EventKind, EventStream, EventsRequest};
pub use filters::Filters;
pub use images::{
    BlobFault, HELLO, HelloError, HistoryRow, ImageConflict, ImageDetails, ImageEngine,
    ImageEngineOptions, ImageFilters, ImageRow, ImageUser, ImagesError, ImportRequest,
    InstructionError, Interruption, LayerFault, LoadedImage, ManifestRow, ManifestRowKind,
    Progress, Pruned, PullError, PullRequest, Pulled, PushError, PushRequest, Ready,
    RemoteManifest, Removed, Saveable, Step, Watcher,
};
pub use networks::{Network, NetworkPool, NewNetwork};
