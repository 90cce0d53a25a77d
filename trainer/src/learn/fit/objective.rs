//! What a task must say to be trained, and how its epochs compare.

use crate::{
    data::augment::Moves,
    learn::{Outputs, recipe::Select},
};
use anyhow::Result;
use serde::Serialize;
use tch::{Device, Tensor, nn};

/// What a task must say to be trained.
pub(crate) trait Objective {
    /// Changes to the fresh head before the first step.
    fn begin(&self, _store: &nn::VarStore) {}

    /// Mean loss of a training batch, `[]`.
    fn loss(&self, outputs: &Outputs, batch: &Batch<'_>) -> Tensor;

    /// How good the network is on the validation split.
    fn judge(&self, forward: &dyn Fn(&Tensor) -> Outputs) -> Result<Judgement>;

    /// Tables for `config.toml`: thresholds and figures of the finished network on the validation split.
    fn conclude(&self, forward: &dyn Fn(&Tensor) -> Outputs) -> Result<toml::Table>;

    /// Whether pictures may be blended: only where truth can be blended too.
    fn mixes(&self) -> bool;
}

/// Which training pictures, how they were moved, and how they were blended.
pub(crate) struct Batch<'a> {
    pub(crate) numbers: &'a [usize],
    pub(crate) moves: &'a Moves,
    /// Partner of each picture, and the share of the picture itself.
    pub(crate) mix: Option<(Tensor, f64)>,
    pub(crate) device: Device,
}

/// Validation after an epoch. `f1` only where the task has one.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Judgement {
    pub(crate) loss: f64,
    /// Greater is better.
    pub(crate) metric: f64,
    pub(crate) f1: Option<f64>,
}

impl Judgement {
    pub(crate) fn beats(&self, other: &Self, select: Select) -> bool {
        match select {
            Select::Loss => self.loss < other.loss,
            Select::Metric => self.metric > other.metric,
            Select::F1 => self.f1.unwrap_or(self.metric) > other.f1.unwrap_or(other.metric),
        }
    }
}
