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
    one_version(root)?;
    let has_val = list(root, "val")?.is_some();
    for (part, split) in [
        ("train", has_val.then_some(Split::Train)),
        ("val", Some(Split::Val)),
        ("test", Some(Split::Test)),
    ] {
        if let Some(list) = list(root, part)? {
            records.extend(of_list(root, part, &list, split)?);
        }
    }
    if records.is_empty() {
        let found = "no train_COVIDx*.txt";
        return Err(no_layout(root, "covidx", found, "it beside train/ and test/"));
    }
    data.measure(&mut records)?;
    Ok(records)
}

/// Lists of two versions put one patient into two splits and name one class twice.
fn one_version(root: &Path) -> Result<(), IndexError> {
    let mut lists = BTreeMap::new();
    for part in ["train", "val", "test"] {
        if let Some(path) = list(root, part)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            lists.insert(name[part.len()..].to_owned(), name);
        }
    }
    let names: Vec<String> = lists.into_values().collect();
    if names.len() < 2 {
        return Ok(());
    }
    Err(no_layout(root, "covidx", &names.join(" and "), "lists of one version"))
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
