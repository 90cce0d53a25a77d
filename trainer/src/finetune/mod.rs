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
pub use segmentation::{Planes, planes, weighted_mean};
pub use settings::{Finetuning, TaskArg};
pub use start::take_fraction;
pub use targets::{Targets, Uncertain, choose_labels};

use crate::metrics::bootstrap::{Patients, Resampling};

/// An entry of `[[metrics]]`: a figure of the validation split with its interval by patient; `value` gets how often each of
/// the `n` images counts.
fn figure(
    task: &str,
    metric: &str,
    n: usize,
    value: impl Fn(&[u32]) -> Option<f64>,
    patients: &Patients,
) -> Option<toml::Value> {
    let estimate = patients.estimate(Resampling { replicates: 1000, seed: 0 }, value)?;
    let mut figure = toml::Table::new();
    figure.insert("task".into(), task.into());
    figure.insert("metric".into(), metric.into());
    figure.insert("data".into(), "the index of this run".into());
    figure.insert("split".into(), "val".into());
    figure.insert("value".into(), estimate.value.into());
    figure.insert("interval".into(), vec![estimate.low, estimate.high].into());
    figure.insert("n".into(), (n as i64).into());
    Some(figure.into())
}

#[cfg(test)]
mod tests;
