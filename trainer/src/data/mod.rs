//! Radiographs on their way into a network.
//!
//! ```text
//! pictures   files of an index → network input, by the code that serves
//! augment    pictures, masks and boxes moved together
//! ```

pub mod augment;
pub mod pictures;
