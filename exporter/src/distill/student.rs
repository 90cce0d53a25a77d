//! The student: the network that ships, in float.

use super::with_features;
use anyhow::{Result, ensure};
use graph::{CheckpointConfig, Graph, ModelConfig, Task};
use std::{collections::HashMap, path::Path};
use tch::{Device, Kind, Tensor, nn};
use trainer::{checkpoint, network::Network};

/// What a network gave, by output name.
pub(crate) type Outputs = HashMap<String, Tensor>;

/// Outputs whose places are compared one by one.
pub(crate) const STAGES: [&str; 3] = ["c3", "c4", "c5"];

/// Something that can be taught.
pub(crate) trait Learner {
    /// `distill` or `qat`.
    fn phase(&self) -> &'static str;
    fn forward(&self, images: &Tensor, train: bool) -> Outputs;
    /// What the optimizer may move.
    fn trained(&self) -> Vec<(String, Tensor)>;
    /// As a checkpoint holds them.
    fn weights(&self) -> Vec<(String, Tensor)>;
}

pub(crate) struct Student {
    pub(crate) graph: Graph,
    pub(crate) store: nn::VarStore,
    network: Network,
    device: Device,
    precision: Option<Kind>,
}

impl Student {
    pub(crate) fn new(
        config: &CheckpointConfig,
        device: Device,
        precision: Option<Kind>,
    ) -> Result<Self> {
        let graph = with_features(config)?;
        let store = nn::VarStore::new(device);
        let network = Network::new(&store.root(), &graph)?;
        Ok(Self { graph, store, network, device, precision })
    }

    /// Takes over every weight of `folder` that has a name and shape of this network.
    pub(crate) fn begin_with(&self, folder: &Path) -> Result<()> {
        let weights = checkpoint::encoder_weights(&checkpoint::load(folder)?);
        let own = self.store.variables();
        let fits =
            |name: &str| weights.get(name).is_some_and(|theirs| theirs.size() == own[name].size());
        let count = own.keys().filter(|name| fits(name)).count();
        ensure!(count > 0, "{}: no weight fits a {}", folder.display(), self.graph.name);
        log::info!("{}: {count} of {} tensors taken over", folder.display(), own.len());
        checkpoint::assign(&self.store, &weights, fits)
    }
}

impl Learner for Student {
    fn phase(&self) -> &'static str {
        "distill"
    }

    fn forward(&self, images: &Tensor, train: bool) -> Outputs {
        autocast(self.device, self.precision, || self.network.forward(images, train))
    }

    fn trained(&self) -> Vec<(String, Tensor)> {
        let mut all: Vec<_> = self.store.variables().into_iter().collect();
        all.retain(|(_, variable)| variable.requires_grad());
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    fn weights(&self) -> Vec<(String, Tensor)> {
        checkpoint::variables(&self.store)
    }
}

/// Labels of the classification head; none without one.
pub(crate) fn labels(model: &ModelConfig) -> &[String] {
    let head = model.heads.iter().find(|head| head.task == Task::Classification);
    head.map_or(&[], |head| &head.labels)
}

/// Runs `forward` in `precision`; what it gives is f32.
pub(crate) fn autocast(
    device: Device,
    precision: Option<Kind>,
    forward: impl FnOnce() -> Outputs,
) -> Outputs {
    let outputs = torch_ext::autocast(device, precision, forward)
        .expect("autocast exists on every device libtorch runs on");
    outputs.into_iter().map(|(name, tensor)| (name, tensor.to_kind(Kind::Float))).collect()
}
