//! A foreign file that nobody describes becomes an ONNX file in int8.

use super::{Quantize, float_nodes, ranking, warn_of_float};
use crate::{
    calibrate::{self, Source},
    read::{described, foreign},
    verify::Network,
    write::{
        self,
        onnx::{Batch, quantized_model},
    },
};
use anyhow::{Result, bail, ensure};
use graph::Preprocess;
use prost::Message;
use serde_json::json;
use std::path::Path;
use terminal::Terminal;

impl Quantize {
    pub(super) fn bare(&self, path: &Path, terminal: Terminal) -> Result<()> {
        if self.out.extension().is_none_or(|ending| ending != "onnx") {
            bail!(
                "{}: a foreign model becomes an ONNX file, expected a name that ends in .onnx, or --manifest or --preset \
                 (a bundle says what its outputs mean, which the file does not)",
                self.out.display()
            );
        }
        ensure!(self.sign.is_none(), "an ONNX file has no signature: expected no --sign");
        let foreign = foreign::open(path)?;
        let Preprocess { mean, std, .. } = Preprocess::PRIOR;
        let normalise = self.normalise.unwrap_or((mean, std));
        let source = Source {
            path,
            graph: &foreign.graph,
            weights: &foreign.weights,
            preprocess: described::undescribed(foreign.graph.input_shape, normalise, self.fit)?,
            meaning: None,
        };
        let outcome = calibrate::quantize(&self.rounding, &source, &self.calibration, terminal)?;
        let onnx = quantized_model(&outcome.model, Batch::One)?.encode_to_vec();
        let float = float_nodes(&outcome);
        // What the box would refuse is no result.
        let network = Network::open(&float, &onnx)?;
        write::file(&self.out, &onnx)?;
        warn_of_float(&network.integer_share());
        let document = json!({
            "file": self.out, "bytes": onnx.len(), "layers": outcome.model.layers.len(),
            "float_nodes": float, "observer": outcome.chosen.to_string(), "images": outcome.observations.images,
            "integer_share": network.integer_share(), "sensitivity": outcome.sensitivities,
        });
        let text = format!(
            "{}: {:.1} MB, {} layers on integers, {} in float, calibrated on {} images ({}){}",
            self.out.display(),
            onnx.len() as f64 / 1e6,
            outcome.model.layers.len(),
            float.len(),
            outcome.observations.images,
            outcome.chosen,
            ranking(&outcome.sensitivities),
        );
        terminal.print(&document, &text)
    }
}
