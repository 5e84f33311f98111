//! Packages of any Debian suite, fetched by name, never installed.
//!
//! An apt state of its own below the cache folder: the machine's lists, sources and packages stay as
//! they are. The mirror is the one that the machine itself uses.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::task::{At, TaskError, read, run};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const LISTS_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// What outlives `target/`: downloads and images, shared by all checkouts of one user.
pub(crate) fn cache(name: &str) -> Result<PathBuf, TaskError> {
    let base = match (std::env::var("XDG_CACHE_HOME"), std::env::var("HOME")) {
        (Ok(cache), _) if !cache.is_empty() => PathBuf::from(cache),
        (_, Ok(home)) => PathBuf::from(home).join(".cache"),
        _ => std::env::temp_dir(),
    };
    let path = base.join("dhow-xtask").join(name);
    fs::create_dir_all(&path).at("create", &path)?;
    Ok(path)
}

/// One suite's packages.
#[derive(Debug)]
pub(crate) struct Apt {
    config: PathBuf,
}

impl Apt {
    /// Reads the suite's lists, unless they are recent.
    pub(crate) fn of(suite: &str) -> Result<Apt, TaskError> {
        let dir = cache(&format!("apt/{suite}"))?;
        let config = write_config(&dir, suite)?;
        let apt = Apt { config };
        let stamp = dir.join("updated");
        let age =
            fs::metadata(&stamp).and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok());
        if age.is_none_or(|age| age > LISTS_AGE_MAX) {
            run(apt.command("apt-get").args(["-qq", "update"]))?;
            fs::write(&stamp, "").at("write", &stamp)?;
        }
        Ok(apt)
    }

    /// The first package that `package` depends on whose name begins with `prefix`.
    pub(crate) fn dependency(&self, package: &str, prefix: &str) -> Result<String, TaskError> {
        let text = read(self.command("apt-cache").args(["depends", package]))?;
        let names = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
        let mut names = names.filter(|name| name.starts_with(prefix));
        names.next().map(str::to_owned).ok_or(TaskError::Absent {
            what: "the dependency of a meta package",
            remedy: "see apt-cache depends",
        })
    }

    /// Whether there is a package of this name.
    pub(crate) fn has(&self, package: &str) -> bool {
        let output = self.command("apt-cache").args(["show", package]).output();
        output.is_ok_and(|output| output.status.success())
    }

    /// Unpacks binary packages into `into`.
    pub(crate) fn unpack(&self, packages: &[String], into: &Path) -> Result<(), TaskError> {
        let debs = into.with_extension("debs");
        let _ = fs::remove_dir_all(&debs);
        fs::create_dir_all(&debs).at("create", &debs)?;
        run(self.command("apt-get").args(["-qq", "download"]).args(packages).current_dir(&debs))?;
        for entry in fs::read_dir(&debs).at("read", &debs)? {
            let deb = entry.at("read", &debs)?.path();
            run(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(into))?;
        }
        fs::remove_dir_all(&debs).at("remove", &debs)
    }

    /// Unpacks a source package into `into`, as its authors published it, without Debian's patches.
    pub(crate) fn unpack_source(&self, package: &str, into: &Path) -> Result<(), TaskError> {
        let files = into.with_extension("source");
        let _ = fs::remove_dir_all(&files);
        let _ = fs::remove_dir_all(into);
        fs::create_dir_all(&files).at("create", &files)?;
        let mut source = self.command("apt-get");
        run(source.args(["-qq", "source", "--download-only", package]).current_dir(&files))?;
        for entry in fs::read_dir(&files).at("read", &files)? {
            let path = entry.at("read", &files)?.path();
            if path.extension().is_some_and(|extension| extension == "dsc") {
                let mut unpack = Command::new("dpkg-source");
                unpack.args(["--no-check", "--skip-patches", "-x"]).arg(&path).arg(into);
                read(&mut unpack)?;
            }
        }
        fs::remove_dir_all(&files).at("remove", &files)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", &self.config).env("DEBIAN_FRONTEND", "noninteractive");
        command
    }
}

/// The address of the Debian archive that this machine's own apt uses.
pub(crate) fn mirror() -> Result<String, TaskError> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(entries.filter_map(Result::ok).map(|entry| entry.path()));
    }
    files.sort_by_key(|path| !path.to_string_lossy().contains("debian"));
    let texts = files.iter().filter_map(|path| fs::read_to_string(path).ok());
    let found = texts.filter_map(|text| archive_address(&text)).next();
    found.ok_or(TaskError::Absent { what: "a Debian mirror", remedy: "add one to apt's sources" })
}

fn archive_address(sources: &str) -> Option<String> {
    let lines =
        sources.lines().filter(|line| line.starts_with("URIs:") || line.starts_with("deb "));
    let mut words = lines.flat_map(str::split_whitespace);
    words.find(|word| word.contains("://") && word.contains("debian")).map(str::to_owned)
}

fn write_config(dir: &Path, suite: &str) -> Result<PathBuf, TaskError> {
    for sub in ["lists/partial", "cache/archives/partial", "sources", "none"] {
        fs::create_dir_all(dir.join(sub)).at("create", dir.join(sub))?;
    }
    let write =
        |name: &str, text: String| fs::write(dir.join(name), text).at("write", dir.join(name));
    write("status", String::new())?;
    let mirror = mirror()?;
    let sources = format!(
        "Types: deb deb-src\nURIs: {mirror}\nSuites: {suite}\nComponents: main\nSigned-By: {KEYRING}\n"
    );
    write("sources/suite.sources", sources)?;
    let d = dir.display();
    let config = format!(
        "Dir::State::Lists \"{d}/lists\";\nDir::State::status \"{d}/status\";\n\
         Dir::Cache \"{d}/cache\";\nDir::Etc::sourcelist \"/dev/null\";\n\
         Dir::Etc::sourceparts \"{d}/sources\";\nDir::Etc::preferencesparts \"{d}/none\";\n\
         Acquire::Languages \"none\";\nAPT::Sandbox::User \"root\";\n"
    );
    write("apt.conf", config)?;
    Ok(dir.join("apt.conf"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_sources_are_understood() {
        let one_line = "# x\ndeb [arch=amd64] https://mirror.example/debian trixie main\n";
        assert_eq!(archive_address(one_line).as_deref(), Some("https://mirror.example/debian"));
        let fields = "Types: deb\n# https://old.example/debian\nURIs: http://m.example/debian\n";
        assert_eq!(archive_address(fields).as_deref(), Some("http://m.example/debian"));
        assert_eq!(archive_address("deb https://other.example/tools x main\n"), None);
    }
}
