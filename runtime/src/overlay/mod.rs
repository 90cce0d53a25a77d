//! The picture people look at: radiograph, mask, boxes, and a panel with the findings.
//!
//! ```text
//! ┌──────────────────────┬───────────────┐
//! │ radiograph           │ CXR EDGE      │
//! │  tint: mask          │ Cardiomegaly  │
//! │  frames: boxes       │ ▇▇▇▇▇|▇▇  73 %│
//! │  tints, rings: where │ …             │
//! │  phrases look        │ sentences     │
//! │                      │ bundle, digest│
//! └──────────────────────┴───────────────┘
//! ```

mod canvas;
mod heat;
mod sentences;

use canvas::{Canvas, Colour, Weight};
use engine::Mask;
use heat::Place;
use image::{
    ExtendedColorType, ImageEncoder, ImageError, RgbImage,
    codecs::png::{CompressionType, FilterType, PngEncoder},
};
use radiograph::Image;
use results::{Finding, FoundBox, MaskSummary, Record};
use std::collections::VecDeque;

const GROUND: Colour = [11, 15, 20];
const LINE: Colour = [34, 48, 64];
const TEXT: Colour = [230, 237, 243];
const DIM: Colour = [139, 155, 171];
const POSITIVE: Colour = [255, 176, 32];
const NEGATIVE: Colour = [79, 140, 201];
/// One for each mask, in turn.
const MASKS: [Colour; 4] = [[45, 212, 191], [192, 132, 252], [250, 128, 114], [163, 230, 53]];

/// Draws everything on a canvas whose radiograph is `longer` pixels on its longer side. Of heat maps, that of `finding`,
/// or those of positive findings.
fn draw(
    picture: &Image<'_>,
    masks: &[Mask],
    report: &Record,
    longer: u32,
    finding: Option<&str>,
) -> Canvas {
    let scale = f64::from(longer) / picture.height.max(picture.width) as f64;
    let side = |pixels: usize| ((pixels as f64 * scale).round() as usize).max(1);
    let (height, width) = (side(picture.height), side(picture.width));
    let shown = picture.resize(height, width);
    let unit = (longer as f32 / 1024.0).max(0.45);
    let panel_width = (400.0 * unit) as usize;
    let total = height.max((560.0 * unit) as usize);
    let top = (total - height) / 2;

    let mut canvas = Canvas::new(width + panel_width, total, GROUND);
    for (y, row) in shown.to_gray8().chunks_exact(width).enumerate() {
        canvas.grey_row(top + y, row);
    }
    for (mask, colour) in masks.iter().zip(MASKS.into_iter().cycle()) {
        tint(&mut canvas, mask, colour, [top, height, width]);
    }
    let maps = heat::chosen(report, finding);
    let source = [picture.height, picture.width];
    heat::draw(&mut canvas, &maps, source, Place { top, height, width }, unit);
    for found in report.boxes.iter().flatten() {
        frame(&mut canvas, found, top, scale as f32, unit);
    }
    panel(&mut canvas, report, width as f32, panel_width as f32, unit);
    canvas
}

/// The overlay as a PNG file, with the heat map of `finding` alone if there is one.
pub(crate) fn png(
    picture: &Image<'_>,
    masks: &[Mask],
    report: &Record,
    longer: u32,
    finding: Option<&str>,
) -> Result<Vec<u8>, ImageError> {
    let canvas = draw(picture, masks, report, longer, finding);
    let mut bytes = Vec::new();
    PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, FilterType::Up).write_image(
        &canvas.pixels,
        canvas.width as u32,
        canvas.height as u32,
        ExtendedColorType::Rgb8,
    )?;
    Ok(bytes)
}

/// The overlay as pixels, for a Secondary Capture.
pub(crate) fn rgb(
    picture: &Image<'_>,
    masks: &[Mask],
    report: &Record,
    longer: u32,
) -> Option<RgbImage> {
    let Canvas { width, height, pixels } = draw(picture, masks, report, longer, None);
    RgbImage::from_raw(width as u32, height as u32, pixels)
}

/// Colours the mask's area and draws its edge.
fn tint(canvas: &mut Canvas, mask: &Mask, colour: Colour, [top, height, width]: [usize; 3]) {
    // Of the mask at the size of the picture: one row of bytes for each row of pixels.
    let columns: Vec<usize> = (0..width).map(|x| x * mask.width / width).collect();
    let row = |y: usize| {
        let y = y * mask.height / height;
        let row = &mask.data[y * mask.width..(y + 1) * mask.width];
        columns.iter().map(|&x| row[x] == 1).collect::<Vec<bool>>()
    };
    let (mut rows, mut known) = (VecDeque::from([row(0)]), 1);
    for y in 0..height {
        // From two above to two below.
        while known <= (y + 2).min(height - 1) {
            rows.push_back(row(known));
            known += 1;
        }
        if y > 2 {
            rows.pop_front();
        }
        let here = y.min(2);
        let (above, below) = (&rows[0], &rows[rows.len() - 1]);
        for (x, _) in rows[here].iter().enumerate().filter(|(_, inside)| **inside) {
            let (left, right) = (x.saturating_sub(2), (x + 2).min(width - 1));
            let is_edge = !(above[x] && below[x] && rows[here][left] && rows[here][right]);
            canvas.blend(x, top + y, colour, if is_edge { 0.9 } else { 0.22 });
        }
    }
}

/// A box with its name on a chip above it.
fn frame(canvas: &mut Canvas, found: &FoundBox, top: usize, scale: f32, unit: f32) {
    let (x, y) = (found.x * scale, found.y * scale + top as f32);
    let (width, height) = (found.width * scale, found.height * scale);
    canvas.outline(x, y, width, height, 3.0 * unit, POSITIVE);
    let text = format!("{} {:.0} %", found.name, found.score * 100.0);
    let size = 22.0 * unit;
    let chip = canvas::text_width(&text, size, Weight::Bold) + 12.0 * unit;
    let chip_top = if y >= size * 1.4 { y - size * 1.4 } else { y };
    canvas.fill(x, chip_top, chip, size * 1.4, POSITIVE, 1.0);
    canvas.text(x + 6.0 * unit, chip_top + size * 0.2, &text, size, Weight::Bold, GROUND);
}

/// Findings with bars, who says so, and what it may not be used for.
fn panel(canvas: &mut Canvas, report: &Record, left: f32, width: f32, unit: f32) {
    let (margin, bottom) = (26.0 * unit, canvas.height as f32);
    let (x, inner) = (left + margin, width - 2.0 * margin);
    canvas.fill(left, 0.0, unit.max(1.0), bottom, LINE, 1.0);
    let mut y = 22.0 * unit;
    canvas.text(x, y, "CXR EDGE", 26.0 * unit, Weight::Bold, TEXT);
    y += 36.0 * unit;
    let positive = report.findings.iter().filter(|f| f.positive).count();
    let (summary, colour) = match positive {
        0 if report.findings.is_empty() => ("no classification in this bundle".to_owned(), DIM),
        0 => ("no finding above its threshold".to_owned(), DIM),
        n => (format!("{n} of {} above threshold", report.findings.len()), POSITIVE),
    };
    canvas.text(x, y, &summary, 19.0 * unit, Weight::Regular, colour);
    y += 44.0 * unit;

    let masks = report.all_masks();
    let below = bottom - (20.0 + 27.0 * (3 + masks.len().max(1)) as f32) * unit;
    let footer = below - sentences::height(&report.nearest, inner, unit);
    let row = 52.0 * unit;
    let rows = ((footer - y) / row).max(0.0) as usize;
    let sorted = by_importance(&report.findings);
    let shown = if sorted.len() > rows { rows.saturating_sub(1) } else { sorted.len() };
    for finding in &sorted[..shown] {
        let phrases = report.heat_map(&finding.name).is_some();
        bar(canvas, finding, phrases, x, y, inner, unit);
        y += row;
    }
    if shown < sorted.len() {
        let text = format!("and {} more below threshold", sorted.len() - shown);
        canvas.text(x, y, &text, 17.0 * unit, Weight::Regular, DIM);
    }

    let digest = report.bundle.digest.get(..12).unwrap_or(&report.bundle.digest);
    let about =
        |m: &MaskSummary| format!("{} {:.1} % of the picture", m.name, m.area_fraction * 100.0);
    let masks = masks.iter().map(about).zip(MASKS.into_iter().cycle());
    let lines = [
        (format!("bundle {}", report.bundle.id), DIM),
        (format!("digest {digest}"), DIM),
        ("Unverified, not for diagnostic use".to_owned(), POSITIVE),
    ];
    let mut y = bottom - (12.0 + 27.0 * (3 + report.all_masks().len()) as f32) * unit;
    canvas.fill(x, below, inner, unit.max(1.0), LINE, 1.0);
    sentences::draw(canvas, &report.nearest, [x, footer], inner, unit);
    for (text, colour) in masks.chain(lines) {
        canvas.text(x, y, &text, 18.0 * unit, Weight::Regular, colour);
        y += 27.0 * unit;
    }
}

/// Positive ones first, then by probability.
fn by_importance(findings: &[Finding]) -> Vec<&Finding> {
    let mut sorted: Vec<_> = findings.iter().collect();
    sorted
        .sort_by(|a, b| b.positive.cmp(&a.positive).then(b.probability.total_cmp(&a.probability)));
    sorted
}

/// `phrases`: it was found by phrases.
fn bar(
    canvas: &mut Canvas,
    finding: &Finding,
    phrases: bool,
    x: f32,
    y: f32,
    width: f32,
    unit: f32,
) {
    let (weight, colour, fill) = if finding.positive {
        (Weight::Bold, TEXT, POSITIVE)
    } else {
        (Weight::Regular, DIM, NEGATIVE)
    };
    let size = 20.0 * unit;
    let percent = format!("{:.1} %", finding.probability * 100.0);
    let number = canvas::text_width(&percent, size, weight);
    let kind = if phrases { "zero-shot" } else { "" };
    let kind_width = canvas::text_width(kind, 0.75 * size, Weight::Regular);
    let room = width - number - kind_width - 18.0 * unit;
    let name = shortened(&finding.name, size, weight, room);
    canvas.text(x, y, &name, size, weight, colour);
    let beside = x + canvas::text_width(&name, size, weight) + 8.0 * unit;
    canvas.text(beside, y + 0.2 * size, kind, 0.75 * size, Weight::Regular, DIM);
    canvas.text(
        x + width - number,
        y,
        &percent,
        size,
        weight,
        if finding.positive { POSITIVE } else { DIM },
    );
    let (track, thick) = (y + 29.0 * unit, 7.0 * unit);
    canvas.fill(x, track, width, thick, LINE, 1.0);
    canvas.fill(x, track, width * finding.probability.clamp(0.0, 1.0), thick, fill, 1.0);
    let tick = x + width * finding.threshold.clamp(0.0, 1.0);
    canvas.fill(
        tick - unit,
        track - 3.0 * unit,
        (2.0 * unit).max(1.5),
        thick + 6.0 * unit,
        TEXT,
        1.0,
    );
}

fn shortened(name: &str, size: f32, weight: Weight, width: f32) -> String {
    let mut shown = name.replace('_', " ");
    while canvas::text_width(&shown, size, weight) > width && shown.chars().count() > 2 {
        shown = shown.chars().take(shown.chars().count() - 2).chain(['…']).collect();
    }
    shown
}

#[cfg(test)]
mod tests;
