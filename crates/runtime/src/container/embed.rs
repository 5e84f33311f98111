//! Containers of a caller that stays beside them: descriptors instead of paths, a child instead of a wait.
//!
//! The same ways as `create`, `run` and `exec`, for a single-threaded program that is the processes' parent
//! and reaps them itself.
//! Invariant: the program begins with the signals that the caller found at its own start: nothing that the
//! caller blocked for its own sake is blocked in a container.
//! Absent on purpose: waiting, passing signals on, and everything that the caller does with the streams.

use std::os::fd::{AsFd, OwnedFd};

use dhow_spec::runtime::{IdMapping, Process, Status};
use dhow_sys::{Child, SignalSet};

use super::create::Making;
use super::{Container, ContainerId, CreateOptions, StateRoot, launch};
use crate::error::Error;
use crate::foreground::Console;
use crate::init::receive_descriptor;

/// The standard streams of a process.
#[derive(Debug)]
pub enum Streams {
    /// These three.
    Descriptors {
        /// What it reads.
        stdin: OwnedFd,
        /// What it writes.
        stdout: OwnedFd,
        /// Where it complains.
        stderr: OwnedFd,
    },
    /// A terminal of its own, whose master the caller gets.
    Terminal {
        /// Rows and columns at the start; what the document says, if absent.
        size: Option<(u16, u16)>,
    },
}

/// What a caller gives a container besides its configuration.
#[derive(Debug)]
pub struct Given {
    /// A detached mount that becomes the container's root. It is attached to `root.path` in the container's
    /// own mount namespace: the host never sees it. Without one, `root.path` is the root.
    pub root: Option<OwnedFd>,
    /// Its standard streams.
    pub streams: Streams,
}

/// A process that runs, and is the caller's child.
#[derive(Debug)]
pub struct Live {
    /// The process.
    pub child: Child,
    /// Its terminal's master.
    pub terminal: Option<OwnedFd>,
}

/// What of [`Streams`] a child is told.
pub(super) struct Plumbing {
    pub(super) streams: Option<[OwnedFd; 3]>,
    pub(super) console: Option<Console>,
    /// Where the terminal's master will come from.
    receiver: Option<OwnedFd>,
}

impl Streams {
    /// Makes what the child needs; `terminal` is what the document says of it.
    fn plumb(self, terminal: bool) -> Result<Plumbing, Error> {
        match self {
            Self::Descriptors { stdin, stdout, stderr } if !terminal => Ok(Plumbing {
                streams: Some([stdin, stdout, stderr]),
                console: None,
                receiver: None,
            }),
            Self::Terminal { size } if terminal => {
                let (console, receiver) =
                    Console::pair(size).map_err(Error::call("make the console socket"))?;
                Ok(Plumbing { streams: None, console: Some(console), receiver: Some(receiver) })
            }
            _ => Err(Error::Refused {
                field: "process.terminal",
                value: terminal.to_string(),
                reason: "the streams that were given are not of that kind",
            }),
        }
    }
}

/// Receives the terminal's master, if one is to come.
fn master_of(receiver: Option<OwnedFd>) -> Result<Option<OwnedFd>, Error> {
    match receiver {
        Some(receiver) => {
            receive_descriptor(receiver.as_fd()).map_err(Error::call("receive the terminal"))
        }
        None => Ok(None),
    }
}

/// Makes a container whose program runs when this returns.
///
/// The paths of `options` that take descriptors or pids (`console_socket`, `pid_file`, `pidfd_socket`) are
/// served as by `run`, but a terminal always comes back as a descriptor.
pub fn spawn(
    root: &StateRoot,
    id: &ContainerId,
    options: &CreateOptions,
    given: Given,
) -> Result<(Container, Live), Error> {
    let mut making = Making::begin(root, id, options)?;
    let launched = given.streams.plumb(making.wants_terminal()).and_then(|plumbing| {
        making.mask = SignalSet::NONE;
        making.root_mount = given.root;
        making.streams = plumbing.streams;
        let child = making.run_on(plumbing.console)?;
        let terminal = master_of(plumbing.receiver)?;
        Ok(Live { child, terminal })
    });
    match launched {
        Ok(live) => Ok((making.done(), live)),
        Err(error) => Err(making.undo(error)),
    }
}

impl Container {
    /// Runs one more process in the container, and returns when its program runs.
    pub fn spawn(&self, process: &Process, streams: Streams) -> Result<Live, Error> {
        match self.status()? {
            Status::Created | Status::Running => {}
            status => return Err(self.wrong("exec in", status)),
        }
        let plumbing = streams.plumb(process.terminal)?;
        let Plumbing { streams, console, receiver } = plumbing;
        let outer = super::exec::Outer {
            descriptors: Vec::new(),
            streams,
            console,
            cgroup: &[],
            mask: SignalSet::NONE,
        };
        let child = self.launch_exec(process, outer)?;
        match master_of(receiver) {
            Ok(terminal) => Ok(Live { child, terminal }),
            Err(error) => {
                launch::kill_and_reap(&child);
                Err(error)
            }
        }
    }
}

/// A user namespace with these mappings and nobody in it, for an id-mapped root.
pub fn user_namespace(uids: &[IdMapping], gids: &[IdMapping]) -> Result<OwnedFd, Error> {
    super::mapping::user_namespace(uids, gids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::CgroupManager;
    use crate::error::StepKind;
    use dhow_sys::{Exit, MountAttr, mount_setattr};
    use rustix::mount::{OpenTreeFlags, open_tree};
    use std::io::{Read, Write};
    use std::path::{Path, PathBuf};

    /// A bundle whose root is an empty directory, and a root for states.
    struct Place(PathBuf);

    impl Place {
        /// Nothing where no namespaces may be made.
        fn new(name: &str, terminal: bool, script: &str) -> Option<Self> {
            if !rustix::process::geteuid().is_root() {
                return None;
            }
            let dir =
                std::env::temp_dir().join(format!("dhow-embed-{name}-{}", std::process::id()));
            std::fs::create_dir_all(dir.join("bundle/rootfs")).unwrap();
            let config = format!(
                r#"{{"ociVersion":"1.2.0","root":{{"path":"rootfs"}},
                "process":{{"terminal":{terminal},"args":["/bin/sh","-c","{script}"],"cwd":"/",
                    "env":["PATH=/usr/bin:/bin"]}},
                "mounts":[{{"destination":"/proc","type":"proc","source":"proc"}},
                    {{"destination":"/dev","type":"tmpfs","source":"tmpfs"}},
                    {{"destination":"/dev/pts","type":"devpts","source":"devpts",
                      "options":["newinstance","ptmxmode=0666"]}}],
                "linux":{{"namespaces":[{{"type":"mount"}},{{"type":"pid"}},{{"type":"ipc"}}]}}}}"#
            );
            std::fs::write(dir.join("bundle/config.json"), config).unwrap();
            Some(Self(dir))
        }

        fn states(&self) -> StateRoot {
            StateRoot::open(&self.0.join("states")).unwrap()
        }

        fn options(&self) -> CreateOptions {
            CreateOptions {
                bundle: self.0.join("bundle"),
                config: "config.json".into(),
                console_socket: None,
                pid_file: None,
                pidfd_socket: None,
                preserve_fds: 0,
                no_pivot: false,
                no_new_keyring: false,
                cgroup_manager: CgroupManager::Disabled,
                no_subreaper: true,
                notify_socket: None,
                listen_fds: 0,
            }
        }

        fn spawn(&self, streams: Streams) -> Result<(Container, Live), Error> {
            let id = ContainerId::parse("c1").unwrap();
            let given = Given { root: Some(root()), streams };
            spawn(&self.states(), &id, &self.options(), given)
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// The host's root as a mount of its own, which nobody can write to.
    fn root() -> OwnedFd {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = open_tree(rustix::fs::CWD, c"/", flags).unwrap();
        let attr = MountAttr { set: crate::init::READ_ONLY, ..MountAttr::default() };
        mount_setattr(tree.as_fd(), c"", false, &attr).unwrap();
        tree
    }

    fn pipe() -> (std::fs::File, OwnedFd) {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        (read.into(), write)
    }

    /// Streams, and our ends of them.
    fn pipes() -> (Streams, OwnedFd, std::fs::File, std::fs::File) {
        let ((stdin, input), (output, stdout), (errors, stderr)) = (pipe(), pipe(), pipe());
        let streams = Streams::Descriptors { stdin: stdin.into(), stdout, stderr };
        (streams, input, output, errors)
    }

    fn text_of(mut file: std::fs::File) -> String {
        let mut text = String::new();
        // A terminal whose last user has gone is an error to read from.
        let _ = file.read_to_string(&mut text);
        text
    }

    fn host_sees(path: &Path) -> bool {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        mounts.contains(path.to_str().unwrap())
    }

    #[test]
    fn a_container_has_the_root_and_the_streams_that_it_was_given() {
        let script = "read word; echo out $word; echo err >&2; test -x /bin/sh && exit 3";
        let Some(place) = Place::new("streams", false, script) else { return };
        let (streams, input, output, errors) = pipes();
        let (container, live) = place.spawn(streams).unwrap();
        assert!(!host_sees(&place.0), "the root is mounted on the host");
        std::fs::File::from(input).write_all(b"in\n").unwrap();
        assert_eq!(text_of(output), "out in\n");
        assert_eq!(text_of(errors), "err\n");
        assert_eq!(live.child.wait().unwrap(), Exit::Code(3));
        container.delete(&place.states(), false).unwrap();
    }

    #[test]
    fn one_more_process_has_streams_of_its_own() {
        let Some(place) = Place::new("exec", false, "read end") else { return };
        let (streams, input, ..) = pipes();
        let (container, live) = place.spawn(streams).unwrap();
        let mut process = container.spec().process.clone().unwrap();
        process.args = ["sh", "-c", "read word; echo $word $$; exit 4"].map(str::to_owned).into();
        let (streams, word, output, _errors) = pipes();
        let exec = container.spawn(&process, streams).unwrap();
        std::fs::File::from(word).write_all(b"pid\n").unwrap();
        let text = text_of(output);
        assert!(text.starts_with("pid ") && text != "pid 1\n", "{text}");
        assert_eq!(exec.child.wait().unwrap(), Exit::Code(4));

        process.args = vec!["no-such-program".into()];
        let error = container.spawn(&process, pipes().0).unwrap_err();
        assert_eq!(error.step_kind(), Some(StepKind::ProgramNotFound), "{error}");
        process.args = vec!["/etc".into()];
        let error = container.spawn(&process, pipes().0).unwrap_err();
        assert_eq!(error.step_kind(), Some(StepKind::ProgramNotExecutable), "{error}");

        process.args = ["sh", "-c", "stty size; exit 5"].map(str::to_owned).into();
        process.terminal = true;
        let exec = container.spawn(&process, Streams::Terminal { size: Some((33, 77)) }).unwrap();
        let terminal = exec.terminal.unwrap();
        assert_eq!(exec.child.wait().unwrap(), Exit::Code(5));
        assert_eq!(text_of(terminal.into()), "33 77\r\n");
        drop(input);
        live.child.wait().unwrap();
        container.delete(&place.states(), false).unwrap();
    }

    #[test]
    fn a_terminal_comes_back_as_its_master() {
        let Some(place) = Place::new("terminal", true, "stty size; tty") else { return };
        let (streams, ..) = pipes();
        let error = place.spawn(streams).unwrap_err();
        assert!(error.to_string().contains("not of that kind"), "{error}");
        let (container, live) = place.spawn(Streams::Terminal { size: Some((24, 80)) }).unwrap();
        live.child.wait().unwrap();
        assert_eq!(text_of(live.terminal.unwrap().into()), "24 80\r\n/dev/pts/0\r\n");
        container.delete(&place.states(), false).unwrap();
    }

    #[test]
    fn what_fails_leaves_nothing() {
        let Some(place) = Place::new("fails", false, "true") else { return };
        let config = place.0.join("bundle/config.json");
        let text = std::fs::read_to_string(&config).unwrap().replace("/bin/sh", "/bin/no-shell");
        std::fs::write(&config, text).unwrap();
        let error = place.spawn(pipes().0).unwrap_err();
        assert_eq!(error.step_kind(), Some(StepKind::ProgramNotFound), "{error}");
        assert!(place.states().list().unwrap().is_empty());
        assert!(!host_sees(&place.0));
    }
}
