//! `exporter check`, `sign` and `inspect` of a pack, and of the packs of a bundle.

use crate::write;
use anyhow::{Context, Result};
use bundle::{Bundle, SealedPack, SigningKey, VerifyingKey};
use kernels::{Isa, Pool};
use keyring::fingerprint;
use language::{Carrier, Pack, Prompt};
use serde_json::{Value, json};
use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};
use terminal::Terminal;

/// Whether a file begins as a pack does.
pub(super) fn is_one(path: &Path) -> Result<bool> {
    let mut begin = Vec::new();
    let read = File::open(path).and_then(|file| file.take(4).read_to_end(&mut begin));
    read.with_context(|| format!("cannot read {}", path.display()))?;
    Ok(SealedPack::is_begun_by(&begin))
}

/// Structure, signature and golden vectors of a pack.
pub(super) fn check(path: &Path, trusted: &[VerifyingKey], terminal: Terminal) -> Result<()> {
    let (sealed, pack) = open(path)?;
    let name = path.display();
    if !trusted.is_empty() {
        sealed.check_signature(trusted).with_context(|| name.to_string())?;
    }
    prove(&pack).with_context(|| name.to_string())?;
    let mut document = about(&sealed);
    document["pack"] = json!(path);
    document["trusted"] = (!trusted.is_empty()).into();
    document["golden_vectors"] = pack.golden.len().into();
    let text = format!(
        "{name}: pack {} {}, whole, {}, {} golden vectors of {} findings reproduced\ndigest {}",
        pack.name,
        pack.version,
        signer(&sealed).map_or("not signed".into(), |key| format!("signed by {key}")),
        pack.golden.len(),
        pack.prompts.len(),
        hex::encode(sealed.digest())
    );
    terminal.print(&document, &text)
}

/// Of the packs behind a bundle: whether they fit it and are reproduced. What is to be said of them.
pub(super) fn check_behind(bundle: &Bundle) -> Result<Vec<Value>> {
    for pack in Carrier::from(bundle).packs()? {
        prove(&pack).with_context(|| format!("pack {}", pack.name))?;
    }
    Ok(bundle.packs().iter().map(about).collect())
}

/// Replaces the signature.
pub(super) fn sign(
    path: &Path,
    key: &SigningKey,
    out: Option<PathBuf>,
    terminal: Terminal,
) -> Result<()> {
    let (mut sealed, _) = open(path)?;
    sealed.sign(Some(key));
    let out = out.unwrap_or_else(|| path.to_owned());
    write::file(&out, &sealed.to_bytes())?;
    let fingerprint = fingerprint(&key.verifying_key());
    let digest = hex::encode(sealed.digest());
    let document = json!({ "pack": out, "digest": digest, "key": fingerprint });
    terminal.print(&document, &format!("{}: signed by {fingerprint}", out.display()))
}

/// What a pack says about itself.
pub(super) fn inspect(path: &Path, terminal: Terminal) -> Result<()> {
    let (sealed, pack) = open(path)?;
    let [rows, columns] = pack.space.grid;
    let space = hex::encode(pack.space.id);
    let mut document = about(&sealed);
    document["pack"] = json!(path);
    document["space"] = json!({ "id": space, "width": pack.space.width, "grid": [rows, columns] });
    document["scale"] = pack.scale.into();
    document["findings"] = pack.prompts.iter().map(finding).collect();
    document["golden_vectors"] = pack.golden.len().into();
    let mut lines = vec![
        format!("{}: pack {} {}", path.display(), pack.name, pack.version),
        format!("digest        {}", hex::encode(sealed.digest())),
        format!("signed by     {}", signer(&sealed).as_deref().unwrap_or("nobody")),
        format!("space         {space}, width {}, {rows}x{columns} places", pack.space.width),
        format!("golden        {} vectors", pack.golden.len()),
    ];
    for prompt in &pack.prompts {
        lines.push(format!(
            "finding       {}, from {:.4} on, {}",
            prompt.name, prompt.threshold, prompt.chosen
        ));
        lines
            .extend(prompt.positive_phrases.iter().map(|phrase| format!("  for         {phrase}")));
        lines
            .extend(prompt.negative_phrases.iter().map(|phrase| format!("  against     {phrase}")));
    }
    terminal.print(&document, &lines.join("\n"))
}

/// A line a pack, for `inspect` of a bundle.
pub(super) fn line(sealed: &SealedPack) -> String {
    let by = signer(sealed);
    let (name, version) = (sealed.name(), sealed.version());
    format!("pack          {name} {version}, signed by {}", by.as_deref().unwrap_or("nobody"))
}

/// Name, version, digest and signer, for programs.
pub(super) fn about(sealed: &SealedPack) -> Value {
    json!({
        "name": sealed.name(), "version": sealed.version(), "digest": hex::encode(sealed.digest()),
        "signed_by": signer(sealed),
    })
}

/// A finding in words without its vectors, for programs.
pub(super) fn finding(prompt: &Prompt) -> Value {
    json!({
        "name": prompt.name, "threshold": prompt.threshold, "chosen": prompt.chosen, "code": prompt.code,
        "positive": prompt.positive_phrases, "negative": prompt.negative_phrases,
        "calibration": prompt.calibration.map(|platt| [platt.slope, platt.offset]),
    })
}

fn open(path: &Path) -> Result<(SealedPack, Pack)> {
    let sealed = SealedPack::open(path)?;
    let pack = Pack::unseal(&sealed)
        .with_context(|| format!("{} is not a usable pack", path.display()))?;
    Ok((sealed, pack))
}

fn signer(sealed: &SealedPack) -> Option<String> {
    sealed.signature().map(|signature| hex::encode(signature.key.as_bytes()))
}

fn prove(pack: &Pack) -> Result<()> {
    Ok(pack.prove(Isa::best(), &Arc::new(Pool::new(1)))?)
}
