//! Keys as people keep them: PEM files, and public ones also as 64 hexadecimal digits.

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey};
use ed25519_dalek::{SigningKey, VerifyingKey};
use rustix::rand::{GetRandomFlags, getrandom};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why there is no key.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeyError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },

    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },

    #[error("{}: found a file, expected none to overwrite", path.display())]
    Exists { path: PathBuf },

    #[error("found {characters} characters, expected a public key: PEM or 64 hexadecimal digits")]
    NotPublic { characters: usize },

    #[error("{}", path.display())]
    BadFile { path: PathBuf, source: Box<Self> },

    #[error("{}: no ed25519 private key (PEM)", path.display())]
    NotPrivate { path: PathBuf },

    #[error("no random numbers")]
    Random(#[source] io::Error),
}

/// How a public key is written where people compare it: 64 hexadecimal digits.
pub fn fingerprint(key: &VerifyingKey) -> String {
    hex::encode(key.as_bytes())
}

/// An ed25519 public key: PEM, or 64 hexadecimal digits.
pub fn public_key(text: &str) -> Result<VerifyingKey, KeyError> {
    let text = text.trim();
    let from_digits = || {
        let bytes: [u8; 32] = hex::decode(text).ok()?.try_into().ok()?;
        VerifyingKey::from_bytes(&bytes).ok()
    };
    let key = VerifyingKey::from_public_key_pem(text).ok().or_else(from_digits);
    // A key of small order would take signatures that nobody made.
    let key = key.filter(|key| !key.is_weak());
    key.ok_or_else(|| KeyError::NotPublic { characters: text.chars().count() })
}

/// [`public_key`] of a file; errors name the file.
pub fn read_public_key(path: &Path) -> Result<VerifyingKey, KeyError> {
    let text = fs::read_to_string(path)
        .map_err(|source| KeyError::Read { path: path.to_owned(), source })?;
    public_key(&text)
        .map_err(|source| KeyError::BadFile { path: path.to_owned(), source: Box::new(source) })
}

/// A private key from a PEM file.
pub fn read_private_key(path: &Path) -> Result<SigningKey, KeyError> {
    let pem = fs::read_to_string(path)
        .map_err(|source| KeyError::Read { path: path.to_owned(), source })?;
    SigningKey::from_pkcs8_pem(&pem).map_err(|_| KeyError::NotPrivate { path: path.to_owned() })
}

/// A new key.
pub fn generate() -> Result<SigningKey, KeyError> {
    let mut seed = [0; 32];
    // The kernel gives up to 256 bytes at once.
    getrandom(&mut seed, GetRandomFlags::empty())
        .map_err(|error| KeyError::Random(error.into()))?;
    Ok(SigningKey::from_bytes(&seed))
}

/// Writes NAME.key, readable by its owner alone, and NAME.pub; never over a file. Returns both paths.
pub fn write_pair(name: &Path, key: &SigningKey) -> Result<(PathBuf, PathBuf), KeyError> {
    let private = name.with_added_extension("key");
    let public = name.with_added_extension("pub");
    for path in [&private, &public] {
        if path.exists() {
            return Err(KeyError::Exists { path: path.clone() });
        }
    }
    write_private_key(&private, key)?;
    let pem = key.verifying_key().to_public_key_pem(LineEnding::LF);
    write_new(&public, pem.expect("a key has a PEM form").as_bytes(), 0o644)?;
    Ok((private, public))
}

/// Writes a private key as PEM with mode 0600, durably; never over a file.
pub fn write_private_key(path: &Path, key: &SigningKey) -> Result<(), KeyError> {
    let pem = key.to_pkcs8_pem(LineEnding::LF).expect("a key has a PEM form");
    write_new(path, pem.as_bytes(), 0o600)
}

/// The whole file under its name, or none: linked there once its bytes are on the disk.
fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), KeyError> {
    let aside = path.with_added_extension("new");
    let written = durable::create_folders(durable::parent(path)).and_then(|()| {
        let _ = fs::remove_file(&aside);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        // Unlike a rename, this fails where a file already is.
        fs::hard_link(&aside, path)?;
        fs::remove_file(&aside)?;
        durable::sync_parent(path)
    });
    if written.is_err() {
        let _ = fs::remove_file(&aside);
    }
    written.map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => KeyError::Exists { path: path.to_owned() },
        _ => KeyError::Write { path: path.to_owned(), source },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn keys_are_read_as_pem_and_as_digits_and_nothing_else() {
        let key = SigningKey::from_bytes(&[7; 32]).verifying_key();
        let pem = key.to_public_key_pem(Default::default()).unwrap();
        assert_eq!(public_key(&pem).unwrap(), key);
        assert_eq!(public_key(&format!(" {}\n", fingerprint(&key))).unwrap(), key);
        let weak = format!("01{}", "00".repeat(31)); // the neutral element
        for wrong in ["", "ed25519", &pem[..60], "00ff", &weak] {
            let error = public_key(wrong).unwrap_err().to_string();
            assert!(error.contains("64 hexadecimal digits"), "{error}");
        }
    }

    #[test]
    fn a_pair_is_the_owners_alone_and_never_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let (key, name) = (generate().unwrap(), folder.path().join("new/site"));
        let (private, public) = write_pair(&name, &key).unwrap();
        assert_eq!(fs::metadata(&private).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read_private_key(&private).unwrap(), key);
        assert_eq!(read_public_key(&public).unwrap(), key.verifying_key());
        let other = generate().unwrap();
        assert_ne!(other, key);
        assert!(matches!(write_pair(&name, &other), Err(KeyError::Exists { .. })));
        assert!(matches!(write_private_key(&private, &other), Err(KeyError::Exists { .. })));
        assert_eq!(read_private_key(&private).unwrap(), key);
        assert_eq!(fs::read_dir(folder.path().join("new")).unwrap().count(), 2);
    }

    #[test]
    fn a_file_without_a_key_is_named() {
        let error = read_public_key(Path::new("/nowhere/site.pub")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/site.pub"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        let public = folder.path().join("site.pub");
        fs::write(&public, fingerprint(&generate().unwrap().verifying_key())).unwrap();
        let error = read_private_key(&public).unwrap_err().to_string();
        assert!(error.contains("site.pub") && error.contains("no ed25519 private key"), "{error}");
    }
}
