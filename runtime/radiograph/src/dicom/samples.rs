//! Samples of one frame as its decoder left them.

use super::pixel_layout::PixelLayout;
use crate::cells::Cells;
use std::borrow::Cow;

/// Samples, of which none is masked or given its sign yet: [`Self::value`] does.
pub(crate) struct Samples<'a> {
    pub(crate) store: Store<'a>,
    /// Bits of a sample, which for compressed ones may be more than the header says.
    pub(crate) stored: u32,
    /// Where in its cell a sample begins.
    pub(crate) shift: u32,
    /// Colour planes one after the other, instead of samples side by side.
    pub(crate) planar: bool,
    /// The first of three samples is luma, not red.
    pub(crate) has_luma: bool,
}

/// Where the bits of each sample are.
pub(crate) enum Store<'a> {
    Cells(Cells<'a>),
    /// Four bytes a sample.
    Quads {
        bytes: Cow<'a, [u8]>,
        big_endian: bool,
    },
}

impl<'a> Samples<'a> {
    /// Of a compressed picture: in the lowest bits, side by side.
    ///
    /// A stream says itself what its samples are. JPEG has 12 bits where the header says 10, and a lossy
    /// one may go beyond 10: without the highest bits white would be black.
    pub(crate) fn decoded(layout: &PixelLayout, cells: Cells<'a>) -> Self {
        let used = || u16::BITS - cells.all_bits().leading_zeros();
        let cannot_have_more = layout.signed || layout.stored >= cells.width();
        let stored = if cannot_have_more { layout.stored } else { layout.stored.max(used()) };
        let store = Store::Cells(cells);
        Self { store, stored, shift: 0, planar: false, has_luma: layout.has_luma() }
    }

    /// Uncompressed cells, as the layout says.
    pub(crate) fn native(layout: &PixelLayout, bytes: Cow<'a, [u8]>, big_endian: bool) -> Self {
        let store = match (layout.allocated, big_endian) {
            (8, _) => Store::Cells(Cells::Bytes(bytes)),
            (16, false) => Store::Cells(Cells::Little(bytes)),
            (16, true) => Store::Cells(Cells::Big(bytes)),
            (_, big_endian) => Store::Quads { bytes, big_endian },
        };
        let PixelLayout { stored, shift, planar, .. } = *layout;
        Self { store, stored, shift, planar, has_luma: layout.has_luma() }
    }

    /// A bit of the picture that BitsStored and HighBit leave out, as far as the picture tells.
    ///
    /// What cells hold besides samples is no part of it: once it was overlays. But where it carries the
    /// samples on, or the picture fits below them, the header is wrong.
    pub(crate) fn lost_bit(&self, layout: &PixelLayout) -> Option<u32> {
        let whole = u32::MAX >> (32 - self.width());
        let sample = (u32::MAX >> (32 - self.stored)) << self.shift & whole;
        if sample == whole {
            return None;
        }
        let above = whole & !sample & !((1 << self.shift) - 1);
        let negative = above | 1 << (self.shift + self.stored - 1);
        // What extends the sign is no stranger.
        let stray = |cell: u32| {
            let extends_sign = layout.signed && cell & negative == negative;
            cell & !sample & !(if extends_sign { above } else { 0 })
        };
        let (all, common) = self.bits_of_all(whole, stray);
        // A bit that is alike in all cells says nothing.
        let stray = all & !common;
        let is_lost = match stray & above {
            0 => stray != 0 && (0..self.len()).all(|at| self.bits(at) >> self.stored == 0),
            _ => self.goes_on_above(layout),
        };
        is_lost.then(|| stray.ilog2())
    }

    /// Whether what stands above the samples carries them on.
    ///
    /// Where a picture leaves the range of its samples, those jump to its other end and the whole cells
    /// go on. Where an overlay begins, the whole cells jump.
    fn goes_on_above(&self, layout: &PixelLayout) -> bool {
        let (unused, step) = (32 - self.width(), if self.planar { 1 } else { layout.samples });
        let whole = |at| match layout.signed {
            true => i64::from((self.bits(at) << unused) as i32 >> unused),
            false => self.bits(at).into(),
        };
        let sample = |at| i64::from(layout.value(self.bits(at) >> self.shift)) << self.shift;
        let (mut borders, mut carried_on) = (0, 0);
        for (here, before) in (step..self.len()).map(|at| (at, at - step)) {
            let [whole, sample] =
                [whole(here) - whole(before), sample(here) - sample(before)].map(i64::abs);
            borders += usize::from(whole != sample);
            carried_on += usize::from(whole < sample);
        }
        carried_on > borders / 8
    }

    pub(crate) fn len(&self) -> usize {
        match &self.store {
            Store::Cells(cells) => cells.len(),
            Store::Quads { bytes, .. } => bytes.len() / 4,
        }
    }

    /// The value of a sample; `at` counts samples side by side.
    pub(crate) fn value(&self, layout: &PixelLayout, at: usize) -> i32 {
        let pixels = layout.rows * layout.columns;
        let at = match self.planar && layout.is_colour() {
            true => at % layout.samples * pixels + at / layout.samples,
            false => at,
        };
        layout.value(self.bits(at) >> self.shift)
    }

    /// Values in their order, colour samples side by side.
    pub(crate) fn values(&self, layout: &PixelLayout) -> impl Iterator<Item = i32> {
        (0..self.len()).map(|at| self.value(layout, at))
    }

    /// Cells of at most 16 bits with the samples' bits, and where in them a sample begins. For samples of at most 16 bits.
    pub(crate) fn narrow(self) -> (Cells<'a>, u32) {
        let Self { store: Store::Cells(cells), shift, .. } = self else {
            let words = (0..self.len()).map(|at| (self.bits(at) >> self.shift) as u16);
            return (Cells::Words(words.collect()), 0);
        };
        (cells, shift)
    }

    /// Bits of a cell.
    fn width(&self) -> u32 {
        match &self.store {
            Store::Cells(cells) => cells.width(),
            Store::Quads { .. } => u32::BITS,
        }
    }

    /// The bits that `of` any cell sets, and those of `whole` that it sets of each.
    fn bits_of_all(&self, whole: u32, of: impl Fn(u32) -> u32) -> (u32, u32) {
        let joined = |(any, each): (u32, u32), cell: u32| (any | of(cell), each & of(cell));
        match &self.store {
            Store::Cells(cells) => {
                let mut found = (0, whole);
                cells.each_part(|part| {
                    found = part.iter().copied().map(u32::from).fold(found, joined);
                });
                found
            }
            Store::Quads { .. } => (0..self.len()).map(|at| self.bits(at)).fold((0, whole), joined),
        }
    }

    fn bits(&self, at: usize) -> u32 {
        match &self.store {
            Store::Cells(cells) => cells.at(at).into(),
            Store::Quads { bytes, big_endian } => {
                let bytes = bytes.as_chunks().0[at];
                if *big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
            }
        }
    }
}
