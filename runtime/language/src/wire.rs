//! A section as bytes: a format, then postcard.

use crate::LanguageError;
use crate::section::Language;

/// The only format so far.
const FORMAT: u8 = 1;

impl Language {
    /// Bytes for [`bundle::section::LANGUAGE`]: the same for the same language. Refuses what a box would refuse.
    pub fn to_bytes(&self) -> Result<Vec<u8>, LanguageError> {
        self.check()?;
        postcard::to_extend(self, vec![FORMAT]).map_err(damaged)
    }

    /// Reads untrusted bytes; what comes back is valid.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LanguageError> {
        let (&format, rest) = bytes
            .split_first()
            .ok_or_else(|| LanguageError::Damaged { reason: "it is empty".into() })?;
        if format != FORMAT {
            return Err(LanguageError::UnknownFormat { found: format, expected: FORMAT });
        }
        let (language, more) = postcard::take_from_bytes::<Self>(rest).map_err(damaged)?;
        if !more.is_empty() {
            let reason = format!("{} bytes after its end", more.len());
            return Err(LanguageError::Damaged { reason });
        }
        language.check()?;
        Ok(language)
    }
}

pub(crate) fn damaged(error: postcard::Error) -> LanguageError {
    LanguageError::Damaged { reason: error.to_string() }
}

#[cfg(test)]
mod tests;
