//! One more process in a container.
//!
//! Invariant: none of its own.

use crate::go::object;

object! {
    /// `POST /containers/{id}/exec`.
    CreateExec {
        user: String = "User",
        privileged: bool = "Privileged",
        tty: bool = "Tty",
        /// Rows, then columns.
        console_size: Option<[u32; 2]> => "ConsoleSize",
        attach_stdin: bool = "AttachStdin",
        attach_stderr: bool = "AttachStderr",
        attach_stdout: bool = "AttachStdout",
        detach_keys: String = "DetachKeys",
        env: Option<Vec<String>> = "Env",
        working_dir: String = "WorkingDir",
        cmd: Option<Vec<String>> = "Cmd",
    }

    /// `POST /exec/{id}/start`.
    StartExec {
        detach: bool = "Detach",
        tty: bool = "Tty",
        /// Rows, then columns.
        console_size: Option<[u32; 2]> => "ConsoleSize",
    }

    /// `GET /exec/{id}/json`.
    ExecInspect {
        id: String = "ID",
        running: bool = "Running",
        exit_code: Option<i32> = "ExitCode",
        process_config: ExecProcess = "ProcessConfig",
        open_stdin: bool = "OpenStdin",
        open_stderr: bool = "OpenStderr",
        open_stdout: bool = "OpenStdout",
        can_remove: bool = "CanRemove",
        container_id: String = "ContainerID",
        /// Base64, as Go writes bytes.
        detach_keys: String = "DetachKeys",
        pid: i32 = "Pid",
    }

    /// What an exec runs.
    ExecProcess {
        tty: bool = "tty",
        entrypoint: String = "entrypoint",
        arguments: Vec<String> = "arguments",
        privileged: Option<bool> => "privileged",
        user: String => "user",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_reference_shows() {
        let json = r#"{
            "CanRemove": false,
            "ContainerID": "b53ee82b53a40c7dca428523e34f741f3abc51d9f297a14ff874bf761b995126",
            "DetachKeys": "", "ExitCode": 2,
            "ID": "f33bbfb39f5b142420f4759b2348913bd4a8d1a6d7fd56499cb41a1bb91d7b3b",
            "OpenStderr": true, "OpenStdin": true, "OpenStdout": true,
            "ProcessConfig": {
                "arguments": ["-c", "exit 2"], "entrypoint": "sh", "privileged": false,
                "tty": true, "user": "1000"
            },
            "Running": false, "Pid": 42000
        }"#;
        let exec: ExecInspect = serde_json::from_str(json).unwrap();
        assert_eq!(exec.exit_code, Some(2));
        assert_eq!(exec.process_config.arguments, ["-c", "exit 2"]);
        let again = serde_json::to_value(&exec).unwrap();
        assert_eq!(again, serde_json::from_str::<serde_json::Value>(json).unwrap());
    }
}
