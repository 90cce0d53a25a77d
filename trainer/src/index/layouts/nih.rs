//! NIH ChestX-ray14: `Data_Entry_2017*.csv` with `Image Index,Finding Labels,Follow-up #,Patient ID,…,View Position,…`, labels joined
//! by `|`; `test_list.txt` (its patients are the test split); `BBox_List_2017.csv`; images in `images/` or `images_001/images/` ….
//!
//! Boxes were drawn in 880 images only: in the others nobody looked, so they are unknown, not absent.

use super::{
    DataSet, decode,
    files::{Pictures, warn_of_copies},
    left_out::Kind,
    no_layout,
    table::Table,
};
use crate::index::{IndexError, Label, LabelledBox, NIH_FINDINGS, Record, Split};
use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::{Path, PathBuf},
};

/// Of every published picture.
const SIDE: u32 = 1024;

pub(super) fn records(data: &mut DataSet<'_>) -> Result<Vec<Record>, IndexError> {
    let root = data.root;
    let table = Table::read(&entries(root)?)?;
    let image = table.column(&["Image Index"])?;
    let findings = table.column(&["Finding Labels"])?;
    let patient = table.column(&["Patient ID"])?;
    let view = table.column(&["View Position"])?;
    let sex = table.optional(&["Patient Gender", "Patient Sex"]);
    let test = names(&root.join("test_list.txt"))?;
    let mut boxes = boxes(&root.join("BBox_List_2017.csv"))?;
    let name = |path: &Path| Some(path.file_name()?.to_str()?.to_owned());
    let pictures = Pictures::by(root, name)?;
    let mut records = Vec::new();
    for row in table.rows() {
        let name = row.text(image);
        let present: Vec<&str> = row.text(findings).split('|').map(str::trim).collect();
        let known = |name: &str| name == "No Finding" || NIH_FINDINGS.contains(&name);
        if !present.iter().all(|name| known(name)) {
            return Err(
                row.wrong(findings, &format!("`No Finding` or any of {}", NIH_FINDINGS.join("|")))
            );
        }
        if present.len() > 1 && present.contains(&"No Finding") {
            return Err(row.wrong(findings, "`No Finding` alone"));
        }
        let label = |name: &&str| ((*name).to_owned(), Label::from(present.contains(name)));
        let own = pictures.get(name)?;
        records.push(Record {
            id: name.to_owned(),
            split: test.as_ref().and_then(|test| test.contains(name).then_some(Split::Test)),
            source: "nih-cxr14".into(),
            patient_id: row.text(patient).to_owned(),
            view: row.text(view).to_owned(),
            sex: sex.map(|sex| row.text(sex).to_owned()),
            image: own.unwrap_or_else(|| root.join("images").join(name)),
            labels: NIH_FINDINGS.iter().chain(&["No Finding"]).map(label).collect(),
            boxes: boxes.remove(name).unwrap_or_default(),
            ..Record::default()
        });
    }
    let known = |name: &String| records.iter().any(|record| record.id == *name);
    if let Some(test) = test.filter(|test| !test.is_empty() && !test.iter().any(known)) {
        let reason = format!("none of its {} names is in the table of images", test.len());
        return Err(IndexError::Picture { path: root.join("test_list.txt"), reason });
    }
    for name in boxes.into_keys() {
        data.left_out.add(Kind::Boxes, "of images in no row of the table", name);
    }
    data.measure(&mut records)?;
    data.leave_unnamed(&pictures, &records);
    warn_of_copies(records.iter().filter(|record| !record.boxes.is_empty()), SIDE);
    Ok(records)
}

/// The table, whichever version.
fn entries(root: &Path) -> Result<PathBuf, IndexError> {
    let failed = |source| IndexError::Read { path: root.to_owned(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(root).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("Data_Entry_2017") && name.ends_with(".csv") {
            found.push(path);
        }
    }
    found.sort();
    found.pop().ok_or_else(|| {
        no_layout(root, "nih", "no Data_Entry_2017*.csv", "it beside the folders of images")
    })
}

fn names(path: &Path) -> Result<Option<HashSet<String>>, IndexError> {
    if !path.is_file() {
        return Ok(None);
    }
    let text = decode::file(path)?;
    Ok(Some(text.split_whitespace().map(str::to_owned).collect()))
}

/// The header's `Bbox [x,y,w,h]` falls apart at its commas, as its values do.
fn boxes(path: &Path) -> Result<BTreeMap<String, Vec<LabelledBox>>, IndexError> {
    let mut boxes: BTreeMap<String, Vec<LabelledBox>> = BTreeMap::new();
    if !path.is_file() {
        return Ok(boxes);
    }
    let table = Table::read(path)?;
    let image = table.column(&["Image Index"])?;
    let label = table.column(&["Finding Label"])?;
    let [x, y, w, h] = ["Bbox [x", "y", "w", "h]"].map(|name| table.column(&[name]));
    let sides = [x?, y?, w?, h?];
    for row in table.rows() {
        let [x, y, w, h] = sides.map(|side| row.number(side));
        // The one name the two tables spell differently.
        let name = if row.text(label) == "Infiltrate" { "Infiltration" } else { row.text(label) };
        boxes.entry(row.text(image).to_owned()).or_default().push(LabelledBox {
            label: name.to_owned(),
            x: x?,
            y: y?,
            w: w?,
            h: h?,
            source: "nih-cxr14".into(),
        });
    }
    Ok(boxes)
}
