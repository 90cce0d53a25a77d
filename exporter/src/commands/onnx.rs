//! `exporter onnx`: a checkpoint as an ONNX file, float or int8, for other tools; another tool's file as we read it.

use crate::{
    calibrate::{self, RoundingOptions, Source},
    passes::fold,
    read::{checkpoint::Checkpoint, foreign, weights::Weights},
    write::{
        self,
        onnx::{Batch, float_model, quantized_model},
    },
};
use anyhow::{Context, Result};
use clap::Args;
use graph::Graph;
use prost::Message;
use serde_json::json;
use std::path::PathBuf;
use terminal::Terminal;
use tract_onnx::pb::ModelProto;

/// Writes a checkpoint, or another tool's ONNX file as it is understood, as ONNX
#[derive(Debug, Args)]
pub(crate) struct Onnx {
    /// Checkpoint folder written by trainer or `exporter import`
    #[arg(long, value_name = "DIR", required_unless_present = "model")]
    checkpoint: Option<PathBuf>,
    /// Float ONNX file of another tool instead: shapes fixed, constants computed, formulas as operators
    #[arg(long, value_name = "ONNX", conflicts_with_all = ["checkpoint", "int8"])]
    model: Option<PathBuf>,
    /// ONNX file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Quantize (QDQ form); needs --calibration
    #[arg(long, requires = "calibration")]
    int8: bool,
    /// Folder of images, or an index (its test split is never used)
    #[arg(long, value_name = "DIR|INDEX", requires = "int8")]
    calibration: Option<PathBuf>,
    #[command(flatten)]
    rounding: RoundingOptions,
    /// As TensorRT's parser wants it: activations signed around 0, biases in float
    #[arg(long, requires = "int8")]
    tensorrt: bool,
    /// Leave the number of images open instead of one
    #[arg(long)]
    dynamic_batch: bool,
    /// Keep batch normalisations as nodes (float only)
    #[arg(long, conflicts_with = "int8")]
    keep_batch_norm: bool,
}

impl Onnx {
    pub(crate) fn run(mut self, terminal: Terminal) -> Result<()> {
        self.rounding.symmetric |= self.tensorrt;
        let batch = if self.dynamic_batch { Batch::Dynamic } else { Batch::One };
        let model = self.written(batch, terminal)?;
        let bytes = model.encode_to_vec();
        let opset = model.opset_import.first().map_or(0, |opset| opset.version);
        write::file(&self.out, &bytes)?;
        let graph = model.graph.context("the writer makes a graph")?;
        let outputs: Vec<&str> = graph.output.iter().map(|output| output.name.as_str()).collect();
        let document = json!({
            "file": self.out, "bytes": bytes.len(), "nodes": graph.node.len(), "opset": opset,
            "outputs": outputs, "arithmetic": if self.int8 { "int8" } else { "float" },
        });
        let text = format!(
            "{}: {:.1} MB, {} nodes, opset {opset}, outputs {}",
            self.out.display(),
            bytes.len() as f64 / 1e6,
            graph.node.len(),
            outputs.join(", "),
        );
        terminal.print(&document, &text)
    }
    fn written(&self, batch: Batch, terminal: Terminal) -> Result<ModelProto> {
        let folder = match (&self.model, &self.checkpoint) {
            (Some(model), _) => {
                let read = foreign::open(model)?;
                return self.float(&read.graph, &read.weights, batch);
            }
            (None, Some(folder)) => folder,
            (None, None) => unreachable!("clap asks for one of them"),
        };
        let checkpoint = Checkpoint::open(folder)?;
        let Some(images) = &self.calibration else {
            return self.float(&checkpoint.graph, &checkpoint.weights, batch);
        };
        let source = Source::of(&checkpoint, folder);
        let mut outcome = calibrate::quantize(&self.rounding, &source, images, terminal)?;
        outcome.model.float_bias = self.tensorrt;
        quantized_model(&outcome.model, batch)
    }

    fn float(&self, graph: &Graph, weights: &Weights, batch: Batch) -> Result<ModelProto> {
        if self.keep_batch_norm {
            return float_model(graph, weights, batch);
        }
        let (graph, weights) = fold::fold_batch_norms(graph, weights);
        float_model(&graph, &weights, batch)
    }
}
