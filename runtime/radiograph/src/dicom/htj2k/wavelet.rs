//! Bands → samples: the inverse wavelets (T.800 annex F), one resolution after the other.
//!
//! Each has a fixed order of operations, and the real one has no fused ones: the same bits on every processor.

use super::tile::{Area, Band};
use std::{mem, slice};

/// A coefficient of one of the two wavelets.
pub(super) trait Coefficient: Copy + Default {
    /// How often a value takes something from its neighbours; first those at even places.
    const STEPS: usize;

    /// From what a block has: a magnitude in halves, and a sign.
    fn from_block(sample: u32, step: f32) -> Self;

    /// Weighs a band, which is of high frequencies or not, across and down; `alone` sides are one sample
    /// long, and nothing was taken apart.
    fn weigh(band: &mut [Self], high: [bool; 2], alone: [bool; 2]);

    /// What a sample that is alone in its row or column is, where its place is that of high frequencies.
    fn halve(values: &mut [Self]);

    /// One step for each value and the two on its sides.
    fn step(number: usize, values: &mut [Self], before: &[Self], after: &[Self]);
}

/// The reversible 5/3.
impl Coefficient for i32 {
    const STEPS: usize = 2;

    fn from_block(sample: u32, _: f32) -> Self {
        let magnitude = (sample << 1 >> 2) as Self;
        if sample >> 31 == 1 { -magnitude } else { magnitude }
    }

    fn weigh(_: &mut [Self], _: [bool; 2], _: [bool; 2]) {}

    fn halve(values: &mut [Self]) {
        values.iter_mut().for_each(|value| *value >>= 1);
    }

    #[inline(always)]
    fn step(number: usize, values: &mut [Self], before: &[Self], after: &[Self]) {
        let around = values.iter_mut().zip(before.iter().zip(after));
        match number {
            0 => around.for_each(|(value, (a, b))| {
                *value = value.wrapping_sub(a.wrapping_add(*b).wrapping_add(2) >> 2);
            }),
            _ => around.for_each(|(value, (a, b))| {
                *value = value.wrapping_add(a.wrapping_add(*b) >> 1);
            }),
        }
    }
}

/// The irreversible 9/7.
impl Coefficient for f32 {
    const STEPS: usize = 4;

    fn from_block(sample: u32, step: f32) -> Self {
        let magnitude = (sample & !super::coded::SIGN) as Self * (0.5 * step);
        if sample >> 31 == 1 { -magnitude } else { magnitude }
    }

    fn weigh(band: &mut [Self], high: [bool; 2], alone: [bool; 2]) {
        const K: f32 = 1.230_174_1;
        let weight = |side: usize| match (alone[side], high[side]) {
            (true, _) => 1.0,
            (false, false) => K,
            (false, true) => 1.0 / K,
        };
        if high[0] == high[1] || alone[0] || alone[1] {
            let weight = weight(0) * weight(1); // of the others it is 1
            band.iter_mut().for_each(|value| *value *= weight);
        }
    }

    fn halve(values: &mut [Self]) {
        values.iter_mut().for_each(|value| *value *= 0.5);
    }

    #[inline(always)]
    fn step(number: usize, values: &mut [Self], before: &[Self], after: &[Self]) {
        const FACTORS: [f32; 4] = [0.443_506_85, 0.882_911_1, -0.052_980_12, -1.586_134_3];
        let factor = FACTORS[number];
        for (value, (a, b)) in values.iter_mut().zip(before.iter().zip(after)) {
            *value -= factor * (*a + *b);
        }
    }
}

/// A band with its coefficients, row by row.
pub(super) struct Filled<'a, C> {
    pub(super) band: &'a Band,
    pub(super) values: Vec<C>,
}

/// Rows that wait for those below them: each step is a row behind the one before it.
const WAITING: usize = 8;

/// The samples of a resolution from those of the one below, which has the low frequencies, and its bands:
/// high across, high down and high both ways. `finished` gets them row by row.
pub(super) fn join<C: Coefficient>(
    area: Area,
    low: Vec<C>,
    [across, down, both]: [Filled<'_, C>; 3],
    mut finished: impl FnMut(usize, &[C]),
) {
    let (width, height) = (area.width(), area.height());
    if width == 0 {
        return;
    }
    let alone = [width == 1, height == 1];
    let bands = [
        (low, [false, false]),
        (across.values, across.band.high),
        (down.values, down.band.high),
        (both.values, both.band.high),
    ];
    let [mut low, mut across, mut down, mut both] = bands.map(|(mut values, high)| {
        C::weigh(&mut values, high, alone);
        if alone[0] && high[0] {
            C::halve(&mut values);
        }
        values
    });
    let odd = [area.left % 2 == 1, area.top % 2 == 1];
    let high_width = (width + usize::from(odd[0])) / 2;
    let low_width = width - high_width;
    let mut waiting = [(); WAITING].map(|()| vec![C::default(); width]);
    for row in 0..height + C::STEPS {
        if row < height {
            let is_high = (row % 2 == 1) != odd[1];
            let (low, high) =
                if is_high { (&mut down, &mut both) } else { (&mut low, &mut across) };
            let low = &mut low[row / 2 * low_width..][..low_width];
            let high = &mut high[row / 2 * high_width..][..high_width];
            join_row(low, high, odd[0], &mut waiting[row % WAITING]);
        }
        for number in 0..C::STEPS {
            let Some(at) = row.checked_sub(1 + number).filter(|at| *at < height) else { continue };
            let is_even = (at % 2 == 0) != odd[1];
            if height > 1 && is_even == (number % 2 == 0) {
                // Beyond the edge, the picture is mirrored.
                let before = at.checked_sub(1).unwrap_or(at + 1);
                let after = if at + 1 < height { at + 1 } else { at - 1 };
                let mut values = mem::take(&mut waiting[at % WAITING]);
                let [before, after] = [before, after].map(|row| &waiting[row % WAITING]);
                C::step(number, &mut values, before, after);
                waiting[at % WAITING] = values;
            }
        }
        if let Some(at) = row.checked_sub(C::STEPS) {
            let values = &mut waiting[at % WAITING];
            if alone[1] && odd[1] {
                C::halve(values);
            }
            finished(at, values);
        }
    }
}

/// One row from its low and high frequencies. `is_odd` tells whether it begins with a high one.
fn join_row<C: Coefficient>(low: &mut [C], high: &mut [C], is_odd: bool, row: &mut [C]) {
    if row.len() > 1 {
        for number in 0..C::STEPS {
            match number % 2 {
                0 => step_across(number, low, high, !is_odd),
                _ => step_across(number, high, low, is_odd),
            }
        }
    }
    let (first, second) = if is_odd { (high, low) } else { (low, high) };
    let (pairs, last) = row.as_chunks_mut();
    for ([a, b], (first, second)) in pairs.iter_mut().zip(first.iter().zip(&*second)) {
        (*a, *b) = (*first, *second);
    }
    if let ([place], Some(last)) = (last, first.last()) {
        *place = *last;
    }
}

/// One step of every other value; the ones between are `others`. `is_first` tells whose is the first place.
fn step_across<C: Coefficient>(number: usize, values: &mut [C], others: &[C], is_first: bool) {
    let (Some(first), Some(last)) = (others.first(), others.last()) else { return };
    let mut values = values;
    if is_first {
        let Some((value, rest)) = values.split_first_mut() else { return };
        C::step(number, slice::from_mut(value), &[*first], &[*first]);
        values = rest;
    }
    let between = values.len().min(others.len() - 1);
    let (values, end) = values.split_at_mut(between);
    C::step(number, values, others, &others[1..]);
    C::step(number, end, &[*last], &[*last]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One line as T.800 takes it apart, in places `start ..` of the whole: each step in f64, mirrored.
    fn apart(line: &mut [f64], start: usize, is_reversible: bool) {
        let count = line.len();
        if count == 1 {
            line[0] *= if start % 2 == 1 { 2.0 } else { 1.0 };
            return;
        }
        let factors: &[f64] = match is_reversible {
            true => &[-0.5, 0.25],
            false => &[-1.586_134_342_06, -0.052_980_118_57, 0.882_911_075_53, 0.443_506_852_04],
        };
        for (number, factor) in factors.iter().enumerate() {
            for at in (0..count).filter(|at| (start + at + number) % 2 == 1) {
                let before = if at == 0 { line[1] } else { line[at - 1] };
                let after = if at + 1 == count { line[at - 1] } else { line[at + 1] };
                let taken = factor * (before + after);
                line[at] += match (is_reversible, number) {
                    (false, _) => taken,
                    (true, 0) => -(-taken).floor(),
                    (true, _) => (taken + 0.5).floor(),
                };
            }
        }
        if !is_reversible {
            const K: f64 = 1.230_174_104_91;
            for (at, value) in line.iter_mut().enumerate() {
                *value *= if (start + at) % 2 == 1 { K } else { 1.0 / K };
            }
        }
    }

    /// The picture, and the four bands it was taken apart into.
    fn taken_apart(area: Area, is_reversible: bool) -> (Vec<f64>, [(Area, Vec<f64>); 4]) {
        let (width, height) = (area.width(), area.height());
        let picture: Vec<_> = (0..width * height)
            .map(|at| f64::from((at * at * 7919 % 2003) as u32) - 900.0)
            .collect();
        let mut mixed = picture.clone();
        for x in 0..width {
            let mut column: Vec<_> = (0..height).map(|y| mixed[y * width + x]).collect();
            apart(&mut column, area.top as usize, is_reversible);
            (0..height).for_each(|y| mixed[y * width + x] = column[y]);
        }
        for row in mixed.chunks_mut(width) {
            apart(row, area.left as usize, is_reversible);
        }
        let bands = [[0, 0], [1, 0], [0, 1], [1, 1]].map(|high: [u32; 2]| {
            let of = |start: u32, end: u32, high| (start..end).filter(move |at| at % 2 == high);
            let values = of(area.top, area.bottom, high[1])
                .flat_map(|y| of(area.left, area.right, high[0]).map(move |x| (x, y)))
                .map(|(x, y)| mixed[(y - area.top) as usize * width + (x - area.left) as usize])
                .collect();
            (area, values)
        });
        (picture, bands)
    }

    fn joined<C: Coefficient>(
        area: Area,
        bands: [(Area, Vec<f64>); 4],
        to: fn(f64) -> C,
    ) -> Vec<C> {
        let high = [[false, false], [true, false], [false, true], [true, true]];
        let kinds = high.map(|high| Band { area, high, planes: 0, step: 1.0 });
        let [low, across, down, both] =
            bands.map(|(_, values)| values.into_iter().map(to).collect());
        let filled = |at: usize, values| Filled { band: &kinds[at], values };
        let mut rows = Vec::new();
        let high = [filled(1, across), filled(2, down), filled(3, both)];
        join(area, low, high, |_, row| rows.extend_from_slice(row));
        rows
    }

    fn areas() -> impl Iterator<Item = Area> {
        let sizes = [1, 2, 3, 4, 5, 8, 13];
        (0..4).flat_map(move |corner| {
            sizes.into_iter().flat_map(move |width| {
                sizes.into_iter().map(move |height| {
                    let (left, top) = (corner % 2 + 10, corner / 2 + 6);
                    Area { left, top, right: left + width, bottom: top + height }
                })
            })
        })
    }

    #[test]
    fn what_the_reversible_wavelet_took_apart_is_joined_exactly() {
        for area in areas() {
            let (picture, bands) = taken_apart(area, true);
            let found = joined(area, bands, |value| value as i32);
            assert!(found.into_iter().map(f64::from).eq(picture), "{area:?}");
        }
    }

    #[test]
    fn what_the_irreversible_wavelet_took_apart_is_joined_to_a_thousandth() {
        for area in areas() {
            let (picture, bands) = taken_apart(area, false);
            let found = joined(area, bands, |value| value as f32);
            assert_eq!(found.len(), picture.len());
            let far = found.into_iter().zip(picture).map(|(a, b)| (f64::from(a) - b).abs());
            assert!(far.fold(0.0, f64::max) < 1e-3, "{area:?}");
        }
    }
}
