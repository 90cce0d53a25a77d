//! A trained network, ready to answer.

use crate::{
    checkpoint::{self, Checkpoint},
    learn::Outputs,
    network::Network,
};
use anyhow::{Context, Result, anyhow};
use graph::{CheckpointConfig, Task};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};
use tch::{Device, Tensor, nn};

/// A checkpoint as a network on a device.
pub struct Evaluated {
    pub config: CheckpointConfig,
    tables: toml::Table,
    folder: PathBuf,
    network: Network,
    device: Device,
    /// Owns the weights.
    _store: nn::VarStore,
}

impl Evaluated {
    /// The whole network a checkpoint of `trainer finetune` holds.
    pub fn open(folder: &Path, device: Device) -> Result<Self> {
        Self::of(checkpoint::load(folder)?, folder, device)
    }

    /// The image encoder of any checkpoint without its heads: pre-trained, imported, or trained for a task.
    pub fn encoder(folder: &Path, device: Device) -> Result<Self> {
        let mut saved = checkpoint::load(folder)?;
        saved.weights = checkpoint::encoder_weights(&saved);
        saved.config.model.heads.clear();
        Self::of(saved, folder, device)
    }

    fn of(saved: Checkpoint, folder: &Path, device: Device) -> Result<Self> {
        let config = saved.config;
        let store = nn::VarStore::new(device);
        let network = Network::new(&store.root(), &config.graph()?)?;
        checkpoint::assign(&store, &saved.weights, |_| true).with_context(|| {
            format!("{} is no checkpoint of a {}", folder.display(), config.model.backbone)
        })?;
        let (tables, folder) = (saved.tables, folder.to_owned());
        Ok(Self { config, tables, folder, network, device, _store: store })
    }

    /// The first of `tasks` the checkpoint was trained for, and the names of its outputs; an error if there is none.
    pub fn labels(&self, tasks: &[Task]) -> Result<(Task, Vec<String>)> {
        let heads = &self.config.model.heads;
        let own = tasks.iter().find_map(|task| heads.iter().find(|head| head.task == *task));
        own.map(|head| (head.task, head.labels.clone())).ok_or_else(|| {
            let named = |tasks: Vec<Task>| -> String {
                let names: Vec<String> = tasks.iter().map(Task::to_string).collect();
                if names.is_empty() { "no task".to_owned() } else { names.join(", ") }
            };
            let has = named(heads.iter().map(|head| head.task).collect());
            anyhow!(
                "{} was trained for {has}, expected {}",
                self.folder.display(),
                named(vec![tasks[0]])
            )
        })
    }

    /// `[B, 1, H, W]` → every output of the network.
    pub fn forward(&self, images: &Tensor) -> Outputs {
        tch::no_grad(|| self.network.forward(&images.to_device(self.device), false))
    }

    /// Thresholds fitted in training, by finding.
    pub fn operating_points(&self) -> Result<BTreeMap<String, f32>> {
        let points = ::checkpoint::operating_points(&self.folder, &self.tables)?;
        Ok(points.into_iter().map(|point| (point.name, point.threshold)).collect())
    }
}
