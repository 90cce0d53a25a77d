//! A pack as a file: its postcard form, sealed as `bundle` seals it.

use crate::wire::damaged;
use crate::{LanguageError, Pack};
use bundle::{BundleError, SealedPack, SigningKey};
use thiserror::Error;

/// Why a pack cannot be sealed, or a sealed one not be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SealError {
    #[error(transparent)]
    Language(#[from] LanguageError),
    #[error(transparent)]
    Bundle(#[from] BundleError),
}

impl Pack {
    /// The same pack and key give the same bytes. Refuses what a box would refuse.
    pub fn seal(&self, key: Option<&SigningKey>) -> Result<SealedPack, SealError> {
        self.check()?;
        Ok(SealedPack::seal(postcard::to_allocvec(self).map_err(damaged)?, key)?)
    }

    /// Reads what was sealed, from whomever it comes.
    pub fn unseal(sealed: &SealedPack) -> Result<Self, LanguageError> {
        let (pack, more) = postcard::take_from_bytes::<Self>(sealed.contents()).map_err(damaged)?;
        if !more.is_empty() {
            let reason = format!("{} bytes after its end", more.len());
            return Err(LanguageError::Damaged { reason });
        }
        pack.check()?;
        Ok(pack)
    }
}
