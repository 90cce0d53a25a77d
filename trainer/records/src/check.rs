//! What must hold in every index before anything is learnt from it.

use super::{IndexError, LabelledBox, Record};
use std::{collections::HashMap, path::Path};

/// Annotation tools round to the next pixel; more than this is an error, not rounding.
const EDGE_TOLERANCE: f32 = 1.0;

pub(super) fn records(path: &Path, records: &[(usize, Record)]) -> Result<(), IndexError> {
    let mut seen = HashMap::new();
    for (line, record) in records {
        if let Some(first) = seen.insert(record.id.as_str(), *line) {
            let (path, line, id) = (path.to_owned(), *line, record.id.clone());
            return Err(IndexError::DuplicateId { path, line, id, first });
        }
    }
    one_split_per_patient(path, records)?;
    for (line, record) in records {
        let masks = record.lung_masks.iter().map(|mask| &mask.path);
        let masks = masks.chain(record.masks.iter().map(|mask| &mask.path));
        if let Some(file) = [&record.image].into_iter().chain(masks).find(|file| !file.is_file()) {
            let (path, line, id) = (path.to_owned(), *line, record.id.clone());
            return Err(IndexError::MissingFile { path, line, id, file: file.clone() });
        }
        boxes_inside(path, *line, record)?;
    }
    Ok(())
}

fn one_split_per_patient(path: &Path, records: &[(usize, Record)]) -> Result<(), IndexError> {
    let mut seen = HashMap::new();
    for (line, record) in records {
        let Some(split) = record.split else { continue };
        let &mut (expected, first) = seen.entry(record.group()).or_insert((split, *line));
        if expected != split {
            return Err(IndexError::SharedPatient {
                path: path.to_owned(),
                line: *line,
                group: record.group().to_owned(),
                found: split.to_string(),
                expected: expected.to_string(),
                first,
            });
        }
    }
    Ok(())
}

fn boxes_inside(path: &Path, line: usize, record: &Record) -> Result<(), IndexError> {
    let (width, height) = (record.width, record.height);
    let inside = |b: &LabelledBox| {
        let finite = [b.x, b.y, b.w, b.h].iter().all(|value| value.is_finite());
        let positive = b.w > 0.0 && b.h > 0.0 && b.x.min(b.y) >= -EDGE_TOLERANCE;
        let fits = width == 0
            || height == 0
            || (b.x + b.w <= width as f32 + EDGE_TOLERANCE
                && b.y + b.h <= height as f32 + EDGE_TOLERANCE);
        finite && positive && fits
    };
    match record.boxes.iter().chain(record.lung_boxes.iter().flatten()).find(|b| !inside(b)) {
        None => Ok(()),
        Some(b) => Err(IndexError::BoxOutside {
            path: path.to_owned(),
            line,
            id: record.id.clone(),
            label: b.label.clone(),
            x: b.x,
            y: b.y,
            w: b.w,
            h: b.h,
            width,
            height,
        }),
    }
}
