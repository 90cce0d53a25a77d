//! `runtime acceptance`: is this daemon good enough for this site's patients?
//!
//! ```text
//! acceptance.toml ─▶ studies    images and what is true of them; a label that fits none ends the test
//!                    pull       or out of the site's archive: what its labels name
//!                    stand      the daemon as this site configures it, on a spool of its own
//!                    through    every image by C-STORE, again, and with other window settings (`windows`)
//!                    files      page, JSON, signature: each is there whole, or none is; and --verify
//! ```
//!
//! What follows from the answers is crate `acceptance`'s. Nothing leaves this process: no archive gets a result of a
//! test, no slot hears of it.

mod files;
mod groups;
mod pull;
mod stand;
mod studies;
mod through;
mod windows;

use crate::{Output, config::Pacs, print_json};
use ::acceptance::{Plan, Report, sha256};
use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use files::Files;
use serde_json::json;
use stand::{Moment, Stand};
use std::{
    fs,
    io::{self, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};
use studies::{Gathered, Wanted};
use through::Through;
use tokio::signal::unix;

/// Tests the daemon on a site's own studies with known truth, and writes a report to file
///
/// Every image goes through the daemon by C-STORE. Sensitivity, specificity, AUROC and predictive values come with their
/// intervals, beside what the bundle claims; so do subgroups, repeatability, the effect of window settings, and times.
///
/// Ends with 0 if every criterion of the plan is met, with 3 if the test went through and one is not, with 1 if there is
/// no report to trust.
#[derive(Clone, Debug, Args)]
pub(crate) struct Acceptance {
    /// The plan, see docs/acceptance.md
    #[arg(long, value_name = "PATH", required_unless_present = "verify")]
    config: Option<PathBuf>,
    /// Write over a report that is there
    #[arg(long, requires = "config")]
    replace: bool,
    /// Keep what is pulled from the archive in this folder, which is empty or made; without it, nothing of it stays
    #[arg(long, value_name = "FOLDER", requires = "config")]
    keep_pulled: Option<PathBuf>,
    /// Say whether a report is as it was signed: its page, its JSON or its signature; the others lie beside it
    #[arg(long, value_name = "REPORT", conflicts_with = "config", requires = "keys")]
    verify: Option<PathBuf>,
    /// Who may have signed it: a file with a public key, or its hexadecimal digits
    #[arg(long = "key", value_name = "KEY", conflicts_with = "config")]
    keys: Vec<String>,
}

/// The test went through, and a criterion is not met.
const NOT_ACCEPTED: u8 = 3;

impl Acceptance {
    pub(crate) fn run(self, output: Output) -> Result<ExitCode> {
        match (&self.verify, &self.config) {
            (Some(report), _) => files::verify(report, &self.keys, output),
            (None, Some(config)) => self.test(config, output),
            (None, None) => unreachable!("clap wants one of the two"),
        }
    }

    fn test(&self, path: &Path, output: Output) -> Result<ExitCode> {
        if !output.is_verbose() {
            log::set_max_level(log::LevelFilter::Warn); // a line an image would hide what is said
        }
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let base = path.parent().unwrap_or(Path::new(""));
        let plan = Plan::parse(&text, base).map_err(|error| error.of_file(path))?;
        // What would keep the report from being written is better known before than after hours.
        let files = Files::of(&plan.report, self.replace)?;
        let pacs = plan.pacs.as_ref().map(|table| Pacs::read(table, base)).transpose();
        let pacs = pacs.with_context(|| path.display().to_string())?;
        let keep = self.keep(pacs.is_some())?;
        let stand = Stand::of(&plan)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("cannot start threads")?;
        let report = runtime.block_on(async {
            let mut stop = Stop::new()?;
            let gathered = match &pacs {
                None => studies::gather(&plan)?,
                Some(pacs) => {
                    let wanted = Wanted::read(&plan)?;
                    stop.unless(wanted.pull(pacs, stand.folder(), keep)).await?
                }
            };
            measure(&plan, &text, &stand, gathered, &files, &mut stop).await
        });
        runtime.shutdown_timeout(Duration::from_secs(5));
        let report = report?;
        let written = files.write(&report)?;
        if output.json {
            print_json(&summary(&report, &written))?;
        } else {
            io::stdout().write_all(table(&report, &written).as_bytes())?;
        }
        Ok(if report.accepted { ExitCode::SUCCESS } else { ExitCode::from(NOT_ACCEPTED) })
    }

    /// The folder for what is pulled: nobody else's, and nothing in it.
    fn keep(&self, pulls: bool) -> Result<Option<&Path>> {
        let Some(folder) = &self.keep_pulled else { return Ok(None) };
        let name = folder.display();
        ensure!(pulls, "--keep-pulled {name}: the plan has no [pacs], so nothing is pulled");
        if !folder.exists() {
            fs::DirBuilder::new()
                .mode(0o700)
                .create(folder)
                .with_context(|| format!("cannot make a folder {name}"))?;
        }
        let mut entries = fs::read_dir(folder).with_context(|| format!("cannot read {name}"))?;
        ensure!(
            entries.next().is_none(),
            "{name}: is not empty, expected a folder with nothing in it"
        );
        Ok(Some(folder))
    }
}

async fn measure(
    plan: &Plan,
    text: &str,
    stand: &Stand,
    gathered: Gathered,
    files: &Files,
    stop: &mut Stop,
) -> Result<Report> {
    let began = Moment::now();
    let Gathered { images, mut studies, truth } = gathered;
    ensure!(!images.is_empty(), "no image can be sent: {}", studies::why(&studies));
    let trial = stand.start().await?;
    let through = Through::new(&trial, stand, plan);
    let through = stop.unless(through.everything(&images)).await;
    let stopped = trial.stop().await;
    let through = through?;
    stopped?;
    studies.digest = through.digest.clone();
    files.write_key_list(&images, &through.cases)?;
    let conditions = stand.conditions([began, Moment::now()], sha256(text.as_bytes()), truth)?;
    let bundle = stand.bundle(&through.signed_by);
    Ok(Report::of(plan, conditions, bundle, studies, through.windows_left_out, &through.cases))
}

/// SIGTERM and SIGINT. Whoever stops a test leaves no image behind: the folder goes with the stand.
struct Stop {
    terminate: unix::Signal,
    interrupt: unix::Signal,
}

impl Stop {
    fn new() -> Result<Self> {
        let terminate = unix::signal(unix::SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: unix::signal(unix::SignalKind::interrupt())? })
    }

    /// What comes of `work`, unless a signal comes first.
    async fn unless<T>(&mut self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let stopped = || Err(anyhow!("stopped by a signal: nothing is written"));
        tokio::select! {
            done = work => done,
            _ = self.terminate.recv() => stopped(),
            _ = self.interrupt.recv() => stopped(),
        }
    }
}

fn summary(report: &Report, written: &[PathBuf]) -> serde_json::Value {
    let criteria: Vec<_> = report.criteria().collect();
    json!({
        "accepted": report.accepted,
        "reasons": report.reasons,
        "criteria": criteria,
        "images": report.studies.images,
        "patients": report.studies.patients,
        "pulled": report.studies.pulled,
        "files": written,
    })
}

/// For people: each criterion, and where the rest stands.
fn table(report: &Report, written: &[PathBuf]) -> String {
    let mut text =
        format!("{} images of {} patients\n", report.studies.images, report.studies.patients);
    if let Some(pulled) = &report.studies.pulled {
        let (missing, all) = (pulled.missing.len(), pulled.studies);
        text.push_str(&format!("{missing} of {all} studies did not come whole from the archive\n"));
    }
    for criterion in report.criteria() {
        let found = criterion.found.as_ref().map_or("none".into(), ToString::to_string);
        let verdict = criterion.verdict.words();
        text.push_str(&format!("{verdict:>16}  {}: {found}, {}", criterion.what, criterion.wanted));
        if let Some(needed) = criterion.cases.and_then(|cases| cases.needed)
            && criterion.verdict == ::acceptance::Verdict::NotEnoughCases
        {
            text.push_str(&format!("; {needed} independent images are needed"));
        }
        text.push('\n');
    }
    let exact = if report.repeatability.is_exact() { "passed" } else { "failed" };
    text.push_str(&format!("{exact:>16}  repeatability, to the bit\n"));
    if let Some(direct) = &report.direct {
        let same = if direct.is_exact() { "passed" } else { "failed" };
        text.push_str(&format!("{same:>16}  daemon beside analyzer, to the bit\n"));
    }
    let word = if report.accepted { "accepted" } else { "not accepted" };
    let paths: Vec<String> = written.iter().map(|path| path.display().to_string()).collect();
    text.push_str(&format!("{word}; see {}\n", paths.join(", ")));
    text
}
