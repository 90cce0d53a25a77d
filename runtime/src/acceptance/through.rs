//! Every image through the daemon: as it is, again, and with other window settings. One at a time, so that a time is the
//! time of one image.

use super::{groups, stand::Stand, studies::Image, windows};
use crate::{
    instances::Numbered,
    serve::Trial,
    spool::{Key, Stage},
};
use ::acceptance::{Answer, Case, Plan, Said};
use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use results::{Record, Status};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::task::block_in_place;

/// A daemon at work, and what is asked of it.
pub(super) struct Through<'a> {
    trial: &'a Trial,
    stand: &'a Stand,
    plan: &'a Plan,
    wait: Duration,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) cases: Vec<Case>,
    /// SHA-256 over the digests of the files, in their order.
    pub(super) digest: String,
    pub(super) signed_by: Option<String>,
    /// Why images were not tried with a window setting, and how many.
    pub(super) windows_left_out: BTreeMap<String, u64>,
}

impl<'a> Through<'a> {
    pub(super) fn new(trial: &'a Trial, stand: &'a Stand, plan: &'a Plan) -> Self {
        Self { trial, stand, plan, wait: Duration::from_secs_f64(plan.test.wait_seconds) }
    }

    pub(super) async fn everything(&self, images: &[Image]) -> Result<Sent> {
        let style =
            ProgressStyle::with_template("{bar:40} {pos}/{len} images, {elapsed}, {eta} left");
        let bar = ProgressBar::new(images.len() as u64).with_style(style.context("progress")?);
        let with_windows = spread(images.len(), self.plan.test.window_images as usize);
        let mut patients = BTreeMap::new();
        let (mut cases, mut digest) = (Vec::with_capacity(images.len()), Sha256::new());
        let mut windows_left_out = BTreeMap::new();
        for (at, image) in images.iter().enumerate() {
            let object = Numbered::read(&image.path)?;
            digest.update(Sha256::digest(&object.bytes));
            let next = u32::try_from(patients.len() + 1).context("too many patients")?;
            let patient = *patients.entry(patient(image, &object)).or_insert(next);
            let mut case = self
                .one(image, &object, patient)
                .await
                .with_context(|| image.path.display().to_string())?;
            case.number = u32::try_from(at + 1).context("too many images")?;
            if with_windows.contains(&at) {
                case.windows = self.windows(&object, &mut windows_left_out).await?;
            }
            cases.push(case);
            bar.inc(1);
        }
        bar.finish_and_clear();
        let signed_by = self.trial.bundle.as_ref().ok().and_then(|about| about.signed_by.clone());
        let digest = hex::encode(digest.finalize());
        Ok(Sent { cases, digest, signed_by, windows_left_out })
    }

    /// An image as it is, and again, each time as another instance.
    async fn one(&self, image: &Image, object: &Numbered, patient: u32) -> Result<Case> {
        let original = &object.header.sop_instance_uid;
        let answer = self.answer(object, original, object.original()).await?;
        let direct = block_in_place(|| self.stand.direct(&object.bytes))?;
        let mut again = Vec::new();
        for repeat in 0..self.plan.test.repeats {
            let instance = instance(original, &format!("again {repeat}"));
            again.push(self.answer(object, &instance, &object.data_set(&instance)?).await?);
        }
        Ok(Case {
            number: 0,
            patient,
            truths: image.truths.clone(),
            groups: groups::of(&object.bytes, &object.header, image.told.as_ref()),
            answer,
            direct: said(&direct)?,
            again,
            windows: Vec::new(),
        })
    }

    async fn windows(
        &self,
        object: &Numbered,
        left_out: &mut BTreeMap<String, u64>,
    ) -> Result<Vec<(String, Answer)>> {
        let mut answers = Vec::new();
        for (setting, changes) in windows::settings(object, &self.plan.test.window_percent)? {
            let changes = match changes {
                Ok(changes) => changes,
                Err(why) => {
                    *left_out.entry(format!("{setting}, {why}")).or_insert(0) += 1;
                    continue;
                }
            };
            let instance = instance(&object.header.sop_instance_uid, &setting);
            let data_set = object.changed(&instance, &changes)?;
            answers.push((setting, self.answer(object, &instance, &data_set).await?));
        }
        Ok(answers)
    }

    async fn answer(&self, object: &Numbered, instance: &str, data_set: &[u8]) -> Result<Answer> {
        self.trial.store(object.syntaxes, object.class, (instance, data_set)).await?;
        let found = self.trial.answer(instance, self.wait).await?;
        let seconds = self.wait.as_secs_f64();
        let (key, record) = found.with_context(|| {
            format!("no answer within {seconds} s, expected one: see test.wait_seconds")
        })?;
        self.told(&key, record)
    }

    fn told(&self, key: &Key, record: Record) -> Result<Answer> {
        let way = self.trial.spool.stages.of(key.sequence);
        let took = way.and_then(|way| way.between(Stage::Opened, Stage::Committed));
        let seconds = took.context("the daemon noted no times of this image")?.as_secs_f64();
        let digest = said(&record)?;
        let refused = match (record.status, record.parked) {
            (Status::Analysed, _) => None,
            (Status::NotAnalysed, true) => Some("given up after failures".to_owned()),
            (Status::NotAnalysed, false) => Some(record.cause.unwrap_or("declined".into())),
        };
        let findings = record.findings.into_iter().map(|finding| {
            let results::Finding { name, probability, threshold, positive } = finding;
            (name, Said { probability, threshold, positive })
        });
        let findings = findings.collect();
        Ok(Answer { refused, findings, digest, seconds })
    }
}

/// SHA-256 of all that a record says, every pixel of masks and heat maps included.
fn said(record: &Record) -> Result<String> {
    let mut all = Sha256::new_with_prefix(record.said());
    all.update(record.masks_digest()?.unwrap_or_default());
    all.update(record.heat_digest().unwrap_or_default());
    Ok(hex::encode(all.finalize()))
}

/// Whose image it is: by the index, by the header, else one of its own.
fn patient(image: &Image, object: &Numbered) -> String {
    let header = &object.header;
    let told = image.told.as_ref().map(|told| &told.patient);
    let names = [told, Some(&header.patient_id), Some(&header.study_instance_uid)];
    let name = names.into_iter().flatten().find(|name| !name.is_empty());
    name.unwrap_or(&header.sop_instance_uid).clone()
}

/// Another instance of an image, the same each time.
fn instance(original: &str, what: &str) -> String {
    let digest = Sha256::digest(format!("cxr-edge acceptance\0{original}\0{what}"));
    let number = digest.first_chunk().map_or(0, |bytes| u128::from_be_bytes(*bytes));
    format!("2.25.{number}")
}

/// At most `most` of `count` places, evenly.
fn spread(count: usize, most: usize) -> BTreeSet<usize> {
    let most = most.min(count);
    (0..most).map(|at| at * count / most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_spread_over_all_images() {
        assert_eq!(spread(10, 3), [0, 3, 6].into());
        assert_eq!(spread(3, 20), [0, 1, 2].into());
        assert!(spread(0, 5).is_empty() && spread(5, 0).is_empty());
    }

    #[test]
    fn instances_are_uids_of_their_own_and_the_same_each_time() {
        let one = instance("1.2.3", "again 0");
        assert_eq!(one, instance("1.2.3", "again 0"));
        assert_ne!(one, instance("1.2.3", "again 1"));
        assert!(one.len() <= 64 && crate::uid::Uid::parse(&one).is_ok(), "{one}");
    }
}
