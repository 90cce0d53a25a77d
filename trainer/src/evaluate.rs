//! A checkpoint on a split, in numbers with intervals, as a page to look at, and image by image.
//!
//! ```text
//! tasks          findings, regions and boxes, of a network that learnt them
//! probe          frozen embeddings → a classifier for each finding
//! evaluate_text  what a PRIOR checkpoint says without training
//! measure        what they share
//! ```

use crate::{
    evaluate_text::{pages, prompted, retrieval, zero_shot},
    index::{Record, write_whole},
    measure::{
        Evaluated, Measured, Run, Settings,
        predictions::{Answer, ImageAnswer, Prediction},
        write_lines,
    },
    metrics::runs::over_runs,
    prior::Trained,
    probe::{self, LinearSettings},
    tasks::{TaskArg, classification},
    terminal::Terminal,
};
use anyhow::{Context, Result};
use serde::Serialize;
use std::{collections::BTreeMap, fmt::Display, path::PathBuf};

/// What to measure, on what.
#[derive(Clone, Debug)]
pub struct Evaluation {
    pub what: What,
    pub checkpoints: Vec<PathBuf>,
    pub settings: Settings,
}

/// The task, with what it alone needs.
#[derive(Clone, Debug)]
pub enum What {
    Learnt(TaskArg),
    ZeroShot {
        classes: Vec<String>,
    },
    /// Findings of a `findings.toml`, each for itself.
    Prompts {
        findings: PathBuf,
    },
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
            let report = self.settings.report.as_ref().map(of_several);
            let run = Run { checkpoint, report, asked: &self.settings };
            let measured = self.measure(&run, terminal)?;
            for (name, value) in measured.figures {
                figures.entry(name).or_default().push(value);
            }
            let (checkpoint, split) = (checkpoint.display().to_string(), self.settings.split);
            lines.extend((measured.answers.into_iter()).map(|answer| Prediction {
                checkpoint: checkpoint.clone(),
                split,
                answer,
            }));
        }
        if let Some(path) = &self.settings.predictions {
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

    fn measure(&self, run: &Run<'_>, terminal: &Terminal) -> Result<Measured> {
        let Settings { split, resampling, .. } = *run.asked;
        match &self.what {
            What::Learnt(task) => task.task().measure(run, terminal),
            What::ZeroShot { classes } => {
                let (trained, records) = prior(run)?;
                let result = zero_shot(&trained, &records, split, classes)?;
                let subject = run.subject("Zero-shot", result.images, result.patients);
                let page = || pages::zero_shot_page(&subject, &result);
                tell(run, &result, page, || pages::zero_shot_answers(&result), terminal)
            }
            What::Prompts { findings } => {
                let findings = words::findings(findings)?;
                let (trained, records) = prior(run)?;
                let result = prompted(&trained, &records, split, &findings, resampling)?;
                let subject = run.subject("Findings in words", result.images, result.patients);
                let page = || pages::prompted_page(&subject, &result);
                tell(run, &result, page, || pages::prompted_answers(&result), terminal)
            }
            What::Retrieval => {
                let (trained, records) = prior(run)?;
                let result = retrieval(&trained, &records, split, resampling)?;
                let subject = run.subject("Retrieval", result.pairs, result.patients);
                let page = || pages::retrieval_page(&subject, &result);
                tell(run, &result, page, || pages::retrieval_answers(&result), terminal)
            }
            What::Linear(settings) => linear(run, settings, terminal),
        }
    }
}

fn linear(run: &Run<'_>, settings: &LinearSettings, terminal: &Terminal) -> Result<Measured> {
    let encoder = Evaluated::encoder(run.checkpoint, run.asked.device.open(0)?)?;
    let records = run.records()?;
    let probed = probe::probe(
        &encoder,
        &records,
        settings,
        run.asked.split,
        run.asked.batch,
        run.asked.resampling,
        terminal,
    )
    .with_context(|| format!("{} on {}", run.checkpoint.display(), run.asked.data.display()))?;
    if let Some(path) = &settings.features {
        write_lines(path, &probed.embeddings)?;
    }
    let (result, classified) = (probed.result, probed.classified);
    classification::show(run, "Linear probe", &result.classification, &classified)?;
    run.say(&result, terminal)?;
    let answers = run.answers(|| classified.answers(|findings| Answer::Linear { findings }));
    Ok(Measured { figures: classification::macro_and_micro(&result.classification), answers })
}

/// Writes the page and says the result, each where it is asked for.
fn tell(
    run: &Run<'_>,
    result: &(impl Serialize + Display),
    page: impl FnOnce() -> String,
    answers: impl FnOnce() -> Vec<ImageAnswer>,
    terminal: &Terminal,
) -> Result<Measured> {
    if let Some(folder) = run.report_folder()? {
        write_whole(&folder.join("index.html"), page().as_bytes())?;
    }
    run.say(result, terminal)?;
    Ok(Measured { figures: Vec::new(), answers: run.answers(answers) })
}

fn prior(run: &Run<'_>) -> Result<(Trained, Vec<Record>)> {
    let trained = Trained::open(run.checkpoint, run.asked.device.open(0)?)?;
    // For the noise that `released_quirks.noise` asks for; else nothing here is random.
    tch::manual_seed(run.asked.resampling.seed as i64);
    Ok((trained, run.records()?))
}
