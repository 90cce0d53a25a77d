//! The page a finished run leaves: what was minimised, what the prototypes stand for, what the decoder draws.

use super::{Damaged, Pair, Pairs, Pictures, history};
use crate::{
    index::write_whole,
    plot::{Curve, Lines, bars, escape, img},
    prior::{Batch, Objective, Term, Trained},
};
use anyhow::Result;
use std::{
    fmt::Write,
    path::{Path, PathBuf},
};
use tch::{Device, Kind, Tensor};

const FILE: &str = "report.html";

/// What the page shows beside the curves.
#[derive(Debug)]
pub struct Shown<'a> {
    /// The pairs trained on, whose sentences the prototypes are explained by.
    pub trained_on: &'a Pairs,
    /// Pairs whose images are drawn again; not trained on where there are such.
    pub images: &'a [Pair],
    pub images_are: &'a str,
    pub damaged: &'a [Damaged],
}

/// Pairs looked at for the prototypes, and at a time.
const LOOKED_AT: usize = 2000;
const BATCH: usize = 16;
const PROTOTYPES: usize = 16;
const SENTENCES: usize = 3;
const IMAGES: usize = 6;
/// Points of a curve: more would only make the page larger.
const POINTS: usize = 300;

/// Writes the page into the checkpoint folder, from what stands there.
pub fn write(folder: &Path, shown: &Shown<'_>) -> Result<PathBuf> {
    let trained = Trained::open(folder, Device::Cpu)?;
    let objective = trained.objective()?;
    let state = &trained.state;
    let mut html = format!(
        "<!doctype html><meta charset=\"utf-8\"><title>Pre-training</title>\n\
         <style>body{{font-family:sans-serif;max-width:1380px;margin:2em auto;padding:0 1em}}svg{{margin:0 .4em .8em 0}}\
         td,th{{padding:.25em .8em;text-align:left;vertical-align:top}}tr:nth-child(even){{background:#f4f4f4}}\
         figure{{display:inline-block;margin:0 1em 1em 0}}figcaption{{font-size:small;max-width:30em}}\
         img{{image-rendering:pixelated;margin-right:3px}}</style>\n\
         <h1>Pre-training</h1>\n<p>{} steps on {} pairs, seed {}, data {}.{}</p>\n",
        state.step,
        shown.trained_on.all.len(),
        state.seed.map_or("unknown".to_owned(), |seed| seed.to_string()),
        escape(state.data_digest.get(..12).unwrap_or_default()),
        if state.finished { "" } else { " Not finished." }
    );
    curves(&mut html, &history::read(folder)?);
    tch::no_grad(|| -> Result<()> {
        if objective.weights.uses_prototypes() {
            prototypes(&mut html, &uses(&trained, shown.trained_on, &objective)?);
        }
        if objective.weights.image > 0.0 {
            images(&mut html, &trained, shown, &objective)?;
        }
        Ok(())
    })?;
    damaged(&mut html, shown.damaged);
    let path = folder.join(FILE);
    write_whole(&path, html.as_bytes())?;
    Ok(path)
}

fn curves(html: &mut String, lines: &[history::Line]) {
    html.push_str("<h2>Losses</h2>\n");
    let mut marks: Vec<(f64, String)> = Vec::new();
    for line in lines {
        if marks.last().is_none_or(|(_, name)| *name != line.stage) {
            marks.push((line.step as f64, line.stage.clone()));
        }
    }
    let chart = |title: String, of: &dyn Fn(&history::Line) -> Option<f64>| {
        let points: Vec<_> =
            lines.iter().filter_map(|line| Some((line.step as f64, of(line)?))).collect();
        let first = points.first().map_or(0.0, |(step, _)| *step);
        let marks = marks.iter().filter(|(step, _)| *step >= first).cloned().collect();
        let curve = Curve { name: title.clone(), points: thinned(points), dots: false };
        Lines { title, x: "step".into(), curves: vec![curve], marks }.svg()
    };
    html.push_str(&chart("total, weighted".into(), &|line| Some(line.loss)));
    for term in Term::ALL {
        if lines.iter().any(|line| line.terms.contains_key(&term)) {
            html.push_str(&chart(format!("{term}, unweighted"), &|line| {
                line.terms.get(&term).copied()
            }));
        }
    }
    html.push_str(&chart("norm of the gradient".into(), &|line| line.gradient));
    html.push_str(&chart("learning rate".into(), &|line| Some(line.rate)));
}

/// Means of neighbours, so that a long run stays readable.
fn thinned(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let n = points.len().div_ceil(POINTS).max(1);
    let mean = |chunk: &[(f64, f64)]| {
        let sum = chunk.iter().fold((0.0, 0.0), |sum, p| (sum.0 + p.0, sum.1 + p.1));
        (sum.0 / chunk.len() as f64, sum.1 / chunk.len() as f64)
    };
    points.chunks(n).map(mean).collect()
}

/// How often each prototype is a sentence's first choice, and the sentences most like it.
struct Uses {
    sentences: usize,
    /// By prototype.
    counts: Vec<usize>,
    nearest: Vec<Vec<(f64, String)>>,
}

fn uses(trained: &Trained, pairs: &Pairs, objective: &Objective) -> Result<Uses> {
    let mut uses = Uses { sentences: 0, counts: Vec::new(), nearest: Vec::new() };
    let pairs = &pairs.all[..pairs.all.len().min(LOOKED_AT)];
    for chunk in pairs.chunks(BATCH) {
        let (batch, texts) = reports(trained, chunk, None, objective)?;
        let Some(similar) = trained.prior.prototypes(&batch, objective) else { break };
        let prototypes = similar.size()[1] as usize;
        uses.counts.resize(prototypes, 0);
        uses.nearest.resize(prototypes, Vec::new());
        let similar = Vec::<f64>::try_from(similar.to_kind(Kind::Double).contiguous().view([-1]))?;
        for (row, text) in similar.chunks_exact(prototypes).zip(texts) {
            let best = (0..prototypes).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap_or(0);
            uses.sentences += 1;
            uses.counts[best] += 1;
            for (near, &similarity) in uses.nearest.iter_mut().zip(row) {
                insert(near, similarity, &text);
            }
        }
    }
    Ok(uses)
}

/// Keeps the most similar sentences, each once.
fn insert(near: &mut Vec<(f64, String)>, similarity: f64, text: &str) {
    if near.iter().any(|(_, known)| known == text) {
        return;
    }
    let at = near.partition_point(|(other, _)| *other >= similarity);
    if at < SENTENCES {
        near.insert(at, (similarity, text.to_owned()));
        near.truncate(SENTENCES);
    }
}

fn prototypes(html: &mut String, uses: &Uses) {
    let mut order: Vec<usize> = (0..uses.counts.len()).collect();
    order.sort_by(|&a, &b| uses.counts[b].cmp(&uses.counts[a]).then(a.cmp(&b)));
    let all = uses.sentences.max(1) as f64;
    let shares: Vec<f64> = order.iter().map(|&k| uses.counts[k] as f64 / all).collect();
    let used = shares.iter().filter(|share| **share > 0.0).count();
    let entropy: f64 = shares.iter().filter(|s| **s > 0.0).map(|s| -s * s.ln()).sum();
    html.push_str(&format!(
        "<h2>Prototypes</h2>\n<p>{} sentences chose {used} of {} prototypes first, as evenly as {:.1} would be.</p>\n{}",
        uses.sentences,
        order.len(),
        entropy.exp(),
        bars("share of the sentences that choose it first", "prototypes, most used first", &shares)
    ));
    html.push_str("<table><tr><th>prototype<th>first choice of<th>nearest sentences</tr>\n");
    for &k in order.iter().take(PROTOTYPES).filter(|&&k| uses.counts[k] > 0) {
        let near: Vec<String> = uses.nearest[k].iter().map(|(_, text)| escape(text)).collect();
        let share = 100.0 * uses.counts[k] as f64 / all;
        html.push_str(&format!(
            "<tr><td>{k}<td>{} ({share:.0} %)<td>{}</tr>\n",
            uses.counts[k],
            near.join("<br>")
        ));
    }
    html.push_str("</table>\n");
}

fn images(
    html: &mut String,
    trained: &Trained,
    shown: &Shown<'_>,
    objective: &Objective,
) -> Result<()> {
    let pairs = &shown.images[..shown.images.len().min(IMAGES)];
    let preprocess = trained.preprocess;
    let (height, width) = (preprocess.height, preprocess.width);
    let pictures = Pictures::new(preprocess, None)?;
    html.push_str(&format!(
        "<h2>Images drawn again</h2>\n<p>Left as it is, right from what the encoder kept of it and what its report says. {}.</p>\n",
        escape(shown.images_are)
    ));
    for pair in pairs {
        let pixels = pictures.read(&pair.images[0])?;
        let (batch, _) = reports(
            trained,
            std::slice::from_ref(pair),
            Some(&pictures.normalised(pixels.clone())),
            objective,
        )?;
        let drawn =
            trained.prior.redrawn(&batch, objective).to_kind(Kind::Float).contiguous().view([-1]);
        let drawn: Vec<f32> = Vec::try_from(drawn)?;
        let drawn: Vec<f32> = drawn.iter().map(|x| x * preprocess.std + preprocess.mean).collect();
        let error = drawn.iter().zip(&pixels).map(|(a, b)| f64::from((a - b).abs())).sum::<f64>();
        writeln!(
            html,
            "<figure>{}{}<figcaption>{}: off by {:.3} of full brightness on average</figcaption></figure>",
            img(&pixels, width, height)?,
            img(&drawn, width, height)?,
            escape(&pair.id),
            error / pixels.len() as f64
        )?;
    }
    Ok(())
}

fn damaged(html: &mut String, damaged: &[Damaged]) {
    if damaged.is_empty() {
        return;
    }
    html.push_str("<h2>Images left out</h2>\n<table><tr><th>pair<th>file<th>reason</tr>\n");
    for bad in damaged {
        let [id, image, reason] =
            [&bad.id, &bad.image.display().to_string(), &bad.reason].map(|text| escape(text));
        html.push_str(&format!("<tr><td>{id}<td>{image}<td>{reason}</tr>\n"));
    }
    html.push_str("</table>\n");
}

/// The pairs' reports, and the text of every sentence that takes part, in the order of the model's rows.
fn reports(
    trained: &Trained,
    pairs: &[Pair],
    image: Option<&[f32]>,
    objective: &Objective,
) -> Result<(Batch, Vec<String>)> {
    let limit = trained.max_tokens();
    let (mut encoded, mut texts) = (Vec::new(), Vec::new());
    for pair in pairs {
        let report = trained.words.encode(&pair.sentences, limit)?;
        let mut kept = Vec::new();
        for sentence in &pair.sentences {
            if trained.words.encode(std::slice::from_ref(sentence), limit)?.sentences > 0 {
                kept.push(sentence.clone());
            }
        }
        let most = trained.sentences_read(objective).min(report.sentences);
        kept.truncate(most);
        texts.extend(kept);
        encoded.push(report);
    }
    let image = match image {
        Some(pixels) => {
            let (h, w) = (trained.preprocess.height as i64, trained.preprocess.width as i64);
            Tensor::from_slice(pixels).view([1, 1, h, w])
        }
        None => Tensor::zeros([pairs.len() as i64], (Kind::Float, Device::Cpu)),
    };
    Ok((Batch::new(image, &encoded, Device::Cpu), texts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_sentences_are_kept_in_order_and_once() {
        let mut near = Vec::new();
        for (similarity, text) in
            [(0.1, "a"), (0.9, "b"), (0.5, "c"), (0.9, "b"), (0.7, "d"), (0.0, "e")]
        {
            insert(&mut near, similarity, text);
        }
        assert_eq!(near.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["b", "d", "c"]);
    }

    #[test]
    fn long_curves_become_means_of_neighbours() {
        let points: Vec<(f64, f64)> = (0..900).map(|n| (f64::from(n), f64::from(n % 3))).collect();
        let thin = thinned(points);
        assert_eq!((thin.len(), thin[0]), (300, (1.0, 1.0)));
        assert_eq!(thinned(vec![(1.0, 2.0)]), [(1.0, 2.0)]);
    }
}
