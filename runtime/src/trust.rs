//! Who may sign what runs: the keys of the configuration, and those of the keyring that the agent keeps.

use crate::config::{BundleConfig, is_hex_key};
use anyhow::{Context, Result};
use bundle::VerifyingKey;
use keyring::Keyring;
use std::fs;

/// The keys of the configuration.
pub(crate) fn configured(config: &BundleConfig) -> Result<Vec<VerifyingKey>> {
    let keys = config.trusted_keys.iter().map(|key| {
        // Its hexadecimal form, or a file with that or PEM in it.
        let text = if is_hex_key(key) {
            key.clone()
        } else {
            fs::read_to_string(key).with_context(|| format!("cannot read the key {key}"))?
        };
        keyring::public_key(&text).with_context(|| format!("trusted key {key}"))
    });
    keys.collect()
}

/// Who may sign, now: by the configuration and by the keyring. A keyring that was never applied adds nothing.
pub(crate) fn trusted(
    config: &BundleConfig,
    configured: &[VerifyingKey],
) -> Result<Vec<VerifyingKey>> {
    let keyring = match &config.keyring {
        Some(path) if path.try_exists()? => {
            let keyring = Keyring::read(path)?;
            keyring.check_signed().with_context(|| path.display().to_string())?;
            Some(keyring)
        }
        _ => None,
    };
    Ok(keyring::bundle_keys(configured, keyring.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyring::{Contents, SigningKey};
    use std::path::Path;

    fn key(n: u8) -> SigningKey {
        SigningKey::from_bytes(&[n; 32])
    }

    fn config(keyring: &Path) -> BundleConfig {
        toml::from_str(&format!("keyring = {keyring:?}")).unwrap()
    }

    /// Key 1 is the root; the keyring trusts key 3, and key 2 no more.
    fn write(path: &Path, signer: u8) {
        let mut keyring = Keyring::new(Contents {
            version: 1,
            roots: vec![key(1).verifying_key()],
            bundles: vec![key(3).verifying_key()],
            revoked: vec![key(2).verifying_key()],
            ..Contents::default()
        })
        .unwrap();
        keyring.sign(&key(signer));
        fs::write(path, keyring.text()).unwrap();
    }

    #[test]
    fn a_keyring_adds_keys_and_revokes_those_of_the_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keyring.toml");
        let ours = [key(2).verifying_key(), key(4).verifying_key()];
        assert_eq!(trusted(&config(&path), &ours).unwrap(), ours, "none was applied yet");
        write(&path, 1);
        let mut now = trusted(&config(&path), &ours).unwrap();
        now.sort_by_key(VerifyingKey::to_bytes);
        let mut right = [key(3).verifying_key(), key(4).verifying_key()];
        right.sort_by_key(VerifyingKey::to_bytes);
        assert_eq!(now, right);
    }

    #[test]
    fn a_keyring_that_none_of_its_roots_signed_counts_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keyring.toml");
        write(&path, 9);
        let why = format!("{:#}", trusted(&config(&path), &[]).unwrap_err());
        assert!(why.contains("keyring.toml") && why.contains("signed by none"), "{why}");
        fs::write(&path, "format = 7").unwrap();
        assert!(trusted(&config(&path), &[]).is_err());
    }
}
