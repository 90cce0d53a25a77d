//! The verbs of the binary: flags in, calls into the library, results on the terminal.
//!
//! Nothing imports them: what two verbs share belongs to the library.

mod bench;
mod evaluate;
mod finetune;
mod index;
mod metrics;
mod phantom;
mod pretrain;

pub use bench::BenchArgs;
pub use evaluate::EvaluateArgs;
pub use finetune::FinetuneArgs;
pub use index::IndexArgs;
pub use metrics::MetricsArgs;
pub use phantom::PhantomArgs;
pub use pretrain::PretrainArgs;
