//! Bringing back a container whose processes were saved, through CRIU.
//!
//! CRIU makes the processes as children of ours, in the container's own cgroup, and stops at points where
//! hooks are called and the record is written: what fails there is undone like a container half made.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use dhow_spec::runtime::{HookKind, Spec, Status};
use dhow_sys::{Child, Exit};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags};

use super::checkpoint::{
    CriuOptions, Dirs, EXTERNAL_NAMESPACES, Origins, common, duplicate, joined,
};
use super::create::{CreateOptions, Making};
use super::state::ProcessRecord;
use super::{ContainerId, StateRoot, launch, points};
use crate::cgroup::CgroupRecord;
use crate::criu::{self, Notice, Options, Request, Switch};
use crate::error::Error;
use crate::init::send_descriptor;

/// CRIU's log, named as runc does.
const LOG: &str = "restore.log";

/// How a container is to be restored.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// What saving knows as well.
    pub criu: CriuOptions,
    /// The security profile to restore with, as `TYPE:NAME`.
    pub lsm_profile: Option<String>,
    /// The SELinux context of its mounts.
    pub lsm_mount_context: Option<String>,
}

/// Restores a container. With `detach` returns as soon as it runs; otherwise waits for its end like
/// [`super::run`], and deletes it.
pub fn restore(
    root: &StateRoot,
    id: &ContainerId,
    options: &CreateOptions,
    restore: &RestoreOptions,
    detach: bool,
) -> Result<Exit, Error> {
    let making = Making::begin(root, id, options)?;
    making.run_with(detach, false, |making| making.restore(restore))
}

impl Making<'_> {
    /// Has CRIU restore the processes; gives the first one, and its terminal if nobody else takes it.
    fn restore(&mut self, options: &RestoreOptions) -> Result<(Child, Option<OwnedFd>), Error> {
        let dirs = Dirs::open(&options.criu, LOG, false)?;
        let inherited = self.inherited(&dirs)?;
        self.make_cgroup()?;
        let root = self.record.rootfs.clone();
        let mut session = dirs.start(&options.criu, Some(&root), &inherited.fds)?;
        let mut request = common(&options.criu, session.options(LOG), &self.spec);
        self.describe(options, &dirs, &inherited, &mut request);
        self.enter_cgroup(session.pid(), &mut request)?;
        let mut master = None;
        let restored = session.ask(Request::Restore, request.message(), &mut |notice| {
            self.notice(notice, &mut master)
        });
        drop(session);
        let pid = restored.map_err(|error| dirs.explain(error))?;
        let pid = pid.ok_or_else(|| criu::failed("it restored nothing"))?;
        Ok((child_of(pid)?, master))
    }

    /// Says what is to be restored, and how.
    fn describe(
        &self,
        options: &RestoreOptions,
        dirs: &Dirs,
        inherited: &Inherited,
        request: &mut Options,
    ) {
        request.root(&self.record.rootfs);
        request.switch(Switch::Sibling, true);
        if let Some(profile) = &options.lsm_profile {
            request.lsm_profile(profile);
        }
        if let Some(context) = &options.lsm_mount_context {
            request.lsm_mount_context(context);
        }
        for (place, source) in self.sources(&dirs.origins()) {
            request.mount(&place, &source);
        }
        for (key, fd) in inherited.keys.iter().zip(&inherited.fds) {
            request.inherited(key, fd.as_fd());
        }
    }

    /// Puts CRIU where the container is to be, and tells it so: what it makes, begins there.
    fn enter_cgroup(&mut self, criu: Pid, request: &mut Options) -> Result<(), Error> {
        let Some(cgroup) = &mut self.cgroup else { return Ok(()) };
        cgroup.attach(criu)?;
        let path = format!("/proc/{}/cgroup", criu.as_raw_nonzero());
        let text = std::fs::read_to_string(path).unwrap_or_default();
        for line in text.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            if let (Some(controllers), Some(path)) = (fields.next(), fields.next())
                && !controllers.is_empty()
            {
                request.cgroup_root(controllers, path);
            }
        }
        Ok(())
    }

    /// Answers CRIU at one of the points on its way.
    fn notice(&mut self, notice: Notice, master: &mut Option<OwnedFd>) -> Result<(), Error> {
        let pid = notice.pid.and_then(Pid::from_raw);
        match (notice.point.as_str(), pid) {
            ("setup-namespaces", Some(pid)) => {
                self.record.process = ProcessRecord::of(pid);
                self.dir.save_process(pid.as_raw_nonzero().get())?;
                self.hooked = true;
                for kind in [HookKind::Prestart, HookKind::CreateRuntime] {
                    points::call(kind, &self.record, &self.spec, Status::Creating)?;
                }
                Ok(())
            }
            ("post-restore", Some(pid)) => {
                self.dir.save(&self.record)?;
                self.announce(&child_of(pid)?)
            }
            ("orphan-pts-master", _) => {
                let Some(fd) = notice.fd else { return Ok(()) };
                match &self.options.console_socket {
                    Some(path) => {
                        send_descriptor(launch::connect(path)?.as_fd(), fd.as_fd(), b"/dev/ptmx")
                            .map_err(|errno| Error::file("send the terminal to", path, errno))
                    }
                    None => {
                        *master = Some(fd);
                        Ok(())
                    }
                }
            }
            _ => Ok(()),
        }
    }

    /// Where on the host the mounts from outside are, by the name under which they were saved.
    fn sources(&self, origins: &Origins) -> BTreeMap<PathBuf, PathBuf> {
        let ours = self.cgroup.as_ref().map(|cgroup| cgroup.record());
        let mut sources = moved(origins, ours.as_ref());
        sources.extend(bind_mounts(&self.spec, &self.record.bundle));
        // Under this name runc saves what it masks.
        sources.insert("/dev/null".into(), "/dev/null".into());
        sources
    }

    /// What CRIU gets from us: our streams for those that were pipes or files outside, and namespaces that
    /// are somebody else's.
    fn inherited(&self, dirs: &Dirs) -> Result<Inherited, Error> {
        let ours = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
        let (streams, origins) = (dirs.streams(), dirs.origins());
        let mut inherited = Inherited::default();
        // The last stream of a name counts: of a file that was read and written, the writer's.
        for (at, fd) in ours.into_iter().enumerate().rev() {
            let stream = streams.get(at).map_or("", String::as_str);
            let file = origins.files.get(at).and_then(Option::as_deref);
            let key = file.or(stream.starts_with("pipe:").then_some(stream));
            if let Some(key) = key.filter(|key| !inherited.has(key)) {
                inherited.add(key, if stream == "/dev/null" { null()? } else { duplicate(fd)? });
            }
        }
        for (kind, key) in EXTERNAL_NAMESPACES {
            if let Some(path) = joined(&self.spec, kind) {
                inherited.add(key, open("open namespace", path.as_ref(), OFlags::RDONLY)?);
            }
        }
        Ok(inherited)
    }
}

/// Descriptors for CRIU, by its names for what they stand for.
#[derive(Debug, Default)]
struct Inherited {
    keys: Vec<String>,
    fds: Vec<OwnedFd>,
}

impl Inherited {
    fn has(&self, key: &str) -> bool {
        self.keys.iter().any(|known| known == key)
    }

    fn add(&mut self, key: &str, fd: OwnedFd) {
        self.keys.push(key.to_owned());
        self.fds.push(fd);
    }
}

/// The origins of the saved container's mounts, those in its cgroup moved to the new one.
fn moved(origins: &Origins, cgroup: Option<&CgroupRecord>) -> BTreeMap<PathBuf, PathBuf> {
    let pairs: Vec<_> = match (&origins.cgroup, cgroup) {
        (Some(then), Some(now)) => then.pairs_with(now).collect(),
        _ => Vec::new(),
    };
    let place = |path: &PathBuf| {
        let below = |(then, now): &(_, PathBuf)| Some(now.join(path.strip_prefix(then).ok()?));
        pairs.iter().find_map(below).unwrap_or_else(|| path.clone())
    };
    origins.mounts.iter().map(|(inside, host)| (inside.clone(), place(host))).collect()
}

/// The bind mounts of the configuration: where they go, and where they come from.
fn bind_mounts<'a>(
    spec: &'a Spec,
    bundle: &'a Path,
) -> impl Iterator<Item = (PathBuf, PathBuf)> + 'a {
    let binds = |one: &&dhow_spec::runtime::Mount| {
        one.options.iter().any(|word| word == "bind" || word == "rbind")
    };
    spec.mounts.iter().filter(binds).filter_map(|one| {
        let source = one.source.as_ref()?;
        Some((PathBuf::from(&one.destination), bundle.join(source)))
    })
}

/// One descriptor for whatever was `/dev/null`, to be read or written.
fn null() -> Result<OwnedFd, Error> {
    open("open", "/dev/null".as_ref(), OFlags::RDWR)
}

fn open(doing: &'static str, path: &Path, flags: OFlags) -> Result<OwnedFd, Error> {
    rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Error::file(doing, path, errno))
}

fn child_of(pid: Pid) -> Result<Child, Error> {
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())
        .map_err(Error::call("open the restored process"))?;
    Ok(Child { pid, pidfd })
}
