//! COVIDx: `train_COVIDx*.txt`, `test_COVIDx*.txt` (and `val_…`) without a header, `patient_id filename class source`; images in
//! `train/`, `test/` (`val/`). Ids are strings: some are numbers, some are not (`311a`).

use super::{DataSet, decode, no_layout};
use crate::index::{IndexError, Record, Split};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

pub(super) fn records(data: &mut DataSet<'_>) -> Result<Vec<Record>, IndexError> {
    let root = data.root;
    let mut records = Vec::new();
    let [train, val, test] = ["train", "val", "test"].map(|part| list(root, part));
    let (train, val, test) = (train?, val?, test?);
    let parts = [
        ("train", train, val.is_some().then_some(Split::Train)),
        ("val", val, Some(Split::Val)),
        ("test", test, Some(Split::Test)),
    ];
    // Lists of two versions put one patient into two splits and name one class twice.
    let mut versions = BTreeMap::new();
    for (part, list, _) in &parts {
        if let Some(list) = list {
            let name = list.file_name().unwrap_or_default().to_string_lossy().into_owned();
            versions.insert(name[part.len()..].to_owned(), name);
        }
    }
    if versions.len() > 1 {
        let found = versions.into_values().collect::<Vec<_>>().join(" and ");
        return Err(no_layout(root, "covidx", &found, "lists of one version"));
    }
    for (part, list, split) in &parts {
        if let Some(list) = list {
            records.extend(of_list(root, part, list, *split)?);
        }
    }
    if records.is_empty() {
        let found = "no train_COVIDx*.txt";
        return Err(no_layout(root, "covidx", found, "it beside train/ and test/"));
    }
    data.measure(&mut records)?;
    Ok(records)
}

/// The last of `part_COVIDx*.txt` by name: the newest version.
fn list(root: &Path, part: &str) -> Result<Option<PathBuf>, IndexError> {
    let failed = |source| IndexError::Read { path: root.to_owned(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(root).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let own = name == format!("{part}.txt") || name.starts_with(&format!("{part}_COVIDx"));
        if own && name.ends_with(".txt") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found.pop())
}

fn of_list(
    root: &Path,
    part: &str,
    list: &Path,
    split: Option<Split>,
) -> Result<Vec<Record>, IndexError> {
    let text = decode::file(list)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let record = |(at, line): (usize, &str)| {
        let wrong = |column: &str, found: &str, expected: &str| IndexError::Value {
            path: list.to_owned(),
            line: at + 1,
            column: column.into(),
            found: found.into(),
            expected: expected.into(),
        };
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [patient, file @ .., class, source] = &fields[..] else {
            return Err(wrong("the row", line, "`patient_id filename class source`"));
        };
        // Some published names have spaces.
        let file = file.join(" ");
        if file.is_empty() {
            return Err(wrong("the row", line, "`patient_id filename class source`"));
        }
        let class = covidx_class(class).ok_or_else(|| {
            wrong("class", class, "normal, pneumonia, COVID-19, positive or negative")
        })?;
        Ok(Record {
            id: format!("{part}/{file}"),
            split,
            source: format!("covidx-{source}"),
            patient_id: (*patient).to_owned(),
            image: root.join(part).join(&file),
            covidx_class: Some(class.into()),
            ..Record::default()
        })
    };
    lines.map(record).collect()
}

fn covidx_class(name: &str) -> Option<&'static str> {
    match name {
        "normal" => Some("normal"),
        "pneumonia" => Some("pneumonia"),
        "COVID-19" | "positive" => Some("covid19"),
        "negative" => Some("negative"),
        _ => None,
    }
}
