//! `exporter inspect`: what a bundle says about itself, and its sections as files.

use crate::write;
use anyhow::{Context, Result, bail};
use bundle::{Bundle, LabelCode, section};
use clap::Args;
use engine::{Engine, EngineError, Options};
use prost::Message;
use serde::Serialize;
use serde_json::json;
use std::{
    collections::{BTreeMap, HashSet},
    path::PathBuf,
};
use terminal::Terminal;
use tract_onnx::pb::ModelProto;

/// Prints manifest, integer share and sizes of a bundle
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    bundle: PathBuf,
    /// Write every section as a file into this folder
    #[arg(long, value_name = "DIR")]
    extract: Option<PathBuf>,
}

/// How much of a network runs on integers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct IntegerShare {
    /// Convolutions and linear layers with 8-bit inputs and weights.
    pub(crate) integer: usize,
    /// All convolutions and linear layers.
    pub(crate) all: usize,
    /// ONNX nodes by operator.
    pub(crate) operators: BTreeMap<String, usize>,
}

impl Inspect {
    pub(crate) fn run(self, terminal: Terminal) -> Result<()> {
        let bundle = Bundle::open(&self.bundle)?;
        if let Some(folder) = &self.extract {
            for entry in &bundle.manifest.sections {
                // Names come from outside: none may lead out of the folder.
                if entry.name.contains(['/', '\\']) || entry.name.starts_with('.') {
                    bail!("{}: section `{}` is no file name", self.bundle.display(), entry.name);
                }
                let bytes = bundle.section(&entry.name).context("a listed section is there")?;
                write::file(&folder.join(&entry.name), bytes)?;
            }
        }
        let share = IntegerShare::of(bundle.require(section::MODEL)?)?;
        let float = float_nodes(&bundle);
        let manifest = &bundle.manifest;
        let codes = bundle.codes()?;
        let key = bundle.signature().map(|signature| hex::encode(signature.key.as_bytes()));
        let document = json!({
            "bundle": self.bundle, "digest": bundle.digest(), "signed_by": key,
            "integer_share": share, "float_nodes": float.as_ref().ok(), "manifest": manifest, "codes": codes,
        });
        terminal.print(&document, &self.text(&bundle, &codes, &share, &float, key.as_deref()))
    }

    fn text(
        &self,
        bundle: &Bundle,
        codes: &[LabelCode],
        share: &IntegerShare,
        float: &Result<Vec<String>, EngineError>,
        key: Option<&str>,
    ) -> String {
        let manifest = &bundle.manifest;
        let mut lines = vec![
            format!("{}: {} {}", self.bundle.display(), manifest.id, manifest.version),
            format!("digest        {}", bundle.digest()),
            format!("signed by     {}", key.unwrap_or("nobody")),
            format!("network       {}", manifest.architecture()),
            format!("integer share {} of {} layers", share.integer, share.all),
            match float {
                Ok(nodes) if nodes.is_empty() => "in float      nothing".into(),
                Ok(nodes) => format!("in float      {}", nodes.join(", ")),
                Err(refusal) => format!("in float      unknown, the engine refuses it: {refusal}"),
            },
            format!(
                "calibration   {}, {} images, {} tensors",
                manifest.calibration.observer,
                manifest.calibration.images,
                manifest.calibration.tensors.len()
            ),
        ];
        for entry in &manifest.sections {
            lines.push(format!("section       {:<14} {:>10} bytes", entry.name, entry.size));
        }
        for point in &manifest.operating_points {
            lines.push(format!(
                "threshold     {} {:.4}, {}",
                point.name, point.threshold, point.chosen
            ));
        }
        for LabelCode { label, code, .. } in codes {
            let (value, scheme, meaning) = (code.value(), code.scheme(), code.meaning());
            lines.push(format!("code          {label}: {value} {scheme} {meaning}"));
        }
        if let Some(card) = bundle.section(section::MODEL_CARD) {
            lines.push(String::new());
            lines.push(String::from_utf8_lossy(card).into_owned());
        }
        lines.join("\n")
    }
}

/// ONNX nodes that the engine runs in float, by name.
fn float_nodes(bundle: &Bundle) -> Result<Vec<String>, EngineError> {
    let engine = Engine::open(bundle, &Options::threads(1))?;
    Ok(engine.integer_share().float_nodes.clone())
}

impl IntegerShare {
    /// Counts in an ONNX file: a layer is on integers if all it reads comes out of DequantizeLinear, reshaped or not.
    pub(crate) fn of(onnx: &[u8]) -> Result<Self> {
        let model = ModelProto::decode(onnx).context("model.onnx is no ONNX file")?;
        let graph = model.graph.context("model.onnx has no graph")?;
        let mut dequantized: HashSet<&str> = HashSet::new();
        let mut share = Self { integer: 0, all: 0, operators: BTreeMap::new() };
        for node in &graph.node {
            let (op, inputs) = (node.op_type.as_str(), &node.input);
            *share.operators.entry(op.to_owned()).or_default() += 1;
            let moved = matches!(op, "Reshape" | "Transpose")
                && inputs.first().is_some_and(|input| dequantized.contains(input.as_str()));
            if moved || op == "DequantizeLinear" {
                dequantized.extend(node.output.iter().map(String::as_str));
            }
            if matches!(op, "Conv" | "Gemm" | "MatMul") {
                share.all += 1;
                let whole = inputs.iter().all(|input| dequantized.contains(input.as_str()));
                share.integer += usize::from(whole);
            }
        }
        Ok(share)
    }
}
