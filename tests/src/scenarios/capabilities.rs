//! Capabilities: the five sets, what they allow, and what is asked for in vain.

use serde_json::json;

use super::scenarios;
use crate::contest::{Case, Outcome, check, check_eq, check_errno, check_ok, fail, skip};

const KILL: u64 = 1 << 5;
const CHOWN: u64 = 1;
const NET_RAW: u64 = 1 << 13;
const SYS_RESOURCE: u64 = 1 << 24;
/// What the default configuration grants.
const DEFAULT: u64 = 0xa80425fb;

/// The default set is in the bounding, permitted and effective sets, and in no other.
fn three_sets(c: &Case) -> Outcome {
    let report = c.report(&c.config())?;
    for set in ["CapBnd", "CapPrm", "CapEff"] {
        check_eq!(format!("{:x}", report.caps(set)), format!("{DEFAULT:x}"), "{set}");
    }
    for set in ["CapInh", "CapAmb"] {
        check_eq!(report.caps(set), 0, "{set}");
    }
    Ok(())
}

/// All five sets are set as given; an unprivileged user keeps the ambient ones.
fn five_sets(c: &Case) -> Outcome {
    let config = c.config().set("/process/user", json!({ "uid": 1000, "gid": 1000 })).set(
        "/process/capabilities",
        json!({
            "bounding": ["CAP_KILL", "CAP_CHOWN", "CAP_NET_RAW"],
            "permitted": ["CAP_KILL", "CAP_CHOWN"],
            "inheritable": ["CAP_KILL", "CAP_CHOWN"],
            "effective": ["CAP_KILL"],
            "ambient": ["CAP_KILL"],
        }),
    );
    let report = c.report(&config)?;
    check_eq!(report.caps("CapBnd"), KILL | CHOWN | NET_RAW, "CapBnd");
    check_eq!(report.caps("CapInh"), KILL | CHOWN, "CapInh");
    check_eq!(report.caps("CapAmb"), KILL, "CapAmb");
    // What the program's exec leaves to a user without privileges.
    check_eq!(report.caps("CapPrm"), KILL, "CapPrm");
    check_eq!(report.caps("CapEff"), KILL, "CapEff");
    Ok(())
}

/// A user without ambient capabilities has none in effect.
fn none_for_users(c: &Case) -> Outcome {
    let config = c.config().set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let report = c.report(&config)?;
    check_eq!(report.caps("CapEff"), 0, "CapEff");
    check_eq!(report.caps("CapPrm"), 0, "CapPrm");
    check_eq!(report.caps("CapBnd"), DEFAULT, "CapBnd");
    Ok(())
}

/// Empty sets are empty.
fn empty_sets(c: &Case) -> Outcome {
    let report = c.report(&c.config().caps(&[]))?;
    for set in ["CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb"] {
        check_eq!(report.caps(set), 0, "{set}");
    }
    Ok(())
}

/// Without any word on capabilities there are none.
fn absent_means_none(c: &Case) -> Outcome {
    let report = c.report(&c.config().remove("/process/capabilities"))?;
    check_eq!(report.caps("CapEff"), 0, "CapEff");
    Ok(())
}

/// A capability that is not granted is refused where it counts; one that is granted works.
fn granted_and_not(c: &Case) -> Outcome {
    let ops: [&[&str]; 2] =
        [&["chown", "/etc/group", "7", "7"], &["mknod", "/tmp/x", "c", "1", "3"]];
    let got = c.attempts(&c.config().caps(&["CAP_CHOWN"]), &ops)?;
    check_ok!(got[0]);
    check_errno!(got[1], PERM);
    let got = c.attempts(&c.config().caps(&["CAP_MKNOD"]), &ops)?;
    check_errno!(got[0], PERM);
    check_ok!(got[1]);
    Ok(())
}

/// A capability that does not exist is named in a warning, and the container does without it.
fn unknown(c: &Case) -> Outcome {
    let done = c.run(&c.config().caps(&["CAP_KILL", "CAP_FLY"]))?.ok()?;
    check!(done.err.contains("CAP_FLY"), "CAP_FLY is not named: {:?}", done.err);
    let report: crate::inside::Report = done.json()?;
    check_eq!(report.caps("CapEff"), KILL, "CapEff");
    c.nothing_left()
}

/// One that the host cannot grant does not stop the container (it may be said).
fn not_grantable(c: &Case) -> Outcome {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let own = status.lines().find_map(|l| l.strip_prefix("CapBnd:\t"));
    let own = own.and_then(|h| u64::from_str_radix(h.trim(), 16).ok()).unwrap_or(0);
    if own & SYS_RESOURCE != 0 {
        skip!("this host can grant CAP_SYS_RESOURCE");
    }
    let report = c.report(&c.config().caps(&["CAP_KILL", "CAP_SYS_RESOURCE"]))?;
    check_eq!(report.caps("CapEff"), KILL, "CapEff");
    Ok(())
}

/// Executed programs get the container's sets.
fn exec_same(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config().caps(&["CAP_KILL", "CAP_CHOWN"]))?;
    let report = container.exec_report(&[])?;
    for set in ["CapBnd", "CapPrm", "CapEff"] {
        check_eq!(report.caps(set), KILL | CHOWN, "{set}");
    }
    container.stop()?;
    container.delete()
}

/// `exec --cap` adds one.
fn exec_adds(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config().caps(&["CAP_KILL"]))?;
    let report = container.exec_report(&["--cap", "CAP_NET_RAW"])?;
    check_eq!(report.caps("CapEff"), KILL | NET_RAW, "CapEff");
    check_eq!(report.caps("CapBnd"), KILL | NET_RAW, "CapBnd");
    container.stop()?;
    container.delete()
}

/// In a user namespace all capabilities can be had, over that namespace only.
fn full_in_user_namespace(c: &Case) -> Outcome {
    let config = c.config().user_namespace(100_000, 65_536).caps(&[
        "CAP_SYS_RESOURCE",
        "CAP_SYS_ADMIN",
        "CAP_CHOWN",
    ]);
    let got = c.attempts(
        &config,
        &[&["mount", "tmpfs", "/tmp"], &["write", "/proc/sys/vm/overcommit_memory", "1"]],
    )?;
    check_ok!(got[0]);
    if got[1].ok.is_some() {
        fail!("a host sysctl could be written");
    }
    Ok(())
}

/// A set-user-id program gains privileges, and does not with `noNewPrivileges`.
fn set_user_id(c: &Case) -> Outcome {
    let mut program = crate::machine::Program::new(crate::machine::Machine::X86_64);
    program.call(107, &[]); // geteuid
    program.exit_with_result();
    c.bundle.program("euid", &program)?;
    let path = c.bundle.rootfs.join("bin/euid");
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o4755))?;
    let config =
        c.config().args(&["/bin/euid"]).set("/process/user", json!({ "uid": 77, "gid": 77 }));
    c.run(&config)?.code_is(0)?;
    c.run(&config.set("/process/noNewPrivileges", true))?.code_is(77)?;
    Ok(())
}

scenarios![
    three_sets,
    five_sets,
    none_for_users,
    empty_sets,
    absent_means_none,
    granted_and_not,
    unknown,
    not_grantable,
    exec_same,
    exec_adds,
    full_in_user_namespace,
    set_user_id,
];
