//! `exporter prompts`: findings in words for boxes that already have the network.

use crate::{
    passes::shares,
    prompts::text::TextEncoder,
    read::{checkpoint::Checkpoint, prior::Prior, selected::Selected},
    verify::Network,
    write::{
        self,
        language::{Evidence, Fitted, Wording},
        provenance::{self, Quantized},
    },
};
use anyhow::{Context, Result, ensure};
use bundle::{Bundle, Manifest, section};
use clap::Args;
use language::{Carrier, Codes, Language, Pack};
use records::Split;
use serde_json::json;
use std::{collections::BTreeSet, path::PathBuf};
use terminal::Terminal;

/// Reads phrases of findings and packs them for boxes whose bundle was made of the same checkpoint
#[derive(Debug, Args)]
pub(crate) struct Prompts {
    /// PRIOR checkpoint folder that the bundle was made of: its text encoder reads the phrases
    #[arg(long, value_name = "DIR")]
    checkpoint: PathBuf,
    /// Findings with their phrases
    #[arg(long, value_name = "TOML")]
    findings: PathBuf,
    /// Pack to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Name of the pack; a newer version replaces an older one of the same name
    #[arg(long, value_name = "NAME", default_value = "findings")]
    name: String,
    /// Version of the pack, newer ones sort later
    #[arg(id = "pack-version", long = "version", value_name = "VERSION", default_value = "0.1.0")]
    version: String,
    /// Private key (PEM) to sign with, from `exporter keygen`
    #[arg(long, value_name = "KEY")]
    sign: Option<PathBuf>,
    /// Bundle the pack is for: it is checked against it
    #[arg(long, value_name = "BUNDLE")]
    bundle: Option<PathBuf>,
    /// With --bundle: index whose val split probabilities and thresholds are fitted on, by what the bundle's network says
    #[arg(long, value_name = "INDEX", requires = "bundle")]
    data: Option<PathBuf>,
    #[command(flatten)]
    selected: Selected,
}

/// Seeds of the pack's golden vectors.
const SEEDS: [u64; 3] = [1, 2, 3];
/// Of golden vectors where no bundle says how places are rounded.
const CODES: Codes = Codes { scale: 1.0 / 32.0, zero: 128 };

impl Prompts {
    pub(crate) fn run(self, terminal: Terminal) -> Result<()> {
        let key = self.sign.as_deref().map(keyring::read_private_key).transpose()?;
        let prior = Prior::open(&self.checkpoint)?;
        let checkpoint = Checkpoint::open(&self.checkpoint)?;
        let (graph, _) = shares::with_projections(&prior, &checkpoint.graph, &checkpoint.weights)?;
        let bundle = self.bundle.as_deref().map(Bundle::open).transpose()?;
        let language =
            bundle.as_ref().map(|bundle| self.language_of(bundle, &prior)).transpose()?;
        let taken = taken(bundle.as_ref(), language.as_ref());
        let encoder = TextEncoder::new(&prior)?;
        let taken = taken.iter().map(String::as_str).collect();
        let mut wording = Wording::read(&prior, &encoder, &graph, Some(&self.findings), &taken)?;
        let (fitted, codes) = match &bundle {
            None => (wording.unfitted(), CODES),
            Some(bundle) => {
                let manifest = &bundle.manifest;
                let onnx = bundle.require(section::MODEL)?;
                let network = Network::open(&manifest.float_nodes, onnx)?;
                let fitted = self.fit(&mut wording, manifest, &network, terminal)?;
                (fitted, network.rounding()?.maps.places)
            }
        };
        let Language { space, scale, prompts, .. } = wording.language();
        let (name, version) = (self.name.clone(), self.version.clone());
        let mut pack = Pack { name, version, space, scale, prompts, golden: Vec::new() };
        pack.prove_by(&SEEDS, codes)?;
        let bytes = pack.seal(key.as_ref())?.to_bytes();
        write::file(&self.out, &bytes)?;
        self.say(&pack, &fitted, bytes.len(), key.is_some(), terminal)
    }

    /// Refuses a bundle that these phrases do not fit.
    fn language_of(&self, bundle: &Bundle, prior: &Prior) -> Result<Language> {
        let name = self.bundle.as_deref().unwrap_or(&self.out).display();
        let language = Carrier::from(bundle).language().with_context(|| name.to_string())?;
        let language = language.with_context(|| {
            format!("{name} has no language head: expected a bundle made with --prompts or --bank")
        })?;
        ensure!(
            language.space.id == prior.space,
            "{name} has joint space {}, {} has {}: expected the checkpoint it was made of",
            hex::encode(language.space.id),
            self.checkpoint.display(),
            hex::encode(prior.space)
        );
        Ok(language)
    }

    fn fit(
        &self,
        wording: &mut Wording,
        manifest: &Manifest,
        network: &Network,
        terminal: Terminal,
    ) -> Result<Vec<Fitted>> {
        let Some(data) = &self.data else { return Ok(wording.unfitted()) };
        let selection = match Quantized::of(manifest)? {
            Some(quantized) if !self.selected.is_asked() => quantized.selection(),
            _ => self.selected.or_trained(&provenance::table(manifest)?)?,
        };
        let evidence = Evidence {
            network,
            manifest,
            records: records::read(data)?,
            selection: &selection,
            split: Split::Val,
        };
        let progress = terminal.progress(0).with_message("fitting findings in words");
        Ok(wording.fit(&evidence, &progress)?.0)
    }

    fn say(
        &self,
        pack: &Pack,
        fitted: &[Fitted],
        bytes: usize,
        signed: bool,
        terminal: Terminal,
    ) -> Result<()> {
        let Pack { name, version, space, .. } = pack;
        let document = json!({
            "pack": self.out, "name": name, "version": version, "bytes": bytes, "signed": signed,
            "space": hex::encode(space.id), "findings_in_words": fitted,
        });
        let lines: String = fitted.iter().map(|fitted| format!("\n{}", fitted.text())).collect();
        let text = format!(
            "{}: {name} {version}, {} findings, {:.1} kB, {}, for space {}{lines}",
            self.out.display(),
            pack.prompts.len(),
            bytes as f64 / 1e3,
            if signed { "signed" } else { "not signed" },
            &hex::encode(space.id)[..16],
        );
        terminal.print(&document, &text)
    }
}

/// Names that findings of the bundle have already.
fn taken(bundle: Option<&Bundle>, language: Option<&Language>) -> BTreeSet<String> {
    let heads = bundle.into_iter().flat_map(|bundle| &bundle.manifest.model.heads);
    let prompts = language.into_iter().flat_map(|language| &language.prompts);
    let own = heads.flat_map(|head| &head.labels);
    own.chain(prompts.map(|prompt| &prompt.name)).cloned().collect()
}
