//! Regions.

pub(crate) mod figures;
mod loss;
mod page;
mod truth;

pub(crate) use figures::Judged;
pub use figures::{RegionResult, SegmentationResult};

use super::{Material, Task, choose};
use crate::{
    data::pictures::Pictures,
    index::{Record, write_whole},
    learn::{Protocol, fit::Objective},
    measure::{Measured, Run, sheet},
    metrics::Estimate,
    terminal::Terminal,
};
use anyhow::Result;
use loss::{Loss, planes};
use std::collections::BTreeMap;
use truth::Regions;

pub(crate) struct Segmentation;

impl Task for Segmentation {
    fn head(&self, _: Protocol) -> graph::Task {
        graph::Task::Segmentation
    }

    fn metric(&self) -> &'static str {
        "Dice"
    }

    fn labels(&self, records: &[Record], asked: &[String], _: Protocol) -> Result<Vec<String>> {
        choose(records, asked, "regions", Record::region_names)
    }

    fn is_known(&self, record: &Record, labels: &[String], _: Protocol) -> bool {
        labels.iter().any(|label| record.region(label).is_some())
    }

    fn objective(&self, material: &Material<'_>) -> Result<Box<dyn Objective>> {
        let Material { labels, train, val, recipe, preprocess, bar, .. } = *material;
        Ok(Box::new(Loss {
            loss: recipe.region_loss,
            val_pictures: Pictures::open(val, preprocess, bar)?,
            train: Regions::open(train, labels, &recipe.kept(preprocess)?, bar)?,
            val: Regions::open(val, labels, &preprocess, bar)?,
            val_records: val.to_vec(),
            batch: recipe.batch,
            labels: labels.to_vec(),
        }))
    }

    fn measure(&self, run: &Run<'_>, terminal: &Terminal) -> Result<Measured> {
        let evaluated = run.open()?;
        let labels = evaluated.labels(&[graph::Task::Segmentation])?.1;
        let known = |record: &Record| labels.iter().any(|label| record.region(label).is_some());
        let (records, pictures) = run.pictures(&evaluated, &labels, known, terminal)?;
        let forward = |images: &_| evaluated.forward(images);
        let planes = planes(&pictures, run.asked.batch, &forward)?;
        let thresholds: BTreeMap<String, f32> = evaluated.operating_points()?;
        let keep = run.asked.predictions.is_some();
        let judged = figures::judge(&records, &planes, &labels, &thresholds, keep)?;
        let (resampling, split) = (run.asked.resampling, run.asked.split);
        let result = SegmentationResult::of(&judged, &labels, &thresholds, resampling, split);
        if let Some(folder) = run.report_folder()? {
            let cases = figures::cases(&judged, &records, &planes, &labels, &thresholds)?;
            let cases = sheet::write(&cases, folder)?;
            let of = |(label, name): (usize, &String)| {
                let own = judged.iter().filter(|j| j.label == label);
                (name.clone(), own.map(|j| j.overlap.dice()).collect())
            };
            let dice: Vec<(String, Vec<f64>)> = labels.iter().enumerate().map(of).collect();
            let subject = run.subject("Segmentation", result.images, result.patients);
            let page = page::page(&subject, &result, &dice, &cases);
            write_whole(&folder.join("index.html"), page.as_bytes())?;
        }
        run.say(&result, terminal)?;
        let mean = |value: fn(&RegionResult) -> Option<Estimate>| {
            let values: Option<Vec<f64>> =
                result.regions.iter().map(|region| value(region).map(|e| e.value)).collect();
            values.map(|values| values.iter().sum::<f64>() / values.len() as f64)
        };
        let named = [("Dice", mean(|r| r.dice)), ("IoU", mean(|r| r.iou))];
        Ok(Measured {
            figures: named.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
            answers: run.answers(|| figures::answers(judged, &labels, &thresholds)),
        })
    }
}
