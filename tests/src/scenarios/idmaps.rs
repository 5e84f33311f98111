//! Id-mapped mounts: files that change their owner on the way in.

use std::fs;

use serde_json::json;

use super::mounts::Outside;
use super::scenarios;
use crate::contest::{Case, Outcome, check, check_eq, check_ok};

/// Files of an id-mapped mount change their owner.
fn of_mount(c: &Case) -> Outcome {
    let outer = Outside::tmpfs(c, "outer", "mode=755")?;
    fs::write(outer.path.join("file"), "")?;
    let map = json!([{ "containerID": 0, "hostID": 5000, "size": 10 }]);
    let config = c.config().set("/ociVersion", "1.1.0").push(
        "/mounts",
        json!({ "destination": "/m", "type": "bind", "source": outer.text(),
            "options": ["rbind"], "uidMappings": map, "gidMappings": map }),
    );
    let got = c.attempts(&config, &[&["stat", "/m/file"]])?;
    check!(check_ok!(got[0]).starts_with("file 644 5000 5000 "), "{:?}", got[0].ok);
    check_eq!(fs::metadata(outer.path.join("file")).map(|m| owner(&m))?, 0, "owner outside");
    Ok(())
}

fn owner(m: &fs::Metadata) -> u32 {
    std::os::unix::fs::MetadataExt::uid(m)
}

/// `of_mount` without maps uses those of the container: root's files are root's inside.
fn of_container(c: &Case) -> Outcome {
    let outer = Outside::tmpfs(c, "outer", "mode=755")?;
    fs::write(outer.path.join("file"), "")?;
    fs::create_dir(c.bundle.rootfs.join("mapped"))?;
    fs::create_dir(c.bundle.rootfs.join("plain"))?;
    let config = c
        .config()
        .set("/ociVersion", "1.1.0")
        .user_namespace(100_000, 65_536)
        .mount("bind", &outer.text(), "/mapped", &["rbind", "idmap"])
        .mount("bind", &outer.text(), "/plain", &["rbind"]);
    let got = c.attempts(&config, &[&["stat", "/mapped/file"], &["stat", "/plain/file"]])?;
    check!(check_ok!(got[0]).starts_with("file 644 0 0 "), "mapped: {:?}", got[0].ok);
    check!(check_ok!(got[1]).starts_with("file 644 65534 65534 "), "plain: {:?}", got[1].ok);
    Ok(())
}

/// The same where the container joins a user namespace that is there already.
fn of_joined(c: &Case) -> Outcome {
    let outer = Outside::tmpfs(c, "outer", "mode=755")?;
    fs::write(outer.path.join("file"), "")?;
    fs::create_dir(c.bundle.rootfs.join("mapped"))?;
    let first = c.create_container(&c.config().user_namespace(100_000, 65_536))?;
    let namespace = format!("/proc/{}/ns/user", first.pid()?);
    let id = format!("{}-2", c.token);
    let bundle = c.new_bundle("second")?;
    fs::create_dir(bundle.rootfs.join("mapped"))?;
    let config = c
        .config_for(&id)
        .set("/ociVersion", "1.1.0")
        .namespace_path("user", &namespace)
        .mount("bind", &outer.text(), "/mapped", &["rbind", "idmap"])
        .payload(&["try", "stat", "/mapped/file"]);
    bundle.configure(&config)?;
    c.remember(&id);
    let done = c.runtime(&["run", "--bundle", &bundle.dir.display().to_string(), &id])?.ok()?;
    let got: Vec<crate::Attempt> = done.json()?;
    check!(check_ok!(got[0]).starts_with("file 644 0 0 "), "mapped: {:?}", got[0].ok);
    first.delete_force()
}

/// `ridmap` maps the mounts below too.
fn recursive(c: &Case) -> Outcome {
    let outer = Outside::tmpfs(c, "outer", "mode=755")?;
    let inner = Outside::tmpfs(c, "outer/inner", "mode=755")?;
    fs::write(inner.path.join("file"), "")?;
    let map = json!([{ "containerID": 0, "hostID": 5000, "size": 10 }]);
    let mount = |target: &str, option: &str| {
        json!({ "destination": target, "type": "bind", "source": outer.text(),
            "options": ["rbind", option], "uidMappings": map, "gidMappings": map })
    };
    let config = c
        .config()
        .set("/ociVersion", "1.1.0")
        .push("/mounts", mount("/all", "ridmap"))
        .push("/mounts", mount("/one", "idmap"));
    let ops: [&[&str]; 2] = [&["stat", "/all/inner/file"], &["stat", "/one/inner/file"]];
    let got = c.attempts(&config, &ops)?;
    check!(check_ok!(got[0]).starts_with("file 644 5000 5000 "), "ridmap: {:?}", got[0].ok);
    check!(check_ok!(got[1]).starts_with("file 644 0 0 "), "of_mount: {:?}", got[1].ok);
    Ok(())
}

scenarios![of_mount, of_container, of_joined, recursive,];
