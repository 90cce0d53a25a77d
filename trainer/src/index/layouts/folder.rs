//! A folder of one's own: pictures anywhere under it and, if wanted, `labels.csv` with `image` (path from the folder), `patient_id`,
//! `split` (train, val, test) and a column in {1, 0, -1, blank} for each finding. Only `image` must be there.
//!
//! Without the table every picture is a patient and nothing is known of it: enough to calibrate and to analyse. Files without an
//! ending are looked into. What is no picture, or in no row of the table, is counted.

use super::{
    DataSet,
    chexpert::label,
    files::{listing, located},
    left_out::Kind,
    no_layout,
    table::Table,
};
use crate::index::{IndexError, Record, Split};
use clap::ValueEnum;
use radiograph::RadiographError;
use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

const FACTS: [&str; 3] = ["image", "patient_id", "split"];

pub(super) fn records(data: &mut DataSet<'_>) -> Result<Vec<Record>, IndexError> {
    let root = data.root;
    let listing = listing(root)?;
    let table = table(root, &listing.others)?;
    for path in listing.others.iter().filter(|path| Some(*path) != table) {
        data.left_out.add(Kind::Files, "that are no pictures", relative(root, path));
    }
    let mut records = match table {
        Some(table) => {
            let (records, named) = of_table(root, table)?;
            let is_named =
                |path: &PathBuf| path.canonicalize().is_ok_and(|path| named.contains_key(&path));
            for path in listing.pictures.iter().filter(|path| !is_named(path)) {
                data.left_out.add(
                    Kind::Images,
                    "that labels.csv does not name",
                    relative(root, path),
                );
            }
            records
        }
        None => of_pictures(data, listing.pictures)?,
    };
    if records.is_empty() {
        return Err(no_layout(root, "folder", "no picture", "DICOM, PNG or JPEG files"));
    }
    data.measure(&mut records)?;
    Ok(records)
}

/// `labels.csv` or `labels.csv.gz`, in small letters or capitals.
fn table<'a>(root: &Path, others: &'a [PathBuf]) -> Result<Option<&'a PathBuf>, IndexError> {
    let is_table = |path: &&PathBuf| {
        let name = path.file_name().unwrap_or_default();
        let own = ["labels.csv", "labels.csv.gz"].iter().any(|own| name.eq_ignore_ascii_case(own));
        own && path.parent() == Some(root)
    };
    let mut tables = others.iter().filter(is_table);
    match (tables.next(), tables.next()) {
        (Some(one), Some(two)) => {
            let reason = format!("{} is a table of labels too, expected one", one.display());
            Err(IndexError::Picture { path: two.clone(), reason })
        }
        (table, _) => Ok(table),
    }
}

fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

/// Reports and other objects of a DICOM folder that have no picture are left out.
fn of_pictures(data: &mut DataSet<'_>, pictures: Vec<PathBuf>) -> Result<Vec<Record>, IndexError> {
    let mut records = Vec::new();
    for image in pictures {
        let id = relative(data.root, &image);
        if has_no_picture(&image) {
            data.left_out.add(Kind::Files, "of DICOM without a picture", id);
            continue;
        }
        records.push(Record {
            patient_id: id.clone(),
            id,
            source: "folder".into(),
            image,
            ..Record::default()
        });
    }
    Ok(records)
}

fn has_no_picture(path: &Path) -> bool {
    let missing = |error: &RadiographError| {
        matches!(error, RadiographError::Missing { name: "Rows" | "Columns" | "PixelData" })
    };
    match radiograph::probe_file(path) {
        Err(RadiographError::File { source, .. }) => missing(&source),
        _ => false,
    }
}

/// Records, and the line of each image.
fn of_table(
    root: &Path,
    path: &Path,
) -> Result<(Vec<Record>, HashMap<PathBuf, usize>), IndexError> {
    let table = Table::read(path)?;
    let image = table.column(&["image"])?;
    let (patient, split) = (table.optional(&["patient_id"]), table.optional(&["split"]));
    let findings = table.others(&FACTS);
    let (mut records, mut named) = (Vec::new(), HashMap::new());
    for row in table.rows() {
        let mut labels = BTreeMap::new();
        for (name, column) in &findings {
            if let Some(label) = label(&row, *column)? {
                labels.insert(name.clone(), label);
            }
        }
        let id = row.text(image).to_owned();
        let place = located(root, &id);
        // `a.png` and `./a.png` are one picture.
        if let Some(first) =
            place.canonicalize().ok().and_then(|place| named.insert(place, row.line()))
        {
            return Err(row.wrong(image, &format!("a picture that line {first} does not name")));
        }
        let split = match split {
            Some(column) if !row.text(column).is_empty() => Some(
                Split::from_str(row.text(column), true)
                    .map_err(|_| row.wrong(column, "train, val, test or holdout"))?,
            ),
            _ => None,
        };
        // A blank is nobody in particular.
        let patient =
            patient.map(|patient| row.text(patient)).filter(|patient| !patient.is_empty());
        records.push(Record {
            split,
            source: "folder".into(),
            patient_id: patient.unwrap_or(&id).to_owned(),
            image: place,
            labels,
            id,
            ..Record::default()
        });
    }
    Ok((records, named))
}
