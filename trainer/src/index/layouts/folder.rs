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
    collections::{BTreeMap, HashMap, HashSet},
    path::{Path, PathBuf},
};

const FACTS: [&str; 3] = ["image", "patient_id", "split"];
const OTHER_TABLES: [&str; 8] =
    ["xlsx", "xls", "ods", "json", "jsonl", "parquet", "feather", "pkl"];

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

/// `labels.csv`, `.tsv` or `.txt`, packed by gzip or not, in small letters or capitals.
fn table<'a>(root: &Path, others: &'a [PathBuf]) -> Result<Option<&'a PathBuf>, IndexError> {
    let ending = |path: &PathBuf| {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let own = name.strip_prefix("labels.").filter(|_| path.parent() == Some(root))?;
        Some(own.strip_suffix(".gz").unwrap_or(own).to_owned())
    };
    let is = |path: &PathBuf, endings: &[&str]| {
        ending(path).is_some_and(|own| endings.contains(&own.as_str()))
    };
    if let Some(path) = others.iter().find(|path| is(path, &OTHER_TABLES)) {
        let reason = "labels in a form that is not read, expected labels.csv".to_owned();
        return Err(IndexError::Picture { path: path.clone(), reason });
    }
    let mut tables = others.iter().filter(|path| is(path, &["csv", "tsv", "txt"]));
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
    let (mut records, mut seen) = (Vec::new(), HashSet::new());
    for image in pictures {
        let id = relative(data.root, &image);
        if !seen.insert(image.canonicalize().unwrap_or_else(|_| image.clone())) {
            data.left_out.add(Kind::Files, "that are links to a picture of the folder", id);
            continue;
        }
        let no_picture = |error: &RadiographError| {
            matches!(error, RadiographError::Missing { name: "Rows" | "Columns" | "PixelData" })
        };
        if let Err(RadiographError::File { source, .. }) = radiograph::probe_file(&image)
            && no_picture(&source)
        {
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
        let own = split.and_then(|column| Some((column, row.stated(column)?)));
        let of = |(column, text)| {
            Split::from_str(text, true)
                .map_err(|_| row.wrong(column, "train, val, test or holdout"))
        };
        let split = own.map(of).transpose()?;
        // A blank is nobody in particular.
        let patient = patient.and_then(|patient| row.stated(patient));
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
