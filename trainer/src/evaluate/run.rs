//! One evaluation: every checkpoint on the same images.

use super::{
    ClassificationResult, DetectionResult, Evaluated, RegionResult, SegmentationResult,
    classification,
    classified::Classified,
    detection,
    linear::{self, LinearSettings},
    page::{self, Subject},
    predictions::{Answer, ImageAnswer, Prediction},
    report, segmentation, sheet, text,
};
use crate::{
    data::pictures::Pictures,
    device::DeviceArg,
    evaluate_text::{retrieval, zero_shot},
    finetune::{Targets, Uncertain, columns, detections, logits, planes},
    index::{self, Record, Selection, Split, write_whole},
    metrics::{Estimate, bootstrap::Resampling, runs::over_runs},
    prior::Trained,
    terminal::Terminal,
};
use anyhow::{Context, Result, ensure};
use engine::decode::Detector;
use graph::Task;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
};

/// Resamples of the patients, and images at a time, where nobody says otherwise.
pub const REPLICATES: usize = 2000;
pub const BATCH: usize = 32;

/// What to measure, on what.
#[derive(Clone, Debug)]
pub struct Evaluation {
    pub what: What,
    pub checkpoints: Vec<PathBuf>,
    /// Index file.
    pub data: PathBuf,
    pub split: Split,
    pub selection: Selection,
    /// Folder of the page.
    pub report: Option<PathBuf>,
    /// File of [`Prediction`]s.
    pub predictions: Option<PathBuf>,
    pub resampling: Resampling,
    pub batch: usize,
    pub device: DeviceArg,
}

/// The task, with what it alone needs.
#[derive(Clone, Debug)]
pub enum What {
    Classification,
    Segmentation,
    Detection,
    ZeroShot { classes: Vec<String> },
    Retrieval,
    Linear(LinearSettings),
}

impl Evaluation {
    /// Prints everything, writes what was asked for.
    pub fn run(&self, terminal: &Terminal) -> Result<()> {
        let mut figures: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
        let mut lines = Vec::new();
        for (number, checkpoint) in self.checkpoints.iter().enumerate() {
            let of_several = |folder: &PathBuf| match self.checkpoints.len() {
                1 => folder.clone(),
                _ => folder.join(format!("{}", number + 1)),
            };
            let report = self.report.as_ref().map(of_several);
            let run = Run { checkpoint, report, asked: self };
            let measured = run.measure(terminal)?;
            for (name, value) in measured.figures {
                figures.entry(name).or_default().push(value);
            }
            let (checkpoint, split) = (checkpoint.display().to_string(), self.split);
            lines.extend((measured.answers.into_iter()).map(|answer| Prediction {
                checkpoint: checkpoint.clone(),
                split,
                answer,
            }));
        }
        if let Some(path) = &self.predictions {
            write_lines(path, &lines)?;
        }
        for (name, values) in figures.iter().filter(|(_, values)| values.len() > 1) {
            let Some(mean) = over_runs(values) else { continue };
            let runs = values.len();
            terminal.json(&serde_json::json!({ "metric": name, "runs": runs, "mean": mean }))?;
            terminal.say(format!("{name} over {runs} runs: {mean} (interval over the runs)"))?;
        }
        Ok(())
    }
}

/// One checkpoint.
struct Run<'a> {
    checkpoint: &'a Path,
    report: Option<PathBuf>,
    asked: &'a Evaluation,
}

/// What is left when everything is printed.
struct Measured {
    /// Those worth a mean over runs.
    figures: Vec<(&'static str, f64)>,
    /// Empty unless predictions were asked for.
    answers: Vec<ImageAnswer>,
}

impl Run<'_> {
    fn measure(&self, terminal: &Terminal) -> Result<Measured> {
        match &self.asked.what {
            What::Classification => self.classification(terminal),
            What::Segmentation => self.segmentation(terminal),
            What::Detection => self.detection(terminal),
            What::ZeroShot { classes } => self.zero_shot(classes, terminal),
            What::Retrieval => self.retrieval(terminal),
            What::Linear(settings) => self.linear(settings, terminal),
        }
    }

    fn classification(&self, terminal: &Terminal) -> Result<Measured> {
        let evaluated = self.open()?;
        let labels = evaluated.labels(&[Task::Classification])?.1;
        let uncertain = Uncertain::Unknown;
        let known = |record: &Record| {
            let of = Targets::of(std::slice::from_ref(record), &labels, uncertain);
            of.truth[0].iter().any(Option::is_some)
        };
        let (records, pictures) = self.pictures(&evaluated, &labels, known, terminal)?;
        let forward = |images: &_| evaluated.forward(images);
        let scores = columns(&logits(&pictures, self.asked.batch, &forward)?.sigmoid());
        ensure!(
            scores.iter().flatten().all(|score| score.is_finite()),
            "{}: the network says NaN",
            self.checkpoint.display()
        );
        let targets = Targets::of(&records, &labels, uncertain);
        let thresholds = evaluated.operating_points()?;
        let classified = Classified { records, targets, scores, thresholds };
        let result = classified.result(self.asked.resampling, self.asked.split);
        self.classifier_page("Classification", &result, &classified)?;
        let figures = macro_and_micro(&result);
        self.say(&result, terminal)?;
        let answers =
            self.answers(|| classified.answers(|findings| Answer::Classification { findings }));
        Ok(Measured { figures, answers })
    }

    fn linear(&self, settings: &LinearSettings, terminal: &Terminal) -> Result<Measured> {
        let encoder = Evaluated::encoder(self.checkpoint, self.asked.device.open(0)?)?;
        let records = self.records()?;
        let probed = linear::probe(
            &encoder,
            &records,
            settings,
            self.asked.split,
            self.asked.batch,
            self.asked.resampling,
            terminal,
        )
        .with_context(|| {
            format!("{} on {}", self.checkpoint.display(), self.asked.data.display())
        })?;
        if let Some(path) = &settings.features {
            write_lines(path, &probed.embeddings)?;
        }
        let (result, classified) = (probed.result, probed.classified);
        self.classifier_page("Linear probe", &result.classification, &classified)?;
        self.say(&result, terminal)?;
        let answers = self.answers(|| classified.answers(|findings| Answer::Linear { findings }));
        Ok(Measured { figures: macro_and_micro(&result.classification), answers })
    }

    fn classifier_page(
        &self,
        title: &'static str,
        result: &ClassificationResult,
        classified: &Classified,
    ) -> Result<()> {
        let Some(folder) = self.report_folder()? else { return Ok(()) };
        let Classified { records, targets, scores, thresholds } = classified;
        let groups: Vec<&str> = records.iter().map(|record| record.group()).collect();
        let ids: Vec<&str> = records.iter().map(|record| record.id.as_str()).collect();
        let table = report::scores_csv(&ids, &groups, targets, scores);
        write_whole(&folder.join("scores.csv"), table.as_bytes())?;
        let cases = classification::cases(targets, scores, records, thresholds);
        let cases = sheet::write(&cases, folder)?;
        let subject = self.subject(title, result.images, result.patients);
        let page = report::page(&subject, result, targets, scores, &cases);
        Ok(write_whole(&folder.join("index.html"), page.as_bytes())?)
    }

    fn segmentation(&self, terminal: &Terminal) -> Result<Measured> {
        let evaluated = self.open()?;
        let labels = evaluated.labels(&[Task::Segmentation])?.1;
        let known = |record: &Record| labels.iter().any(|label| record.region(label).is_some());
        let (records, pictures) = self.pictures(&evaluated, &labels, known, terminal)?;
        let forward = |images: &_| evaluated.forward(images);
        let planes = planes(&pictures, self.asked.batch, &forward)?;
        let thresholds: BTreeMap<String, f32> = evaluated.operating_points()?;
        let keep = self.asked.predictions.is_some();
        let judged = segmentation::judge(&records, &planes, &labels, &thresholds, keep)?;
        let (resampling, split) = (self.asked.resampling, self.asked.split);
        let result = SegmentationResult::of(&judged, &labels, &thresholds, resampling, split);
        if let Some(folder) = self.report_folder()? {
            let cases = segmentation::cases(&judged, &records, &planes, &labels, &thresholds)?;
            let cases = sheet::write(&cases, folder)?;
            let of = |(label, name): (usize, &String)| {
                let own = judged.iter().filter(|j| j.label == label);
                (name.clone(), own.map(|j| j.overlap.dice()).collect())
            };
            let dice: Vec<(String, Vec<f64>)> = labels.iter().enumerate().map(of).collect();
            let subject = self.subject("Segmentation", result.images, result.patients);
            let page = page::segmentation(&subject, &result, &dice, &cases);
            write_whole(&folder.join("index.html"), page.as_bytes())?;
        }
        self.say(&result, terminal)?;
        let mean = |value: fn(&RegionResult) -> Option<Estimate>| {
            let values: Option<Vec<f64>> =
                result.regions.iter().map(|region| value(region).map(|e| e.value)).collect();
            values.map(|values| values.iter().sum::<f64>() / values.len() as f64)
        };
        let named = [("Dice", mean(|r| r.dice)), ("IoU", mean(|r| r.iou))];
        Ok(Measured {
            figures: named.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
            answers: self.answers(|| segmentation::answers(judged, &labels, &thresholds)),
        })
    }

    fn detection(&self, terminal: &Terminal) -> Result<Measured> {
        let evaluated = self.open()?;
        let (task, labels) = evaluated.labels(&Task::DETECTORS)?;
        let kind = Detector::of(task).expect("both tasks are detectors");
        let known = |record: &Record| record.boxes_of(&labels).is_some();
        let (records, pictures) = self.pictures(&evaluated, &labels, known, terminal)?;
        let forward = |images: &_| evaluated.forward(images);
        let images = detections(&pictures, &records, kind, &labels, self.asked.batch, &forward)?;
        let groups: Vec<&str> = records.iter().map(|record| record.group()).collect();
        let thresholds = evaluated.operating_points()?;
        let (resampling, split) = (self.asked.resampling, self.asked.split);
        let result = DetectionResult::of(&images, &groups, &labels, &thresholds, resampling, split);
        if let Some(folder) = self.report_folder()? {
            let cases = detection::cases(&images, &records, &labels, &thresholds);
            let cases = sheet::write(&cases, folder)?;
            let subject = self.subject("Detection", result.images, result.patients);
            let page = page::detection(&subject, &result, &images, &cases);
            write_whole(&folder.join("index.html"), page.as_bytes())?;
        }
        self.say(&result, terminal)?;
        Ok(Measured {
            figures: figures([("mAP .40-.75", result.map), ("image AUROC", result.image_auroc)]),
            answers: self.answers(|| detection::answers(&images, &records, &labels, &thresholds)),
        })
    }

    fn zero_shot(&self, classes: &[String], terminal: &Terminal) -> Result<Measured> {
        let (trained, records) = self.prior()?;
        let result = zero_shot(&trained, &records, self.asked.split, classes)?;
        if let Some(folder) = self.report_folder()? {
            let page = text::zero_shot_page(
                &self.subject("Zero-shot", result.images, result.patients),
                &result,
            );
            write_whole(&folder.join("index.html"), page.as_bytes())?;
        }
        self.say(&result, terminal)?;
        Ok(Measured {
            figures: Vec::new(),
            answers: self.answers(|| text::zero_shot_answers(&result)),
        })
    }

    fn retrieval(&self, terminal: &Terminal) -> Result<Measured> {
        let (trained, records) = self.prior()?;
        let result = retrieval(&trained, &records, self.asked.split, self.asked.resampling)?;
        if let Some(folder) = self.report_folder()? {
            let page = text::retrieval_page(
                &self.subject("Retrieval", result.pairs, result.patients),
                &result,
            );
            write_whole(&folder.join("index.html"), page.as_bytes())?;
        }
        self.say(&result, terminal)?;
        Ok(Measured {
            figures: Vec::new(),
            answers: self.answers(|| text::retrieval_answers(&result)),
        })
    }

    fn open(&self) -> Result<Evaluated> {
        Evaluated::open(self.checkpoint, self.asked.device.open(0)?)
    }

    fn prior(&self) -> Result<(Trained, Vec<Record>)> {
        let trained = Trained::open(self.checkpoint, self.asked.device.open(0)?)?;
        // For the noise that `released_quirks.noise` asks for; else nothing here is random.
        tch::manual_seed(self.asked.resampling.seed as i64);
        Ok((trained, self.records()?))
    }

    fn records(&self) -> Result<Vec<Record>> {
        Ok(self.asked.selection.of(index::read(&self.asked.data)?)?)
    }

    /// The split's images of which something is known, and their pictures.
    fn pictures(
        &self,
        evaluated: &Evaluated,
        labels: &[String],
        known: impl Fn(&Record) -> bool,
        terminal: &Terminal,
    ) -> Result<(Vec<Record>, Pictures)> {
        let mut records = self.records()?;
        records.retain(|record| record.split == Some(self.asked.split) && known(record));
        ensure!(
            !records.is_empty(),
            "{}: no image of the {} split has any of the labels {}",
            self.asked.data.display(),
            self.asked.split,
            labels.join(", ")
        );
        let bar = terminal.progress(records.len() as u64).with_message("reading");
        let pictures = Pictures::open(&records, evaluated.config.preprocess, &bar)?;
        bar.finish_and_clear();
        Ok((records, pictures))
    }

    fn say(&self, result: &(impl Serialize + fmt::Display), terminal: &Terminal) -> Result<()> {
        terminal.json(result)?;
        Ok(terminal.say(result.to_string())?)
    }

    /// What was said of each image, if anybody asked.
    fn answers(&self, of: impl FnOnce() -> Vec<ImageAnswer>) -> Vec<ImageAnswer> {
        self.asked.predictions.as_ref().map_or_else(Vec::new, |_| of())
    }

    fn report_folder(&self) -> Result<Option<&Path>> {
        if let Some(folder) = &self.report {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make folder {}", folder.display()))?;
        }
        Ok(self.report.as_deref())
    }

    fn subject(&self, task: &'static str, images: usize, patients: usize) -> Subject<'_> {
        let (checkpoint, data) = (self.checkpoint, &self.asked.data);
        Subject { task, checkpoint, data, split: self.asked.split, images, patients }
    }
}

fn macro_and_micro(result: &ClassificationResult) -> Vec<(&'static str, f64)> {
    figures([("macro AUROC", result.macro_auroc), ("micro AUROC", result.micro_auroc)])
}

fn figures<const N: usize>(
    named: [(&'static str, Option<Estimate>); N],
) -> Vec<(&'static str, f64)> {
    named.into_iter().filter_map(|(name, estimate)| Some((name, estimate?.value))).collect()
}

/// JSON lines, whole or not at all.
fn write_lines(path: &Path, lines: &[impl Serialize]) -> Result<()> {
    let mut text = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut text, line).context("predictions have string keys only")?;
        text.push(b'\n');
    }
    Ok(write_whole(path, &text)?)
}
