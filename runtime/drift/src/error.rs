use thiserror::Error;

/// Why images cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DriftError {
    #[error("{found} images, expected at least {expected}: fewer do not say how images vary")]
    TooFew { found: usize, expected: usize },

    #[error("{what} is {found} numbers, expected {expected}")]
    Length { what: &'static str, found: usize, expected: usize },

    #[error("{what} has a number that is not finite")]
    NotFinite { what: String },

    #[error("an image has the scores {found:?}, expected {expected:?}")]
    Scores { found: Vec<String>, expected: Vec<String> },

    #[error("the reference for drift is damaged: {reason}")]
    Damaged { reason: String },
}
