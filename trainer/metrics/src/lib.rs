//! What a model is worth: pure functions from scores and truth to numbers.
//!
//! ```text
//! ranking      scores + truth → AUROC, average precision, curves
//! threshold    what happens from a score on, and the criteria a threshold is chosen by
//! operating    a threshold with its criterion, as checkpoints keep it
//! overlap      masks → Dice, IoU
//! detection    boxes → mean average precision; matched counts it, and FROC, for many weightings
//! bootstrap    95 % intervals over patients; runs over seeds
//! proportion   exact intervals of shares; predictive values; differences
//! figure       a measured number with its name, as checkpoints keep it
//! ```
//!
//! Trainer and exporter measure with these alone, so that figures of one network can be compared. Each
//! equals the tool its field trusts (scikit-learn, pycocotools) and says `None` where the number does not exist, such
//! as the AUROC of one class. Intervals come from [`bootstrap`].

pub mod bootstrap;
pub mod classes;
pub mod detection;
pub mod figure;
pub mod operating;
pub mod overlap;
pub mod proportion;
pub mod ranking;
pub mod reliability;
pub mod runs;
pub mod threshold;

/// A measured number with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Estimate {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

impl std::fmt::Display for Estimate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.3} [{:.3}, {:.3}]", self.value, self.low, self.high)
    }
}
