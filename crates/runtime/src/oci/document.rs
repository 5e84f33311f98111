//! The state of a container as `state` prints it and `list` collects it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::container::Container;
use crate::error::Error;

/// runc's document: the specification's state, and what its users have come to expect beside it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    pub(super) oci_version: String,
    pub(super) id: String,
    /// 0 if nothing runs.
    pub(super) pid: i32,
    pub(super) status: String,
    pub(super) bundle: String,
    pub(super) rootfs: String,
    pub(super) created: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: BTreeMap<String, String>,
    /// The name of the user who made it.
    pub(super) owner: String,
}

impl Document {
    pub(super) fn of(container: &Container) -> Result<Self, Error> {
        let state = container.state()?;
        Ok(Self {
            oci_version: state.oci_version,
            id: state.id,
            pid: state.pid.unwrap_or(0),
            status: state.status.to_string(),
            bundle: state.bundle,
            rootfs: container.rootfs().display().to_string(),
            created: container.created().to_owned(),
            annotations: state.annotations,
            owner: user_name(container.owner_uid()),
        })
    }
}

/// The host's name of a user, or `#` and the number.
fn user_name(uid: u32) -> String {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    name_in(&users, uid).map_or_else(|| format!("#{uid}"), str::to_owned)
}

fn name_in(users: &str, uid: u32) -> Option<&str> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    })
}

#[cfg(test)]
pub(super) fn sample(id: &str, pid: i32, status: &str, bundle: &str) -> Document {
    Document {
        oci_version: "1.3.0".to_owned(),
        id: id.to_owned(),
        pid,
        status: status.to_owned(),
        bundle: bundle.to_owned(),
        rootfs: format!("{bundle}/rootfs"),
        created: "2026-11-22T05:41:41.770136118Z".to_owned(),
        annotations: BTreeMap::new(),
        owner: "root".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_names_or_numbers() {
        let users = "root:x:0:0:root:/root:/bin/sh\nbroken\n#c:x:5:5\na:x:1000:1000::/:/bin/sh\n";
        assert_eq!(name_in(users, 0), Some("root"));
        assert_eq!(name_in(users, 1000), Some("a"));
        assert_eq!(name_in(users, 7), None);
        assert_eq!(user_name(u32::MAX - 5), "#4294967290");
    }
}
