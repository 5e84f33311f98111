//! `state`: one container as JSON.

use super::arguments::{Arguments, one_container};
use super::document::Document;
use super::help::Help;
use super::{Command, Context, Failure, print};

pub(super) const COMMAND: Command = Command { name: "state", help: &HELP, failure: 1, run };

const HELP: Help =
    Help { usage: "CONTAINER", about: "Prints a container's state as JSON.", topics: &[] };

fn run(context: &Context<'_>, arguments: Arguments) -> Result<u8, Failure> {
    let container = context.container(&one_container(arguments)?)?;
    print(&text(&Document::of(&container)?))?;
    Ok(0)
}

fn text(document: &Document) -> String {
    // Plain strings and numbers always print.
    serde_json::to_string_pretty(document).unwrap_or_default() + "\n"
}

#[cfg(test)]
mod tests {
    use super::super::document::sample;
    use super::*;

    #[test]
    fn the_document_has_the_fields_and_the_order_of_runc() {
        let mut document = sample("c1", 42, "running", "/b");
        let plain = r#"{
  "ociVersion": "1.3.0",
  "id": "c1",
  "pid": 42,
  "status": "running",
  "bundle": "/b",
  "rootfs": "/b/rootfs",
  "created": "2026-11-22T05:41:41.770136118Z",
  "owner": "root"
}
"#;
        assert_eq!(text(&document), plain);
        document.annotations.insert("a".to_owned(), "b".to_owned());
        assert!(
            text(&document).contains("118Z\",\n  \"annotations\": {\n    \"a\": \"b\"\n  },\n")
        );
    }
}
