//! Versions of the API, and which of them are served.
//!
//! Invariant: an accepted version lies between the oldest and the newest one; the texts of refusals are Docker's,
//! because clients look for them to try again with another version.

use std::fmt;
use std::str::FromStr;

use crate::http::error::ApiError;

/// A version of the API (`1.40`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ApiVersion {
    major: u32,
    minor: u32,
}

/// A text that is no version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidVersion {
    /// The text.
    pub text: String,
}

/// The versions that are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) oldest: ApiVersion,
    pub(crate) newest: ApiVersion,
}

/// Whoever asks may lower the oldest version that far.
const FLOOR: ApiVersion = ApiVersion::new(1, 24);
/// What the messages of `wire` are of.
pub(crate) const NEWEST: ApiVersion = ApiVersion::new(1, 56);
const OLDEST: ApiVersion = ApiVersion::new(1, 40);

impl ApiVersion {
    pub(crate) const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }
}

impl FromStr for ApiVersion {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, InvalidVersion> {
        let invalid = || InvalidVersion { text: text.to_owned() };
        let (major, minor) = text.split_once('.').ok_or_else(invalid)?;
        let number = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
            true => text.parse().map_err(|_| invalid()),
            false => Err(invalid()),
        };
        Ok(Self { major: number(major)?, minor: number(minor)? })
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl fmt::Display for InvalidVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "invalid API version \"{}\": must be MAJOR.MINOR, from {FLOOR} to {NEWEST}",
            self.text
        )
    }
}

impl std::error::Error for InvalidVersion {}

impl Versions {
    /// From the oldest one that is wanted, by default Docker's.
    pub(crate) fn from_oldest(text: Option<&str>) -> Result<Self, InvalidVersion> {
        let oldest = match text {
            None | Some("") => OLDEST,
            Some(text) => text.parse()?,
        };
        if oldest < FLOOR || oldest > NEWEST {
            return Err(InvalidVersion { text: oldest.to_string() });
        }
        Ok(Self { oldest, newest: NEWEST })
    }

    /// The version of a request whose path begins with that one (`1.41`), if it begins with one.
    pub(crate) fn accept(&self, asked: Option<&str>) -> Result<ApiVersion, ApiError> {
        let Some(asked) = asked else { return Ok(self.newest) };
        let Ok(version) = asked.parse::<ApiVersion>() else {
            return Err(ApiError::page_not_found());
        };
        if version < self.oldest {
            return Err(ApiError::invalid(format!(
                "client version {asked} is too old. Minimum supported API version is {}, please \
                 upgrade your client to a newer version",
                self.oldest
            )));
        }
        if version > self.newest {
            return Err(ApiError::invalid(format!(
                "client version {asked} is too new. Maximum supported API version is {}",
                self.newest
            )));
        }
        Ok(version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_the_one_of_the_messages() {
        assert_eq!(NEWEST.to_string(), dhow_wire::API_VERSION);
        assert_eq!(OLDEST.to_string(), dhow_wire::MIN_API_VERSION);
    }

    #[test]
    fn refusals_are_docker_s() {
        let versions = Versions::from_oldest(None).unwrap();
        let refused = |text| versions.accept(Some(text)).unwrap_err().to_string();
        assert_eq!(
            refused("1.39"),
            "client version 1.39 is too old. Minimum supported API version is 1.40, please upgrade your client to a newer version"
        );
        assert_eq!(
            refused("1.57"),
            "client version 1.57 is too new. Maximum supported API version is 1.56"
        );
        assert_eq!(refused("1.40.1"), "page not found");
        assert_eq!(versions.accept(None).unwrap(), NEWEST);
        assert_eq!(versions.accept(Some("1.41")).unwrap(), ApiVersion::new(1, 41));
    }

    #[test]
    fn the_oldest_can_be_lowered() {
        let versions = Versions::from_oldest(Some("1.24")).unwrap();
        versions.accept(Some("1.24")).unwrap();
        for text in ["1.23", "1.57", "x", "1", "1.x", "-1.4"] {
            Versions::from_oldest(Some(text)).unwrap_err();
        }
    }
}
