//! Debian's `docker-registry`, on a port that the kernel picks, with its content in a temporary folder.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dhow_spec::Reference;

/// The registry; it ends, with all that it keeps, with the value.
pub(crate) struct Registry {
    child: Child,
    folder: PathBuf,
    address: SocketAddr,
}

impl Registry {
    /// Starts it; says that the test is skipped where it is not installed.
    #[expect(clippy::print_stderr, reason = "a skip is said")]
    pub(crate) fn start(test: &str) -> Option<Self> {
        let program = PathBuf::from("/usr/bin/docker-registry");
        if !program.is_file() {
            eprintln!("SKIPPED {test}: docker-registry is not installed");
            return None;
        }
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::SeqCst);
        let name = format!("dhow-engine-registry-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        let config = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: '127.0.0.1:0'}}\n",
            folder.display()
        );
        std::fs::write(folder.join("config.yml"), config).expect("a file");
        #[expect(clippy::disallowed_methods, reason = "a program to test against")]
        let mut command = Command::new(program);
        command.arg("serve").arg(folder.join("config.yml")).env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("a registry");
        let log = BufReader::new(child.stderr.take().expect("piped"));
        let (found, finding) = std::sync::mpsc::channel();
        // Reads on to the end: a registry that cannot log stops.
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                let rest = line.split("listening on ").nth(1);
                let word = rest.and_then(|rest| rest.split(['"', ' ', ',']).next());
                if let Some(address) = word.and_then(|word| word.parse().ok()) {
                    let _ = found.send(address);
                }
            }
        });
        let address = finding.recv_timeout(Duration::from_secs(60));
        let address = address.expect("the registry says where it listens");
        Some(Self { child, folder, address })
    }

    pub(crate) fn reference(&self, name: &str) -> Reference {
        Reference::parse(&format!("{}/{name}", self.address)).expect("a reference")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
