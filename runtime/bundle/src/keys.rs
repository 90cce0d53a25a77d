//! Public keys as people keep them.

use crate::BundleError;
use ed25519_dalek::{VerifyingKey, pkcs8::DecodePublicKey};
use std::{fs, path::Path};

/// An ed25519 public key: PEM, or 64 hexadecimal digits.
pub fn public_key(text: &str) -> Result<VerifyingKey, BundleError> {
    let text = text.trim();
    let from_digits = || {
        let bytes: [u8; 32] = hex::decode(text).ok()?.try_into().ok()?;
        VerifyingKey::from_bytes(&bytes).ok()
    };
    let key = VerifyingKey::from_public_key_pem(text).ok().or_else(from_digits);
    key.ok_or_else(|| BundleError::Key { characters: text.chars().count() })
}

/// [`public_key`] of a file; errors name the file.
pub fn read_public_key(path: &Path) -> Result<VerifyingKey, BundleError> {
    let text = fs::read_to_string(path)
        .map_err(|source| BundleError::Read { path: path.to_owned(), source })?;
    public_key(&text)
        .map_err(|source| BundleError::BadKey { path: path.to_owned(), source: Box::new(source) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::{SigningKey, pkcs8::EncodePublicKey};

    #[test]
    fn keys_are_read_as_pem_and_as_digits_and_nothing_else() {
        let key = SigningKey::from_bytes(&[7; 32]).verifying_key();
        let pem = key.to_public_key_pem(Default::default()).unwrap();
        assert_eq!(public_key(&pem).unwrap(), key);
        assert_eq!(public_key(&format!(" {}\n", hex::encode(key.as_bytes()))).unwrap(), key);
        for wrong in ["", "ed25519", &pem[..60], "00ff"] {
            let error = public_key(wrong).unwrap_err().to_string();
            assert!(error.contains("64 hexadecimal digits"), "{error}");
        }
    }

    #[test]
    fn a_file_without_a_key_is_named() {
        let error = read_public_key(Path::new("/nowhere/site.pub")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/site.pub"), "{error}");
    }
}
