//! MIMIC-CXR-JPG 2.0.0 with the reports of MIMIC-CXR 2.0.0, as PhysioNet gives them out:
//!
//! ```text
//! mimic-cxr-2.0.0-metadata.csv(.gz)   one line an image: view, rows, columns
//! mimic-cxr-2.0.0-split.csv(.gz)      train, validate, test
//! mimic-cxr-2.0.0-chexpert.csv(.gz)   one line a study: 14 findings; may be absent
//! files/p10/p10000032/s50414267/<dicom_id>.jpg
//! files/p10/p10000032/s50414267.txt   or under mimic-cxr-reports/files/
//! ```
//!
//! Frontal views (PA, AP) only. A record carries its study's findings and impression when they are four sentences or
//! more, which is what PRIOR learns from; images with a shorter report stay for the other tasks.

use super::Table;
use crate::{
    index::{IndexError, Label, Record, Split},
    text::report,
};
use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::{Path, PathBuf},
};

/// Sentences a report needs.
const SENTENCES: usize = 4;
const VIEWS: [&str; 2] = ["PA", "AP"];

const FINDINGS: [&str; 14] = [
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Enlarged Cardiomediastinum",
    "Fracture",
    "Lung Lesion",
    "Lung Opacity",
    "No Finding",
    "Pleural Effusion",
    "Pleural Other",
    "Pneumonia",
    "Pneumothorax",
    "Support Devices",
];

pub(super) fn records(root: &Path) -> Result<Vec<Record>, IndexError> {
    let metadata =
        Table::find(root, "mimic-cxr-2.0.0-metadata")?.ok_or_else(|| no_data_set(root))?;
    let splits = splits(root)?;
    let labels = labels(root)?;
    let mut reports = Reports::new(root);
    let [dicom, subject, study, view, rows, columns] = metadata.columns([
        "dicom_id",
        "subject_id",
        "study_id",
        "ViewPosition",
        "Rows",
        "Columns",
    ])?;
    let mut records = Vec::new();
    for row in metadata.rows() {
        if !VIEWS.contains(&row.text(view)) {
            continue;
        }
        let (id, patient, study) = (row.text(dicom), row.text(subject), row.text(study));
        let text = reports.of(patient, study)?;
        records.push(Record {
            id: id.to_owned(),
            split: Some(
                *splits
                    .get(id)
                    .ok_or_else(|| row.wrong(dicom, "an image the split table names"))?,
            ),
            source: "mimic-cxr".into(),
            patient_id: patient.to_owned(),
            study_id: Some(study.to_owned()),
            view: row.text(view).to_owned(),
            image: root.join(study_folder(patient, study)).join(format!("{id}.jpg")),
            width: row.whole(columns)?,
            height: row.whole(rows)?,
            labels: labels.get(study).cloned().unwrap_or_default(),
            findings_sentences: text.as_ref().map(|text| text.sentences),
            findings_text: text.map(|text| text.text),
            ..Record::default()
        });
    }
    reports.tell();
    Ok(records)
}

fn no_data_set(root: &Path) -> IndexError {
    IndexError::Layout {
        root: root.to_owned(),
        layout: "mimic-cxr",
        found: "no mimic-cxr-2.0.0-metadata.csv(.gz)".into(),
        expected: "it beside files/, as in MIMIC-CXR-JPG 2.0.0".into(),
    }
}

/// `files/p10/p10000032/s50414267`
fn study_folder(patient: &str, study: &str) -> PathBuf {
    let group: String = patient.chars().take(2).collect();
    PathBuf::from(format!("files/p{group}/p{patient}/s{study}"))
}

fn splits(root: &Path) -> Result<HashMap<String, Split>, IndexError> {
    let table = Table::find(root, "mimic-cxr-2.0.0-split")?.ok_or_else(|| IndexError::Layout {
        root: root.to_owned(),
        layout: "mimic-cxr",
        found: "no mimic-cxr-2.0.0-split.csv(.gz)".into(),
        expected: "the official split beside the metadata".into(),
    })?;
    let [dicom, split] = table.columns(["dicom_id", "split"])?;
    let mut splits = HashMap::new();
    for row in table.rows() {
        let of = match row.text(split) {
            "train" => Split::Train,
            "validate" => Split::Val,
            "test" => Split::Test,
            _ => return Err(row.wrong(split, "train, validate or test")),
        };
        splits.insert(row.text(dicom).to_owned(), of);
    }
    Ok(splits)
}

/// Findings of each study; blank = not mentioned.
fn labels(root: &Path) -> Result<HashMap<String, BTreeMap<String, Label>>, IndexError> {
    let Some(table) = Table::find(root, "mimic-cxr-2.0.0-chexpert")? else {
        log::warn!("{}: no mimic-cxr-2.0.0-chexpert.csv(.gz), so no labels", root.display());
        return Ok(HashMap::new());
    };
    let [study] = table.columns(["study_id"])?;
    let findings = table.columns(FINDINGS)?;
    let mut labels = HashMap::new();
    for row in table.rows() {
        let mut known = BTreeMap::new();
        for (name, column) in FINDINGS.iter().zip(findings) {
            let label = match row.text(column) {
                "" => continue,
                "1" | "1.0" => Label::Positive,
                "0" | "0.0" => Label::Negative,
                "-1" | "-1.0" => Label::Uncertain,
                _ => return Err(row.wrong(column, "1, 0, -1 or nothing")),
            };
            known.insert((*name).to_owned(), label);
        }
        labels.insert(row.text(study).to_owned(), known);
    }
    Ok(labels)
}

#[derive(Clone)]
struct Text {
    text: String,
    sentences: u32,
}

/// Reports read once a study, and how many were of use.
struct Reports<'a> {
    root: &'a Path,
    last: Option<(String, Option<Text>)>,
    kept: usize,
    short: usize,
    absent: usize,
}

impl<'a> Reports<'a> {
    fn new(root: &'a Path) -> Self {
        Self { root, last: None, kept: 0, short: 0, absent: 0 }
    }

    /// Findings and impression of a study, if they are sentences enough.
    fn of(&mut self, patient: &str, study: &str) -> Result<Option<Text>, IndexError> {
        // Images of a study follow one another.
        if let Some((last, text)) = &self.last
            && last == study
        {
            return Ok(text.clone());
        }
        let text = self.read(patient, study)?;
        self.last = Some((study.to_owned(), text.clone()));
        Ok(text)
    }

    fn read(&mut self, patient: &str, study: &str) -> Result<Option<Text>, IndexError> {
        let file = study_folder(patient, study).with_extension("txt");
        let places = [self.root.join(&file), self.root.join("mimic-cxr-reports").join(&file)];
        for path in places {
            let bytes = match fs::read(&path) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(IndexError::Read { path, source }),
            };
            let report::Sections { findings, impression } =
                report::sections(&String::from_utf8_lossy(&bytes));
            // A blank line ends a sentence.
            let text = format!("{findings}\n\n{impression}").trim().to_owned();
            let sentences = report::sentences(&text).len();
            if sentences < SENTENCES {
                self.short += 1;
                return Ok(None);
            }
            self.kept += 1;
            return Ok(Some(Text { text, sentences: sentences as u32 }));
        }
        self.absent += 1;
        Ok(None)
    }

    fn tell(&self) {
        let Self { kept, short, absent, .. } = self;
        log::info!(
            "{kept} reports of {SENTENCES} sentences or more, {short} shorter, {absent} not there"
        );
    }
}

#[cfg(test)]
mod tests;
