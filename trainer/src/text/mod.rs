//! Reports as the text encoder reads them.
//!
//! ```text
//! report::sections   raw report     → findings, impression
//! report::sentences  a section      → sentences
//! words (crate)      sentences      → Encoded: token ids, and the sentence each token belongs to
//! bert               ids            → vectors
//! hugging_face       a folder       → words, shape and weights of a BERT
//! ```

pub mod bert;
pub mod hugging_face;
pub mod report;

pub use words::{Encoded, Words};
