//! Command lines of `run` in, requests out.

use std::path::Path;

use super::*;
use crate::args;

const FLAGS: &[&[crate::args::Flag]] = &[RUN, CREATE];

fn read(line: &str) -> Result<serde_json::Value, String> {
    let words = line.split(' ').filter(|word| !word.is_empty()).map(str::to_owned);
    let matches = args::parse(FLAGS, true, words).map_err(|mistake| mistake.to_string())?;
    let lookup = |name: &str| (name == "HOME").then(|| "/root".to_owned());
    let around = Surroundings { directory: Path::new("/home/me"), lookup: &lookup };
    let request = request(&matches, &around).map_err(|failure| failure.to_string())?;
    Ok(serde_json::to_value(request).unwrap())
}

#[test]
fn the_plain_request() {
    let json = read("debian ls -l").unwrap();
    assert_eq!(json["Image"], "debian");
    assert_eq!(json["Cmd"], serde_json::json!(["ls", "-l"]));
    assert_eq!(json["AttachStdout"], true);
    assert_eq!(json["AttachStdin"], false);
    assert_eq!(json["HostConfig"]["NetworkMode"], "default");
    assert_eq!(json["HostConfig"]["RestartPolicy"]["Name"], "no");
    assert_eq!(json["HostConfig"]["MemorySwappiness"], -1);
    assert_eq!(json["HostConfig"]["Dns"], serde_json::json!([]));
    assert_eq!(json["Entrypoint"], serde_json::Value::Null);
}

#[test]
fn everyday_flags() {
    let json = read(
        "-it --rm --name x -e A=1 -e HOME -p 8080:80 -v /a:/b:ro -v /c -m 64m --cpus 1.5 \
         --entrypoint /bin/sh --network net --network-alias web -l a=b --tmpfs /t:size=1m --init debian",
    )
    .unwrap();
    assert_eq!(json["Tty"], true);
    assert_eq!(json["StdinOnce"], true);
    assert_eq!(json["Env"], serde_json::json!(["A=1", "HOME=/root"]));
    assert_eq!(json["Volumes"], serde_json::json!({"/c": {}}));
    assert_eq!(json["Entrypoint"], serde_json::json!(["/bin/sh"]));
    assert_eq!(json["Labels"]["a"], "b");
    let host = &json["HostConfig"];
    assert_eq!(host["Binds"], serde_json::json!(["/a:/b:ro"]));
    assert_eq!(host["PortBindings"]["80/tcp"][0]["HostPort"], "8080");
    assert_eq!(host["Memory"], 64 << 20);
    assert_eq!(host["NanoCpus"], 1_500_000_000);
    assert_eq!(host["Tmpfs"]["/t"], "size=1m");
    assert_eq!(host["Init"], true);
    assert_eq!(host["NetworkMode"], "net");
    let endpoint = &json["NetworkingConfig"]["EndpointsConfig"]["net"];
    assert_eq!(endpoint["Aliases"], serde_json::json!(["web"]));
}

#[test]
fn capabilities_have_full_names() {
    let json = read("--cap-drop all --cap-add sys_admin --cap-add CAP_SYS_ADMIN x").unwrap();
    assert_eq!(json["HostConfig"]["CapAdd"], serde_json::json!(["CAP_SYS_ADMIN"]));
    assert_eq!(json["HostConfig"]["CapDrop"], serde_json::json!(["ALL"]));
}

#[test]
fn unconfined_paths_are_empty_lists() {
    let json =
        read("--security-opt systempaths=unconfined --security-opt label=disable x").unwrap();
    let host = &json["HostConfig"];
    assert_eq!(host["MaskedPaths"], serde_json::json!([]));
    assert_eq!(host["SecurityOpt"], serde_json::json!(["label=disable"]));
}

#[test]
fn mistakes_in_docker_s_words() {
    for (line, message) in [
        ("--memory-swappiness=400 a", "invalid value: 400. Valid memory swappiness range is 0-100"),
        ("-p 99999:80 a", "invalid hostPort: 99999"),
        ("--mac-address x a", "x is not a valid mac address"),
        ("--pid x a", "--pid: invalid PID mode"),
        ("--uts x a", "--uts: invalid UTS mode"),
        ("--userns x a", "--userns: invalid USER mode"),
        ("--cgroupns x a", "--cgroupns: invalid CGROUP mode"),
        ("--rm --restart always a", "conflicting options: cannot specify both --restart and --rm"),
        (
            "--network-alias x a",
            "network-scoped aliases are only supported for user-defined networks",
        ),
        ("--security-opt x a", "Invalid --security-opt: \"x\""),
        ("--storage-opt x a", "invalid storage option"),
        ("--health-cmd x --no-healthcheck a", "--no-healthcheck conflicts with --health-* options"),
        (
            "--restart on-failure:x a",
            "invalid restart policy format: maximum retry count must be an integer",
        ),
        ("--log-driver none --log-opt a=b a", "invalid logging opts for driver none"),
        ("-v a:b:c:d a", "invalid spec: a:b:c:d: too many colons"),
        (
            "--blkio-weight-device x a",
            "invalid argument \"x\" for \"--blkio-weight-device\" flag: bad format: x",
        ),
        (
            "--cpus x a",
            "invalid argument \"x\" for \"--cpus\" flag: failed to parse x as a rational number",
        ),
        ("--use-api-socket a", "--use-api-socket is not built yet"),
        ("--kernel-memory 1 a", "--kernel-memory is not built yet"),
        (
            "--net host --ip 1.2.3.4 --net a b",
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes",
        ),
    ] {
        assert_eq!(read(line).unwrap_err(), message, "{line}");
    }
}
