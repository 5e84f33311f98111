//! The options of a request, under CRIU's numbers.

use std::os::fd::{BorrowedFd, RawFd};
use std::path::Path;

use super::session::number_of;
use super::wire::Message;

/// How CRIU treats cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CgroupMode {
    /// Leave them alone.
    Ignore,
    /// Restore what is missing.
    #[default]
    Soft,
    /// Restore all, over what is there.
    Full,
    /// Restore all, and refuse if something is there.
    Strict,
}

/// The options of a request.
#[derive(Debug, Default)]
pub(crate) struct Options(Message);

/// A number in the options message, for everything that is a switch there.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Switch {
    LeaveRunning = 3,
    ExtUnixSk = 4,
    TcpEstablished = 5,
    ShellJob = 7,
    FileLocks = 8,
    NotifyScripts = 12,
    TrackMem = 15,
    AutoDedup = 16,
    Sibling = 26,
    LazyPages = 48,
    OrphanPtsMaster = 50,
}

impl Options {
    /// What every request has: where the images are, where to work, and the name of the log there.
    pub(super) fn new(images: RawFd, work: RawFd, log: &str) -> Self {
        let mut message = Message::default();
        message.number(1, images.into()).number(17, work.into());
        // Everything up to debugging: a log that says less explains no failure.
        message.number(9, 4).text(10, log);
        Self(message)
    }

    pub(crate) fn message(&self) -> &Message {
        &self.0
    }

    pub(crate) fn switch(&mut self, switch: Switch, on: bool) {
        self.0.switch(switch as u32, on);
    }

    /// The first process of what is to be saved.
    pub(crate) fn pid(&mut self, pid: i32) {
        self.0.number(2, pid.into());
    }

    pub(crate) fn root(&mut self, root: &Path) {
        self.0.text(13, &root.to_string_lossy());
    }

    /// Images of an earlier, partial dump, relative to the directory of these.
    pub(crate) fn parent(&mut self, parent: &Path) {
        self.0.text(14, &parent.to_string_lossy());
    }

    pub(crate) fn page_server(&mut self, address: &str, port: u16) {
        let mut server = Message::default();
        server.text(1, address).number(2, port.into());
        self.0.message(11, &server);
    }

    /// An external mount: on saving a place and its name, on restoring a name and where it is.
    pub(crate) fn mount(&mut self, key: &Path, value: &Path) {
        let mut pair = Message::default();
        pair.text(1, &key.to_string_lossy()).text(2, &value.to_string_lossy());
        self.0.message(23, &pair);
    }

    pub(crate) fn cgroups(&mut self, mode: CgroupMode) {
        let number = match mode {
            CgroupMode::Ignore => 0,
            CgroupMode::Soft => 3,
            CgroupMode::Full => 4,
            CgroupMode::Strict => 5,
        };
        self.0.switch(24, mode != CgroupMode::Ignore).number(34, number);
    }

    /// The cgroup of version 1 in which the container is restored.
    pub(crate) fn cgroup_root(&mut self, controllers: &str, path: &str) {
        let mut root = Message::default();
        root.text(1, controllers).text(2, path);
        self.0.message(25, &root);
    }

    /// A cgroup by which the processes can be stopped all at once.
    pub(crate) fn freezer(&mut self, dir: &Path) {
        self.0.text(44, &dir.to_string_lossy());
    }

    /// A descriptor that stands for something outside, such as a pipe.
    pub(crate) fn inherited(&mut self, key: &str, fd: BorrowedFd<'_>) {
        let mut pair = Message::default();
        pair.text(1, key).number(2, number_of(fd));
        self.0.message(27, &pair);
    }

    /// Something outside that is not to be saved, in CRIU's own words.
    pub(crate) fn external(&mut self, words: &str) {
        self.0.text(37, words);
    }

    /// Leave the network namespace's content alone.
    pub(crate) fn empty_network(&mut self) {
        self.0.number(38, dhow_sys::Namespaces::NETWORK.bits() as i64);
    }

    /// A descriptor of ours that is told when pages can be fetched.
    pub(crate) fn status_fd(&mut self, fd: i32) {
        self.0.number(49, fd.into());
    }

    pub(crate) fn config_file(&mut self, path: &str) {
        self.0.text(51, path);
    }

    pub(crate) fn lsm_profile(&mut self, profile: &str) {
        self.0.text(53, profile);
    }

    pub(crate) fn lsm_mount_context(&mut self, context: &str) {
        self.0.text(63, context);
    }
}
