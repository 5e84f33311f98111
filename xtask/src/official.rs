//! The official validation programs of the OCI runtime specification, run against each contender.
//!
//! They come as a Go module (`xtask/runtime-tools/go.mod` pins it and all that it needs), are built
//! below `target/` and judged by their TAP output. A program that our runtime does not pass must be in
//! `xtask/runtime-tools/known.txt` with its reason; one that is listed there and passes is said, so that
//! the list shrinks. Where there is no Go the whole part is skipped, loudly.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::child::{self, Outcome};
use crate::columns::Columns;
use crate::contender::Contender;
use crate::leftover;
use crate::tap::{self, Verdict};
use crate::task::{
    At, TaskError, find_program, progress, read, run as run_tool, scratch, workspace,
};

const MODULE: &str = "github.com/opencontainers/runtime-tools";
const PROGRAM_LIMIT: Duration = Duration::from_secs(60);
const ROOTFS: &str = "rootfs-amd64.tar.gz";
/// The cgroups that the programs ask for by name.
const CGROUPS: [&str; 2] = ["cgrouptest", "testdir"];

/// Builds and runs all programs (or those whose name contains `filter`); `Bad` if ours is not in order.
pub(crate) fn run(contenders: &[Contender], filter: Option<&str>) -> Result<(), TaskError> {
    let Some(go) = find_program("go") else {
        eprintln!("SKIPPED: the official validation programs (no Go on this machine)");
        return Ok(());
    };
    let known = known()?;
    let suite = Suite::build(&go)?;
    let names: Vec<&String> = suite
        .programs
        .iter()
        .filter(|name| filter.is_none_or(|part| name.contains(part)))
        .collect();
    let mut results = Vec::new();
    for contender in contenders {
        let mut column = BTreeMap::new();
        for name in &names {
            progress(&format!("{}: {name}", contender.name));
            let mut outcome = suite.run(contender, name)?;
            // Some send a signal to a shell that may not have set its trap yet: a second chance.
            if !tap::judge(&outcome).is_good() && !known.contains_key(name.as_str()) {
                outcome = suite.run(contender, name)?;
            }
            column.insert(name.as_str(), outcome);
        }
        results.push(column);
    }
    progress("");
    print_table(contenders, &names, &results);
    judge_ours(contenders, &results, &known)
}

/// The built programs, and the folder they run in.
struct Suite {
    dir: PathBuf,
    programs: Vec<String>,
}

impl Suite {
    fn build(go: &Path) -> Result<Suite, TaskError> {
        let dir = scratch("contest/official")?;
        let module = dir.join("module");
        fs::create_dir_all(&module).at("create", &module)?;
        for name in ["go.mod", "go.sum", "tools.go"] {
            let from = workspace().join("xtask/runtime-tools").join(name);
            fs::copy(&from, module.join(name)).at("copy", &from)?;
        }
        run_tool(Command::new(go).args(["mod", "download"]).current_dir(&module))?;
        let mut list = Command::new(go);
        let source =
            read(list.args(["list", "-m", "-f", "{{.Dir}}", MODULE]).current_dir(&module))?;
        let source = PathBuf::from(source.trim());
        let programs = program_names(&source.join("validation"))?;
        build_programs(go, &module, &dir, &programs)?;
        fs::copy(source.join(ROOTFS), dir.join(ROOTFS)).at("copy", source.join(ROOTFS))?;
        Ok(Suite { dir, programs })
    }

    /// Runs one program and removes all that it and the runtime leave behind.
    fn run(&self, contender: &Contender, name: &str) -> Result<Outcome, TaskError> {
        let place = Place::new(&self.dir, contender)?;
        let mut command = contender.around(self.dir.join(name));
        command.env("RUNTIME", &place.wrapper).env("TMPDIR", &place.tmp).current_dir(&self.dir);
        let outcome = child::run(&mut command, PROGRAM_LIMIT).at("run", self.dir.join(name));
        place.clean(contender);
        let outcome = outcome?;
        let log = self.dir.join("log").join(&contender.name);
        fs::create_dir_all(&log).at("create", &log)?;
        let text = format!("{:?}\n{}\n{}", outcome.ending, outcome.stdout, outcome.stderr);
        fs::write(log.join(name), text).at("write", log.join(name))?;
        Ok(outcome)
    }
}

fn program_names(validation: &Path) -> Result<Vec<String>, TaskError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(validation).at("read", validation)? {
        names.push(entry.at("read", validation)?.file_name().to_string_lossy().into_owned());
    }
    names.retain(|name| name != "util" && !name.starts_with('.'));
    names.sort();
    Ok(names)
}

fn build_programs(go: &Path, module: &Path, dir: &Path, names: &[String]) -> Result<(), TaskError> {
    let build = || {
        let mut build = Command::new(go);
        build.current_dir(module).env("CGO_ENABLED", "0");
        build.args(["build", "-mod=readonly", "-o"]).arg(format!("{}/", dir.display()));
        build
    };
    run_tool(build().args(names.iter().map(|name| format!("{MODULE}/validation/{name}"))))?;
    let overlay = overlay(go, module)?;
    let mut inner = build();
    run_tool(inner.arg("-overlay").arg(overlay).arg(format!("{MODULE}/cmd/runtimetest")))
}

/// The program inside the container compares the limits that it finds with those that were asked for.
/// Go programs have come to raise their own limit of open files before they begin: built as it was
/// meant, this one leaves its limits alone.
fn overlay(go: &Path, module: &Path) -> Result<PathBuf, TaskError> {
    let root = read(Command::new(go).args(["env", "GOROOT"]))?;
    let original = Path::new(root.trim()).join("src/syscall/rlimit.go");
    let text = fs::read_to_string(&original).at("read", &original)?;
    let replacement = module.join("rlimit.txt");
    let text = text.replace("func init() {", "func raiseLimit() {");
    fs::write(&replacement, text).at("write", &replacement)?;
    let overlay = module.join("overlay.json");
    let table = serde_json::json!({ "Replace": { (original.display().to_string()): replacement } });
    fs::write(&overlay, table.to_string()).at("write", &overlay)?;
    Ok(overlay)
}

/// What one run of one program may write to.
struct Place {
    state: PathBuf,
    tmp: PathBuf,
    ids: PathBuf,
    wrapper: PathBuf,
}

impl Place {
    /// The programs know of no `--root`: a wrapper adds it, and notes the containers' names.
    fn new(dir: &Path, contender: &Contender) -> Result<Place, TaskError> {
        let base = dir.join("run").join(&contender.name);
        let _ = fs::remove_dir_all(&base);
        let place = Place {
            state: base.join("state"),
            tmp: base.join("tmp"),
            ids: base.join("ids"),
            wrapper: base.join("runtime"),
        };
        fs::create_dir_all(&place.tmp).at("create", &place.tmp)?;
        let script = format!(
            "#!/bin/sh\nfor last; do :; done\n[ \"$1\" != create ] || echo \"$last\" >>{}\n\
             exec {} --root {} \"$@\"\n",
            place.ids.display(),
            contender.program.display(),
            place.state.display()
        );
        let mut file = fs::File::create(&place.wrapper).at("create", &place.wrapper)?;
        file.write_all(script.as_bytes()).at("write", &place.wrapper)?;
        let mode = fs::Permissions::from_mode(0o755);
        file.set_permissions(mode).at("make executable", &place.wrapper)?;
        Ok(place)
    }

    fn clean(&self, contender: &Contender) {
        let ids = fs::read_to_string(&self.ids).unwrap_or_default();
        for id in ids.lines().filter(|id| self.state.join(id).exists()) {
            let mut delete = contender.around(&self.wrapper);
            delete.args(["delete", "--force", id]);
            let _ = child::run(&mut delete, Duration::from_secs(10));
        }
        let names = CGROUPS.into_iter().chain(ids.lines().filter(|id| id.len() == 36));
        leftover::remove_cgroups(&names.map(str::to_owned).collect::<Vec<_>>());
        let _ = fs::remove_dir_all(&self.tmp);
    }
}

type Column<'a> = BTreeMap<&'a str, Outcome>;

fn print_table(contenders: &[Contender], names: &[&String], results: &[Column<'_>]) {
    let head = std::iter::once("program").chain(contenders.iter().map(|c| c.name.as_str()));
    let mut table = Columns::new(head);
    for name in names {
        let verdicts = results.iter().map(|column| tap::judge(&column[name.as_str()]).to_string());
        table.push(std::iter::once((*name).clone()).chain(verdicts));
    }
    let count = |column: &Column<'_>, wanted: &[Verdict]| {
        column.values().filter(|outcome| wanted.contains(&tap::judge(outcome))).count()
    };
    let totals = results.iter().map(|column| {
        let pass = count(column, &[Verdict::Pass]);
        let silent = count(column, &[Verdict::Silent, Verdict::Complaint]);
        format!("{pass}/{}/{silent}", column.len() - pass - silent)
    });
    table.push(std::iter::once("passed/failed/without assertion".to_owned()).chain(totals));
    print!("{}", table.render());
}

fn judge_ours(
    contenders: &[Contender],
    results: &[Column<'_>],
    known: &BTreeMap<String, String>,
) -> Result<(), TaskError> {
    let mut bad = false;
    for (contender, column) in contenders.iter().zip(results).filter(|(c, _)| c.is_ours()) {
        for (name, outcome) in column {
            let good = tap::judge(outcome).is_good();
            match known.get(*name) {
                Some(reason) if !good => println!("known: {name}: {reason}"),
                Some(_) => println!("{}: {name} passes now; take it off the list", contender.name),
                None if good => {}
                None => {
                    bad = true;
                    println!("{}: {name}: {}", contender.name, tap::reason(outcome));
                }
            }
        }
    }
    if bad { Err(TaskError::Bad) } else { Ok(()) }
}

/// Reads the list of programs that are known to fail: `NAME: REASON`, `#` begins a comment.
fn known() -> Result<BTreeMap<String, String>, TaskError> {
    let path = workspace().join("xtask/runtime-tools/known.txt");
    let text = fs::read_to_string(&path).at("read", &path)?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.split_once(": "));
    Ok(pairs.map(|(name, reason)| (name.to_owned(), reason.to_owned())).collect())
}
