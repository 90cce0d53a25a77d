//! Segmentation (FRACTIONAL): where the phrases of each positive finding find it, pixel on pixel with the source.
//!
//! It is a heat map, 0 to 1. DICOM knows probability and occupancy; the former is said, and the segment's description
//! says what it is.

use crate::{
    HeatMap, Kind, ResultsError,
    dataset::DataSet,
    modules::{Context, DISCLAIMER, named},
    seg::{self, Labelled},
};
use dicom_dictionary_std::tags;

/// What 1 is.
const MOST: u8 = 255;

/// `None` without a positive finding by phrases.
pub(crate) fn write(context: &Context<'_>) -> Result<Option<DataSet>, ResultsError> {
    let record = context.record;
    let findings = record.findings.iter().filter(|finding| finding.positive);
    let maps: Vec<&HeatMap> =
        findings.filter_map(|finding| record.heat_map(&finding.name)).collect();
    if maps.is_empty() {
        return Ok(None);
    }
    let side = |tag| context.source.number(tag).unwrap_or_default();
    let [rows, columns] = [side(tags::ROWS), side(tags::COLUMNS)];
    let size = [usize::from(rows), usize::from(columns)];
    let mut pixels = Vec::with_capacity(maps.len() * size[0] * size[1]);
    for heat in &maps {
        heat.check()?;
        let value = |share: f32| (share * f32::from(MOST)).round() as u8;
        pixels.extend(heat.drawn(size, size).into_iter().map(value));
    }
    let label = |heat: &&HeatMap| Labelled {
        name: heat.name.clone(),
        code: record.code(&heat.name),
        description: format!("Where phrases find it, no probability. {DISCLAIMER}"),
        tracking: (
            format!("heat map: {}", named(&heat.name)),
            // As heat maps were called when the first UIDs were made.
            context.seed.uid(&format!("attention {}", heat.name)),
        ),
    };
    let segments: Vec<Labelled> = maps.iter().map(label).collect();
    let size = [rows, columns].map(u32::from);
    let mut set = seg::segmentation(context, Kind::Heat, &segments, size, pixels);
    set.text(tags::CONTENT_LABEL, "AI_HEAT_MAP");
    set.text(tags::SEGMENTATION_TYPE, "FRACTIONAL");
    set.text(tags::SEGMENTATION_FRACTIONAL_TYPE, "PROBABILITY");
    set.u16s(tags::MAXIMUM_FRACTIONAL_VALUE, &[MOST.into()]);
    set.u16s(tags::BITS_ALLOCATED, &[8]);
    set.u16s(tags::BITS_STORED, &[8]);
    set.u16s(tags::HIGH_BIT, &[7]);
    Ok(Some(set))
}
