//! A structured report beside the one that is made now, of the same image, by the same rules.

use super::{
    told::{Report, items_of, text_of},
    verdict::Verdict,
};
use anyhow::{Context, Result};
use dicom_core::{
    Tag,
    dictionary::{DataDictionary, DataDictionaryEntry},
};
use dicom_dictionary_std::{StandardDataDictionary, tags};
use image::RgbImage;
use radiograph::{
    Attribute, AttributeValue, attributes,
    elements::{self, Encoding},
};
use results::{Kind, Record};

/// So many differences are named.
const MOST: usize = 8;
/// Where a report from before accounts does not say it.
const USUAL_OVERLAY: &str = "overlay 1024";

pub(super) fn compare(
    told: &Report,
    now: Record,
    image: &[u8],
    verdict: &mut Verdict,
) -> Result<()> {
    let kept = told.account.as_ref();
    if let Some(input) = now.account.as_ref().and_then(|account| account.input.as_ref()) {
        verdict.compare("network input", kept.and_then(|kept| kept.input.as_deref()), input);
    }
    if let Some(masks) = now.masks_digest()? {
        verdict.compare("masks", kept.and_then(|kept| kept.masks.as_deref()), &masks);
    }
    let made = match again(told, now, image) {
        Ok(made) => made,
        Err(error) => {
            verdict.differs("report", format!("it cannot be made again: {error:#}"));
            return Ok(());
        }
    };
    if made == told.bytes {
        verdict.same("report", "made again, byte by byte");
        return Ok(());
    }
    let data_set = results::data_set(&made).context("our own report")?;
    let written: Vec<Tag> = elements::all(data_set, Encoding::EXPLICIT_LITTLE_ENDIAN)?
        .iter()
        .map(|element| element.tag)
        .collect();
    let (of_told, of_made) = (attributes(&told.bytes, &written)?, attributes(&made, &written)?);
    // Of a report from before accounts nobody knows the settings that its identifiers follow from.
    let guessed = kept.is_none()
        && text_of(&of_told, tags::SOP_INSTANCE_UID) != text_of(&of_made, tags::SOP_INSTANCE_UID);
    let mut found = Vec::new();
    walk("", &of_told, &of_made, guessed, &mut found);
    if guessed {
        verdict
            .unknown("identifiers", "the report does not tell the settings that they follow from");
    }
    match found.len() {
        0 => verdict
            .same("report", "the same in every attribute; somebody has written the file anew"),
        count => {
            let more = count.saturating_sub(MOST);
            found.truncate(MOST);
            let more = if more > 0 { format!("; and {more} more") } else { String::new() };
            verdict.differs("report", found.join("; ") + &more);
        }
    }
    Ok(())
}

/// The report of what comes out now, as the box of then would have written it.
fn again(told: &Report, now: Record, image: &[u8]) -> Result<Vec<u8>> {
    let usual = || told.device.configuration(&[USUAL_OVERLAY.into()]);
    let record = Record {
        analysed: Some(told.analysed.clone()),
        configuration: Some(told.configuration.clone().unwrap_or_else(usual)),
        device: Some(told.device.clone()),
        account: now.account.clone().filter(|_| told.account.is_some()),
        ..now
    }
    .accounted()?;
    let no_drawing =
        || -> Result<RgbImage, std::io::Error> { unreachable!("a report has no picture") };
    let object = results::object(Kind::Sr, &record, image, &told.device, no_drawing)?;
    Ok(object.context("nothing can be said of this image")?.bytes)
}

/// What differs, by the names of the attributes on the way to it.
fn walk(at: &str, told: &[Attribute], made: &[Attribute], no_uids: bool, found: &mut Vec<String>) {
    for attribute in made {
        let path = format!("{at}{}", name(attribute.tag));
        let Some(kept) = told.iter().find(|kept| kept.tag == attribute.tag) else {
            found.push(format!("{path} is missing"));
            continue;
        };
        match (&kept.value, &attribute.value) {
            (AttributeValue::Items(kept), AttributeValue::Items(made)) => {
                if kept.len() != made.len() {
                    found.push(format!("{path}: {} items, expected {}", kept.len(), made.len()));
                }
                for (number, (kept, made)) in kept.iter().zip(made).enumerate() {
                    walk(
                        &format!("{path}[{}]{} / ", number + 1, concept(made)),
                        kept,
                        made,
                        no_uids,
                        found,
                    );
                }
            }
            (AttributeValue::Bytes(kept), AttributeValue::Bytes(made)) => {
                let is_uid = attribute.vr == dicom_core::VR::UI;
                let (kept, made) = (elements::text(kept), elements::text(made));
                if kept != made && !(no_uids && is_uid) {
                    found.push(format!("{path}: {kept:?}, expected {made:?}"));
                }
            }
            _ => found.push(format!("{path} is of another kind")),
        }
    }
    for kept in
        told.iter().filter(|kept| !at.is_empty() && !made.iter().any(|made| made.tag == kept.tag))
    {
        found.push(format!("{at}{} was not there", name(kept.tag)));
    }
}

/// What an item of a report is about.
fn concept(item: &[Attribute]) -> String {
    let concept = items_of(item, tags::CONCEPT_NAME_CODE_SEQUENCE);
    let meaning = concept.first().and_then(|concept| text_of(concept, tags::CODE_MEANING));
    meaning.map(|meaning| format!(" {meaning}")).unwrap_or_default()
}

fn name(tag: Tag) -> String {
    StandardDataDictionary
        .by_tag(tag)
        .map_or_else(|| tag.to_string(), |entry| entry.alias().to_owned())
}
