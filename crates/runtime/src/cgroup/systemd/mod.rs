//! The systemd manager: the container's cgroup is a transient scope.
//!
//! systemd makes a scope only around a process, so such a cgroup comes into being with `attach`, when the
//! container's first process exists and waits. The unit has the limits as properties, that systemd may
//! not undo them, and the files get them too, for what has no property. The scope is delegated: what is in
//! it is ours.

mod bus;
mod error;
mod properties;
mod text;
pub(super) mod value;

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use dhow_spec::runtime::Resources;
use rustix::process::{Pid, PidfdFlags};
use serde::{Deserialize, Serialize};

use super::controller::{Controller, Controllers};
use super::error::CgroupError;
use super::hierarchy::Hierarchies;
use super::is_host_root;
use super::node::read_text;
use super::path::{Scope, slice_path};
pub(crate) use bus::Bus;
use bus::Connection;
#[cfg(test)]
pub(super) use bus::testing;
pub(crate) use error::BusError;
use properties::Facts;
pub(crate) use properties::Property;
pub(super) use properties::of_annotations;
use value::Value;

const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";
const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";

/// A scope that is there, or is about to be; what a state file keeps of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unit {
    name: String,
    bus: Bus,
}

/// What is needed to start the scope, kept until there is a process to start it with.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) scope: Scope,
    pub(super) hierarchies: Hierarchies,
    pub(super) resources: Resources,
}

impl Unit {
    /// The unit of `scope`, at the manager that this process belongs to.
    pub(super) fn of(scope: &Scope) -> Result<Unit, CgroupError> {
        let bus = match &scope.bus {
            Some(bus) => bus.clone(),
            None if is_host_root() => Bus::system(),
            None => Bus::user(host_uid()?),
        };
        Ok(Unit { name: scope.unit.clone(), bus })
    }

    fn connect(&self) -> Result<Connection, CgroupError> {
        Ok(Connection::open(&self.bus, host_uid()?)?)
    }

    /// Whether where the scope will be is known without asking.
    pub(super) fn is_of_host(&self) -> bool {
        !self.bus.user
    }

    /// Where the scope will be, below the root of every hierarchy.
    ///
    /// A user's manager has its slices below its own cgroup.
    pub(super) fn place(&self, scope: &Scope) -> Result<PathBuf, CgroupError> {
        let slice = self.slice(scope);
        let path = slice_path(slice)
            .map_err(|reason| CgroupError::Path { path: slice.to_owned(), reason })?;
        let mut place = PathBuf::new();
        if self.bus.user {
            let group = self.connect()?.property("ControlGroup")?;
            place.push(group.as_text().unwrap_or_default().trim_start_matches('/'));
        }
        Ok(place.join(path).join(&self.name))
    }

    fn slice<'a>(&self, scope: &'a Scope) -> &'a str {
        let default = if self.bus.user { "user.slice" } else { "system.slice" };
        scope.slice.as_deref().unwrap_or(default)
    }

    /// Starts the scope around `pid`, with the limits of `pending`; returns when it is there.
    pub(super) fn start(&self, pending: &Pending, pid: Pid) -> Result<(), CgroupError> {
        let mut connection = self.connect()?;
        let on_v1 = pending.hierarchies.on_v1();
        let facts = facts(&mut connection, on_v1)?;
        let (named, descriptor) = name_process(pid, &facts, connection.passes_descriptors())?;
        let descriptors: Vec<_> = descriptor.iter().map(AsFd::as_fd).collect();
        let mut list = self.basics(&pending.scope);
        list.push(named);
        list.extend(properties::of_resources(&pending.resources, &facts));
        if on_v1.contains(Controller::Devices) {
            list.extend(properties::of_devices(&pending.resources.devices));
        }
        list.extend(pending.scope.properties.iter().cloned());
        let arguments = [
            Value::text(&self.name),
            Value::text("replace"),
            array(list),
            Value::Array("(sa(sv))".to_owned(), Vec::new()),
        ];
        let start = |connection: &mut Connection| {
            connection.call_with("StartTransientUnit", &arguments, &descriptors)
        };
        let started = match start(&mut connection) {
            // Perhaps one that failed and that nobody has looked at: then this makes room.
            Err(error) if error.is(UNIT_EXISTS) => {
                let _ = connection.call("ResetFailedUnit", &[Value::text(&self.name)]);
                start(&mut connection)
            }
            started => started,
        };
        let result = wait_for(&mut connection, started?)?;
        if result == "done" {
            return Ok(());
        }
        let _ = connection.call("ResetFailedUnit", &[Value::text(&self.name)]);
        Err(BusError::Job { unit: self.name.clone(), result }.into())
    }

    fn basics(&self, scope: &Scope) -> Vec<Property> {
        let yes = |name: &str| (name.to_owned(), Value::Bool(true));
        vec![
            ("Description".to_owned(), Value::text(format!("dhow container {}", self.name))),
            ("Slice".to_owned(), Value::text(self.slice(scope))),
            yes("Delegate"),
            // What is counted from the start is counted whole.
            yes("MemoryAccounting"),
            yes("CPUAccounting"),
            yes("IOAccounting"),
            yes("TasksAccounting"),
            // A shutdown is not to stop the scope before whoever manages the container does.
            ("DefaultDependencies".to_owned(), Value::Bool(false)),
        ]
    }

    /// Changes the limits of the running scope.
    pub(super) fn update(
        &self,
        on_v1: Controllers,
        resources: &Resources,
    ) -> Result<(), CgroupError> {
        let mut connection = self.connect()?;
        let facts = facts(&mut connection, on_v1)?;
        let mut list = properties::of_resources(resources, &facts);
        if !resources.devices.is_empty() && on_v1.contains(Controller::Devices) {
            list.extend(properties::of_devices(&resources.devices));
        }
        if list.is_empty() {
            return Ok(());
        }
        // Until the next boot, as all that a scope is.
        let arguments = [Value::text(&self.name), Value::Bool(true), array(list)];
        connection.call("SetUnitProperties", &arguments)?;
        Ok(())
    }

    /// Moves a process into the scope where the caller may not do so himself.
    ///
    /// This call knows pids alone, and those of systemd's own PID namespace.
    pub(super) fn attach(&self, pid: Pid) -> Result<(), CgroupError> {
        let arguments = [Value::text(&self.name), Value::text(""), pids(pid)];
        self.connect()?.call("AttachProcessesToUnit", &arguments)?;
        Ok(())
    }

    /// Stops the scope and makes systemd forget it; one that is gone is no error.
    pub(super) fn stop(&self) -> Result<(), CgroupError> {
        let mut connection = self.connect()?;
        let arguments = [Value::text(&self.name), Value::text("replace")];
        match connection.call("StopUnit", &arguments) {
            Ok(answer) => drop(wait_for(&mut connection, answer)?),
            Err(error) if error.is(NO_SUCH_UNIT) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        // It failed if its processes were killed; if it did not, there is nothing to forget.
        let _ = connection.call("ResetFailedUnit", &[Value::text(&self.name)]);
        Ok(())
    }
}

/// The property that says around which process a scope is, and the descriptor that it may speak of.
///
/// A pid is a number in a namespace, and systemd reads it in its own: only a descriptor is the same process
/// for both.
fn name_process(
    pid: Pid,
    facts: &Facts,
    passes_descriptors: bool,
) -> Result<(Property, Option<OwnedFd>), CgroupError> {
    if !passes_descriptors || facts.version < properties::since::PID_DESCRIPTORS {
        return Ok((("PIDs".to_owned(), pids(pid)), None));
    }
    let descriptor = rustix::process::pidfd_open(pid, PidfdFlags::empty())
        .map_err(|errno| BusError::Process { pid: pid.as_raw_nonzero().get(), errno })?;
    let first = Value::Array("h".to_owned(), vec![Value::Descriptor(0)]);
    Ok((("PIDFDs".to_owned(), first), Some(descriptor)))
}

/// `au` of one
fn pids(pid: Pid) -> Value {
    let pid = Value::Uint32(pid.as_raw_nonzero().get() as u32);
    Value::Array("u".to_owned(), vec![pid])
}

/// `a(sv)`
fn array(properties: Vec<Property>) -> Value {
    let pair = |(name, value)| Value::Tuple(vec![Value::Text(name), Value::variant(value)]);
    Value::Array("(sv)".to_owned(), properties.into_iter().map(pair).collect())
}

fn wait_for(connection: &mut Connection, answer: Vec<Value>) -> Result<String, CgroupError> {
    let job = answer.first().and_then(Value::as_text).ok_or(BusError::Malformed)?;
    Ok(connection.wait_for_job(job)?)
}

fn facts(connection: &mut Connection, on_v1: Controllers) -> Result<Facts, CgroupError> {
    let version = connection.property("Version")?;
    Ok(Facts {
        version: version_number(version.as_text().unwrap_or_default()),
        memory_on_v1: on_v1.contains(Controller::Memory),
        cpu_on_v1: on_v1.contains(Controller::Cpu),
        io_on_v1: on_v1.contains(Controller::Io),
    })
}

/// `257.4-1~deb13u1`, `v245`: the first number.
fn version_number(text: &str) -> u32 {
    let text = text.trim_start_matches(|c: char| !c.is_ascii_digit());
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().unwrap_or(0)
}

/// Our uid as processes outside of our user namespace see it: the bus compares it with what the kernel says.
fn host_uid() -> Result<u32, CgroupError> {
    let inside = rustix::process::geteuid().as_raw();
    let map = read_text(Path::new("/proc/self/uid_map"))?;
    Ok(outside(&map, inside))
}

fn outside(map: &str, inside: u32) -> u32 {
    let line = |line: &str| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<u32>);
        let mut next = || numbers.next()?.ok();
        let (first, host, count) = (next()?, next()?, next()?);
        let offset = inside.checked_sub(first).filter(|offset| *offset < count)?;
        host.checked_add(offset)
    };
    map.lines().find_map(line).unwrap_or(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_begin_with_a_number() {
        assert_eq!(version_number("257.4-1~deb13u1"), 257);
        assert_eq!(version_number("v245"), 245);
        assert_eq!(version_number("rubbish"), 0);
    }

    #[test]
    fn a_mapped_root_is_who_it_is_outside() {
        let map = "         0       1000          1\n         1     100000      65536\n";
        assert_eq!(outside(map, 0), 1000);
        assert_eq!(outside(map, 5), 100_004);
        assert_eq!(outside("0 0 4294967295\n", 0), 0);
        assert_eq!(outside("", 7), 7);
    }
}
