//! Learning, whatever the task.
//!
//! ```text
//! recipe   how: protocol, mode, epochs, augmentation; saved as [training]
//! start    beginning with what: an encoder, or weights from the seed
//! fit      the loop: best checkpoint, resume, early stop; Objective is what a task must say
//! outputs  what a network gives
//! ```

pub(crate) mod fit;
mod outputs;
pub(crate) mod recipe;
mod schedule;
pub(crate) mod start;

pub use outputs::{Outputs, rows};
pub use recipe::{Mode, Protocol, Recipe, RegionLoss, Select, Uncertain};
pub use start::take_fraction;

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
