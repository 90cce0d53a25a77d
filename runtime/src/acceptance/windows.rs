//! The same image with other window settings, as a modality or a gateway that is set up otherwise would send it.

use crate::instances::{Change, Numbered};
use anyhow::Result;
use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use radiograph::{Attribute, AttributeValue, attributes, elements, stored_values};

/// What is exchanged for a setting, or why it cannot be tried.
type Setting = (String, Result<Vec<Change>, String>);

/// Centre and width changed by shares of the width, and the polarity exchanged.
pub(super) fn settings(object: &Numbered, percent: &[f64]) -> Result<Vec<Setting>> {
    const WANTED: [Tag; 6] = [
        tags::WINDOW_CENTER,
        tags::WINDOW_WIDTH,
        tags::VOILUT_SEQUENCE,
        tags::MODALITY_LUT_SEQUENCE,
        tags::RESCALE_SLOPE,
        tags::RESCALE_INTERCEPT,
    ];
    let found = attributes(&object.bytes, &[&WANTED[..], &[tags::PIXEL_PADDING_VALUE]].concat())?;
    let window = window(object, &found);
    let mut settings = Vec::new();
    for (what, share) in [("centre", 1.0), ("width", 0.0)] {
        for percent in percent {
            let factor = percent / 100.0;
            let changes = window.clone().and_then(|[centre, width]| {
                let (centre, width) = match share {
                    1.0 => (centre + factor * width, width),
                    _ => (centre, width * (1.0 + factor)),
                };
                if width < 1.0 {
                    return Err("the window would be narrower than one value".into());
                }
                Ok(vec![
                    change(tags::WINDOW_CENTER, &decimal(centre)),
                    change(tags::WINDOW_WIDTH, &decimal(width)),
                ])
            });
            settings.push((format!("{what} {percent:+} %"), changes));
        }
    }
    let other = match object.header.photometric.as_str() {
        "MONOCHROME1" => Ok("MONOCHROME2"),
        "MONOCHROME2" => Ok("MONOCHROME1"),
        _ => Err("neither MONOCHROME1 nor MONOCHROME2".to_owned()),
    };
    let inverted = other.map(|name| {
        let (tag, vr) = (tags::PHOTOMETRIC_INTERPRETATION, VR::CS);
        vec![Change { tag, vr, value: name.into() }]
    });
    settings.push(("inverted".into(), inverted));
    Ok(settings)
}

/// Centre and width: the first of the header; without one, the range of the values, which is then what is shown.
fn window(object: &Numbered, found: &[Attribute]) -> Result<[f64; 2], String> {
    let has = |tag| found.iter().any(|attribute| attribute.tag == tag);
    let number = |tag| -> Option<f64> {
        let own = found.iter().find(|attribute| attribute.tag == tag)?;
        let AttributeValue::Bytes(bytes) = &own.value else { return None };
        elements::text(bytes).split('\\').next()?.trim().parse().ok()
    };
    if has(tags::VOILUT_SEQUENCE) {
        return Err("its table of grey values (VOI LUT) counts, no window".into());
    }
    match (number(tags::WINDOW_CENTER), number(tags::WINDOW_WIDTH)) {
        (Some(centre), Some(width)) => return Ok([centre, width]),
        (None, None) => {}
        _ => return Err("half a window".into()),
    }
    if has(tags::MODALITY_LUT_SEQUENCE) || has(tags::PIXEL_PADDING_VALUE) {
        return Err("no window, and values that a range does not tell".into());
    }
    let stored =
        stored_values(&object.bytes).map_err(|_| "its pixels cannot be read".to_owned())?;
    let ends = stored.values.iter().min().zip(stored.values.iter().max());
    let (low, high) = ends.ok_or("no pixels")?;
    let slope = number(tags::RESCALE_SLOPE).unwrap_or(1.0);
    let intercept = number(tags::RESCALE_INTERCEPT).unwrap_or(0.0);
    let ends = [low, high].map(|value| f64::from(*value) * slope + intercept);
    let (low, high) = (ends[0].min(ends[1]), ends[0].max(ends[1]));
    // PS3.3 C.11.2.1.2.1: a linear window reaches from centre − ½ − (width − 1)/2 to centre − ½ + (width − 1)/2.
    Ok([f64::midpoint(low, high) + 0.5, high - low + 1.0])
}

fn change(tag: Tag, value: &str) -> Change {
    Change { tag, vr: VR::DS, value: value.into() }
}

/// At most 16 characters.
fn decimal(value: f64) -> String {
    let text = format!("{value:.4}");
    if text.len() <= 16 { text } else { format!("{value:.7e}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_strings_fit_their_representation() {
        assert_eq!(decimal(2048.0), "2048.0000");
        for value in [-1.234_567_89e300, 1e-300, -65535.5, 123_456_789_012.75] {
            let text = decimal(value);
            assert!(text.len() <= 16, "{text}");
            let read: f64 = text.parse().unwrap();
            assert!((read - value).abs() <= 1e-4f64.max(value.abs() * 1e-6), "{text}");
        }
    }
}
