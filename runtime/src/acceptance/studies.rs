//! The images that are there, and what is true of each.

use crate::instances::Numbered;
use ::acceptance::{Known, Plan, Studies, Truths, check_names, read_labels, sha256};
use anyhow::{Context, Result, bail, ensure};
use radiograph::{Kind, Listing, probe_file};
use records::Truth;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// An image to send.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Image {
    pub(super) path: PathBuf,
    /// As the site knows it.
    pub(super) known: Known,
    /// By the bundle's names of findings.
    pub(super) truths: Truths,
    /// Where an index tells; else the header does.
    pub(super) told: Option<Told>,
}

/// What an index says of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) patient: String,
    pub(super) sex: Option<String>,
    pub(super) view: String,
}

/// Everything that goes to the daemon, and what does not.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) images: Vec<Image>,
    pub(super) studies: Studies,
    /// SHA-256 of the labels or the index.
    pub(super) truth: String,
}

pub(super) fn gather(plan: &Plan) -> Result<Gathered> {
    let (all, truth, not_sendable) = match (&plan.studies.folder, &plan.studies.labels) {
        (Some(folder), Some(labels)) => of_folder(folder, labels, plan)?,
        _ => of_index(plan)?,
    };
    let mut studies = Studies { not_sendable, ..Studies::default() };
    let count = all.len();
    let images: Vec<Image> = all.into_iter().filter(|image| !image.truths.is_empty()).collect();
    studies.without_labels = (count - images.len()) as u64;
    let mut names = BTreeSet::new();
    for image in &images {
        let path = image.path.display();
        ensure!(
            names.insert(&image.known.sop_instance_uid),
            "{path}: another file has the same SOP Instance UID, expected each image once"
        );
    }
    Ok(Gathered { images, studies, truth })
}

/// Why nothing is left.
pub(super) fn why(studies: &Studies) -> String {
    let mut reasons: Vec<String> =
        studies.not_sendable.iter().map(|(why, count)| format!("{why}: {count}")).collect();
    reasons.push(format!("without a label: {}", studies.without_labels));
    reasons.join("; ")
}

type Found = (Vec<Image>, String, BTreeMap<String, u64>);

fn of_folder(folder: &Path, labels: &Path, plan: &Plan) -> Result<Found> {
    let listing = Listing::of(folder)?;
    let (mut paths, mut known, mut not_sendable) = (Vec::new(), Vec::new(), BTreeMap::new());
    for path in listing.pictures {
        let below = path.strip_prefix(folder).unwrap_or(&path);
        let parts: Vec<_> = below.iter().map(|part| part.to_string_lossy()).collect();
        match probed(&path) {
            Ok([sop_instance_uid, study_instance_uid]) => {
                known.push(Known { file: parts.join("/"), sop_instance_uid, study_instance_uid });
                paths.push(path);
            }
            Err(why) => *not_sendable.entry(why).or_insert(0) += 1,
        }
    }
    let table = fs::read(labels).with_context(|| format!("cannot read {}", labels.display()))?;
    let truths = read_labels(&table, &known).map_err(|error| error.of_file(labels))?;
    let wanted = plan.findings.iter().map(::acceptance::Finding::label);
    check_names(&truths, wanted).map_err(|error| error.of_file(labels))?;
    let images = paths.into_iter().zip(known).zip(truths).map(|((path, known), truths)| {
        let truths = plan
            .findings
            .iter()
            .filter_map(|finding| Some((finding.name.clone(), *truths.get(finding.label())?)));
        Image { path, known, truths: truths.collect(), told: None }
    });
    Ok((images.collect(), sha256(&table), not_sendable))
}

/// SOP and Study Instance UID; or why the file cannot be sent.
fn probed(path: &Path) -> Result<[String; 2], String> {
    match probe_file(path) {
        Ok(probe) if probe.kind != Kind::Dicom => Err("no DICOM file".into()),
        Ok(_) => match Numbered::read(path) {
            Ok(Numbered { header, .. }) => Ok([header.sop_instance_uid, header.study_instance_uid]),
            Err(why) => Err(format!("{:#}", why.root_cause())),
        },
        Err(_) => Err("cannot be read as DICOM".into()),
    }
}

fn of_index(plan: &Plan) -> Result<Found> {
    let path = plan.studies.index.as_ref().context("the plan names no studies")?;
    let records = records::read(path)?;
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (mut images, mut not_sendable) = (Vec::new(), BTreeMap::new());
    let split = plan.studies.split.as_deref();
    for record in records.iter().filter(|r| split.is_none_or(|s| r.part().to_string() == s)) {
        let truths: Truths = plan
            .findings
            .iter()
            .filter_map(|finding| {
                let truth = record.truth(finding.label());
                (truth != Truth::Unknown).then(|| (finding.name.clone(), truth.certain()))
            })
            .collect();
        let told = Told {
            patient: record.group().to_owned(),
            sex: record.sex.clone(),
            view: record.view.clone(),
        };
        match probed(record.image_path()) {
            Ok([sop_instance_uid, study_instance_uid]) => images.push(Image {
                path: record.image_path().to_owned(),
                known: Known { file: record.id.clone(), sop_instance_uid, study_instance_uid },
                truths,
                told: Some(told),
            }),
            Err(why) => *not_sendable.entry(why).or_insert(0) += 1,
        }
    }
    if images.is_empty() && not_sendable.is_empty() {
        bail!("{}: no image of split {}", path.display(), split.unwrap_or("any"));
    }
    let truths: Vec<Truths> = images.iter().map(|image: &Image| image.truths.clone()).collect();
    if !truths.is_empty() {
        let wanted = plan.findings.iter().map(|finding| finding.name.as_str());
        check_names(&truths, wanted).map_err(|error| error.of_file(path))?;
    }
    Ok((images, sha256(&bytes), not_sendable))
}
