//! What is written, and whether it is still what was signed.

use super::studies::Image;
use crate::{Output, print_json};
use ::acceptance::{Case, Files as Planned, Known, Report, page, sign, verify as check};
use anyhow::{Context, Result, bail, ensure};
use keyring::{SigningKey, VerifyingKey};
use serde_json::json;
use std::{
    fs,
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Where the report goes, and who signs it.
#[derive(Debug)]
pub(super) struct Files {
    html: PathBuf,
    key: Option<SigningKey>,
    key_list: Option<PathBuf>,
}

/// Page, JSON and signature have one name and three endings.
const ENDINGS: [&str; 3] = ["html", "json", "sig"];

impl Files {
    /// Fails if the report cannot be signed, or if one is there that may not be written over.
    pub(super) fn of(planned: &Planned, replace: bool) -> Result<Self> {
        let html = planned.html.clone();
        let name = html.display();
        let is_html = html.extension().is_some_and(|ending| ending == ENDINGS[0]);
        ensure!(is_html, "{name}: expected a name that ends with .html");
        let key = planned.key.as_deref().map(keyring::read_private_key).transpose()?;
        let key_list = planned.key_list.clone();
        let beside = ENDINGS.map(|ending| html.with_extension(ending));
        for path in beside.iter().chain(&key_list).filter(|_| !replace) {
            ensure!(
                !path.exists(),
                "{} is there already: --replace writes over it",
                path.display()
            );
        }
        let folder = durable::parent(&html);
        ensure!(folder.is_dir(), "{}: no folder to write into", folder.display());
        Ok(Self { html, key, key_list })
    }

    /// The page is made of the JSON as it can be read again. The signature comes last.
    pub(super) fn write(&self, report: &Report) -> Result<Vec<PathBuf>> {
        let json = report.json();
        let html = page(&Report::parse(&json).context("our own report")?).into_bytes();
        let signature = self.key.as_ref().map(|key| sign(&json, &html, key).into_bytes());
        let old = self.html.with_extension(ENDINGS[2]);
        if old.exists() {
            fs::remove_file(&old).with_context(|| format!("cannot remove {}", old.display()))?;
        }
        let mut written = Vec::new();
        for (ending, bytes) in ENDINGS.into_iter().zip([Some(html), Some(json), signature]) {
            let Some(bytes) = bytes else { continue };
            let path = self.html.with_extension(ending);
            durable::write(&path, &bytes)
                .with_context(|| format!("cannot write {}", path.display()))?;
            written.push(path);
        }
        Ok(written)
    }

    /// Which image a number means, for the site alone; if the plan asks for it.
    pub(super) fn write_key_list(&self, images: &[Image], cases: &[Case]) -> Result<()> {
        let Some(path) = &self.key_list else { return Ok(()) };
        let mut text = String::from("number,patient,file,sop_instance_uid,study_instance_uid\n");
        for (image, case) in images.iter().zip(cases) {
            // What was pulled and is not kept has no file any more.
            let file = match image.known.file.is_empty() {
                true => String::new(),
                false => image.path.display().to_string().replace('"', "\"\""),
            };
            let Known { sop_instance_uid, study_instance_uid, .. } = &image.known;
            let (number, patient) = (case.number, case.patient);
            text.push_str(&format!(
                "{number},{patient},\"{file}\",{sop_instance_uid},{study_instance_uid}\n"
            ));
        }
        let write = || {
            durable::write(path, text.as_bytes())?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o600))
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Fails unless every byte is as one of `keys` signed it, and the page is made of the JSON.
pub(super) fn verify(report: &Path, keys: &[String], output: Output) -> Result<ExitCode> {
    let ending = report.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    let name = report.display();
    ensure!(
        ENDINGS.contains(&ending),
        "{name}: expected the page (.html), its JSON (.json) or its signature (.sig)"
    );
    let trusted: Vec<VerifyingKey> = keys.iter().map(|key| trusted(key)).collect::<Result<_>>()?;
    let read = |ending: &str| {
        let path = report.with_extension(ending);
        fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let (html, json) = (read(ENDINGS[0])?, read(ENDINGS[1])?);
    let signature = String::from_utf8(read(ENDINGS[2])?).context("a signature is text")?;
    let key = check(&signature, &json, &html, &trusted).map_err(|e| e.of_file(report))?;
    let told = Report::parse(&json).map_err(|error| error.of_file(report))?;
    // Another program may draw another page; the signature holds all the same.
    let ours = format!("runtime {}", env!("CARGO_PKG_VERSION"));
    let drawn = (told.conditions.program == ours).then(|| page(&told).into_bytes() == html);
    if drawn == Some(false) {
        bail!("{name}: the page is not made of the JSON, though both are signed");
    }
    let key = keyring::fingerprint(&key);
    if output.json {
        let accepted = told.accepted;
        print_json(
            &json!({ "report": report, "signed_by": key, "accepted": accepted, "redrawn": drawn }),
        )?;
        return Ok(ExitCode::SUCCESS);
    }
    let word = if told.accepted { "accepted" } else { "not accepted" };
    writeln!(io::stdout(), "{name} is as {key} signed it: {}, {word}", told.site)?;
    Ok(ExitCode::SUCCESS)
}

/// A key's digits, or a file with a key.
fn trusted(text: &str) -> Result<VerifyingKey> {
    if crate::config::is_hex_key(text) {
        return keyring::public_key(text).with_context(|| format!("key {text}"));
    }
    Ok(keyring::read_public_key(Path::new(text))?)
}
