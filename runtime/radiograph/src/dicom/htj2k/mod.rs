//! HTJ2K, the JPEG 2000 of high throughput (T.814): its own coder of blocks in the codestreams, packets and
//! wavelets of T.800.
//!
//! ```text
//! codestream   bytes → how it is coded (`coding`), the bytes of each tile
//! tile         how a tile is cut, down to its code-blocks      packets   bytes → what each block has
//! block        bytes of a block → coefficients                 wavelet   coefficients → samples
//! ```
//!
//! Whatever is missing is refused: every packet of every layer must be there, and each block whole.

mod bits;
mod block;
mod coded;
mod codes;
mod codestream;
mod coding;
mod header_bits;
mod packets;
mod refine;
mod tag_tree;
mod tile;
mod wavelet;

use super::jpeg2000::{Head, Part};
use crate::RadiographError;
use coded::Coded;
use codestream::Codestream;
use std::borrow::Cow;
use tile::{Area, Resolution, TileComponent};
use wavelet::{Coefficient, Filled};

/// As [`Head::decode`], of an HTJ2K stream.
pub(super) fn decode(head: &Head<'_>) -> Result<Vec<u16>, RadiographError> {
    let Head { parts, stream, .. } = head;
    let precisions: Vec<_> = parts.iter().map(|part| part.precision).collect();
    let stream = Codestream::parse(stream, &precisions)?;
    let [left, top, right, bottom] = stream.picture;
    let picture = Area { left, top, right, bottom };
    let samples = vec![0; picture.width() * picture.height() * parts.len()];
    let mut canvas = Canvas { samples, picture, parts };
    for (at, bytes) in stream.tiles.iter().enumerate() {
        let area = tile::area(&stream, at);
        let bytes = match bytes[..] {
            [] => return Err(damaged(format!("tile {at} is missing"))),
            [one] => Cow::Borrowed(one),
            _ => Cow::Owned(bytes.concat()),
        };
        let mut components = tile::cut(&stream, area, bytes.len())?;
        packets::read(&stream, &mut components, &bytes)?;
        if stream.is_colour {
            canvas.draw_colours(&stream, area, components)?;
            continue;
        }
        for (part, (cut, component)) in components.into_iter().zip(&stream.components).enumerate() {
            let is_causal = component.coding.is_causal;
            if component.coding.is_reversible {
                each_row(cut, is_causal, |row, values| canvas.whole(area, part, row, values))?;
            } else {
                each_row(cut, is_causal, |row, values| canvas.real(area, part, row, values))?;
            }
        }
    }
    Ok(canvas.samples)
}

/// Where the samples of all tiles go.
struct Canvas<'a> {
    samples: Vec<u16>,
    picture: Area,
    parts: &'a [Part],
}

impl Canvas<'_> {
    fn whole(&mut self, tile: Area, part: usize, row: usize, values: &[i32]) {
        let kind = self.parts[part];
        self.place(tile, part, row, values.iter().map(|value| kind.whole(*value)));
    }

    fn real(&mut self, tile: Area, part: usize, row: usize, values: &[f32]) {
        let kind = self.parts[part];
        let half = (1u32 << (kind.precision - 1)) as f32;
        self.place(tile, part, row, values.iter().map(|value| kind.sample(value + half)));
    }

    fn place(&mut self, tile: Area, part: usize, row: usize, samples: impl Iterator<Item = u16>) {
        let row = (tile.top - self.picture.top) as usize + row;
        let start = row * self.picture.width() + (tile.left - self.picture.left) as usize;
        let places = &mut self.samples[start * self.parts.len() + part..];
        match self.parts.len() {
            1 => places.iter_mut().zip(samples).for_each(|(place, sample)| *place = sample),
            step => places
                .iter_mut()
                .step_by(step)
                .zip(samples)
                .for_each(|(place, sample)| *place = sample),
        }
    }

    /// A tile whose first three components are one lightness and two differences.
    fn draw_colours(
        &mut self,
        stream: &Codestream<'_>,
        tile: Area,
        components: Vec<TileComponent<'_>>,
    ) -> Result<(), RadiographError> {
        let coding = &stream.components[0].coding;
        let width = tile.width();
        if coding.is_reversible {
            let mut planes = planes(components, coding.is_causal)?;
            mix_whole(&mut planes);
            for (part, plane) in planes.iter().enumerate() {
                let rows = plane.chunks(width).enumerate();
                rows.for_each(|(row, values)| self.whole(tile, part, row, values));
            }
        } else {
            let mut planes = planes(components, coding.is_causal)?;
            mix_real(&mut planes);
            for (part, plane) in planes.iter().enumerate() {
                let rows = plane.chunks(width).enumerate();
                rows.for_each(|(row, values)| self.real(tile, part, row, values));
            }
        }
        Ok(())
    }
}

/// All components of a tile.
fn planes<C: Coefficient>(
    components: Vec<TileComponent<'_>>,
    is_causal: bool,
) -> Result<Vec<Vec<C>>, RadiographError> {
    let plane = |cut| {
        let mut plane = Vec::new();
        each_row(cut, is_causal, |_, values: &[C]| plane.extend_from_slice(values))?;
        Ok(plane)
    };
    components.into_iter().map(plane).collect()
}

/// Calls `finished` with each row of a component.
fn each_row<C: Coefficient>(
    cut: TileComponent<'_>,
    is_causal: bool,
    mut finished: impl FnMut(usize, &[C]),
) -> Result<(), RadiographError> {
    let mut scratch = Vec::new();
    let mut samples = Vec::new();
    let highest = cut.resolutions.len() - 1;
    for (at, resolution) in cut.resolutions.into_iter().enumerate() {
        let mut bands = Vec::with_capacity(3);
        for band in 0..resolution.bands.len() {
            bands.push(filled(&resolution, band, is_causal, &mut scratch)?);
        }
        let area = resolution.area;
        match <[_; 3]>::try_from(bands) {
            Ok(bands) if at == highest => wavelet::join(area, samples, bands, &mut finished),
            Ok(bands) => {
                let mut joined = Vec::with_capacity(area.width() * area.height());
                wavelet::join(area, samples, bands, |_, row| joined.extend_from_slice(row));
                samples = joined;
                continue;
            }
            Err(lowest) => {
                samples = lowest.into_iter().flat_map(|only| only.values).collect();
                if at == highest {
                    let rows = samples.chunks(area.width().max(1)).enumerate();
                    rows.for_each(|(row, values)| finished(row, values));
                }
                continue;
            }
        }
        return Ok(());
    }
    Ok(())
}

/// The coefficients of a band.
fn filled<'a, C: Coefficient>(
    resolution: &'a Resolution<'_>,
    at: usize,
    is_causal: bool,
    scratch: &mut Vec<u32>,
) -> Result<Filled<'a, C>, RadiographError> {
    let band = &resolution.bands[at];
    let width = band.area.width();
    let mut values = vec![C::default(); width * band.area.height()];
    let blocks = resolution.precincts.iter().flat_map(|precinct| &precinct.parts[at].blocks);
    for block in blocks.filter(|block| block.passes > 0) {
        let Area { left, top, .. } = block.area;
        let coded = Coded {
            width: block.area.width(),
            height: block.area.height(),
            planes: band.planes,
            missing: block.missing,
            passes: block.passes,
            cleanup: block.cleanup,
            refinement: &block.refinement,
            is_causal,
        };
        block::decode(&coded, scratch).map_err(|what| {
            damaged(format!("the block at {left}, {top} of a band of width {width} {what}"))
        })?;
        let [left, top] = [left - band.area.left, top - band.area.top].map(|at| at as usize);
        for (row, samples) in scratch.chunks(coded.stride()).take(coded.height).enumerate() {
            let start = (top + row) * width + left;
            let places = &mut values[start..start + coded.width];
            for (place, sample) in places.iter_mut().zip(samples) {
                *place = C::from_block(*sample, band.step);
            }
        }
    }
    Ok(Filled { band, values })
}

/// Red, green and blue from lightness and two differences (T.800 annex G), as the 5/3 has them.
fn mix_whole(planes: &mut [Vec<i32>]) {
    let [first, second, third, ..] = planes else { return };
    for ((a, b), c) in first.iter_mut().zip(second).zip(third) {
        let green = a.wrapping_sub(b.wrapping_add(*c) >> 2);
        (*a, *b, *c) = (c.wrapping_add(green), green, b.wrapping_add(green));
    }
}

/// As [`mix_whole`], as the 9/7 has them.
fn mix_real(planes: &mut [Vec<f32>]) {
    let [first, second, third, ..] = planes else { return };
    for ((a, b), c) in first.iter_mut().zip(second).zip(third) {
        let green = *a - 0.344_136_3 * *b - 0.714_136_3 * *c;
        (*a, *b, *c) = (*a + 1.402 * *c, green, *a + 1.772 * *b);
    }
}

fn damaged(reason: impl Into<String>) -> RadiographError {
    RadiographError::Decode { format: "HTJ2K", reason: reason.into() }
}
