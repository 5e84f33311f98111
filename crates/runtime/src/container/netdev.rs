//! `linux.netDevices`: devices of the host moved into the container's network namespace.
//!
//! A device keeps its MTU and hardware address by itself, loses its IP addresses with the move, and gets
//! back those that are permanent and global; then it is up. All that can be looked at is looked at before
//! the first one moves, and if one fails, those before it are put back.
//! Nobody takes a device out again: when the container's network namespace goes, the kernel returns
//! physical devices to the first network namespace of the machine, under the name that they have by then,
//! and destroys virtual ones. A container that fails to start after the move ends the same way.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use dhow_spec::runtime::NetDevice;
use dhow_sys::{Link, LinkAddress, Links, Namespaces, NetlinkError};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::error::Error;
use crate::plan::NamespacePlan;
use crate::text::{c_string, lossy};

/// The calling thread's own, which is the process's in a program of one thread.
const OWN_NAMESPACE: &str = "/proc/thread-self/ns/net";

/// One device, looked at.
#[derive(Debug)]
struct Device {
    name: CString,
    /// Its name in the container; with `%d`, one that the kernel completes.
    inside: CString,
    link: Link,
    addresses: Vec<LinkAddress>,
}

/// The devices of a container, still on the host.
#[derive(Debug)]
pub(super) struct Devices {
    devices: Vec<Device>,
    host: Links,
    /// The namespace that `host` speaks for.
    namespace: OwnedFd,
}

impl Devices {
    /// Finds the devices in the caller's network namespace; `None` if there are none to move.
    pub(super) fn find(
        words: &BTreeMap<String, NetDevice>,
        namespaces: &NamespacePlan,
    ) -> Result<Option<Self>, Error> {
        if words.is_empty() {
            return Ok(None);
        }
        let namespace = open(OWN_NAMESPACE)?;
        check(words, namespaces, namespace.as_fd())?;
        let mut host = Links::open().map_err(Error::call("open a netlink socket"))?;
        let devices = words.iter().map(|(name, device)| look_at(&mut host, name, device));
        let devices = devices.collect::<Result<_, _>>()?;
        Ok(Some(Self { devices, host, namespace }))
    }

    /// Moves them into the network namespace of `pid`.
    pub(super) fn move_to(&mut self, pid: Pid) -> Result<(), Error> {
        let target = open(&format!("/proc/{}/ns/net", pid.as_raw_nonzero()))?;
        let mut inside = links_of(target.as_fd())?;
        for device in &self.devices {
            device.check_free(&mut inside)?;
        }
        for count in 0..self.devices.len() {
            if let Err(error) = self.move_one(count, target.as_fd(), &mut inside) {
                self.put_back(count, &mut inside);
                return Err(error);
            }
        }
        Ok(())
    }

    fn move_one(
        &mut self,
        index: usize,
        target: BorrowedFd<'_>,
        inside: &mut Links,
    ) -> Result<(), Error> {
        let device = &mut self.devices[index];
        let before = if device.is_template() { inside.list() } else { Ok(Vec::new()) };
        let before = before.map_err(device.failed("list the container's devices"))?;
        self.host
            .move_to(device.link.index, target, &device.inside)
            .map_err(device.failed("move to the container"))?;
        if device.is_template() {
            let after = inside.list().map_err(device.failed("find in the container"))?;
            let new = after.into_iter().find(|one| before.iter().all(|old| old.index != one.index));
            let new =
                new.ok_or(Errno::NODEV.into()).map_err(device.failed("find in the container"))?;
            device.inside = new.name;
        }
        device.bring_up(inside, &device.inside)
    }

    /// Puts the devices up to `last` back where they were, as far as that goes: the first failure is what
    /// the caller tells.
    fn put_back(&mut self, last: usize, inside: &mut Links) {
        for device in self.devices[..=last].iter().rev() {
            let Ok(link) = inside.find(&device.inside) else { continue };
            let _ = inside.move_to(link.index, self.namespace.as_fd(), &device.name);
            if device.link.is_up {
                let _ = device.bring_up(&mut self.host, &device.name);
            }
        }
    }
}

impl Device {
    fn failed(&self, doing: &'static str) -> impl Fn(NetlinkError) -> Error {
        let name = lossy(&self.name);
        move |error| Error::Device {
            name: name.clone(),
            doing,
            errno: error.errno,
            said: error.said,
        }
    }

    fn is_template(&self) -> bool {
        self.inside.to_bytes().windows(2).any(|pair| pair == b"%d")
    }

    /// The kernel would move the device first and find its new name taken afterwards.
    fn check_free(&self, inside: &mut Links) -> Result<(), Error> {
        if self.is_template() {
            return Ok(());
        }
        match inside.find(&self.inside) {
            Err(error) if error.errno == Errno::NODEV => Ok(()),
            Err(error) => Err(self.failed("look for its name in the container")(error)),
            Ok(_) => Err(Error::Refused {
                field: "linux.netDevices",
                value: lossy(&self.inside),
                reason: "the container has a device of that name",
            }),
        }
    }

    /// Gives the device its lasting addresses where it is now, and brings it up.
    fn bring_up(&self, links: &mut Links, name: &CStr) -> Result<(), Error> {
        let index = links.find(name).map_err(self.failed("find in the container"))?.index;
        for address in &self.addresses {
            links.add_address(index, address).map_err(self.failed("add an address to"))?;
        }
        links.set_up(index).map_err(self.failed("bring up"))
    }
}

fn look_at(host: &mut Links, name: &str, words: &NetDevice) -> Result<Device, Error> {
    let failed = |error: NetlinkError| Error::Device {
        name: name.to_owned(),
        doing: "find",
        errno: error.errno,
        said: error.said,
    };
    let (name, inside) = (c_string(name), c_string(name_inside(name, words)));
    let link = host.find(&name).map_err(failed)?;
    let mut addresses = host.addresses(link.index).map_err(failed)?;
    // What a lease or an announcement gave is only good where it came from, and so is what is good on
    // this link alone.
    addresses.retain(|address| address.is_permanent() && address.is_global());
    Ok(Device { name, inside, link, addresses })
}

fn name_inside<'a>(name: &'a str, words: &'a NetDevice) -> &'a str {
    words.name.as_deref().filter(|inside| !inside.is_empty()).unwrap_or(name)
}

fn check(
    words: &BTreeMap<String, NetDevice>,
    namespaces: &NamespacePlan,
    own: BorrowedFd<'_>,
) -> Result<(), Error> {
    let refuse = |value: &str, reason| {
        Err(Error::Refused { field: "linux.netDevices", value: value.to_owned(), reason })
    };
    let given = namespaces.given.iter().find(|given| given.kind == Namespaces::NETWORK);
    let is_own = match given {
        Some(given) => !is_same(given.file.as_fd(), own)?,
        None => namespaces.new.contains(Namespaces::NETWORK),
    };
    if !is_own {
        // The words of runc.
        return refuse("", "unable to move network devices without a private NET namespace");
    }
    let mut names: Vec<&str> = words
        .iter()
        .map(|(name, device)| name_inside(name, device))
        .filter(|name| !name.contains("%d"))
        .collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => refuse(pair[0], "two devices are to have this name"),
        None => Ok(()),
    }
}

fn is_same(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> Result<bool, Error> {
    let stat = |file| rustix::fs::fstat(file).map_err(Error::call("look at a network namespace"));
    let (one, other) = (stat(one)?, stat(other)?);
    Ok(one.st_dev == other.st_dev && one.st_ino == other.st_ino)
}

/// A socket in another network namespace, by a short visit there.
fn links_of(namespace: BorrowedFd<'_>) -> Result<Links, Error> {
    // Not always the one that the devices are in: a given namespace may have been joined already.
    let here = open(OWN_NAMESPACE)?;
    let enter = |namespace, doing| {
        dhow_sys::set_namespace(namespace, Namespaces::NETWORK).map_err(Error::call(doing))
    };
    enter(namespace, "visit the container's network namespace")?;
    let links = Links::open().map_err(Error::call("open a netlink socket in the container"));
    enter(here.as_fd(), "go back to the runtime's own network namespace")?;
    links
}

fn open(path: &str) -> Result<OwnedFd, Error> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Error::file("open", PathBuf::from(path), errno))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dhow_sys::{Clone, Memory, clone_child, exit_now};

    /// Runs a test in a network namespace of its own thread's; `None` where that is not allowed.
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    fn in_own_network(test: &str, body: impl FnOnce() + Send) {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| match dhow_sys::unshare(Namespaces::NETWORK) {
                Ok(()) => body(),
                Err(_) => eprintln!("SKIPPED {test}: needs root"),
            });
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        });
    }

    #[expect(clippy::disallowed_methods, reason = "a test's hands")]
    fn ip(words: &str) -> String {
        let output =
            std::process::Command::new("ip").args(words.split_whitespace()).output().unwrap();
        assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A process in a network namespace of its own, killed at the end.
    struct Container(dhow_sys::Child);

    impl Container {
        fn new() -> Self {
            let clone = Clone {
                namespaces: Namespaces::NETWORK,
                cgroup: None,
                memory: Memory::Copied,
                sibling: false,
            };
            let wait = || {
                let _ = rustix::event::poll(&mut [], None);
                exit_now(0)
            };
            Self(clone_child(&clone, wait).unwrap())
        }

        fn pid(&self) -> Pid {
            self.0.pid
        }

        fn namespace(&self) -> OwnedFd {
            open(&format!("/proc/{}/ns/net", self.pid().as_raw_nonzero())).unwrap()
        }

        /// The output of `ip` inside.
        fn ip(&self, words: &str) -> String {
            let (here, there) = (open(OWN_NAMESPACE).unwrap(), self.namespace());
            dhow_sys::set_namespace(there.as_fd(), Namespaces::NETWORK).unwrap();
            let output = ip(words);
            dhow_sys::set_namespace(here.as_fd(), Namespaces::NETWORK).unwrap();
            output
        }
    }

    impl Drop for Container {
        fn drop(&mut self) {
            let kill = rustix::process::Signal::KILL.as_raw();
            let _ = dhow_sys::pidfd_kill(self.0.pidfd.as_fd(), kill);
            let _ = self.0.wait();
        }
    }

    fn words(devices: &[(&str, Option<&str>)]) -> BTreeMap<String, NetDevice> {
        let device = |name: &Option<&str>| NetDevice { name: name.map(str::to_owned) };
        devices.iter().map(|(name, inside)| ((*name).to_owned(), device(inside))).collect()
    }

    fn with_own() -> NamespacePlan {
        NamespacePlan { new: Namespaces::NETWORK, given: Vec::new() }
    }

    fn find(devices: &[(&str, Option<&str>)]) -> Result<Devices, String> {
        Devices::find(&words(devices), &with_own())
            .map(Option::unwrap)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_device_keeps_what_is_its_own() {
        in_own_network("a_device_keeps_what_is_its_own", || {
            ip("link add h0 mtu 1400 address 02:00:00:00:00:01 type veth peer name h1");
            ip("addr add 10.9.0.1/24 brd + dev h0");
            ip("addr add 10.9.1.1 peer 10.9.1.2 dev h0");
            ip("addr add 10.9.2.1/24 dev h0 valid_lft 1000 preferred_lft 1000");
            ip("addr add 10.9.3.1/24 dev h0 scope link");
            ip("addr add fd00::1/64 dev h0 nodad");
            ip("link set h0 up");
            ip("link set h1 up");
            let container = Container::new();
            find(&[("h0", Some("eth0"))]).unwrap().move_to(container.pid()).unwrap();
            let links = container.ip("-o link show dev eth0");
            assert!(links.contains("mtu 1400") && links.contains("02:00:00:00:00:01"), "{links}");
            assert!(links.contains(",UP"), "{links}");
            let addresses = container.ip("-o addr show dev eth0 scope global");
            for kept in ["10.9.0.1/24 brd 10.9.0.255", "10.9.1.1 peer 10.9.1.2/32", "fd00::1/64"] {
                assert!(addresses.contains(kept), "{kept} in {addresses}");
            }
            assert_eq!(addresses.lines().count(), 3, "{addresses}");
            assert!(!ip("-o link").contains("h0"), "it is gone from the host");
        });
    }

    #[test]
    fn names_may_be_exchanged_and_left_to_the_kernel() {
        in_own_network("names_may_be_exchanged_and_left_to_the_kernel", || {
            ip("link add a0 type veth peer name p0");
            ip("link add a1 type veth peer name p1");
            ip("link add a2 type veth peer name p2");
            ip("addr add 10.9.0.1/24 dev a2");
            let container = Container::new();
            let devices = [("a0", Some("a1")), ("a1", Some("a0")), ("a2", Some("net%d"))];
            find(&devices).unwrap().move_to(container.pid()).unwrap();
            let names = container.ip("-br link");
            for name in ["a0", "a1", "net0"] {
                assert!(names.lines().any(|line| line.starts_with(name)), "{name} in {names}");
            }
            assert!(container.ip("-br addr show dev net0").contains("10.9.0.1/24"));
        });
    }

    #[test]
    fn a_device_that_is_not_there_is_named() {
        in_own_network("a_device_that_is_not_there_is_named", || {
            assert_eq!(
                find(&[("absent0", None)]).unwrap_err(),
                "network device absent0: find: no such device"
            );
        });
    }

    #[test]
    fn a_name_that_is_taken_moves_nothing() {
        in_own_network("a_name_that_is_taken_moves_nothing", || {
            ip("link add a0 type veth peer name a1");
            let container = Container::new();
            container.ip("link add taken type veth peer name other");
            let error = find(&[("a0", None), ("a1", Some("taken"))])
                .unwrap()
                .move_to(container.pid())
                .unwrap_err();
            assert_eq!(
                error.to_string(),
                "linux.netDevices: \"taken\": the container has a device of that name"
            );
            assert!(ip("-br link").contains("a0"), "nothing has moved");
        });
    }

    #[test]
    fn a_device_that_cannot_move_takes_the_others_back() {
        in_own_network("a_device_that_cannot_move_takes_the_others_back", || {
            ip("link add a0 type veth peer name a1");
            ip("addr add 10.9.0.1/24 dev a0");
            ip("link set a0 up");
            let container = Container::new();
            let error =
                find(&[("a0", Some("x0")), ("lo", Some("x1"))]).unwrap().move_to(container.pid());
            let error = error.unwrap_err().to_string();
            let start = "network device lo: move to the container: invalid argument";
            assert!(error.starts_with(start), "{error}");
            let addresses = ip("-br addr show dev a0");
            assert!(addresses.contains("10.9.0.1/24"), "{addresses}");
            assert!(!container.ip("-br link").contains("x0"));
        });
    }

    #[test]
    fn a_namespace_of_ones_own_is_needed_and_a_name_of_ones_own() {
        let refused = |namespaces: &NamespacePlan, devices: &[(&str, Option<&str>)]| {
            Devices::find(&words(devices), namespaces).unwrap_err().to_string()
        };
        let own = NamespacePlan {
            new: Namespaces::empty(),
            given: vec![crate::plan::Given {
                kind: Namespaces::NETWORK,
                file: open(OWN_NAMESPACE).unwrap(),
                path: String::new(),
            }],
        };
        for namespaces in [NamespacePlan::default(), own] {
            assert_eq!(
                refused(&namespaces, &[("lo", None)]),
                "linux.netDevices: unable to move network devices without a private NET namespace"
            );
        }
        assert_eq!(
            refused(&with_own(), &[("a", Some("x")), ("x", None)]),
            "linux.netDevices: \"x\": two devices are to have this name"
        );
        assert!(Devices::find(&BTreeMap::new(), &NamespacePlan::default()).unwrap().is_none());
    }
}
