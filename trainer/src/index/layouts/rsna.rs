//! RSNA pneumonia detection 2018: `stage_2_train_labels.csv` with `patientId,x,y,width,height,Target`, a row for each box and
//! one with blanks where there is none; `stage_2_detailed_class_info.csv` with `patientId,class`; DICOM files by patientId (or
//! PNG and JPEG of the same size).
//!
//! `patientId` names an image: who the patient is, the data set does not say.

use super::{
    DataSet,
    chexpert::label,
    files::{Pictures, stem, warn_of_copies},
    no_layout,
    table::Table,
};
use crate::index::{IndexError, Label, LabelledBox, RSNA_BOX, Record, Rsna};
use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

/// Of every published picture.
const SIDE: u32 = 1024;

pub(super) fn records(data: &mut DataSet<'_>) -> Result<Vec<Record>, IndexError> {
    let root = data.root;
    let labels = root.join("stage_2_train_labels.csv");
    if !labels.is_file() {
        let found = "no stage_2_train_labels.csv";
        return Err(no_layout(root, "rsna", found, "it beside stage_2_train_images/"));
    }
    let classes = detailed_classes(&root.join("stage_2_detailed_class_info.csv"))?;
    let table = Table::read(&labels)?;
    let [id, x, y, w, h, target] = ["patientId", "x", "y", "width", "height", "Target"];
    let id = table.column(&[id])?;
    let sides =
        [table.column(&[x])?, table.column(&[y])?, table.column(&[w])?, table.column(&[h])?];
    let target = table.column(&[target])?;
    let folder = root.join("stage_2_train_images");
    let pictures = Pictures::by(&folder, stem)?;
    let mut records: BTreeMap<String, Record> = BTreeMap::new();
    for row in table.rows() {
        let name = row.text(id);
        let positive = match label(&row, target)? {
            Some(Label::Negative) => false,
            Some(Label::Positive) => true,
            _ => return Err(row.wrong(target, "0 or 1")),
        };
        if let Some(side) = sides.iter().find(|side| !positive && row.stated(**side).is_some()) {
            return Err(row.wrong(*side, "nothing, as Target is 0"));
        }
        let class = classes.get(name).map(String::as_str).unwrap_or_default();
        if !class.is_empty() && (class == RSNA_BOX) != positive {
            let expected = format!("what fits the class of this image, `{class}`");
            return Err(row.wrong(target, &expected));
        }
        let image = pictures.get(name)?.unwrap_or_else(|| folder.join(format!("{name}.dcm")));
        let record = records.entry(name.to_owned()).or_insert_with(|| Record {
            id: name.to_owned(),
            patient_id: name.to_owned(),
            source: "rsna".into(),
            image,
            rsna: Some(Rsna {
                patient_id: name.to_owned(),
                detailed_class: class.to_owned(),
                target: u8::from(positive),
            }),
            labels: BTreeMap::from([(RSNA_BOX.to_owned(), Label::from(positive))]),
            looked_for: vec![RSNA_BOX.to_owned()],
            ..Record::default()
        });
        if record.rsna.as_ref().is_some_and(|rsna| (rsna.target == 1) != positive) {
            return Err(row.wrong(target, "what an earlier row says of this image"));
        }
        if positive {
            let [x, y, w, h] = sides.map(|side| row.number(side));
            record.boxes.push(LabelledBox {
                label: RSNA_BOX.into(),
                x: x?,
                y: y?,
                w: w?,
                h: h?,
                source: "rsna".into(),
            });
        }
    }
    let mut records: Vec<Record> = records.into_values().collect();
    data.measure(&mut records)?;
    data.leave_unnamed(&pictures, &records);
    warn_of_copies(records.iter().filter(|record| !record.boxes.is_empty()), SIDE);
    Ok(records)
}

/// Rows repeat for every box; they must all say the same.
fn detailed_classes(path: &Path) -> Result<HashMap<String, String>, IndexError> {
    if !path.is_file() {
        return Ok(HashMap::new());
    }
    let table = Table::read(path)?;
    let (id, class) = (table.column(&["patientId"])?, table.column(&["class"])?);
    let mut classes = HashMap::new();
    for row in table.rows() {
        let own = row.text(class).to_owned();
        let first = classes.entry(row.text(id).to_owned()).or_insert_with(|| own.clone());
        if *first != own {
            return Err(
                row.wrong(class, &format!("`{first}`, as an earlier row says of this image"))
            );
        }
    }
    Ok(classes)
}
