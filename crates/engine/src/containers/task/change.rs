//! Changes of what a container was asked to be.

use dhow_store::ContainerChange;

use super::Task;
use crate::containers::names::Name;
use crate::error::Error;

impl Task {
    /// Calls it something else.
    pub(crate) async fn rename(&mut self, name: &Name) -> Result<(), Error> {
        if name.as_str() == self.name {
            let message = "Renaming a container with the same name as its current name".to_owned();
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
}
