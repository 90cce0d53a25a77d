//! From a data set's folders and tables to the records of an index.
//!
//! ```text
//! layouts::*   folders and tables of a data set → Record…
//! split        patients drawn into train, val and test
//! Summary      what is in an index: images, patients and labels of each split
//! ```
//!
//! The records themselves, their file and its rules are the crate [`records`].

mod layouts;
mod left_out;
mod split;
mod summary;

pub use layouts::{DataSet, Layout};
pub use left_out::LeftOut;
pub use records::*;
pub use split::{assign_fold, assign_splits, read_splits, write_splits};
pub use summary::Summary;

#[cfg(test)]
mod tests;
