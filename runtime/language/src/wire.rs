//! A section as bytes: a format, then postcard.

use crate::LanguageError;
use crate::section::{Language, Vector};

/// Of a language whose heat maps are the local attention.
const FIRST: u8 = 1;
/// The same, then what places usually say.
const SECOND: u8 = 2;

impl Language {
    /// Bytes for [`bundle::section::LANGUAGE`]: the same for the same language. Refuses what a box would refuse.
    pub fn to_bytes(&self) -> Result<Vec<u8>, LanguageError> {
        self.check()?;
        match &self.usual {
            None => postcard::to_extend(self, vec![FIRST]),
            Some(usual) => postcard::to_extend(&(self, usual), vec![SECOND]),
        }
        .map_err(damaged)
    }

    /// Reads untrusted bytes; what comes back is valid.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LanguageError> {
        let (&format, rest) = bytes
            .split_first()
            .ok_or_else(|| LanguageError::Damaged { reason: "it is empty".into() })?;
        let (language, more) = match format {
            FIRST => postcard::take_from_bytes::<Self>(rest).map_err(damaged)?,
            SECOND => {
                let ((language, usual), more) =
                    postcard::take_from_bytes::<(Self, Vec<Vector>)>(rest).map_err(damaged)?;
                (Self { usual: Some(usual), ..language }, more)
            }
            found => return Err(LanguageError::UnknownFormat { found, expected: SECOND }),
        };
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
