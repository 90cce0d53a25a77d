//! Reports as the text encoder reads them.
//!
//! ```text
//! report::sections   raw report     → findings, impression
//! report::sentences  a section      → sentences
//! wordpiece          sentences      → Encoded: token ids, and the sentence each token belongs to
//! bert               ids            → vectors
//! hugging_face       a folder       → words, shape and weights of a BERT
//! ```

pub mod bert;
pub mod hugging_face;
pub mod report;
pub mod wordpiece;

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
