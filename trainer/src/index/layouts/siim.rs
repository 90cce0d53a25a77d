//! SIIM-ACR pneumothorax: `train-rle.csv` with `ImageId, EncodedPixels` (the space belongs to the name), `-1` for no
//! pneumothorax, several rows for several regions; `dicom-images-train/*/*/ImageId.dcm`.
//!
//! The run-length code is relative (each offset counts from the end of the run before) and runs down the columns. Masks are
//! written as pictures beside the index.

use super::{
    DataSet,
    files::{Pictures, stem, unreadable, warn_of_copies},
    no_layout,
    table::Table,
};
use crate::index::{IndexError, Label, Record, RegionMask, write_whole};
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use rayon::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

const CLASS: &str = "pneumothorax";
/// Of every published picture.
const SIDE: u32 = 1024;

pub(super) fn records(data: &mut DataSet<'_>) -> Result<Vec<Record>, IndexError> {
    let (root, masks) = (data.root, data.masks);
    let (table, images) = (root.join("train-rle.csv"), root.join("dicom-images-train"));
    if !table.is_file() || !images.is_dir() {
        let found = "no train-rle.csv or no dicom-images-train/";
        return Err(no_layout(root, "siim", found, "both"));
    }
    let table = Table::read(&table)?;
    let id = table.column(&["ImageId"])?;
    let code = table.column(&[" EncodedPixels", "EncodedPixels"])?;
    let pictures = Pictures::by(&images, stem)?;
    let mut runs: BTreeMap<&str, Vec<Vec<[usize; 2]>>> = BTreeMap::new();
    let mut without = BTreeSet::new();
    for row in table.rows() {
        let own = runs.entry(row.text(id)).or_default();
        match row.text(code) {
            "-1" => {
                without.insert(row.text(id));
            }
            text => own.push(parse(text).ok_or_else(|| row.wrong(code, "-1 or pairs of numbers"))?),
        }
        if !own.is_empty() && without.contains(row.text(id)) {
            return Err(
                row.wrong(code, "either -1 or regions for one image, as its other rows say")
            );
        }
    }
    let record = |(id, regions): (&&str, &Vec<_>)| {
        let missing = || images.join(format!("{id}.dcm"));
        Ok(Record {
            id: (*id).to_owned(),
            source: "siim".into(),
            image: pictures.get(id)?.unwrap_or_else(missing),
            labels: BTreeMap::from([("Pneumothorax".into(), Label::from(!regions.is_empty()))]),
            looked_for: vec![CLASS.into()],
            ..Record::default()
        })
    };
    let mut records: Vec<Record> = runs.iter().map(record).collect::<Result<_, IndexError>>()?;
    data.measure(&mut records)?;
    data.leave_unnamed(&pictures, &records);
    let drawn_in = |record: &&Record| !runs[record.id.as_str()].is_empty();
    warn_of_copies(records.iter().filter(drawn_in), SIDE);
    records.par_iter_mut().try_for_each(|record| {
        let regions = &runs[record.id.as_str()];
        record.patient_id = patient(&record.image)?.unwrap_or_else(|| record.id.clone());
        if !regions.is_empty() {
            record.masks = vec![draw(record, regions, masks)?];
        }
        Ok(())
    })?;
    Ok(records)
}

/// `offset length offset length …`
fn parse(text: &str) -> Option<Vec<[usize; 2]>> {
    let numbers: Option<Vec<usize>> = text.split_whitespace().map(|n| n.parse().ok()).collect();
    let numbers = numbers.filter(|numbers| !numbers.is_empty() && numbers.len() % 2 == 0)?;
    Some(numbers.chunks_exact(2).map(|pair| [pair[0], pair[1]]).collect())
}

fn draw(
    record: &Record,
    regions: &[Vec<[usize; 2]>],
    folder: &Path,
) -> Result<RegionMask, IndexError> {
    let path: PathBuf = folder.join(format!("{}.png", record.id));
    let (width, height) = (record.width as usize, record.height as usize);
    let pixels = decode(regions, width, height).ok_or_else(|| IndexError::Picture {
        path: record.image.clone(),
        reason: format!("its run-length code leaves the image of {width}x{height}"),
    })?;
    let mut png = Vec::new();
    PngEncoder::new(&mut png)
        .write_image(&pixels, record.width, record.height, ExtendedColorType::L8)
        .map_err(|error| IndexError::Picture { path: path.clone(), reason: error.to_string() })?;
    write_whole(&path, &png)?;
    Ok(RegionMask { path, cls: CLASS.into(), group: "lesion".into() })
}

/// Regions joined, 0 and 255, row by row; `None` if a run ends outside.
fn decode(regions: &[Vec<[usize; 2]>], width: usize, height: usize) -> Option<Vec<u8>> {
    let mut pixels = vec![0u8; width * height];
    for region in regions {
        let mut place = 0usize;
        for &[offset, length] in region {
            let begin = place.checked_add(offset)?;
            place = begin.checked_add(length)?;
            if place > pixels.len() {
                return None;
            }
            (begin..place).for_each(|at| pixels[at % height * width + at / height] = 255);
        }
    }
    Some(pixels)
}

fn patient(path: &Path) -> Result<Option<String>, IndexError> {
    let probe = radiograph::probe_file(path).map_err(|error| unreadable(path, &error))?;
    Ok(probe.header.map(|header| header.patient_id).filter(|id| !id.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_relative_and_go_down_the_columns() {
        // 3 wide, 4 high: skip 1, draw 2, skip 3, draw 1 → column 0 rows 1 and 2, column 1 row 2.
        let runs = parse("1 2 3 1").unwrap();
        let pixels = decode(&[runs], 3, 4).unwrap();
        let drawn: Vec<usize> = (0..12).filter(|&at| pixels[at] == 255).collect();
        assert_eq!(drawn, [3, 6, 7]);
    }

    #[test]
    fn rows_of_one_image_are_joined_and_a_run_outside_is_refused() {
        let pixels = decode(&[vec![[0, 1]], vec![[11, 1]]], 3, 4).unwrap();
        assert_eq!((pixels[0], pixels[11], pixels[5]), (255, 255, 0));
        assert!(decode(&[vec![[11, 2]]], 3, 4).is_none());
        assert!(parse("1 2 3").is_none() && parse("a b").is_none() && parse("").is_none());
    }
}
