//! What the built-in image says: that everything up to here works, and what to try next.
//!
//! It runs inside a container, where nothing but this program is.

use std::io::Write;
use std::process::ExitCode;

const TEXT: &str = "\
Hello from a container!

You see this because dhow
  1. made the image \"hello\" out of its own program: no registry was asked,
  2. put a writable layer, namespaces, a cgroup and a seccomp filter around it,
  3. started this program as the container's first process, and brought you its words.

What to try next:
  dhow run -it debian bash        a shell in an image from Docker Hub
  dhow run -d -p 8080:80 nginx    a server that goes on when the engine does not
  dhow ps -a                      all containers, with this one
  dhow --help                     everything else

The docker command line and Compose work as well:
  DOCKER_HOST=unix:///run/dhow/dhow.sock docker ps
";

pub(crate) fn main() -> ExitCode {
    match std::io::stdout().write_all(TEXT.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
