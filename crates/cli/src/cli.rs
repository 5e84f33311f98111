//! What every command has at hand: the user's settings, and the way to the engine.
//!
//! Both are made when first asked for: `--help` reads no file and opens no socket. Absent on purpose:
//! any command.

use std::cell::OnceCell;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::args::Matches;
use crate::client::{Client, Endpoint, TlsFiles};
use crate::clock::Zone;
use crate::config::{Config, default_endpoint};
use crate::failure::Failure;
use crate::start;

/// The caller's environment, read by whoever may.
#[derive(Clone, Copy)]
pub struct Environment {
    /// The value of a variable.
    pub variable: fn(&str) -> Option<OsString>,
}

/// One call of the program.
pub(crate) struct Cli {
    /// The name by which we were called, for usage lines.
    pub(crate) program: &'static str,
    environment: Environment,
    global: Matches,
    config: OnceCell<Config>,
    client: OnceCell<Client>,
}

/// Which engine, and how it was chosen.
struct Target {
    endpoint: Endpoint,
    tls: Option<TlsFiles>,
    /// Nobody chose: it is ours, and may be started.
    default: bool,
}

impl Cli {
    pub(crate) fn new(program: &'static str, environment: Environment, global: Matches) -> Cli {
        Cli { program, environment, global, config: OnceCell::new(), client: OnceCell::new() }
    }

    /// A variable of the caller's, if it is set and no nonsense.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        (self.environment.variable)(name)?.into_string().ok()
    }

    fn filled(&self, name: &str) -> Option<String> {
        self.variable(name).filter(|value| !value.is_empty())
    }

    pub(crate) fn config(&self) -> Result<&Config, Failure> {
        if let Some(config) = self.config.get() {
            return Ok(config);
        }
        let directory = self
            .global
            .some("config")
            .map(str::to_owned)
            .or_else(|| self.filled("DOCKER_CONFIG"))
            .map(PathBuf::from)
            .or_else(|| Some(Path::new(&self.filled("HOME")?).join(".docker")))
            .unwrap_or_default();
        let config = Config::read(directory)?;
        Ok(self.config.get_or_init(|| config))
    }

    /// The way to the engine; nothing is connected yet.
    pub(crate) fn client(&self) -> Result<&Client, Failure> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let target = self.target()?;
        let tls = match &target.endpoint {
            Endpoint::Tcp { .. } => target.tls.map(|files| files.load()).transpose()?,
            Endpoint::Unix(_) | Endpoint::Ssh(_) => None,
        };
        let socket = match &target.endpoint {
            Endpoint::Unix(path) if target.default => Some(path.clone()),
            _ => None,
        };
        let environment = self.environment;
        let starter = socket.map(|path| {
            Box::new(move || start::engine(&path, environment)) as crate::client::Starter
        });
        let version = self.filled("DOCKER_API_VERSION");
        let version = version.map(|text| text.trim_start_matches('v').to_owned());
        let client = Client::new(target.endpoint, tls, version, starter);
        Ok(self.client.get_or_init(|| client))
    }

    /// A way to the engine that starts none.
    pub(crate) fn quiet_client(&self) -> Result<Client, Failure> {
        let target = self.target()?;
        let tls = match &target.endpoint {
            Endpoint::Tcp { .. } => target.tls.map(|files| files.load()).transpose()?,
            Endpoint::Unix(_) | Endpoint::Ssh(_) => None,
        };
        Ok(Client::new(target.endpoint, tls, self.filled("DOCKER_API_VERSION"), None))
    }

    /// What an engine that we start may know.
    pub(crate) fn environment(&self) -> Environment {
        self.environment
    }

    /// The engine's address, without a way to it.
    pub(crate) fn endpoint(&self) -> Result<Endpoint, Failure> {
        Ok(self.target()?.endpoint)
    }

    /// The name of the context in use.
    pub(crate) fn context_name(&self) -> Result<String, Failure> {
        if let Some(name) = self.global.some("context") {
            return Ok(name.to_owned());
        }
        let host = !self.global.list("host").is_empty()
            || self.filled("DHOW_HOST").is_some()
            || self.filled("DOCKER_HOST").is_some();
        if host {
            return Ok("default".to_owned());
        }
        let named = self.filled("DOCKER_CONTEXT");
        let named = match named {
            Some(name) => name,
            None => self.config()?.text("currentContext").to_owned(),
        };
        Ok(if named.is_empty() { "default".to_owned() } else { named })
    }

    /// Whether no context was chosen.
    pub(crate) fn is_default_context(&self) -> Result<bool, Failure> {
        Ok(self.context_name()? == "default")
    }

    /// The engine's address where no context is chosen.
    pub(crate) fn default_endpoint(&self) -> Result<Endpoint, Failure> {
        let host = self.filled("DHOW_HOST").or_else(|| self.filled("DOCKER_HOST"));
        match host {
            Some(host) => Ok(Endpoint::parse(&host, self.tls().is_some())?),
            None => {
                let runtime_dir = self.filled("XDG_RUNTIME_DIR");
                let root = rustix::process::geteuid().is_root();
                Ok(default_endpoint(runtime_dir.as_deref(), root))
            }
        }
    }

    fn target(&self) -> Result<Target, Failure> {
        let hosts = self.global.list("host");
        if hosts.len() > 1 {
            return Err(Failure::invalid("Specify only one -H"));
        }
        if !hosts.is_empty() && self.global.changed("context") {
            return Err(Failure::invalid(
                "conflicting options: cannot specify both --host and --context",
            ));
        }
        let host = hosts.first().map(|host| (*host).to_owned());
        let host = host.or_else(|| {
            let named = self.global.changed("context");
            self.filled("DHOW_HOST").or_else(|| self.filled("DOCKER_HOST")).filter(|_| !named)
        });
        if let Some(host) = host {
            let tls = self.tls();
            let endpoint = Endpoint::parse(&host, tls.is_some())?;
            return Ok(Target { endpoint, tls, default: false });
        }
        let name = self.context_name()?;
        if name == "default" {
            let runtime_dir = self.filled("XDG_RUNTIME_DIR");
            let root = rustix::process::geteuid().is_root();
            let endpoint = default_endpoint(runtime_dir.as_deref(), root);
            return Ok(Target { endpoint, tls: None, default: true });
        }
        let engine = self.config()?.context(&name)?;
        let tls = engine.tls;
        let endpoint = Endpoint::parse(&engine.host, tls.is_some())?;
        Ok(Target { endpoint, tls, default: false })
    }

    /// What flags and variables say of TLS.
    fn tls(&self) -> Option<TlsFiles> {
        let verify = self.global.on("tlsverify")
            || self.filled("DOCKER_TLS_VERIFY").is_some() && !self.global.changed("tlsverify");
        if !verify && !self.global.on("tls") && self.filled("DOCKER_TLS").is_none() {
            return None;
        }
        let home = self.filled("HOME").unwrap_or_default();
        let directory = self
            .filled("DOCKER_CERT_PATH")
            .or_else(|| self.filled("DOCKER_CONFIG"))
            .map_or_else(|| Path::new(&home).join(".docker"), PathBuf::from);
        let file = |flag, name| match self.global.some(flag) {
            Some(path) => PathBuf::from(path),
            None => directory.join(name),
        };
        Some(TlsFiles {
            ca: file("tlscacert", "ca.pem"),
            certificate: file("tlscert", "cert.pem"),
            key: file("tlskey", "key.pem"),
            verify,
        })
    }

    /// The time zone to print times in.
    pub(crate) fn zone(&self) -> Zone {
        Zone::local(self.variable("TZ").as_deref())
    }

    /// The platform that a command asks for: its flag, or the user's default.
    pub(crate) fn platform(&self, matches: &Matches) -> Option<String> {
        let given = matches.some("platform").map(str::to_owned);
        given.or_else(|| self.filled("DOCKER_DEFAULT_PLATFORM"))
    }

    /// Prints to standard output.
    pub(crate) fn print(&self, text: &str) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Failure::Exit(1)),
            result => result.map_err(Failure::io("write", "output")),
        }
    }

    /// Prints a line to standard output.
    pub(crate) fn say(&self, line: &str) -> Result<(), Failure> {
        self.print(&format!("{line}\n"))
    }

    /// Prints a line to standard error.
    pub(crate) fn warn(&self, line: &str) {
        // With nobody to tell there is nothing to do about it.
        let _ = writeln!(std::io::stderr(), "{line}");
    }

    /// Does `what` to each of `names`; those that fail are told, and the rest goes on.
    pub(crate) fn each(
        &self,
        names: &[String],
        mut what: impl FnMut(&str) -> Result<(), Failure>,
    ) -> Result<u8, Failure> {
        let mut code = 0;
        for name in names {
            match what(name) {
                Ok(()) => {}
                Err(Failure::Exit(exit)) => return Ok(exit),
                Err(unreachable @ Failure::Unreachable { .. }) => return Err(unreachable),
                Err(error) => {
                    self.warn(&error.to_string());
                    code = 1;
                }
            }
        }
        Ok(code)
    }
}
