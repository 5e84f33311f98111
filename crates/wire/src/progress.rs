//! The lines of long requests: pull, push, load, build.
//!
//! Invariant: an error after the first line is a line of its own; the status was sent long before.

use crate::go::object;

object! {
    /// One line.
    JsonMessage {
        stream: String => "stream",
        status: String => "status",
        progress: Option<ProgressDetail> => "progressDetail",
        /// The bar as text, which older clients print.
        progress_message: String => "progress",
        id: String => "id",
        error: Option<ErrorDetail> => "errorDetail",
        /// The error's text again, for older clients.
        error_message: String => "error",
        aux: Option<serde_json::Value> => "aux",
    }

    /// How far something is.
    ProgressDetail {
        current: i64 => "current",
        total: i64 => "total",
        start: i64 => "start",
        hide_counts: bool => "hidecounts",
        units: String => "units",
    }

    /// What went wrong.
    ErrorDetail {
        code: i32 => "code",
        message: String => "message",
    }
}

impl JsonMessage {
    /// A line about `id` without progress.
    pub fn status(id: impl Into<String>, status: impl Into<String>) -> Self {
        Self { id: id.into(), status: status.into(), ..Self::default() }
    }

    /// The line that ends a request that failed.
    pub fn failure(message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            error: Some(ErrorDetail { code: 0, message: message.clone() }),
            error_message: message,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_and_failure() {
        let mut line = JsonMessage::status("4abcf2066143", "Downloading");
        line.progress = Some(ProgressDetail { current: 1, total: 10, ..ProgressDetail::default() });
        assert_eq!(
            serde_json::to_string(&line).unwrap(),
            r#"{"status":"Downloading","progressDetail":{"current":1,"total":10},"id":"4abcf2066143"}"#
        );
        assert_eq!(
            serde_json::to_string(&JsonMessage::failure("no")).unwrap(),
            r#"{"errorDetail":{"message":"no"},"error":"no"}"#
        );
    }
}
