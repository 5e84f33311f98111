//! The points of a container's life at which hooks are called.

use std::os::fd::BorrowedFd;
use std::path::Path;

use dhow_spec::runtime::{HookKind, Namespace, NamespaceKind, Spec, Status};
use dhow_sys::Namespaces;

use super::state::Record;
use super::{home, state_of};
use crate::error::Error;
use crate::hooks::{Confinement, HookInput, Join, run_every_hook, run_hooks};
use crate::plan::variable;

/// Whether any hook is to be called at this point.
pub(super) fn any(spec: &Spec, kind: HookKind) -> bool {
    spec.hooks.as_ref().is_some_and(|hooks| !hooks.of(kind).is_empty())
}

/// Calls the hooks of one point in the runtime's namespaces, up to the first that fails.
pub(super) fn call(
    kind: HookKind,
    record: &Record,
    spec: &Spec,
    status: Status,
) -> Result<(), Error> {
    let Some(hooks) = &spec.hooks else { return Ok(()) };
    let state = state_of(record, spec, status);
    let input = HookInput { state: &state, join: None, environment: &[] };
    Ok(run_hooks(kind, hooks.of(kind), &input)?)
}

/// The same in the namespaces of the container, whose first process `init` is.
pub(super) fn call_inside(
    kind: HookKind,
    record: &Record,
    spec: &Spec,
    status: Status,
    init: BorrowedFd<'_>,
) -> Result<(), Error> {
    let Some(hooks) = spec.hooks.as_ref().map(|hooks| hooks.of(kind)) else { return Ok(()) };
    if hooks.is_empty() {
        return Ok(());
    }
    let state = state_of(record, spec, status);
    // Before the root is changed the container's files are below its place on the host.
    let directory = match kind {
        HookKind::CreateContainer => record.rootfs.as_path(),
        _ => Path::new("/"),
    };
    let environment = environment(record, spec);
    // The container is complete, and what runs in it is held as its program will be.
    let filter = match (kind, &spec.linux) {
        (HookKind::StartContainer, Some(linux)) => super::create::compile_seccomp(linux)?,
        _ => None,
    };
    let no_new_privileges = spec.process.as_ref().is_some_and(|process| process.no_new_privileges);
    let confinement = filter.as_ref().map(|filter| Confinement { no_new_privileges, filter });
    let join = Join { init, namespaces: namespaces(spec), directory, confinement };
    let input = HookInput { state: &state, join: Some(join), environment: &environment };
    Ok(run_hooks(kind, hooks, &input)?)
}

/// What the container's program gets: with a home, which it may not have asked for.
fn environment(record: &Record, spec: &Spec) -> Vec<String> {
    let Some(process) = &spec.process else { return Vec::new() };
    let mut environment = process.env.clone();
    if variable(process, "HOME").is_none_or(str::is_empty) {
        environment.retain(|pair| !pair.starts_with("HOME="));
        environment.push(format!("HOME={}", home::of(&record.rootfs, Some(process))));
    }
    environment
}

/// Calls every hook that follows the container's end; what fails is said, and holds nothing up.
pub(super) fn after_stop(record: &Record, spec: &Spec) {
    let Some(hooks) = &spec.hooks else { return };
    let state = state_of(record, spec, Status::Stopped);
    let input = HookInput { state: &state, join: None, environment: &[] };
    for error in run_every_hook(HookKind::Poststop, hooks.of(HookKind::Poststop), &input) {
        crate::notice::notice(&error.to_string());
    }
}

/// Whether the container has a new namespace of this kind, none that was there.
pub(super) fn makes(spec: &Spec, kind: NamespaceKind) -> bool {
    let is_new =
        |one: &Namespace| one.kind == kind && one.path.as_deref().is_none_or(str::is_empty);
    spec.linux.iter().flat_map(|linux| &linux.namespaces).any(is_new)
}

/// The kinds of namespace that the container does not share with the runtime.
pub(super) fn namespaces(spec: &Spec) -> Namespaces {
    let linux = spec.linux.iter();
    linux
        .flat_map(|linux| &linux.namespaces)
        .fold(Namespaces::empty(), |all, one| all.with(crate::plan::namespace_bit(one.kind)))
}
