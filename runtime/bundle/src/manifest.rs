//! What a bundle says about itself.

use crate::Contract;
use graph::{Head, ModelConfig, Preprocess};
use serde::{Deserialize, Serialize};

/// Postcard sends fields by position: never reorder or add; what later formats add stands after it (`wire.rs`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Name chosen by who made it, `chest-14`.
    pub id: String,
    /// Version chosen by who made it, `1.4.0`; newer bundles sort later.
    pub version: String,
    pub sections: Vec<SectionEntry>,
    pub model: ModelConfig,
    #[serde(with = "first_preprocess")]
    pub preprocess: Preprocess,
    /// Decision thresholds, by finding.
    pub operating_points: Vec<OperatingPoint>,
    pub calibration: Calibration,
    /// Nodes that run in float on purpose. A float convolution not named here is refused at load.
    pub float_nodes: Vec<String>,
    pub metrics: Vec<Metric>,
    pub provenance: Provenance,
    /// SPDX expression.
    pub licence: String,
    pub intended_use: String,
    /// What the outputs mean, of a network of another tool; then `model` is [`Contract::model`].
    #[serde(default, skip_serializing_if = "Option::is_none", with = "not_in_the_first_format")]
    pub contract: Option<Contract>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SectionEntry {
    pub name: String,
    /// Bytes.
    pub size: u64,
    pub sha256: [u8; 32],
}

/// A finding is positive from `threshold` on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OperatingPoint {
    pub name: String,
    /// Probability in `[0, 1]`.
    pub threshold: f32,
    /// How it was chosen, for people: `Youden's J on the val split (n = 110), int8; float 0.6910`. As data it stands in
    /// the provenance.
    pub chosen: String,
}

/// How the activation ranges were found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// `minmax`, `percentile 99.99`, …
    pub observer: String,
    pub images: u32,
    /// SHA-256 over the calibration images' digests, hexadecimal.
    pub data_digest: String,
    /// One entry for every quantized activation, in execution order.
    pub tensors: Vec<TensorRange>,
}

/// Range and quantization of one activation: `x = (q − zero)·scale`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TensorRange {
    pub name: String,
    pub min: f32,
    pub max: f32,
    pub scale: f32,
    pub zero: i32,
    pub histogram: Histogram,
}

/// What calibration saw; later the reference for drift on the box.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// Left edge of the first bin.
    pub start: f32,
    /// Width of a bin.
    pub step: f32,
    pub counts: Vec<u64>,
}

/// A measured figure with where it comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// `classification`.
    pub task: String,
    /// `auroc/Pneumonia`.
    pub metric: String,
    /// `cxr-mini`, `phantom`.
    pub data: String,
    pub split: String,
    pub value: f64,
    /// 95 % interval.
    pub interval: [f64; 2],
    pub n: u32,
    /// `float` or `int8`.
    pub arithmetic: String,
}

/// Where the network comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// `exporter 0.1.0`.
    pub tool: String,
    /// SHA-256 of the checkpoint's weights, hexadecimal.
    pub checkpoint_digest: String,
    /// Anything the checkpoint says of its training, and under `[quantize]` what became of its thresholds, TOML.
    pub training: String,
}

impl Manifest {
    /// A manifest that says what the network is and nothing else: no thresholds, no figures, no licence.
    pub fn new(id: &str, version: &str, model: ModelConfig, preprocess: Preprocess) -> Self {
        Self {
            id: id.into(),
            version: version.into(),
            sections: Vec::new(),
            model,
            preprocess,
            operating_points: Vec::new(),
            calibration: Calibration {
                observer: String::new(),
                images: 0,
                data_digest: String::new(),
                tensors: Vec::new(),
            },
            float_nodes: Vec::new(),
            metrics: Vec::new(),
            provenance: Provenance {
                tool: String::new(),
                checkpoint_digest: String::new(),
                training: String::new(),
            },
            licence: String::new(),
            intended_use: String::new(),
            contract: None,
        }
    }

    /// A manifest of a network of another tool, as [`Self::new`].
    pub fn foreign(id: &str, version: &str, contract: Contract, preprocess: Preprocess) -> Self {
        let manifest = Self::new(id, version, contract.model(), preprocess);
        Self { contract: Some(contract), ..manifest }
    }

    /// What the network is, for people.
    pub fn architecture(&self) -> String {
        match &self.contract {
            Some(contract) => contract.architecture.clone(),
            None => format!("{}, width {}", self.model.backbone, self.model.width),
        }
    }

    /// The head for a task.
    pub fn head(&self, task: graph::Task) -> Option<&Head> {
        self.model.heads.iter().find(|head| head.task == task)
    }

    /// The threshold of a finding; ½ where none was fitted.
    pub fn threshold(&self, finding: &str) -> f32 {
        self.operating_points
            .iter()
            .find(|point| point.name == finding)
            .map_or(0.5, |point| point.threshold)
    }
}

/// Nothing, in the first format; whole where people read it.
mod not_in_the_first_format {
    use crate::Contract;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        it: &Option<Contract>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() { it.serialize(to) } else { ().serialize(to) }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Contract>, D::Error> {
        if from.is_human_readable() {
            Option::deserialize(from)
        } else {
            <()>::deserialize(from).map(|()| None)
        }
    }
}

/// [`Preprocess`] as the first format has it, its first four fields; whole where people read it.
mod first_preprocess {
    use graph::Preprocess;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(it: &Preprocess, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() {
            return it.serialize(to);
        }
        (it.height, it.width, it.mean, it.std).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Preprocess, D::Error> {
        if from.is_human_readable() {
            return Preprocess::deserialize(from);
        }
        let (height, width, mean, std) = Deserialize::deserialize(from)?;
        Ok(Preprocess { height, width, mean, std, ..Preprocess::PRIOR }) // which stretches, grey
    }
}
