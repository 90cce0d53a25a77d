//! VinDr-CXR: `image_id,rad_id,class_name,x_min,y_min,x_max,y_max` in `annotations/annotations_train.csv` and `…_test.csv` (PhysioNet)
//! or `train.csv` (Kaggle), a row for each box of each reader, `No finding` with blanks; images `image_id.*` under `train/` and `test/`.
//!
//! Three readers saw each training image. A finding is there if most of the image's readers drew it; its boxes are
//! those of the first of them by name, so that one lesion is one box. Who the patients are, the data set does not say.

use super::{
    DataSet,
    files::{Pictures, stem},
    no_layout,
    table::{Row, Table},
};
use crate::index::{IndexError, Label, LabelledBox, Record, Split};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

const NOTHING: &str = "No finding";

/// Reader → class → boxes.
type Readings = BTreeMap<String, BTreeMap<String, Vec<LabelledBox>>>;

pub(super) fn records(data: &mut DataSet<'_>) -> Result<Vec<Record>, IndexError> {
    let root = data.root;
    let parts = [
        ("annotations/annotations_train.csv", "train", None),
        ("annotations/annotations_test.csv", "test", Some(Split::Test)),
        ("train.csv", "train", None),
    ];
    let mut records = Vec::new();
    for (table, folder, split) in parts {
        let table = root.join(table);
        if table.is_file() && (folder == "test" || records.is_empty()) {
            records.extend(of_table(data, &table, &root.join(folder), split)?);
        }
    }
    if records.is_empty() {
        let expected = "annotations/annotations_train.csv or train.csv";
        return Err(no_layout(root, "vindr", "neither", expected));
    }
    data.measure(&mut records)?;
    Ok(records)
}

fn of_table(
    data: &mut DataSet<'_>,
    path: &Path,
    folder: &Path,
    split: Option<Split>,
) -> Result<Vec<Record>, IndexError> {
    let table = Table::read(path)?;
    let id = table.column(&["image_id"])?;
    let class = table.column(&["class_name"])?;
    // The test part is one consensus: it has no readers.
    let reader = table.optional(&["rad_id"]);
    let sides = ["x_min", "y_min", "x_max", "y_max"].map(|name| table.column(&[name]));
    let [x1, y1, x2, y2] = sides;
    let sides = [x1?, y1?, x2?, y2?];
    // Kaggle's smaller copies say how large the original was: boxes are in its pixels.
    let size = table.optional(&["width"]).zip(table.optional(&["height"]));
    let mut images: BTreeMap<&str, Readings> = BTreeMap::new();
    let (mut sizes, mut classes) = (BTreeMap::new(), BTreeSet::new());
    let mut nothing = BTreeSet::new();
    for row in table.rows() {
        let reader = reader.map_or("consensus", |reader| row.text(reader));
        let own = images.entry(row.text(id)).or_default().entry(reader.to_owned()).or_default();
        if let Some((width, height)) = size {
            sizes.insert(row.text(id), (row.whole(width)?, row.whole(height)?));
        }
        let name = row.text(class);
        if name == NOTHING {
            nothing.insert((row.text(id), reader));
        }
        if nothing.contains(&(row.text(id), reader)) && (name != NOTHING || !own.is_empty()) {
            return Err(row.wrong(class, "`No finding` alone, or findings, of one reader"));
        }
        if name != NOTHING {
            classes.insert(name.to_owned());
            own.entry(name.to_owned()).or_default().push(labelled(&row, name, reader, sides)?);
        }
    }
    let pictures = Pictures::by(folder, stem)?;
    let record = |(id, readings): (&&str, &Readings)| {
        let mut record = agreed(readings, &classes);
        record.id = (*id).to_owned();
        record.patient_id = record.id.clone();
        record.split = split;
        record.source = "vindr".into();
        (record.width, record.height) = sizes.get(id).copied().unwrap_or_default();
        let missing = || folder.join(format!("{id}.dicom"));
        record.image = pictures.get(id)?.unwrap_or_else(missing);
        Ok(record)
    };
    let records: Vec<Record> = images.iter().map(record).collect::<Result<_, IndexError>>()?;
    data.leave_unnamed(&pictures, &records);
    Ok(records)
}

fn labelled(
    row: &Row<'_>,
    name: &str,
    reader: &str,
    sides: [super::table::Column; 4],
) -> Result<LabelledBox, IndexError> {
    let [x1, y1, x2, y2] = sides.map(|side| row.number(side));
    let (x, y) = (x1?, y1?);
    Ok(LabelledBox { label: name.into(), x, y, w: x2? - x, h: y2? - y, source: reader.into() })
}

fn agreed(readings: &Readings, classes: &BTreeSet<String>) -> Record {
    let mut record = Record { looked_for: classes.iter().cloned().collect(), ..Record::default() };
    for class in classes {
        let drawn: Vec<&Vec<LabelledBox>> =
            readings.values().filter_map(|reading| reading.get(class)).collect();
        let there = 2 * drawn.len() > readings.len();
        record.labels.insert(class.clone(), Label::from(there));
        if there {
            record.boxes.extend(drawn[0].iter().cloned());
        }
    }
    record
}
