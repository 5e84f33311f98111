//! What the runtime says about itself: `features`, `spec`, `--version`.

use std::fs;

use serde_json::{Value, json};

use super::scenarios;
use crate::contest::{Case, Outcome, check, check_eq};

fn features(c: &Case) -> Outcome<Value> {
    Ok(serde_json::from_str(&c.runtime(&["features"])?.ok()?.out)?)
}

fn lists(value: &Value, pointer: &str, words: &[&str]) -> Outcome {
    let list = value.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
    for word in words {
        check!(list.iter().any(|w| w == word), "{pointer} does not list {word}: {list:?}");
    }
    Ok(())
}

/// `features` has the members that the schema requires.
fn versions(c: &Case) -> Outcome {
    let features = features(c)?;
    for member in ["ociVersionMin", "ociVersionMax"] {
        let version = features[member].as_str().unwrap_or("");
        check!(version.starts_with("1."), "{member}: {version:?}");
    }
    Ok(())
}

/// All kinds of hooks are listed.
fn hooks(c: &Case) -> Outcome {
    let kinds =
        ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
    lists(&features(c)?, "/hooks", &kinds)
}

/// Mount options are listed.
fn mount_options(c: &Case) -> Outcome {
    let options = ["bind", "rbind", "ro", "nosuid", "rprivate", "rslave", "tmpcopyup", "rro"];
    lists(&features(c)?, "/mountOptions", &options)
}

/// Namespaces and capabilities are listed, in the configuration's words.
fn namespaces_and_capabilities(c: &Case) -> Outcome {
    let features = features(c)?;
    let kinds = ["cgroup", "ipc", "mount", "network", "pid", "user", "uts"];
    lists(&features, "/linux/namespaces", &kinds)?;
    lists(&features, "/linux/capabilities", &["CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_BPF"])
}

/// Cgroup managers and versions.
fn cgroups(c: &Case) -> Outcome {
    let features = features(c)?;
    for member in ["v1", "v2"] {
        check_eq!(features["linux"]["cgroup"][member], true, "cgroup {member}");
    }
    check!(features["linux"]["cgroup"]["systemd"].is_boolean(), "cgroup systemd: {features}");
    Ok(())
}

/// Seccomp's words.
fn seccomp(c: &Case) -> Outcome {
    let features = features(c)?;
    check_eq!(features["linux"]["seccomp"]["enabled"], true, "seccomp");
    let actions = [
        "SCMP_ACT_ALLOW",
        "SCMP_ACT_ERRNO",
        "SCMP_ACT_KILL",
        "SCMP_ACT_KILL_PROCESS",
        "SCMP_ACT_LOG",
        "SCMP_ACT_NOTIFY",
        "SCMP_ACT_TRACE",
        "SCMP_ACT_TRAP",
    ];
    lists(&features, "/linux/seccomp/actions", &actions)?;
    lists(&features, "/linux/seccomp/operators", &["SCMP_CMP_EQ", "SCMP_CMP_MASKED_EQ"])?;
    lists(&features, "/linux/seccomp/archs", &["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"])
}

/// `spec` writes a configuration that runs, and does not overwrite one.
fn spec(c: &Case) -> Outcome {
    c.call(&["spec"]).current_dir(&c.bundle.dir).go()?.ok()?;
    let path = c.bundle.dir.join("config.json");
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&path)?)?;
    check!(config["ociVersion"].is_string(), "no ociVersion");
    check_eq!(config["root"]["path"], "rootfs", "root");
    let again = c.call(&["spec"]).current_dir(&c.bundle.dir).go()?;
    check!(again.code != 0, "it was overwritten");
    config["process"]["args"] = json!(["/bin/payload", "report"]);
    config["process"]["terminal"] = json!(false);
    // The default asks for 1024 files: within what any host allows.
    fs::write(&path, config.to_string())?;
    c.remember(&c.token);
    let bundle = c.bundle.dir.display().to_string();
    c.runtime(&["run", "--bundle", &bundle, &c.token])?.ok()?;
    c.nothing_left()
}

/// `spec --bundle` writes there.
fn spec_bundle(c: &Case) -> Outcome {
    c.runtime(&["spec", "--bundle", &c.bundle.dir.display().to_string()])?.ok()?;
    check!(c.bundle.dir.join("config.json").exists(), "no config.json");
    Ok(())
}

/// `--version` says its name and the specification.
fn version(c: &Case) -> Outcome {
    let out = c.runtime(&["--version"])?.ok()?.out;
    check!(out.lines().next().is_some_and(|l| l.contains("version")), "{out}");
    check!(out.lines().any(|l| l.trim_start().starts_with("spec: 1.")), "{out}");
    Ok(())
}

/// `--help` lists the commands.
fn help(c: &Case) -> Outcome {
    let out = c.runtime(&["--help"])?.ok()?.out;
    for command in
        ["create", "start", "state", "kill", "delete", "run", "exec", "list", "pause", "resume"]
    {
        check!(out.contains(command), "{command} is not listed");
    }
    Ok(())
}

scenarios![
    versions,
    hooks,
    mount_options,
    namespaces_and_capabilities,
    cgroups,
    seccomp,
    spec,
    spec_bundle,
    version,
    help,
];
