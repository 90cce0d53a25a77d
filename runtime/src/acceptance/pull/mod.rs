//! A site's studies out of its archive: those that its labels name, and nothing else.
//!
//! ```text
//! a study's name ─▶ the study ─▶ its series of our modalities ─▶ their images ─▶ files
//!
//! dimse   C-FIND, C-MOVE      door   where C-MOVE sends to: our own SCP on a spool of its own
//! web     QIDO-RS, WADO-RS
//! trouble what of a study, what of the archive; in words that name no patient
//! ```
//!
//! What an archive says that it has is what is expected of it. What then does not come is told, study by study.

mod dimse;
mod door;
mod trouble;
mod web;

use crate::{
    config::{Archive, Pacs},
    dicom::{
        negotiation::STORAGE_CLASSES,
        query::{Answer, Question, StudyName},
    },
    uid::Uid,
};
use ::acceptance::{Asked, Missing, Pulled, StudyName as Name};
use anyhow::{Context, Result};
use dimse::Dimse;
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};
use trouble::Trouble;
use web::Web;

/// An image that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Come {
    pub(super) path: PathBuf,
    pub(super) instance: Uid,
    pub(super) study: Uid,
    /// As the labels call the study, and where they do first.
    pub(super) name: Name,
    pub(super) line: u64,
}

/// Pulls every study of `asked` into `folder`. Fails where no other study would fare better.
pub(super) async fn pull(
    pacs: &Pacs,
    asked: &[Asked],
    folder: &Path,
) -> Result<(Vec<Come>, Pulled)> {
    let mut archive = match &pacs.archive {
        Archive::Dicom { ae_title, address, door } => {
            Way::Dimse(Box::new(Dimse::open(pacs, ae_title, address, door, folder).await?))
        }
        Archive::Web { url, credentials } => {
            Way::Web(Web::open(pacs, url, credentials.as_ref(), folder)?)
        }
    };
    let mut pulled =
        Pulled { by: archive.name().into(), studies: asked.len() as u64, ..Pulled::default() };
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} studies pulled, {elapsed}");
    let bar = ProgressBar::new(asked.len() as u64).with_style(style.context("progress")?);
    let (mut come, mut known) = (Vec::new(), BTreeSet::new());
    for Asked { name, line } in asked {
        let mut study = Study { pacs, pulled: &mut pulled, known: &mut known, expected: None };
        let why = study.pull(&mut archive, name).await;
        archive.end_of_study().await;
        let expected = study.expected.take();
        let before = come.len();
        for (study, instance) in expected.iter().flatten() {
            let path = archive.file(instance);
            let image = |path| Come {
                path,
                instance: instance.clone(),
                study: study.clone(),
                name: name.clone(),
                line: *line,
            };
            come.extend(path.map(image));
        }
        let (came, of) = ((come.len() - before) as u64, expected.map(|all| all.len() as u64));
        let trouble = match why {
            Err(Trouble::Archive(error)) => return Err(error),
            Err(Trouble::Study { why, said }) => Some((why, said)),
            Ok(()) if of == Some(came) => None,
            Ok(()) => Some(("the archive said it was done".into(), String::new())),
        };
        if let Some((why, said)) = trouble {
            log::warn!("labels, line {line}, study {}: {why} {said}", name.text());
            pulled.missing.push(Missing { line: *line, came, of, why });
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    pulled.images = come.len() as u64;
    pulled.unasked = archive.close(pulled.images).await;
    Ok((come, pulled))
}

/// One of the two ways to an archive.
enum Way<'a> {
    Dimse(Box<Dimse<'a>>),
    Web(Web<'a>),
}

impl Way<'_> {
    fn name(&self) -> &'static str {
        match self {
            Self::Dimse(_) => "C-FIND and C-MOVE",
            Self::Web(_) => "QIDO-RS and WADO-RS",
        }
    }

    /// What it has that is about the question.
    async fn find(&mut self, question: &Question) -> Result<Vec<Answer>, Trouble> {
        match self {
            Self::Dimse(archive) => archive.find(question).await,
            Self::Web(archive) => archive.find(question).await,
        }
    }

    /// Has a series sent; whether all of it came is for who asked to see.
    async fn fetch(&mut self, study: &Uid, series: &Uid, images: &[Uid]) -> Result<(), Trouble> {
        match self {
            Self::Dimse(archive) => archive.fetch(study, series).await,
            Self::Web(archive) => archive.fetch(study, series, images).await,
        }
    }

    async fn end_of_study(&mut self) {
        if let Self::Dimse(archive) = self {
            archive.release().await;
        }
    }

    /// Where an image lies that came.
    fn file(&self, instance: &Uid) -> Option<PathBuf> {
        match self {
            Self::Dimse(archive) => archive.file(instance),
            Self::Web(archive) => archive.file(instance),
        }
    }

    /// How many objects came beside the `wanted` ones.
    async fn close(self, wanted: u64) -> u64 {
        match self {
            Self::Dimse(archive) => archive.close().await.saturating_sub(wanted),
            Self::Web(_) => 0, // each was asked for by its name
        }
    }
}

/// One study on its way.
struct Study<'a> {
    pacs: &'a Pacs,
    pulled: &'a mut Pulled,
    /// Images of all studies so far.
    known: &'a mut BTreeSet<Uid>,
    /// Study and image, once the archive has said what there is.
    expected: Option<Vec<(Uid, Uid)>>,
}

impl Study<'_> {
    async fn pull(&mut self, archive: &mut Way<'_>, name: &Name) -> Result<(), Trouble> {
        let asked = Question::Study(match name {
            Name::Uid(text) => {
                StudyName::Uid(Uid::parse(text).map_err(|error| Trouble::Archive(error.into()))?)
            }
            Name::Accession(number) => StudyName::Accession(number.clone()),
        });
        let found: BTreeSet<Uid> =
            archive.find(&asked).await?.into_iter().filter_map(|answer| answer.study).collect();
        let mut found = found.into_iter();
        let study = match (found.next(), found.len()) {
            (None, _) => return Err(Trouble::study("the archive knows no such study")),
            (Some(study), 0) => study,
            (Some(_), more) => {
                let why = format!("{} studies have this number, expected one", more + 1);
                return Err(Trouble::study(why));
            }
        };
        let wanted = self.wanted(archive, &study).await?;
        let images: usize = wanted.values().map(Vec::len).sum();
        if images == 0 {
            self.expected = Some(Vec::new());
            let modalities = self.pacs.modalities.join(", ");
            return Err(Trouble::study(format!("no image of modality {modalities}")));
        }
        let of = |image: &Uid| (study.clone(), image.clone());
        self.expected = Some(wanted.values().flatten().map(of).collect());
        let mut first = Ok(());
        for (series, images) in &wanted {
            match archive.fetch(&study, series, images).await {
                Err(trouble) if trouble.ends_study() => return Err(trouble),
                // The other series may come all the same.
                Err(trouble) => first = first.and(Err(trouble)),
                Ok(()) => {}
            }
        }
        first
    }

    /// Its images by series, of our modalities and of classes that the daemon takes.
    async fn wanted(
        &mut self,
        archive: &mut Way<'_>,
        study: &Uid,
    ) -> Result<BTreeMap<Uid, Vec<Uid>>, Trouble> {
        let mut all: BTreeMap<Uid, String> = BTreeMap::new();
        for answer in archive.find(&Question::SeriesOf { study: study.clone() }).await? {
            let modality = answer.modality.unwrap_or_else(|| "unknown".into());
            all.extend(answer.series.map(|series| (series, modality)));
        }
        let mut wanted = BTreeMap::new();
        for (series, modality) in all {
            if !self.pacs.modalities.contains(&modality) {
                // It stands in a report: what is no code string may be anything.
                let known = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
                let is_code = modality.len() <= 16 && modality.bytes().all(known);
                let code = if is_code { modality } else { "no code".to_owned() };
                *self.pulled.left_out.entry(code).or_insert(0) += 1;
                continue;
            }
            let question = Question::ImagesOf { study: study.clone(), series: series.clone() };
            let mut images = Vec::new();
            for answer in archive.find(&question).await? {
                let takes =
                    |class: &Uid| STORAGE_CLASSES.iter().any(|(uid, _)| *uid == class.as_str());
                let Some(instance) =
                    answer.instance.filter(|_| answer.class.as_ref().is_none_or(takes))
                else {
                    continue;
                };
                if self.known.insert(instance.clone()) {
                    images.push(instance);
                }
            }
            if !images.is_empty() {
                wanted.insert(series, images);
            }
        }
        Ok(wanted)
    }
}
