//! How an image came to be, step by step, and what each step takes.

use dhow_spec::image::{Descriptor, Timestamp};

use super::Selected;
use crate::db::ChainId;

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryStep {
    /// When.
    pub created: Option<Timestamp>,
    /// By which command.
    pub created_by: String,
    /// Why.
    pub comment: String,
    /// The layer that it made, if it made one, and the snapshot that it unpacks to.
    pub layer: Option<(Descriptor, ChainId)>,
}

impl Selected {
    /// The steps that made it, last one first, as people read them. Where the configuration tells
    /// less than there are layers, the lowest ones are told without words.
    pub fn history(&self) -> Vec<HistoryStep> {
        let layers = self.manifest.layers.iter().cloned().zip(self.chain.iter().copied());
        let mut layers: Vec<_> = layers.collect();
        let mut steps = Vec::new();
        for step in self.config.history.iter().rev() {
            let layer = if step.empty_layer { None } else { layers.pop() };
            steps.push(HistoryStep {
                created: step.created.clone(),
                created_by: step.created_by.clone().unwrap_or_default(),
                comment: step.comment.clone().unwrap_or_default(),
                layer,
            });
        }
        steps.extend(layers.into_iter().rev().map(|layer| HistoryStep {
            created: None,
            created_by: String::new(),
            comment: String::new(),
            layer: Some(layer),
        }));
        steps
    }
}
