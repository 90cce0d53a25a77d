//! What a model is worth: pure functions from scores and truth to numbers.
//!
//! Each equals the tool its field trusts (scikit-learn, pycocotools) and says `None` where the
//! number does not exist, such as the AUROC of one class. Intervals come from [`bootstrap`].

pub mod bootstrap;
pub mod classes;
pub mod detection;
pub mod overlap;
pub mod ranking;
pub mod reliability;
pub mod runs;
pub mod threshold;

/// A measured number with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
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
