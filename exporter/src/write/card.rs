//! The model card: what a person must know before trusting a bundle, in Markdown.

use super::{
    operating_points::Refit,
    provenance::{Arithmetic, Quantized, origin},
};
use anyhow::Result;
use bundle::{Manifest, Metric};
use graph::{Fit, Normalisation, PictureFilter, Preprocess};
use language::{Language, Prompt};
use std::fmt::Write;

/// Everything in it comes from the manifest and the findings in words, so card and bundle cannot disagree.
pub(crate) fn markdown(manifest: &Manifest, language: Option<&Language>) -> Result<String> {
    let mut card = String::new();
    let quantized = Quantized::of(manifest)?;
    write(&mut card, manifest, quantized.as_ref(), language)
        .expect("a string takes all that is written to it");
    Ok(card)
}

fn write(
    card: &mut String,
    manifest: &Manifest,
    quantized: Option<&Quantized>,
    language: Option<&Language>,
) -> std::fmt::Result {
    let Manifest { id, version, model, calibration, provenance, .. } = manifest;
    writeln!(card, "# {id} {version}\n")?;
    writeln!(card, "{}\n", manifest.intended_use)?;
    writeln!(card, "- Licence: {}", manifest.licence)?;
    writeln!(card, "- Network: {}, 8-bit integers", manifest.architecture())?;
    write_input(card, &manifest.preprocess)?;
    for head in model.heads.iter().filter(|head| !head.labels.is_empty()) {
        writeln!(card, "- {}: {}", head.task, head.labels.join(", "))?;
    }
    let foreign = manifest.contract.as_ref();
    if foreign.is_some_and(|contract| contract.came_quantized) {
        writeln!(
            card,
            "- It came quantized, with its own scales: no float network is known, and no figure beside one"
        )?;
        writeln!(
            card,
            "- Observed on {} images (digest {})",
            calibration.images, calibration.data_digest
        )?;
    } else {
        writeln!(
            card,
            "- Quantized with {} on {} images (digest {})",
            calibration.observer, calibration.images, calibration.data_digest
        )?;
    }
    if foreign.is_some() {
        writeln!(card, "- File of another tool: {}", origin(manifest).unwrap_or_default())?;
    }
    let weights = if foreign.is_some() { "File" } else { "Weights" };
    writeln!(card, "- {weights}: SHA-256 {}", provenance.checkpoint_digest)?;
    writeln!(card, "- Made by {}", provenance.tool)?;
    write_arithmetic(card, manifest, quantized.and_then(|it| it.arithmetic.as_ref()))?;

    if language.is_none() || !manifest.operating_points.is_empty() {
        write_points(card, manifest)?;
        if let Some(quantized) = quantized {
            write_refits(card, quantized, foreign.is_some())?;
        }
    }
    if let Some(language) = language {
        write_language(card, language)?;
    }
    write_metrics(card, &manifest.metrics, foreign.is_some())?;
    writeln!(
        card,
        "\n## Limits\n\nNot a medical device. Findings are probabilities learnt from the data named \
         above; other equipment, patients and findings were not examined."
    )
}

fn write_points(card: &mut String, manifest: &Manifest) -> std::fmt::Result {
    writeln!(card, "\n## Operating points\n\n| finding | threshold | chosen |\n|---|---|---|")?;
    for point in &manifest.operating_points {
        writeln!(card, "| {} | {:.4} | {} |", point.name, point.threshold, point.chosen)?;
    }
    Ok(())
}

/// What was asked for in words, with the words.
fn write_language(card: &mut String, language: &Language) -> std::fmt::Result {
    let Language { space, prompts, bank, .. } = language;
    writeln!(card, "\n## Findings in words\n")?;
    writeln!(
        card,
        "Scored by PRIOR's zero-shot formula from the phrases below: no image was labelled for them in training. Joint \
         space of width {}, places {}x{}.\n",
        space.width, space.grid[0], space.grid[1]
    )?;
    if !prompts.is_empty() {
        writeln!(card, "| finding | phrases for | phrases against | threshold | chosen |")?;
        writeln!(card, "|---|---|---|---|---|")?;
    }
    for Prompt { name, positive_phrases, negative_phrases, threshold, chosen, .. } in prompts {
        let [positive, negative] = [positive_phrases, negative_phrases].map(|list| list.join("; "));
        writeln!(card, "| {name} | {positive} | {negative} | {threshold:.4} | {chosen} |")?;
    }
    let Some(bank) = bank else { return Ok(()) };
    let sentences = bank.sentences.iter().flatten().count();
    writeln!(
        card,
        "\nNearest training sentences: {} prototypes, {sentences} reviewed sentences out of the list with SHA-256 {}. \
         They explain what the network sees by what it was trained on; they are no report.",
        bank.prototypes.len(),
        bank.reviewed
    )
}

fn write_input(card: &mut String, preprocess: &Preprocess) -> std::fmt::Result {
    let fitted = match preprocess.fit {
        Fit::Stretch => "stretched".to_owned(),
        Fit::Pad => "padded with black".into(),
        Fit::CentreCrop => "cropped to its middle and resized".into(),
        Fit::ResizeCrop(side) => {
            format!(
                "its shorter side resized to {} pixels, the middle of that cropped",
                side.pixels()
            )
        }
    };
    let Preprocess { height, width, .. } = preprocess;
    let each: Vec<String> = preprocess
        .normalisations()
        .map(|Normalisation { mean, std }| format!("(x - {mean}) / {std}"))
        .collect();
    let each = each.join(", ");
    write!(
        card,
        "- Input: one frontal chest radiograph, {fitted} to {height}x{width} pixels, {each}"
    )?;
    writeln!(
        card,
        "{}",
        match preprocess.filter {
            PictureFilter::Triangle => "",
            PictureFilter::Gaussian => ", resized as scikit-image does",
        }
    )
}

/// What is left in float: on purpose, and because nobody defined it on integers.
fn write_arithmetic(
    card: &mut String,
    manifest: &Manifest,
    arithmetic: Option<&Arithmetic>,
) -> std::fmt::Result {
    let declared = &manifest.float_nodes;
    if declared.is_empty() {
        writeln!(card, "- Every convolution and linear layer runs on integers")?;
    } else {
        writeln!(card, "- In float on purpose: {}", declared.join(", "))?;
    }
    let Some(Arithmetic { integer_multiplications, float_multiplications, float_nodes }) =
        arithmetic
    else {
        return Ok(());
    };
    if *float_multiplications > 0 {
        let all = integer_multiplications + float_multiplications;
        writeln!(card, "- On integers: {integer_multiplications} of {all} multiplications")?;
    }
    // Whether an ONNX node belongs to a layer that is declared: by its name, or what stands before a `/` or `.` of it.
    let within = |rest: &str| rest.is_empty() || rest.starts_with(['/', '.']);
    let is_of = |node: &str, layer: &String| node.strip_prefix(layer.as_str()).is_some_and(within);
    let others: Vec<&str> = float_nodes
        .iter()
        .map(String::as_str)
        .filter(|node| !declared.iter().any(|layer| is_of(node, layer)))
        .collect();
    if !others.is_empty() {
        writeln!(card, "- In float because they have no form on integers: {}", others.join(", "))?;
    }
    Ok(())
}

/// Where thresholds were in float, and what the validation images say of them.
fn write_refits(card: &mut String, quantized: &Quantized, is_foreign: bool) -> std::fmt::Result {
    if quantized.operating_points.is_empty() {
        let whose = if is_foreign { "as they were given" } else { "the float network's" };
        return writeln!(card, "\nThresholds are {whose}: calibration had no index.");
    }
    writeln!(card, "\nFitted on {} of the val split.\n", quantized.selection())?;
    writeln!(
        card,
        "| finding | float | int8 | 95 % interval | n | moved |\n|---|---|---|---|---|---|"
    )?;
    for Refit { name, old, new, n, interval, kept, .. } in &quantized.operating_points {
        let interval = interval.map_or("-".into(), |[low, high]| format!("{low:.4} to {high:.4}"));
        let moved = kept.as_ref().map_or("yes".into(), |why| format!("no: {why}"));
        writeln!(card, "| {name} | {old:.4} | {new:.4} | {interval} | {n} | {moved} |")?;
    }
    Ok(())
}

fn write_metrics(card: &mut String, metrics: &[Metric], is_foreign: bool) -> std::fmt::Result {
    writeln!(card, "\n## Metrics\n")?;
    if metrics.is_empty() {
        let what = if is_foreign { "network" } else { "checkpoint" };
        return writeln!(card, "The {what} came without measured metrics.");
    }
    writeln!(card, "| task | metric | arithmetic | value | 95 % interval | n | data |")?;
    writeln!(card, "|---|---|---|---|---|---|---|")?;
    for Metric { task, metric, data, split, value, interval: [lo, hi], n, arithmetic } in metrics {
        writeln!(
            card,
            "| {task} | {metric} | {arithmetic} | {value:.4} | {lo:.4} to {hi:.4} | {n} | {data}, \
             {split} |"
        )?;
    }
    Ok(())
}
