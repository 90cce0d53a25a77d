//! Memory of tensors and weights, and the threads that work on it.

mod buffer;
mod huge_pages;
mod pool;
mod scratch;

pub use buffer::{Buffer, SLACK, release_freed_memory};
pub use pool::Pool;
pub use scratch::Scratch;
