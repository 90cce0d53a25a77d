//! How each data set lies on disk: one file each, exact names of columns and files.

mod chexpert;
mod chexpert_5x200;
mod covidx;
mod cxr_mini;
mod decode;
mod files;
mod folder;
mod nih;
mod object_cxr;
mod rsna;
mod siim;
mod table;
mod vindr;

pub(super) use table::Table;
mod mimic_cxr;

use super::{IndexError, LabelledBox, LeftOut, Record, left_out};
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

/// A data set's arrangement of files, by the name its users know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Layout {
    /// `manifest.jsonl` beside `images/` and `masks/`; also what `trainer phantom` writes
    CxrMini,
    /// `train.csv`, `valid.csv` of CheXpert
    Chexpert,
    /// `chexpert_5x200.csv` (GLoRIA) or `.json` (PRIOR), for zero-shot classification and retrieval
    #[value(name = "chexpert-5x200")]
    Chexpert5x200,
    /// `stage_2_train_labels.csv` and DICOM files of the RSNA challenge of 2018
    Rsna,
    /// `train-rle.csv` and DICOM files of SIIM-ACR pneumothorax; masks are written beside the index
    Siim,
    /// `train.csv`, `dev.csv` of Object-CXR
    ObjectCxr,
    /// `train_COVIDx*.txt`, `test_COVIDx*.txt`
    Covidx,
    /// `annotations_train.csv` (or Kaggle's `train.csv`) of VinDr-CXR
    Vindr,
    /// `Data_Entry_2017*.csv` of NIH ChestX-ray14
    Nih,
    /// Pictures anywhere, and `labels.csv` with image, patient_id, split and findings if wanted
    Folder,
    /// MIMIC-CXR-JPG 2.0.0 with MIMIC-CXR's reports: frontal images
    MimicCxr,
}

/// Where a data set lies, and what is left out of it on the way.
#[derive(Debug)]
pub struct DataSet<'a> {
    pub root: &'a Path,
    /// A folder for masks that the data set has only as text.
    pub masks: &'a Path,
    /// Images that may be missing.
    pub skip_missing: usize,
    pub left_out: LeftOut,
}

impl<'a> DataSet<'a> {
    pub fn new(root: &'a Path, masks: &'a Path) -> Self {
        Self { root, masks, skip_missing: 0, left_out: LeftOut::default() }
    }

    /// Leaves out the records whose images are not there, or are empty: at most [`Self::skip_missing`] of them.
    fn keep_existing(&mut self, records: &mut Vec<Record>) -> Result<(), IndexError> {
        let mut missing = Vec::new();
        records.retain(|record| {
            let reason = match fs::metadata(&record.image) {
                Ok(file) if file.is_file() && file.len() > 0 => return true,
                Ok(file) if file.is_file() => left_out::MISSING[1],
                _ => left_out::MISSING[0],
            };
            self.left_out.add(left_out::Kind::Images, reason, record.image.display().to_string());
            missing.push((record.image.clone(), reason));
            false
        });
        let (count, limit) = (self.left_out.missing(), self.skip_missing);
        match missing.into_iter().next() {
            Some((path, reason)) if count > limit => {
                let them = if count == 1 { "it" } else { "them" };
                let reason = format!(
                    "it is among the images {reason}, {count} in all, expected at most {limit}; --skip-missing {count} \
                     leaves {them} out"
                );
                Err(IndexError::Picture { path, reason })
            }
            _ => one_record_a_picture(records),
        }
    }

    /// Pictures that lie there and are in no row of the table.
    fn leave_unnamed(&mut self, pictures: &files::Pictures, records: &[Record]) {
        for path in pictures.without(records) {
            let name = path.strip_prefix(self.root).unwrap_or(path).display().to_string();
            self.left_out.add(left_out::Kind::Images, "that the table does not name", name);
        }
    }

    /// Fills in the pixels of every picture from its header, those that may be missing apart.
    fn measure(&mut self, records: &mut Vec<Record>) -> Result<(), IndexError> {
        self.keep_existing(records)?;
        for record in records.iter_mut() {
            // A reader, or a table joined with another, may draw one box twice.
            let mut all: Vec<LabelledBox> = Vec::new();
            for own in std::mem::take(&mut record.boxes) {
                let same = |other: &LabelledBox| {
                    LabelledBox { source: own.source.clone(), ..other.clone() } == own
                };
                if all.iter().any(same) {
                    let (kind, id) = (left_out::Kind::Boxes, record.id.as_str());
                    self.left_out.add(kind, "drawn a second time", id);
                } else {
                    all.push(own);
                }
            }
            record.boxes = all;
        }
        files::measure(records)
    }
}

/// Two rows about one picture would say two things of it, or count it twice.
fn one_record_a_picture(records: &[Record]) -> Result<(), IndexError> {
    let mut seen: HashMap<PathBuf, &str> = HashMap::new();
    for record in records {
        let place = record.image.canonicalize().unwrap_or_else(|_| record.image.clone());
        // Equal ids are told apart by the rules of the index, which know their lines.
        let first = seen.insert(place, &record.id).filter(|first| *first != record.id);
        if let Some(first) = first {
            let reason = format!(
                "`{}` and `{first}` are both this picture, expected one row of it",
                record.id
            );
            return Err(IndexError::Picture { path: record.image.clone(), reason });
        }
    }
    Ok(())
}

impl Layout {
    /// Every image of the data set, splits where the data set has them.
    pub fn records(self, data: &mut DataSet<'_>) -> Result<Vec<Record>, IndexError> {
        match self {
            Self::CxrMini => cxr_mini::records(data),
            Self::Chexpert => chexpert::records(data),
            Self::Chexpert5x200 => chexpert_5x200::records(data),
            Self::Rsna => rsna::records(data),
            Self::Siim => siim::records(data),
            Self::ObjectCxr => object_cxr::records(data),
            Self::Covidx => covidx::records(data),
            Self::Vindr => vindr::records(data),
            Self::Nih => nih::records(data),
            Self::Folder => folder::records(data),
            Self::MimicCxr => mimic_cxr::records(data),
        }
    }
}

fn no_layout(root: &Path, layout: &'static str, found: &str, expected: &str) -> IndexError {
    let (root, found, expected) = (root.to_owned(), found.to_owned(), expected.to_owned());
    IndexError::Layout { root, layout, found, expected }
}

#[cfg(test)]
mod tests;
