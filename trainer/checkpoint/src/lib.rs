//! A checkpoint: what training leaves in a folder, whole at any moment. No libtorch here, so trainer and
//! exporter read and write the same thing with the same code.
//!
//! ```text
//! model.safetensors       weights by name
//! config.toml             [model] and [preprocess] (graph::CheckpointConfig), operating_points, the owner's tables
//! state.json              where the run stands: step, epoch, stage, seed, digest of the data
//! optimizer.safetensors   only where a run can be resumed
//!
//! state      State, Stage
//! tensor     Tensor: numbers with type and shape, as a file holds them; safetensors
//! folder     Checkpoint::open: reads, changes nothing
//! writer     save: everything aside, then one rename decides
//! prior      [prior]: shape of a pre-training model, names and shapes of its parameters
//! torch_file files of torch.save, whatever their age
//! unlike     what people have in place of weights
//! ```
//!
//! Start in `writer.rs`, which draws how a save happens; `folder.rs` says how a reader copes with it.

mod error;
mod folder;
mod operating;
pub mod prior;
mod state;
mod tensor;
pub mod torch_file;
mod unlike;
mod writer;

pub use error::CheckpointError;
pub use folder::{
    Checkpoint, encoder_name, exists, is_safetensors, read_optimizer, read_state, read_tensors,
};
pub use operating::operating_points;
pub use state::{Stage, State};
pub use tensor::{Dtype, Tensor, TensorError, Tensors, View};
pub use writer::save;

/// File names within a folder.
pub const MODEL: &str = "model.safetensors";
pub const OPTIMIZER: &str = "optimizer.safetensors";
pub const CONFIG: &str = "config.toml";
pub const STATE: &str = "state.json";
/// [`STATE`] of a save that counts already but whose files are not all renamed yet.
const COMMIT: &str = "state.json.commit";

/// The name of `name` while its save does not count yet.
fn aside(name: &str) -> String {
    format!("{name}.new")
}

/// Some libraries explain themselves over several lines; an error of ours is one.
pub fn one_line(error: &impl std::fmt::Display) -> String {
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    // TOML's reports draw the offending line; the words are first and last.
    if lines.len() > 2 {
        format!("{}: {}", lines[0], lines[lines.len() - 1])
    } else {
        lines.join(": ")
    }
}
