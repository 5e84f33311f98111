//! The registry's role: a socket of systemd's, one owner of a root, and an engine that pulls what is called
//! docker.io's through a mirror.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::whole::{IMAGE, PROGRAM, TestEngine, text};

/// As systemd starts a service: the socket is the third descriptor, and the number is the service's own.
const ACTIVATE: &str =
    "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" registry serve --root \"$1\" 3<&0 </dev/null";

/// A registry; it ends with the value.
struct Served {
    child: Child,
    address: SocketAddr,
}

impl Served {
    fn start(mut command: Command) -> Self {
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("a registry");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("ready on ")?.parse().ok());
        let address = address.expect("it says where it is");
        // What else it says is read, so that it never waits for us.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }

    fn with_config(root: &Path, config: &str) -> Self {
        let file = root.with_extension("json");
        fs::write(&file, config).expect("a file");
        let mut command = Command::new(PROGRAM);
        command.args(["registry", "serve", "--addr", "127.0.0.1:0", "--root", text(root)]);
        command.args(["--config", text(&file)]).stdin(Stdio::null());
        Self::start(command)
    }

    /// Ends it as systemd does; says whether it thinks that all went well.
    fn end(mut self) -> bool {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("told");
        self.child.wait().expect("an end").success()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory that goes with the value.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_registry_takes_systemd_s_socket_and_owns_its_root() {
    let folder = std::env::temp_dir().join(format!("dhow-registries-{}", std::process::id()));
    fs::create_dir(&folder).expect("a directory");
    let folder = Folder(folder);
    let root = folder.0.join("root");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = listener.local_addr().expect("an address");
    let mut command = Command::new("sh");
    command.args(["-c", ACTIVATE, PROGRAM, text(&root)]);
    command.stdin(OwnedFd::from(listener));
    let served = Served::start(command);
    assert_eq!(served.address, address);
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.write_all(b"GET /v2/ HTTP/1.0\r\n\r\n").expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.0 200") || answer.starts_with("HTTP/1.1 200"), "{answer}");
    let run = |word: &str| {
        let mut command = Command::new(PROGRAM);
        command.args(["registry", word, "--root", text(&root)]).stdin(Stdio::null());
        let output = command.output().expect("the program");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let owner = served.child.id().to_string();
    for word in ["check", "gc"] {
        let (code, said) = run(word);
        assert_eq!(code, Some(1), "{word}: {said}");
        assert!(said.contains("in use by process") && said.contains(&owner), "{word}: {said}");
    }
    assert!(served.end());
    for word in ["check", "gc"] {
        let (code, said) = run(word);
        assert_eq!(code, Some(0), "{word}: {said}");
    }
}

#[test]
fn what_is_called_docker_s_comes_through_a_mirror() {
    let test = "what_is_called_docker_s_comes_through_a_mirror";
    let Some(first) = TestEngine::start(test) else { return };
    let origin = Served::with_config(&first.root.join("origin"), "{}");
    let mirror = Served::with_config(
        &first.root.join("mirror"),
        &format!(
            r#"{{"mirrors": [{{"repositories": ["**"], "upstream": "{}", "plain-http": true}}]}}"#,
            origin.address
        ),
    );
    let name = format!("{}/library/tool:1", origin.address);
    first.ok(&["tag", IMAGE, &name]);
    first.ok(&["push", "-q", &name]);
    let flags = ["--registry-mirror", &format!("http://{}", mirror.address)];
    let second = first.beside_with(&flags);
    second.ok(&["pull", "-q", "tool:1"]);
    assert_eq!(second.ok(&["run", "--rm", "tool:1", "echo", "through"]), "through");
    // What has come through once needs no upstream.
    second.ok(&["rmi", "tool:1"]);
    assert!(origin.end());
    second.ok(&["pull", "-q", "tool:1"]);
}
