//! What each client does: log in, push, pull, look, go through the mirror; and be refused without a name.

use std::process::Command;

use super::Report;
use super::place::{PASSWORD, Place, USER};
use crate::bench::IMAGE;
use crate::task::TaskError;

type Done = Result<(), TaskError>;

/// Words for a command.
macro_rules! words {
    ($command:expr, $($word:expr),+ $(,)?) => {{
        let mut command = $command;
        $(command.arg($word);)+
        command
    }};
}

pub(super) fn skopeo(place: &Place, report: &mut Report) -> Done {
    if place.program("skopeo").is_none() {
        report.absent("skopeo is not installed");
        return Ok(());
    }
    // No policy of the machine's, and no certificates: this is loopback.
    let skopeo = || words!(place.program("skopeo").expect("it was there"), "--insecure-policy");
    let creds = format!("{USER}:{PASSWORD}");
    let name = format!("docker://{}", place.origin("team/skopeo:1"));
    let archive = format!("docker-archive:{}", place.image.display());
    let plain = "--dest-tls-verify=false";
    let copy = words!(skopeo(), "copy", plain, "--dest-creds", &creds, &archive, &name);
    report.step("push", &mut { copy }, "")?;
    // What the engines ask the mirror for as docker.io's.
    let library = format!("docker://{}", place.origin("library/tool:1"));
    let copy = words!(skopeo(), "copy", plain, "--dest-creds", &creds, &archive, &library);
    report.step("push of another", &mut { copy }, "")?;
    let look = |name: &str| {
        words!(skopeo(), "inspect", "--tls-verify=false", "--format", "{{.Digest}}", name)
    };
    let mut inspect = words!(look(&name), "--creds", &creds);
    let digest = report.step("inspect", &mut inspect, "sha256:")?;
    report.refused("inspect without a name", &mut look(&name), "denied")?;
    let through = format!("docker://{}", place.mirror("team/skopeo:1"));
    report.step("inspect through the mirror", &mut look(&through), &digest)?;
    let from = "--src-tls-verify=false";
    let layout = format!("oci:{}:1", place.dir.join("skopeo").display());
    report.step(
        "pull through the mirror",
        &mut words!(skopeo(), "copy", from, &through, &layout),
        "",
    )?;
    let repository = format!("docker://{}", place.mirror("team/skopeo"));
    let mut tags = words!(skopeo(), "list-tags", "--tls-verify=false", &repository);
    report.step("tags through the mirror", &mut tags, "\"1\"")?;
    let gone = format!("docker://{}", place.origin("team/gone:1"));
    let copy = words!(skopeo(), "copy", plain, "--dest-creds", &creds, &archive, &gone);
    report.step("push to be deleted", &mut { copy }, "")?;
    let tls = "--tls-verify=false";
    let mut delete = words!(skopeo(), "delete", tls, "--creds", &creds, &gone);
    report.step("delete", &mut delete, "")?;
    report.refused("inspect it", &mut words!(look(&gone), "--creds", &creds), "manifest unknown")
}

pub(super) fn umoci(place: &Place, report: &mut Report) -> Done {
    let both = place.program("umoci").zip(place.program("skopeo"));
    if both.is_none() {
        report.absent("umoci or skopeo is not installed");
        return Ok(());
    }
    let umoci = || place.program("umoci").expect("it was there");
    let skopeo = || words!(place.program("skopeo").expect("it was there"), "--insecure-policy");
    let layout = |name: &str, tag: &str| format!("{}:{tag}", place.dir.join(name).display());
    let origin = format!("docker://{}", place.origin("team/umoci:2"));
    let creds = format!("{USER}:{PASSWORD}");
    let first = format!("oci:{}", layout("umoci", "1"));
    let archive = format!("docker-archive:{}", place.image.display());
    report.step("an image to change", &mut words!(skopeo(), "copy", &archive, &first), "")?;
    let bundle = place.dir.join("umoci-bundle");
    let mut unpack = words!(umoci(), "unpack", "--image", layout("umoci", "1"), &bundle);
    report.step("unpack", &mut unpack, "")?;
    place.write("umoci-bundle/rootfs/added", "by umoci\n")?;
    let mut repack = words!(umoci(), "repack", "--image", layout("umoci", "2"), &bundle);
    report.step("repack", &mut repack, "")?;
    let second = format!("oci:{}", layout("umoci", "2"));
    let mut push = words!(
        skopeo(),
        "copy",
        "--dest-tls-verify=false",
        "--dest-creds",
        &creds,
        &second,
        &origin
    );
    report.step("push by skopeo", &mut push, "")?;
    let through = format!("docker://{}", place.mirror("team/umoci:2"));
    let back = format!("oci:{}", layout("umoci-back", "2"));
    let mut pull = words!(skopeo(), "copy", "--src-tls-verify=false", &through, &back);
    report.step("pull through the mirror", &mut pull, "")?;
    let mut stat = words!(umoci(), "stat", "--image", layout("umoci-back", "2"));
    report.step("stat", &mut stat, "LAYER")?;
    let again = place.dir.join("umoci-again");
    let mut unpack = words!(umoci(), "unpack", "--image", layout("umoci-back", "2"), &again);
    report.step("unpack again", &mut unpack, "")?;
    report
        .step("what was added", Command::new("cat").arg(again.join("rootfs/added")), "by umoci")
        .map(drop)
}

pub(super) fn podman(place: &Place, report: &mut Report) -> Done {
    if place.program("podman").is_none() {
        report.absent("podman is not installed");
        return Ok(());
    }
    let podman = || {
        let command = place.program("podman").expect("it was there");
        let command = words!(command, "--root", place.dir.join("podman"), "--runroot");
        words!(
            command,
            place.dir.join("podman-run"),
            "--storage-driver",
            "vfs",
            "--cgroup-manager",
            "cgroupfs"
        )
    };
    place.write(
        "registries.conf",
        &format!(
            "[[registry]]\nlocation = \"docker.io\"\n[[registry.mirror]]\nlocation = \"{}\"\ninsecure = true\n",
            place.mirror
        ),
    )?;
    let origin = place.origin.to_string();
    let tls = "--tls-verify=false";
    let name = place.origin("team/podman:1");
    report.step("load", &mut words!(podman(), "load", "-i", &place.image), IMAGE)?;
    report.refused(
        "push without a name",
        &mut words!(podman(), "push", tls, IMAGE, &name),
        "denied",
    )?;
    let login = words!(podman(), "login", tls, "-u", USER, "--password-stdin", &origin);
    report.step("login", { login }.stdin(place.password()?), "Login Succeeded")?;
    report.step("push", &mut words!(podman(), "push", tls, IMAGE, &name), "")?;
    report.step("pull", &mut words!(podman(), "pull", tls, &name), "")?;
    let mut pull = words!(podman(), "pull", "docker.io/library/tool:1");
    report.step("pull of docker.io's through the mirror", &mut pull, "")?;
    let through = place.mirror("team/podman:1");
    report.step("pull from the mirror", &mut words!(podman(), "pull", tls, &through), "")?;
    report.step("logout", &mut words!(podman(), "logout", &origin), "Removed login").map(drop)
}

pub(super) fn oras(place: &Place, report: &mut Report) -> Done {
    if place.program("oras").is_none() {
        report.absent("oras is not installed");
        return Ok(());
    }
    let oras = || place.program("oras").expect("it was there");
    let http = "--plain-http";
    place.write("note.txt", "a note\n")?;
    place.write("bill.json", "{}\n")?;
    let name = place.origin("team/notes:1");
    let kind = "application/vnd.example.note";
    let push =
        || words!(oras(), "push", http, "--artifact-type", kind, &name, "note.txt:text/plain");
    report.refused("push without a name", &mut push(), "401")?;
    let login =
        words!(oras(), "login", http, "-u", USER, "--password-stdin", place.origin.to_string());
    report.step("login", { login }.stdin(place.password()?), "Login Succeeded")?;
    report.step("push", &mut push(), "Pushed")?;
    let bill = "application/vnd.example.bill";
    let mut attach = words!(
        oras(),
        "attach",
        http,
        "--artifact-type",
        bill,
        &name,
        "bill.json:application/json"
    );
    report.step("attach", &mut attach, "Attached")?;
    report.step("discover", &mut words!(oras(), "discover", http, &name), bill)?;
    report.step("tag", &mut words!(oras(), "tag", http, &name, "2"), "Tagged")?;
    let repository = place.origin("team/notes");
    report.step("tags", &mut words!(oras(), "repo", "tags", http, &repository), "2")?;
    report.step(
        "repositories",
        &mut words!(oras(), "repo", "ls", http, place.origin.to_string()),
        "team/notes",
    )?;
    let pulled = place.dir.join("pulled");
    report.step("pull", &mut words!(oras(), "pull", http, "-o", &pulled, &name), "Pulled")?;
    report.step("what was pulled", Command::new("cat").arg(pulled.join("note.txt")), "a note")?;
    let through = place.mirror("team/notes:1");
    let there = place.dir.join("through");
    let mut pull = words!(oras(), "pull", http, "-o", &there, &through);
    report.step("pull through the mirror", &mut pull, "Pulled")?;
    report.step("what came through", Command::new("cat").arg(there.join("note.txt")), "a note")?;
    let mut discover = words!(oras(), "discover", http, &through);
    report.step("discover through the mirror", &mut discover, bill)?;
    let copy = place.origin("team/copied:1");
    let mut cp = words!(oras(), "cp", "-r", "--from-plain-http", "--to-plain-http", &name, &copy);
    report.step("copy with referrers", &mut cp, "Copied")?;
    let mut delete = words!(oras(), "manifest", "delete", http, "-f", &copy);
    report.step("delete", &mut delete, "Deleted")?;
    // What it knows it has written where docker reads it.
    let mut logout = words!(oras(), "logout", place.origin.to_string());
    report.step("logout", &mut logout, "").map(drop)
}

pub(super) fn docker(place: &Place, report: &mut Report) -> Done {
    if place.program("docker").is_none() {
        report.absent("the docker CLI is not installed");
        return Ok(());
    }
    let docker = || words!(place.program("docker").expect("it was there"), "--host", place.host());
    engine(place, report, &docker, "team/docker:1")
}

pub(super) fn dhow(place: &Place, report: &mut Report) -> Done {
    let dhow = || words!(place.at_home(&place.dhow), "--host", place.host());
    engine(place, report, &dhow, "team/dhow:1")?;
    let login = words!(dhow(), "login", "-u", USER, "--password-stdin", place.origin.to_string());
    report.step("login", { login }.stdin(place.password()?), "Login Succeeded")?;
    let search = format!("{}/dhow", place.origin);
    report.step("search", &mut words!(dhow(), "search", &search), "team/dhow")?;
    let (one, list) = (place.origin("team/dhow:1"), place.origin("team/dhow:all"));
    report.step("manifest inspect", &mut words!(dhow(), "manifest", "inspect", &one), "layers")?;
    report.step(
        "manifest create",
        &mut words!(dhow(), "manifest", "create", &list, &one),
        "Created",
    )?;
    report.step("manifest push", &mut words!(dhow(), "manifest", "push", &list), "sha256:")?;
    report.step("pull of the list", &mut words!(dhow(), "pull", &list), "Digest: sha256:")?;
    let through = place.mirror("team/dhow:all");
    report.step("pull of it from the mirror", &mut words!(dhow(), "pull", &through), "sha256:")?;
    report.step("logout", &mut words!(dhow(), "logout", place.origin.to_string()), "").map(drop)
}

/// What docker's words do, whoever says them.
fn engine(place: &Place, report: &mut Report, client: &dyn Fn() -> Command, name: &str) -> Done {
    let (origin, name) = (place.origin.to_string(), place.origin(name));
    report.step("load", &mut words!(client(), "load", "-i", &place.image), IMAGE)?;
    report.step("tag", &mut words!(client(), "tag", IMAGE, &name), "")?;
    report.refused("push without a name", &mut words!(client(), "push", &name), "")?;
    let mut wrong = words!(client(), "login", "-u", USER, "-p", "wrong", &origin);
    report.refused("login with a wrong password", &mut wrong, "nauthorized")?;
    let login = words!(client(), "login", "-u", USER, "--password-stdin", &origin);
    report.step("login", { login }.stdin(place.password()?), "Login Succeeded")?;
    report.step("push", &mut words!(client(), "push", &name), "digest: sha256:")?;
    report.step("rmi", &mut words!(client(), "rmi", &name), "Untagged")?;
    report.step("pull", &mut words!(client(), "pull", &name), "Digest: sha256:")?;
    report.step(
        "pull of docker.io's through the mirror",
        &mut words!(client(), "pull", "tool:1"),
        "Digest",
    )?;
    report.step(
        "run it",
        &mut words!(client(), "run", "--rm", "tool:1", "echo", "there"),
        "there",
    )?;
    report.step("rmi again", &mut words!(client(), "rmi", "tool:1"), "Untagged")?;
    report.step("logout", &mut words!(client(), "logout", &origin), "").map(drop)
}
