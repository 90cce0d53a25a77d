//! From the values a tensor takes to the eight bits that will hold it.
//!
//! ```text
//! values ─ observe ─▶ Observer ─ range(Method) ─▶ Range ─ activation() ─▶ QuantParams (u8, asymmetric)
//!  (f32)               (min, max, histogram)      [lo, hi] ∋ 0
//! weights ─ quantize_weights ──────────────────────────────────────────▶ QuantWeights (s8, one scale a channel)
//! ```
//!
//! One pass over the images fills one [`Observer`] a tensor; every [`Method`] is a function of what
//! it gathered, so methods can be compared without running the network again. Except for the
//! moving average, nothing here depends on the order of the images.
//!
//! ```
//! use calibration::{Method, Observer};
//!
//! let mut observer = Observer::default();
//! observer.observe(&[-0.5, 0.25, 1.0]); // the first image
//! observer.observe(&[0.0, 2.05]); // the second
//!
//! let range = observer.range(Method::MinMax)?;
//! let params = range.activation(); // 255 steps over -0.5 ..= 2.05
//! assert_eq!(params.quantize(0.0), 50);
//! assert!((params.round_trip(1.0) - 1.0).abs() <= params.scale / 2.0);
//! # Ok::<(), calibration::CalibrationError>(())
//! ```

mod energy;
mod entropy;
mod error;
mod histogram;
mod mse;
mod observer;
mod params;
mod weights;

pub use error::CalibrationError;
pub use histogram::Histogram;
pub use observer::{Method, Observer};
pub use params::{QuantParams, Range};
pub use weights::{MAX_BIAS, MOST, QuantWeights, quantize_bias, quantize_weights};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What calibration found for every tensor of a network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// By name of the node that makes the tensor.
    pub tensors: BTreeMap<String, Entry>,
}

impl Table {
    /// What codes stand for, by tensor.
    pub fn params(&self) -> BTreeMap<String, QuantParams> {
        self.tensors.iter().map(|(name, entry)| (name.clone(), entry.params)).collect()
    }
}

/// One tensor's calibration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Method that chose `range`; [`Method::Auto`] never stands here, but what it chose.
    pub method: Method,
    pub range: Range,
    pub params: QuantParams,
    /// Every value seen, before clipping to `range`.
    pub seen: Range,
    /// Number of values seen.
    pub count: u64,
}
