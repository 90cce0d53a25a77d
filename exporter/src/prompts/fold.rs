//! Findings of a `findings.toml`, folded into vectors of 8 bits.

use super::{
    float::{FloatPrompt, FloatSide},
    text::TextEncoder,
};
use crate::read::prior::Prior;
use anyhow::{Context, Result, ensure};
use bundle::LabelCode;
use graph::{Graph, LANGUAGE_PLACES};
use language::{Prompt, Side, Space, Vector};
use std::collections::BTreeSet;
use words::Finding;

/// What is chosen by nobody yet.
pub(crate) const UNFITTED: &str = "not fitted: even odds";
const BY_HAND: &str = "by hand, in findings.toml";

/// A finding in words, ready to be fitted.
#[derive(Clone, Debug)]
pub(crate) struct Folded {
    pub(crate) prompt: Prompt,
    /// A person set the threshold.
    pub(crate) by_hand: bool,
}

/// Where images of a network with a language head and phrases of `prior` meet.
pub(crate) fn space(prior: &Prior, graph: &Graph) -> Result<Space> {
    let places = graph.output(LANGUAGE_PLACES);
    let places = places.context("the network has no language head")?;
    let shapes = graph.shapes()?;
    let [width, rows, columns] = shapes[places][..] else {
        anyhow::bail!("`{LANGUAGE_PLACES}` is no map of places");
    };
    ensure!(
        width == prior.width(),
        "`{LANGUAGE_PLACES}` is {width} wide, [prior].embed {}",
        prior.width()
    );
    Ok(Space { id: prior.space, width: width as u32, grid: [rows as u32, columns as u32] })
}

/// Reads and folds the phrases of every finding; `code` knows what other systems call one that does not say so itself.
/// None may have a name in `taken`.
pub(crate) fn findings(
    prior: &Prior,
    encoder: &TextEncoder<'_>,
    findings: &[Finding],
    taken: &BTreeSet<&str>,
    code: impl Fn(&str) -> Option<LabelCode>,
) -> Result<Vec<Folded>> {
    let fold = |finding: &Finding| {
        let name = finding.name.as_str();
        ensure!(
            !taken.contains(name),
            "finding `{name}` is one of the network's own already, expected another name"
        );
        folded(prior, encoder, finding, &code).with_context(|| format!("finding `{name}`"))
    };
    findings.iter().map(fold).collect()
}

fn folded(
    prior: &Prior,
    encoder: &TextEncoder<'_>,
    finding: &Finding,
    code: impl Fn(&str) -> Option<LabelCode>,
) -> Result<Folded> {
    let float = FloatPrompt::read(prior, encoder, &finding.positive, &finding.negative)?;
    let own =
        finding.code.clone().map(|code| LabelCode { code, ..LabelCode::private(&finding.name) });
    let prompt = Prompt {
        name: finding.name.clone(),
        code: own.or_else(|| code(&finding.name)),
        positive_phrases: finding.positive.clone(),
        negative_phrases: finding.negative.clone(),
        positive: rounded(&float.positive)?,
        negative: rounded(&float.negative)?,
        calibration: None,
        threshold: finding.threshold.unwrap_or(0.5),
        chosen: if finding.threshold.is_some() { BY_HAND } else { UNFITTED }.into(),
    };
    Ok(Folded { prompt, by_hand: finding.threshold.is_some() })
}

fn rounded(side: &FloatSide) -> Result<Side> {
    let bias = |bias: f64| -> Result<f32> {
        ensure!(bias.is_finite(), "a bias of the local attention is {bias}, expected a number");
        Ok(bias as f32)
    };
    Ok(Side {
        text: vector(&side.text)?,
        look: vector(&side.look)?,
        look_bias: bias(side.look_bias)?,
        listen: vector(&side.listen)?,
        listen_bias: bias(side.listen_bias)?,
    })
}

/// In 8 bits, symmetric.
pub(crate) fn vector(values: &[f64]) -> Result<Vector> {
    let values: Vec<f32> = values.iter().map(|&x| x as f32).collect();
    ensure!(values.iter().all(|x| x.is_finite()), "a vector holds what is no number");
    Ok(Vector::quantize(&values))
}
