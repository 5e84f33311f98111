//! Starting a created container: one word over its start socket, and its answer.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use dhow_spec::runtime::{HookKind, Spec, Status};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::Signal;

use super::launch;
use super::points;
use super::state::{Record, START, StateDir};
use crate::error::{Error, StepError, StepKind};
use crate::init::{Fault, Report, SyncPoint};

/// The start socket's address, by way of the state directory's descriptor: a socket's path is limited to
/// 107 bytes, a state directory's is not.
pub(super) fn address(dir: &StateDir) -> Result<SocketAddrUnix, Errno> {
    let name = START.to_str().unwrap_or_default();
    SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", dir.fd().as_raw_fd()))
}

/// Lets the program begin. The caller has made sure that the container waits.
pub(super) fn start(dir: &StateDir, record: &Record, spec: &Spec) -> Result<(), Error> {
    let Some(pidfd) = record.process.and_then(super::state::ProcessRecord::open) else {
        return Err(Error::Died { signal: None });
    };
    let stop = |error: Error| {
        // A container that could not be started is a stopped one.
        let _ = dhow_sys::pidfd_kill(pidfd.as_fd(), Signal::KILL.as_raw());
        Err(error)
    };
    let inside = HookKind::StartContainer;
    if let Err(error) = points::call_inside(inside, record, spec, Status::Created, pidfd.as_fd()) {
        return stop(error);
    }
    let connection = connect(dir)?;
    if let Err(error) = exchange(&connection, pidfd.as_fd(), record, spec) {
        return stop(error);
    }
    points::call(HookKind::Poststart, record, spec, Status::Running).or_else(stop)
}

/// Connects, and takes the socket's name away: from now on the container is no longer a created one, and
/// if this process dies before it gives the word, the container ends.
fn connect(dir: &StateDir) -> Result<OwnedFd, Error> {
    let error = |errno| Error::file("connect to", dir.path_of(START), errno);
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(error)?;
    rustix::net::connect(&socket, &address(dir).map_err(error)?).map_err(error)?;
    dir.unlink(START)?;
    Ok(socket)
}

/// Gives the word and listens until the connection closes, which exec does.
fn exchange(
    connection: &OwnedFd,
    pidfd: std::os::fd::BorrowedFd<'_>,
    record: &Record,
    spec: &Spec,
) -> Result<(), Error> {
    loop {
        rustix::net::send(connection, b"g", rustix::net::SendFlags::NOSIGNAL)
            .map_err(Error::call("start the container's first process"))?;
        match Report::receive(connection.as_fd()) {
            // A killed process resets its connections.
            Ok(None) | Err(Errno::CONNRESET) => return Ok(()),
            Ok(Some(Report::Failed { step, fault })) => {
                return Err(failed_after_start(record, step, fault));
            }
            Ok(Some(Report::Reached(SyncPoint::Listener, fd))) => {
                let state = super::state_of(record, spec, Status::Created);
                let listener = super::seccomp_listener(spec, state);
                if let (Some(listener), Some(pid)) =
                    (listener, record.process.and_then(super::state::ProcessRecord::pid))
                {
                    launch::send_listener(pidfd, pid, fd, listener)?;
                }
            }
            Ok(Some(_)) => {}
            Err(errno) => {
                return Err(Error::call("hear from the container's first process")(errno));
            }
        }
    }
}

/// Words a failure after the start. The steps themselves went with the process that made the container;
/// their words are on record, the exec's last.
fn failed_after_start(record: &Record, step: usize, fault: Fault) -> Error {
    let Some(after) = &record.after_start else { return Error::Died { signal: None } };
    let index = step.saturating_sub(after.first);
    let text = after.words.get(index).cloned().unwrap_or_default();
    let kind = match (index + 1 == after.words.len(), fault.errno) {
        (false, _) => StepKind::Setup,
        (true, Errno::NOENT | Errno::NOTDIR) => StepKind::ProgramNotFound,
        (true, _) => StepKind::ProgramNotExecutable,
    };
    Error::Step(StepError::new(text, kind, fault))
}
