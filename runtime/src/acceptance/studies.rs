//! The images that are there, and what is true of each.

use super::pull::{self, Come};
use crate::{config::Pacs, instances::Numbered};
use ::acceptance::{
    Asked, Known, Missing, Plan, Studies, StudyName, Truths, check_names, read_asked, read_labels,
    read_pulled, sha256,
};
use anyhow::{Context, Result, bail, ensure};
use radiograph::{Kind, Listing, probe_file};
use records::Truth;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::OpenOptionsExt,
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
    let studies = Studies { not_sendable, ..Studies::default() };
    checked(all, studies, truth)
}

/// The studies that the labels of a plan name, for an archive.
pub(super) struct Wanted<'a> {
    plan: &'a Plan,
    labels: &'a Path,
    table: Vec<u8>,
    asked: Vec<Asked>,
}

impl<'a> Wanted<'a> {
    pub(super) fn read(plan: &'a Plan) -> Result<Self> {
        let labels = plan.studies.labels.as_deref().context("the plan names no labels")?;
        let table =
            fs::read(labels).with_context(|| format!("cannot read {}", labels.display()))?;
        let names = plan.findings.iter().map(::acceptance::Finding::label);
        let asked = read_asked(&table, names).map_err(|error| error.of_file(labels))?;
        Ok(Self { plan, labels, table, asked })
    }

    /// Pulls them into `folder`; what came is copied to `keep`, if there is one.
    pub(super) async fn pull(
        self,
        pacs: &Pacs,
        folder: &Path,
        keep: Option<&Path>,
    ) -> Result<Gathered> {
        let (come, mut pulled) = pull::pull(pacs, &self.asked, folder).await?;
        let of_study = lines(&come);
        let (mut paths, mut known, mut not_sendable) = (Vec::new(), Vec::new(), BTreeMap::new());
        let mut useless: BTreeMap<u64, (u64, String)> = BTreeMap::new();
        for Come { path, instance, study, name, line } in come {
            let header = match probed(&path) {
                Ok(header) if header.study_instance_uid == study.as_str() => Ok(header),
                Ok(_) => Err("says another study than the archive did".to_owned()),
                Err(why) => Err(why),
            };
            let header = match header {
                Ok(header) => header,
                Err(why) => {
                    *not_sendable.entry(why.clone()).or_insert(0) += 1;
                    useless.entry(line).or_insert((0, why)).0 += 1;
                    continue;
                }
            };
            let (path, file) = match keep {
                Some(keep) => kept(&path, keep, &format!("{instance}.dcm"))?,
                None => (path, String::new()),
            };
            paths.push(path);
            known.push(match name {
                StudyName::Uid(_) => Known { file, ..header },
                StudyName::Accession(accession_number) => {
                    Known { file, accession_number, ..header }
                }
            });
        }
        // Of what cannot be sent nothing can be said: it is as if it had not come.
        for (line, (count, why)) in useless {
            let of = of_study.get(&line).copied().unwrap_or(count);
            match pulled.missing.iter_mut().find(|missing| missing.line == line) {
                Some(missing) => missing.came -= count,
                None => pulled.missing.push(Missing { line, came: of - count, of: Some(of), why }),
            }
        }
        pulled.missing.sort_by_key(|missing| missing.line);
        let truths =
            read_pulled(&self.table, &known).map_err(|error| error.of_file(self.labels))?;
        let all = labelled(paths, known, truths, self.plan);
        let studies = Studies { not_sendable, pulled: Some(pulled), ..Studies::default() };
        checked(all, studies, sha256(&self.table))
    }
}

/// How many images came of each study, by the line that names it.
fn lines(come: &[Come]) -> BTreeMap<u64, u64> {
    let mut lines = BTreeMap::new();
    for image in come {
        *lines.entry(image.line).or_insert(0) += 1;
    }
    lines
}

/// Copies a file into a folder, for its owner alone.
fn kept(path: &Path, folder: &Path, name: &str) -> Result<(PathBuf, String)> {
    let to = folder.join(name);
    let copy = || {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&to)?;
        io::copy(&mut fs::File::open(path)?, &mut file)?;
        file.sync_all()
    };
    copy().with_context(|| format!("cannot write {}", to.display()))?;
    Ok((to, name.to_owned()))
}

fn checked(all: Vec<Image>, mut studies: Studies, truth: String) -> Result<Gathered> {
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
    let missing = studies.pulled.iter().flat_map(|pulled| &pulled.missing);
    let missing = missing.map(|missing| format!("line {}: {}", missing.line, missing.why));
    let mut reasons: Vec<String> = missing.collect();
    reasons.extend(studies.not_sendable.iter().map(|(why, count)| format!("{why}: {count}")));
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
            Ok(header) => {
                known.push(Known { file: parts.join("/"), ..header });
                paths.push(path);
            }
            Err(why) => *not_sendable.entry(why).or_insert(0) += 1,
        }
    }
    let table = fs::read(labels).with_context(|| format!("cannot read {}", labels.display()))?;
    let truths = read_labels(&table, &known).map_err(|error| error.of_file(labels))?;
    let wanted = plan.findings.iter().map(::acceptance::Finding::label);
    check_names(&truths, wanted).map_err(|error| error.of_file(labels))?;
    Ok((labelled(paths, known, truths, plan), sha256(&table), not_sendable))
}

fn labelled(
    paths: Vec<PathBuf>,
    known: Vec<Known>,
    truths: Vec<Truths>,
    plan: &Plan,
) -> Vec<Image> {
    let images = paths.into_iter().zip(known).zip(truths).map(|((path, known), truths)| {
        let truths = plan
            .findings
            .iter()
            .filter_map(|finding| Some((finding.name.clone(), *truths.get(finding.label())?)));
        Image { path, known, truths: truths.collect(), told: None }
    });
    images.collect()
}

/// As its header says, without its name; or why the file cannot be sent.
fn probed(path: &Path) -> Result<Known, String> {
    match probe_file(path) {
        Ok(probe) if probe.kind != Kind::Dicom => Err("no DICOM file".into()),
        Ok(_) => match Numbered::read(path) {
            Ok(Numbered { header, .. }) => Ok(Known {
                file: String::new(),
                sop_instance_uid: header.sop_instance_uid,
                study_instance_uid: header.study_instance_uid,
                accession_number: header.accession_number,
            }),
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
            Ok(header) => images.push(Image {
                path: record.image_path().to_owned(),
                known: Known { file: record.id.clone(), ..header },
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
