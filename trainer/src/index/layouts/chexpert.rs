//! CheXpert: `train.csv`, `valid.csv`, `test.csv` with `Path,Sex,Age,Frontal/Lateral,AP/PA` and 14 findings in
//! {1, 0, -1, blank}, in another order than MIMIC-CXR's: columns go by name.
//!
//! The official validation patients are the test split where there is no `test.csv` (as MGCA and others have it).
//! Lateral views are left out.

use super::{
    DataSet,
    files::located,
    left_out::Kind,
    no_layout,
    table::{Column, Row, Table},
};
use crate::index::{IndexError, Label, Record, Split};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

const FACTS: [&str; 6] = ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", "Report Impression"];

pub(super) fn records(data: &mut DataSet<'_>) -> Result<Vec<Record>, IndexError> {
    let root = data.root;
    if !root.join("train.csv").is_file() {
        return Err(no_layout(root, "chexpert", "no train.csv", "train.csv and valid.csv"));
    }
    // The official test labels came later, under another name.
    let test = ["test.csv", "test_labels.csv"].into_iter().find(|name| root.join(name).is_file());
    let valid = if test.is_some() { Split::Val } else { Split::Test };
    let mut records = of_table(data, "train.csv", None)?;
    if root.join("valid.csv").is_file() {
        records.extend(of_table(data, "valid.csv", Some(valid))?);
    }
    if let Some(test) = test {
        records.extend(of_table(data, test, Some(Split::Test))?);
    }
    Ok(records)
}

/// Frontal images of one table.
pub(super) fn of_table(
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
    let findings = table.others(&FACTS);
    let mut records = Vec::new();
    for row in table.rows() {
        let own = row.text(path);
        let patient = patient(own).ok_or_else(|| row.wrong(path, "a path with patientN in it"))?;
        if is_lateral(&row, side, path)? {
            data.left_out.add(Kind::Images, "of a lateral view", own);
            continue;
        }
        let mut labels = BTreeMap::new();
        for (name, column) in &findings {
            if let Some(label) = label(&row, *column)? {
                labels.insert(name.clone(), label);
            }
        }
        let text = |column: Option<_>| Some(row.stated(column?)?.to_owned());
        let report = text(report);
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
    data.measure(&mut records)?;
    Ok(records)
}

/// `…/patient00001/…` → `patient00001`
pub(super) fn patient(path: &str) -> Option<&str> {
    path.split(['/', '\\']).find(|part| part.starts_with("patient"))
}

/// By its column; the tables of the test set have none: there, by the name of the file (`view2_lateral.jpg`).
fn is_lateral(row: &Row<'_>, side: Option<Column>, path: Column) -> Result<bool, IndexError> {
    let said = side.and_then(|side| row.stated(side));
    let name = row.text(path).rsplit(['/', '\\']).next().unwrap_or_default().to_ascii_lowercase();
    let named = match (name.contains("frontal"), name.contains("lateral")) {
        (true, false) => Some(false),
        (false, true) => Some(true),
        _ => None,
    };
    let said = match (said, side) {
        (Some(said), Some(side)) => Some(match said.to_ascii_lowercase().as_str() {
            "frontal" => false,
            "lateral" => true,
            _ => return Err(row.wrong(side, "Frontal or Lateral")),
        }),
        _ => None,
    };
    match (said, named) {
        (Some(said), Some(named)) if said != named => {
            Err(row.wrong(path, "the view that column Frontal/Lateral says"))
        }
        (Some(lateral), _) | (None, Some(lateral)) => Ok(lateral),
        (None, None) => {
            let expected =
                "a name with `frontal` or `lateral`, as column Frontal/Lateral says neither";
            Err(row.wrong(path, expected))
        }
    }
}

/// Blank = not mentioned. `1.0`, `1.00` and `True` are 1.
pub(super) fn label(row: &Row<'_>, column: Column) -> Result<Option<Label>, IndexError> {
    let Some(text) = row.stated(column) else { return Ok(None) };
    if let Ok(present) = text.to_ascii_lowercase().parse::<bool>() {
        return Ok(Some(present.into()));
    }
    let labels = [(1.0, Label::Positive), (0.0, Label::Negative), (-1.0, Label::Uncertain)];
    let number: Option<f64> = text.parse().ok();
    let label = labels.into_iter().find(|(value, _)| number == Some(*value));
    label.map(|(_, label)| Some(label)).ok_or_else(|| row.wrong(column, "1, 0, -1 or nothing"))
}

/// Paths begin with the data set's own folder (`CheXpert-v1.0-small/…`), which may be `root` itself.
pub(super) fn image(root: &Path, path: &str) -> PathBuf {
    let whole = located(root, path);
    match path.split_once(['/', '\\']) {
        Some((_, inside)) if !whole.is_file() => located(root, inside),
        _ => whole,
    }
}
