//! `cargo xtask images`: real images, made, carried and read by others and by us, held against each other.
//!
//! Each image takes two ways. *Ours out*: a tree is imported, pushed to Debian's registry, fetched by skopeo
//! and unpacked by umoci. *Theirs in*: umoci packs the tree and its changes, skopeo pushes, we pull with every
//! driver, and load what skopeo archives. Trees are compared name by name, digests word by word.
//! Everything happens below one folder, in a mount namespace of its own, with a registry on loopback.

mod peers;
#[path = "../../../crates/distribution/tests/registry/program.rs"]
mod registry;
mod sample;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use lexopt::prelude::*;

pub(crate) use self::peers::{Build, missing};
use self::peers::{
    Dhow, Shown, Umoci, skopeo_convert, skopeo_copy, skopeo_diff_ids, skopeo_digest,
};
pub(crate) use self::registry::Registry;
pub(crate) use self::sample::debian;
pub(crate) use self::tree::{Closeness, compare};
use crate::columns::Columns;
use crate::task::{At, TaskError, progress, run as run_command, scratch};

const USAGE: &str = "\
cargo xtask images [--suite NAME ...] [--quick] [--only IMAGE]
  --suite  a Debian suite whose smallest root is an image (bookworm, trixie; repeatable)
  --quick  the image with everything that archives find hard alone; needs no debootstrap
  --only   one image: a suite's name, special, layers-20, layers-200";

/// How the copies with which we pull keep their snapshots.
const DRIVERS: [&str; 2] = ["overlay2", "vfs"];
const FOLDERS: [&str; 3] = ["etc", "usr/bin", "var/lib/dpkg"];

struct Plan {
    suites: Vec<String>,
    quick: bool,
    only: Option<String>,
    inside: bool,
}

impl Plan {
    /// The command line of the run inside.
    fn words(&self) -> Vec<String> {
        let mut words = vec!["images".to_owned(), "--inside".to_owned()];
        words.extend(self.suites.iter().map(|suite| format!("--suite={suite}")));
        words.extend(self.quick.then(|| "--quick".to_owned()));
        words.extend(self.only.iter().map(|only| format!("--only={only}")));
        words
    }

    fn build(&self) -> Build {
        if self.quick { Build::Debug } else { Build::Release }
    }
}

/// An image on its ways.
struct Case<'a> {
    name: String,
    /// The tree that it is made of.
    tree: PathBuf,
    /// How many layers it is to have.
    layers: usize,
    dir: PathBuf,
    build: Build,
    registry: &'a Registry,
    report: &'a mut Report,
}

struct Report {
    table: Columns,
    faults: usize,
}

/// Runs all of it and prints a table.
pub(crate) fn run(arguments: lexopt::Parser) -> Result<(), TaskError> {
    let Some(plan) = parse(arguments)? else {
        println!("{USAGE}");
        return Ok(());
    };
    if let Some(what) = missing() {
        return Err(TaskError::Absent { what, remedy: "apt-get install it" });
    }
    if !plan.inside {
        plan.build().run()?;
        // The same again where nobody sees what is mounted.
        return alone(&plan.words(), Network::Shared);
    }
    let dir = scratch("images")?.join(std::process::id().to_string());
    let mut report = Report {
        table: Columns::new(["image", "way", "layers", "entries", "s", "result"]),
        faults: 0,
    };
    let result = all(&plan, &dir, &mut report);
    progress("");
    print!("{}", report.table.render());
    fs::remove_dir_all(&dir).at("remove", &dir)?;
    result?;
    if report.faults == 0 { Ok(()) } else { Err(TaskError::Bad) }
}

/// Runs this program again with `words`, in a mount namespace of its own, where what the machine's engines keep
/// is out of sight; with a network of its own, too, if that is asked for.
pub(crate) fn alone(words: &[String], network: Network) -> Result<(), TaskError> {
    const PREPARE: &str = "\
        mount -t tmpfs none /var/lib &&
        { [ \"$0\" = Shared ] || ip link set lo up; } && exec \"$@\"";
    // By our process: cargo may have put another program in our file's place.
    let this = format!("/proc/{}/exe", std::process::id());
    let mut again = Command::new("unshare");
    again.args(["--mount", "--propagation", "private"]);
    again.args((network == Network::Own).then_some("--net"));
    run_command(again.args(["sh", "-c", PREPARE, &format!("{network:?}")]).arg(this).args(words))
}

/// Which network a program is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    /// The machine's.
    Shared,
    /// One with nothing but a loopback.
    Own,
}

fn parse(mut arguments: lexopt::Parser) -> Result<Option<Plan>, TaskError> {
    let mut plan = Plan { suites: Vec::new(), quick: false, only: None, inside: false };
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("suite") => plan.suites.push(arguments.value()?.string()?),
            Long("quick") => plan.quick = true,
            Long("only") => plan.only = Some(arguments.value()?.string()?),
            Long("inside") => plan.inside = true,
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    if plan.suites.is_empty() {
        plan.suites = ["bookworm", "trixie"].map(str::to_owned).to_vec();
    }
    Ok(Some(plan))
}

fn all(plan: &Plan, dir: &Path, report: &mut Report) -> Result<(), TaskError> {
    let registry = Registry::start("images", None)
        .ok_or(TaskError::Absent { what: "docker-registry", remedy: "apt-get install it" })?;
    let wanted = |name: &str| plan.only.as_deref().is_none_or(|only| only == name);
    let mut one = |name: &str, tree: PathBuf, layers: usize| {
        let dir = dir.join(name);
        fs::create_dir_all(&dir).at("create", &dir)?;
        let (name, build, registry) = (name.to_owned(), plan.build(), &registry);
        let mut case = Case { name, tree, layers, dir, build, registry, report };
        case.ours_out()?;
        case.theirs_in()?;
        fs::remove_dir_all(&case.dir).at("remove", &case.dir)
    };
    if wanted("special") {
        let tree = dir.join("tree-special");
        sample::special(&tree)?;
        one("special", tree, 1)?;
    }
    if plan.quick {
        return Ok(());
    }
    for suite in plan.suites.iter().filter(|suite| wanted(suite)) {
        one(suite, sample::debian(suite)?, 1)?;
    }
    for (name, folders, layers) in
        [("layers-20", &FOLDERS[..], 20), ("layers-200", &FOLDERS[..1], 200)]
    {
        if wanted(name) {
            let tree = dir.join(format!("tree-{name}"));
            sample::part_of(&sample::debian(&plan.suites[0])?, folders, &tree)?;
            one(name, tree, layers)?;
        }
    }
    Ok(())
}

impl Case<'_> {
    /// Import, push, and what others make of it.
    fn ours_out(&mut self) -> Result<(), TaskError> {
        let begun = Instant::now();
        self.say("import, push, skopeo, umoci");
        let name = self.registry.name(&format!("ours/{}:1", self.name));
        let remote = format!("docker://{name}");
        let here = Dhow::new(self.build, self.dir.join("here"), "overlay2");
        here.import(&name, &self.tree)?;
        // What was imported is plain, and compressed on the way out: another manifest, the same image.
        let plain = here.show(&name)?;
        let shown = Shown { id: here.run(&["push", &name])?, ..plain };
        let mut faults = Vec::new();
        same(&mut faults, "the digest in the registry", &shown.id, &skopeo_digest(&remote)?);
        let layout = Umoci::at(self.dir.join("theirs"));
        skopeo_copy(&remote, &layout.name("1"))?;
        same(
            &mut faults,
            "the digest in skopeo's copy",
            &shown.id,
            &skopeo_digest(&layout.name("1"))?,
        );
        let bundle = self.dir.join("theirs-bundle");
        layout.unpack("1", &bundle)?;
        let compared = compare(&self.tree, &bundle.join("rootfs"), Closeness::Exact)?;
        faults.extend(compared.faults);
        self.row("ours: import, push → skopeo, umoci", 1, compared.entries, begun, faults);
        for driver in DRIVERS {
            let begun = Instant::now();
            self.say(driver);
            let there = Dhow::new(self.build, self.dir.join(format!("there-{driver}")), driver);
            there.run(&["pull", &name])?;
            let mut faults = Vec::new();
            same(&mut faults, "what show says", &shown, &there.show(&name)?);
            let compared =
                there.mounted(&name, |place| compare(&self.tree, place, Closeness::Exact))?;
            faults.extend(compared.faults);
            let way = format!("ours: import, push → pull, {driver}");
            self.row(&way, 1, compared.entries, begun, faults);
        }
        Ok(())
    }

    /// What others made, pulled and loaded by us.
    fn theirs_in(&mut self) -> Result<(), TaskError> {
        let begun = Instant::now();
        self.say("umoci packs");
        let name = self.registry.name(&format!("theirs/{}:1", self.name));
        let remote = format!("docker://{name}");
        let layout = Umoci::at(self.dir.join("made"));
        let bundle = self.dir.join("made-bundle");
        layout.pack("1", &self.tree, &bundle)?;
        for number in 1..self.layers {
            self.say(&format!("umoci packs layer {number}"));
            sample::change(&bundle.join("rootfs"), number)?;
            layout.repack("1", &bundle)?;
        }
        skopeo_copy(&layout.name("1"), &remote)?;
        // What umoci itself reads of it: it keeps no times below a second, and no links between layers.
        let again = self.dir.join("made-again");
        layout.unpack("1", &again)?;
        let wanted = again.join("rootfs");
        let compared = compare(&bundle.join("rootfs"), &wanted, Closeness::Loose)?;
        self.row("theirs: umoci → umoci", self.layers, compared.entries, begun, compared.faults);
        let (digest, diff_ids) = (skopeo_digest(&remote)?, skopeo_diff_ids(&remote)?);
        for driver in DRIVERS {
            let begun = Instant::now();
            self.say(driver);
            let there = Dhow::new(self.build, self.dir.join(format!("theirs-{driver}")), driver);
            there.run(&["pull", &name])?;
            let shown = there.show(&name)?;
            let mut faults = Vec::new();
            same(&mut faults, "the image's digest", &digest, &shown.id);
            same(&mut faults, "the diff-ids", &diff_ids, &shown.diff_ids);
            let compared =
                there.mounted(&name, |place| compare(&wanted, place, Closeness::Exact))?;
            faults.extend(compared.faults);
            let way = format!("theirs: umoci, skopeo → pull, {driver}");
            self.row(&way, diff_ids.len(), compared.entries, begun, faults);
        }
        self.archives(&remote, &name, &digest)
    }

    /// The same image by way of archives.
    fn archives(&mut self, remote: &str, name: &str, digest: &str) -> Result<(), TaskError> {
        self.say("archives");
        let there = Dhow::new(self.build, self.dir.join("theirs-overlay2"), "overlay2");
        let begun = Instant::now();
        let mut faults = Vec::new();
        let saved = self.dir.join("saved.tar");
        there.run_into(&["save", name], &saved)?;
        let archive = format!("oci-archive:{}", saved.display());
        same(&mut faults, "skopeo's digest of the layout", digest, &skopeo_digest(&archive)?);
        let docker = format!("docker-archive:{}", saved.display());
        let wanted = skopeo_diff_ids(remote)?;
        same(&mut faults, "skopeo's reading as docker's", &wanted, &skopeo_diff_ids(&docker)?);
        self.row("save → skopeo", wanted.len(), 0, begun, faults);
        for (kind, keeps_digests) in [("oci-archive", true), ("docker-archive", false)] {
            let begun = Instant::now();
            let mut faults = Vec::new();
            let archive = self.dir.join(kind);
            let to = format!("{kind}:{}:example.org/loaded:1", archive.display());
            let copy = if keeps_digests { skopeo_copy } else { skopeo_convert };
            copy(remote, &to)?;
            let loading = Dhow::new(self.build, self.dir.join(format!("load-{kind}")), "overlay2");
            loading.run_on(&["load"], &archive)?;
            let shown = loading.show("example.org/loaded:1")?;
            if keeps_digests {
                same(&mut faults, "the digest", digest, &shown.id);
            }
            same(&mut faults, "the diff-ids", &wanted, &shown.diff_ids);
            self.row(&format!("skopeo's {kind} → load"), wanted.len(), 0, begun, faults);
        }
        Ok(())
    }

    fn say(&self, what: &str) {
        progress(&format!("{}: {what}", self.name));
    }

    fn row(
        &mut self,
        way: &str,
        layers: usize,
        entries: usize,
        begun: Instant,
        faults: Vec<String>,
    ) {
        let result = if faults.is_empty() { "same" } else { "DIFFERS" };
        let entries = if entries == 0 { "-".to_owned() } else { entries.to_string() };
        let taken = format!("{:.1}", begun.elapsed().as_secs_f64());
        let row =
            [&self.name, way, &layers.to_string(), &entries, &taken, result].map(str::to_owned);
        self.report.table.push(row);
        self.report.faults += faults.len();
        for fault in faults {
            progress("");
            println!("{}: {way}: {fault}", self.name);
        }
    }
}

fn same<T: PartialEq + std::fmt::Debug + ?Sized>(
    faults: &mut Vec<String>,
    what: &str,
    wanted: &T,
    found: &T,
) {
    if wanted != found {
        faults.push(format!("{what}: {found:?} in place of {wanted:?}"));
    }
}
