//! Words as the text encoder reads them. No libtorch here, so trainer and exporter read the same tokens from the same file.
//!
//! ```text
//! wordpiece   sentences     → Encoded: token ids, and the sentence each token belongs to
//! findings    findings.toml → Finding: what is asked for in words
//! ```
//!
//! Start at [`Words::open`] and [`Words::encode`]; what a prompt is stands at [`Words::prompt`].

mod error;
mod findings;
mod wordpiece;

pub use error::WordsError;
pub use findings::{Finding, findings};
pub use wordpiece::{FILES, Words};

/// File a checkpoint keeps its words in.
pub const FILE: &str = "tokenizer.json";

/// One report in tokens, `[CLS]` … `[SEP]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    pub ids: Vec<i64>,
    /// Sentence of each token, counted from 1 without gaps; 0 for `[CLS]` and `[SEP]`.
    pub sentence: Vec<i64>,
    pub sentences: usize,
    /// `[PAD]`s at the end: they count in their sentence's mean, but nothing else reads them.
    pub padding: usize,
}
