//! A root file system with nothing in it but a static busybox under all of its names.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::task::{At, TaskError, find_program, read};

const PASSWD: &str = "\
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
bin:x:2:2:bin:/bin:/bin/false
mail:x:8:8:mail:/var/spool/mail:/bin/false
nobody:x:65534:65534:nobody:/home:/bin/false
";
const GROUP: &str = "\
root:x:0:
daemon:x:1:
bin:x:2:
tty:x:5:
disk:x:6:
mail:x:8:
users:x:100:
nogroup:x:65534:
";
const DIRS: [&str; 10] =
    ["bin", "dev", "etc", "home", "lib", "root", "tmp", "usr/sbin", "var/spool/mail", "var/www"];

/// Fills `root`, which is an empty folder. Mount points are absent: a runtime makes them, or finds
/// what a hostile image has there.
pub(crate) fn make_rootfs(root: &Path) -> Result<(), TaskError> {
    let busybox = find_program("busybox")
        .ok_or(TaskError::Absent { what: "busybox", remedy: "apt-get install busybox-static" })?;
    for dir in DIRS {
        fs::create_dir_all(root.join(dir)).at("create", root.join(dir))?;
    }
    let program = root.join("bin/busybox");
    fs::copy(&busybox, &program).at("copy", &busybox)?;
    for name in read(Command::new(&busybox).arg("--list"))?.lines().filter(|n| *n != "busybox") {
        // Hard links: a name resolves to a program even where the path to it may not contain links.
        let link = root.join("bin").join(name);
        if !link.exists() {
            fs::hard_link(&program, &link).at("link", &link)?;
        }
    }
    fs::write(root.join("etc/passwd"), PASSWD).at("write", root.join("etc/passwd"))?;
    fs::write(root.join("etc/group"), GROUP).at("write", root.join("etc/group"))
}
