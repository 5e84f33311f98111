//! Answers to what is done to containers.
//!
//! Invariant: none of its own.

use super::host::{Resources, RestartPolicy};
use crate::go::object;
use crate::network::PortMap;

object! {
    /// A container was made.
    Created {
        id: String = "Id",
        warnings: Vec<String> = "Warnings",
    }

    /// A container ended.
    Waited {
        error: Option<WaitError> => "Error",
        status_code: i64 = "StatusCode",
    }

    /// Why its end is not known.
    WaitError {
        message: String => "Message",
    }

    /// `POST /containers/{id}/update`.
    Update {
        #[serde(flatten)]
        resources: Resources,
        restart_policy: RestartPolicy = "RestartPolicy",
        // Ours, beside Docker's: ports that come and go while the container runs.
        publish_add: Option<PortMap> => "DhowPublishAdd",
        publish_remove: Option<PortMap> => "DhowPublishRemove",
    }

    /// Its answer.
    Warnings {
        warnings: Option<Vec<String>> = "Warnings",
    }

    /// A container's processes.
    Top {
        processes: Option<Vec<Vec<String>>> = "Processes",
        titles: Vec<String> = "Titles",
    }

    /// `POST /containers/prune`.
    Pruned {
        containers_deleted: Option<Vec<String>> = "ContainersDeleted",
        space_reclaimed: u64 = "SpaceReclaimed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_keeps_what_it_says_of_resources() {
        let update: Update = serde_json::from_str(
            r#"{"BlkioWeight":300,"Memory":314572800,"RestartPolicy":{"Name":"on-failure","MaximumRetryCount":4}}"#,
        )
        .unwrap();
        assert_eq!(update.resources.memory, 314_572_800);
        assert_eq!(update.restart_policy.maximum_retry_count, 4);
    }

    #[test]
    fn an_end() {
        assert_eq!(serde_json::to_string(&Waited::default()).unwrap(), r#"{"StatusCode":0}"#);
    }
}
