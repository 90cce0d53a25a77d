//! Where the phrases of findings look: a tint that grows with the attention, a ring at its peak, and a chip with the name.

use super::canvas::{self, Canvas, Colour, Weight};
use super::{GROUND, TEXT};
use results::{Finding, HeatMap, Record};

/// One for each heat map, in turn; none is a mask's.
const COLOURS: [Colour; 3] = [[255, 82, 82], [255, 214, 64], [64, 196, 255]];
/// Strongest tint.
const COVER: f32 = 0.5;
/// Less attention than this share of the way from the least to the most has no tint.
const FAINT: f32 = 0.6;
/// A map that varies less than this says nothing of places.
const FLAT: f32 = 0.02;

/// Where the radiograph is drawn: rows above it, its rows and columns.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) top: usize,
    pub(super) height: usize,
    pub(super) width: usize,
}

/// Those of `finding`, or, without one, of the most probable positive findings.
pub(super) fn chosen<'a>(report: &'a Record, finding: Option<&str>) -> Vec<&'a HeatMap> {
    if let Some(name) = finding {
        return report.heat_map(name).into_iter().collect();
    }
    let mut positive: Vec<&Finding> = report.findings.iter().filter(|f| f.positive).collect();
    positive.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    let maps = positive.into_iter().filter_map(|finding| report.heat_map(&finding.name));
    maps.take(COLOURS.len()).collect()
}

/// `source`: rows and columns of the radiograph.
pub(super) fn draw(
    canvas: &mut Canvas,
    maps: &[&HeatMap],
    source: [usize; 2],
    place: Place,
    unit: f32,
) {
    for (heat, colour) in maps.iter().zip(COLOURS) {
        let (least, most) = extent(heat);
        if most - least < FLAT {
            continue;
        }
        let drawn = heat.drawn(source, [place.height, place.width]);
        for (y, row) in drawn.chunks_exact(place.width).enumerate() {
            for (x, value) in row.iter().enumerate() {
                let share = ((value - least) / (most - least) - FAINT) / (1.0 - FAINT);
                if share > 0.0 {
                    canvas.blend(x, place.top + y, colour, COVER * share.min(1.0));
                }
            }
        }
    }
    let mut chips = Vec::new();
    for (heat, colour) in maps.iter().zip(COLOURS) {
        mark(canvas, heat, colour, source, place, unit, &mut chips);
    }
}

fn extent(heat: &HeatMap) -> (f32, f32) {
    let ends = (f32::INFINITY, f32::NEG_INFINITY);
    heat.values.iter().fold(ends, |(least, most), x| (least.min(*x), most.max(*x)))
}

/// The peak, and a chip beside it that covers no other.
fn mark(
    canvas: &mut Canvas,
    heat: &HeatMap,
    colour: Colour,
    source: [usize; 2],
    place: Place,
    unit: f32,
    chips: &mut Vec<[f32; 4]>,
) {
    let (least, most) = extent(heat);
    let flat = if most - least < FLAT { ", no place stands out" } else { "" };
    let text = format!("{} {most:.2}{flat}", heat.name.replace('_', " "));
    let size = 20.0 * unit;
    let (width, height) = (canvas::text_width(&text, size, Weight::Bold) + 12.0 * unit, 1.4 * size);
    let x = heat.x * place.width as f32 / source[1] as f32;
    let y = heat.y * place.height as f32 / source[0] as f32 + place.top as f32;
    ring(canvas, [x, y], 13.0 * unit, 3.0 * unit, colour);
    // Right of the ring, or left of it where there is no room.
    let gap = 20.0 * unit;
    let right = x + gap + width <= place.width as f32;
    let left = if right { x + gap } else { (x - gap - width).max(0.0) };
    let mut top = (y - height / 2.0).clamp(0.0, (canvas.height as f32 - height).max(0.0));
    let covers = |top: f32, chip: &[f32; 4]| {
        left < chip[0] + chip[2]
            && chip[0] < left + width
            && top < chip[1] + chip[3]
            && chip[1] < top + height
    };
    while let Some(chip) = chips.iter().find(|chip| covers(top, chip)) {
        top = chip[1] + chip[3] + 2.0 * unit;
    }
    chips.push([left, top, width, height]);
    canvas.fill(left, top, width, height, GROUND, 0.8);
    canvas.fill(left, top, 5.0 * unit, height, colour, 1.0);
    canvas.text(left + 9.0 * unit, top + 0.2 * size, &text, size, Weight::Bold, TEXT);
}

fn ring(canvas: &mut Canvas, [x, y]: [f32; 2], radius: f32, thick: f32, colour: Colour) {
    let reach = (radius + thick).ceil();
    let from = |middle: f32| (middle - reach).max(0.0) as usize;
    let to = |middle: f32| (middle + reach).max(0.0) as usize;
    for row in from(y)..=to(y) {
        for column in from(x)..=to(x) {
            let distance =
                ((column as f32 + 0.5 - x).powi(2) + (row as f32 + 0.5 - y).powi(2)).sqrt();
            let cover = (thick / 2.0 + 0.5 - (distance - radius).abs()).clamp(0.0, 1.0);
            canvas.blend(column, row, colour, cover);
        }
    }
}
