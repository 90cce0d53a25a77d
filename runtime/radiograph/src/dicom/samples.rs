//! Samples of one frame as its decoder left them.

use super::pixel_layout::PixelLayout;
use crate::cells::Cells;
use std::borrow::Cow;

/// Samples, of which none is masked or given its sign yet: [`Self::value`] does.
pub(crate) struct Samples<'a> {
    pub(crate) store: Store<'a>,
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
    pub(crate) fn decoded(layout: &PixelLayout, cells: Cells<'a>) -> Self {
        let store = Store::Cells(cells);
        Self { store, shift: 0, planar: false, has_luma: layout.has_luma() }
    }

    /// Uncompressed cells, as the layout says.
    pub(crate) fn native(layout: &PixelLayout, bytes: Cow<'a, [u8]>, big_endian: bool) -> Self {
        let store = match (layout.allocated, big_endian) {
            (8, _) => Store::Cells(Cells::Bytes(bytes)),
            (16, false) => Store::Cells(Cells::Little(bytes)),
            (16, true) => Store::Cells(Cells::Big(bytes)),
            (_, big_endian) => Store::Quads { bytes, big_endian },
        };
        Self { store, shift: layout.shift, planar: layout.planar, has_luma: layout.has_luma() }
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
