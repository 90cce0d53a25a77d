//! A trained network, ready to answer.

use crate::{
    checkpoint::{self, Checkpoint},
    finetune::Outputs,
    network::Network,
};
use anyhow::{Context, Result, anyhow};
use graph::{CheckpointConfig, Task};
use serde::Deserialize;
use std::{collections::BTreeMap, path::Path};
use tch::{Device, Tensor, nn};

/// A checkpoint as a network on a device.
pub struct Evaluated {
    pub config: CheckpointConfig,
    tables: toml::Table,
    folder: String,
    network: Network,
    device: Device,
    /// Owns the weights.
    _store: nn::VarStore,
}

impl Evaluated {
    pub fn open(folder: &Path, device: Device) -> Result<Self> {
        let Checkpoint { config, tables, weights, .. } = checkpoint::load(folder)?;
        let store = nn::VarStore::new(device);
        let network = Network::new(&store.root(), &config.graph()?)?;
        checkpoint::assign(&store, &weights, |_| true).with_context(|| {
            format!("{} is no checkpoint of a {}", folder.display(), config.model.backbone)
        })?;
        let folder = folder.display().to_string();
        Ok(Self { config, tables, folder, network, device, _store: store })
    }

    /// Names of a task's outputs; an error if the checkpoint was not trained for it.
    pub fn labels(&self, task: Task) -> Result<Vec<String>> {
        let heads = &self.config.model.heads;
        heads.iter().find(|head| head.task == task).map(|head| head.labels.clone()).ok_or_else(
            || {
                let tasks: Vec<String> = heads.iter().map(|head| head.task.to_string()).collect();
                let has = if tasks.is_empty() { "no task".to_owned() } else { tasks.join(", ") };
                anyhow!("{} was trained for {has}, expected {task}", self.folder)
            },
        )
    }

    /// `[B, 1, H, W]` → every output of the network.
    pub fn forward(&self, images: &Tensor) -> Outputs {
        tch::no_grad(|| self.network.forward(&images.to_device(self.device), false))
    }

    /// Thresholds fitted in training, by finding.
    pub fn operating_points(&self) -> Result<BTreeMap<String, f32>> {
        let Some(points) = self.tables.get("operating_points") else { return Ok(BTreeMap::new()) };
        let points: Vec<Point> = points.clone().try_into().with_context(|| {
            format!(
                "{}/config.toml: operating_points is no list of {{name, threshold}}",
                self.folder
            )
        })?;
        Ok(points.into_iter().map(|point| (point.name, point.threshold)).collect())
    }
}

#[derive(Deserialize)]
struct Point {
    name: String,
    threshold: f32,
}
