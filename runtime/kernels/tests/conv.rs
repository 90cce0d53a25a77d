//! Every instruction set of this machine gives the bits of the scalar definition, for any shape and any threads.

#[path = "support/case.rs"]
mod case;
#[path = "support/random.rs"]
mod random;

use case::{Case, random_spec, square};
use kernels::{Conv, ConvSpec, ConvWeights, Isa, Pool, SpecError, scalar};
use random::Random;

/// Under an emulator or an interpreter fewer shapes must do.
fn cases() -> u64 {
    std::env::var("KERNELS_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(240)
}

#[test]
fn random_convolutions_equal_the_definition() {
    let pools = [Pool::new(1), Pool::new(3)];
    for seed in 0..cases() {
        let random = &mut Random::new(seed);
        let spec = random_spec(random);
        let with_residual = random.below(2) == 0;
        let case = Case::new(random, spec, with_residual);
        for isa in Isa::available() {
            case.check(isa, &pools[seed as usize % 2]);
        }
    }
}

#[test]
fn depthwise_convolutions_equal_the_definition() {
    let pools = [Pool::new(1), Pool::new(2)];
    for seed in 0..cases() / 4 {
        let random = &mut Random::new(1000 + seed);
        let mut spec = random_spec(random);
        let channels = random.pick(&[1, 3, 8, 16, 17, 24, 32, 63, 64, 96, 144]);
        (spec.groups, spec.in_channels, spec.out_channels) = (channels, channels, channels);
        (spec.in_stride, spec.out_stride) =
            (channels + random.below(3), channels + random.below(3));
        let with_residual = random.below(4) == 0;
        let case = Case::new(random, spec, with_residual);
        for isa in Isa::available() {
            case.check(isa, &pools[seed as usize % 2]);
        }
    }
}

/// What may run as Winograd's: every edge of its tiles, of its strips and of its blocks.
#[test]
#[cfg_attr(
    miri,
    ignore = "too much for an interpreter, which has no instruction set that takes Winograd's form"
)]
fn three_by_three_convolutions_equal_the_definition() {
    let pools = [Pool::new(1), Pool::new(3)];
    for seed in 0..cases() / 4 {
        let random = &mut Random::new(4000 + seed);
        let mut spec = random_spec(random);
        (spec.groups, spec.kernel, spec.stride, spec.dilation) = (1, [3; 2], [1; 2], [1; 2]);
        spec.padding = std::array::from_fn(|_| random.pick(&[0, 1, 1, 2]));
        (spec.in_h, spec.in_w) = (3 + random.below(30), 3 + random.below(30));
        spec.in_channels = random.pick(&[15, 16, 17, 32, 50, 70]);
        spec.out_channels = random.pick(&[15, 16, 17, 32, 50, 70]);
        spec.in_stride = spec.in_channels + random.below(3);
        spec.out_stride = spec.out_channels + random.below(3);
        let with_residual = random.below(2) == 0;
        let case = Case::new(random, spec, with_residual);
        for isa in Isa::available() {
            case.check(isa, &pools[seed as usize % 2]);
        }
    }
}

#[test]
fn additions_beyond_all_integers_equal_the_definition() {
    for seed in 0..8 {
        let random = &mut Random::new(6000 + seed);
        let mut case =
            Case::new(random, square([64, 64], 12, 1 + 2 * (seed as usize % 2), 1), true);
        let add = case.residual.as_mut().expect("a case with an addition");
        (add.conv_ratio, add.ratio) = random.pick(&[(1e30, 0.5), (0.5, 1e12), (8.4e6, 8.4e6)]);
        for isa in Isa::available() {
            case.check(isa, &Pool::new(1));
        }
    }
}

/// What may run with the epilogue overlapped: single pixels, and windows of one channel.
#[test]
#[cfg_attr(
    miri,
    ignore = "too much for an interpreter, which has no instruction set that overlaps"
)]
fn pointwise_convolutions_and_first_layers_equal_the_definition() {
    let pools = [Pool::new(1), Pool::new(3)];
    for seed in 0..cases() / 4 {
        let random = &mut Random::new(5000 + seed);
        let mut spec = random_spec(random);
        (spec.groups, spec.dilation) = (1, [1; 2]);
        spec.stride = random.pick(&[[1, 1], [1, 1], [2, 2], [1, 2]]);
        if seed % 2 == 0 {
            (spec.kernel, spec.padding) = ([1; 2], [0; 4]);
            spec.in_channels = random.pick(&[61, 64, 70, 128, 132, 300, 520, 600]);
        } else {
            spec.kernel = [5 + random.below(4), 5 + random.below(4)];
            spec.padding = std::array::from_fn(|_| random.below(5));
            spec.in_channels = 1;
        }
        (spec.in_h, spec.in_w) = (10 + random.below(20), 10 + random.below(20));
        spec.out_channels = random.pick(&[15, 16, 17, 32, 40, 64, 70]);
        spec.in_stride = spec.in_channels + random.pick(&[0, 0, 3]);
        spec.out_stride = spec.out_channels + random.pick(&[0, 0, 3]);
        let with_residual = random.below(2) == 0;
        let case = Case::new(random, spec, with_residual);
        for isa in Isa::available() {
            case.check(isa, &pools[seed as usize % 2]);
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "hundreds of millions of multiplications")]
fn layers_of_real_networks_equal_the_definition() {
    // first convolution; 1x1 with many channels in and out; 3x3 at 7x7; strided shortcut
    let shapes = [
        square([1, 64], 30, 7, 2),
        square([512, 96], 7, 1, 1),
        square([160, 64], 7, 3, 1),
        square([64, 128], 15, 1, 2),
    ];
    let pool = Pool::new(2);
    for (seed, spec) in shapes.into_iter().enumerate() {
        let random = &mut Random::new(2000 + seed as u64);
        let case = Case::new(random, spec, seed % 2 == 1);
        for isa in Isa::available() {
            case.check(isa, &pool);
        }
    }
}

#[test]
fn results_without_requantization_equal_the_definition() {
    for seed in 0..cases() / 8 {
        let random = &mut Random::new(3000 + seed);
        let spec = random_spec(random);
        let case = Case::new(random, spec, false);
        let mut expected = vec![-7.0; case.spec.out_channels * case.spec.out_pixels() + 3];
        scalar::conv_f32(&case.spec, &case.weights(), &case.x, &mut expected);
        for isa in Isa::available() {
            let (conv, pool) = (case.pack(isa), Pool::new(1 + seed as usize % 2));
            for found in [case.run_f32(&conv, &pool), case.run_f32_by_pixel(&conv, &pool)] {
                assert_eq!(found, expected, "{isa:?} {:?}", case.spec);
            }
        }
    }
}

#[test]
fn impossible_convolutions_are_refused() {
    let weights = ConvWeights {
        weight: &[1; 4],
        bias: &[0],
        scale: &[1.0],
        x_zero: 0,
        y_zero: 0,
        lo: 0,
        hi: 255,
    };
    let spec = ConvSpec { padding: [0; 4], ..square([4, 1], 1, 1, 1) };
    let refused = |spec: &ConvSpec, weights: ConvWeights<'_>| {
        Conv::pack(Isa::best(), spec, weights, None).unwrap_err()
    };
    assert!(Conv::pack(Isa::best(), &spec, weights, None).is_ok());

    let two_groups = ConvSpec { groups: 2, ..spec.clone() };
    assert_eq!(refused(&two_groups, weights), SpecError::Groups { groups: 2, channels: 1 });
    let window = ConvSpec { kernel: [2, 2], ..spec.clone() };
    assert_eq!(refused(&window, weights), SpecError::Window { kernel: 2, padded: 1 });
    let few = ConvWeights { weight: &[1; 3], ..weights };
    assert_eq!(refused(&spec, few), SpecError::Length { what: "weights", found: 3, expected: 4 });
    let overflow = ConvWeights { bias: &[i32::MAX], ..weights };
    assert_eq!(refused(&spec, overflow), SpecError::Accumulator { channel: 0 });
    let scale = ConvWeights { scale: &[f32::NAN], ..weights };
    assert_eq!(refused(&spec, scale), SpecError::Scale { what: "scale", channel: 0 });
}

#[test]
fn the_scalar_set_is_always_there_and_names_are_unique() {
    let names: Vec<_> = Isa::available().into_iter().map(Isa::name).collect();
    assert_eq!(names.last(), Some(&"scalar"));
    let mut unique = names.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), names.len());
    assert!(Isa::from_name("pentium").is_err());
    // Set where the CPU is known (the emulated ones): a wrong detection would otherwise go unnoticed.
    if let Ok(expected) = std::env::var("EXPECT_ISA") {
        assert_eq!(names.join(","), expected);
    }
}
