//! Changes of what a container was asked to be: its name, its limits, its policy.

use std::sync::Arc;

use dhow_monitor::Request;
use dhow_store::ContainerChange;
use tokio::task::spawn_blocking;

use super::Task;
use super::start::restart_policy;
use crate::containers::names::Name;
use crate::containers::request::{Resources, UpdateRequest};
use crate::containers::state::State;
use crate::error::Error;
use crate::plan::{Found, resources, settle_update};

impl Task {
    /// Calls it something else.
    pub(crate) async fn rename(&mut self, name: &Name) -> Result<(), Error> {
        if name.as_str() == self.name {
            let message = "Renaming a container with the same name as its current name".to_owned();
            return Err(Error::Invalid { message });
        }
        self.shared.table.reserve(name.as_str(), &self.id)?;
        let old = std::mem::replace(&mut self.name, name.as_str().to_owned());
        let event = self.now("rename", &[("oldName", format!("/{old}"))]);
        let change =
            ContainerChange { name: Some(self.name.clone()), ..ContainerChange::default() };
        if let Err(error) = self.commit(change, vec![event]).await {
            self.shared.table.free(&self.name);
            self.name = old;
            return Err(error);
        }
        self.shared.table.free(&old);
        self.rename_endpoints()
    }

    /// Changes limits and policy, for now and for later; gives warnings.
    pub(crate) async fn update(
        &mut self,
        mut request: UpdateRequest,
    ) -> Result<Vec<String>, Error> {
        if matches!(self.standing.state, State::Removing { .. }) {
            let message = "container is marked for removal and cannot be \"update\"".to_owned();
            return Err(Error::Conflict { message });
        }
        let (shared, current) = (self.shared.clone(), self.document.clone());
        let settled = spawn_blocking(move || {
            let host = shared.host_facts();
            let warnings = settle_update(&mut request, &current.request, &host)?;
            Ok::<_, Error>((request, warnings))
        });
        let (request, warnings) = settled.await??;
        let mut document = (*self.document).clone();
        merge(&mut document.request.host.resources, &request.resources);
        if let Some(restart) = request.restart {
            document.request.host.restart = restart;
        }
        if self.standing.state.is_active() {
            let ask = Request::Update {
                resources: Some(Box::new(resources(&request.resources, &Found::default()))),
                restart: request.restart.map(restart_policy),
            };
            self.ask("", &ask, &[]).await?;
        }
        let change =
            ContainerChange { document: Some(document.to_json()), ..ContainerChange::default() };
        let event = self.now("update", &[]);
        self.document = Arc::new(document);
        self.commit(change, vec![event]).await?;
        Ok(warnings)
    }
}

/// Limits as they are after a change: what says nothing leaves things as they are.
fn merge(old: &mut Resources, new: &Resources) {
    let numbers = [
        (&mut old.cpu_shares, new.cpu_shares),
        (&mut old.memory, new.memory),
        (&mut old.nano_cpus, new.nano_cpus),
        (&mut old.cpu_period, new.cpu_period),
        (&mut old.cpu_quota, new.cpu_quota),
        (&mut old.cpu_realtime_period, new.cpu_realtime_period),
        (&mut old.cpu_realtime_runtime, new.cpu_realtime_runtime),
        (&mut old.memory_reservation, new.memory_reservation),
        (&mut old.memory_swap, new.memory_swap),
    ];
    for (old, new) in numbers {
        if new != 0 {
            *old = new;
        }
    }
    for (old, new) in
        [(&mut old.cpuset_cpus, &new.cpuset_cpus), (&mut old.cpuset_mems, &new.cpuset_mems)]
    {
        if !new.is_empty() {
            old.clone_from(new);
        }
    }
    if new.blkio_weight != 0 {
        old.blkio_weight = new.blkio_weight;
    }
    if new.pids_limit.is_some() {
        old.pids_limit = new.pids_limit;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_nothing_leaves_things_as_they_are() {
        let mut old = Resources {
            memory: 5,
            cpuset_cpus: "0".to_owned(),
            pids_limit: Some(3),
            ..Resources::default()
        };
        let new = Resources { memory: 7, cpu_shares: 2, ..Resources::default() };
        merge(&mut old, &new);
        let expected = Resources {
            memory: 7,
            cpu_shares: 2,
            cpuset_cpus: "0".to_owned(),
            pids_limit: Some(3),
            ..Resources::default()
        };
        assert_eq!(old, expected);
    }
}
