//! Why words cannot be read.

use std::{io, path::PathBuf};
use thiserror::Error;

/// Messages name the file, what was found and what was expected; what caused them is the `source`.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WordsError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },

    #[error("no tokenizer in {}: expected tokenizer.json or vocab.txt", folder.display())]
    NoTokenizer { folder: PathBuf },

    #[error("{} is no tokenizer: {reason}", path.display())]
    Tokenizer { path: PathBuf, reason: String },

    #[error("{} is not JSON", path.display())]
    NotJson { path: PathBuf, source: serde_json::Error },

    #[error("the vocabulary has no {mark}")]
    NoMark { mark: &'static str },

    #[error("not a WordPiece vocabulary: {reason}")]
    Vocabulary { reason: String },

    #[error("the reports hold no words to build a vocabulary from")]
    NoWords,

    #[error("cannot tokenise `{text}`: {reason}")]
    Text { text: String, reason: String },

    #[error("the prompt `{text}` has no tokens, expected words that the vocabulary can write")]
    EmptyPrompt { text: String },

    #[error("cannot write the tokenizer: {reason}")]
    Write { reason: String },

    #[error("{}: {reason}", path.display())]
    Findings { path: PathBuf, reason: String },
}
