//! What we read of a header: for the gate, for reports, for decoding.

use super::{TransferSyntax, values::Elements};
use crate::{RadiographError, words};
use dicom_core::Tag;
use dicom_dictionary_std::tags;

/// Attributes of a radiograph. Text is trimmed and free of control characters; what is absent is
/// empty. UIDs consist of digits and dots only, so that they may become parts of file names.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Header {
    pub transfer_syntax: TransferSyntax,
    pub sop_class_uid: String,
    pub sop_instance_uid: String,
    pub study_instance_uid: String,
    pub series_instance_uid: String,
    /// `CR`, `DX`, …
    pub modality: String,
    /// FOR PRESENTATION or FOR PROCESSING.
    pub presentation_intent: String,
    /// `AP`, `PA`, `LL`, …; from the View Code Sequence where View Position is empty, and where both are,
    /// a description that names a view from the side.
    pub view_position: String,
    /// Body Part Examined, or the Anatomic Region Sequence.
    pub body_part: String,
    /// Where rows and columns of the picture run: `["L", "F"]` upright and not mirrored.
    pub patient_orientation: [String; 2],
    pub photometric: String,
    pub rows: u32,
    pub columns: u32,
    pub frames: u32,
    pub bits_stored: u32,
    /// Millimetres between rows and between columns, at the detector; `None` unless positive.
    pub pixel_spacing: Option<[f64; 2]>,
    /// Height over width of a pixel; 1 where the header does not say.
    pub pixel_aspect: f64,
    pub patient_id: String,
    pub patient_name: String,
    pub patient_birth_date: String,
    pub patient_sex: String,
    pub accession_number: String,
    pub study_id: String,
    pub study_date: String,
    pub study_time: String,
    pub manufacturer: String,
}

impl Header {
    pub(crate) fn parse(
        elements: &Elements<'_>,
        transfer_syntax: TransferSyntax,
    ) -> Result<Self, RadiographError> {
        let text = |tag| elements.text(tag);
        let sop_instance_uid = elements.uid(tags::SOP_INSTANCE_UID, "SOPInstanceUID")?;
        if sop_instance_uid.is_empty() {
            return Err(RadiographError::Missing { name: "SOPInstanceUID" });
        }
        let mut orientation = elements.texts(tags::PATIENT_ORIENTATION).into_iter();
        Ok(Self {
            transfer_syntax,
            sop_class_uid: elements.uid(tags::SOP_CLASS_UID, "SOPClassUID")?,
            sop_instance_uid,
            study_instance_uid: elements.uid(tags::STUDY_INSTANCE_UID, "StudyInstanceUID")?,
            series_instance_uid: elements.uid(tags::SERIES_INSTANCE_UID, "SeriesInstanceUID")?,
            modality: text(tags::MODALITY),
            presentation_intent: text(tags::PRESENTATION_INTENT_TYPE),
            view_position: view(elements)?,
            body_part: body_part(elements)?,
            patient_orientation: [
                orientation.next().unwrap_or_default(),
                orientation.next().unwrap_or_default(),
            ],
            photometric: text(tags::PHOTOMETRIC_INTERPRETATION),
            rows: elements.count(tags::ROWS, "Rows")?,
            columns: elements.count(tags::COLUMNS, "Columns")?,
            frames: elements.frames()?,
            bits_stored: elements.count(tags::BITS_STORED, "BitsStored")?,
            pixel_spacing: elements.spacing(),
            pixel_aspect: elements.aspect(),
            patient_id: text(tags::PATIENT_ID),
            patient_name: text(tags::PATIENT_NAME),
            patient_birth_date: text(tags::PATIENT_BIRTH_DATE),
            patient_sex: text(tags::PATIENT_SEX),
            accession_number: text(tags::ACCESSION_NUMBER),
            study_id: text(tags::STUDY_ID),
            study_date: text(tags::STUDY_DATE),
            study_time: text(tags::STUDY_TIME),
            manufacturer: text(tags::MANUFACTURER),
        })
    }
}

/// What the header says of the view. Where its attributes contradict each other, all that they say.
fn view(elements: &Elements<'_>) -> Result<String, RadiographError> {
    let position = elements.text(tags::VIEW_POSITION);
    // CID 4010, in the words of View Position; others by their meaning.
    let code =
        coded(elements, (tags::VIEW_CODE_SEQUENCE, "ViewCodeSequence"), |code| match code {
            "R-10206" | "399348003" => Some("AP"),
            "R-10214" | "272479007" => Some("PA"),
            "R-1022D" | "399198007" => Some("RL"),
            "R-10236" | "399173006" => Some("LL"),
            _ => None,
        })?;
    if position.is_empty() && code.is_empty() {
        let texts = SAID_IN_WORDS.map(|tag| elements.text(tag));
        return Ok(texts.into_iter().find(|text| words::names_side(text)).unwrap_or_default());
    }
    Ok(match (words::is_frontal(&position), words::is_frontal(&code)) {
        _ if position.is_empty() => code,
        (true, false) => format!("{position}, {code}"),
        _ => position,
    })
}

/// Where consoles write the name of the exposure that the technologist chose.
const SAID_IN_WORDS: [Tag; 4] = [
    tags::SERIES_DESCRIPTION,
    tags::PROTOCOL_NAME,
    tags::ACQUISITION_DEVICE_PROCESSING_DESCRIPTION,
    tags::BODY_PART_EXAMINED,
];

fn body_part(elements: &Elements<'_>) -> Result<String, RadiographError> {
    let text = elements.text(tags::BODY_PART_EXAMINED);
    if !text.is_empty() {
        return Ok(text);
    }
    let sequence = (tags::ANATOMIC_REGION_SEQUENCE, "AnatomicRegionSequence");
    coded(elements, sequence, |code| match code {
        "T-D3000" | "51185008" | "43799004" | "816094009" => Some("CHEST"),
        "T-28000" | "39607008" => Some("LUNG"),
        _ => None,
    })
}

/// The first item of a code sequence: the word for its code, or its meaning, or the code itself.
fn coded(
    elements: &Elements<'_>,
    (tag, name): (Tag, &'static str),
    word: impl Fn(&str) -> Option<&'static str>,
) -> Result<String, RadiographError> {
    let items = elements.items(tag, name)?;
    let Some(item) = items.first() else { return Ok(String::new()) };
    let code = [tags::CODE_VALUE, tags::LONG_CODE_VALUE, tags::URN_CODE_VALUE]
        .map(|tag| item.text(tag))
        .concat();
    let meaning = item.text(tags::CODE_MEANING);
    Ok(match word(&code) {
        Some(word) => word.to_owned(),
        None if meaning.is_empty() => code,
        None => meaning,
    })
}
