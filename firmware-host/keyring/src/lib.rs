//! Who is trusted: ed25519 keys as files, for bundles and for the link alike.
//!
//! ```
//! let folder = tempfile::tempdir()?;
//! let name = folder.path().join("site");
//! let key = keyring::generate()?;
//! keyring::write_pair(&name, &key)?; // site.key, readable by its owner alone, and site.pub
//! assert_eq!(keyring::read_private_key(&folder.path().join("site.key"))?, key);
//! assert_eq!(keyring::read_public_key(&folder.path().join("site.pub"))?, key.verifying_key());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod document;
mod key;

pub use document::{BoxKey, Contents, KEYRING_LIMIT, Keyring, KeyringError, LinkKey, bundle_keys};
pub use ed25519_dalek::{SigningKey, VerifyingKey};
pub use key::{
    KeyError, fingerprint, generate, public_key, read_private_key, read_public_key, write_pair,
    write_private_key,
};
