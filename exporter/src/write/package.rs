//! A quantized network and everything that travels with it, as one file.

use super::{card, golden, sbom};
use crate::verify::Network;
use anyhow::{Context, Result};
use bundle::SigningKey;
use bundle::{Bundle, LabelCode, Manifest, section};
use language::Language;

/// Lets the network and the phrases that ship draw their golden vectors, and seals it with its manifest; signed where there is a key.
pub(crate) fn seal(
    manifest: Manifest,
    onnx: Vec<u8>,
    network: &Network,
    codes: &[LabelCode],
    (drift, language): (Option<Vec<u8>>, Option<&Language>),
    key: Option<&SigningKey>,
) -> Result<Bundle> {
    let size = [manifest.preprocess.height, manifest.preprocess.width];
    let mut zero_shot = language.map(|it| network.zero_shot(it, &manifest)).transpose()?;
    let golden = golden::vectors(&manifest.preprocess, |input| {
        let mut outputs = network.run(input)?;
        engine::interpret(&outputs, &manifest, size).context("the outputs cannot be decoded")?;
        if let Some(zero_shot) = &mut zero_shot {
            let derived = zero_shot.derived(&outputs)?;
            outputs.outputs.extend(derived);
        }
        Ok(outputs.outputs.into_iter().map(|output| (output.name, output.data)).collect())
    })?;
    let bill = sbom::cyclonedx(&manifest.id, &manifest.version)?;
    // In the order they stand in the file.
    let mut sections = vec![
        (section::MODEL, onnx),
        (section::GOLDEN, golden.to_bytes()?),
        (section::MODEL_CARD, card::markdown(&manifest, language)?.into_bytes()),
        (section::SBOM, bill.into_bytes()),
        (section::CODES, bundle::codes_to_bytes(codes)),
    ];
    sections.extend(drift.map(|bytes| (section::DRIFT, bytes)));
    if let Some(language) = language {
        let bytes = language.to_bytes().context("no box would take these findings in words")?;
        sections.push((section::LANGUAGE, bytes));
    }
    let sections = sections.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect();
    Ok(Bundle::seal(manifest, sections, key)?)
}
