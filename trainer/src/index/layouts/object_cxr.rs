//! Object-CXR: `train.csv`, `dev.csv` with `image_name,annotation`, `test.csv` with `image_path,annotation`; images in folders of
//! these names. An annotation is a list of shapes with `;` between them, empty for none: `0 x1 y1 x2 y2` (rectangle),
//! `1 x1 y1 x2 y2` (ellipse), `2 x1 y1 … xn yn` (polygon). Each becomes the box around it.
//!
//! `dev` is the test split where there is no `test.csv`, as in MGCA. Who the patients are, the data set does not say.

use super::{DataSet, files, no_layout, table::Table};
use crate::index::{IndexError, Label, LabelledBox, Record, Split};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

const LABEL: &str = "Foreign Object";

pub(super) fn records(data: &mut DataSet<'_>) -> Result<Vec<Record>, IndexError> {
    let root = data.root;
    if !root.join("train.csv").is_file() {
        return Err(no_layout(root, "object-cxr", "no train.csv", "train.csv beside train/"));
    }
    let has_test = root.join("test.csv").is_file();
    let dev = if has_test { Split::Val } else { Split::Test };
    let mut records = Vec::new();
    for (part, split) in [("train", None), ("dev", Some(dev)), ("test", Some(Split::Test))] {
        let table = root.join(format!("{part}.csv"));
        if table.is_file() {
            records.extend(of_part(root, part, &table, split)?);
        }
    }
    data.measure(&mut records)?;
    Ok(records)
}

fn of_part(
    root: &Path,
    part: &str,
    table: &Path,
    split: Option<Split>,
) -> Result<Vec<Record>, IndexError> {
    let table = Table::read(table)?;
    let name = table.column(&["image_name", "image_path"])?;
    let annotation = table.column(&["annotation"])?;
    let record = |row: super::table::Row<'_>| {
        // Paths of test.csv begin at folders of the challenge's machine.
        let file = PathBuf::from(row.text(name).rsplit(['/', '\\']).next().unwrap_or_default());
        let boxes = parse(row.text(annotation)).ok_or_else(|| {
            row.wrong(annotation, "shapes such as `0 x1 y1 x2 y2;2 x1 y1 x2 y2 x3 y3`")
        })?;
        // Numbers begin anew in every part.
        let id = format!("{part}/{}", files::stem(&file).unwrap_or_default());
        Ok(Record {
            patient_id: id.clone(),
            id,
            split,
            source: "object-cxr".into(),
            image: root.join(part).join(file),
            labels: BTreeMap::from([(LABEL.to_owned(), Label::from(!boxes.is_empty()))]),
            boxes,
            looked_for: vec![LABEL.into()],
            ..Record::default()
        })
    };
    table.rows().map(record).collect()
}

fn parse(annotation: &str) -> Option<Vec<LabelledBox>> {
    let shapes = annotation.split(';').map(str::trim).filter(|shape| !shape.is_empty());
    let around = |shape: &str| {
        let numbers: Option<Vec<f32>> = shape.split_whitespace().map(|n| n.parse().ok()).collect();
        let numbers = numbers?;
        let (kind, places) = numbers.split_first()?;
        let fits = match *kind {
            0.0 | 1.0 => places.len() == 4,
            2.0 => places.len() >= 6 && places.len() % 2 == 0,
            _ => false,
        };
        let extent = |axis: usize| {
            let own = places.iter().skip(axis).step_by(2).copied();
            let low = own.clone().fold(f32::INFINITY, f32::min);
            (low, own.fold(f32::NEG_INFINITY, f32::max) - low)
        };
        let ((x, w), (y, h)) = (extent(0), extent(1));
        fits.then(|| LabelledBox { label: LABEL.into(), x, y, w, h, source: "object-cxr".into() })
    };
    shapes.map(around).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_become_the_boxes_around_them() {
        let boxes = parse("0 10 20 30 50;1 5 6 7 8; 2 1 9 4 2 3 5").unwrap();
        let sides: Vec<_> = boxes.iter().map(|b| [b.x, b.y, b.w, b.h]).collect();
        assert_eq!(sides, [[10.0, 20.0, 20.0, 30.0], [5.0, 6.0, 2.0, 2.0], [1.0, 2.0, 3.0, 7.0]]);
        // Corners may come in any order.
        assert_eq!(parse("0 30 50 10 20").unwrap()[0].w, 20.0);
        assert!(parse("").unwrap().is_empty());
        for wrong in ["3 1 2 3 4", "0 1 2 3", "2 1 2 3 4 5", "0 a b c d"] {
            assert!(parse(wrong).is_none(), "{wrong}");
        }
    }
}
