//! `swu make`, `swu inspect`.

use crate::output::Output;
use anyhow::{Context, Result, ensure};
use bundle::{Envelope, SealedPack};
use clap::{Args, Subcommand};
use firmware_host::swu::{self, Description, Swu};
use language::Pack;
use protocol::{Digest, Release};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Wraps a bundle or a pack for update servers and USB sticks, or looks into such an image
#[derive(Debug, Subcommand)]
pub(crate) enum SwuVerb {
    Make(Make),
    Inspect(Inspect),
}

/// Wraps a bundle or a pack into an SWU image
#[derive(Debug, Args)]
pub(crate) struct Make {
    /// Written by `exporter quantize`; or a pack, by `exporter prompts`
    bundle: PathBuf,
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// A revision of hardware it is for; may be repeated
    #[arg(long, value_name = "REVISION", default_value = swu::HARDWARE)]
    hardware: Vec<String>,
    /// For SWUpdate's own tools: a shell command that reads sw-description and writes its signature
    #[arg(long, value_name = "COMMAND")]
    sign_command: Option<String>,
}

/// Reads an SWU image to its end and says what it holds
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    image: PathBuf,
}

impl SwuVerb {
    pub(crate) fn run(self, output: Output) -> Result<()> {
        match self {
            Self::Make(verb) => verb.run(output),
            Self::Inspect(verb) => verb.run(output),
        }
    }
}

impl Make {
    fn run(self, output: Output) -> Result<()> {
        let description = self.description()?;
        let signature = self.sign_command.as_deref().map(|command| sign(command, &description));
        let signature = signature.transpose()?;
        let size = self.pack(&description, signature.as_deref())?;
        let document = json!({
            "image": self.out, "version": description.version, "bundle_sha256": description.sha256,
            "bundle_bytes": size, "signed_for_swupdate": signature.is_some(),
        });
        output.say(&format!("{} holds {}", self.out.display(), description.text), &document)
    }

    fn description(&self) -> Result<Description> {
        let (size, sha256, _) = digest(&self.bundle)?;
        let mut begin = Vec::new();
        let read = open(&self.bundle)?.take(4).read_to_end(&mut begin);
        read.with_context(|| format!("cannot read {}", self.bundle.display()))?;
        let is_pack = SealedPack::is_begun_by(&begin);
        let what = if is_pack { "pack" } else { "bundle" };
        let unusable = || format!("{} is not a usable {what}", self.bundle.display());
        let (name, version, file) = if is_pack {
            let pack = Pack::unseal(&SealedPack::open(&self.bundle)?).with_context(unusable)?;
            (format!("pack {}", pack.name), pack.version, swu::PACK)
        } else {
            let envelope = Envelope::read(open(&self.bundle)?, size).with_context(unusable)?;
            (envelope.manifest.id, envelope.manifest.version, swu::IMAGE)
        };
        let release = version.parse::<Release>();
        let release = release.map_err(anyhow::Error::msg).with_context(unusable)?;
        Ok(Description {
            version: release.to_string(),
            text: format!("{name} {release}"),
            hardware: self.hardware.clone(),
            file: file.into(),
            sha256,
        })
    }

    fn pack(&self, description: &Description, signature: Option<&[u8]>) -> Result<u64> {
        let (size, sha256, sum) = digest(&self.bundle)?;
        ensure!(sha256 == description.sha256, "{} changed meanwhile", self.bundle.display());
        let mut image = open(&self.bundle)?;
        let part = self.out.with_added_extension("part");
        let written = (|| {
            let mut out = BufWriter::new(File::create(&part)?);
            swu::write(
                &mut out,
                &description.to_text(),
                signature,
                &description.file,
                &mut image,
                (size, sum),
            )?;
            drop(out);
            durable::sync_file(&part)?;
            fs::rename(&part, &self.out)?;
            durable::sync_parent(&self.out)?;
            anyhow::Ok(())
        })();
        if written.is_err() {
            // What matters is the error at hand.
            let _ = fs::remove_file(&part);
        }
        written.with_context(|| format!("cannot write {}", self.out.display()))?;
        Ok(size)
    }
}

impl Inspect {
    fn run(self, output: Output) -> Result<()> {
        let unusable = || format!("{} is no usable SWU image", self.image.display());
        let mut image = Swu::open(open(&self.image)?).with_context(unusable)?;
        let (mut sha256, mut buffer) = (Sha256::new(), vec![0; 64 << 10]);
        while let length @ 1.. = image.read(&mut buffer).with_context(unusable)? {
            sha256.update(&buffer[..length]);
        }
        let (size, signed) = (image.size(), image.is_signed());
        let description = image.description().clone();
        image.finish().with_context(unusable)?;
        let found = Digest(sha256.finalize().into());
        ensure!(
            found == description.sha256,
            "{}: SHA-256 of {} is {found}, sw-description says {}",
            self.image.display(),
            description.file,
            description.sha256
        );
        let document = json!({
            "version": description.version, "description": description.text,
            "hardware": description.hardware, "bundle_sha256": description.sha256,
            "bundle_bytes": size, "signed_for_swupdate": signed,
        });
        let Description { version, text, hardware, .. } = &description;
        let hardware = hardware.join(", ");
        let text = format!(
            "{text}\nversion   {version}\nhardware  {hardware}\nbundle    {size} bytes, SHA-256 {found}"
        );
        output.say(&text, &document)
    }
}

/// Length, SHA-256 and cpio checksum, piece by piece.
fn digest(path: &Path) -> Result<(u64, Digest, u32)> {
    let mut file = open(path)?;
    let (mut size, mut sha256, mut sum) = (0, Sha256::new(), 0);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let length =
            file.read(&mut buffer).with_context(|| format!("cannot read {}", path.display()))?;
        if length == 0 {
            return Ok((size, Digest(sha256.finalize().into()), sum));
        }
        size += length as u64;
        sha256.update(&buffer[..length]);
        sum = swu::sum(sum, &buffer[..length]);
    }
}

fn open(path: &Path) -> Result<BufReader<File>> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(BufReader::with_capacity(64 << 10, file))
}

/// The description in, its signature out.
fn sign(command: &str, description: &Description) -> Result<Vec<u8>> {
    let mut child = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start sh")?;
    let mut stdin = child.stdin.take().context("no way into the command")?;
    let told = stdin.write_all(description.to_text().as_bytes());
    drop(stdin);
    let output = child.wait_with_output().context("the signing command is gone")?;
    ensure!(output.status.success(), "{command:?} ended with {}", output.status);
    told.with_context(|| format!("{command:?} did not read the description"))?;
    ensure!(!output.stdout.is_empty(), "{command:?} wrote no signature");
    Ok(output.stdout)
}
