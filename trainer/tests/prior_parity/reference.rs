//! The model of the vectors, with their weights, inputs and noise.

use crate::{parity, small};
use std::{collections::HashMap, fs, path::Path, rc::Rc};
use tch::{Device, Kind, Tensor, nn};
use torch_ext::Group;
use trainer::{
    checkpoint,
    prior::{Batch, Losses, Noise, Objective, Prior, PriorConfig, Quirks, Weights},
};

const ALIGNMENT: Weights = Weights {
    global: 1.0,
    local_image: 1.0,
    local_text: 1.0,
    prototype: 0.0,
    image: 0.0,
    sentence: 0.0,
    divergence: 0.0,
    report: 0.0,
};

pub(crate) const STAGES: [Weights; 3] =
    [ALIGNMENT, Weights { prototype: 10.0, ..ALIGNMENT }, Weights::RECONSTRUCTION];

/// Weights and inputs, and what PyTorch makes of them.
pub(crate) struct Vectors {
    weights: Draw,
    inputs: HashMap<String, Tensor>,
    pub(crate) report: serde_json::Value,
}

enum Draw {
    Given(HashMap<String, Tensor>),
    /// Computed from the names.
    Usual,
    /// The same, away from where rounding decides.
    Calm,
}

impl Vectors {
    /// The repository's, and the reference's own where it is.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = vec![Self::committed()];
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let beside = here.join("../../shared/prior/reference/parity");
        if beside.is_dir() {
            let tensors = |name: &str| checkpoint::read_tensors(&beside.join(name)).unwrap();
            all.push(Self {
                weights: Draw::Given(tensors("weights.safetensors")),
                inputs: tensors("inputs.safetensors"),
                report: read(&beside.join("report.json")),
            });
        } else {
            println!("only the vectors of the repository: no {}", beside.display());
        }
        all
    }

    pub(crate) fn committed() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity/vectors.json");
        Self { weights: Draw::Usual, inputs: parity::inputs(), report: read(&path) }
    }

    pub(crate) fn calm() -> Self {
        Self { weights: Draw::Calm, ..Self::committed() }
    }

    /// What the report calls a stage, counted from 0.
    pub(crate) fn name(&self, setting: &str, stage: usize) -> String {
        let draw = if matches!(self.weights, Draw::Calm) { "calm" } else { "f64" };
        format!("{setting}_{draw}_stage{}", stage + 1)
    }

    /// Numbers for every variable of the model.
    fn weights(&self, store: &nn::VarStore) -> HashMap<String, Tensor> {
        let all = store.variables();
        let calm = match &self.weights {
            Draw::Given(weights) => {
                return weights.iter().map(|(n, t)| (n.clone(), t.shallow_clone())).collect();
            }
            draw => matches!(draw, Draw::Calm),
        };
        let draw = |(name, tensor): (&String, &Tensor)| {
            let layer = name.rsplit_once('.').map_or("", |(layer, _)| layer);
            let normalises = all.contains_key(&format!("{layer}.running_mean"));
            let numbers = match calm {
                true => parity::calm_weight(name, &tensor.size(), normalises),
                false => parity::weight(name, &tensor.size()),
            };
            (name.clone(), numbers)
        };
        all.iter().map(draw).collect()
    }
}

fn read(path: &Path) -> serde_json::Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

pub(crate) struct Reference {
    store: nn::VarStore,
    prior: Prior,
    pub(crate) batch: Batch,
    pub(crate) noise: Noise,
    weights: HashMap<String, Tensor>,
}

impl Reference {
    pub(crate) fn open(
        vectors: &Vectors,
        kind: Kind,
        released_quirks: bool,
        device: Device,
        group: Option<Rc<Group>>,
    ) -> Self {
        let (graph, config) = small::prior();
        let config = PriorConfig {
            dropout: 0.0,
            released_quirks: if released_quirks { Quirks::RELEASED } else { Quirks::default() },
            ..config
        };
        let mut store = nn::VarStore::new(device);
        let prior = Prior::new(&store.root(), &graph, config, group).unwrap();
        store.set_kind(kind);
        let weights = vectors.weights(&store);
        let inputs = &vectors.inputs;
        let float = |name: &str| inputs[name].to_kind(kind).to_device(device);
        let batch = Batch {
            image: float("image"),
            ids: inputs["ids"].to_device(device),
            mask: inputs["mask"].to_kind(Kind::Bool).to_device(device),
            sentence: inputs["sentence_index"].clamp_min(0).to_device(device),
            counts: Vec::try_from(&inputs["n_sent"]).unwrap(),
        };
        let noise = Noise {
            prototypes: Some(float("g1")),
            foretold: Some(float("g2")),
            channels: Some(float("drop")),
        };
        let reference = Self { store, prior, batch, noise, weights };
        reference.reset();
        reference
    }

    pub(crate) fn reset(&self) {
        checkpoint::assign(&self.store, &self.weights, |_| true).unwrap();
    }

    pub(crate) fn losses(&self, stage: usize) -> Losses {
        let objective = Objective { weights: STAGES[stage], tau: 0.9 };
        self.prior.losses(&self.batch, &objective, &self.noise, true)
    }

    pub(crate) fn trained(&self) -> Vec<(String, Tensor)> {
        let all = self.store.variables().into_iter();
        let mut all: Vec<_> = all.filter(|(_, tensor)| tensor.requires_grad()).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }
}
