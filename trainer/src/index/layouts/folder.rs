//! A folder of one's own: pictures anywhere under it and, if wanted, `labels.csv` with `image` (path from the folder), `patient_id`,
//! `split` (train, val, test) and a column in {1, 0, -1, blank} for each finding. Only `image` must be there.
//!
//! Without the table every picture is a patient and nothing is known of it: enough to calibrate and to analyse.

use super::{chexpert::label, files, no_layout, table::Table};
use crate::index::{IndexError, Record, Split};
use clap::ValueEnum;
use std::{collections::BTreeMap, path::Path};

const FACTS: [&str; 3] = ["image", "patient_id", "split"];

pub(super) fn records(root: &Path) -> Result<Vec<Record>, IndexError> {
    let table = root.join("labels.csv");
    let mut records = if table.is_file() { of_table(root, &table)? } else { of_pictures(root)? };
    if records.is_empty() {
        return Err(no_layout(root, "folder", "no picture", "DICOM, PNG or JPEG files"));
    }
    files::measure(&mut records)?;
    Ok(records)
}

fn of_pictures(root: &Path) -> Result<Vec<Record>, IndexError> {
    let name = |path: &Path| path.strip_prefix(root).unwrap_or(path).display().to_string();
    let record = |image: std::path::PathBuf| Record {
        id: name(&image),
        patient_id: name(&image),
        source: "folder".into(),
        image,
        ..Record::default()
    };
    Ok(files::all(root)?.into_iter().map(record).collect())
}

fn of_table(root: &Path, path: &Path) -> Result<Vec<Record>, IndexError> {
    let table = Table::read(path)?;
    let image = table.column(&["image"])?;
    let (patient, split) = (table.optional(&["patient_id"]), table.optional(&["split"]));
    let findings = table.others(&FACTS);
    let mut records = Vec::new();
    for row in table.rows() {
        let mut labels = BTreeMap::new();
        for (name, column) in &findings {
            if let Some(label) = label(&row, *column)? {
                labels.insert(name.clone(), label);
            }
        }
        let id = row.text(image).to_owned();
        let split = match split {
            Some(column) if !row.text(column).is_empty() => Some(
                Split::from_str(row.text(column), true)
                    .map_err(|_| row.wrong(column, "train, val, test or holdout"))?,
            ),
            _ => None,
        };
        records.push(Record {
            split,
            source: "folder".into(),
            patient_id: patient.map_or(id.as_str(), |patient| row.text(patient)).to_owned(),
            image: root.join(&id),
            labels,
            id,
            ..Record::default()
        });
    }
    Ok(records)
}
