//! The user's `config.json` and contexts, which dhow shares with Docker.
//!
//! A missing file is an empty one; one that cannot be read is an error that names it. What is written keeps all
//! that others have put there, and replaces the file as a whole.

use std::path::{Path, PathBuf};

use crate::client::{Endpoint, TlsFiles};
use crate::failure::Failure;
use crate::json::{Json, object};
use dhow_spec::base64;

/// The file under which Docker Hub's name is kept.
pub(crate) const HUB: &str = "https://index.docker.io/v1/";

/// What a user has set once and for all.
#[derive(Debug, Default)]
pub(crate) struct Config {
    directory: PathBuf,
    json: Json,
}

/// An engine by its context's name.
#[derive(Debug)]
pub(crate) struct NamedEngine {
    pub(crate) host: String,
    pub(crate) tls: Option<TlsFiles>,
}

impl Config {
    /// Reads `config.json` in `directory`.
    pub(crate) fn read(directory: PathBuf) -> Result<Config, Failure> {
        let path = directory.join("config.json");
        let json = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Json::default(),
            Err(error) => return Err(Failure::io("read", path.display().to_string())(error)),
            Ok(bytes) => Json::parse(&bytes).map_err(|error| {
                Failure::Invalid(format!("config file {}: {error}", path.display()))
            })?,
        };
        Ok(Config { directory, json })
    }

    /// A text of the file, such as `detachKeys` or `psFormat`.
    pub(crate) fn text(&self, key: &str) -> &str {
        self.json.text(key)
    }

    /// The texts of a list in the file.
    pub(crate) fn texts(&self, key: &str) -> Vec<&str> {
        self.json.texts(key)
    }

    /// Where the file is, and contexts beside it.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Variables that tell containers of the user's proxies.
    pub(crate) fn proxies(&self, host: &str) -> Vec<(String, String)> {
        let proxies = self.json.get("proxies");
        let settings = proxies.find(host).unwrap_or_else(|| proxies.get("default"));
        let mut out = Vec::new();
        for (key, name) in [
            ("httpProxy", "HTTP_PROXY"),
            ("httpsProxy", "HTTPS_PROXY"),
            ("ftpProxy", "FTP_PROXY"),
            ("noProxy", "NO_PROXY"),
            ("allProxy", "ALL_PROXY"),
        ] {
            let value = settings.text(key);
            if !value.is_empty() {
                out.push((name.to_owned(), value.to_owned()));
                out.push((name.to_lowercase(), value.to_owned()));
            }
        }
        out
    }

    /// The context `name`.
    pub(crate) fn context(&self, name: &str) -> Result<NamedEngine, Failure> {
        let metas = self.directory.join("contexts/meta");
        let entries = std::fs::read_dir(&metas).into_iter().flatten().flatten();
        for entry in entries {
            let Ok(bytes) = std::fs::read(entry.path().join("meta.json")) else { continue };
            let Ok(meta) = Json::parse(&bytes) else { continue };
            if meta.text("Name") == name {
                let endpoint = meta.get("Endpoints").get("docker");
                let files = self.directory.join("contexts/tls").join(entry.file_name());
                return Ok(NamedEngine {
                    host: endpoint.text("Host").to_owned(),
                    tls: context_tls(&files.join("docker"), endpoint.on("SkipTLSVerify")),
                });
            }
        }
        Err(Failure::Invalid(format!("context {name:?} does not exist")))
    }

    /// The value of `X-Registry-Auth` for the registry `domain`.
    pub(crate) fn auth(&self, domain: &str) -> Result<String, Failure> {
        let server = if domain == "docker.io" { HUB } else { domain };
        let mut login = self.login(server)?;
        if let Some(login) = &mut login {
            login.set("serveraddress", server.into());
        }
        let document = login.unwrap_or_else(|| object::<&str, Json>([]));
        Ok(base64::encode_url(document.compact().as_bytes()))
    }

    /// What is kept for a registry.
    pub(crate) fn login(&self, server: &str) -> Result<Option<Json>, Failure> {
        match self.helper(server) {
            Some(helper) => crate::credentials::ask(&helper, server),
            None => Ok(self.stored(server)),
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.join("config.json")
    }

    /// Keeps a login: a token in place of the password, where the registry gave one.
    pub(crate) fn keep_login(
        &self,
        server: &str,
        user: &str,
        password: &str,
        token: &str,
    ) -> Result<(), Failure> {
        let pair = if token.is_empty() { format!("{user}:{password}") } else { format!("{user}:") };
        let mut entry = object([("auth", base64::encode(pair.as_bytes()))]);
        if !token.is_empty() {
            entry.set("identitytoken", token.into());
        }
        let mut auths = match self.json.get("auths") {
            Json::Object(fields) => Json::Object(fields.clone()),
            _ => object::<&str, Json>([]),
        };
        auths.set(server, entry);
        self.write("auths", auths)
    }

    /// Forgets a login.
    pub(crate) fn forget_login(&self, server: &str) -> Result<(), Failure> {
        let fields = self.json.get("auths").fields();
        let others = fields.iter().filter(|(name, _)| name != server).cloned().collect();
        self.write("auths", Json::Object(others))
    }

    /// Changes a member of the file.
    pub(crate) fn write(&self, key: &str, value: Json) -> Result<(), Failure> {
        let mut json = match &self.json {
            Json::Object(_) => self.json.clone(),
            _ => object::<&str, Json>([]),
        };
        json.set(key, value);
        write_file(&self.path(), &json.pretty(4))
    }

    /// The value of `X-Registry-Config`: every login that is known, by its registry.
    pub(crate) fn all_auths(&self) -> Result<String, Failure> {
        let auths = self.json.get("auths").fields().iter();
        let helped = self.json.get("credHelpers").fields().iter();
        let mut document = object::<&str, Json>([]);
        for (server, _) in auths.chain(helped) {
            let login = match self.helper(server) {
                Some(helper) => crate::credentials::ask(&helper, server)?,
                None => self.stored(server),
            };
            if let Some(login) = login {
                document.set(server, login);
            }
        }
        Ok(base64::encode_url(document.compact().as_bytes()))
    }

    /// A program that keeps a registry's passwords.
    pub(crate) fn helper(&self, server: &str) -> Option<String> {
        let own = self.json.get("credHelpers").text(server);
        let name = if own.is_empty() { self.json.text("credsStore") } else { own };
        Some(name.to_owned()).filter(|name| !name.is_empty())
    }

    fn stored(&self, server: &str) -> Option<Json> {
        let bare = |name: &str| {
            let rest = name.split_once("://").map_or(name, |(_, rest)| rest);
            rest.split('/').next().unwrap_or_default().to_owned()
        };
        let auths = self.json.get("auths").fields();
        let exact = auths.iter().find(|(name, _)| name == server);
        let found = exact.or_else(|| auths.iter().find(|(name, _)| bare(name) == bare(server)));
        let (_, entry) = found?;
        let pair = base64::decode(entry.text("auth")).and_then(|it| String::from_utf8(it).ok());
        let pair = pair.unwrap_or_default();
        let (user, password) = pair.split_once(':').unwrap_or_default();
        let pick = |key: &str, other: &str| match entry.text(key) {
            "" => other.to_owned(),
            text => text.to_owned(),
        };
        let mut login = object([
            ("username", pick("username", user)),
            ("password", pick("password", password.trim_end_matches('\0'))),
        ]);
        for key in ["identitytoken", "registrytoken"] {
            if !entry.text(key).is_empty() {
                login.set(key, entry.text(key).into());
            }
        }
        Some(login)
    }
}

/// Writes a file that everybody reads.
pub(crate) fn write_public(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(Failure::io("write", path.display().to_string()))
}

/// Writes a file that only its owner reads: whole, or not at all.
pub(crate) fn write_file(path: &Path, text: &str) -> Result<(), Failure> {
    use std::io::Write;
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    let failed = || Failure::io("write", path.display().to_string());
    // A link to the file stays one.
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if let Some(directory) = path.parent() {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(failed())?;
    }
    let part = path.with_extension(format!("part-{}", std::process::id()));
    let mut options = std::fs::File::options();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(&part);
    let written = file.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&part, &path)
    });
    written.map_err(|error| {
        // What there is of it is of no use.
        let _ = std::fs::remove_file(&part);
        failed()(error)
    })
}

fn context_tls(directory: &Path, skip: bool) -> Option<TlsFiles> {
    directory.is_dir().then(|| TlsFiles {
        ca: directory.join("ca.pem"),
        certificate: directory.join("cert.pem"),
        key: directory.join("key.pem"),
        verify: !skip,
    })
}

/// Where the engine listens if nobody says otherwise.
pub(crate) fn default_endpoint(runtime_dir: Option<&str>, root: bool) -> Endpoint {
    let system = PathBuf::from("/run/dhow/dhow.sock");
    match runtime_dir {
        Some(own) if !root && !system.exists() => {
            Endpoint::Unix(Path::new(own).join("dhow/dhow.sock"))
        }
        _ => Endpoint::Unix(system),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config { directory: PathBuf::new(), json: Json::parse(text.as_bytes()).unwrap() }
    }

    #[test]
    fn logins_are_found_by_registry() {
        let config = config(
            r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"},"https://r.example/v2/":{"auth":"YTpiOmM="}}}"#,
        );
        let read = |domain| {
            let header = config.auth(domain).unwrap();
            String::from_utf8(base64::decode(&header).unwrap()).unwrap()
        };
        assert_eq!(
            read("docker.io"),
            r#"{"username":"u","password":"p","serveraddress":"https://index.docker.io/v1/"}"#
        );
        assert_eq!(
            read("r.example"),
            r#"{"username":"a","password":"b:c","serveraddress":"r.example"}"#
        );
        assert_eq!(read("other.example"), "{}");
    }

    #[test]
    fn proxies_in_both_cases() {
        let config = config(r#"{"proxies":{"default":{"noProxy":"x"}}}"#);
        let names: Vec<_> = config.proxies("tcp://a").into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["NO_PROXY", "no_proxy"]);
    }
}
