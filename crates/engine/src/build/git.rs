//! Repositories, brought here by the host's `git`.
//!
//! Invariants: an address is an argument and nothing else; no configuration of the host's, no prompt and no helper
//! program has a say; what was checked out goes when nobody reads it any more. A secret named `GIT_AUTH_TOKEN` goes
//! through the environment, where no other user sees it.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use dhow_builder::{Checkout, FileInfo, Files, FilesError, GitSource, WorkError};
use dhow_spec::base64;
use dhow_store::{Mounts, RootView};
use rustix::process::{Pid, Signal, kill_process_group};

use super::cancel::Cancel;
use super::files::RootFiles;
use super::layers::failed;
use super::options::BuildOptions;
use crate::containers::new_id;
use crate::containers::task::remove_tree;
use crate::error::Error;

/// Below the data root: what builds lay out for a moment.
pub(crate) const PLACE: &str = "builds";
/// How often a program that runs is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// As much of what git says as a message takes.
const SAID_BYTES_MAX: u64 = 4 << 10;
/// The only ways that are taken, whatever a repository's submodules say.
const PROTOCOLS: &str = "http:https:git:ssh";

/// A directory that goes when it is dropped.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // The next engine removes what cannot be removed now.
        let _ = remove_tree(&self.0);
    }
}

/// Files of a directory, which goes with them.
struct ScratchFiles {
    files: RootFiles,
    _scratch: Scratch,
}

impl Files for ScratchFiles {
    fn look(&self, path: &[u8]) -> Result<Option<FileInfo>, FilesError> {
        self.files.look(path)
    }

    fn names(&self, path: &[u8]) -> Result<Vec<Vec<u8>>, FilesError> {
        self.files.names(path)
    }

    fn open(&self, path: &[u8]) -> Result<Box<dyn Read + '_>, FilesError> {
        self.files.open(path)
    }
}

/// Brings a repository's files here.
pub(super) fn checkout(
    data_root: &Path,
    options: &BuildOptions,
    cancel: &Cancel,
    source: &GitSource,
    keep_git_dir: bool,
) -> Result<Checkout, WorkError> {
    let id = new_id().map_err(failed)?;
    let scratch = Scratch(data_root.join(PLACE).join(&id[..24]));
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&scratch.0);
    made.map_err(|error| failed(Error::io("make", &scratch.0, error)))?;
    let git = Git { tree: scratch.0.join("tree"), place: &scratch.0, options, cancel, source };
    let commit = git.fetch()?;
    if !keep_git_dir {
        remove_tree(&git.tree.join(".git")).map_err(failed)?;
    }
    let tree = Mounts::Bind { source: git.tree.clone(), readonly: true, idmap: None };
    let root = RootView::open(&tree)
        .map_err(|error| failed(Error::Root { message: error.to_string() }))?;
    let files = Box::new(ScratchFiles { files: RootFiles(Some(root)), _scratch: scratch });
    Ok(Checkout { commit, files })
}

struct Git<'a> {
    place: &'a Path,
    tree: PathBuf,
    options: &'a BuildOptions,
    cancel: &'a Cancel,
    source: &'a GitSource,
}

impl Git<'_> {
    /// Gives the commit that was checked out.
    fn fetch(&self) -> Result<String, WorkError> {
        let tree = self.tree.to_string_lossy().into_owned();
        self.run(&["-c", "init.defaultBranch=main", "init", "-q", "--", &tree])?;
        self.here(&["remote", "add", "origin", &self.source.repository])?;
        let whole = self.source.checksum.as_deref().filter(|sum| sum.len() >= 40);
        let wanted = self.source.reference.as_deref().or(whole).unwrap_or("HEAD");
        let shallow = self.here(&["fetch", "-q", "--depth=1", "--no-tags", "origin", wanted]);
        let commit = match shallow {
            Ok(_) => self.here(&["rev-parse", "--verify", "FETCH_HEAD^{commit}"])?,
            Err(WorkError::Cancelled) => return Err(WorkError::Cancelled),
            // Servers need not know shallow copies, nor give any commit by its name.
            Err(_) => self.fetch_all(wanted)?,
        };
        self.here(&["checkout", "-q", "--detach", &commit])?;
        if self.source.submodules && self.tree.join(".gitmodules").exists() {
            let update = ["submodule", "update", "-q", "--init", "--recursive"];
            let shallow: Vec<&str> = update.iter().copied().chain(["--depth=1"]).collect();
            match self.here(&shallow) {
                Ok(_) => {}
                Err(WorkError::Cancelled) => return Err(WorkError::Cancelled),
                Err(_) => drop(self.here(&update)?),
            }
        }
        Ok(commit)
    }

    fn fetch_all(&self, wanted: &str) -> Result<String, WorkError> {
        let branches = "+refs/heads/*:refs/remotes/origin/*";
        self.here(&["fetch", "-q", "--tags", "--force", "origin", branches])?;
        if wanted == "HEAD" {
            self.here(&["remote", "set-head", "origin", "--auto"])?;
            return self.here(&["rev-parse", "--verify", "origin/HEAD^{commit}"]);
        }
        let short = wanted.strip_prefix("refs/heads/").unwrap_or(wanted);
        let candidates = [
            format!("refs/remotes/origin/{short}^{{commit}}"),
            format!("refs/tags/{wanted}^{{commit}}"),
            format!("{wanted}^{{commit}}"),
        ];
        for candidate in &candidates {
            if let Ok(commit) = self.here(&["rev-parse", "--verify", "-q", candidate]) {
                return Ok(commit);
            }
        }
        let message = format!("{} has no {wanted}", self.source.repository);
        Err(WorkError::NotFound { message })
    }

    /// In the repository.
    fn here(&self, arguments: &[&str]) -> Result<String, WorkError> {
        let tree = self.tree.to_string_lossy().into_owned();
        let whole: Vec<&str> = ["-C", &tree].into_iter().chain(arguments.iter().copied()).collect();
        self.run(&whole)
    }

    /// Runs git to its end; gives what it says, without the last line's end.
    #[expect(clippy::disallowed_methods, reason = "this is the module that may run git")]
    fn run(&self, arguments: &[&str]) -> Result<String, WorkError> {
        let io = |doing| move |error| failed(Error::io(doing, "git's words", error));
        let (mut out, mut err) = (self.scratch_file("out")?, self.scratch_file("err")?);
        let mut command = Command::new("git");
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(out.try_clone().map_err(io("keep"))?)
            .stderr(err.try_clone().map_err(io("keep"))?)
            // So that whatever it starts ends with it.
            .process_group(0)
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ALLOW_PROTOCOL", PROTOCOLS)
            .env("GIT_SSH_COMMAND", "ssh -o BatchMode=yes")
            .env("LC_ALL", "C");
        for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
            command.env_remove(name);
        }
        if let Some(socket) = self.options.agents.get("default") {
            command.env("SSH_AUTH_SOCK", socket);
        }
        for (name, value) in self.authorization() {
            command.env(name, value);
        }
        let child = command.spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => WorkError::Invalid {
                message: format!(
                    "{}: git is not installed where the engine runs",
                    self.source.repository
                ),
            },
            _ => failed(Error::io("run", "git", error)),
        })?;
        let success = self.wait(child)?;
        let text = read(if success { &mut out } else { &mut err }).map_err(io("read"))?;
        if success {
            return Ok(text.trim_end().to_owned());
        }
        let lines: Vec<&str> =
            text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let message = format!("git: {}: {}", self.source.repository, lines.join("; "));
        Err(WorkError::Invalid { message })
    }

    fn wait(&self, mut child: std::process::Child) -> Result<bool, WorkError> {
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        loop {
            let ended = child.try_wait();
            let ended = ended.map_err(|error| failed(Error::io("wait for", "git", error)))?;
            if let Some(status) = ended {
                return Ok(status.success());
            }
            if self.cancel.is_cancelled() {
                if let Some(group) = group {
                    // It may have ended meanwhile.
                    let _ = kill_process_group(group, Signal::KILL);
                }
                let _ = child.wait();
                return Err(WorkError::Cancelled);
            }
            std::thread::sleep(LOOK);
        }
    }

    fn scratch_file(&self, name: &str) -> Result<File, WorkError> {
        let path = self.place.join(name);
        let opened = File::options().read(true).write(true).create(true).truncate(true).open(&path);
        opened.map_err(|error| failed(Error::io("make", &path, error)))
    }

    /// What BuildKit's secrets of these names mean.
    fn authorization(&self) -> Vec<(String, String)> {
        let secret = |name: &str| {
            let bytes = self.options.secrets.get(name)?;
            Some(String::from_utf8_lossy(bytes).trim().to_owned())
        };
        let header = secret("GIT_AUTH_HEADER").or_else(|| {
            let token = secret("GIT_AUTH_TOKEN")?;
            let pair = base64::encode(format!("x-access-token:{token}").as_bytes());
            Some(format!("basic {pair}"))
        });
        let origin = self.source.repository.split('/').take(3).collect::<Vec<_>>().join("/");
        match header {
            Some(header) if self.source.repository.starts_with("http") => vec![
                ("GIT_CONFIG_COUNT".to_owned(), "1".to_owned()),
                ("GIT_CONFIG_KEY_0".to_owned(), format!("http.{origin}/.extraHeader")),
                ("GIT_CONFIG_VALUE_0".to_owned(), format!("Authorization: {header}")),
            ],
            _ => Vec::new(),
        }
    }
}

fn read(file: &mut File) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(SAID_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
