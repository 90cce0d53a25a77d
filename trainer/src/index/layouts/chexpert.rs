//! CheXpert: `train.csv`, `valid.csv`, `test.csv` with `Path,Sex,Age,Frontal/Lateral,AP/PA` and 14 findings in
//! {1, 0, -1, blank}, in another order than MIMIC-CXR's: columns go by name.
//!
//! The official validation patients are the test split where there is no `test.csv` (as MGCA and others have it).
//! Lateral views are left out.

use super::{DataSet, no_layout, table::Row, table::Table};
use crate::index::{IndexError, Label, Record, Split};
use std::{collections::BTreeMap, path::Path};

const FACTS: [&str; 6] = ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", "Report Impression"];

pub(super) fn records(data: &mut DataSet<'_>) -> Result<Vec<Record>, IndexError> {
    let root = data.root;
    if !root.join("train.csv").is_file() {
        return Err(no_layout(root, "chexpert", "no train.csv", "train.csv and valid.csv"));
    }
    let has_test = root.join("test.csv").is_file();
    let mut records = of_table(data, "train.csv", None)?;
    for (name, split) in
        [("valid.csv", if has_test { Split::Val } else { Split::Test }), ("test.csv", Split::Test)]
    {
        if root.join(name).is_file() {
            records.extend(of_table(data, name, Some(split))?);
        }
    }
    Ok(records)
}

/// CheXpert-5x200 (Huang 2021): 200 images each of five findings, all of them for testing.
pub(super) fn five_by_two_hundred(data: &mut DataSet<'_>) -> Result<Vec<Record>, IndexError> {
    let (root, name) = (data.root, "chexpert_5x200.csv");
    if !root.join(name).is_file() {
        return Err(no_layout(root, "chexpert-5x200", &format!("no {name}"), name));
    }
    of_table(data, name, Some(Split::Test))
}

fn of_table(
    data: &mut DataSet<'_>,
    name: &str,
    split: Option<Split>,
) -> Result<Vec<Record>, IndexError> {
    let root = data.root;
    let table = Table::read(&root.join(name))?;
    let path = table.column(&["Path"])?;
    let optional = |name: &str| table.optional(&[name]);
    let (side, view, sex, report) = (
        optional("Frontal/Lateral"),
        optional("AP/PA"),
        optional("Sex"),
        optional("Report Impression"),
    );
    // pandas writes the index of its rows as a column without a name.
    let findings: Vec<_> =
        table.others(&FACTS).into_iter().filter(|(name, _)| !name.starts_with("Unnamed")).collect();
    let mut records = Vec::new();
    for row in table.rows() {
        if side.is_some_and(|side| row.text(side) == "Lateral") {
            continue;
        }
        let own = row.text(path);
        let patient = own.split('/').find(|part| part.starts_with("patient"));
        let patient = patient.ok_or_else(|| row.wrong(path, "a path with patientN in it"))?;
        let mut labels = BTreeMap::new();
        for (name, column) in &findings {
            if let Some(label) = label(&row, *column)? {
                labels.insert(name.clone(), label);
            }
        }
        let text = |column: Option<_>| column.map(|column| row.text(column).to_owned());
        let report = text(report).filter(|report| !report.is_empty());
        records.push(Record {
            id: own.to_owned(),
            split,
            source: "chexpert".into(),
            patient_id: patient.to_owned(),
            view: text(view).unwrap_or_default(),
            sex: text(sex),
            image: image(root, own),
            labels,
            report_group: report.clone(),
            report,
            ..Record::default()
        });
    }
    super::files::measure(&mut records)?;
    Ok(records)
}

/// Blank = not mentioned.
pub(super) fn label(
    row: &Row<'_>,
    column: super::table::Column,
) -> Result<Option<Label>, IndexError> {
    match row.text(column) {
        "" => Ok(None),
        "1" | "1.0" => Ok(Some(Label::Positive)),
        "0" | "0.0" => Ok(Some(Label::Negative)),
        "-1" | "-1.0" => Ok(Some(Label::Uncertain)),
        _ => Err(row.wrong(column, "1, 0, -1 or nothing")),
    }
}

/// Paths begin with the data set's own folder (`CheXpert-v1.0-small/…`), which may be `root` itself.
fn image(root: &Path, path: &str) -> std::path::PathBuf {
    let inside = path.split_once('/').map_or(path, |(_, rest)| rest);
    let whole = root.join(path);
    if whole.is_file() { whole } else { root.join(inside) }
}
