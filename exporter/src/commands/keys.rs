//! `exporter keygen` and `exporter sign`: ed25519 keys as PEM files.

use crate::write;
use anyhow::{Context, Result, ensure};
use bundle::{Bundle, SigningKey};
use clap::Args;
use ed25519_dalek::pkcs8::{
    DecodePrivateKey, EncodePrivateKey, EncodePublicKey, spki::der::pem::LineEnding,
};
use serde_json::json;
use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};
use terminal::Terminal;

/// Makes a key pair: NAME.key (private, readable by you alone) and NAME.pub
#[derive(Debug, Args)]
pub(crate) struct Keygen {
    /// Where to write, without ending
    #[arg(long, value_name = "NAME")]
    out: PathBuf,
}

/// Replaces the signature of a bundle
#[derive(Debug, Args)]
pub(crate) struct Sign {
    bundle: PathBuf,
    /// Private key (PEM)
    #[arg(long, value_name = "KEY")]
    key: PathBuf,
    /// Where to write; the bundle itself if absent
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Keygen {
    pub(crate) fn run(self, terminal: Terminal) -> Result<()> {
        let private = self.out.with_added_extension("key");
        let public = self.out.with_added_extension("pub");
        for path in [&private, &public] {
            ensure!(!path.exists(), "{}: found a file, expected none to overwrite", path.display());
        }
        let mut seed = [0; 32];
        File::open("/dev/urandom")
            .and_then(|mut random| random.read_exact(&mut seed))
            .context("cannot read random bytes from /dev/urandom")?;
        let key = SigningKey::from_bytes(&seed);
        let pem = key.to_pkcs8_pem(LineEnding::LF).context("the key cannot be encoded")?;
        let public_pem = key
            .verifying_key()
            .to_public_key_pem(LineEnding::LF)
            .context("the key cannot be encoded")?;
        write_private(&private, pem.as_bytes())?;
        write::file(&public, public_pem.as_bytes())?;
        let fingerprint = hex::encode(key.verifying_key().as_bytes());
        let document = json!({ "private": private, "public": public, "key": fingerprint });
        let text = format!("{}\n{}\nkey {fingerprint}", private.display(), public.display());
        terminal.print(&document, &text)
    }
}

impl Sign {
    pub(crate) fn run(self, terminal: Terminal) -> Result<()> {
        let key = read_private(&self.key)?;
        let mut bundle = Bundle::open(&self.bundle)?;
        bundle.sign(Some(&key))?;
        let out = self.out.unwrap_or(self.bundle);
        write::file(&out, &bundle.to_bytes()?)?;
        let fingerprint = hex::encode(key.verifying_key().as_bytes());
        let document = json!({ "bundle": out, "digest": bundle.digest(), "key": fingerprint });
        terminal.print(&document, &format!("{}: signed by {fingerprint}", out.display()))
    }
}

/// A private key from a PEM file.
pub(crate) fn read_private(path: &Path) -> Result<SigningKey> {
    let pem =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    SigningKey::from_pkcs8_pem(&pem)
        .with_context(|| format!("{}: no ed25519 private key (PEM)", path.display()))
}

fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let fail = || format!("cannot write {}", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(fail)?;
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(fail)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).with_context(fail)
}
