//! Findings of the whole image.

mod answers;
pub(crate) mod figures;
mod loss;
mod page;
mod truth;

pub(crate) use answers::Classified;
pub use figures::{Areas, ClassificationResult, FindingResult};
pub use loss::{columns, logits};
pub use truth::{Targets, choose_labels};

use super::{Material, Task};
use crate::{
    data::pictures::Pictures,
    index::{Record, write_whole},
    learn::{Protocol, Uncertain, fit::Objective},
    measure::{Measured, Run, figures as named, predictions::Answer, sheet},
    metrics::threshold::Criterion,
    terminal::Terminal,
};
use anyhow::{Result, ensure};
use loss::Loss;

pub(crate) struct Classification;

impl Task for Classification {
    fn head(&self, _: Protocol) -> graph::Task {
        graph::Task::Classification
    }

    fn metric(&self) -> &'static str {
        "AUROC"
    }

    fn labels(
        &self,
        records: &[Record],
        asked: &[String],
        protocol: Protocol,
    ) -> Result<Vec<String>> {
        choose_labels(records, asked, protocol.uncertain())
    }

    fn is_known(&self, record: &Record, labels: &[String], protocol: Protocol) -> bool {
        known(record, labels, protocol.uncertain())
    }

    fn objective(&self, material: &Material<'_>) -> Result<Box<dyn Objective>> {
        let Material { labels, train, val, recipe, preprocess, target_sensitivity, bar } =
            *material;
        let uncertain = recipe.protocol.uncertain();
        Ok(Box::new(Loss {
            train: Targets::of(train, labels, uncertain),
            val: Targets::of(val, labels, uncertain),
            val_pictures: Pictures::open(val, preprocess, bar)?,
            val_groups: val.iter().map(|record| record.group().to_owned()).collect(),
            smoothing: recipe.smoothing,
            criterion: target_sensitivity.map_or(Criterion::Youden, Criterion::Sensitivity),
            batch: recipe.batch,
        }))
    }

    fn measure(&self, run: &Run<'_>, terminal: &Terminal) -> Result<Measured> {
        let evaluated = run.open()?;
        let labels = evaluated.labels(&[graph::Task::Classification])?.1;
        let uncertain = Uncertain::Unknown;
        let (records, pictures) = run.pictures(
            &evaluated,
            &labels,
            |record| known(record, &labels, uncertain),
            terminal,
        )?;
        let forward = |images: &_| evaluated.forward(images);
        let scores = columns(&logits(&pictures, run.asked.batch, &forward)?.sigmoid());
        ensure!(
            scores.iter().flatten().all(|score| score.is_finite()),
            "{}: the network says NaN",
            run.checkpoint.display()
        );
        let targets = Targets::of(&records, &labels, uncertain);
        let thresholds = evaluated.operating_points()?;
        let classified = Classified { records, targets, scores, thresholds };
        let result = classified.result(run.asked.resampling, run.asked.split);
        show(run, "Classification", &result, &classified)?;
        let figures = macro_and_micro(&result);
        run.say(&result, terminal)?;
        let answers =
            run.answers(|| classified.answers(|findings| Answer::Classification { findings }));
        Ok(Measured { figures, answers })
    }
}

fn known(record: &Record, labels: &[String], uncertain: Uncertain) -> bool {
    let of = Targets::of(std::slice::from_ref(record), labels, uncertain);
    of.truth[0].iter().any(Option::is_some)
}

/// The page of a classifier, whoever fitted it, if it was asked for.
pub(crate) fn show(
    run: &Run<'_>,
    title: &'static str,
    result: &ClassificationResult,
    classified: &Classified,
) -> Result<()> {
    let Some(folder) = run.report_folder()? else { return Ok(()) };
    let Classified { records, targets, scores, thresholds } = classified;
    let groups: Vec<&str> = records.iter().map(|record| record.group()).collect();
    let ids: Vec<&str> = records.iter().map(|record| record.id.as_str()).collect();
    let table = page::scores_csv(&ids, &groups, targets, scores);
    write_whole(&folder.join("scores.csv"), table.as_bytes())?;
    let cases = figures::cases(targets, scores, records, thresholds);
    let cases = sheet::write(&cases, folder)?;
    let subject = run.subject(title, result.images, result.patients);
    let page = page::page(&subject, result, targets, scores, &cases);
    Ok(write_whole(&folder.join("index.html"), page.as_bytes())?)
}

pub(crate) fn macro_and_micro(result: &ClassificationResult) -> Vec<(&'static str, f64)> {
    named([("macro AUROC", result.macro_auroc), ("micro AUROC", result.micro_auroc)])
}
