//! Podman with a contender as its `--runtime`.

use std::path::Path;

use super::{Step, Verdict, run_steps};
use crate::busybox;
use crate::contender::Contender;
use crate::task::{At, TaskError, run};

/// Options of every container: no network, and limits that this host may set.
const COMMON: [&str; 5] = [
    "--network=none",
    "--ulimit=nofile=1024:20000",
    "--ulimit=nproc=4096:4096",
    "--cgroup-parent",
    "",
];

/// Goes through a container's life.
pub(super) fn session(
    contender: &Contender,
    dir: &Path,
    cgroup: &str,
) -> Result<Vec<Verdict>, TaskError> {
    let (tree, image) = (dir.join("tree"), dir.join("image.tar"));
    std::fs::create_dir_all(&tree).at("create", &tree)?;
    busybox::make_rootfs(&tree)?;
    run(std::process::Command::new("tar").arg("-C").arg(&tree).arg("-cf").arg(&image).arg("."))?;
    let global = global(contender, dir);
    let image = image.display().to_string();
    let parent = format!("/{cgroup}");
    let step = |name, words: &[&str], code, says| {
        let all: Vec<&str> =
            global.iter().map(String::as_str).chain(words.iter().copied()).collect();
        Step::new(name, &all, code, says)
    };
    let run = |name, words: &[&str], code, says| {
        let mut all = vec!["run"];
        all.extend(COMMON.iter().map(|word| if word.is_empty() { parent.as_str() } else { word }));
        all.extend(words);
        step(name, &all, code, says)
    };
    run_steps(&[
        step("import an image", &["import", &image, "box"], 0, ""),
        run("run --rm", &["--rm", "box", "sh", "-c", "echo hello; exit 7"], 7, "hello"),
        run("run -t", &["--rm", "-t", "box", "sh", "-c", "test -t 1 && echo tty"], 0, "tty"),
        run("run, command not found", &["--rm", "box", "no-such-command"], 127, ""),
        run("run, not executable", &["--rm", "box", "/etc/passwd"], 126, ""),
        run(
            "run with limits",
            &[
                "--rm",
                "--memory=64m",
                "--pids-limit=50",
                "--cpus=0.5",
                "--hostname=harbour",
                "box",
                "hostname",
            ],
            0,
            "harbour",
        ),
        run(
            "run locked down",
            &[
                "--rm",
                "--read-only",
                "--user=1000:1000",
                "--cap-drop=all",
                "--security-opt=no-new-privileges",
                "box",
                "id",
                "-u",
            ],
            0,
            "1000",
        ),
        run(
            "run in a user namespace",
            &[
                "--rm",
                "--uidmap=0:100000:5000",
                "--gidmap=0:100000:5000",
                "box",
                "cat",
                "/proc/self/uid_map",
            ],
            0,
            "100000",
        ),
        run("run -d", &["-d", "--name=long", "box", "sleep", "1000"], 0, ""),
        step("ps", &["ps"], 0, "long"),
        step("exec", &["exec", "long", "sh", "-c", "echo inside; exit 3"], 3, "inside"),
        step(
            "exec --user",
            &["exec", "--user=1000:1000", "--workdir=/tmp", "long", "sh", "-c", "id -u; pwd"],
            0,
            "1000\n/tmp",
        ),
        step("exec -t", &["exec", "-t", "long", "sh", "-c", "test -t 1 && echo tty"], 0, "tty"),
        step("top", &["top", "long"], 0, "sleep"),
        step("stats", &["stats", "--no-stream", "long"], 0, "long"),
        step("pause", &["pause", "long"], 0, ""),
        step("unpause", &["unpause", "long"], 0, ""),
        step("stop", &["stop", "-t", "1", "long"], 0, ""),
        step(
            "inspect",
            &["inspect", "--format={{.State.Status}} {{.State.ExitCode}}", "long"],
            0,
            "exited 137",
        ),
        step("start", &["start", "long"], 0, ""),
        step("kill", &["kill", "long"], 0, ""),
        step("wait", &["wait", "long"], 0, "137"),
        step("rm", &["rm", "long"], 0, ""),
        step("everything removed", &["ps", "-aq"], 0, ""),
        step("rmi", &["rmi", "box"], 0, ""),
    ])
}

fn global(contender: &Contender, dir: &Path) -> Vec<String> {
    let path = |name: &str| dir.join(name).display().to_string();
    let words = [
        "podman".to_owned(),
        "--root".to_owned(),
        path("root"),
        "--runroot".to_owned(),
        path("run"),
        "--tmpdir".to_owned(),
        path("tmp"),
        "--storage-driver=vfs".to_owned(),
        "--cgroup-manager=cgroupfs".to_owned(),
        "--events-backend=none".to_owned(),
        "--runtime".to_owned(),
        contender.program.display().to_string(),
    ];
    words.to_vec()
}
