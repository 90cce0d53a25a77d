use thiserror::Error;

/// Why language cannot be used.
#[derive(Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum LanguageError {
    #[error("the language's format {found} is unknown, expected 1 to {expected}")]
    UnknownFormat { found: u8, expected: u8 },

    #[error("the language is damaged: {reason}")]
    Damaged { reason: String },

    #[error("{what} is {found}, expected {expected}")]
    Invalid { what: String, found: String, expected: String },

    #[error("a second finding is called `{name}`, expected each name once")]
    Twice { name: String },

    #[error("pack `{pack}` is of space {found}, the network's is {expected}")]
    OtherSpace { pack: String, found: String, expected: String },

    #[error(
        "output `{output}` holds {found}, expected what a code of scale {scale} and zero {zero} stands for: it is not on integers"
    )]
    NotOnIntegers { output: String, found: f32, scale: f32, zero: u8 },

    #[error("its products cannot be packed: {reason}")]
    Products { reason: String },

    #[error("finding `{finding}`, {what}: value {at} is {found}, expected {expected}")]
    Golden { finding: String, what: &'static str, at: usize, found: f32, expected: f32 },
}

impl LanguageError {
    pub(crate) fn invalid(
        what: impl Into<String>,
        found: impl ToString,
        expected: impl Into<String>,
    ) -> Self {
        Self::Invalid { what: what.into(), found: found.to_string(), expected: expected.into() }
    }
}
