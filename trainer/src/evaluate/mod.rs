//! `trainer evaluate`: a checkpoint on a split, in numbers with intervals and as a page to look at.
//!
//! ```text
//! network         a checkpoint that answers
//! classification  probabilities + truth → AUROC, AUPRC, what happens at the operating points
//! segmentation    masks + truth → Dice and IoU, with and without empty images
//! detection       boxes + truth → mAP, FROC
//! report, page    the same as HTML with curves; sheet: the best, median and worst cases drawn
//! ```
//!
//! Masks and boxes are decoded by `engine`, so what is measured is what the box shows.

mod classification;
mod detection;
mod network;
mod page;
mod report;
mod segmentation;
mod sheet;

pub use classification::{Areas, ClassificationResult, FindingResult};
pub use detection::{ClassResult, DetectionResult};
pub use network::Evaluated;
pub(crate) use segmentation::Judged;
pub use segmentation::{RegionResult, SegmentationResult};

use crate::{
    device::DeviceArg,
    evaluate_text::{retrieval, zero_shot},
    finetune::{Targets, Uncertain, columns, detections, logits, pictures::Pictures, planes},
    index::{self, Record, Selection, Split, write_whole},
    metrics::{Estimate, bootstrap::Resampling, runs::over_runs},
    prior::Trained,
    terminal::Terminal,
};
use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use engine::decode::Detector;
use graph::Task;
use page::Subject;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

const REPLICATES: usize = 2000;
const BATCH: usize = 32;

/// Measures a checkpoint on one split of an index
#[derive(Clone, Debug, Args)]
pub struct EvaluateArgs {
    #[arg(long)]
    pub task: TaskArg,
    /// Checkpoint to measure; several, of runs with different seeds, give a mean over them too
    #[arg(long, value_name = "DIR", required = true, num_args = 1..)]
    checkpoint: Vec<PathBuf>,
    /// Index written by `trainer index`
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    #[arg(long, default_value = "test")]
    split: Split,
    #[command(flatten)]
    selection: Selection,
    /// Also write a page with curves and cases (index.html), and every classifier's score (scores.csv)
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Resamples of the patients for the intervals
    #[arg(long, default_value_t = REPLICATES)]
    replicates: usize,
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[arg(long, default_value_t = BATCH)]
    batch: usize,
    #[arg(long, default_value = "cpu")]
    device: DeviceArg,
    /// Findings to tell apart without training, `Pneumonia,No Finding`
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    classes: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TaskArg {
    Classification,
    Segmentation,
    Detection,
    /// A PRIOR checkpoint names findings from prompts alone
    ZeroShot,
    /// A PRIOR checkpoint finds the report of an image
    Retrieval,
}

impl EvaluateArgs {
    /// The test split with a report, everything else as without options.
    pub(crate) fn of(
        task: TaskArg,
        checkpoint: Vec<PathBuf>,
        data: PathBuf,
        selection: Selection,
        device: DeviceArg,
        report: PathBuf,
    ) -> Self {
        Self {
            task,
            checkpoint,
            data,
            split: Split::Test,
            selection,
            report: Some(report),
            replicates: REPLICATES,
            seed: 0,
            batch: BATCH,
            device,
            classes: Vec::new(),
        }
    }

    pub fn run(self, terminal: &Terminal) -> Result<()> {
        let mut figures: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
        for (number, checkpoint) in self.checkpoint.iter().enumerate() {
            let of_several = |folder: &PathBuf| match self.checkpoint.len() {
                1 => folder.clone(),
                _ => folder.join(format!("{}", number + 1)),
            };
            let run = Run {
                checkpoint: checkpoint.clone(),
                report: self.report.as_ref().map(of_several),
                args: &self,
            };
            for (name, value) in run.measure(terminal)? {
                figures.entry(name).or_default().push(value);
            }
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
    checkpoint: PathBuf,
    report: Option<PathBuf>,
    args: &'a EvaluateArgs,
}

impl Run<'_> {
    /// Prints everything, returns the figures worth a mean over runs.
    fn measure(&self, terminal: &Terminal) -> Result<Vec<(&'static str, f64)>> {
        match self.args.task {
            TaskArg::Classification => self.classification(terminal),
            TaskArg::Segmentation => self.segmentation(terminal),
            TaskArg::Detection => self.detection(terminal),
            TaskArg::ZeroShot => {
                let (trained, records) = self.prior()?;
                let classes = &self.args.classes;
                let result = zero_shot(&trained, &records, self.args.split, classes)?;
                terminal.json(&result)?;
                terminal.say(result.to_string())?;
                Ok(Vec::new())
            }
            TaskArg::Retrieval => {
                let (trained, records) = self.prior()?;
                let result = retrieval(&trained, &records, self.args.split, self.resampling())?;
                terminal.json(&result)?;
                terminal.say(result.to_string())?;
                Ok(Vec::new())
            }
        }
    }

    fn prior(&self) -> Result<(Trained, Vec<Record>)> {
        let trained = Trained::open(&self.checkpoint, self.args.device.open(0)?)?;
        let records = self.args.selection.of(index::read(&self.args.data)?)?;
        Ok((trained, records))
    }

    fn classification(&self, terminal: &Terminal) -> Result<Vec<(&'static str, f64)>> {
        let evaluated = self.open()?;
        let labels = evaluated.labels(&[Task::Classification])?.1;
        let uncertain = Uncertain::Unknown;
        let known = |record: &Record| {
            let of = Targets::of(std::slice::from_ref(record), &labels, uncertain);
            of.truth[0].iter().any(Option::is_some)
        };
        let (records, pictures) = self.pictures(&evaluated, &labels, known, terminal)?;
        let scores = columns(
            &logits(&pictures, self.args.batch, &|images| evaluated.forward(images))?.sigmoid(),
        );
        ensure!(
            scores.iter().flatten().all(|score| score.is_finite()),
            "{}: the network says NaN",
            self.checkpoint.display()
        );
        let targets = Targets::of(&records, &labels, uncertain);
        let groups: Vec<&str> = records.iter().map(|record| record.group()).collect();
        let thresholds = evaluated.operating_points()?;
        let (resampling, split) = (self.resampling(), self.args.split);
        let result =
            ClassificationResult::of(&targets, &scores, &groups, &thresholds, resampling, split);
        if let Some(folder) = self.report_folder()? {
            let ids: Vec<&str> = records.iter().map(|record| record.id.as_str()).collect();
            let table = report::scores_csv(&ids, &groups, &targets, &scores);
            write_whole(&folder.join("scores.csv"), table.as_bytes())?;
            let cases = classification::cases(&targets, &scores, &records, &thresholds);
            let cases = sheet::write(&cases, folder)?;
            let subject = self.subject("Classification", result.images, result.patients);
            let page = report::page(&subject, &result, &targets, &scores, &cases);
            write_whole(&folder.join("index.html"), page.as_bytes())?;
        }
        terminal.json(&result)?;
        terminal.say(result.to_string())?;
        Ok(figures([("macro AUROC", result.macro_auroc), ("micro AUROC", result.micro_auroc)]))
    }

    fn segmentation(&self, terminal: &Terminal) -> Result<Vec<(&'static str, f64)>> {
        let evaluated = self.open()?;
        let labels = evaluated.labels(&[Task::Segmentation])?.1;
        let known = |record: &Record| labels.iter().any(|label| record.region(label).is_some());
        let (records, pictures) = self.pictures(&evaluated, &labels, known, terminal)?;
        let planes = planes(&pictures, self.args.batch, &|images| evaluated.forward(images))?;
        let thresholds: BTreeMap<String, f32> = evaluated.operating_points()?;
        let judged = segmentation::judge(&records, &planes, &labels, &thresholds)?;
        let (resampling, split) = (self.resampling(), self.args.split);
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
        terminal.json(&result)?;
        terminal.say(result.to_string())?;
        let mean = |value: fn(&RegionResult) -> Option<Estimate>| {
            let values: Option<Vec<f64>> =
                result.regions.iter().map(|region| value(region).map(|e| e.value)).collect();
            values.map(|values| values.iter().sum::<f64>() / values.len() as f64)
        };
        let named = [("Dice", mean(|r| r.dice)), ("IoU", mean(|r| r.iou))];
        Ok(named.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
    }

    fn detection(&self, terminal: &Terminal) -> Result<Vec<(&'static str, f64)>> {
        let evaluated = self.open()?;
        let (task, labels) = evaluated.labels(&Task::DETECTORS)?;
        let kind = Detector::of(task).expect("both tasks are detectors");
        let known = |record: &Record| record.boxes_of(&labels).is_some();
        let (records, pictures) = self.pictures(&evaluated, &labels, known, terminal)?;
        let images = detections(&pictures, &records, kind, &labels, self.args.batch, &|images| {
            evaluated.forward(images)
        })?;
        let groups: Vec<&str> = records.iter().map(|record| record.group()).collect();
        let thresholds = evaluated.operating_points()?;
        let (resampling, split) = (self.resampling(), self.args.split);
        let result = DetectionResult::of(&images, &groups, &labels, &thresholds, resampling, split);
        if let Some(folder) = self.report_folder()? {
            let cases = detection::cases(&images, &records, &labels, &thresholds);
            let cases = sheet::write(&cases, folder)?;
            let subject = self.subject("Detection", result.images, result.patients);
            let page = page::detection(&subject, &result, &images, &cases);
            write_whole(&folder.join("index.html"), page.as_bytes())?;
        }
        terminal.json(&result)?;
        terminal.say(result.to_string())?;
        Ok(figures([("mAP .40-.75", result.map), ("image AUROC", result.image_auroc)]))
    }

    fn open(&self) -> Result<Evaluated> {
        ensure!(
            self.args.batch > 0 && self.args.replicates > 0,
            "--batch and --replicates are at least 1"
        );
        Evaluated::open(&self.checkpoint, self.args.device.open(0)?)
    }

    /// The split's images of which something is known, and their pictures.
    fn pictures(
        &self,
        evaluated: &Evaluated,
        labels: &[String],
        known: impl Fn(&Record) -> bool,
        terminal: &Terminal,
    ) -> Result<(Vec<Record>, Pictures)> {
        let mut records = self.args.selection.of(index::read(&self.args.data)?)?;
        records.retain(|record| record.split == Some(self.args.split) && known(record));
        ensure!(
            !records.is_empty(),
            "{}: no image of the {} split has any of the labels {}",
            self.args.data.display(),
            self.args.split,
            labels.join(", ")
        );
        let bar = terminal.progress(records.len() as u64).with_message("reading");
        let pictures = Pictures::open(&records, evaluated.config.preprocess, &bar)?;
        bar.finish_and_clear();
        Ok((records, pictures))
    }

    fn resampling(&self) -> Resampling {
        Resampling { replicates: self.args.replicates, seed: self.args.seed }
    }

    fn report_folder(&self) -> Result<Option<&Path>> {
        if let Some(folder) = &self.report {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make folder {}", folder.display()))?;
        }
        Ok(self.report.as_deref())
    }

    fn subject(&self, task: &'static str, images: usize, patients: usize) -> Subject<'_> {
        let (checkpoint, data) = (&self.checkpoint, &self.args.data);
        Subject { task, checkpoint, data, split: self.args.split, images, patients }
    }
}

/// An estimate for people, a dash where there is none.
fn shown(estimate: Option<Estimate>) -> String {
    estimate.map_or_else(|| "-".into(), |estimate| estimate.to_string())
}

fn figures<const N: usize>(
    named: [(&'static str, Option<Estimate>); N],
) -> Vec<(&'static str, f64)> {
    named.into_iter().filter_map(|(name, estimate)| Some((name, estimate?.value))).collect()
}
