//! What happened.
//!
//! Invariant: none of its own. Absent on purpose: which events there are.

use std::collections::BTreeMap;

use crate::go::object;

object! {
    /// One line of `GET /events`.
    Event {
        kind: String = "Type",
        action: String = "Action",
        actor: Actor = "Actor",
        scope: String => "scope",
        /// Seconds since 1970.
        time: i64 => "time",
        /// The same in nanoseconds.
        time_nano: i64 => "timeNano",
    }

    /// What it happened to.
    Actor {
        id: String = "ID",
        attributes: BTreeMap<String, String> = "Attributes",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_a_line() {
        let event = Event {
            kind: "container".to_owned(),
            action: "start".to_owned(),
            actor: Actor { id: "ab".to_owned(), attributes: BTreeMap::new() },
            scope: "local".to_owned(),
            time: 1,
            time_nano: 1_000_000_002,
        };
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            r#"{"Type":"container","Action":"start","Actor":{"ID":"ab","Attributes":{}},"scope":"local","time":1,"timeNano":1000000002}"#
        );
    }
}
