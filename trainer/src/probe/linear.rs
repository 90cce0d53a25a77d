//! A linear probe: how far the findings are already laid open by an encoder that learns nothing more.
//!
//! ```text
//! encoder (frozen) ─▶ embeddings of train, val and the split asked for
//! train   each label: columns scaled, L2-regularised logistic regression at every C of a grid
//! val     the C with the greatest AUROC, and Youden's threshold
//! split   every number of a classifier
//! ```

use super::logistic::{Logistic, Rows, Scaler};
use crate::{
    data::pictures::Pictures,
    index::{Record, Split},
    learn::{Uncertain, rows, take_fraction},
    measure::Evaluated,
    metrics::{bootstrap::Resampling, ranking::Ranking, threshold::Criterion},
    tasks::classification::{ClassificationResult, Classified, Targets, choose_labels},
    terminal::Terminal,
};
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use std::{collections::BTreeMap, fmt, path::PathBuf};
use tch::Kind;

/// What a probe is asked for.
#[derive(Clone, Debug)]
pub struct LinearSettings {
    /// Findings to probe; none = every one that train and val have both with and without.
    pub labels: Vec<String>,
    /// Share of the training patients, above 0 up to 1.
    pub fraction: f64,
    /// Which patients these are.
    pub seed: u64,
    /// Where to write the embeddings, if anywhere.
    pub features: Option<PathBuf>,
}

/// What `trainer evaluate --task linear --json` prints: a classifier's numbers, and what was fitted.
#[derive(Clone, Debug, Serialize)]
pub struct LinearResult {
    #[serde(flatten)]
    pub classification: ClassificationResult,
    /// Length of an embedding.
    pub features: usize,
    pub fraction: f64,
    pub seed: u64,
    pub probes: Vec<Probe>,
}

/// The classifier of one finding.
#[derive(Clone, Debug, Serialize)]
pub struct Probe {
    pub name: String,
    /// Inverse strength of the penalty, as scikit-learn counts it.
    pub c: f64,
    /// Of the validation split, by which `c` was chosen.
    pub val_auroc: f64,
    pub train_positive: usize,
    pub train_negative: usize,
}

/// Inverse strengths that are tried: half decades over the range of scikit-learn's `LogisticRegressionCV`.
pub fn strengths() -> impl Iterator<Item = f64> {
    (-8..=8).map(|half| 10f64.powf(f64::from(half) / 2.0))
}

/// What was measured, and everything a page and the predictions need.
pub(crate) struct Probed {
    pub(crate) result: LinearResult,
    pub(crate) classified: Classified,
    /// Of every image; empty unless asked for.
    pub(crate) embeddings: Vec<EmbeddingLine>,
}

/// One line of `--features`.
#[derive(Clone, Debug, Serialize)]
pub struct EmbeddingLine {
    pub split: Split,
    pub id: String,
    pub patient: String,
    pub embedding: Vec<f32>,
    /// Truth by label; `null` where nobody said.
    pub truth: BTreeMap<String, Option<bool>>,
}

/// Images of one split as the probe sees them.
struct Part {
    split: Split,
    records: Vec<Record>,
    targets: Targets,
    rows: Rows,
    /// `[image][column]`, as the network gave them.
    embeddings: Vec<Vec<f32>>,
}

/// Fits on train, chooses on val, measures on `split`; `records` are those selected of the index.
pub(crate) fn probe(
    encoder: &Evaluated,
    records: &[Record],
    settings: &LinearSettings,
    split: Split,
    batch: usize,
    resampling: Resampling,
    terminal: &Terminal,
) -> Result<Probed> {
    let labels = choose_labels(records, &settings.labels, Uncertain::Unknown)?;
    let open = |split| Part::open(encoder, records, &labels, settings, split, batch, terminal);
    let (train, val, asked) = (open(Split::Train)?, open(Split::Val)?, open(split)?);
    let (mut probes, mut scores, mut thresholds) = (Vec::new(), Vec::new(), BTreeMap::new());
    for (label, name) in labels.iter().enumerate() {
        let fitted = Fitted::of(&train, &val, label).with_context(|| format!("`{name}`"))?;
        thresholds.insert(name.clone(), fitted.threshold);
        scores.push(fitted.classifier.probabilities(&fitted.scaler.scale(&asked.rows)));
        log::info!("{name}: C {:.3e}, val AUROC {:.3}", fitted.probe.c, fitted.probe.val_auroc);
        probes.push(fitted.probe);
    }
    let mut embeddings = Vec::new();
    if settings.features.is_some() {
        let other = (![Split::Train, Split::Val].contains(&split)).then_some(&asked);
        embeddings = [&train, &val].into_iter().chain(other).flat_map(Part::lines).collect();
    }
    let features = train.rows.row(0).len();
    let Part { records, targets, .. } = asked;
    let classified = Classified { records, targets, scores, thresholds };
    let classification =
        ClassificationResult { task: "linear", ..classified.result(resampling, split) };
    let (fraction, seed) = (settings.fraction, settings.seed);
    let result = LinearResult { classification, features, fraction, seed, probes };
    Ok(Probed { result, classified, embeddings })
}

impl Part {
    fn open(
        encoder: &Evaluated,
        records: &[Record],
        labels: &[String],
        settings: &LinearSettings,
        split: Split,
        batch: usize,
        terminal: &Terminal,
    ) -> Result<Self> {
        let known = |record: &&Record| {
            let of = Targets::of(std::slice::from_ref(*record), labels, Uncertain::Unknown);
            record.split == Some(split) && of.truth[0].iter().any(Option::is_some)
        };
        let mut records: Vec<Record> = records.iter().filter(known).cloned().collect();
        if split == Split::Train {
            records = take_fraction(records, settings.fraction, settings.seed);
        }
        ensure!(
            !records.is_empty(),
            "no image of the {split} split has any of the labels {}",
            labels.join(", ")
        );
        let bar = terminal.progress(records.len() as u64).with_message(format!("reading {split}"));
        let pictures = Pictures::open(&records, encoder.config.preprocess, &bar)?;
        bar.finish_and_clear();
        let embedding = rows(&pictures, batch, "embedding", &|images| encoder.forward(images))?;
        let (_, columns) = embedding.size2()?;
        let flat = Vec::<f32>::try_from(embedding.to_kind(Kind::Float).contiguous().view([-1]))?;
        let embeddings: Vec<Vec<f32>> =
            flat.chunks_exact(columns as usize).map(<[f32]>::to_vec).collect();
        for (record, embedding) in records.iter().zip(&embeddings) {
            let finite = embedding.iter().all(|x| x.is_finite());
            ensure!(finite, "the encoder's embedding of `{}` is not finite", record.id);
        }
        let targets = Targets::of(&records, labels, Uncertain::Unknown);
        let rows = Rows::new(flat.into_iter().map(f64::from).collect(), columns as usize);
        Ok(Self { split, records, targets, rows, embeddings })
    }

    /// Rows and truth of one label where it is known; both kinds must be there.
    fn known(&self, label: usize) -> Result<(Rows, Vec<bool>)> {
        let (at, truth) = self.targets.known(label);
        let [positive, negative] = self.targets.counts(label);
        ensure!(
            positive > 0 && negative > 0,
            "present in {positive} and absent in {negative} images of the {} split used, expected both",
            self.split
        );
        Ok((self.rows.select(&at), truth))
    }

    fn lines(&self) -> Vec<EmbeddingLine> {
        let truth = |row: &[Option<bool>]| {
            self.targets.labels.iter().cloned().zip(row.iter().copied()).collect()
        };
        let images = self.records.iter().zip(&self.embeddings).zip(&self.targets.truth);
        images
            .map(|((record, embedding), row)| EmbeddingLine {
                split: self.split,
                id: record.id.clone(),
                patient: record.group().to_owned(),
                embedding: embedding.clone(),
                truth: truth(row),
            })
            .collect()
    }
}

/// The chosen classifier of one label.
struct Fitted {
    scaler: Scaler,
    classifier: Logistic,
    threshold: f32,
    probe: Probe,
}

impl Fitted {
    fn of(train: &Part, val: &Part, label: usize) -> Result<Self> {
        let (rows, truth) = train.known(label)?;
        let (val_rows, val_truth) = val.known(label)?;
        let scaler = Scaler::of(&rows);
        let (rows, val_rows) = (scaler.scale(&rows), scaler.scale(&val_rows));
        let mut classifier = Logistic::zero(rows.row(0).len());
        let mut best: Option<(f64, f64, Logistic, Vec<f32>)> = None;
        for c in strengths() {
            classifier = classifier.fit(&rows, &truth, c)?;
            let scores = classifier.probabilities(&val_rows);
            let area = Ranking::new(&scores, &val_truth).auroc().expect("both kinds are there");
            // Of equals the stronger penalty, which came first.
            if best.as_ref().is_none_or(|(known, ..)| area > known + 1e-12) {
                best = Some((area, c, classifier.clone(), scores));
            }
        }
        let (val_auroc, c, classifier, scores) = best.expect("the grid is not empty");
        let threshold =
            Criterion::Youden.threshold(&scores, &val_truth).expect("both kinds are there");
        let [train_positive, train_negative] = train.targets.counts(label);
        let name = train.targets.labels[label].clone();
        let probe = Probe { name, c, val_auroc, train_positive, train_negative };
        Ok(Self { scaler, classifier, threshold, probe })
    }
}

impl fmt::Display for LinearResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "linear probe on {} frozen features\n{}", self.features, self.classification)?;
        self.probes.iter().try_for_each(|probe| {
            let Probe { name, c, val_auroc, train_positive, train_negative } = probe;
            write!(
                f,
                "\n{name}: fitted on {train_positive} yes, {train_negative} no with C {c:.1e}, val AUROC {val_auroc:.3}"
            )
        })
    }
}
