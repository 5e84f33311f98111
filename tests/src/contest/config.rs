//! Builds `config.json` from a working default, one change at a time.
//!
//! The default is a small container in all namespaces but user, cgroup and time, much as an engine
//! would make it. Changes name their place by JSON pointer, so that a scenario shows exactly what it
//! is about.

use serde_json::{Map, Value, json};

/// What an engine grants by default.
pub(crate) const DEFAULT_CAPS: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// A configuration being written.
#[derive(Debug, Clone)]
pub(crate) struct Config(Value);

impl Config {
    /// The default, in a cgroup.
    pub(crate) fn new(cgroup_path: &str) -> Self {
        Config(json!({
            "ociVersion": "1.0.2",
            "process": {
                "terminal": false,
                "user": { "uid": 0, "gid": 0 },
                "args": ["/bin/payload", "report"],
                "env": ["PATH=/bin:/usr/bin", "CONTEST=yes"],
                "cwd": "/",
                "capabilities": {
                    "bounding": DEFAULT_CAPS,
                    "effective": DEFAULT_CAPS,
                    "permitted": DEFAULT_CAPS,
                },
                "noNewPrivileges": false,
            },
            "root": { "path": "rootfs" },
            "hostname": "contest",
            "mounts": default_mounts(),
            "linux": {
                "cgroupsPath": cgroup_path,
                "namespaces": [
                    { "type": "pid" }, { "type": "network" }, { "type": "ipc" },
                    { "type": "uts" }, { "type": "mount" },
                ],
                "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            },
        }))
    }

    /// The JSON as it is now.
    pub(crate) fn value(&self) -> &Value {
        &self.0
    }

    /// Sets the value at a JSON pointer; objects on the way are made.
    pub(crate) fn set(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        *self.place(pointer) = value.into();
        self
    }

    /// Appends to the array at a JSON pointer; it is made if absent.
    pub(crate) fn push(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        let place = self.place(pointer);
        if !place.is_array() {
            *place = Value::Array(Vec::new());
        }
        if let Value::Array(array) = place {
            array.push(value.into());
        }
        self
    }

    /// Removes the member at a JSON pointer.
    pub(crate) fn remove(mut self, pointer: &str) -> Self {
        if let Some((parent, name)) = pointer.rsplit_once('/')
            && let Some(Value::Object(object)) = self.0.pointer_mut(parent)
        {
            object.remove(name);
        }
        self
    }

    /// The process's arguments.
    pub(crate) fn args(self, args: &[&str]) -> Self {
        self.set("/process/args", json!(args))
    }

    /// The payload with these arguments.
    pub(crate) fn payload(self, args: &[&str]) -> Self {
        let mut all = vec!["/bin/payload"];
        all.extend(args);
        self.args(&all)
    }

    /// A new namespace of this type, besides what is there.
    pub(crate) fn namespace(self, kind: &str) -> Self {
        self.without_namespace(kind).push("/linux/namespaces", json!({ "type": kind }))
    }

    /// Joins the namespace at `path`.
    pub(crate) fn namespace_path(self, kind: &str, path: &str) -> Self {
        self.without_namespace(kind)
            .push("/linux/namespaces", json!({ "type": kind, "path": path }))
    }

    /// No namespace of this type: the runtime's own.
    pub(crate) fn without_namespace(mut self, kind: &str) -> Self {
        if let Some(Value::Array(list)) = self.0.pointer_mut("/linux/namespaces") {
            list.retain(|n| n["type"] != kind);
        }
        self
    }

    /// A user namespace whose ids 0.. are the host's `first`...
    pub(crate) fn user_namespace(self, first: u32, count: u32) -> Self {
        let map = json!([{ "containerID": 0, "hostID": first, "size": count }]);
        self.namespace("user").set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map)
    }

    /// One more mount.
    pub(crate) fn mount(self, kind: &str, source: &str, target: &str, options: &[&str]) -> Self {
        self.push(
            "/mounts",
            json!({ "destination": target, "type": kind, "source": source, "options": options }),
        )
    }

    /// Without the mount at `target`.
    pub(crate) fn without_mount(mut self, target: &str) -> Self {
        if let Some(Value::Array(list)) = self.0.pointer_mut("/mounts") {
            list.retain(|m| m["destination"] != target);
        }
        self
    }

    /// The same capabilities in the bounding, effective and permitted sets.
    pub(crate) fn caps(self, caps: &[&str]) -> Self {
        self.set(
            "/process/capabilities",
            json!({ "bounding": caps, "effective": caps, "permitted": caps }),
        )
    }

    /// A hook of a kind.
    pub(crate) fn hook(self, kind: &str, hook: Value) -> Self {
        self.push(&format!("/hooks/{kind}"), hook)
    }

    /// Another cgroup path.
    pub(crate) fn cgroup(self, path: &str) -> Self {
        self.set("/linux/cgroupsPath", path)
    }

    fn place(&mut self, pointer: &str) -> &mut Value {
        let mut at = &mut self.0;
        for step in pointer.split('/').skip(1) {
            at = match at {
                Value::Array(array) => {
                    let index = step.parse::<usize>().unwrap_or(usize::MAX);
                    array.get_mut(index).expect("scenarios name elements that are there")
                }
                other => {
                    if !other.is_object() {
                        *other = Value::Object(Map::new());
                    }
                    match other {
                        Value::Object(object) => {
                            object.entry(step.to_owned()).or_insert(Value::Null)
                        }
                        _ => unreachable!("it was just made an object"),
                    }
                }
            };
        }
        at
    }
}

fn default_mounts() -> Value {
    json!([
        { "destination": "/proc", "type": "proc", "source": "proc",
          "options": ["nosuid", "noexec", "nodev"] },
        { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
          "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
        { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
          "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
        { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
          "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
        { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
          "options": ["nosuid", "noexec", "nodev"] },
        { "destination": "/sys", "type": "sysfs", "source": "sysfs",
          "options": ["nosuid", "noexec", "nodev", "ro"] },
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_land_where_they_point() {
        let config = Config::new("/x")
            .set("/process/user/umask", 0o27)
            .set("/process/scheduler/policy", "SCHED_BATCH")
            .set("/mounts/0/options/1", "exec")
            .push("/linux/maskedPaths", "/proc/keys")
            .remove("/hostname")
            .namespace("user")
            .without_namespace("ipc")
            .without_mount("/sys");
        let v = config.value();
        assert_eq!(v["process"]["user"]["umask"], 0o27);
        assert_eq!(v["process"]["scheduler"]["policy"], "SCHED_BATCH");
        assert_eq!(v["mounts"][0]["options"], json!(["nosuid", "exec", "nodev"]));
        assert_eq!(v["linux"]["maskedPaths"], json!(["/proc/keys"]));
        assert!(v.get("hostname").is_none());
        assert_eq!(v["linux"]["namespaces"].as_array().map(Vec::len), Some(5));
        assert_eq!(v["mounts"].as_array().map(Vec::len), Some(5));
    }
}
