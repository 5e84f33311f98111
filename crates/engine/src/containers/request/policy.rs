//! Whether a container is started again, and where its output goes.
//!
//! Invariant: only `on-failure` counts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::error::{RequestError, RestartFault};

/// When a container that has ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Never.
    #[default]
    No,
    /// When it failed, at most that often; zero for any number.
    OnFailure {
        /// How often.
        max: u32,
    },
    /// Always, and when the engine starts.
    Always,
    /// The same, unless a user has stopped it.
    UnlessStopped,
}

/// Where a container's output goes; the engine's default where the driver is empty.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LogConfig {
    /// The driver.
    pub driver: String,
    /// Its options.
    pub options: BTreeMap<String, String>,
}

impl RestartPolicy {
    /// From the API's word and count.
    pub fn parse(name: &str, count: i64) -> Result<Self, RequestError> {
        let policy = match name {
            // Clients from before API 1.44 send no name and whatever count.
            "" => return Ok(Self::No),
            "no" => Self::No,
            "always" => Self::Always,
            "unless-stopped" => Self::UnlessStopped,
            "on-failure" => {
                let max = u32::try_from(count)
                    .map_err(|_| RequestError::Restart(RestartFault::Negative))?;
                return Ok(Self::OnFailure { max });
            }
            word => {
                let word = word.to_owned();
                return Err(RequestError::Restart(RestartFault::Unknown { word }));
            }
        };
        if count != 0 {
            let negative = count < 0;
            return Err(RequestError::Restart(RestartFault::Count { negative }));
        }
        Ok(policy)
    }

    /// The API's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::OnFailure { .. } => "on-failure",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
        }
    }

    /// The API's count.
    pub fn count(self) -> u32 {
        match self {
            Self::OnFailure { max } => max,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_and_their_refusals() {
        let policy = RestartPolicy::parse("on-failure", 3).expect("a policy");
        assert_eq!((policy.name(), policy.count()), ("on-failure", 3));
        assert_eq!(RestartPolicy::parse("", 7), Ok(RestartPolicy::No));
        let refusal = |name, count| RestartPolicy::parse(name, count).expect_err(name).to_string();
        assert_eq!(
            refusal("always", -1),
            "invalid restart policy: maximum retry count can only be used with 'on-failure' and cannot be negative"
        );
        assert_eq!(
            refusal("on-failure", -1),
            "invalid restart policy: maximum retry count cannot be negative"
        );
        assert_eq!(
            refusal("sometimes", 0),
            "invalid restart policy: unknown policy 'sometimes'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        );
    }
}
