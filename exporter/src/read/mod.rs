//! What comes in: checkpoints, other tools' networks, images.
//!
//! ```text
//! checkpoint  folder of trainer or exporter → Checkpoint (graph, weights, thresholds)
//! import      state dict of PyTorch         → a folder of ours
//! foreign     ONNX file of another tool     → Graph, Weights
//! described   model.toml, presets           → what such a network takes and gives
//! quantized   ONNX file                     → whether it came quantized
//! weights     parameters by name, checked against a graph
//! images      folder or index               → network inputs, in a fixed order
//! prior       what a checkpoint of PRIOR knows of words
//! selected    which images of an index are meant
//! origin      what a bundle was made of, by its digest
//! ```

pub(crate) mod checkpoint;
pub(crate) mod described;
pub(crate) mod foreign;
pub(crate) mod images;
pub(crate) mod import;
pub(crate) mod origin;
pub(crate) mod prior;
pub(crate) mod quantized;
pub(crate) mod selected;
pub(crate) mod weights;
