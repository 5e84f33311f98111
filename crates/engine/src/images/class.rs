//! What can be done about an error with images.
//!
//! Invariant: the class follows from the variant alone.

use dhow_distribution::Class;
use dhow_store::StoreImageError;

use super::error::{BlobFault, ImagesError, LayerFault, PullError, PushError};
use crate::error::ErrorClass;

impl ImagesError {
    /// What can be done about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) => of_store(error),
            Self::InUse { .. } | Self::NameInUse { .. } => ErrorClass::Conflict,
            Self::TagWithDigest | Self::Load(_) | Self::Instruction(_) => ErrorClass::Invalid,
            Self::Pull(error) => error.class(),
            Self::Ended => ErrorClass::Unavailable,
            Self::Save(_) | Self::Snapshots(_) | Self::Whole(_) | Self::Db(_) => {
                ErrorClass::Internal
            }
        }
    }
}

impl PullError {
    /// What can be done about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Registry(error)
            | Self::Layer { fault: LayerFault::Blob(BlobFault::Registry(error)), .. } => {
                of_registry(error.class())
            }
            Self::Image { .. } => ErrorClass::Invalid,
            Self::Store(error) => of_store(error),
            Self::Ended => ErrorClass::Unavailable,
            Self::Layer { .. } | Self::Content(_) | Self::Db(_) | Self::Whole(_) => {
                ErrorClass::Internal
            }
        }
    }
}

impl PushError {
    /// What can be done about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::NoImage { .. } | Self::Incomplete { .. } => ErrorClass::NotFound,
            Self::Registry(error) => of_registry(error.class()),
            Self::Discarded(error) => error.class(),
            Self::Store(error) => of_store(error),
            Self::Ended => ErrorClass::Unavailable,
            Self::Content(_) => ErrorClass::Internal,
        }
    }
}

fn of_registry(class: Class) -> ErrorClass {
    match class {
        Class::NotFound => ErrorClass::NotFound,
        Class::Invalid => ErrorClass::Invalid,
        Class::Unauthorized => ErrorClass::Unauthorized,
        // Registries say it of what is not there, and Docker's clients look for that.
        Class::Forbidden => ErrorClass::NotFound,
        Class::Unavailable => ErrorClass::Unavailable,
        Class::Unsupported => ErrorClass::Unsupported,
        Class::Internal => ErrorClass::Internal,
    }
}

fn of_store(error: &StoreImageError) -> ErrorClass {
    match error {
        StoreImageError::NotFound { .. }
        | StoreImageError::NoPlatform { .. }
        | StoreImageError::MissingContent(_) => ErrorClass::NotFound,
        StoreImageError::Db(_) | StoreImageError::Content(_) => ErrorClass::Internal,
        _ => ErrorClass::Invalid,
    }
}
