//! Made-up results for real and for drawn images.

use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use image::RgbImage;
use results::{
    Account, BundleId, Code, Device, Finding, FoundBox, HeatMap, Kind, LabelCode, NearSentence,
    Object, Record, ResultsError, Segment, Side, SourceId, Status,
};
use sha2::{Digest, Sha256};
use std::io;

pub(crate) const IMPLICIT: &str = "1.2.840.10008.1.2";
pub(crate) const EXPLICIT: &str = "1.2.840.10008.1.2.1";
pub(crate) const BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";

/// A radiograph of 30x25 pixels that the gate would refuse for its size: nothing here depends on that.
pub(crate) fn chest(uid: &str) -> InMemDicomObject {
    let mut chest = InMemDicomObject::new_empty();
    for (tag, vr, text) in [
        (tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 100"),
        (tags::SOP_CLASS_UID, VR::UI, "1.2.840.10008.5.1.4.1.1.1"),
        (tags::SOP_INSTANCE_UID, VR::UI, uid),
        (tags::STUDY_INSTANCE_UID, VR::UI, "1.2.3"),
        (tags::SERIES_INSTANCE_UID, VR::UI, "1.2.3.4"),
        (tags::STUDY_DATE, VR::DA, "20260131"),
        (tags::ACCESSION_NUMBER, VR::SH, "A1"),
        (tags::MODALITY, VR::CS, "CR"),
        (tags::MANUFACTURER, VR::LO, "Maker"),
        (tags::PATIENT_NAME, VR::PN, "Doe^Jane"),
        (tags::PATIENT_ID, VR::LO, "7"),
        (tags::BODY_PART_EXAMINED, VR::CS, "CHEST"),
        (tags::VIEW_POSITION, VR::CS, "PA"),
        (tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2"),
    ] {
        chest.put(DataElement::new(tag, vr, PrimitiveValue::from(text)));
    }
    let numbers = [
        (tags::ROWS, 30_u16),
        (tags::COLUMNS, 25),
        (tags::SAMPLES_PER_PIXEL, 1),
        (tags::BITS_ALLOCATED, 8),
        (tags::BITS_STORED, 8),
        (tags::HIGH_BIT, 7),
        (tags::PIXEL_REPRESENTATION, 0),
    ];
    for (tag, number) in numbers {
        chest.put(DataElement::new(tag, VR::US, PrimitiveValue::from(number)));
    }
    let pixels: Vec<u8> = (0..750).map(|at| (at % 251) as u8).collect();
    chest.put(DataElement::new(tags::PIXEL_DATA, VR::OB, PrimitiveValue::U8(pixels.into())));
    chest
}

/// An element whose value is these bytes.
pub(crate) fn put_bytes(object: &mut InMemDicomObject, tag: Tag, vr: VR, bytes: &[u8]) {
    object.put(DataElement::new(tag, vr, PrimitiveValue::U8(bytes.to_vec().into())));
}

pub(crate) fn file(object: InMemDicomObject, syntax: &str) -> Vec<u8> {
    let meta = FileMetaTableBuilder::new().transfer_syntax(syntax);
    let mut bytes = Vec::new();
    object.with_meta(meta).unwrap().write_all(&mut bytes).unwrap();
    bytes
}

pub(crate) fn device() -> Device {
    Device::new("box-3f2a11c0")
}

fn code(value: &str, scheme: &str, meaning: &str) -> Code {
    Code::new(value, scheme, meaning).unwrap()
}

/// Codes of a kind a bundle has: of SNOMED CT with a side, of DICOM, of our own.
fn codes() -> Vec<LabelCode> {
    let abnormal = code("49755003", "SCT", "Morphologically Abnormal Structure");
    let anatomy = code("91723000", "SCT", "Anatomical Structure");
    let lung = code("39607008", "SCT", "Lung");
    let label = |label: &str, code, category: &Code, site, side| LabelCode {
        label: label.into(),
        code,
        category: category.clone(),
        site,
        side,
        colour: None,
    };
    let pneumothorax = code("36118008", "SCT", "Pneumothorax");
    let pleura = code("3120008", "SCT", "Pleura");
    vec![
        label("Pneumothorax", pneumothorax, &abnormal, Some(pleura), None),
        label("left lung", lung.clone(), &anatomy, Some(lung.clone()), Some(Side::Left)),
        label("right lung", lung.clone(), &anatomy, Some(lung.clone()), Some(Side::Right)),
        label("Lung Opacity", code("112001", "DCM", "Opacity"), &abnormal, Some(lung), None),
        LabelCode::private("Enlarged Cardiomediastinum"),
    ]
}

/// Pixels of an ellipse; its centre and half its size in parts of the image.
fn ellipse([rows, columns]: [usize; 2], [y, x, height, width]: [f64; 4]) -> Vec<u8> {
    let inside = |at: usize| {
        let row = ((at / columns) as f64 / rows as f64 - y) / height;
        let column = ((at % columns) as f64 / columns as f64 - x) / width;
        u8::from(row * row + column * column <= 1.0)
    };
    (0..rows * columns).map(inside).collect()
}

/// A grid of 5x7 places with its peak right of the middle.
pub(crate) fn heat_map(name: &str, [rows, columns]: [usize; 2]) -> HeatMap {
    let value = |at: usize| {
        let (row, column) = (at as f32 / 7.0, (at % 7) as f32);
        0.9 - 0.02 * (row - 2.0).powi(2) - 0.03 * (column - 4.0).powi(2)
    };
    HeatMap {
        name: name.into(),
        rows: 5,
        columns: 7,
        x: columns as f32 * 4.5 / 7.0,
        y: rows as f32 * 0.5,
        most: 0.9,
        area: [0.0, 0.0, columns as f32, rows as f32],
        values: (0..35).map(|at| value(at).clamp(0.0, 1.0)).collect(),
    }
}

fn near(sentence: &str, similarity: f32) -> NearSentence {
    NearSentence { sentence: sentence.into(), similarity, x: 12.5, y: 7.25 }
}

/// Findings (one by phrases), masks (one of them empty), boxes and sentences, as if a network had seen the image of a file.
pub(crate) fn record(source: &[u8]) -> Record {
    let header = radiograph::header(source).unwrap();
    let size = [header.rows as usize, header.columns as usize];
    let [rows, columns] = size;
    let finding = |name: &str, probability, threshold| Finding {
        name: name.into(),
        probability,
        threshold,
        positive: probability >= threshold,
    };
    let segment = |name: &str, place| Segment::pack(name, size, &ellipse(size, place));
    let found = |x, score| FoundBox {
        name: "Lung Opacity".into(),
        score,
        x: x * columns as f32,
        y: 0.3 * rows as f32,
        width: 0.15 * columns as f32,
        height: 0.2 * rows as f32,
    };
    let bundle = BundleId {
        id: "chest-14".into(),
        digest: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef".into(),
        version: "1.4.0".into(),
        packs: Vec::new(),
    };
    Record {
        sop_instance_uid: Some(header.sop_instance_uid.clone()),
        status: Status::Analysed,
        reason: None,
        findings: vec![
            finding("Pneumothorax", 0.8312, 0.55),
            finding("Enlarged Cardiomediastinum", 0.1204, 0.4),
        ],
        boxes: Some(vec![found(0.2, 0.714), found(0.6, 0.52)]),
        analysed: Some("2026-11-29T14:35:00Z".into()),
        configuration: Some(device().configuration(&[])),
        source: Some(SourceId {
            sop_class_uid: header.sop_class_uid.clone(),
            study_instance_uid: header.study_instance_uid.clone(),
            series_instance_uid: header.series_instance_uid.clone(),
            sha256: hex::encode(Sha256::digest(source)),
        }),
        segments: vec![
            segment("left lung", [0.4, 0.7, 0.25, 0.15]),
            Segment::pack("Pneumothorax", size, &vec![0; rows * columns]),
            segment("right lung", [0.42, 0.3, 0.25, 0.15]),
        ],
        codes: codes(),
        heat_maps: vec![heat_map("Pneumothorax", size)],
        nearest: vec![
            near("there is a small right apical pneumothorax", 0.8125),
            near("no pneumothorax is seen — é", 0.75),
        ],
        ..Record::not_analysed("chest.dcm".into(), bundle, String::new())
    }
}

/// With an account of what it came from, as every result of today has.
pub(crate) fn accounted(record: Record) -> Record {
    let account = Some(Account::new("ab".repeat(32), Some("cd".repeat(32))));
    Record { account, ..record }.accounted().unwrap()
}

/// The same image, not analysed.
pub(crate) fn not_analysed(source: &[u8], why: &str) -> Record {
    let Record { sop_instance_uid, analysed, configuration, source, bundle, .. } = record(source);
    let record = Record::not_analysed("chest.dcm".into(), bundle, why.into());
    Record { sop_instance_uid, analysed, configuration, source, ..record }
}

/// An overlay of odd size.
pub(crate) fn drawing() -> io::Result<RgbImage> {
    Ok(RgbImage::from_fn(33, 21, |x, y| image::Rgb([x as u8, y as u8, 200])))
}

pub(crate) fn object(
    kind: Kind,
    record: &Record,
    source: &[u8],
) -> Result<Option<Object>, ResultsError> {
    results::object(kind, record, source, &device(), drawing)
}
