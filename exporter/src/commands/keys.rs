//! `exporter keygen` and `exporter sign`: ed25519 keys as PEM files.

use super::pack;
use crate::write;
use anyhow::Result;
use bundle::Bundle;
use clap::Args;
use keyring::fingerprint;
use serde_json::json;
use std::path::PathBuf;
use terminal::Terminal;

/// Makes a key pair: NAME.key (private, readable by you alone) and NAME.pub
#[derive(Debug, Args)]
pub(crate) struct Keygen {
    /// Where to write, without ending
    #[arg(long, value_name = "NAME")]
    out: PathBuf,
}

/// Replaces the signature of a bundle, or of a pack
#[derive(Debug, Args)]
pub(crate) struct Sign {
    /// A bundle, whose packs keep theirs; or a pack
    bundle: PathBuf,
    /// Private key (PEM)
    #[arg(long, value_name = "KEY")]
    key: PathBuf,
    /// Where to write; the file itself if absent
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Keygen {
    pub(crate) fn run(self, terminal: Terminal) -> Result<()> {
        let key = keyring::generate()?;
        let (private, public) = keyring::write_pair(&self.out, &key)?;
        let fingerprint = fingerprint(&key.verifying_key());
        let document = json!({ "private": private, "public": public, "key": fingerprint });
        let text = format!("{}\n{}\nkey {fingerprint}", private.display(), public.display());
        terminal.print(&document, &text)
    }
}

impl Sign {
    pub(crate) fn run(self, terminal: Terminal) -> Result<()> {
        let key = keyring::read_private_key(&self.key)?;
        if pack::is_one(&self.bundle)? {
            return pack::sign(&self.bundle, &key, self.out, terminal);
        }
        let mut bundle = Bundle::open(&self.bundle)?;
        bundle.sign(Some(&key))?;
        let out = self.out.unwrap_or(self.bundle);
        write::file(&out, &bundle.to_bytes()?)?;
        let fingerprint = fingerprint(&key.verifying_key());
        let document = json!({ "bundle": out, "digest": bundle.digest(), "key": fingerprint });
        terminal.print(&document, &format!("{}: signed by {fingerprint}", out.display()))
    }
}
