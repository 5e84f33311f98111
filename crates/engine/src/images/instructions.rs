//! Changes of an image's configuration, written as a Dockerfile's instructions: `commit -c`, `import -c`.
//!
//! Invariant: an instruction that would need a build is refused by name.
//! Absent on purpose: variables, continued lines: a change is one line.

use std::fmt;

use dhow_spec::image::{HealthCheck, RunConfig};

/// A change that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstructionError {
    /// Not one of those that change a configuration alone.
    NotAllowed {
        /// Its name.
        name: String,
    },
    /// It lacks what it is about, or what stands there says nothing.
    Arguments {
        /// Its name.
        name: String,
        /// What stands there.
        text: String,
    },
}

type Result<T> = std::result::Result<T, InstructionError>;

/// Carries out one line.
pub(crate) fn apply_instruction(config: &mut RunConfig, line: &str) -> Result<()> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(());
    }
    let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let (name, rest) = (name.to_ascii_uppercase(), rest.trim());
    let wrong = || InstructionError::Arguments { name: name.clone(), text: rest.to_owned() };
    if rest.is_empty() && !matches!(name.as_str(), "CMD" | "ENTRYPOINT") {
        return Err(wrong());
    }
    match name.as_str() {
        "CMD" => config.cmd = command(rest, &config.shell),
        "ENTRYPOINT" => config.entrypoint = command(rest, &config.shell),
        "ENV" => {
            for (key, value) in pairs(rest).ok_or_else(wrong)? {
                config.env.retain(|known| known.split('=').next() != Some(key.as_str()));
                config.env.push(format!("{key}={value}"));
            }
        }
        "LABEL" => config.labels.extend(pairs(rest).ok_or_else(wrong)?),
        "EXPOSE" => {
            for port in words(rest).ok_or_else(wrong)? {
                let port = if port.contains('/') { port } else { format!("{port}/tcp") };
                let number = port.split('/').next().unwrap_or_default();
                let is_number = |text: &str| text.parse::<u16>().is_ok();
                if !number.split('-').all(is_number) {
                    return Err(wrong());
                }
                config.exposed_ports.insert(port.to_ascii_lowercase());
            }
        }
        "VOLUME" => {
            let places = list(rest).or_else(|| words(rest)).ok_or_else(wrong)?;
            config.volumes.extend(places);
        }
        "USER" => config.user = Some(rest.to_owned()),
        "WORKDIR" => config.working_dir = Some(directory(config.working_dir.as_deref(), rest)),
        "STOPSIGNAL" => config.stop_signal = Some(rest.to_owned()),
        "SHELL" => config.shell = list(rest).filter(|list| !list.is_empty()).ok_or_else(wrong)?,
        "ONBUILD" => config.on_build.push(rest.to_owned()),
        "HEALTHCHECK" => config.healthcheck = Some(health(rest, &config.shell).ok_or_else(wrong)?),
        _ => return Err(InstructionError::NotAllowed { name }),
    }
    Ok(())
}

/// A JSON list, or one text for a shell.
fn command(text: &str, shell: &[String]) -> Vec<String> {
    if text.is_empty() {
        return Vec::new();
    }
    list(text).unwrap_or_else(|| {
        let shell = match shell {
            [] => vec!["/bin/sh".to_owned(), "-c".to_owned()],
            shell => shell.to_vec(),
        };
        shell.into_iter().chain([text.to_owned()]).collect()
    })
}

fn list(text: &str) -> Option<Vec<String>> {
    text.starts_with('[').then(|| serde_json::from_str(text).ok()).flatten()
}

/// `a=b "c d"='e'`, or `a b c` for one pair as long ago.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let all = words(text)?;
    if !all.first()?.contains('=') {
        let (key, value) = text.split_once(char::is_whitespace)?;
        return Some(vec![(key.to_owned(), value.trim().to_owned())]);
    }
    all.iter()
        .map(|word| word.split_once('=').filter(|(key, _)| !key.is_empty()))
        .map(|pair| pair.map(|(key, value)| (key.to_owned(), value.to_owned())))
        .collect()
}

/// Words with quotes and backslashes undone; nothing if a quote is not closed.
fn words(text: &str) -> Option<Vec<String>> {
    let (mut all, mut word, mut quote) = (Vec::new(), None::<String>, None::<char>);
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match (c, quote) {
            ('\\', None | Some('"')) => word.get_or_insert_default().extend(rest.next()),
            (c, Some(open)) if c == open => quote = None,
            (c, Some(_)) => word.get_or_insert_default().push(c),
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => all.extend(word.take()),
            (c, None) => word.get_or_insert_default().push(c),
        }
    }
    all.extend(word);
    (quote.is_none() && !all.is_empty()).then_some(all)
}

fn directory(old: Option<&str>, new: &str) -> String {
    let new = new.trim_matches('"');
    let old = old.unwrap_or("/").trim_end_matches('/');
    if new.starts_with('/') { new.to_owned() } else { format!("{old}/{new}") }
}

/// `NONE`, or options, `CMD` and a command.
fn health(text: &str, shell: &[String]) -> Option<HealthCheck> {
    let mut check = HealthCheck::default();
    let mut rest = text;
    loop {
        let (word, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let after = after.trim_start();
        match word.strip_prefix("--") {
            Some(option) => {
                let (name, value) = option.split_once('=')?;
                match name {
                    "interval" => check.interval = duration_ns(value)?,
                    "timeout" => check.timeout = duration_ns(value)?,
                    "start-period" => check.start_period = duration_ns(value)?,
                    "start-interval" => check.start_interval = duration_ns(value)?,
                    "retries" => check.retries = value.parse().ok().filter(|n| *n > 0)?,
                    _ => return None,
                }
                rest = after;
            }
            None if word.eq_ignore_ascii_case("none") && after.is_empty() => {
                check.test = vec!["NONE".to_owned()];
                return Some(check);
            }
            None if word.eq_ignore_ascii_case("cmd") && !after.is_empty() => {
                check.test = match list(after) {
                    Some(list) => [vec!["CMD".to_owned()], list].concat(),
                    None if shell.is_empty() => vec!["CMD-SHELL".to_owned(), after.to_owned()],
                    None => [vec!["CMD".to_owned()], command(after, shell)].concat(),
                };
                return Some(check);
            }
            None => return None,
        }
    }
}

/// `1m30s` as Go writes it.
fn duration_ns(text: &str) -> Option<i64> {
    let (mut total, mut rest) = (0.0, text);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        let unit_end =
            rest[end..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| end + at);
        total += number
            * match &rest[end..unit_end] {
                "ns" => 1.0,
                "us" | "µs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                _ => return None,
            };
        rest = &rest[unit_end..];
    }
    (!text.is_empty() && total < 9e18).then_some(total as i64)
}

impl fmt::Display for InstructionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAllowed { name } => write!(f, "{name} is not a valid change command"),
            Self::Arguments { name, text } if text.is_empty() => {
                write!(f, "{name} requires at least one argument")
            }
            Self::Arguments { name, text } => write!(f, "invalid argument of {name}: {text}"),
        }
    }
}

impl std::error::Error for InstructionError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[&str], expected: &str) {
        let mut config = RunConfig { env: vec!["A=old".to_owned()], ..RunConfig::default() };
        for line in lines {
            apply_instruction(&mut config, line).expect(line);
        }
        assert_eq!(serde_json::to_string(&config).expect("JSON"), expected, "{lines:?}");
    }

    #[test]
    fn lines_change_the_configuration() {
        check(
            &["cmd echo hi", "ENTRYPOINT [\"/a\", \"b\"]"],
            r#"{"Env":["A=old"],"Entrypoint":["/a","b"],"Cmd":["/bin/sh","-c","echo hi"]}"#,
        );
        check(
            &["ENV A=1 B=\"x y\"", "ENV C some text", "LABEL k=v", "EXPOSE 80 53/UDP"],
            r#"{"ExposedPorts":{"53/udp":{},"80/tcp":{}},"Env":["A=1","B=x y","C=some text"],"Labels":{"k":"v"}}"#,
        );
        check(
            &["WORKDIR /a", "WORKDIR b", "USER me", "VOLUME [\"/x\"]", "STOPSIGNAL INT"],
            r#"{"User":"me","Env":["A=old"],"Volumes":{"/x":{}},"WorkingDir":"/a/b","StopSignal":"INT"}"#,
        );
        check(
            &["HEALTHCHECK --interval=1m30s --retries=2 CMD true"],
            r#"{"Env":["A=old"],"Healthcheck":{"Test":["CMD-SHELL","true"],"Interval":90000000000,"Retries":2}}"#,
        );
    }

    #[test]
    fn others_are_refused_by_name() {
        let refused = |line: &str| {
            let error = apply_instruction(&mut RunConfig::default(), line).expect_err(line);
            error.to_string()
        };
        assert_eq!(refused("RUN ls"), "RUN is not a valid change command");
        assert_eq!(refused("ENV"), "ENV requires at least one argument");
        assert_eq!(refused("EXPOSE x"), "invalid argument of EXPOSE: x");
        assert_eq!(refused("ENV A=\"x"), "invalid argument of ENV: A=\"x");
    }
}
