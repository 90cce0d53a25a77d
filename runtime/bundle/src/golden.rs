//! Golden vectors: inputs and the exact output bytes. Who loads the bundle proves itself by reproducing them.

use crate::BundleError;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Golden {
    pub vectors: Vec<GoldenVector>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoldenVector {
    pub height: u32,
    pub width: u32,
    /// `[height, width]` grey levels; the network's input is `(grey / 255 − mean) / std`.
    pub grey: Vec<u8>,
    pub outputs: Vec<GoldenOutput>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoldenOutput {
    /// Name of the graph's output, `classification`.
    pub name: String,
    /// f32, little endian.
    pub bytes: Vec<u8>,
}

impl Golden {
    pub fn to_bytes(&self) -> Result<Vec<u8>, BundleError> {
        postcard::to_allocvec(self).map_err(|e| BundleError::Manifest { reason: e.to_string() })
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BundleError> {
        let golden: Self = postcard::from_bytes(bytes)
            .map_err(|e| BundleError::Manifest { reason: format!("golden vectors: {e}") })?;
        for vector in &golden.vectors {
            if u64::from(vector.height) * u64::from(vector.width) != vector.grey.len() as u64 {
                let reason = format!(
                    "golden vector of {}x{} has {} grey levels",
                    vector.height,
                    vector.width,
                    vector.grey.len()
                );
                return Err(BundleError::Manifest { reason });
            }
        }
        Ok(golden)
    }
}

impl GoldenVector {
    /// The network's input `[channels, height, width]`; the same bits on every CPU.
    pub fn input(&self, preprocess: &graph::Preprocess) -> Vec<f32> {
        preprocess.normalised(self.grey.iter().map(|&grey| f32::from(grey) / 255.0).collect())
    }
}
