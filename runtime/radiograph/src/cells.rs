//! What a file holds for each pixel, 8 or 16 bits, and the grey it is shown with.
//!
//! Cells stay where they are, in the file's bytes where those are not compressed, and are looked up row by row: a
//! picture of nine megapixels in f32 would be 36 MB. Rows pass through a buffer of u16 that the first cache holds.

use std::{borrow::Cow, ops::Range};

/// Cells of one frame, row by row.
#[derive(Clone, Debug)]
pub(crate) enum Cells<'a> {
    Bytes(Cow<'a, [u8]>),
    /// Pairs of bytes, the lower one first.
    Little(Cow<'a, [u8]>),
    /// Pairs of bytes, the higher one first.
    Big(Cow<'a, [u8]>),
    Words(Vec<u16>),
}

impl Cells<'_> {
    /// Pairs of bytes in this machine's own order.
    pub(crate) fn native_pairs(bytes: Vec<u8>) -> Self {
        if cfg!(target_endian = "big") {
            Self::Big(bytes.into())
        } else {
            Self::Little(bytes.into())
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Little(bytes) | Self::Big(bytes) => bytes.len() / 2,
            Self::Words(words) => words.len(),
        }
    }

    /// Different values a cell can have.
    pub(crate) fn kinds(&self) -> usize {
        if matches!(self, Self::Bytes(_)) { BYTES } else { WORDS }
    }

    pub(crate) fn at(&self, place: usize) -> u16 {
        let mut cell = [0];
        self.copy(place, &mut cell);
        cell[0]
    }

    /// Those from `first` on.
    pub(crate) fn copy(&self, first: usize, to: &mut [u16]) {
        let all = first..first + to.len();
        match self {
            Self::Bytes(bytes) => {
                to.iter_mut().zip(&bytes[all]).for_each(|(to, byte)| *to = (*byte).into());
            }
            Self::Little(bytes) => {
                let pairs = pairs(bytes, all);
                to.iter_mut().zip(pairs).for_each(|(to, pair)| *to = u16::from_le_bytes(*pair));
            }
            Self::Big(bytes) => {
                let pairs = pairs(bytes, all);
                to.iter_mut().zip(pairs).for_each(|(to, pair)| *to = u16::from_be_bytes(*pair));
            }
            Self::Words(words) => to.copy_from_slice(&words[all]),
        }
    }

    /// Bits of a cell.
    pub(crate) fn width(&self) -> u32 {
        if matches!(self, Self::Bytes(_)) { u8::BITS } else { u16::BITS }
    }

    /// The bits that are set in any of them.
    pub(crate) fn all_bits(&self) -> u16 {
        let mut all = 0;
        self.each_part(|part| all |= part.iter().fold(0, |all, cell| all | cell));
        all
    }

    /// The values that occur.
    pub(crate) fn found(&self) -> impl Iterator<Item = u16> {
        let mut found = vec![false; self.kinds()];
        let mask = found.len() - 1; // a power of two
        self.each_part(|part| part.iter().for_each(|cell| found[usize::from(*cell) & mask] = true));
        (0..=u16::MAX).zip(found).filter(|(_, found)| *found).map(|(value, _)| value)
    }

    /// Calls `look` with all of them, part by part.
    pub(crate) fn each_part(&self, mut look: impl FnMut(&[u16])) {
        let mut part = [0; PART];
        for first in (0..self.len()).step_by(PART) {
            let part = &mut part[..PART.min(self.len() - first)];
            self.copy(first, part);
            look(part);
        }
    }

    /// Without the file's bytes.
    pub(crate) fn into_owned(self) -> Cells<'static> {
        let own = |bytes: Cow<'_, [u8]>| Cow::Owned(bytes.into_owned());
        match self {
            Self::Bytes(bytes) => Cells::Bytes(own(bytes)),
            Self::Little(bytes) => Cells::Little(own(bytes)),
            Self::Big(bytes) => Cells::Big(own(bytes)),
            Self::Words(words) => Cells::Words(words),
        }
    }
}

fn pairs(bytes: &[u8], cells: Range<usize>) -> &[[u8; 2]] {
    &bytes.as_chunks().0[cells]
}

const PART: usize = 2048;
const BYTES: usize = 1 << 8;
const WORDS: usize = 1 << 16;

/// What each value of a cell is shown as.
#[derive(Clone, Debug)]
pub(crate) enum Table {
    Bytes(Box<[f32; BYTES]>),
    Words(Box<[f32; WORDS]>),
}

impl Table {
    /// One entry for each value that `cells` can have.
    pub(crate) fn of(cells: &Cells<'_>, entry: impl Fn(usize) -> f32) -> Self {
        let entries = (0..cells.kinds()).map(entry).collect::<Box<[f32]>>();
        match entries.try_into() {
            Ok(bytes) => Self::Bytes(bytes),
            Err(words) => Self::Words(words.try_into().expect("there are two kinds of cells")),
        }
    }

    pub(crate) fn entries(&self) -> &[f32] {
        match self {
            Self::Bytes(entries) => entries.as_slice(),
            Self::Words(entries) => entries.as_slice(),
        }
    }

    pub(crate) fn look_up(&self, cells: &[u16], shown: &mut [f32]) {
        match self {
            Self::Bytes(entries) => look_up(entries, cells, shown),
            Self::Words(entries) => look_up(entries, cells, shown),
        }
    }
}

/// The mask costs nothing where N is all that 16 bits can say, and a check of bounds elsewhere.
fn look_up<const N: usize>(entries: &[f32; N], cells: &[u16], shown: &mut [f32]) {
    for (shown, cell) in shown.iter_mut().zip(cells) {
        *shown = entries[usize::from(*cell) & (N - 1)];
    }
}

/// How many cells are in each bin.
pub(crate) struct Histogram {
    /// The bin of each value.
    bins: Vec<u16>,
    /// Neighbours often are in the same bin: in counters of their own they need not wait for each other.
    counts: Vec<[u32; LANES]>,
}

const LANES: usize = 4;

impl Histogram {
    /// `bin` is that of a grey.
    pub(crate) fn new(table: &Table, bins: usize, bin: impl Fn(f32) -> usize) -> Self {
        let bin = |grey: &f32| bin(*grey) as u16;
        let bins_of_values = table.entries().iter().map(bin).collect();
        Self { bins: bins_of_values, counts: vec![[0; LANES]; bins] }
    }

    pub(crate) fn add(&mut self, cells: &[u16]) {
        let Self { bins, counts } = self;
        let mask = bins.len() - 1; // a power of two
        let mut count = |cell: u16, lane: usize| {
            counts[usize::from(bins[usize::from(cell) & mask])][lane] += 1;
        };
        let (lanes, rest) = cells.as_chunks::<LANES>();
        for cells in lanes {
            cells.iter().zip(0..).for_each(|(cell, lane)| count(*cell, lane));
        }
        rest.iter().for_each(|cell| count(*cell, 0));
    }

    pub(crate) fn totals(&self) -> Vec<usize> {
        self.counts.iter().map(|lanes| lanes.iter().map(|count| *count as usize).sum()).collect()
    }
}
