//! The teacher: a checkpoint of trainer's, frozen.

use super::{Outputs, student, with_features};
use anyhow::{Context, Result};
use graph::{CheckpointConfig, Graph};
use metrics::operating::OperatingPoint;
use records::Selection;
use std::path::Path;
use tch::{Device, Kind, Tensor, nn};
use trainer::{checkpoint, network::Network};

pub(crate) struct Teacher {
    pub(crate) config: CheckpointConfig,
    pub(crate) graph: Graph,
    /// SHA-256 of its weights, hexadecimal.
    pub(crate) digest: String,
    /// Images it was trained for.
    pub(crate) selection: Selection,
    pub(crate) operating_points: Vec<OperatingPoint>,
    network: Network,
    precision: Option<Kind>,
    device: Device,
    /// Owns the network's variables.
    _store: nn::VarStore,
}

impl Teacher {
    /// Opens a PRIOR checkpoint, or one of an encoder with or without heads.
    pub(crate) fn open(folder: &Path, device: Device, precision: Option<Kind>) -> Result<Self> {
        let saved = checkpoint::load(folder)?;
        let graph = with_features(&saved.config)?;
        let mut store = nn::VarStore::new(device);
        let network = Network::new(&store.root(), &graph)?;
        checkpoint::assign(&store, &checkpoint::encoder_weights(&saved), |_| true)
            .with_context(|| format!("{} is no teacher", folder.display()))?;
        store.freeze();
        let bad = || format!("bad {}", folder.join("config.toml").display());
        let training = saved.tables.get("training").and_then(toml::Value::as_table);
        let selection = training.map(Selection::of_table).transpose().with_context(bad)?;
        let operating_points = ::checkpoint::operating_points(folder, &saved.tables)?;
        Ok(Self {
            selection: selection.unwrap_or_default(),
            operating_points,
            config: saved.config,
            graph,
            digest: saved.digest,
            network,
            precision,
            device,
            _store: store,
        })
    }

    /// What it sees, without gradients.
    pub(crate) fn outputs(&self, images: &Tensor) -> Outputs {
        let forward = || self.network.forward(images, false);
        tch::no_grad(|| student::autocast(self.device, self.precision, forward))
    }
}
