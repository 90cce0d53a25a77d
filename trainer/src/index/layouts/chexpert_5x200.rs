//! CheXpert-5x200 (Huang 2021): 200 images each of five findings, all of them for testing. Two files of it are about: GLoRIA's
//! `chexpert_5x200.csv`, with CheXpert's columns, and `chexpert_5x200.json` as PRIOR has it:
//!
//! ```text
//! { "124248": { "image_path": "train/patient29750/study15/view1_frontal.jpg", "label": [1, 0, 0, 0, 0] }, … }
//! ```
//!
//! The five numbers are those of [`FINDINGS`], in this order.

use super::{DataSet, chexpert, no_layout};
use crate::index::{IndexError, Label, Record, Split};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use std::{fmt, fs, path::Path};

const FINDINGS: [&str; 5] =
    ["Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion"];
const TABLE: &str = "chexpert_5x200.csv";
/// In the data set's folder, or where PRIOR keeps it.
const LISTS: [&str; 2] = ["chexpert_5x200.json", "zero_shot_classification/chexpert_5x200.json"];

pub(super) fn records(data: &mut DataSet<'_>) -> Result<Vec<Record>, IndexError> {
    let list = LISTS.iter().find(|name| data.root.join(name).is_file());
    match (data.root.join(TABLE).is_file(), list) {
        (true, None) => chexpert::of_table(data, TABLE, Some(Split::Test)),
        (false, Some(list)) => of_list(data, list),
        (true, Some(list)) => {
            let found = format!("{TABLE} and {list}");
            Err(no_layout(
                data.root,
                "chexpert-5x200",
                &found,
                "one of them: they hold other images",
            ))
        }
        (false, None) => {
            let expected = "it, or chexpert_5x200.json, beside train/";
            Err(no_layout(data.root, "chexpert-5x200", &format!("no {TABLE}"), expected))
        }
    }
}

#[derive(Deserialize)]
struct Entry {
    image_path: String,
    label: [f64; 5],
}

/// Entries in the order of the file; a name that is there twice is an error.
struct List(Vec<(String, Entry)>);

impl<'de> Deserialize<'de> for List {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = List;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of images")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<List, A::Error> {
                let mut all: Vec<(String, Entry)> = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    all.push(entry);
                }
                Ok(List(all))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

fn of_list(data: &mut DataSet<'_>, name: &str) -> Result<Vec<Record>, IndexError> {
    let path = data.root.join(name);
    let text = fs::read_to_string(&path)
        .map_err(|source| IndexError::Read { path: path.clone(), source })?;
    let text = text.trim_start_matches('\u{feff}');
    let List(entries) = serde_json::from_str(text).map_err(|error| IndexError::Unclear {
        path: path.clone(),
        line: error.line(),
        reason: format!("not a list of images: {error}"),
    })?;
    let records: Result<Vec<Record>, IndexError> =
        entries.into_iter().map(|(name, entry)| record(data.root, &path, &name, entry)).collect();
    let mut records = records?;
    data.measure(&mut records)?;
    Ok(records)
}

fn record(root: &Path, list: &Path, name: &str, entry: Entry) -> Result<Record, IndexError> {
    let wrong = |what: &str, found: String, expected: &str| IndexError::Picture {
        path: list.to_owned(),
        reason: format!("{what} of `{name}` is {found}, expected {expected}"),
    };
    let patient = chexpert::patient(&entry.image_path).ok_or_else(|| {
        wrong("image_path", entry.image_path.clone(), "a path with patientN in it")
    })?;
    let mut labels = Vec::new();
    for (finding, value) in FINDINGS.iter().zip(entry.label) {
        let present = match value {
            0.0 => false,
            1.0 => true,
            _ => return Err(wrong("label", format!("{:?}", entry.label), "zeros and ones")),
        };
        labels.push(((*finding).to_owned(), Label::from(present)));
    }
    Ok(Record {
        id: entry.image_path.clone(),
        split: Some(Split::Test),
        source: "chexpert".into(),
        patient_id: patient.to_owned(),
        image: chexpert::image(root, &entry.image_path),
        labels: labels.into_iter().collect(),
        ..Record::default()
    })
}
