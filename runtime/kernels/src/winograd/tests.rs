//! When the form is taken, and that each way to multiply is exact.

use super::WinogradKernels;
use super::plan::WinogradPlan;
use crate::case::{Case, random_spec};
use crate::random::Random;
use crate::spec::{ConvSpec, ConvWeights};
use crate::{Conv, Isa, Pool, Scratch, scalar};

/// All ways that this CPU has.
fn ways() -> impl Iterator<Item = (Isa, &'static WinogradKernels)> {
    Isa::available().into_iter().flat_map(|isa| isa.winograd().iter().map(move |way| (isa, way)))
}

fn spec(channels: usize) -> ConvSpec {
    ConvSpec {
        in_channels: channels,
        out_channels: 64,
        groups: 1,
        kernel: [3; 2],
        stride: [1; 2],
        padding: [1; 4],
        dilation: [1; 2],
        in_h: 28,
        in_w: 28,
        in_stride: channels,
        out_stride: 64,
    }
}

fn takes_the_form(
    way: &'static WinogradKernels,
    spec: &ConvSpec,
    weight: &[i8],
    bias: i32,
) -> bool {
    WinogradPlan::of(way, spec, &weights(weight, &vec![bias; 64])).is_some()
}

fn weights<'a>(weight: &'a [i8], bias: &'a [i32]) -> ConvWeights<'a> {
    const SCALE: &[f32] = &[3e-6; 64]; // sums of 2²⁵ become 100
    ConvWeights { weight, bias, scale: SCALE, x_zero: 0, y_zero: 100, lo: 0, hi: 255 }
}

#[test]
fn sets_that_gain_by_the_form_take_it_exactly_as_long_as_sums_fit() {
    // 64 · 255 · 127 · 9 · 115 < 2³¹, and 116 channels are too many.
    for (isa, way) in ways() {
        for (channels, fits) in [(115, true), (116, false)] {
            let weight = vec![127; 64 * channels * 9];
            assert_eq!(takes_the_form(way, &spec(channels), &weight, 0), fits, "{isa:?}");
            let weight: Vec<i8> = weight.iter().map(|w| -w).collect();
            assert_eq!(takes_the_form(way, &spec(channels), &weight, 0), fits, "{isa:?}");
        }
        let weight = vec![1; 64 * 64 * 9];
        let most = i32::MAX / 64 - 255 * 64 * 9;
        assert!(takes_the_form(way, &spec(64), &weight, most), "{isa:?}");
        assert!(!takes_the_form(way, &spec(64), &weight, most + 1), "{isa:?}");
    }
}

#[test]
fn the_largest_sums_that_fit_are_exact() {
    // Tiles of four outputs, of four and three, and of four and two.
    for (side, sign) in [(28, 1), (28, -1), (27, 1), (27, -1), (26, 1), (26, -1)] {
        let spec = ConvSpec { in_h: side, in_w: side, ..spec(115) };
        let x = vec![255; side * side * 115 + crate::SLACK];
        let weight = vec![127 * sign; 64 * 115 * 9];
        let weights = weights(&weight, &[0; 64]);
        let mut expected = vec![0; spec.out_pixels() * 64];
        scalar::conv(&spec, &weights, &x, None, &mut expected);
        for (isa, way) in ways() {
            let conv = Conv::pack_with(isa, (&[], Some(way)), &spec, weights, None);
            let conv = conv.expect("a convolution");
            let (pool, mut y) = (Pool::new(1), vec![0; expected.len()]);
            conv.run(&x, None, &mut y, &pool, &mut Scratch::with_bytes(conv.scratch_bytes(1)));
            assert_eq!(y, expected, "{isa:?}");
        }
    }
}

/// The integration tests ask the same of the best way only.
#[test]
#[cfg_attr(miri, ignore = "an interpreter has no instruction set that gains by the form")]
fn all_ways_equal_the_definition() {
    let pools = [Pool::new(1), Pool::new(3)];
    for seed in 0..120 {
        let random = &mut Random::new(9000 + seed);
        let mut spec = random_spec(random);
        (spec.groups, spec.kernel, spec.stride, spec.dilation) = (1, [3; 2], [1; 2], [1; 2]);
        (spec.in_h, spec.in_w) = (3 + random.below(30), 3 + random.below(30));
        (spec.in_channels, spec.out_channels) =
            (random.pick(&[32, 70]), random.pick(&[16, 50, 70]));
        (spec.in_stride, spec.out_stride) = (spec.in_channels, spec.out_channels);
        let case = Case::new(random, spec, seed % 3 == 0);
        for (isa, way) in ways() {
            let conv =
                Conv::pack_with(isa, (&[], Some(way)), &case.spec, case.weights(), case.residual);
            let how = if way.fused.is_some() { "between products" } else { "before products" };
            case.check_packed(&conv.expect("a valid convolution"), how, &pools[seed as usize % 2]);
        }
    }
}

/// What is written by assembly no sanitizer sees.
#[test]
#[cfg_attr(miri, ignore = "an interpreter has no instruction set that gains by the form")]
fn nothing_is_written_behind_the_scratch() {
    const BEHIND: usize = 1 << 16;
    for (threads, side) in [(1, 7), (2, 7), (1, 14), (2, 27), (3, 28), (1, 56)] {
        let spec = ConvSpec { in_h: side, in_w: side, ..spec(64) };
        let (x, weight) = (vec![200; side * side * 64 + crate::SLACK], vec![-3; 64 * 64 * 9]);
        let (pool, mut y) = (Pool::new(threads), vec![0; spec.out_pixels() * 64]);
        for (isa, way) in ways() {
            let weights = weights(&weight, &[0; 64]);
            let conv = Conv::pack_with(isa, (&[], Some(way)), &spec, weights, None);
            let conv = conv.expect("a convolution");
            let needed = conv.scratch_bytes(threads);
            let mut scratch = Scratch::with_bytes(needed + BEHIND);
            conv.run(&x, None, &mut y, &pool, &mut scratch);
            assert!(scratch.0[needed..].iter().all(|byte| *byte == 0), "{isa:?}, {side}");
        }
    }
}
