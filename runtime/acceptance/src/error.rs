//! Why there is no acceptance test, or no report to trust.

use std::path::PathBuf;
use thiserror::Error;

#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AcceptanceError {
    #[error("not a plan")]
    NotAPlan(#[source] toml::de::Error),

    #[error("{what} is {found}, expected {expected}")]
    Value { what: String, found: String, expected: &'static str },

    #[error("finding `{name}` stands twice among [[findings]]")]
    FindingTwice { name: String },

    #[error(
        "no [[findings]] with a `minimum_sensitivity` or `minimum_specificity`: nothing can be accepted"
    )]
    NoCriteria,

    #[error("not a table of labels")]
    NotATable(#[source] csv::Error),

    #[error(
        "the columns are {found}, expected `finding`, `truth`, and one of `file`, `sop_instance_uid`, `study_instance_uid`, `accession_number`"
    )]
    Columns { found: String },

    #[error("line {line}: {what} is empty")]
    Empty { line: u64, what: &'static str },

    #[error("line {line}: truth is {found:?}, expected 1, 0 or -1 (positive, negative, uncertain)")]
    Truth { line: u64, found: String },

    #[error("line {line}: no image has this {column} ({count} images were looked at)")]
    NoImage { line: u64, column: &'static str, count: usize },

    #[error(
        "line {line}: {count} images are called {name:?}, expected one: write more of the path"
    )]
    Ambiguous { line: u64, name: String, count: usize },

    #[error("line {line}: `{finding}` was said of this image already in line {before}")]
    SaidTwice { line: u64, before: u64, finding: String },

    #[error(
        "the labels name images by `{column}`, and an archive is asked for studies: expected `study_instance_uid` or `accession_number`"
    )]
    NotAStudy { column: &'static str },

    #[error(
        "line {line}: {column} is {found:?}, expected digits and dots (a UID), or 1 to 16 printable characters without *, ? and \\ (an accession number)"
    )]
    StudyName { line: u64, column: &'static str, found: String },

    #[error("the labels speak of {found}; the plan needs `{wanted}`")]
    NotLabelled { wanted: String, found: String },

    #[error(
        "bundle {bundle} {finds}: expected findings with a probability, nothing else has a sensitivity"
    )]
    NoFindings { bundle: String, finds: String },

    #[error("bundle {bundle} knows no finding `{wanted}`, it knows {known}")]
    UnknownFinding { bundle: String, wanted: String, known: String },

    #[error("not a report: {reason}")]
    NotAReport { reason: String },

    #[error("format {found}, expected {expected}: made for a newer program")]
    Format { found: u64, expected: u64 },

    #[error("not a signature of an acceptance report: {reason}")]
    NotASignature { reason: String },

    #[error("{name} was changed after it was signed: SHA-256 {found}, signed {expected}")]
    Changed { name: &'static str, found: String, expected: String },

    #[error("signed by {found}, which is none of the keys that are trusted")]
    Stranger { found: String },

    #[error("the signature of {key} does not fit: the text or the signature was changed")]
    Forged { key: String },

    #[error("{}", path.display())]
    File { path: PathBuf, source: Box<Self> },
}

impl AcceptanceError {
    /// The same, which names the file.
    #[must_use]
    pub fn of_file(self, path: &std::path::Path) -> Self {
        Self::File { path: path.to_owned(), source: Box::new(self) }
    }
}
