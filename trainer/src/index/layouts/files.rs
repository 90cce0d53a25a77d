//! Pictures of a data set on disk: where they are and how large.

use crate::index::{IndexError, Record};
use dicom_dictionary_std::tags;
use dicom_object::OpenFileOptions;
use rayon::prelude::*;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

const ENDINGS: [&str; 6] = ["dcm", "dicom", "png", "jpg", "jpeg", "jpe"];

/// Every picture under `root`, by its name without the ending. Sorted, so that nothing depends on the disk.
pub(super) fn pictures(root: &Path) -> Result<BTreeMap<String, PathBuf>, IndexError> {
    Ok(all(root)?.into_iter().filter_map(|path| Some((stem(&path)?, path))).collect())
}

/// Every picture under `root`, sorted.
pub(super) fn all(root: &Path) -> Result<Vec<PathBuf>, IndexError> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        let failed = |source| IndexError::Read { path: folder.clone(), source };
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.is_dir() {
                open.push(path);
            } else if is_picture(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// `a/b.c.png` → `b.c`
pub(super) fn stem(path: &Path) -> Option<String> {
    Some(path.file_stem()?.to_str()?.to_owned())
}

fn is_picture(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| ENDINGS.contains(&ending.to_ascii_lowercase().as_str()))
}

/// Fills in the pixels of every picture from its header.
pub(super) fn measure(records: &mut [Record]) -> Result<(), IndexError> {
    records.par_iter_mut().try_for_each(|record| {
        let [width, height] = size(&record.image)?;
        (record.width, record.height) = (width, height);
        Ok(())
    })
}

fn size(path: &Path) -> Result<[u32; 2], IndexError> {
    let wrong = |reason: String| IndexError::Picture { path: path.to_owned(), reason };
    let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    if ["dcm", "dicom"].contains(&ending.to_ascii_lowercase().as_str()) {
        let object = header(path)?;
        let side = |tag| {
            let element = object.element(tag).map_err(|error| wrong(error.to_string()))?;
            element.to_int::<u32>().map_err(|error| wrong(error.to_string()))
        };
        return Ok([side(tags::COLUMNS)?, side(tags::ROWS)?]);
    }
    let reader = image::ImageReader::open(path).and_then(image::ImageReader::with_guessed_format);
    let reader = reader.map_err(|error| wrong(error.to_string()))?;
    let (width, height) = reader.into_dimensions().map_err(|error| wrong(error.to_string()))?;
    Ok([width, height])
}

/// A DICOM file without its pixels.
pub(super) fn header(path: &Path) -> Result<dicom_object::DefaultDicomObject, IndexError> {
    OpenFileOptions::new()
        .read_until(tags::PIXEL_DATA)
        .open_file(path)
        .map_err(|error| IndexError::Picture { path: path.to_owned(), reason: error.to_string() })
}
