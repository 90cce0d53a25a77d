//! `trainer pretrain`: from radiographs with reports to a PRIOR checkpoint.
//!
//! ```text
//! config    the TOML file: model, stages, data          (stages are data, not code)
//! pairs     index → pairs of a picture and its sentences
//! picture   file → resized pixels, kept on disk; rotation and flip
//! loader    pairs → batches, off the training thread, in an order only the seed decides
//! step      one optimizer step; a loss that is not finite stops the run before it reaches the weights
//! run       stages, epochs, checkpoints, resuming
//! events    loss curves for TensorBoard
//! history   every step's losses beside the checkpoint
//! damaged   pictures that cannot be read, before the first step
//! report    the page at the end: curves, prototypes, images drawn again
//! ```

mod config;
mod damaged;
mod events;
mod history;
mod loader;
mod pairs;
mod picture;
mod report;
mod run;
mod scale;
mod schedule;
mod step;

pub use config::{Architecture, Joint, LearningRate, Precision, PretrainConfig, Stage, TextShape};
pub use damaged::{Damaged, leave_out};
pub(crate) use events::Events;
pub use history::{History, Line};
pub use loader::{Loader, Loading, Prepared};
pub use pairs::{Pair, Pairs};
pub use picture::{Pictures, Sample};
pub use report::{Shown, write as write_report};
pub(crate) use run::TEXT_ENCODER;
pub use run::{Progress, Run, Setup};
pub use schedule::Schedule;
pub use step::{Outcome, Trainer};
