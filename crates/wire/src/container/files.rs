//! Files of containers.
//!
//! Invariant: none of its own.

use crate::go::object;

object! {
    /// What stands at a path: the header `X-Docker-Container-Path-Stat`, in base64.
    FileStat {
        name: String = "name",
        size: i64 = "size",
        /// Kind and permissions in the number of Go's `fs.FileMode`.
        mode: u32 = "mode",
        mtime: String = "mtime",
        link_target: String = "linkTarget",
    }

    /// A path that is otherwise than in the image: 0 changed, 1 added, 2 deleted.
    Change {
        path: String = "Path",
        kind: u32 = "Kind",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change() {
        let change: Change = serde_json::from_str(r#"{"Path":"/a","Kind":2}"#).expect("JSON");
        assert_eq!((change.path.as_str(), change.kind), ("/a", 2));
    }
}
