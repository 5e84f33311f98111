//! Changes of what a container was asked to be: its name, its limits, its policy.

use std::sync::Arc;

use dhow_monitor::Request;
use dhow_store::ContainerChange;

use super::Task;
use crate::containers::names::Name;
use crate::error::Error;

impl Task {
    /// Calls it something else.
    pub(crate) async fn rename(&mut self, name: &Name) -> Result<(), Error> {
        if name.as_str() == self.name {
            let message =
                "Renaming a container with the same name as its current name".to_owned();
            return Err(Error::Invalid { message });
        }
        let old = std::mem::replace(&mut self.name, name.as_str().to_owned());
        let event = self.now("rename", &[("oldName", format!("/{old}"))]);
        let change =
            ContainerChange { name: Some(self.name.clone()), ..ContainerChange::default() };
        if let Err(error) = self.commit(change, vec![event]).await {
            self.name = old;
            return Err(error);
        }
        self.shared.table.rename(&self.id, &old, &self.name);
        Ok(())
    }

    /// Changes limits and policy, for now and for later.
    pub(crate) async fn update(
        &mut self,
        document: super::Document,
        ask: Request,
    ) -> Result<(), Error> {
        let before = std::mem::replace(&mut self.document, Arc::new(document));
        if self.standing.state.is_active() {
            let asked = match self.linked("") {
                Ok(link) => link.ask(&ask, &[]).await.map(drop),
                Err(error) => Err(error),
            };
            if let Err(error) = asked {
                self.document = before;
                return Err(error);
            }
        }
        let change = ContainerChange {
            document: Some(self.document.to_json()),
            ..ContainerChange::default()
        };
        let event = self.now("update", &[]);
        self.commit(change, vec![event]).await
    }
}
