//! Which devices a container may open and make: rules, their order, and who they hold for.

use serde_json::{Value, json};

use super::scenarios;
use crate::contest::{Case, Outcome, check, check_errno};

/// A misc device that does no harm and that no runtime allows by itself: that of FUSE.
const FUSE: (u32, u32) = (10, 229);

fn fuse_attempts(c: &Case, rules: Value) -> Outcome<[Option<i32>; 2]> {
    let device = json!({ "path": "/dev/mine", "type": "c", "major": FUSE.0, "minor": FUSE.1,
        "fileMode": 0o666, "uid": 0, "gid": 0 });
    let config = c.config().push("/linux/devices", device).set("/linux/resources/devices", rules);
    let got = c.attempts(&config, &[&["open", "/dev/mine"], &["open-read", "/dev/mine"]])?;
    Ok([got[0].errno, got[1].errno])
}

fn refused(errno: Option<i32>) -> bool {
    errno == Some(rustix::io::Errno::PERM.raw_os_error())
}

/// What is not allowed is refused, by rule, by kind and by access.
fn rules(c: &Case) -> Outcome {
    let deny = json!({ "allow": false, "access": "rwm" });
    let rule = |access: &str| json!({ "allow": true, "type": "c", "major": FUSE.0, "minor": FUSE.1, "access": access });
    let [both, read] = fuse_attempts(c, json!([deny]))?;
    check!(refused(both) && refused(read), "denied: {both:?}, {read:?}");
    let [both, read] = fuse_attempts(c, json!([deny, rule("rw")]))?;
    check!(!refused(both) && !refused(read), "allowed: {both:?}, {read:?}");
    let [both, read] = fuse_attempts(c, json!([deny, rule("r")]))?;
    check!(refused(both) && !refused(read), "reading allowed: {both:?}, {read:?}");
    Ok(())
}

/// Rules without numbers mean all; later rules win.
fn wildcards(c: &Case) -> Outcome {
    let deny = json!({ "allow": false, "access": "rwm" });
    let major = json!({ "allow": true, "type": "c", "major": FUSE.0, "access": "rwm" });
    let [both, _] = fuse_attempts(c, json!([deny, major]))?;
    check!(!refused(both), "all minors allowed: {both:?}");
    let block = json!({ "allow": true, "type": "b", "access": "rwm" });
    let [both, _] = fuse_attempts(c, json!([deny, block]))?;
    check!(refused(both), "all block rules allowed: {both:?}");
    let all = json!({ "allow": true, "access": "rwm" });
    let [both, _] = fuse_attempts(c, json!([all]))?;
    check!(!refused(both), "everything allowed: {both:?}");
    Ok(())
}

/// An exception from everything.
fn exception(c: &Case) -> Outcome {
    let all = json!({ "allow": true, "access": "rwm" });
    let but =
        json!({ "allow": false, "type": "c", "major": FUSE.0, "minor": FUSE.1, "access": "rw" });
    let [both, read] = fuse_attempts(c, json!([all, but]))?;
    check!(refused(both) && refused(read), "the exception: {both:?}, {read:?}");
    Ok(())
}

/// A device made inside is under the same rules.
fn made_inside(c: &Case) -> Outcome {
    let (major, minor) = (FUSE.0.to_string(), FUSE.1.to_string());
    let ops: [&[&str]; 2] = [&["mknod", "/tmp/mine", "c", &major, &minor], &["open", "/tmp/mine"]];
    let got = c.attempts(&c.config(), &ops)?;
    if got[0].ok.is_some() {
        check_errno!(got[1], PERM);
    }
    Ok(())
}

/// The rules hold for executed programs.
fn exec(c: &Case) -> Outcome {
    let device = json!({ "path": "/dev/mine", "type": "c", "major": FUSE.0, "minor": FUSE.1,
        "fileMode": 0o666, "uid": 0, "gid": 0 });
    let container = c.start_waiting(&c.config().push("/linux/devices", device))?;
    let got = container.exec_attempts(&[&["open", "/dev/mine"], &["open", "/dev/null"]])?;
    check_errno!(got[0], PERM);
    check!(got[1].ok.is_some(), "/dev/null: {:?}", got[1].errno);
    container.delete_force()
}

scenarios![rules, wildcards, exception, made_inside, exec,];
