//! The programs that make, carry and read images: our own, umoci and skopeo.
//!
//! Invariant: each keeps what it has in a folder of its own, so that nothing reaches another but by way of the
//! registry or an archive.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::task::{At, TaskError, find_program, read, release_dir, run, workspace};

/// How the program that drives our crates is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Build {
    /// As tests are, which have built it already.
    Debug,
    /// As what is shipped.
    Release,
}

impl Build {
    /// Builds it.
    pub(crate) fn run(self) -> Result<(), TaskError> {
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--quiet", "-p", "dhow-engine", "--example", "images"]);
        if self == Build::Release {
            cargo.arg("--release");
        }
        run(cargo.current_dir(workspace()))
    }

    /// Where it is then.
    pub(crate) fn program(self) -> PathBuf {
        let profile = match self {
            Build::Debug => release_dir().with_file_name("debug"),
            Build::Release => release_dir(),
        };
        profile.join("examples/images")
    }
}

/// A store of ours.
pub(crate) struct Dhow {
    program: PathBuf,
    root: PathBuf,
    driver: &'static str,
}

/// What our store says of an image.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    /// The digest that its name points to.
    pub(crate) id: String,
    /// Its configuration's digest.
    pub(crate) config: String,
    /// Its layers' diff-ids.
    pub(crate) diff_ids: Vec<String>,
}

impl Dhow {
    /// An empty store at `root`.
    pub(crate) fn new(build: Build, root: PathBuf, driver: &'static str) -> Self {
        Self { program: build.program(), root, driver }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.root).args(["--driver", self.driver]).args(words);
        command
    }

    /// Runs one command; gives what it prints.
    pub(crate) fn run(&self, words: &[&str]) -> Result<String, TaskError> {
        Ok(read(&mut self.command(words))?.trim().to_owned())
    }

    /// The same with a file as its input.
    pub(crate) fn run_on(&self, words: &[&str], input: &Path) -> Result<String, TaskError> {
        let file = fs::File::open(input).at("open", input)?;
        Ok(read(self.command(words).stdin(file))?.trim().to_owned())
    }

    /// The same with a file for its output.
    pub(crate) fn run_into(&self, words: &[&str], output: &Path) -> Result<(), TaskError> {
        let file = fs::File::create(output).at("create", output)?;
        run(self.command(words).stdout(file))
    }

    /// Makes an image of one layer, as GNU tar packs a tree.
    pub(crate) fn import(&self, name: &str, tree: &Path) -> Result<(), TaskError> {
        let mut tar = Command::new("tar");
        tar.args(["--format=posix", "--pax-option=delete=atime,delete=ctime", "--sparse"]);
        tar.args(["--xattrs", "--xattrs-include=*", "--numeric-owner", "--sort=name", "-c", "."]);
        let mut tar = tar.current_dir(tree).stdout(Stdio::piped()).spawn().at("start", "tar")?;
        let mut command = self.command(&["import", name]);
        if let Some(stdout) = tar.stdout.take() {
            command.stdin(stdout);
        }
        read(&mut command)?;
        let status = tar.wait().at("wait for", "tar")?;
        let line = "tar".to_owned();
        status.success().then_some(()).ok_or(TaskError::Program { line, code: status.code() })
    }

    /// What is known of an image.
    pub(crate) fn show(&self, name: &str) -> Result<Shown, TaskError> {
        let mut shown = Shown::default();
        for line in self.run(&["show", name])?.lines() {
            let mut words = line.split(' ');
            match (words.next(), words.next()) {
                (Some("id"), Some(word)) => shown.id = word.to_owned(),
                (Some("config"), Some(word)) => shown.config = word.to_owned(),
                (Some("layer"), Some(word)) => shown.diff_ids.push(word.to_owned()),
                _ => {}
            }
        }
        Ok(shown)
    }

    /// Shows an unpacked image at a folder while `work` looks at it.
    pub(crate) fn mounted<T>(
        &self,
        name: &str,
        work: impl FnOnce(&Path) -> Result<T, TaskError>,
    ) -> Result<T, TaskError> {
        let place = self.root.with_extension("mount");
        fs::create_dir_all(&place).at("create", &place)?;
        let path = place.display().to_string();
        self.run(&["mount", name, &path])?;
        let result = work(&place);
        run(Command::new("umount").arg(&place))?;
        result
    }
}

/// An image layout, made or read by umoci.
pub(crate) struct Umoci {
    layout: PathBuf,
}

impl Umoci {
    /// For the layout at `path`.
    pub(crate) fn at(path: PathBuf) -> Self {
        Self { layout: path }
    }

    /// Packs a tree into an image of one layer; the tree of the result is left in `bundle`.
    pub(crate) fn pack(&self, tag: &str, tree: &Path, bundle: &Path) -> Result<(), TaskError> {
        let layout = self.layout.display().to_string();
        read(umoci("init").args(["--layout", &layout]))?;
        read(umoci("new").args(["--image", &self.image(tag)]))?;
        self.unpack(tag, bundle)?;
        let rootfs = bundle.join("rootfs");
        read(Command::new("cp").arg("-aT").arg(tree).arg(&rootfs))?;
        self.repack(tag, bundle)
    }

    /// Adds a layer with what was changed in `bundle`.
    pub(crate) fn repack(&self, tag: &str, bundle: &Path) -> Result<(), TaskError> {
        let image = self.image(tag);
        read(umoci("repack").args(["--refresh-bundle", "--image", &image]).arg(bundle)).map(drop)
    }

    /// Unpacks an image; its tree is `bundle/rootfs`.
    pub(crate) fn unpack(&self, tag: &str, bundle: &Path) -> Result<(), TaskError> {
        read(umoci("unpack").args(["--image", &self.image(tag)]).arg(bundle)).map(drop)
    }

    /// What skopeo calls the image.
    pub(crate) fn name(&self, tag: &str) -> String {
        format!("oci:{}", self.image(tag))
    }

    fn image(&self, tag: &str) -> String {
        format!("{}:{tag}", self.layout.display())
    }
}

fn umoci(word: &str) -> Command {
    let mut command = Command::new("umoci");
    command.args(["--log", "error", word]);
    command
}

/// Copies an image as it is, digests and all, or fails.
pub(crate) fn skopeo_copy(from: &str, to: &str) -> Result<(), TaskError> {
    let mut command = Command::new("skopeo");
    command.args(["copy", "--quiet", "--preserve-digests"]);
    command.args(["--src-tls-verify=false", "--dest-tls-verify=false", from, to]);
    read(&mut command).map(drop)
}

/// The same into an archive that keeps no manifest, so that no digest can be kept either.
pub(crate) fn skopeo_convert(from: &str, to: &str) -> Result<(), TaskError> {
    let mut command = Command::new("skopeo");
    command.args(["copy", "--quiet"]);
    command.args(["--src-tls-verify=false", "--dest-tls-verify=false", from, to]);
    read(&mut command).map(drop)
}

/// The digest that skopeo computes of an image's manifest.
pub(crate) fn skopeo_digest(name: &str) -> Result<String, TaskError> {
    let mut command = Command::new("skopeo");
    command.args(["inspect", "--tls-verify=false", "--format", "{{.Digest}}", name]);
    Ok(read(&mut command)?.trim().to_owned())
}

/// The diff-ids that skopeo reads in an image's configuration.
pub(crate) fn skopeo_diff_ids(name: &str) -> Result<Vec<String>, TaskError> {
    let mut command = Command::new("skopeo");
    command.args(["inspect", "--tls-verify=false", "--config", "--raw", name]);
    let text = read(&mut command)?;
    let config: serde_json::Value = serde_json::from_str(&text).at("parse", name)?;
    let ids = config["rootfs"]["diff_ids"].as_array().cloned().unwrap_or_default();
    Ok(ids.iter().filter_map(|id| id.as_str().map(str::to_owned)).collect())
}

/// Whether all of them are here; says which is not.
pub(crate) fn missing() -> Option<&'static str> {
    ["umoci", "skopeo", "docker-registry", "unshare"]
        .into_iter()
        .find(|name| find_program(name).is_none())
}
