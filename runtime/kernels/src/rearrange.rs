//! Copies between two orders of axes: transposed tokens, windows of an image, slices, concatenations.

use crate::eltwise::Rows;
use crate::lookup::Lookup;
use crate::memory::Pool;
use crate::spec::SpecError;

/// One axis of a copy: how many values, and bytes from one to the next on each side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyAxis {
    pub len: usize,
    pub x: usize,
    pub y: usize,
}

/// `y[y_first + Σ i·axis.y] = x[x_first + Σ i·axis.x]` for every index `i`, perhaps through a table.
#[derive(Debug, Clone)]
pub struct Rearrange {
    /// Outermost in `y` first.
    axes: Vec<CopyAxis>,
    first: [usize; 2],
    /// Bytes that the slices must have.
    bytes: [usize; 2],
    table: Option<Lookup>,
}

impl Rearrange {
    /// `first` are the places of the first value in `x` and `y`. No two values may go to one place.
    pub fn new(
        axes: &[CopyAxis],
        first: [usize; 2],
        table: Option<Lookup>,
    ) -> Result<Self, SpecError> {
        let mut axes: Vec<CopyAxis> = axes.iter().filter(|axis| axis.len != 1).copied().collect();
        if axes.iter().any(|axis| axis.len == 0) {
            return Err(SpecError::Zero { what: "axis of a copy" });
        }
        axes.sort_by_key(|axis| std::cmp::Reverse(axis.y));
        let mut reach = [0_usize; 2];
        for axis in axes.iter().rev() {
            if axis.y <= reach[1] {
                return Err(SpecError::Overlap { what: "a copy" });
            }
            for (reach, step) in reach.iter_mut().zip([axis.x, axis.y]) {
                let furthest =
                    (axis.len - 1).checked_mul(step).and_then(|far| far.checked_add(*reach));
                *reach = furthest
                    .filter(|far| *far < isize::MAX as usize / 2)
                    .ok_or(SpecError::TooLarge { what: "axis of a copy" })?;
            }
        }
        let bytes = [0, 1].map(|side| first[side].saturating_add(reach[side]).saturating_add(1));
        Ok(Self { axes: merged(&axes), first, bytes, table })
    }

    /// # Panics
    /// If a slice is too short.
    pub fn run(&self, x: &[u8], y: &mut [u8], pool: &Pool) {
        let (x, y) =
            (&x[..self.bytes[0]][self.first[0]..], &mut y[..self.bytes[1]][self.first[1]..]);
        let [outer, inner @ ..] = &self.axes[..] else { return self.copy(&[], x, y) };
        if inner.is_empty() {
            return self.copy(&self.axes, x, y);
        }
        pool.split_rows(y, outer.len, outer.y, |part, y| {
            for (at, y) in part.zip(y.chunks_mut(outer.y)) {
                self.copy(inner, &x[at * outer.x..], y);
            }
        });
    }

    fn copy(&self, axes: &[CopyAxis], x: &[u8], y: &mut [u8]) {
        let through = |q: u8| self.table.as_ref().map_or(q, |table| table.of(q));
        match *axes {
            [CopyAxis { len, x: 1, y: 1 }] => match &self.table {
                None => y[..len].copy_from_slice(&x[..len]),
                Some(table) => {
                    let rows = Rows { pixels: 1, channels: len, x_stride: len, y_stride: len };
                    table.pixels(&rows, 1, x, y);
                }
            },
            [CopyAxis { len, x: 0, y: 1 }] => y[..len].fill(through(x[0])),
            [CopyAxis { len, x: 1, y: 2 }, CopyAxis { len: 2, x: apart, y: 1 }] => {
                let y = &mut y[..2 * len];
                let in_turns = x[..len].iter().zip(&x[apart..][..len]);
                let (pairs, _) = y.as_chunks_mut::<2>();
                pairs.iter_mut().zip(in_turns).for_each(|(y, (a, b))| *y = [*a, *b]);
                if let Some(table) = &self.table {
                    table.bytes(y);
                }
            }
            [axis] => (0..axis.len).for_each(|at| y[at * axis.y] = through(x[at * axis.x])),
            [outer, ref inner @ ..] => {
                for at in 0..outer.len {
                    self.copy(inner, &x[at * outer.x..], &mut y[at * outer.y..]);
                }
            }
            [] => y[0] = through(x[0]),
        }
    }
}

/// Axes that lie together on both sides, as one.
fn merged(axes: &[CopyAxis]) -> Vec<CopyAxis> {
    let mut merged: Vec<CopyAxis> = Vec::new();
    for axis in axes {
        match merged.last_mut() {
            Some(last) if (last.x, last.y) == (axis.x * axis.len, axis.y * axis.len) => {
                *last = CopyAxis { len: last.len * axis.len, ..*axis };
            }
            _ => merged.push(*axis),
        }
    }
    merged
}
