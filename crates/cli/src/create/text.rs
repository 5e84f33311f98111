//! Variables, labels and hosts, on the command line and in files.
//!
//! Absent on purpose: what they mean to a container.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::failure::Failure;

/// The caller's environment.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// `key=value` texts as a map; without `=` the value is empty.
pub(crate) fn pairs<'a>(texts: impl Iterator<Item = &'a str>) -> BTreeMap<String, String> {
    let pair = |text: &'a str| text.split_once('=').unwrap_or((text, ""));
    texts.map(pair).map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// The variables of `--env-file` and `--env`, in this order; a name alone takes the caller's value.
pub(crate) fn variables(
    files: &[&str],
    given: &[&str],
    lookup: Lookup<'_>,
) -> Result<Vec<String>, Failure> {
    let mut out = Vec::new();
    for path in files {
        out.extend(file(path, Some(lookup))?);
    }
    for text in given {
        match lookup(text).filter(|_| !text.contains('=')) {
            Some(value) => out.push(format!("{text}={value}")),
            None => out.push((*text).to_owned()),
        }
    }
    Ok(out)
}

/// The labels of `--label-file` and `--label`.
pub(crate) fn labels(files: &[&str], given: &[&str]) -> Result<BTreeMap<String, String>, Failure> {
    let mut out = BTreeMap::new();
    for path in files {
        out.extend(pairs(file(path, None)?.iter().map(String::as_str)));
    }
    out.extend(pairs(given.iter().map(|text| text.trim_start())));
    Ok(out)
}

fn file(path: &str, lookup: Option<Lookup<'_>>) -> Result<Vec<String>, Failure> {
    let bytes = std::fs::read(path).map_err(Failure::io("open", path))?;
    parse(&bytes, lookup)
        .map_err(|why| Failure::Invalid(format!("invalid env file ({path}): {why}")))
}

fn parse(bytes: &[u8], lookup: Option<Lookup<'_>>) -> Result<Vec<String>, String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut out = Vec::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = std::str::from_utf8(line)
            .map_err(|_| format!("invalid utf8 bytes at line {}: {line:?}", index + 1))?
            .trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let key = line.split('=').next().unwrap_or_default();
        if key.is_empty() {
            return Err(format!("no variable name on line '{line}'"));
        }
        if key.contains([' ', '\t']) {
            return Err(format!("variable '{key}' contains whitespaces"));
        }
        if line.contains('=') {
            out.push(line.to_owned());
        } else if let Some(value) = lookup.and_then(|lookup| lookup(key)) {
            out.push(format!("{key}={value}"));
        }
    }
    Ok(out)
}

/// A variable has a name.
pub(crate) fn check_variable(text: &str) -> Result<(), String> {
    if text.is_empty() || text.starts_with('=') {
        return Err(format!("invalid environment variable: {text}"));
    }
    Ok(())
}

/// A label has a name without blanks.
pub(crate) fn check_label(text: &str) -> Result<(), String> {
    let key = text.trim_start().split('=').next().unwrap_or_default();
    if key.is_empty() {
        return Err(format!("invalid label '{text}': empty name"));
    }
    if key.contains([' ', '\t']) {
        return Err(format!("label '{key}' contains whitespaces"));
    }
    Ok(())
}

/// An address of either family.
pub(crate) fn check_ip(text: &str) -> Result<(), String> {
    let address: Result<IpAddr, _> = text.trim().parse();
    address.map(drop).map_err(|_| format!("IP address is not correctly formatted: {text}"))
}

/// `NAME:ADDRESS` or `NAME=ADDRESS`, in the form of the API.
pub(crate) fn extra_host(text: &str) -> Result<String, String> {
    let pair = text.split_once('=').or_else(|| text.split_once(':'));
    let pair = pair.filter(|(name, _)| !name.is_empty() && !name.contains(':'));
    let (name, address) = pair.ok_or_else(|| format!("bad format for add-host: {text:?}"))?;
    let bare = match address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) if !inner.is_empty() => inner,
        _ => address,
    };
    if bare != "host-gateway" && bare.trim().parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address in add-host: {bare:?}"));
    }
    Ok(format!("{name}:{bare}"))
}

pub(crate) fn check_extra_host(text: &str) -> Result<(), String> {
    extra_host(text).map(drop)
}

/// The search domain is `.` or a name.
pub(crate) fn check_domain(text: &str) -> Result<(), String> {
    let trimmed = text.trim_matches(' ');
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let part = |part: &str| !part.is_empty() && part.chars().all(letter);
    let good = trimmed == "."
        || trimmed.len() < 255
            && trimmed.chars().any(|c| c.is_ascii_alphabetic())
            && trimmed.trim_end_matches('.').split('.').all(part);
    if good { Ok(()) } else { Err(format!("{trimmed} is not a valid domain")) }
}

/// Only settings that have a namespace of their own may be changed.
pub(crate) fn check_sysctl(text: &str) -> Result<(), String> {
    const KERNEL: [&str; 8] =
        ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"];
    let key = text.split_once('=').map(|(key, _)| key).unwrap_or_default();
    let kernel = key.strip_prefix("kernel.").is_some_and(|rest| KERNEL.contains(&rest));
    if kernel || key.starts_with("net.") || key.starts_with("fs.mqueue.") {
        return Ok(());
    }
    Err(format!("sysctl '{text}' is not allowed"))
}

/// `NAME[:ALIAS]`.
pub(crate) fn check_link(text: &str) -> Result<(), String> {
    match text.matches(':').count() {
        _ if text.is_empty() => Err("empty string specified for links".to_owned()),
        0 | 1 => Ok(()),
        _ => Err(format!("bad format for links: {text}")),
    }
}

/// One of the three streams.
pub(crate) fn check_stream(text: &str) -> Result<(), String> {
    match text.to_lowercase().as_str() {
        "stdin" | "stdout" | "stderr" => Ok(()),
        _ => Err("valid streams are STDIN, STDOUT and STDERR".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_take_the_caller_s_values() {
        let lookup = |name: &str| (name == "HOME").then(|| "/root".to_owned());
        let all = variables(&[], &["A=1", "HOME", "NONE", "B="], &lookup).unwrap();
        assert_eq!(all, ["A=1", "HOME=/root", "NONE", "B="]);
        let text = b"\xef\xbb\xbf# c\n\n  A=b c \r\nHOME\nNONE\n";
        assert_eq!(parse(text, Some(&lookup)).unwrap(), ["A=b c ", "HOME=/root"]);
        assert_eq!(parse(b"A B=1", None).unwrap_err(), "variable 'A B' contains whitespaces");
        assert_eq!(parse(b"=1", None).unwrap_err(), "no variable name on line '=1'");
    }

    #[test]
    fn checks_in_docker_s_words() {
        assert_eq!(check_variable("=x").unwrap_err(), "invalid environment variable: =x");
        assert_eq!(check_label("=x").unwrap_err(), "invalid label '=x': empty name");
        assert_eq!(check_ip("x").unwrap_err(), "IP address is not correctly formatted: x");
        assert_eq!(extra_host("x").unwrap_err(), "bad format for add-host: \"x\"");
        assert_eq!(extra_host("a=[::1]").as_deref(), Ok("a:::1"));
        assert_eq!(extra_host("a:host-gateway").as_deref(), Ok("a:host-gateway"));
        assert_eq!(extra_host("a:b").unwrap_err(), "invalid IP address in add-host: \"b\"");
        assert_eq!(check_sysctl("x").unwrap_err(), "sysctl 'x' is not allowed");
        assert!(check_sysctl("net.core.somaxconn=1").is_ok());
        assert!(check_domain(".").is_ok() && check_domain("1").is_err());
        assert_eq!(check_link("a:b:c").unwrap_err(), "bad format for links: a:b:c");
    }
}
