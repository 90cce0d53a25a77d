//! Pre-training, fine-tuning and evaluation, on libtorch.
//!
//! ```text
//! pretrain   radiographs + reports → PRIOR checkpoint   prior/ the model, text/ words, pretrain/ the loop
//! index      any data set → records; phantom draws one
//! data       pictures as network input, moved and cropped
//! tasks      classification, segmentation, detection: truth, loss, figures, page of each
//! learn      the loop of fine-tuning and its settings; finetune: encoder + records → a network for one task
//! measure    a checkpoint that answers; evaluate: metrics with intervals, a page with plots; probe: a linear one
//! network    graph::Graph in tch, shared by every task; init: how its weights, and all others, begin
//! commands   the verbs; nothing imports them
//! checkpoint what a run leaves behind: model.safetensors, config.toml, state.json
//! ```
//!
//! The binary only parses the command line; everything it does is a call into this library.

pub mod checkpoint;
pub mod commands;
pub mod data;
pub mod device;
pub mod evaluate;
pub mod evaluate_text;
pub mod finetune;
pub mod index;
pub mod init;
pub mod learn;
pub mod measure;
pub mod network;
pub mod phantom;
pub mod plot;
pub mod pretrain;
pub mod prior;
pub mod probe;
pub mod tasks;
pub mod text;

pub use ::{metrics, terminal};
