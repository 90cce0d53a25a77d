//! Boxes.

mod anchor_free;
pub(crate) mod figures;
mod loss;
mod page;
mod yolov3;

pub use figures::{ClassResult, DetectionResult};

use super::{Material, Task, choose};
use crate::{
    data::pictures::Pictures,
    index::{Record, write_whole},
    learn::{Protocol, fit::Objective},
    measure::{Measured, Run, figures as named, sheet},
    terminal::Terminal,
};
use anyhow::Result;
use engine::decode::Detector;
use loss::{Loss, detections, truth_in_shares};

pub(crate) struct Detection;

impl Task for Detection {
    fn head(&self, protocol: Protocol) -> graph::Task {
        protocol.detector()
    }

    fn metric(&self) -> &'static str {
        "mAP .40-.75"
    }

    fn labels(&self, records: &[Record], asked: &[String], _: Protocol) -> Result<Vec<String>> {
        choose(records, asked, "boxes", Record::box_names)
    }

    fn is_known(&self, record: &Record, labels: &[String], _: Protocol) -> bool {
        record.boxes_of(labels).is_some()
    }

    fn objective(&self, material: &Material<'_>) -> Result<Box<dyn Objective>> {
        let Material { labels, train, val, recipe, preprocess, bar, .. } = *material;
        Ok(Box::new(Loss {
            kind: Detector::of(self.head(recipe.protocol)).expect("a detector's task"),
            val_pictures: Pictures::open(val, preprocess, bar)?,
            train: truth_in_shares(train, labels, &recipe.kept(preprocess)?)?,
            val: truth_in_shares(val, labels, &preprocess)?,
            val_records: val.to_vec(),
            batch: recipe.batch,
            labels: labels.to_vec(),
        }))
    }

    fn measure(&self, run: &Run<'_>, terminal: &Terminal) -> Result<Measured> {
        let evaluated = run.open()?;
        let (task, labels) = evaluated.labels(&graph::Task::DETECTORS)?;
        let kind = Detector::of(task).expect("both tasks are detectors");
        let known = |record: &Record| record.boxes_of(&labels).is_some();
        let (records, pictures) = run.pictures(&evaluated, &labels, known, terminal)?;
        let forward = |images: &_| evaluated.forward(images);
        let images = detections(&pictures, &records, kind, &labels, run.asked.batch, &forward)?;
        let groups: Vec<&str> = records.iter().map(|record| record.group()).collect();
        let thresholds = evaluated.operating_points()?;
        let (resampling, split) = (run.asked.resampling, run.asked.split);
        let result = DetectionResult::of(&images, &groups, &labels, &thresholds, resampling, split);
        if let Some(folder) = run.report_folder()? {
            let cases = figures::cases(&images, &records, &labels, &thresholds);
            let cases = sheet::write(&cases, folder)?;
            let subject = run.subject("Detection", result.images, result.patients);
            let page = page::page(&subject, &result, &images, &cases);
            write_whole(&folder.join("index.html"), page.as_bytes())?;
        }
        run.say(&result, terminal)?;
        Ok(Measured {
            figures: named([("mAP .40-.75", result.map), ("image AUROC", result.image_auroc)]),
            answers: run.answers(|| figures::answers(&images, &records, &labels, &thresholds)),
        })
    }
}
