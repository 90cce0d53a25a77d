//! From an encoder (or from nothing) to a network for one task.
//!
//! ```text
//! settings        what to learn, from which images, beginning with what
//! recipe          how: protocol, mode, epochs, augmentation; saved as [training]
//! classification  findings    ◀─ targets   labels of the index, unknown ones masked out
//! segmentation    regions     ◀─ regions   masks of the index
//! detection       boxes       ◀─ anchor_free, yolov3: what each cell must learn
//! fit             the loop: best checkpoint, resume, early stop
//! ```
//!
//! What is judged is decoded by `engine`, as on the box. One command for each task, with figures: `docs/tasks.md`.

mod anchor_free;
mod classification;
mod detection;
mod fit;
mod recipe;
mod regions;
mod schedule;
mod segmentation;
mod settings;
mod start;
mod targets;
mod yolov3;

pub use classification::{columns, logits, rows};
pub use detection::detections;
pub use fit::Outputs;
pub use recipe::{Mode, Protocol, Recipe, RegionLoss, Select};
pub use regions::{mask_of, size_of_image};
pub use segmentation::{Planes, planes};
pub use settings::{Finetuning, TaskArg};
pub use start::take_fraction;
pub use targets::{Targets, Uncertain, choose_labels};

use crate::metrics::{
    bootstrap::{Patients, Resampling},
    figure::Figure,
    operating::OperatingPoint,
};
use anyhow::Result;

/// A figure of the validation split with its interval by patient; `value` gets how often each of the `n` images counts.
pub fn figure(
    task: &str,
    metric: String,
    n: usize,
    value: impl Fn(&[u32]) -> Option<f64>,
    patients: &Patients,
) -> Option<Figure> {
    let estimate = patients.estimate(Resampling::STANDARD, value)?;
    Some(Figure {
        task: task.into(),
        metric,
        data: "the index of this run".into(),
        split: "val".into(),
        value: estimate.value,
        interval: [estimate.low, estimate.high],
        n: n as u32,
    })
}

/// `operating_points` and `metrics` of `config.toml`.
pub fn conclusion(points: &[OperatingPoint], figures: &[Figure]) -> Result<toml::Table> {
    Ok(toml::Table::from_iter([
        ("operating_points".into(), toml::Value::try_from(points)?),
        ("metrics".into(), toml::Value::try_from(figures)?),
    ]))
}

#[cfg(test)]
mod tests;
