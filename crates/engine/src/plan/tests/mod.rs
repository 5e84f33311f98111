//! Plans as text: what each request comes to.
//!
//! Invariant: one machine, made up; a test names only what differs from the plain run.

mod refusals;
mod specs;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dhow_spec::runtime::User;

use super::*;

/// A directory that goes when the test has ended.
pub(crate) fn scratch(name: &str) -> Scratch {
    let path = std::env::temp_dir().join(format!("dhow-plan-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).expect("a directory");
    Scratch(path)
}

pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn host(unified: bool) -> HostFacts {
    HostFacts {
        cgroup: CgroupFacts::complete(unified),
        cpus: (0..4).collect(),
        memory_nodes: [0].into(),
        kernel: (6, 1),
        architecture: "amd64".to_owned(),
        seccomp: true,
        apparmor: false,
        apparmor_profiles: std::collections::BTreeSet::new(),
        selinux: false,
        hostname: "machine".to_owned(),
        resolv_conf: "nameserver 127.0.0.1\nnameserver 10.0.0.2\nsearch lan\noptions edns0\n"
            .to_owned(),
        hosts: "127.0.0.1 localhost machine\n".to_owned(),
        defaults: Defaults::new("/dhow-x".to_owned(), PathBuf::from("/usr/bin/dhow")),
    }
}

fn start() -> StartFacts {
    let file = |name: &str| Some(Path::new("/d/c/").join(name));
    StartFacts {
        id: "0123456789abcdef".repeat(4),
        user: User::default(),
        network: Some(PathBuf::from("/run/x/netns/1")),
        files: FilePaths {
            hostname: file("hostname"),
            hosts: file("hosts"),
            resolv_conf: file("resolv.conf"),
        },
        ..StartFacts::default()
    }
}

struct Case {
    request: CreateRequest,
    points: Vec<MountPoint>,
    start: StartFacts,
    host: HostFacts,
}

impl Case {
    fn new(change: impl FnOnce(&mut CreateRequest)) -> Self {
        let mut request = CreateRequest::default();
        request.config.image = "x".to_owned();
        request.config.cmd = Some(vec!["true".to_owned()]);
        change(&mut request);
        Self { request, points: Vec::new(), start: start(), host: host(true) }
    }

    fn settle(&mut self) -> Result<Vec<String>, PlanError> {
        let warnings = settle(&mut self.request, &self.host)?;
        self.points = mount_points(&self.request, &BTreeMap::new(), || "new".to_owned())?;
        for point in &mut self.points {
            if point.kind == MountKind::Volume {
                point.source = format!("/d/volumes/{}/_data", point.name);
            }
        }
        Ok(warnings)
    }

    fn plan(&mut self) -> Result<Plan, PlanError> {
        self.settle()?;
        plan(&self.request, &self.points, &self.start, &self.host, Path::new("/d/c"))
    }

    /// The specification as text; the filter is told apart, by whether it is there.
    fn text(&mut self) -> String {
        let mut plan = self.plan().expect("a plan");
        plan.spec.check().expect("a specification that keeps the rules");
        let linux = plan.spec.linux.as_mut().expect("linux");
        let filter = linux.seccomp.take();
        let spec = serde_json::to_value(&plan.spec).expect("JSON");
        format!("{}seccomp: {}\n", lines("", &spec), filter.is_some())
    }
}

/// A document in lines that each say where they belong; short values stand on one.
fn lines(path: &str, value: &serde_json::Value) -> String {
    let below = |name: &str| match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    };
    match value {
        serde_json::Value::Object(members) if !path.is_empty() && value.to_string().len() < 120 => {
            let members: Vec<String> =
                members.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("{path}: {}\n", members.join(" "))
        }
        serde_json::Value::Object(members) => {
            members.iter().map(|(name, value)| lines(&below(name), value)).collect()
        }
        serde_json::Value::Array(items) if items.iter().any(serde_json::Value::is_object) => {
            items.iter().map(|item| format!("{path}[]: {}\n", short(item))).collect()
        }
        value => format!("{path}: {value}\n"),
    }
}

/// One mount, device, rule or namespace.
fn short(item: &serde_json::Value) -> String {
    let members = item.as_object().into_iter().flatten();
    let text = |value: &serde_json::Value| match value {
        serde_json::Value::Array(words) => {
            words.iter().filter_map(serde_json::Value::as_str).collect::<Vec<_>>().join(",")
        }
        serde_json::Value::String(word) => word.clone(),
        value => value.to_string(),
    };
    members.map(|(name, value)| format!("{name}={}", text(value))).collect::<Vec<_>>().join(" ")
}

/// What a request changes against the plain run: the lines that go (`-`) and come (`+`), in order.
fn check(change: impl FnOnce(&mut CreateRequest), expected: &str) {
    check_case(Case::new(change), expected);
}

fn check_case(mut case: Case, expected: &str) {
    let plain = Case::new(|_| {}).text();
    let text = case.text();
    let changes = difference(&plain, &text);
    let expected: Vec<&str> =
        expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(changes, expected, "\n{}", changes.join("\n"));
}

/// The shortest way from one text to another by lines that go and lines that come.
fn difference(old: &str, new: &str) -> Vec<String> {
    let (old, new): (Vec<&str>, Vec<&str>) =
        (old.lines().map(str::trim).collect(), new.lines().map(str::trim).collect());
    let mut longest = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            longest[i][j] = match old[i] == new[j] {
                true => longest[i + 1][j + 1] + 1,
                false => longest[i + 1][j].max(longest[i][j + 1]),
            };
        }
    }
    let (mut i, mut j, mut changes) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        let same = i < old.len() && j < new.len() && old[i] == new[j];
        if same {
            (i, j) = (i + 1, j + 1);
        } else if i < old.len() && (j == new.len() || longest[i + 1][j] >= longest[i][j + 1]) {
            changes.push(cut('-', old[i]));
            i += 1;
        } else {
            changes.push(cut('+', new[j]));
            j += 1;
        }
    }
    changes
}

fn cut(sign: char, line: &str) -> String {
    let short: String = line.chars().take(110).collect();
    format!("{sign}{short}{}", if short.len() < line.len() { "…" } else { "" })
}
