//! The matrices of the transforms, each applied to one column.

use super::vector::Vector;
use super::{PATCH, SIDE};

/// `S G` times a column of weights.
///
/// # Safety
/// See [`Vector`].
#[inline(always)]
pub(super) unsafe fn weight_column<V: Vector>([a, b, c]: [V; 3]) -> [V; PATCH] {
    // SAFETY: registers only; the CPU is the caller's promise.
    unsafe {
        let ends = a.add16(c);
        let (far, twice) = (a.add16(c.quadruple16()), b.double16());
        [a, ends.add16(b), ends.sub16(b), far.add16(twice), far.sub16(twice), c]
    }
}

/// `Bᵀ` times a column of inputs, for a tile of `OUTPUTS`, which has two more inputs. For three outputs: `2 −1 −2 1`,
/// `3·(−2 −1 1)` from the second input on, `2 −3 1`, `−1 0 1`, `2 −1 −2 1`.
///
/// # Safety
/// See [`Vector`].
#[inline(always)]
pub(super) unsafe fn input_column<V: Vector, const OUTPUTS: usize>(d: [V; PATCH]) -> [V; PATCH] {
    // SAFETY: registers only; the CPU is the caller's promise.
    unsafe {
        let none = V::zero();
        match OUTPUTS {
            2 => {
                let (sum, difference) = (d[1].add16(d[2]), d[1].sub16(d[2]));
                [
                    d[0].sub16(d[2]),
                    none.sub16(sum.add16(sum.double16())),
                    difference.add16(difference.double16()),
                    none,
                    none,
                    d[3].sub16(d[1]),
                ]
            }
            3 => {
                let (up, down) = (d[3].sub16(d[1]), d[2].sub16(d[1]).double16());
                let one = up.sub16(d[1]).sub16(d[2]);
                [
                    up.add16(d[0].sub16(d[2]).double16()),
                    one.add16(one.double16()),
                    d[3].sub16(d[2]).sub16(down),
                    up,
                    none,
                    d[4].sub16(d[2]).sub16(up.double16()),
                ]
            }
            _ => {
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
    }
}

/// `Aᵀ` times a column of sums: `3 · 2^power` times the outputs, see [`power`]. For four outputs: `Aᵀ 24/S`, each row
/// divided by what its entries have in common: 1, 2, 4, 4. For three: `3 −1 −1 1`, `0 −1 1 2`, `0 −1 −1 4 6`.
///
/// # Safety
/// See [`Vector`].
#[inline(always)]
pub(super) unsafe fn output_column<V: Vector, const OUTPUTS: usize>(m: [V; PATCH]) -> [V; SIDE] {
    // SAFETY: registers only; the CPU is the caller's promise.
    unsafe {
        let none = V::zero();
        let (p, q) = (m[1].add32(m[2]), m[1].sub32(m[2]));
        match OUTPUTS {
            2 => [triple(m[0]).double32().sub32(p), triple(m[5]).double32().sub32(q), none, none],
            3 => {
                let twice = m[3].double32();
                [
                    triple(m[0]).add32(m[3]).sub32(p),
                    twice.sub32(q),
                    twice.add32(triple(m[5])).double32().sub32(p),
                    none,
                ]
            }
            _ => {
                let (r, s) = (m[3].add32(m[4]), m[3].sub32(m[4]));
                [
                    r.add32(m[0].sub32(p).double32().add32(m[0]).double32()),
                    s.sub32(q.double32()),
                    r.sub32(p),
                    s.add32(triple(m[5])).double32().sub32(q),
                ]
            }
        }
    }
}

/// # Safety
/// See [`Vector`].
#[inline(always)]
unsafe fn triple<V: Vector>(m: V) -> V {
    // SAFETY: registers only; the CPU is the caller's promise.
    unsafe { m.add32(m.double32()) }
}

/// The power of two in what an output of [`output_column`] is multiplied by: 24, 12, 6 and 6 for four
/// outputs, 6 for fewer.
pub(super) const fn power(outputs: usize, at: usize) -> i32 {
    match (outputs, at) {
        (4, 0) => 3,
        (4, 1) => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A single number, which counts instead of wrapping around.
    impl Vector for i64 {
        const WORDS: usize = 1;
        unsafe fn zero() -> Self {
            0
        }
        unsafe fn from_u8(_: *const u8) -> Self {
            unreachable!("columns read nothing")
        }
        unsafe fn from_i8(_: *const i8) -> Self {
            unreachable!("columns read nothing")
        }
        unsafe fn load(_: *const i32) -> Self {
            unreachable!("columns read nothing")
        }
        unsafe fn store(self, _: *mut i32) {
            unreachable!("columns write nothing")
        }
        unsafe fn add16(self, other: Self) -> Self {
            self + other
        }
        unsafe fn sub16(self, other: Self) -> Self {
            self - other
        }
        unsafe fn double16(self) -> Self {
            2 * self
        }
        unsafe fn quadruple16(self) -> Self {
            4 * self
        }
        unsafe fn add32(self, other: Self) -> Self {
            self + other
        }
        unsafe fn sub32(self, other: Self) -> Self {
            self - other
        }
        unsafe fn double32(self) -> Self {
            2 * self
        }
        unsafe fn times32(self, factor: i32) -> Self {
            self * Self::from(factor)
        }
        unsafe fn shift_right32<const BITS: i32>(self) -> Self {
            self >> BITS
        }
    }

    fn unit(at: usize) -> [i64; PATCH] {
        std::array::from_fn(|i| i64::from(i == at))
    }

    /// `Bᵀ` by rows, of the points that tiles of so many outputs have.
    fn inputs(outputs: usize) -> Vec<[i64; PATCH]> {
        // SAFETY: numbers need no instruction set.
        let column = |at| unsafe {
            match outputs {
                2 => input_column::<i64, 2>(unit(at)),
                3 => input_column::<i64, 3>(unit(at)),
                _ => input_column::<i64, 4>(unit(at)),
            }
        };
        let columns: [_; PATCH] = std::array::from_fn(column);
        let points = (0..PATCH).filter(|point| crate::winograd::has(outputs, *point));
        points.map(|point| columns.map(|column| column[point])).collect()
    }

    #[test]
    fn transformed_inputs_fit_16_bits() {
        let mut most = 0;
        let rows: Vec<_> = [2, 3, 4].into_iter().flat_map(inputs).collect();
        for down in &rows {
            for across in &rows {
                let products = down.iter().flat_map(|d| across.map(|a| d * a));
                let [plus, minus] =
                    [1, -1].map(|sign| products.clone().map(|p| (sign * p).max(0)).sum::<i64>());
                most = most.max(255 * plus.max(minus));
            }
        }
        assert_eq!(most, 22_950); // as the module's documentation says
    }

    #[test]
    fn a_constant_added_to_all_inputs_is_seen_at_the_centre_only() {
        for outputs in [2, 3, 4] {
            for (point, row) in inputs(outputs).iter().enumerate() {
                assert_eq!(row.iter().sum::<i64>(), if point == 1 { -6 } else { 0 }, "{outputs}");
            }
        }
    }

    #[test]
    fn columns_convolve() {
        let (inputs, [a, b, c]) = ([3, -50, 7, 111, -2, 90], [-9, 40, 23]);
        for outputs in [2, 3, 4] {
            // SAFETY: numbers need no instruction set.
            let sums = unsafe {
                let weights = weight_column([a, b, c]);
                let times = |inputs: [i64; PATCH]| std::array::from_fn(|i| inputs[i] * weights[i]);
                match outputs {
                    2 => output_column::<i64, 2>(times(input_column::<i64, 2>(inputs))),
                    3 => output_column::<i64, 3>(times(input_column::<i64, 3>(inputs))),
                    _ => output_column::<i64, 4>(times(input_column::<i64, 4>(inputs))),
                }
            };
            for at in 0..outputs {
                let expected = a * inputs[at] + b * inputs[at + 1] + c * inputs[at + 2];
                assert_eq!(sums[at], 3 * (expected << power(outputs, at)), "{outputs} at {at}");
            }
        }
    }
}
