//! A cgroup that systemd makes: planned at first, made around the container's first process.

use dhow_spec::runtime::Resources;
use rustix::process::Pid;

use super::Cgroup;
use super::controller::Controllers;
use super::create::{Made, make_node};
use super::error::CgroupError;
use super::hierarchy::{Hierarchies, Version};
use super::node::Node;
use super::path::Scope;
use super::systemd::{Pending, Unit};

impl Cgroup {
    /// Says where the scope will be; nothing is made.
    pub(super) fn plan_scope(
        hierarchies: &Hierarchies,
        scope: &Scope,
        resources: Option<&Resources>,
    ) -> Result<Cgroup, CgroupError> {
        let unit = Unit::of(scope)?;
        let place = unit.place(scope)?;
        let nodes = hierarchies
            .iter()
            .map(|one| Node::new(one.version, one.keys(), one.mount.join(&place)))
            .collect();
        let pending = Pending {
            scope: scope.clone(),
            hierarchies: hierarchies.clone(),
            resources: resources.cloned().unwrap_or_default(),
        };
        let pending = Some(Box::new(pending));
        Ok(Cgroup { unit: Some(unit), pending, ..Cgroup::of(nodes) })
    }

    /// Has systemd make the scope around `pid`, completes it and limits it; undone if that fails.
    pub(super) fn start_scope(&mut self, pid: Pid) -> Result<(), CgroupError> {
        let (Some(unit), Some(pending)) = (self.unit.clone(), self.pending.take()) else {
            return Ok(());
        };
        if let Err(error) = unit.start(&pending, pid) {
            self.pending = Some(pending);
            return Err(error);
        }
        let mut made = Made::default();
        let completed = self.complete_scope(&pending, pid, &mut made);
        if completed.is_ok() {
            made.keep();
            return Ok(());
        }
        // What went wrong first is what the caller hears of. A process that is killed need not be waited
        // for by systemd, nor the directories that it is in.
        let _ = self.kill();
        let _ = unit.stop();
        completed
    }

    /// systemd makes the directories that it needs itself: the other hierarchies, and controllers that no
    /// property asked for, are added.
    fn complete_scope(
        &mut self,
        pending: &Pending,
        pid: Pid,
        made: &mut Made,
    ) -> Result<(), CgroupError> {
        let pid = pid.as_raw_nonzero().to_string();
        for (hierarchy, node) in pending.hierarchies.iter().zip(&mut self.nodes) {
            *node = make_node(&pending.hierarchies, hierarchy, node.path.clone(), made)?;
            if node.version == Version::V1 {
                node.write("cgroup.procs", &pid)?;
            }
        }
        self.limit(&pending.resources)?;
        self.guard_devices(&pending.resources.devices, false)
    }

    /// The controllers that the container's version 1 directories have.
    pub(super) fn controllers_on_v1(&self) -> Result<Controllers, CgroupError> {
        let on_v1 = self.nodes.iter().filter(|node| node.version == Version::V1);
        on_v1
            .into_iter()
            .try_fold(Controllers::default(), |all, node| Ok(all.or(node.controllers()?)))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::cgroup::node::write_file;
    use crate::cgroup::path::{CgroupPath, Manager};
    use crate::cgroup::systemd::Bus;
    use crate::cgroup::systemd::testing::{Answer, FakeManager, JOB};
    use crate::cgroup::systemd::value::Value;
    use crate::cgroup::testing::{Sleeper, TestPlace};

    fn scope(place: &TestPlace, manager: &FakeManager, name: &str) -> CgroupPath {
        let text = format!("{}:test:{name}", place.slice());
        let path = CgroupPath::parse(Some(&text), "c1", Manager::Systemd).unwrap();
        let CgroupPath::Scope(mut scope) = path else { unreachable!() };
        scope.bus = Some(manager.bus());
        CgroupPath::Scope(scope)
    }

    /// The value of a property in the arguments of StartTransientUnit or SetUnitProperties.
    fn property(arguments: &[Value], wanted: &str) -> Option<Value> {
        let Some(Value::Array(_, list)) = arguments.get(2) else { return None };
        list.iter().find_map(|one| match one {
            Value::Tuple(pair) => match &pair[..] {
                [Value::Text(name), Value::Variant(value)] if name == wanted => {
                    Some((**value).clone())
                }
                _ => None,
            },
            _ => None,
        })
    }

    /// Does what systemd does: makes the directory on version 2 and moves the process there.
    fn make_scope(dir: Option<PathBuf>, arguments: &[Value]) {
        let named = property(arguments, "PIDFDs").or(property(arguments, "PIDs"));
        let Some(Value::Array(_, pids)) = named else { panic!("no process") };
        let [Value::Uint32(pid)] = pids[..] else { panic!("not one pid") };
        if let Some(dir) = dir {
            std::fs::create_dir_all(&dir).unwrap();
            write_file(&dir.join("cgroup.procs"), &pid.to_string()).unwrap();
        }
    }

    fn obliging(dir: Option<PathBuf>) -> impl FnMut(&str, &[Value]) -> Answer {
        obliging_as("257.4-1", dir)
    }

    fn obliging_as(
        version: &'static str,
        dir: Option<PathBuf>,
    ) -> impl FnMut(&str, &[Value]) -> Answer {
        move |member, arguments| match member {
            "Get" => Ok(vec![Value::variant(Value::text(version))]),
            "StartTransientUnit" => {
                make_scope(dir.clone(), arguments);
                Ok(vec![Value::Path(JOB.to_owned())])
            }
            "StopUnit" => Ok(vec![Value::Path(JOB.to_owned())]),
            _ => Ok(Vec::new()),
        }
    }

    #[test]
    fn a_scope_is_made_around_a_process_limited_and_stopped() {
        let Some(place) = TestPlace::in_slice() else { return };
        let unified = place.hierarchies.iter().find(|one| one.version == Version::V2);
        let dir = unified.map(|one| one.mount.join(place.slice()).join("test-c1.scope"));
        let manager = FakeManager::new(true, "done", obliging(dir));
        let path = scope(&place, &manager, "c1");
        let limits = |tasks| {
            let text = format!(r#"{{"pids": {{"limit": {tasks}}}}}"#);
            Resources::parse(text.as_bytes()).unwrap()
        };
        let mut cgroup = Cgroup::create(&place.hierarchies, &path, Some(&limits(20))).unwrap();
        assert!(cgroup.waits_for_process());
        assert!(cgroup.entry().unwrap().v1_tasks.is_empty());
        assert_eq!(Cgroup::intended(&place.hierarchies, &path).unwrap(), cgroup.record());

        let sleeper = Sleeper::new();
        cgroup.attach(sleeper.pid()).unwrap();
        assert!(!cgroup.waits_for_process());
        assert_eq!(cgroup.pids(true).unwrap(), [sleeper.pid()]);
        assert_eq!(cgroup.stats().unwrap().pids.limit, 20);
        cgroup.update(&limits(30)).unwrap();
        assert_eq!(cgroup.stats().unwrap().pids.limit, 30);
        {
            let calls = manager.calls.lock().unwrap();
            let of = |wanted: &str| &calls.iter().find(|(member, _)| member == wanted).unwrap().1;
            let started = of("StartTransientUnit");
            assert_eq!(started[..2], [Value::text("test-c1.scope"), Value::text("replace")]);
            assert_eq!(property(started, "Delegate"), Some(Value::Bool(true)));
            assert_eq!(property(started, "Slice"), Some(Value::Text(place.slice())));
            assert_eq!(property(started, "TasksMax"), Some(Value::Uint64(20)));
            assert_eq!(property(of("SetUnitProperties"), "TasksMax"), Some(Value::Uint64(30)));
        }
        let again = Cgroup::from_record(&cgroup.record());
        again.kill().unwrap();
        drop(sleeper);
        again.remove().unwrap();
        assert_eq!(manager.members().last().unwrap(), "ResetFailedUnit");
        assert!(cgroup.nodes.iter().all(|node| !node.path.exists()));
    }

    #[test]
    fn a_process_is_named_by_descriptor_where_systemd_takes_one() {
        let Some(place) = TestPlace::in_slice() else { return };
        let managers = [
            (FakeManager::new(true, "done", obliging(None)), "PIDFDs", "h"),
            (FakeManager::new(true, "done", obliging_as("254", None)), "PIDs", "u"),
            (FakeManager::without_descriptors(obliging(None)), "PIDs", "u"),
        ];
        for (at, (manager, wanted, element)) in managers.into_iter().enumerate() {
            let path = scope(&place, &manager, &format!("n{at}"));
            let mut cgroup = Cgroup::create(&place.hierarchies, &path, None).unwrap();
            let sleeper = Sleeper::new();
            cgroup.attach(sleeper.pid()).unwrap();
            let calls = manager.calls.lock().unwrap();
            let (_, arguments) =
                calls.iter().find(|(member, _)| member == "StartTransientUnit").unwrap();
            let pid = Value::Uint32(sleeper.0.id());
            let named = Value::Array(element.to_owned(), vec![pid]);
            assert_eq!(property(arguments, wanted), Some(named));
            let other = if wanted == "PIDs" { "PIDFDs" } else { "PIDs" };
            assert_eq!(property(arguments, other), None);
            drop(calls);
            cgroup.kill().unwrap();
            drop(sleeper);
            cgroup.remove().unwrap();
        }
    }

    #[test]
    fn a_scope_that_systemd_does_not_start_leaves_nothing() {
        let Some(place) = TestPlace::in_slice() else { return };
        let manager = FakeManager::new(false, "failed", obliging(None));
        let path = scope(&place, &manager, "c2");
        let mut cgroup = Cgroup::create(&place.hierarchies, &path, None).unwrap();
        let sleeper = Sleeper::new();
        let error = cgroup.attach(sleeper.pid()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "wait for systemd to start test-c2.scope: the job ended with \"failed\""
        );
        assert!(cgroup.nodes.iter().all(|node| !node.path.exists()));
    }

    #[test]
    fn a_failed_unit_of_the_same_name_is_reset_and_a_live_one_is_an_error() {
        let Some(place) = TestPlace::in_slice() else { return };
        let mut ordinary = obliging(None);
        let manager = FakeManager::new(true, "done", move |member, arguments| match member {
            "StartTransientUnit" => Err("org.freedesktop.systemd1.UnitExists"),
            member => ordinary(member, arguments),
        });
        let path = scope(&place, &manager, "c3");
        let mut cgroup = Cgroup::create(&place.hierarchies, &path, None).unwrap();
        let error = cgroup.attach(Sleeper::new().pid()).unwrap_err();
        assert!(error.to_string().contains("UnitExists"), "{error}");
        let wanted = ["Get", "StartTransientUnit", "ResetFailedUnit", "StartTransientUnit"];
        assert_eq!(manager.members(), wanted);
    }

    #[test]
    fn a_limit_that_the_files_refuse_stops_the_scope_again() {
        let Some(place) = TestPlace::in_slice() else { return };
        let unified = place.hierarchies.iter().find(|one| one.version == Version::V2);
        let dir = unified.map(|one| one.mount.join(place.slice()).join("test-c4.scope"));
        let manager = FakeManager::new(true, "done", obliging(dir));
        let path = scope(&place, &manager, "c4");
        let resources = Resources::parse(br#"{"cpu": {"cpus": "0-9999"}}"#).unwrap();
        let mut cgroup = Cgroup::create(&place.hierarchies, &path, Some(&resources)).unwrap();
        let sleeper = Sleeper::new();
        let error = cgroup.attach(sleeper.pid()).unwrap_err();
        assert!(error.to_string().starts_with("write \"0-9999\" to "), "{error}");
        assert!(manager.members().contains(&"StopUnit".to_owned()));
    }

    #[test]
    fn the_host_s_own_systemd_agrees() {
        if !std::path::Path::new("/run/systemd/system").exists() {
            return;
        }
        agrees_with(Bus::system());
        let public = PathBuf::from("/run/dbus/system_bus_socket");
        if public.exists() {
            agrees_with(Bus::at("/nowhere".into(), public, false));
        }
    }

    fn agrees_with(bus: Bus) {
        let Some(place) = TestPlace::in_slice() else { return };
        let text = format!("{}:test:real", place.slice());
        let annotations = [("org.systemd.property.CollectMode", "'inactive-or-failed'")];
        let annotations = annotations.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let path = CgroupPath::parse(Some(&text), "c1", Manager::Systemd)
            .and_then(|path| path.with_annotations(&annotations.into()));
        let CgroupPath::Scope(mut scope) = path.unwrap() else { unreachable!() };
        scope.bus = Some(bus);
        let path = CgroupPath::Scope(scope.clone());
        let limits = |text: &str| Resources::parse(text.as_bytes()).unwrap();
        let first = limits(
            r#"{"pids": {"limit": 20}, "memory": {"limit": 33554432, "swap": 33554432},
                "cpu": {"shares": 512, "quota": 50000, "period": 100000, "cpus": "0"}}"#,
        );
        let mut cgroup = Cgroup::create(&place.hierarchies, &path, Some(&first)).unwrap();
        let sleeper = Sleeper::new();
        cgroup.attach(sleeper.pid()).unwrap();
        assert_eq!(cgroup.pids(true).unwrap(), [sleeper.pid()]);
        assert_eq!(cgroup.stats().unwrap().memory.usage.limit, 33_554_432);
        let second = limits(r#"{"pids": {"limit": 30}, "cpu": {"quota": -1}}"#);
        cgroup.update(&second).unwrap();
        assert_eq!(cgroup.stats().unwrap().pids.limit, 30);
        cgroup.kill().unwrap();
        drop(sleeper);
        Cgroup::from_record(&cgroup.record()).remove().unwrap();
        assert!(cgroup.nodes.iter().all(|node| !node.path.exists()));
        cgroup.remove().unwrap();
        // systemd made the slice on the way, and keeps it until told otherwise.
        scope.unit = place.slice();
        Unit::of(&scope).unwrap().stop().unwrap();
    }

    #[test]
    fn a_user_s_scopes_are_below_their_manager() {
        let manager = FakeManager::new(true, "done", |_, _| {
            Ok(vec![Value::variant(Value::text("/user.slice/user@5.service"))])
        });
        let path = CgroupPath::parse(Some("a-b.slice:p:x"), "c1", Manager::Systemd).unwrap();
        let CgroupPath::Scope(mut scope) = path else { unreachable!() };
        scope.bus = Some(manager.bus().for_user());
        let unit = Unit::of(&scope).unwrap();
        let wanted = "user.slice/user@5.service/a.slice/a-b.slice/p-x.scope";
        assert_eq!(unit.place(&scope).unwrap(), PathBuf::from(wanted));
    }
}
