//! `exporter inspect`: what a bundle says about itself, and its sections as files.

use super::pack;
use crate::write;
use anyhow::{Context, Result, bail, ensure};
use bundle::{Bundle, LabelCode, section};
use clap::Args;
use engine::{Engine, Options};
use language::{Carrier, Language, Prompt};
use prost::Message;
use serde::Serialize;
use serde_json::json;
use std::{
    collections::BTreeMap,
    fmt::{self, Display, Formatter},
    path::PathBuf,
};
use terminal::Terminal;
use tract_onnx::pb::ModelProto;

/// Prints manifest, integer share, packs and sizes of a bundle; or what a pack asks for
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// A bundle, or a pack
    bundle: PathBuf,
    /// Write every section as a file into this folder
    #[arg(long, value_name = "DIR")]
    extract: Option<PathBuf>,
}

/// How much of a network runs on integers, as the engine runs it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct IntegerShare {
    /// Convolutions, linear layers and products of matrices on integers.
    pub(crate) integer: usize,
    /// All of them.
    pub(crate) all: usize,
    /// Multiplications of one image.
    pub(crate) integer_macs: u64,
    pub(crate) float_macs: u64,
    /// ONNX nodes by operator.
    pub(crate) operators: BTreeMap<String, usize>,
}

impl Inspect {
    pub(crate) fn run(self, terminal: Terminal) -> Result<()> {
        if pack::is_one(&self.bundle)? {
            ensure!(self.extract.is_none(), "{}: a pack has no sections", self.bundle.display());
            return pack::inspect(&self.bundle, terminal);
        }
        let bundle = Bundle::open(&self.bundle)?;
        if let Some(folder) = &self.extract {
            for entry in &bundle.manifest.sections {
                // Names come from outside: none may lead out of the folder.
                if entry.name.contains(['/', '\\']) || entry.name.starts_with('.') {
                    bail!("{}: section `{}` is no file name", self.bundle.display(), entry.name);
                }
                let bytes = bundle.section(&entry.name).context("a listed section is there")?;
                write::file(&folder.join(&entry.name), bytes)?;
            }
        }
        let onnx = bundle.require(section::MODEL)?;
        // What the engine runs in which arithmetic.
        let engine = Engine::open(&bundle, &Options::threads(1));
        let engine = engine.map(|engine| engine.integer_share().clone());
        let share = engine.as_ref().ok().map(|share| IntegerShare::of(onnx, share)).transpose()?;
        let manifest = &bundle.manifest;
        let codes = bundle.codes()?;
        let language = Carrier::from(&bundle).language()?;
        let key = bundle.signature().map(|signature| hex::encode(signature.key.as_bytes()));
        let document = json!({
            "bundle": self.bundle, "digest": bundle.digest(), "signed_by": key,
            "integer_share": share, "float_nodes": engine.as_ref().ok().map(|share| &share.float_nodes),
            "manifest": manifest, "codes": codes, "language": language.as_ref().map(described),
            "packs": bundle.packs().iter().map(pack::about).collect::<Vec<_>>(),
        });
        let share = share.as_ref().map_or("unknown".into(), IntegerShare::to_string);
        let float = match &engine {
            Ok(share) if share.float_nodes.is_empty() => "nothing".into(),
            Ok(share) => share.float_nodes.join(", "),
            Err(refusal) => format!("unknown, the engine refuses it: {refusal}"),
        };
        let in_float = [format!("integer share {share}"), format!("in float      {float}")];
        let about = About { codes: &codes, language: language.as_ref(), key: key.as_deref() };
        terminal.print(&document, &self.text(&bundle, in_float, &about))
    }

    fn text(&self, bundle: &Bundle, in_float: [String; 2], about: &About<'_>) -> String {
        let manifest = &bundle.manifest;
        let mut lines = vec![
            format!("{}: {} {}", self.bundle.display(), manifest.id, manifest.version),
            format!("digest        {}", bundle.digest()),
            format!("signed by     {}", about.key.unwrap_or("nobody")),
            format!("network       {}", manifest.architecture()),
        ];
        lines.extend(in_float);
        lines.push(format!(
            "calibration   {}, {} images, {} tensors",
            manifest.calibration.observer,
            manifest.calibration.images,
            manifest.calibration.tensors.len()
        ));
        for entry in &manifest.sections {
            lines.push(format!("section       {:<14} {:>10} bytes", entry.name, entry.size));
        }
        lines.extend(bundle.packs().iter().map(pack::line));
        for point in &manifest.operating_points {
            lines.push(format!(
                "threshold     {} {:.4}, {}",
                point.name, point.threshold, point.chosen
            ));
        }
        for LabelCode { label, code, .. } in about.codes {
            let (value, scheme, meaning) = (code.value(), code.scheme(), code.meaning());
            lines.push(format!("code          {label}: {value} {scheme} {meaning}"));
        }
        lines.extend(about.language.iter().flat_map(|language| lines_of_language(language)));
        if let Some(card) = bundle.section(section::MODEL_CARD) {
            lines.push(String::new());
            lines.push(String::from_utf8_lossy(card).into_owned());
        }
        lines.join("\n")
    }
}

/// What stands in sections of a bundle.
struct About<'a> {
    codes: &'a [LabelCode],
    language: Option<&'a Language>,
    key: Option<&'a str>,
}

/// What is asked for in words, without its vectors.
fn described(language: &Language) -> serde_json::Value {
    let Language { space, scale, prompts, bank, usual } = language;
    let heat = if usual.is_some() { "shares of the score" } else { "local attention" };
    let bank = bank.as_ref().map(|bank| {
        let sentences: Vec<&String> = bank.sentences.iter().flatten().collect();
        json!({ "prototypes": bank.prototypes.len(), "reviewed": bank.reviewed, "sentences": sentences })
    });
    json!({
        "space": hex::encode(space.id), "width": space.width, "grid": space.grid, "scale": scale,
        "findings": prompts.iter().map(pack::finding).collect::<Vec<_>>(), "bank": bank, "heat": heat,
    })
}

fn lines_of_language(language: &Language) -> Vec<String> {
    let Language { space, prompts, bank, .. } = language;
    let [rows, columns] = space.grid;
    let mut lines = vec![format!(
        "language      width {}, {rows}x{columns} places, space {}",
        space.width,
        &hex::encode(space.id)[..16]
    )];
    lines.extend(prompts.iter().map(|prompt| {
        let Prompt { name, positive_phrases, negative_phrases, threshold, chosen, .. } = prompt;
        let (positive, negative) = (positive_phrases.len(), negative_phrases.len());
        format!(
            "in words      {name}: {positive} phrases for, {negative} against, threshold {threshold:.4}, {chosen}"
        )
    }));
    lines.extend(bank.iter().map(|bank| {
        let sentences = bank.sentences.iter().flatten().count();
        let prototypes = bank.prototypes.len();
        format!(
            "bank          {prototypes} prototypes, {sentences} sentences, list {}",
            &bank.reviewed[..16]
        )
    }));
    lines
}

impl IntegerShare {
    /// Of an ONNX file that the engine takes.
    pub(crate) fn of(onnx: &[u8], engine: &engine::IntegerShare) -> Result<Self> {
        let model = ModelProto::decode(onnx).context("model.onnx is no ONNX file")?;
        let graph = model.graph.context("model.onnx has no graph")?;
        let (mut integer, mut all, mut operators) = (0, 0, BTreeMap::new());
        for node in &graph.node {
            *operators.entry(node.op_type.clone()).or_default() += 1;
            if !matches!(node.op_type.as_str(), "Conv" | "ConvTranspose" | "Gemm" | "MatMul") {
                continue;
            }
            // The engine calls a node without a name by what it makes.
            let name = if node.name.is_empty() { &node.output[0] } else { &node.name };
            all += 1;
            integer += usize::from(!engine.float_nodes.contains(name));
        }
        let engine::IntegerShare { integer_macs, float_macs, .. } = *engine;
        Ok(Self { integer, all, integer_macs, float_macs, operators })
    }
}

impl Display for IntegerShare {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { integer, all, integer_macs, float_macs, .. } = self;
        let multiplications = (integer_macs + float_macs).max(1) as f64;
        // Rounded down: nearly all is not all.
        let percent = (*integer_macs as f64 / multiplications * 1e4).floor() / 1e2;
        write!(f, "{integer} of {all} layers, {percent} % of multiplications")
    }
}
