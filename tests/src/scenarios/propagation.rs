//! Which mounts are seen on the other side: private, slave, shared and unbindable ones.

use std::fs;

use super::mounts::{Outside, mount_at};
use super::scenarios;
use crate::contest::{Case, Outcome, check, check_eq, check_ok};
use crate::inside::Mount;

/// Each kinds option gives its kind of mount.
fn kinds(c: &Case) -> Outcome {
    let outer = Outside::tmpfs(c, "outer", "mode=755")?;
    let inner = Outside::tmpfs(c, "outer/inner", "mode=755")?;
    outer.make("shared")?;
    inner.make("shared")?;
    let kinds = [
        ("private", "rprivate", ""),
        ("slave", "rslave", "master:"),
        // Relative to a root that is a slave itself.
        ("shared", "rshared", "shared:"),
        ("unbindable", "runbindable", "unbindable"),
    ];
    let mut config = c.config().set("/linux/rootfsPropagation", "rslave");
    for (plain, recursive, _) in kinds {
        config = config
            .mount("bind", &outer.text(), &format!("/m/{plain}"), &["rbind", plain])
            .mount("bind", &outer.text(), &format!("/m/{recursive}"), &["rbind", recursive]);
    }
    let report = c.report(&config)?;
    let is = |mount: &Mount, mark: &str| match mark {
        "" => mount.propagation.is_empty(),
        mark => mount.propagation.iter().any(|p| p.starts_with(mark)),
    };
    for (plain, recursive, mark) in kinds {
        for (point, option) in [
            (format!("/m/{plain}"), plain),
            (format!("/m/{recursive}"), recursive),
            (format!("/m/{recursive}/inner"), recursive),
        ] {
            let mount = mount_at(&report, &point)?;
            check!(is(mount, mark), "{option} at {point}: {:?}", mount.propagation);
        }
    }
    Ok(())
}

/// A slave sees what is mounted outside later; a private mount does not.
fn into_container(c: &Case) -> Outcome {
    let outer = Outside::tmpfs(c, "outer", "mode=755")?;
    outer.make("shared")?;
    fs::create_dir(outer.path.join("late"))?;
    let config = c
        .config()
        .set("/linux/rootfsPropagation", "rslave")
        .mount("bind", &outer.text(), "/slave", &["rbind", "rslave"])
        .mount("bind", &outer.text(), "/private", &["rbind", "rprivate"]);
    let container = c.start_waiting(&config)?;
    let late = Outside::tmpfs(c, "outer/late", "mode=755")?;
    fs::write(late.path.join("file"), "")?;
    let got = container.exec_attempts(&[&["ls", "/slave/late"], &["ls", "/private/late"]])?;
    container.delete_force()?;
    check_eq!(check_ok!(got[0]), "file", "in the slave");
    check_eq!(check_ok!(got[1]), "", "in the private mount");
    Ok(())
}

/// A shared mount carries a mount made inside to the outside; nothing else does.
fn out_of_container(c: &Case) -> Outcome {
    let outer = Outside::tmpfs(c, "outer", "mode=755")?;
    outer.make("shared")?;
    fs::create_dir(outer.path.join("a"))?;
    fs::create_dir(outer.path.join("b"))?;
    let config = c
        .config()
        .caps(&["CAP_SYS_ADMIN"])
        .set("/linux/rootfsPropagation", "rshared")
        .mount("bind", &outer.text(), "/shared", &["rbind", "rshared"])
        .mount("bind", &outer.text(), "/slave", &["rbind", "rslave"]);
    let before = crate::inside::parse_mountinfo(&fs::read_to_string("/proc/self/mountinfo")?);
    let got =
        c.attempts(&config, &[&["mount", "tmpfs", "/shared/a"], &["mount", "tmpfs", "/slave/b"]])?;
    check_ok!(got[0]);
    check_ok!(got[1]);
    let after = crate::inside::parse_mountinfo(&fs::read_to_string("/proc/self/mountinfo")?);
    let new: Vec<&str> = after
        .iter()
        .filter(|m| !before.iter().any(|b| b.id == m.id))
        .map(|m| m.point.as_str())
        .collect();
    check_eq!(new, [format!("{}/a", outer.text())], "mounts that came out");
    Ok(())
}

scenarios![kinds, into_container, out_of_container,];
