//! Winograd's products of a row of points with four tiles at a time, whose weights are transformed on the way.
//!
//! Transformed weights are eight times the network's bytes: where few tiles share them, to write them and
//! read them back costs as much as to multiply. Here they never leave the registers. `vpdpwssd` runs on two
//! of the processor's four units; the additions that make the next step's weights run on the others
//! meanwhile, one between two products. Left to itself the processor does not overlap them (Zen 4: 24
//! products of 2 x 16 channels with all that makes their weights take 24 to 25 cycles so, and 28 to 34 where
//! one follows the other).
//!
//! ```text
//! zmm0…23   sums, [point][tile]
//! zmm24…29  a step's weights at points 0, 5, 1, 2, 3, 4
//! zmm30     the middle column of the next step's
//! zmm31     on its way
//! ```

use std::arch::asm;
use std::mem::offset_of;

use crate::winograd::fused::{FusedProducts, FusedRow, SHAPES};

/// What goes into one of the 24 places between the products, to make a step's weights: the three columns,
/// five places each, of which some stay empty, then what combines them. See `weight_column` in
/// `winograd/matrices.rs`.
#[rustfmt::skip]
macro_rules! weight_slot {
    ($row:ident, 0) => { weight_entry!($row, 0, "24", "0", "30") };
    ($row:ident, 1) => { weight_entry!($row, 1, "24", "0", "30") };
    ($row:ident, 2) => { weight_entry!($row, 2, "24", "0", "30") };
    ($row:ident, 3) => { weight_entry!($row, 3, "24", "0", "30") };
    ($row:ident, 5) => { weight_entry!($row, 0, "25", "2", "30") };
    ($row:ident, 6) => { weight_entry!($row, 1, "25", "2", "30") };
    ($row:ident, 7) => { weight_entry!($row, 2, "25", "2", "30") };
    ($row:ident, 8) => { weight_entry!($row, 3, "25", "2", "30") };
    ($row:ident, 10) => { weight_entry!($row, 0, "30", "1", "26") };
    ($row:ident, 11) => { weight_entry!($row, 1, "30", "1", "26") };
    ($row:ident, 12) => { weight_entry!($row, 2, "30", "1", "26") };
    ($row:ident, 13) => { weight_entry!($row, 3, "30", "1", "26") };
    // a, a + c ± b, a + 4c ± 2b, c
    ($row:ident, 15) => { "vpaddw zmm26, zmm24, zmm25" };
    ($row:ident, 16) => { "vpsubw zmm27, zmm26, zmm30" };
    ($row:ident, 17) => { "vpaddw zmm26, zmm26, zmm30" };
    ($row:ident, 18) => { "vpaddw zmm28, zmm25, zmm25" };
    ($row:ident, 19) => { "vpaddw zmm30, zmm30, zmm30" };
    ($row:ident, 20) => { "vpaddw zmm28, zmm28, zmm28" };
    ($row:ident, 21) => { "vpaddw zmm28, zmm28, zmm24" };
    ($row:ident, 22) => { "vpsubw zmm29, zmm28, zmm30" };
    ($row:ident, 23) => { "vpaddw zmm28, zmm28, zmm30" };
    ($row:ident, $n:literal) => { "" };
}

/// A row's entry of column `at`, by up to four instructions, to a register; another is free until the column is done.
#[rustfmt::skip]
macro_rules! weight_entry {
    // The first and the last row are a column's first and last tap, a and c. Their first groups have time to
    // leave a + c and a + 4c behind for the other rows, which then need only b.
    (top, 0, $to:literal, $at:literal, $free:literal) => { load_tap!($to, $at, "0") };
    (bottom, 0, $to:literal, $at:literal, $free:literal) => { load_tap!($to, $at, "192") };
    (first_top, 0, $to:literal, $at:literal, $free:literal) => { load_tap!($to, $at, "0") };
    (first_top, 1, $to:literal, $at:literal, $free:literal) => { load_tap!("31", $at, "192") };
    (first_top, 2, $to:literal, $at:literal, $free:literal) => {
        concat!("vpaddw zmm31, zmm31, zmm", $to, "\nvmovdqa64 ", saved_entry!($at, "0"), ", zmm31")
    };
    (first_bottom, 0, $to:literal, $at:literal, $free:literal) => { load_tap!($to, $at, "192") };
    (first_bottom, 1, $to:literal, $at:literal, $free:literal) => { load_tap!("31", $at, "0") };
    (first_bottom, 2, $to:literal, $at:literal, $free:literal) => {
        concat!("vpsllw zmm", $free, ", zmm", $to, ", 2")
    };
    (first_bottom, 3, $to:literal, $at:literal, $free:literal) => {
        concat!("vpaddw zmm31, zmm31, zmm", $free, "\nvmovdqa64 ", saved_entry!($at, "192"), ", zmm31")
    };
    (plus, 0, $to:literal, $at:literal, $free:literal) => { load_tap!($to, $at, "96") };
    (plus, 1, $to:literal, $at:literal, $free:literal) => {
        concat!("vpaddw zmm", $to, ", zmm", $to, ", ", saved_entry!($at, "0"))
    };
    (minus, 0, $to:literal, $at:literal, $free:literal) => { load_tap!("31", $at, "96") };
    (minus, 1, $to:literal, $at:literal, $free:literal) => {
        concat!("vmovdqa64 zmm", $to, ", ", saved_entry!($at, "0"))
    };
    (minus, 2, $to:literal, $at:literal, $free:literal) => {
        concat!("vpsubw zmm", $to, ", zmm", $to, ", zmm31")
    };
    (far_plus, 0, $to:literal, $at:literal, $free:literal) => { load_tap!($to, $at, "96") };
    (far_plus, 1, $to:literal, $at:literal, $free:literal) => {
        concat!("vpaddw zmm", $to, ", zmm", $to, ", zmm", $to)
    };
    (far_plus, 2, $to:literal, $at:literal, $free:literal) => {
        concat!("vpaddw zmm", $to, ", zmm", $to, ", ", saved_entry!($at, "192"))
    };
    (far_minus, 0, $to:literal, $at:literal, $free:literal) => { load_tap!("31", $at, "96") };
    (far_minus, 1, $to:literal, $at:literal, $free:literal) => { "vpaddw zmm31, zmm31, zmm31" };
    (far_minus, 2, $to:literal, $at:literal, $free:literal) => {
        concat!("vmovdqa64 zmm", $to, ", ", saved_entry!($at, "192"))
    };
    (far_minus, 3, $to:literal, $at:literal, $free:literal) => {
        concat!("vpsubw zmm", $to, ", zmm", $to, ", zmm31")
    };
    ($row:ident, $n:literal, $to:literal, $at:literal, $free:literal) => { "" };
}

/// A tap of column `at`: a, b and c are 96 bytes apart.
macro_rules! load_tap {
    ($to:literal, $at:literal, $tap:literal) => {
        concat!("vpmovsxbw zmm", $to, ", ymmword ptr [{g} + 32*", $at, " + ", $tap, "]")
    };
}

/// What is left behind of column `at`.
macro_rules! saved_entry {
    ($at:literal, $which:literal) => {
        concat!("zmmword ptr [{u} + 64*", $at, " + ", $which, "]")
    };
}

/// The products of a point with four tiles, as many as have it, and between them what is given.
macro_rules! point_products {
    (
        [$a:literal $b:literal $c:literal $d:literal], $weights:literal, $tiles:literal, $inputs:literal $(,)?
        $($first:expr, $second:expr, $third:expr, $fourth:expr)?
    ) => {
        concat!(
            tile_product!($a, $weights, $tiles, "0", $inputs), $($first, "\n",)?
            tile_product!($b, $weights, $tiles, "1", $inputs), $($second, "\n",)?
            tile_product!($c, $weights, $tiles, "2", $inputs), $($third, "\n",)?
            tile_product!($d, $weights, $tiles, "3", $inputs), $($fourth, "\n",)?
        )
    };
}

#[rustfmt::skip]
macro_rules! tile_product {
    ($sums:literal, $weights:literal, $tiles:literal, $tile:literal, $inputs:literal) => {
        concat!(
            ".if {", $tiles, "} > ", $tile, "\n",
            "vpdpwssd zmm", $sums, ", zmm", $weights, ", dword ptr [{x", $tile, "}", $inputs, "]{{1to16}}\n",
            ".endif\n",
        )
    };
}

/// A step's products at all points but the first, whose weights are used up first, and 20 of the 24
/// instructions for the next step's weights.
macro_rules! step_products {
    ($row:ident) => {
        concat!(
            point_products!(["20" "21" "22" "23"], "25", "ALL", " + {five}", weight_slot!($row, 0), weight_slot!($row, 1), weight_slot!($row, 2), weight_slot!($row, 3)),
            point_products!(["4" "5" "6" "7"], "26", "ALL", " + {one}", weight_slot!($row, 4), weight_slot!($row, 5), weight_slot!($row, 6), weight_slot!($row, 7)),
            point_products!(["8" "9" "10" "11"], "27", "ALL", " + 2*{one}", weight_slot!($row, 8), weight_slot!($row, 9), weight_slot!($row, 10), weight_slot!($row, 11)),
            point_products!(["12" "13" "14" "15"], "28", "THREE", " + {thrice}", weight_slot!($row, 12), weight_slot!($row, 13), weight_slot!($row, 14), weight_slot!($row, 15)),
            point_products!(["16" "17" "18" "19"], "29", "FOUR", " + 4*{one}", weight_slot!($row, 16), weight_slot!($row, 17), weight_slot!($row, 18), weight_slot!($row, 19)),
        )
    };
}

/// A tile's sums of all points.
#[rustfmt::skip]
macro_rules! store_tile {
    ($tile:literal, $at:literal, [$a:literal $b:literal $c:literal $d:literal $e:literal $f:literal]) => {
        concat!(
            ".if {ALL} > ", $tile, "\n",
            "mov {x0}, [{group} + ", $at, "]\n",
            "add {x0}, [{row} + {M}]\n",
            "vmovdqa64 [{x0}], zmm", $a, "\n",
            "vmovdqa64 [{x0} + 128], zmm", $b, "\n",
            "vmovdqa64 [{x0} + 256], zmm", $c, "\n",
            "vmovdqa64 [{x0} + 384], zmm", $d, "\n",
            "vmovdqa64 [{x0} + 512], zmm", $e, "\n",
            "vmovdqa64 [{x0} + 640], zmm", $f, "\n",
            ".endif",
        )
    };
}

macro_rules! zero_registers {
    ($($sums:literal)*) => { concat!($("vpxord zmm", $sums, ", zmm", $sums, ", zmm", $sums, "\n",)*) };
}

macro_rules! fused_row {
    ($row:ident) => {{
        /// # Safety
        /// See [`FusedRow`]; the CPU has AVX-512 F, BW, VL and VNNI.
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
        unsafe fn row<const ALL: usize, const THREE: usize, const FOUR: usize>(row: &FusedRow) {
            // SAFETY: `FusedRow` documents the ranges in which inputs, weights and what is saved are read, and sums
            // written; the caller vouches for it and for the CPU.
            unsafe {
                asm!(
                    // The first step's weights: for later groups they are made while the last step of the one
                    // before is multiplied.
                    concat!(
                        weight_slot!($row, 0), "\n", weight_slot!($row, 1), "\n", weight_slot!($row, 2), "\n",
                        weight_slot!($row, 3), "\n", weight_slot!($row, 4), "\n", weight_slot!($row, 5), "\n",
                        weight_slot!($row, 6), "\n", weight_slot!($row, 7), "\n", weight_slot!($row, 8), "\n",
                        weight_slot!($row, 9), "\n", weight_slot!($row, 10), "\n", weight_slot!($row, 11), "\n",
                        weight_slot!($row, 12), "\n", weight_slot!($row, 13), "\n", weight_slot!($row, 14), "\n",
                        weight_slot!($row, 15), "\n", weight_slot!($row, 16), "\n", weight_slot!($row, 17), "\n",
                        weight_slot!($row, 18), "\n", weight_slot!($row, 19), "\n", weight_slot!($row, 20), "\n",
                        weight_slot!($row, 21), "\n", weight_slot!($row, 22), "\n", weight_slot!($row, 23), "\n",
                    ),
                    "3:",
                    "mov {u}, [{row} + {BIAS}]",
                    "vmovdqu64 zmm4, [{u}]",
                    "vmovdqa64 zmm5, zmm4",
                    "vmovdqa64 zmm6, zmm4",
                    "vmovdqa64 zmm7, zmm4",
                    zero_registers!("0" "1" "2" "3" "8" "9" "10" "11" "12" "13" "14" "15" "16" "17" "18" "19" "20" "21" "22" "23"),
                    "mov {x0}, [{group}]",
                    "mov {x1}, [{group} + 8]",
                    "mov {x2}, [{group} + 16]",
                    "mov {x3}, [{group} + 24]",
                    "add {x0}, [{row} + {V}]",
                    "add {x1}, [{row} + {V}]",
                    "add {x2}, [{row} + {V}]",
                    "add {x3}, [{row} + {V}]",
                    point_products!(["0" "1" "2" "3"], "24", "ALL", ""),
                    "mov {u}, [{row} + {U}]",
                    "mov {g}, [{row} + {G}]",
                    "mov {steps}, [{row} + {STEPS}]",
                    "add {u}, 384",
                    "add {g}, 288",
                    "dec {steps}",
                    // Of each step the other points, then the next step's first point.
                    "2:",
                    step_products!($row),
                    point_products!(
                        ["0" "1" "2" "3"], "24", "ALL", " + 4",
                        weight_slot!($row, 20), weight_slot!($row, 21), weight_slot!($row, 22), weight_slot!($row, 23)
                    ),
                    "add {u}, 384",
                    "add {g}, 288",
                    "add {x0}, 4",
                    "add {x1}, 4",
                    "add {x2}, 4",
                    "add {x3}, 4",
                    "prefetcht1 [{ahead}]",
                    "add {ahead}, [{row} + {FURTHER}]",
                    "dec {steps}",
                    "jnz 2b",
                    "mov {u}, [{row} + {U}]",
                    "mov {g}, [{row} + {G}]",
                    step_products!($row),
                    weight_slot!($row, 20),
                    weight_slot!($row, 21),
                    weight_slot!($row, 22),
                    weight_slot!($row, 23),
                    store_tile!("0", "32", ["0" "4" "8" "12" "16" "20"]),
                    store_tile!("1", "40", ["1" "5" "9" "13" "17" "21"]),
                    store_tile!("2", "48", ["2" "6" "10" "14" "18" "22"]),
                    store_tile!("3", "56", ["3" "7" "11" "15" "19" "23"]),
                    "add {group}, 64",
                    "cmp {group}, [{row} + {END}]",
                    "jne 3b",
                    row = in(reg) row,
                    group = inout(reg) row.groups => _,
                    u = inout(reg) row.u => _,
                    g = inout(reg) row.g => _,
                    steps = out(reg) _,
                    ahead = inout(reg) row.ahead => _,
                    x0 = out(reg) _, x1 = out(reg) _, x2 = out(reg) _, x3 = out(reg) _,
                    one = in(reg) row.plane, thrice = in(reg) 3 * row.plane, five = in(reg) 5 * row.plane,
                    ALL = const ALL, THREE = const THREE, FOUR = const FOUR,
                    V = const offset_of!(FusedRow, v),
                    G = const offset_of!(FusedRow, g),
                    U = const offset_of!(FusedRow, u),
                    M = const offset_of!(FusedRow, m),
                    STEPS = const offset_of!(FusedRow, steps),
                    BIAS = const offset_of!(FusedRow, bias),
                    FURTHER = const offset_of!(FusedRow, further),
                    END = const offset_of!(FusedRow, end),
                    out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _, out("zmm4") _, out("zmm5") _,
                    out("zmm6") _, out("zmm7") _, out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _,
                    out("zmm12") _, out("zmm13") _, out("zmm14") _, out("zmm15") _, out("zmm16") _, out("zmm17") _,
                    out("zmm18") _, out("zmm19") _, out("zmm20") _, out("zmm21") _, out("zmm22") _, out("zmm23") _,
                    out("zmm24") _, out("zmm25") _, out("zmm26") _, out("zmm27") _, out("zmm28") _, out("zmm29") _,
                    out("zmm30") _, out("zmm31") _,
                    options(nostack),
                );
            }
        }
        let shapes: [unsafe fn(&FusedRow); SHAPES] = [
            row::<1, 1, 1>, row::<2, 2, 1>, row::<2, 2, 2>, row::<3, 3, 3>, row::<4, 3, 3>, row::<4, 4, 2>, row::<4, 4, 4>,
        ];
        shapes
    }};
}

pub(crate) const PRODUCTS: FusedProducts = FusedProducts {
    shapes: [[1, 1, 1], [2, 2, 1], [2, 2, 2], [3, 3, 3], [4, 3, 3], [4, 4, 2], [4, 4, 4]],
    first: [fused_row!(first_top), fused_row!(first_bottom)],
    rows: [
        fused_row!(top),
        fused_row!(plus),
        fused_row!(minus),
        fused_row!(far_plus),
        fused_row!(far_minus),
        fused_row!(bottom),
    ],
};
