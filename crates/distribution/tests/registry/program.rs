//! Debian's `docker-registry`, on a port that the kernel picks, with its content in a temporary folder.
//!
//! Tests of other crates include this file.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

const PROGRAM: &str = "docker-registry";

/// The registry; it ends, with all that it keeps, with the value.
pub(crate) struct Registry {
    child: Child,
    /// Where it keeps what it has.
    pub(crate) folder: PathBuf,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Registry {
    /// Starts it, for everybody or for those in `htpasswd`; says that the test is skipped where it is not
    /// installed.
    pub(crate) fn start(test: &str, htpasswd: Option<&str>) -> Option<Self> {
        let places = ["/usr/bin", "/usr/local/bin", "/bin"];
        let mut programs = places.iter().map(|place| PathBuf::from(place).join(PROGRAM));
        let Some(program) = programs.find(|program| program.is_file()) else {
            say(&format!("SKIPPED {test}: docker-registry is not installed"));
            return None;
        };
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::SeqCst);
        let folder =
            std::env::temp_dir().join(format!("dhow-registry-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let place = folder.display();
        let mut config = format!(
            "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {place}\n  \
             delete:\n    enabled: true\nhttp:\n  addr: 127.0.0.1:0\n"
        );
        if let Some(users) = htpasswd {
            std::fs::write(folder.join("htpasswd"), users).expect("a file");
            config.push_str(&format!(
                "auth:\n  htpasswd:\n    realm: dhow\n    path: {place}/htpasswd\n"
            ));
        }
        std::fs::write(folder.join("config.yml"), config).expect("a file");
        #[expect(clippy::disallowed_methods, reason = "a program to test against")]
        let mut command = Command::new(program);
        command.arg("serve").arg(folder.join("config.yml")).env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("a registry");
        let log = BufReader::new(child.stderr.take().expect("piped"));
        let (found, finding) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                let address = line.split("listening on ").nth(1).and_then(|rest| {
                    rest.split(['"', ' ', ',']).next()?.parse::<SocketAddr>().ok()
                });
                if let Some(address) = address {
                    let _ = found.send(address);
                }
            }
        });
        let address = finding.recv_timeout(std::time::Duration::from_secs(30));
        let address = address.expect("the registry says where it listens");
        Some(Self { child, folder, address })
    }

    /// What a repository of it is called.
    pub(crate) fn name(&self, path: &str) -> String {
        format!("{}/{path}", self.address)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[expect(clippy::print_stderr, reason = "a skip is said")]
fn say(line: &str) {
    eprintln!("{line}");
}
