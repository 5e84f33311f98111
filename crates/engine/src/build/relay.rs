//! The way to a client's agent for ssh: a socket of ours in the command's root, passed on to the agent's.
//!
//! Invariant: it ends with the command, and every connection with it. The agent's keys are never seen here.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinSet};

use crate::error::Error;

/// One socket; closed when dropped.
pub(super) struct Relay(AbortHandle);

impl Relay {
    /// Listens at `path` and passes on to `to`.
    pub(super) fn open(
        runtime: &Handle,
        path: &Path,
        (mode, uid, gid): (u32, u32, u32),
        to: PathBuf,
    ) -> Result<Self, Error> {
        let failed = |error| Error::io("listen at", path, error);
        let listener = std::os::unix::net::UnixListener::bind(path).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        std::os::unix::fs::chown(path, Some(uid), Some(gid)).map_err(failed)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(failed)?;
        let _entered = runtime.enter();
        let listener = UnixListener::from_std(listener).map_err(failed)?;
        Ok(Self(runtime.spawn(pass_on(listener, to)).abort_handle()))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn pass_on(listener: UnixListener, to: PathBuf) {
    // Dropping the set ends what is under way.
    let mut connections = JoinSet::new();
    while let Ok((mut ours, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let to = to.clone();
        connections.spawn(async move {
            // An agent that is not there is told by the end of the connection.
            if let Ok(mut theirs) = UnixStream::connect(&to).await {
                let _ = tokio::io::copy_bidirectional(&mut ours, &mut theirs).await;
            }
        });
    }
}
