//! The matrices of the transforms, each applied to one column.

use super::{PATCH, SIDE, Vector};

/// `S G` times a column of weights.
///
/// # Safety
/// See [`Vector`].
#[inline(always)]
pub(super) unsafe fn weight_column<V: Vector>([a, b, c]: [V; 3]) -> [V; PATCH] {
    // SAFETY: as this function demands.
    unsafe {
        let ends = a.add16(c);
        let (far, twice) = (a.add16(c.quadruple16()), b.double16());
        [a, ends.add16(b), ends.sub16(b), far.add16(twice), far.sub16(twice), c]
    }
}

/// `Bᵀ` times a column of inputs.
///
/// # Safety
/// See [`Vector`].
#[inline(always)]
pub(super) unsafe fn input_column<V: Vector>(d: [V; PATCH]) -> [V; PATCH] {
    // SAFETY: as this function demands.
    unsafe {
        let even = d[4].sub16(d[2].quadruple16());
        let odd = d[3].sub16(d[1].quadruple16());
        let (inner, slope) = (d[4].sub16(d[2]), d[3].sub16(d[1]).double16());
        [
            even.add16(d[0].quadruple16()).sub16(d[2]),
            even.add16(odd),
            even.sub16(odd),
            inner.add16(slope),
            inner.sub16(slope),
            d[5].sub16(odd).sub16(d[3].quadruple16()),
        ]
    }
}

/// The same for a short tile, whose last two inputs do not count: [`LONG_ONLY`] is left out. The other points are those of
/// F(2, 3), with factors that let it use the weights of F(4, 3), and the same fold of zero point and bias.
///
/// # Safety
/// See [`Vector`].
#[inline(always)]
pub(super) unsafe fn short_input_column<V: Vector>(d: [V; PATCH]) -> [V; PATCH] {
    // SAFETY: as this function demands.
    unsafe {
        let (sum, difference) = (d[1].add16(d[2]), d[1].sub16(d[2]));
        let none = V::zero();
        [
            d[0].sub16(d[2]),
            none.sub16(sum.add16(sum.double16())),
            difference.add16(difference.double16()),
            none,
            none,
            d[3].sub16(d[1]),
        ]
    }
}

/// `Aᵀ 24/S` times a column of sums, each row divided by what its entries have in common: 1, 2, 4, 4. What is left of 24
/// is then three times a power of two, see [`POWERS`].
///
/// # Safety
/// See [`Vector`].
#[inline(always)]
pub(super) unsafe fn output_column<V: Vector>(m: [V; PATCH]) -> [V; SIDE] {
    // SAFETY: as this function demands.
    unsafe {
        let (p, q) = (m[1].add32(m[2]), m[1].sub32(m[2]));
        let (r, s) = (m[3].add32(m[4]), m[3].sub32(m[4]));
        [
            r.add32(m[0].sub32(p).double32().add32(m[0]).double32()),
            s.sub32(q.double32()),
            r.sub32(p),
            s.add32(triple(m[5])).double32().sub32(q),
        ]
    }
}

/// The same for a short tile: six times its outputs.
///
/// # Safety
/// See [`Vector`].
#[inline(always)]
pub(super) unsafe fn short_output_column<V: Vector>(m: [V; PATCH]) -> [V; SIDE] {
    // SAFETY: as this function demands.
    unsafe {
        let none = V::zero();
        [
            triple(m[0]).double32().sub32(m[1].add32(m[2])),
            triple(m[5]).double32().add32(m[2].sub32(m[1])),
            none,
            none,
        ]
    }
}

/// # Safety
/// See [`Vector`].
#[inline(always)]
unsafe fn triple<V: Vector>(m: V) -> V {
    // SAFETY: as this function demands.
    unsafe { m.add32(m.double32()) }
}

/// Exponents of two in 24, 12, 6 and 6, and that in the 6 of a short tile.
pub(super) const POWERS: [i32; SIDE] = [3, 2, 1, 1];
pub(super) const SHORT_POWER: i32 = 1;
