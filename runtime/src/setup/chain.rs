//! A test study through the whole chain: stored by C-STORE, analysed, delivered to every archive, and committed to
//! where the archive commits.

use super::{
    phantom::{CLASS, Phantom},
    steps::Steps,
};
use crate::{
    config::{Config, Destination, When},
    model::About,
    outbox::{Filter, Row, State},
    serve::Trial,
    spool::Key,
};
use anyhow::{Context, Result};
use dicom_dictionary_std::uids;
use results::{Record, Status};
use rustix::process::geteuid;
use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Duration, Instant},
};

/// Who sends the test study.
const CALLING: &str = "CXR-SETUP";
const LOOK: Duration = Duration::from_millis(50);

pub(super) async fn send(
    path: &Path,
    config: &Config,
    wait: Duration,
    steps: &mut Steps,
) -> Result<()> {
    // Where the spool is another user's than ours, root's: a daemon of that user could not write beside our files.
    let owner = fs::metadata(&config.spool.path).map_or(0, |about| about.uid());
    if owner != 0 && geteuid().is_root() {
        let said = format!(
            "the spool belongs to user {owner}, and the test would leave files of root in it"
        );
        let advice = "test as the user of the daemon: `sudo -u cxr-runtime runtime setup --test-only --config …`";
        return steps.failed("daemon", said, advice);
    }
    let trial = match Trial::start(path, config, CALLING).await {
        Ok(trial) => trial,
        Err(error) => {
            let advice = "stop a daemon that runs already (`systemctl stop`), and see that the ports are free";
            steps.failed("daemon", format!("{error:#}"), advice)?;
            return steps.skipped("test study", "without a daemon nobody takes it");
        }
    };
    let told = through(&trial, config, wait, steps).await;
    let stopped = trial.stop().await;
    told?;
    match stopped {
        Ok(()) => Ok(()),
        Err(error) => steps.failed(
            "stop",
            format!("{error:#}"),
            "see the log; send it to whoever made this box",
        ),
    }
}

async fn through(trial: &Trial, config: &Config, wait: Duration, steps: &mut Steps) -> Result<()> {
    steps.done(
        "daemon",
        format!("DICOM on {}, page on {}", trial.addresses.dicom, trial.addresses.http),
    )?;
    match &trial.bundle {
        Ok(About { id, version, .. }) => steps
            .done("bundle", format!("{id} {version} answers, its golden vectors came out right"))?,
        Err(why) => {
            let advice =
                "push one with `firmware-host push`, activate it, then `runtime setup --test-only`";
            steps.failed("bundle", why, advice)?;
            return steps.skipped("test study", "nobody would answer it");
        }
    }
    for destination in &config.destinations {
        // One that was off at the last try would be left alone for a while.
        trial.outbox.call_again(&destination.name).context("the outbox cannot be changed")?;
    }
    let phantom = Phantom::draw()?;
    let object = (&*phantom.sop_instance_uid, &*phantom.dataset);
    let syntaxes = &[uids::EXPLICIT_VR_LITTLE_ENDIAN];
    if let Err(error) = trial.store(syntaxes, CLASS, object).await {
        return steps.failed(
            "store",
            format!("{error:#}"),
            "see the log of this command; is the spool's disk full?",
        );
    }
    steps.done("store", format!("test study of patient {} was taken", phantom.patient_id))?;
    let Some((key, record)) = trial.answer(&phantom.sop_instance_uid, wait).await? else {
        let said = format!("no answer within {} s", wait.as_secs());
        return steps.failed(
            "analyse",
            said,
            "give it more time (--wait), or see the log of this command",
        );
    };
    if record.status == Status::NotAnalysed {
        let why = record.reason.unwrap_or_default();
        let advice = "a bundle that refuses a plain chest is the wrong one for this box";
        return steps.failed("analyse", format!("not analysed: {why}"), advice);
    }
    steps.done("analyse", said_of(&record))?;
    delivered(trial, config, &phantom, (&key, &record), wait, steps).await?;
    let study = &phantom.study_instance_uid;
    let left = format!("patient {}, study {study}; the archive may delete it", phantom.patient_id);
    steps.done("left behind", left)
}

fn said_of(record: &Record) -> String {
    let findings = record
        .findings
        .iter()
        .filter(|finding| finding.positive)
        .map(|finding| finding.name.as_str());
    let masks = record.all_masks().iter().map(|mask| mask.name.as_str());
    let boxes = record.boxes.iter().flatten().map(|found| found.name.as_str());
    let all: Vec<&str> = findings.chain(masks).chain(boxes).collect();
    let found = if all.is_empty() { "nothing, as it should be".to_owned() } else { all.join(", ") };
    format!("in {:.1} ms; found in the drawing: {found}", record.milliseconds.total)
}

/// A step for each archive.
async fn delivered(
    trial: &Trial,
    config: &Config,
    phantom: &Phantom,
    (key, record): (&Key, &Record),
    wait: Duration,
    steps: &mut Steps,
) -> Result<()> {
    if config.destinations.is_empty() {
        return steps.skipped("deliver", "results go nowhere: they stay on this box");
    }
    let rows = finished(trial, config, phantom, key, wait).await?;
    for destination in &config.destinations {
        let step = format!("deliver {}", destination.name);
        let wanted = match destination.when {
            When::Always => true,
            When::Positive => record.is_positive(),
            When::Fallback => false,
        };
        let own: Vec<&Row> =
            rows.iter().filter(|row| row.destination == destination.name).collect();
        match (wanted, &own[..]) {
            (false, _) => steps.skipped(
                &step,
                "gets nothing of this study: it wants positive findings, or stands in for another",
            )?,
            (true, []) if trial.outbox.is_settled(&key.name()) => {
                steps.skipped(&step, "there was nothing of the kinds it wants")?
            }
            (true, []) => {
                steps.failed(&step, "nothing was routed in time", "see the log of this command")?
            }
            (true, own) => told(&step, destination, own, steps)?,
        }
    }
    Ok(())
}

/// The deliveries of the test study, once nothing more will happen to them, or when the time is up.
async fn finished(
    trial: &Trial,
    config: &Config,
    phantom: &Phantom,
    key: &Key,
    wait: Duration,
) -> Result<Vec<Row>> {
    let until = Instant::now() + wait;
    // Nothing more will happen to it by itself.
    let is_final = |row: &Row| {
        let via = config.destinations.iter().find(|destination| destination.name == row.via);
        match row.progress.state {
            State::Waiting => false,
            State::Sent => !via.is_some_and(Destination::commits),
            State::Committed | State::Dead | State::Dropped => true,
        }
    };
    loop {
        let rows = rows(trial, phantom)?;
        let done = !rows.is_empty() && rows.iter().all(is_final);
        let over = Instant::now() > until || trial.has_ended();
        if done || over || trial.outbox.is_settled(&key.name()) {
            return Ok(rows);
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn rows(trial: &Trial, phantom: &Phantom) -> Result<Vec<Row>> {
    let filter = Filter { limit: 1000, ..Filter::default() };
    let rows = trial.outbox.list(&filter).context("the outbox cannot be read")?;
    // The newest come first; they were noted in the order of the configuration.
    let own = rows.into_iter().rev().filter(|row| row.source == phantom.sop_instance_uid);
    Ok(own.collect())
}

fn told(step: &str, destination: &Destination, rows: &[&Row], steps: &mut Steps) -> Result<()> {
    let (wanted, word) = if destination.commits() {
        (State::Committed, "committed to")
    } else {
        (State::Sent, "taken")
    };
    let is_there =
        |row: &&&Row| row.progress.state == wanted || row.progress.state == State::Committed;
    let kind = |row: &Row| row.kind.to_string();
    let there: Vec<String> = rows.iter().filter(is_there).map(|row| kind(row)).collect();
    let missing = rows.iter().filter(|row| !is_there(row));
    let missing: Vec<String> = missing
        .map(|row| {
            let why = row.progress.reason.as_deref().unwrap_or("no answer yet");
            format!("{} is {}: {why}", row.kind, row.progress.state)
        })
        .collect();
    if missing.is_empty() {
        return steps.done(step, format!("{} {word}", there.join(", ")));
    }
    let advice = if destination.commits()
        && rows.iter().all(|row| row.progress.state == State::Sent)
    {
        "the archive took all and did not report: does it know where to report to, and is it a peer? Or leave `commit` out"
    } else {
        "`runtime queue list` shows it; it is tried again once the daemon runs"
    };
    steps.failed(step, missing.join("; "), advice)
}
