//! The test study: a drawn chest, marked as a test wherever a person may look.

use crate::users::secret;
use anyhow::{Context, Result};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{tags, uids};
use radiograph::elements::Encoding;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::time::SystemTime;

/// A data set to send, explicit VR little endian.
#[derive(Debug)]
pub(super) struct Phantom {
    pub(super) sop_instance_uid: String,
    pub(super) study_instance_uid: String,
    pub(super) patient_id: String,
    pub(super) dataset: Vec<u8>,
}

pub(super) const CLASS: &str = uids::COMPUTED_RADIOGRAPHY_IMAGE_STORAGE;
const ENCODING: Encoding = Encoding::EXPLICIT_LITTLE_ENDIAN;
const SIDE: u16 = 1024;

impl Phantom {
    /// Another study each time: an archive would take a second one under the same name for a repetition.
    pub(super) fn draw() -> Result<Self> {
        let random = secret().context("no random numbers")?;
        let uid = |part: &str| {
            let number = u128::from_str_radix(part, 16).context("a random number")?;
            Ok::<_, anyhow::Error>(format!("2.25.{number}"))
        };
        let (study, image) = (uid(&random[..31])?, uid(&random[32..63])?);
        let patient_id = format!("TEST-{}", random[56..].to_uppercase());
        let mut dataset = Vec::new();
        let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        for (tag, vr, value) in texts(&study, &image, &patient_id, &now) {
            ENCODING.put(&mut dataset, tag, vr, value)?;
        }
        let pixels: Vec<u8> =
            pixels(usize::from(SIDE)).into_iter().flat_map(u16::to_le_bytes).collect();
        for (tag, number) in [
            (tags::SAMPLES_PER_PIXEL, 1),
            (tags::ROWS, SIDE),
            (tags::COLUMNS, SIDE),
            (tags::BITS_ALLOCATED, 16),
            (tags::BITS_STORED, 12),
            (tags::HIGH_BIT, 11),
            (tags::PIXEL_REPRESENTATION, 0),
        ] {
            ENCODING.put(&mut dataset, tag, VR::US, number.to_le_bytes())?;
            if tag == tags::SAMPLES_PER_PIXEL {
                ENCODING.put(
                    &mut dataset,
                    tags::PHOTOMETRIC_INTERPRETATION,
                    VR::CS,
                    "MONOCHROME2",
                )?;
            }
            if tag == tags::COLUMNS {
                ENCODING.put(&mut dataset, tags::PIXEL_SPACING, VR::DS, "0.4\\0.4")?;
            }
        }
        ENCODING.put(&mut dataset, tags::QUALITY_CONTROL_IMAGE, VR::CS, "YES")?;
        ENCODING.put(&mut dataset, tags::WINDOW_CENTER, VR::DS, "2048")?;
        ENCODING.put(&mut dataset, tags::WINDOW_WIDTH, VR::DS, "4096")?;
        ENCODING.put(&mut dataset, tags::PIXEL_DATA, VR::OW, pixels)?;
        Ok(Self { sop_instance_uid: image, study_instance_uid: study, patient_id, dataset })
    }
}

/// Attributes before the pixels, in order.
fn texts(study: &str, image: &str, patient: &str, now: &str) -> Vec<(Tag, VR, String)> {
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    let (date, time) = (digits(&now[..10]), digits(&now[10..]));
    let row = |tag, vr, text: &str| (tag, vr, text.to_owned());
    vec![
        row(tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY"),
        row(tags::SOP_CLASS_UID, VR::UI, CLASS),
        row(tags::SOP_INSTANCE_UID, VR::UI, image),
        row(tags::STUDY_DATE, VR::DA, &date),
        row(tags::STUDY_TIME, VR::TM, &time),
        row(tags::ACCESSION_NUMBER, VR::SH, ""),
        row(tags::MODALITY, VR::CS, "CR"),
        row(tags::MANUFACTURER, VR::LO, "CXR-EDGE"),
        row(tags::REFERRING_PHYSICIAN_NAME, VR::PN, ""),
        row(tags::STUDY_DESCRIPTION, VR::LO, "TEST, drawn, no patient"),
        row(tags::SERIES_DESCRIPTION, VR::LO, "TEST of runtime setup"),
        row(tags::PATIENT_NAME, VR::PN, "TEST^Setup"),
        row(tags::PATIENT_ID, VR::LO, patient),
        row(tags::PATIENT_BIRTH_DATE, VR::DA, ""),
        row(tags::PATIENT_SEX, VR::CS, ""),
        row(tags::PATIENT_COMMENTS, VR::LT, "TEST image, drawn by a program. Not a patient."),
        row(tags::BODY_PART_EXAMINED, VR::CS, "CHEST"),
        row(tags::VIEW_POSITION, VR::CS, "PA"),
        row(tags::STUDY_INSTANCE_UID, VR::UI, study),
        row(tags::SERIES_INSTANCE_UID, VR::UI, &format!("{study}.1")),
        row(tags::STUDY_ID, VR::SH, "TEST"),
        row(tags::SERIES_NUMBER, VR::IS, "1"),
        row(tags::INSTANCE_NUMBER, VR::IS, "1"),
        row(tags::PATIENT_ORIENTATION, VR::CS, "L\\F"),
    ]
}

/// A body with two dark lungs, a heart, a spine and ribs, 12 bits a pixel, and a little noise.
fn pixels(side: usize) -> Vec<u16> {
    let mut noise = ChaCha8Rng::seed_from_u64(1);
    let inside = |x: f32, y: f32, [cx, cy, rx, ry]: [f32; 4]| {
        ((x - cx) / rx).powi(2) + ((y - cy) / ry).powi(2) < 1.0
    };
    let mut pixel = |at: usize| {
        let place = |index: usize| index as f32 / side as f32 - 0.5;
        let (y, x) = (place(at / side), place(at % side));
        let body = inside(x, y, [0.0, 0.15, 0.46, 0.75]);
        let lung =
            inside(x, y, [-0.2, -0.02, 0.15, 0.36]) || inside(x, y, [0.2, -0.02, 0.15, 0.36]);
        let heart = inside(x, y, [0.06, 0.14, 0.16, 0.15]);
        // Ribs slope away from the spine.
        let rib = ((y + x.abs() * 0.5) * 16.0).fract().abs() < 0.25;
        let grey: f32 = match (body, lung && !heart) {
            (false, _) => 250.0,
            (true, true) => 900.0 + if rib { 260.0 } else { 0.0 },
            (true, false) => 2500.0 + if x.abs() < 0.04 { 500.0 } else { 0.0 },
        };
        grey as u16 + noise.random_range(0..120)
    };
    (0..side * side).map(&mut pixel).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use results::file_header;

    #[test]
    fn the_test_image_passes_the_gate_and_says_that_it_is_a_test() {
        let phantom = Phantom::draw().unwrap();
        let syntax = uids::EXPLICIT_VR_LITTLE_ENDIAN;
        let mut file = file_header(CLASS, &phantom.sop_instance_uid, syntax, None).unwrap();
        file.extend_from_slice(&phantom.dataset);
        let read = radiograph::read(&file).unwrap();
        radiograph::gate(&read).unwrap();
        let object = dicom_object::from_reader(&file[..]).unwrap();
        let text = |tag| {
            object.element(tag).unwrap().to_str().unwrap().trim_end_matches(['\0', ' ']).to_owned()
        };
        assert_eq!(text(tags::PATIENT_NAME), "TEST^Setup");
        assert!(text(tags::PATIENT_ID).starts_with("TEST-"));
        assert_eq!(text(tags::QUALITY_CONTROL_IMAGE), "YES");
        assert_eq!(text(tags::SOP_INSTANCE_UID), phantom.sop_instance_uid);
        assert_ne!(Phantom::draw().unwrap().study_instance_uid, phantom.study_instance_uid);
        // In the order that DICOM asks for.
        let all = radiograph::elements::all(&phantom.dataset, ENCODING).unwrap();
        assert!(all.windows(2).all(|pair| pair[0].tag < pair[1].tag));
    }
}
