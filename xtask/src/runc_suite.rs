//! runc's own integration suite, run case by case against each contender.
//!
//! It comes as Debian's newest source package, with its helper programs and runc itself (the measure of
//! what can pass on this machine) built from it. The images that it would fetch from outside are made
//! here, under the names that it looks for. Cases run one by one: a hanging one costs its own time limit
//! and nothing else. `target/contest/runc-suite/<contender>.txt` has every verdict, `log/` what was said.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::apt::{Apt, cache};
use crate::busybox;
use crate::child::{self, Ending, Outcome};
use crate::columns::Columns;
use crate::contender::Contender;
use crate::host::Host;
use crate::leftover;
use crate::task::{
    At, TaskError, find_program, progress, read, run as run_tool, scratch, workspace,
};

const CASE_LIMIT: Duration = Duration::from_secs(120);
const HELPERS: [&str; 6] =
    ["fs-idmap", "pidfd-kill", "recvtty", "remap-rootfs", "sd-helper", "seccompagent"];
const TOOLS: [&str; 7] = ["go", "bats", "jq", "gawk", "script", "debootstrap", "gcc"];

/// What a case came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Pass,
    Fail,
    Skip,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Fail => "FAIL",
            Verdict::Skip => "skip",
        }
    }

    fn of(outcome: &Outcome) -> Verdict {
        let lines = || outcome.stdout.lines().map(|line| line.trim_end_matches('\r'));
        let good = lines().find(|line| line.starts_with("ok "));
        match good {
            _ if outcome.ending != Ending::Code(0) => Verdict::Fail,
            Some(line) if line.contains(" # skip") => Verdict::Skip,
            Some(_) => Verdict::Pass,
            None => Verdict::Fail,
        }
    }
}

type Results = BTreeMap<Case, Verdict>;

/// One `@test` of one file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Case {
    file: String,
    name: String,
}

/// Runs the cases whose file or name contains `filter`; `Bad` if ours fails one that runc passes.
pub(crate) fn run(contenders: &[Contender], filter: Option<&str>) -> Result<(), TaskError> {
    if let Some(missing) = TOOLS.into_iter().find(|tool| find_program(tool).is_none()) {
        eprintln!("SKIPPED: runc's own suite (no {missing} on this machine)");
        return Ok(());
    }
    let suite = Suite::prepare()?;
    let cases: Vec<Case> = suite.cases()?.into_iter().filter(|case| case.matches(filter)).collect();
    // runc as the suite's authors know it, in place of the machine's older one.
    let reference = Contender { name: "runc".to_owned(), program: suite.source.join("runc") };
    let others = contenders.iter().filter(|c| c.name != "runc").cloned();
    let contenders: Vec<Contender> = std::iter::once(reference).chain(others).collect();
    let mut all = vec![suite.reference_results(&contenders[0], &cases)?];
    for contender in &contenders[1..] {
        all.push(suite.results(contender, &cases)?);
    }
    progress("");
    leftover::remove_cgroups(&["runc-cgroups-integration-test".to_owned()]);
    report(&contenders, &cases, &all)
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.name)
    }
}

impl Case {
    fn matches(&self, filter: Option<&str>) -> bool {
        filter.is_none_or(|part| self.file.contains(part) || self.name.contains(part))
    }

    /// The name as a regular expression that needs no quoting in a shell: any character stands for
    /// what is neither letter nor digit.
    fn pattern(&self) -> String {
        let name = self.name.replace('\\', "");
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == ' ' { c } else { '.' };
        format!("^{}$", name.chars().map(plain).collect::<String>())
    }
}

struct Suite {
    source: PathBuf,
    dir: PathBuf,
}

impl Suite {
    fn prepare() -> Result<Suite, TaskError> {
        let dir = scratch("contest/runc-suite")?;
        let source = cache("runc")?.join("source");
        if !source.join("runc").exists() {
            Apt::of("sid")?.unpack_source("runc", &source)?;
            build(&source)?;
        }
        let images = source.join("tests/integration/testdata");
        // tar looks at the bytes, not at the name: uncompressed unpacks ten times faster.
        make_image(&images.join("busybox-amd64.tar.xz"), busybox::make_rootfs)?;
        make_image(&images.join("debian-amd64.tar.xz"), bootstrap)?;
        Ok(Suite { source, dir })
    }

    fn tests(&self) -> PathBuf {
        self.source.join("tests/integration")
    }

    fn cases(&self) -> Result<Vec<Case>, TaskError> {
        let tests = self.tests();
        let mut cases = Vec::new();
        for entry in fs::read_dir(&tests).at("read", &tests)? {
            let path = entry.at("read", &tests)?.path();
            if path.extension().is_some_and(|extension| extension == "bats") {
                let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let text = fs::read_to_string(&path).at("read", &path)?;
                let names = text.lines().filter_map(case_name);
                cases.extend(names.map(|name| Case { file: file.clone(), name: name.to_owned() }));
            }
        }
        cases.sort();
        Ok(cases)
    }

    /// Runs `cases`, and notes their verdicts beside those of earlier runs.
    fn results(&self, contender: &Contender, cases: &[Case]) -> Result<Results, TaskError> {
        let path = self.dir.join(&contender.name).with_extension("txt");
        let mut results = read_results(&fs::read_to_string(&path).unwrap_or_default());
        let home = Host::current()?;
        // The suite makes folders for hierarchies that are not there.
        Host::with_private_cgroup_dir(contender)?.enter()?;
        for (number, case) in cases.iter().enumerate() {
            progress(&format!("{} {}/{}: {}", contender.name, number + 1, cases.len(), case.name));
            results.insert(case.clone(), self.run(contender, case)?);
        }
        home.enter()?;
        let line = |(case, verdict): (&Case, &Verdict)| format!("{} {case}\n", verdict.word());
        fs::write(&path, results.iter().map(line).collect::<String>()).at("write", &path)?;
        Ok(results)
    }

    /// The reference needs to run once only; removing its file lets it run again.
    fn reference_results(&self, runc: &Contender, cases: &[Case]) -> Result<Results, TaskError> {
        let path = self.dir.join(&runc.name).with_extension("txt");
        let earlier = read_results(&fs::read_to_string(&path).unwrap_or_default());
        let missing: Vec<Case> =
            cases.iter().filter(|case| !earlier.contains_key(*case)).cloned().collect();
        if missing.len() < cases.len() {
            eprintln!("runc's verdicts from an earlier run are in {}", path.display());
        }
        self.results(runc, &missing)
    }

    /// The suite wants a terminal: `script` gives it one and hands its exit code on (at the end of its
    /// input it would write to that terminal, which the cases would see). A shell is the first process
    /// of a pid namespace around it: orphans are reaped at once, and nothing outlives the case.
    fn run(&self, contender: &Contender, case: &Case) -> Result<Verdict, TaskError> {
        let tmp = self.dir.join("tmp");
        fs::create_dir_all(&tmp).at("create", &tmp)?;
        let bats = format!("bats -t -f '{}' {}", case.pattern(), case.file);
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]);
        command.args(["--mount-proc", "sh", "-c"]);
        command.args(["script -qefc \"$0\" /dev/null; exit $?", &bats]);
        command.current_dir(self.tests());
        command.env("RUNC", &contender.program).env("TMPDIR", &tmp).env("TERM", "xterm");
        let outcome = child::run_with_silent_input(&mut command, CASE_LIMIT).at("run", "script")?;
        let verdict = Verdict::of(&outcome);
        let log = self.dir.join("log").join(&contender.name);
        fs::create_dir_all(&log).at("create", &log)?;
        let log = log.join(case.to_string().replace('/', "_"));
        let text = format!("{}\n{}\n{}", case.name, outcome.stdout, outcome.stderr);
        fs::write(&log, text).at("write", &log)?;
        Ok(verdict)
    }
}

/// Reads lines of `VERDICT FILE: NAME`.
fn read_results(text: &str) -> Results {
    let verdicts = [Verdict::Pass, Verdict::Fail, Verdict::Skip];
    let line = |line: &str| {
        let (word, case) = line.split_once(' ')?;
        let (file, name) = case.split_once(": ")?;
        let verdict = verdicts.into_iter().find(|verdict| verdict.word() == word)?;
        Some((Case { file: file.to_owned(), name: name.to_owned() }, verdict))
    };
    text.lines().filter_map(line).collect()
}

fn case_name(line: &str) -> Option<&str> {
    line.strip_prefix("@test \"")?.rsplit_once('"').map(|(name, _)| name)
}

fn build(source: &Path) -> Result<(), TaskError> {
    let go = |output: &str, package: &str| {
        let mut command = Command::new("go");
        // A case asks for a commit in the version; the package says none.
        let stamp = "-X main.gitCommit=package";
        let flags = ["-mod=mod", "-tags", "seccomp", "-ldflags", stamp, "-o", output];
        command.arg("build").args(flags).arg(package);
        command.current_dir(source).env("CGO_ENABLED", "1");
        run_tool(&mut command)
    };
    for helper in HELPERS {
        go(&format!("tests/cmd/_bin/{helper}"), &format!("./tests/cmd/{helper}"))?;
    }
    go("runc", ".")
}

fn make_image(
    at: &Path,
    fill: impl FnOnce(&Path) -> Result<(), TaskError>,
) -> Result<(), TaskError> {
    if at.exists() {
        return Ok(());
    }
    let (root, part) = (at.with_extension("root"), at.with_extension("part"));
    let _ = fs::remove_dir_all(&root);
    fs::create_dir_all(&root).at("create", &root)?;
    fill(&root)?;
    run_tool(Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&part).arg("."))?;
    fs::remove_dir_all(&root).at("remove", &root)?;
    fs::rename(&part, at).at("rename", &part)
}

fn bootstrap(root: &Path) -> Result<(), TaskError> {
    let mut command = Command::new("debootstrap");
    command.args(["--variant=minbase", "bookworm"]).arg(root).arg(crate::apt::mirror()?);
    read(&mut command)?;
    for dir in ["var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale"] {
        let _ = fs::remove_dir_all(root.join(dir));
    }
    Ok(())
}

/// One row for each case that they do not agree on, with the reason if ours is known to fail.
fn report(contenders: &[Contender], cases: &[Case], all: &[Results]) -> Result<(), TaskError> {
    let known = known()?;
    let names = contenders.iter().map(|contender| contender.name.as_str());
    let mut table = Columns::new(std::iter::once("case that not all pass").chain(names));
    let mut unexplained = 0;
    for case in cases {
        let verdicts: Vec<Verdict> = all.iter().map(|results| results[case]).collect();
        if verdicts.iter().all(|verdict| *verdict == verdicts[0]) {
            continue;
        }
        let ours = contenders.iter().zip(&verdicts).find(|(c, _)| c.is_ours()).map(|(_, v)| *v);
        let note = match (verdicts[0], ours, known.get(&case.to_string())) {
            (Verdict::Pass, Some(Verdict::Fail), Some(reason)) => reason.as_str(),
            (Verdict::Pass, Some(Verdict::Fail), None) => {
                unexplained += 1;
                "UNEXPLAINED"
            }
            _ => "",
        };
        let words = verdicts.iter().map(|verdict| verdict.word());
        table.push(std::iter::once(case.to_string().as_str()).chain(words).chain([note]));
    }
    let totals = all.iter().map(|results| totals(results, cases));
    table.push(std::iter::once("passed/failed/skipped".to_owned()).chain(totals));
    print!("{}", table.render());
    if unexplained == 0 {
        return Ok(());
    }
    println!("{unexplained} cases that runc passes and dhow does not, unexplained");
    Err(TaskError::Bad)
}

fn totals(results: &Results, cases: &[Case]) -> String {
    let count = |wanted| cases.iter().filter(|case| results[case] == wanted).count();
    format!("{}/{}/{}", count(Verdict::Pass), count(Verdict::Fail), count(Verdict::Skip))
}

/// Cases that assert runc's own name, wording or re-exec: `FILE: NAME = REASON`.
fn known() -> Result<BTreeMap<String, String>, TaskError> {
    let path = workspace().join("xtask/runc-suite/known.txt");
    let text = fs::read_to_string(&path).at("read", &path)?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.rsplit_once(" = "));
    Ok(pairs.map(|(title, reason)| (title.to_owned(), reason.to_owned())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_found_and_quoted() {
        assert_eq!(case_name("@test \"runc run [a \\\"b\\\"]\" {"), Some("runc run [a \\\"b\\\"]"));
        assert_eq!(case_name("# @test \"no\""), None);
        let case = Case { file: "a.bats".to_owned(), name: "x [y] (z)".to_owned() };
        assert_eq!(case.pattern(), "^x .y. .z.$");
    }

    #[test]
    fn results_are_read_back() {
        let results = read_results("pass run.bats: runc run [a: b]\nskip x.bats: y\nnonsense\n");
        let case = Case { file: "run.bats".to_owned(), name: "runc run [a: b]".to_owned() };
        assert_eq!((results.len(), results.get(&case)), (2, Some(&Verdict::Pass)));
        assert_eq!(case.to_string(), "run.bats: runc run [a: b]");
    }

    #[test]
    fn verdicts_of_bats() {
        let verdict = |code, stdout: &str| {
            Verdict::of(&Outcome {
                ending: Ending::Code(code),
                stdout: stdout.to_owned(),
                stderr: String::new(),
            })
        };
        assert_eq!(verdict(0, "1..1\r\nok 1 runc run\r\n"), Verdict::Pass);
        assert_eq!(verdict(0, "1..1\nok 1 x # skip test requires y\n"), Verdict::Skip);
        assert_eq!(verdict(1, "1..1\nnot ok 1 x\n"), Verdict::Fail);
        assert_eq!(verdict(0, "1..0\n"), Verdict::Fail);
    }
}
