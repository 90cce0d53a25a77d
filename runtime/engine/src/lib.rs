//! From a bundle to findings: integers on our kernels, in a plan that tract runs.
//!
//! ```text
//! onnx            bytes        → checked document      qdq          its DequantizeLinear … QuantizeLinear → steps
//! quantized       what a step is                       definition   what it computes, in plain loops
//! parameters      quantizations, windows, weights
//! layout          where an ONNX tensor's values lie
//! collapse        tables of tables into one
//! fuse            additions into convolutions          memory_plan  where activations lie
//! int8_subgraph   steps        → kernels               packed weights, no allocation while running
//! float_subgraph  what stays float: tract's            operator     int8 subgraph → tract op
//! plan            both         → tract model
//! engine          floats       → named floats
//! decode          logits       → probabilities, masks, boxes
//! interpret       outputs      → findings, by the manifest
//! zero_shot       outputs      → findings by phrases, heat maps, nearest sentences
//! analyzer        radiograph   → findings
//! ```
//!
//! ```no_run
//! use engine::{Analysis, Analyzer, Options};
//! use std::path::Path;
//!
//! let bundle = bundle::Bundle::open(Path::new("chest.bundle"))?;
//! let mut analyzer = Analyzer::open(&bundle, &Options::threads(1))?;
//! let radiograph = radiograph::read_file(Path::new("chest.dcm"))?;
//! if let Analysis::Analysed(found) = analyzer.analyze(&radiograph)? {
//!     found.findings.iter().for_each(|f| println!("{}: {:.3}", f.name, f.probability));
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Engine::run`] is the network, [`Analyzer::analyze`] the product. The library has no clock, opens no files and no sockets.

mod analyzer;
mod collapse;
pub mod decode;
mod definition;
mod engine;
mod error;
mod float_subgraph;
mod fuse;
mod int8_subgraph;
mod interpret;
mod layout;
mod memory_plan;
pub mod onnx;
mod operator;
mod parameters;
mod plan;
mod qdq;
mod quantized;
mod reference;
mod selftest;
mod zero_shot;

pub use analyzer::{Analysis, Analyzer, Stage};
pub use decode::{Detection, Heat, Mask};
pub use engine::{Engine, IntegerShare, Intermediate, Options, Output, Outputs};
pub use error::EngineError;
pub use int8_subgraph::LayerInfo;
pub use interpret::{
    Finding, Findings, NearestSentence, Plane, Score, interpret, masks, planes, scores,
};
pub use reference::reference;
pub use selftest::{Mismatch, SelfTest, Vectors, selftest};
pub use zero_shot::{Told, ZeroShot};
