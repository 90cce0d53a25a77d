//! What rounding gives.

use super::{Observations, Sensitivity, evaluate_candidate::Loss};
use crate::passes::quantized::Quantized;
use calibration::Table;
use std::fmt::{self, Display, Formatter};

/// A network on eight bits and how it came about.
pub(crate) struct Outcome {
    pub(crate) model: Quantized,
    pub(crate) observations: Observations,
    pub(crate) table: Table,
    pub(crate) chosen: Chosen,
    /// Asked for by `--sensitivity` or needed for `--max-drop`.
    pub(crate) sensitivities: Vec<Sensitivity>,
}

/// What the ranges, and layers left in float, were chosen by.
pub(crate) struct Chosen {
    /// The method, and why this one where it was looked for.
    pub(super) ranges: String,
    pub(super) adaround: bool,
    pub(super) float: FloatLayers,
}

/// Why layers stay in float that `--float` does not name.
#[derive(Default)]
pub(super) struct FloatLayers {
    pub(super) coarsest_level: bool,
    /// What int8 would cost detection.
    pub(super) last_convolutions: Option<Loss>,
    pub(super) budget: Option<Budget>,
}

/// What `--max-drop` led to.
pub(super) struct Budget {
    pub(super) share: f64,
    /// In float in the end.
    pub(super) layers: usize,
    pub(super) left: Loss,
}

impl Display for Chosen {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let FloatLayers { coarsest_level, last_convolutions, budget } = &self.float;
        write!(f, "{}", self.ranges)?;
        if self.adaround {
            write!(f, ", adaround")?;
        }
        if *coarsest_level {
            write!(f, "; detection's coarsest level in float")?;
        }
        if let Some(loss) = last_convolutions {
            write!(f, "; detection's last convolutions in float ({loss})")?;
        }
        if let Some(Budget { share, layers, left }) = budget {
            write!(f, "; {layers} layers in float for --max-drop {share} ({left})")?;
        }
        Ok(())
    }
}
