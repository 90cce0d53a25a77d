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

use super::{DataSet, Table, chexpert::label, decode, left_out::Kind, no_layout};
use crate::{
    index::{IndexError, Label, LeftOut, Record, Split},
    text::report::{self, Basis},
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs,
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

pub(super) fn records(data: &mut DataSet<'_>) -> Result<Vec<Record>, IndexError> {
    let root = data.root;
    let metadata = Table::find(root, "mimic-cxr-2.0.0-metadata")?.ok_or_else(|| {
        let found = "no mimic-cxr-2.0.0-metadata.csv(.gz)";
        no_layout(root, "mimic-cxr", found, "it beside files/, as in MIMIC-CXR-JPG 2.0.0")
    })?;
    let splits = splits(root)?;
    let mut reports = Reports { root, known: HashMap::new() };
    let [dicom, subject, study, view, rows, columns] = metadata.columns([
        "dicom_id",
        "subject_id",
        "study_id",
        "ViewPosition",
        "Rows",
        "Columns",
    ])?;
    let labels = labels(root, &metadata.rows().map(|row| row.text(study)).collect())?;
    let mut records = Vec::new();
    for row in metadata.rows() {
        let (id, patient, study) = (row.text(dicom), row.text(subject), row.text(study));
        if !VIEWS.contains(&row.text(view)) {
            let reason = match row.stated(view) {
                None => "without a view".to_owned(),
                Some(other) => format!("of view {other}"),
            };
            data.left_out.add(Kind::Images, reason, id);
            continue;
        }
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
            ..Record::default()
        });
    }
    data.keep_existing(&mut records)?;
    for record in &mut records {
        let study = record.study_id.as_deref().unwrap_or_default();
        if let Some(text) = reports.of(&record.patient_id, study, &mut data.left_out)? {
            record.findings_sentences = Some(text.sentences);
            record.findings_text = Some(text.text);
        }
    }
    Ok(records)
}

/// `files/p10/p10000032/s50414267`
fn study_folder(patient: &str, study: &str) -> PathBuf {
    let group: String = patient.chars().take(2).collect();
    PathBuf::from(format!("files/p{group}/p{patient}/s{study}"))
}

fn splits(root: &Path) -> Result<HashMap<String, Split>, IndexError> {
    let table = Table::find(root, "mimic-cxr-2.0.0-split")?.ok_or_else(|| {
        let found = "no mimic-cxr-2.0.0-split.csv(.gz)";
        no_layout(root, "mimic-cxr", found, "the official split beside the metadata")
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
        if splits.insert(row.text(dicom).to_owned(), of).is_some_and(|first| first != of) {
            return Err(row.wrong(split, "what an earlier row says of this image"));
        }
    }
    Ok(splits)
}

type Labels = HashMap<String, BTreeMap<String, Label>>;

/// Findings of each of the `studies`; blank = not mentioned.
fn labels(root: &Path, studies: &HashSet<&str>) -> Result<Labels, IndexError> {
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
            if let Some(label) = label(&row, column)? {
                known.insert((*name).to_owned(), label);
            }
        }
        let first = labels.insert(row.text(study).to_owned(), known);
        if first.is_some_and(|first| first != labels[row.text(study)]) {
            return Err(row.wrong(study, "a study of which no earlier row says something else"));
        }
    }
    // As after pandas wrote the numbers of studies as `50414267.0`.
    if !labels.is_empty() && !labels.keys().any(|study| studies.contains(study.as_str())) {
        let reason = format!("none of its {} studies is in the table of metadata", labels.len());
        return Err(IndexError::Picture { path: table.path().to_owned(), reason });
    }
    Ok(labels)
}

#[derive(Clone)]
struct Text {
    text: String,
    sentences: u32,
}

/// Reports read once a study.
struct Reports<'a> {
    root: &'a Path,
    known: HashMap<String, Option<Text>>,
}

impl Reports<'_> {
    /// Findings and impression of a study, if they are sentences enough; otherwise the reason is counted.
    fn of(
        &mut self,
        patient: &str,
        study: &str,
        left_out: &mut LeftOut,
    ) -> Result<Option<Text>, IndexError> {
        if let Some(text) = self.known.get(study) {
            return Ok(text.clone());
        }
        let text = self.read(patient, study)?;
        if let Err(reason) = &text {
            left_out.add(Kind::Reports, reason, format!("s{study}"));
        }
        self.known.insert(study.to_owned(), text.clone().ok());
        Ok(text.ok())
    }

    fn read(&self, patient: &str, study: &str) -> Result<Result<Text, String>, IndexError> {
        let file = study_folder(patient, study).with_extension("txt");
        let places = [self.root.join(&file), self.root.join("mimic-cxr-reports").join(&file)];
        let Some(path) = places.into_iter().find(|path| path.is_file()) else {
            return Ok(Err("without a file".into()));
        };
        let bytes = fs::read(&path).map_err(|source| IndexError::Read { path, source })?;
        Ok(learnt(&decode::report(&bytes)))
    }
}

/// What is learned of a report, or why nothing is.
fn learnt(report: &str) -> Result<Text, String> {
    let report::Sections { findings, impression, basis, .. } = report::sections(report);
    // A blank line ends a sentence.
    let text = format!("{findings}\n\n{impression}").trim().to_owned();
    let sentences = report::sentences(&text).len();
    // Begins with a tag: as sentences, tags would be learned from.
    let tag = report.trim_start().strip_prefix('<').and_then(|rest| rest.chars().next());
    let is_marked_up = tag.is_some_and(|c| c.is_ascii_alphabetic() || "!?/".contains(c));
    match (basis, sentences) {
        _ if report.trim().is_empty() => Err("empty".into()),
        _ if is_marked_up => Err("in XML or HTML".into()),
        (Basis::Nothing, _) => Err("without findings or impression".into()),
        (_, n) if n < SENTENCES => Err(format!("of fewer than {SENTENCES} sentences")),
        (_, n) => Ok(Text { text, sentences: n as u32 }),
    }
}

#[cfg(test)]
mod tests;
