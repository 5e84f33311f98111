//! `cargo xtask dist`: what people install: a tarball and a Debian package.
//!
//! Both hold one tree: the program, `dhow-oci` as a link to it, systemd's service and socket, a configuration that
//! says nothing, completion for three shells, man pages. A `docker` that leads here is a package of its own, for
//! who wants that.
//! Invariant: the same program gives the same bytes: names are sorted, owners are root, times are one time.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::task::{At, TaskError, find_program, read, release_dir, run, scratch, workspace};

/// What the time of all files is: nobody's build is older or newer.
const TIME: &str = "2024-01-01 00:00:00Z";

/// Makes both, in `target/dist`.
pub(crate) fn run_task(mut words: lexopt::Parser) -> Result<(), TaskError> {
    let mut program: Option<PathBuf> = None;
    while let Some(word) = words.next()? {
        match word {
            lexopt::Arg::Long("program") => program = Some(words.value()?.into()),
            other => return Err(other.unexpected().into()),
        }
    }
    make(program).map(drop)
}

/// Makes both of a program, or of a new release; gives the Debian package.
pub(crate) fn make(program: Option<PathBuf>) -> Result<PathBuf, TaskError> {
    let program = match program {
        Some(program) => program,
        None => {
            run(Command::new("cargo")
                .args(["build", "--release", "--package", "dhow"])
                .current_dir(workspace()))?;
            release_dir().join("dhow")
        }
    };
    if find_program("dpkg-deb").is_none() {
        return Err(TaskError::Absent { what: "dpkg-deb", remedy: "apt-get install dpkg" });
    }
    let dist = scratch("dist")?;
    let version = version(&program)?;
    let tree = dist.join("tree");
    clear(&tree)?;
    lay_out(&tree, &program)?;
    let architecture = read(Command::new("dpkg").arg("--print-architecture"))?.trim().to_owned();
    let tarball = dist.join(format!("dhow-{version}-linux-{architecture}.tar.gz"));
    pack(&tree, &tarball)?;
    println!("{}", tarball.display());
    let package = Package { name: "dhow", version: &version, architecture: &architecture };
    let built = package.build(&dist, &tree)?;
    println!("{}", built.display());
    println!("{}", package.build_link(&dist)?.display());
    Ok(built)
}

fn version(program: &Path) -> Result<String, TaskError> {
    // `dhow version 0.1.0, build …`
    let text = read(Command::new(program).arg("--version"))?;
    let word = text.split_whitespace().nth(2).unwrap_or_default();
    Ok(word.trim_end_matches(',').to_owned())
}

fn clear(directory: &Path) -> Result<(), TaskError> {
    if directory.exists() {
        fs::remove_dir_all(directory).at("remove", directory)?;
    }
    fs::create_dir_all(directory).at("create", directory)
}

/// All files in their places.
fn lay_out(tree: &Path, program: &Path) -> Result<(), TaskError> {
    let sources = workspace().join("xtask/dist");
    copy(program, &tree.join("usr/bin/dhow"), 0o755)?;
    run(Command::new("strip").arg(tree.join("usr/bin/dhow")))?;
    symlink("dhow", tree.join("usr/bin/dhow-oci")).at("link", tree)?;
    for unit in ["dhow.service", "dhow.socket"] {
        copy(&sources.join(unit), &tree.join("usr/lib/systemd/system").join(unit), 0o644)?;
    }
    write(&tree.join("etc/dhow/daemon.json"), "{}\n")?;
    let share = tree.join("usr/share");
    for (shell, place) in [
        ("bash", "bash-completion/completions/dhow"),
        ("zsh", "zsh/vendor-completions/_dhow"),
        ("fish", "fish/vendor_completions.d/dhow.fish"),
    ] {
        let script = read(Command::new(program).args(["completion", shell]))?;
        write(&share.join(place), &script)?;
    }
    let pages = share.join("man/man1");
    fs::create_dir_all(&pages).at("create", &pages)?;
    run(Command::new(program).arg("__man").arg(&pages))?;
    let license = workspace().join("LICENSE");
    copy(&license, &share.join("doc/dhow/copyright"), 0o644)
}

fn copy(from: &Path, to: &Path, mode: u32) -> Result<(), TaskError> {
    let parent = to.parent().unwrap_or(to);
    fs::create_dir_all(parent).at("create", parent)?;
    fs::copy(from, to).at("copy", from)?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode)).at("change mode of", to)
}

fn write(path: &Path, text: &str) -> Result<(), TaskError> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).at("create", parent)?;
    fs::write(path, text).at("write", path)
}

fn pack(tree: &Path, to: &Path) -> Result<(), TaskError> {
    run(Command::new("tar")
        .args(["--create", "--gzip", "--sort=name", "--owner=0", "--group=0", "--numeric-owner"])
        .arg(format!("--mtime={TIME}"))
        .arg("--file")
        .arg(to)
        .arg("--directory")
        .arg(tree)
        .arg("."))
}

/// A Debian package.
struct Package<'a> {
    name: &'a str,
    version: &'a str,
    architecture: &'a str,
}

impl Package<'_> {
    /// The one with everything.
    fn build(&self, dist: &Path, tree: &Path) -> Result<PathBuf, TaskError> {
        let control = tree.join("DEBIAN");
        let text =
            self.control("Recommends: ca-certificates\nSuggests: dhow-docker\n", DESCRIPTION);
        write(&control.join("control"), &text)?;
        write(&control.join("conffiles"), "/etc/dhow/daemon.json\n")?;
        for script in ["postinst", "prerm", "postrm"] {
            copy(&workspace().join("xtask/dist").join(script), &control.join(script), 0o755)?;
        }
        self.make(dist, tree)
    }

    /// The one that makes `docker` lead here.
    fn build_link(&self, dist: &Path) -> Result<PathBuf, TaskError> {
        let tree = dist.join("tree-docker");
        clear(&tree)?;
        let bin = tree.join("usr/bin");
        fs::create_dir_all(&bin).at("create", &bin)?;
        symlink("dhow", bin.join("docker")).at("link", &bin)?;
        let package = Package { name: "dhow-docker", ..*self };
        let relations = format!(
            "Depends: dhow (= {})\nProvides: docker-cli\nConflicts: docker-cli, docker.io, docker-ce-cli\n",
            self.version
        );
        let text =
            package.control(&relations, "docker, which is dhow\n A link in Docker's place.\n");
        write(&tree.join("DEBIAN/control"), &text)?;
        package.make(dist, &tree)
    }

    fn control(&self, relations: &str, description: &str) -> String {
        let Self { name, version, architecture } = self;
        format!(
            "Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n\
             Maintainer: dhow developers <dhow@localhost>\nSection: admin\nPriority: optional\n\
             {relations}Description: {description}"
        )
    }

    fn make(&self, dist: &Path, tree: &Path) -> Result<PathBuf, TaskError> {
        let Self { name, version, architecture } = self;
        let path = dist.join(format!("{name}_{version}_{architecture}.deb"));
        run(Command::new("find").arg(tree).args(["-exec", "touch", "-h", "-d", TIME, "{}", "+"]))?;
        run(Command::new("dpkg-deb")
            .env("SOURCE_DATE_EPOCH", "1704067200")
            .args(["--root-owner-group", "-Zgzip", "--build"])
            .arg(tree)
            .arg(&path)
            .stdout(std::process::Stdio::null()))?;
        Ok(path)
    }
}

const DESCRIPTION: &str = "container engine in one program\n \
    Runs, builds and moves Docker and OCI images. Docker's command line, Compose and\n \
    everything else that speaks to Docker's socket work with it unchanged; no container\n \
    depends on the engine.\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_says_what_it_is() {
        let package = Package { name: "dhow", version: "1.2", architecture: "amd64" };
        let control = package.control("Recommends: x\n", DESCRIPTION);
        assert!(control.starts_with("Package: dhow\nVersion: 1.2\nArchitecture: amd64\n"));
        let body = control.split_once("Description: ").expect("a description").1;
        assert!(body.lines().skip(1).all(|line| line.starts_with(' ')), "{body}");
    }
}
