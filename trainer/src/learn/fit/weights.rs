//! The networks of a run: the learner, and the running average of its weights.

use crate::network::Network;
use anyhow::Result;
use graph::CheckpointConfig;
use tch::{Device, nn};

/// A network with its own variables.
pub(super) struct Weights {
    pub(super) store: nn::VarStore,
    pub(super) network: Network,
}

impl Weights {
    pub(super) fn fresh(config: &CheckpointConfig, device: Device) -> Result<Self> {
        let store = nn::VarStore::new(device);
        let network = Network::new(&store.root(), &config.graph()?)?;
        Ok(Self { store, network })
    }
}

/// What is trained on top of the encoder, by the graph's names.
pub(super) fn is_head(name: &str) -> bool {
    ["fc", "seg", "det", "yolo"].contains(&name.split('.').next().unwrap_or(name))
}

/// `to = decay·to + (1 − decay)·from`, batch statistics included.
pub(super) fn copy(to: &nn::VarStore, from: &nn::VarStore, decay: f64) {
    let from = from.variables();
    for (name, variable) in to.variables() {
        let _ = variable.shallow_clone().lerp_(&from[&name], 1.0 - decay);
    }
}
