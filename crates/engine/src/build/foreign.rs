//! Commands for other platforms than this machine's: whether anything here can run them.
//!
//! Invariant: where it is known that nothing can, that is told before anything is started.

use std::os::fd::{AsFd, OwnedFd};

use dhow_builder::WorkError;
use dhow_spec::{Platform, PlatformMatcher};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

/// Refuses a platform whose programs nothing here can run.
pub(super) fn check(wanted: &Platform) -> Result<(), WorkError> {
    let own = Platform::of_build();
    if PlatformMatcher::compatible(&own).matches(wanted) {
        return Ok(());
    }
    if handlers().is_ok_and(|handlers| can_run(&handlers, wanted)) {
        return Ok(());
    }
    let message = format!(
        "commands for {wanted} cannot be run on {own}: no handler of binfmt_misc is registered for them \
         (packages such as qemu-user-static bring them)"
    );
    Err(WorkError::Invalid { message })
}

/// The kernel's list of programs that run others, which need not be mounted anywhere.
fn handlers() -> rustix::io::Result<OwnedFd> {
    let opened = rustix::mount::fsopen("binfmt_misc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_create(opened.as_fd())?;
    let (flags, attributes) = (FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY);
    rustix::mount::fsmount(opened.as_fd(), flags, attributes)
}

fn can_run(handlers: &OwnedFd, wanted: &Platform) -> bool {
    let name = match wanted.architecture.as_str() {
        "amd64" => "x86_64",
        "386" => "i386",
        "arm64" => "aarch64",
        "loong64" => "loongarch64",
        "mips64le" => "mips64el",
        "mipsle" => "mipsel",
        other => other,
    };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(handlers, format!("qemu-{name}"), flags, Mode::empty());
    let mut beginning = [0; 7];
    let read = opened.and_then(|file| rustix::io::read(&file, &mut beginning));
    read.is_ok_and(|count| &beginning[..count] == b"enabled")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handlers_are_found_by_the_kernel_s_names() {
        let place = std::env::temp_dir().join(format!("dhow-binfmt-{}", std::process::id()));
        std::fs::create_dir_all(&place).expect("a directory");
        std::fs::write(place.join("qemu-aarch64"), "enabled\ninterpreter x\n").expect("a file");
        std::fs::write(place.join("qemu-arm"), "disabled\n").expect("a file");
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handlers = rustix::fs::open(&place, flags, Mode::empty()).expect("it");
        let platform = |text: &str| Platform::parse(text, &Platform::of_build()).expect(text);
        assert!(can_run(&handlers, &platform("linux/arm64")));
        assert!(!can_run(&handlers, &platform("linux/arm/v7")));
        assert!(!can_run(&handlers, &platform("linux/s390x")));
        std::fs::remove_dir_all(&place).expect("removed");
        check(&Platform::of_build()).expect("our own");
    }
}
