//! How each data set lies on disk: one file each, exact names of columns and files.

mod chexpert;
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

use super::{IndexError, LeftOut, Record, left_out};
use std::path::Path;

/// A data set's arrangement of files, by the name its users know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Layout {
    /// `manifest.jsonl` beside `images/` and `masks/`; also what `trainer phantom` writes
    CxrMini,
    /// `train.csv`, `valid.csv` of CheXpert
    Chexpert,
    /// `chexpert_5x200.csv`, for zero-shot classification and retrieval
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
    pub left_out: LeftOut,
}

impl<'a> DataSet<'a> {
    pub fn new(root: &'a Path, masks: &'a Path) -> Self {
        Self { root, masks, left_out: LeftOut::default() }
    }
}

impl Layout {
    /// Every image of the data set, splits where the data set has them.
    pub fn records(self, data: &mut DataSet<'_>) -> Result<Vec<Record>, IndexError> {
        let root = data.root;
        match self {
            Self::CxrMini => cxr_mini::records(root),
            Self::Chexpert => chexpert::records(data),
            Self::Chexpert5x200 => chexpert::five_by_two_hundred(data),
            Self::Rsna => rsna::records(root),
            Self::Siim => siim::records(data),
            Self::ObjectCxr => object_cxr::records(root),
            Self::Covidx => covidx::records(root),
            Self::Vindr => vindr::records(root),
            Self::Nih => nih::records(root),
            Self::Folder => folder::records(root),
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
