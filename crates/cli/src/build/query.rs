//! From flags to a request: the query, and the headers for what must be in no address.

use super::input::Input;
use crate::args::Matches;
use crate::cli::Cli;
use crate::client::Endpoint;
use crate::failure::Failure;
use crate::json::Json;
use dhow_spec::base64;

/// What goes into the query.
pub(crate) type Pairs = Vec<(&'static str, String)>;

/// What the flags say of the build itself; files that are to be sent are noted with `input`.
pub(crate) fn options(cli: &Cli, matches: &Matches, input: &mut Input) -> Result<Pairs, Failure> {
    let mut pairs: Pairs = vec![("version", "1".to_owned())];
    for tag in matches.list("tag") {
        pairs.push(("t", tag.to_owned()));
    }
    for (flag, name) in [
        ("no-cache", "nocache"),
        ("pull", "pull"),
        ("squash", "squash"),
        ("force-rm", "forcerm"),
        ("rm", "rm"),
    ] {
        pairs.push((name, u8::from(matches.on(flag)).to_string()));
    }
    let mut args = Json::parse(b"{}").unwrap_or_default();
    // As buildx does: whoever wants the same bytes again says so to all tools at once.
    if let Some(epoch) = cli.variable("SOURCE_DATE_EPOCH").filter(|epoch| !epoch.is_empty()) {
        args.set("SOURCE_DATE_EPOCH", Json::from(epoch));
    }
    for (name, value) in cli.config()?.proxies(&cli.endpoint()?.to_string()) {
        args.set(&name, Json::from(value));
    }
    for text in matches.list("build-arg") {
        match text.split_once('=') {
            Some((name, value)) => args.set(name, Json::from(value.to_owned())),
            // A name alone takes the value from here, if there is one.
            None => {
                if let Some(value) = cli.variable(text) {
                    args.set(text, Json::from(value));
                }
            }
        }
    }
    pairs.push(("buildargs", args.compact()));
    let mut labels = Json::parse(b"{}").unwrap_or_default();
    for text in matches.list("label") {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        labels.set(name, Json::from(value.to_owned()));
    }
    pairs.push(("labels", labels.compact()));
    for (flag, name) in [
        ("target", "target"),
        ("cgroup-parent", "cgroupparent"),
        ("cpuset-cpus", "cpusetcpus"),
        ("cpuset-mems", "cpusetmems"),
    ] {
        if !matches.text(flag).is_empty() {
            pairs.push((name, matches.text(flag).to_owned()));
        }
    }
    pairs.push(("networkmode", matches.text("network").to_owned()));
    for (flag, name) in
        [("cpu-period", "cpuperiod"), ("cpu-quota", "cpuquota"), ("cpu-shares", "cpushares")]
    {
        pairs.push((name, matches.text(flag).to_owned()));
    }
    for (flag, name) in [("memory", "memory"), ("memory-swap", "memswap"), ("shm-size", "shmsize")]
    {
        let text = matches.text(flag);
        if !text.is_empty() {
            let bytes = match text {
                "-1" => -1,
                text => crate::units::parse_ram(text)
                    .map_err(|error| Failure::Invalid(error.to_string()))?,
            };
            pairs.push((name, bytes.to_string()));
        }
    }
    for host in matches.list("add-host") {
        pairs.push(("extrahosts", host.replacen('=', ":", 1)));
    }
    for stage in matches.list("no-cache-filter") {
        pairs.push(("nocachefilter", stage.to_owned()));
    }
    caches(matches, input, &mut pairs)?;
    for context in matches.list("build-context") {
        pairs.push(("buildcontext", named_context(context, input)?));
    }
    if let Some(platform) = cli.platform(matches) {
        pairs.push(("platform", platform));
    }
    for annotation in matches.list("annotation") {
        pairs.push(("annotation", annotation.to_owned()));
    }
    for right in matches.list("allow") {
        match right {
            "network.host" | "security.insecure" => pairs.push(("allow", right.to_owned())),
            other => return Err(Failure::NotBuilt { what: format!("--allow {other}") }),
        }
    }
    if matches.on("keep-failed") {
        pairs.push(("keepfailed", "1".to_owned()));
    }
    let ulimits = ulimits(matches)?;
    if !ulimits.is_empty() {
        pairs.push(("ulimits", ulimits));
    }
    Ok(pairs)
}

fn ulimits(matches: &Matches) -> Result<String, Failure> {
    let mut list = Vec::new();
    for text in matches.list("ulimit") {
        let bad = || Failure::Invalid(format!("invalid ulimit argument: {text}"));
        let (name, limits) = text.split_once('=').ok_or_else(bad)?;
        let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
        let soft: i64 = soft.parse().map_err(|_| bad())?;
        let hard: i64 = hard.parse().map_err(|_| bad())?;
        list.push(serde_json::json!({ "Name": name, "Soft": soft, "Hard": hard }));
    }
    if list.is_empty() {
        return Ok(String::new());
    }
    Ok(serde_json::Value::from(list).to_string())
}

/// `NAME=docker-image://IMAGE`, an address, or a directory, which is sent along.
fn named_context(text: &str, input: &mut Input) -> Result<String, Failure> {
    let bad = || Failure::Invalid(format!("invalid context value: {text}, expected key=value"));
    let (name, place) = text.split_once('=').ok_or_else(bad)?;
    if place.contains("://") || place.starts_with("git@") {
        return match place.starts_with("oci-layout://") {
            true => Err(Failure::NotBuilt { what: format!("--build-context {text}") }),
            false => Ok(text.to_owned()),
        };
    }
    Ok(format!("{name}=sent:{}", input.send(place, true)?))
}

/// Where caches come from and go to.
fn caches(matches: &Matches, input: &mut Input, pairs: &mut Pairs) -> Result<(), Failure> {
    let mut from = Vec::new();
    for text in matches.list("cache-from") {
        let fields = Fields::parse(text, "registry", "ref");
        match fields.kind {
            "registry" => from.push(fields.need(text, "--cache-from", "ref")?.to_owned()),
            "local" => {
                let place = fields.need(text, "--cache-from", "src")?;
                // What is not there yet is the first build's.
                if std::path::Path::new(place).join("index.json").exists() {
                    from.push(format!("sent:{}", input.send(place, false)?));
                }
            }
            _ => return Err(Failure::NotBuilt { what: format!("--cache-from {text}") }),
        }
        fields.only(text, "--cache-from", &["type", "ref", "src"])?;
    }
    if !from.is_empty() {
        let list = from.into_iter().map(Json::from).collect();
        pairs.push(("cachefrom", Json::List(list).compact()));
    }
    for text in matches.list("cache-to") {
        let fields = Fields::parse(text, "registry", "ref");
        match fields.kind {
            "inline" => pairs.push(("cacheto", "inline".to_owned())),
            "registry" => {
                let name = fields.need(text, "--cache-to", "ref")?;
                pairs.push(("cacheto", name.to_owned()));
            }
            "local" => drop(fields.need(text, "--cache-to", "dest")?),
            _ => return Err(Failure::NotBuilt { what: format!("--cache-to {text}") }),
        }
        fields.only(text, "--cache-to", &["type", "ref", "dest", "mode", "ignore-error"])?;
        match fields.get("mode") {
            None | Some("min") => {}
            Some("max") => pairs.push(("cachemode", "max".to_owned())),
            Some(_) => return Err(Failure::Invalid(format!("invalid --cache-to {text}: mode"))),
        }
        if fields.get("ignore-error") == Some("true") {
            pairs.push(("cachelenient", "1".to_owned()));
        }
    }
    Ok(())
}

/// `type=local,dest=x`: words of a flag by their names.
pub(super) struct Fields<'a> {
    pub(super) kind: &'a str,
    pairs: Vec<(&'a str, &'a str)>,
}

impl<'a> Fields<'a> {
    /// A word alone is `name` of `kind`.
    pub(super) fn parse(text: &'a str, kind: &'static str, name: &'static str) -> Self {
        if !text.contains('=') {
            return Self { kind, pairs: vec![(name, text)] };
        }
        let pairs = text.split(',').map(|field| field.split_once('=').unwrap_or((field, "")));
        let pairs: Vec<_> = pairs.map(|(name, value)| (name.trim(), value.trim())).collect();
        let said = pairs.iter().find(|(name, _)| *name == "type").map(|(_, value)| *value);
        Self { kind: said.unwrap_or(kind), pairs }
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        self.pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    pub(super) fn need(&self, text: &str, flag: &str, name: &str) -> Result<&'a str, Failure> {
        self.get(name).filter(|value| !value.is_empty()).ok_or_else(|| {
            Failure::Invalid(format!("{flag} {text}: {name} is required for type {}", self.kind))
        })
    }

    /// Refuses by name what would be ignored.
    pub(super) fn only(&self, text: &str, flag: &str, names: &[&str]) -> Result<(), Failure> {
        match self.pairs.iter().find(|(name, _)| !names.contains(name)) {
            None => Ok(()),
            Some((name, _)) => Err(Failure::NotBuilt { what: format!("{flag} {text}: {name}") }),
        }
    }
}

/// Agents for ssh by their ids: the places of their sockets, which an engine of this machine can reach.
pub(crate) fn agents(cli: &Cli, matches: &Matches) -> Result<Option<String>, Failure> {
    let list = matches.list("ssh");
    if list.is_empty() {
        return Ok(None);
    }
    if !matches!(cli.endpoint()?, Endpoint::Unix(_)) {
        return Err(Failure::NotBuilt {
            what: "--ssh with an engine of another machine".to_owned(),
        });
    }
    let mut found = serde_json::Map::new();
    for text in list {
        let (id, place) = text.split_once('=').unwrap_or((text, ""));
        let place = match place {
            "" => cli.variable("SSH_AUTH_SOCK").filter(|place| !place.is_empty()).ok_or_else(
                || {
                    let text =
                        format!("invalid empty ssh agent socket: SSH_AUTH_SOCK is not set ({id})");
                    Failure::Invalid(text)
                },
            )?,
            place => place.to_owned(),
        };
        let path = std::fs::canonicalize(&place).map_err(Failure::io("look at", place.as_str()))?;
        let kind = std::fs::metadata(&path).map_err(Failure::io("look at", place.as_str()))?;
        if !std::os::unix::fs::FileTypeExt::is_socket(&kind.file_type()) {
            let text =
                format!("--ssh {text}: {place} is no socket; keys are taken from an agent only");
            return Err(Failure::Invalid(text));
        }
        let bytes = std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str());
        found.insert(id.to_owned(), base64::encode_url(bytes).into());
    }
    let text = serde_json::Value::Object(found).to_string();
    Ok(Some(base64::encode_url(text.as_bytes())))
}

/// Secrets travel in a header, for addresses end in logs.
pub(crate) fn secrets(cli: &Cli, matches: &Matches) -> Result<Option<String>, Failure> {
    let mut found = serde_json::Map::new();
    for text in matches.list("secret") {
        let (mut id, mut source, mut env) = (None, None, None);
        for field in text.split(',') {
            match field.split_once('=') {
                Some(("id", value)) => id = Some(value),
                Some(("src" | "source", value)) => source = Some(value),
                Some(("env", value)) => env = Some(value),
                Some(("type", "file" | "env")) => {}
                _ => return Err(Failure::Invalid(format!("invalid secret {text}: {field}"))),
            }
        }
        let Some(id) = id else {
            return Err(Failure::Invalid(format!("invalid secret {text}: no id")));
        };
        let bytes = match (source, env) {
            (Some(path), _) => std::fs::read(path).map_err(Failure::io("read", path))?,
            (None, Some(name)) => cli
                .variable(name)
                .map(String::into_bytes)
                .ok_or_else(|| Failure::Invalid(format!("secret {id}: {name} is not set")))?,
            (None, None) => std::fs::read(id).map_err(Failure::io("read", id))?,
        };
        found.insert(id.to_owned(), base64::encode_url(&bytes).into());
    }
    let text = serde_json::Value::Object(found);
    let none = matches.list("secret").is_empty();
    Ok((!none).then(|| base64::encode_url(text.to_string().as_bytes())))
}
