//! Transposed and depthwise convolutions equal their definitions on every instruction set, for any shape and number of
//! threads.

#[path = "support/random.rs"]
mod random;

use kernels::{
    Buffer, Conv, ConvSpec, ConvTranspose, ConvTransposeSpec, ConvWeights, Isa, Pool, Residual,
    Scratch, scalar,
};
use random::Random;

/// Fewer cases where an interpreter runs them.
fn cases(count: u64) -> std::ops::Range<u64> {
    0..if cfg!(miri) { 3 } else { count }
}

#[test]
fn transposed_convolutions_equal_the_definition_on_every_instruction_set() {
    for seed in cases(200) {
        let random = &mut Random::new(seed);
        let groups = random.pick(&[1, 1, 1, 2, 4]);
        let spec = ConvTransposeSpec {
            in_channels: groups * (1 + random.below(9)),
            out_channels: groups * random.pick(&[1, 3, 8, 17]),
            groups,
            kernel: random.pick(&[[2, 2], [4, 4], [3, 3], [1, 1], [5, 2], [3, 4]]),
            stride: random.pick(&[[2, 2], [1, 1], [2, 3], [4, 4]]),
            dilation: random.pick(&[[1, 1], [1, 1], [2, 1], [3, 3]]),
            padding: [random.below(4), random.below(4)],
            input: [1 + random.below(5), 1 + random.below(5)],
            output: [1 + random.below(14), 1 + random.below(14)],
            in_stride: 0,
            out_stride: 0,
        };
        let spec = ConvTransposeSpec {
            in_stride: spec.in_channels + random.below(3),
            out_stride: spec.out_channels + random.below(3),
            ..spec
        };
        let [kh, kw] = spec.kernel;
        let count = spec.out_channels * spec.in_channels / groups * kh * kw;
        let weight: Vec<i8> = random.bytes(count).into_iter().map(|q| q as i8).collect();
        let bias: Vec<i32> =
            (0..spec.out_channels).map(|_| random.below(9000) as i32 - 4500).collect();
        let scale: Vec<f32> = (0..spec.out_channels).map(|_| random.unit() / 400.0).collect();
        let weights = ConvWeights {
            weight: &weight,
            bias: &bias,
            scale: &scale,
            x_zero: random.byte(),
            y_zero: random.byte(),
            lo: 0,
            hi: random.pick(&[255, 200]),
        };
        let bytes = random.bytes(spec.input[0] * spec.input[1] * spec.in_stride);
        let mut x = Buffer::zeroed(bytes.len());
        x[..bytes.len()].copy_from_slice(&bytes);
        let mut expected = vec![7; spec.output[0] * spec.output[1] * spec.out_stride];
        scalar::conv_transpose(&spec, &weights, &x, &mut expected);
        let pool = Pool::new(1 + seed as usize % 3);
        for isa in Isa::available() {
            let conv = ConvTranspose::pack(isa, &spec, weights).unwrap();
            let mut scratch = Scratch::with_bytes(conv.scratch_bytes(pool.threads()));
            let mut y = vec![7; expected.len()];
            conv.run(&x, &mut y, &pool, &mut scratch);
            assert_eq!(y, expected, "{isa:?} {spec:?}");
        }
    }
}

#[test]
fn depthwise_convolutions_equal_the_definition_on_every_instruction_set() {
    for seed in cases(150) {
        let random = &mut Random::new(seed);
        let channels = 2 + random.pick(&[0, 6, 14, 15, 22, 30, 31, 46, 62, 63, 94, 142]);
        let kernel = random.pick(&[[3, 3], [5, 5], [1, 1], [7, 7], [2, 3], [1, 4]]);
        let dilation = random.pick(&[[1, 1], [1, 1], [2, 3]]);
        let span = |axis: usize| (kernel[axis] - 1) * dilation[axis] + 1;
        let spec = ConvSpec {
            in_channels: channels,
            out_channels: channels,
            groups: channels,
            kernel,
            stride: random.pick(&[[1, 1], [2, 2], [1, 3]]),
            padding: [0; 4].map(|_: usize| random.below(3)),
            dilation,
            in_h: span(0) + random.below(6),
            in_w: span(1) + random.below(6),
            in_stride: channels + random.below(3),
            out_stride: channels + random.below(3),
        };
        let taps = kernel[0] * kernel[1];
        let weight: Vec<i8> = random.bytes(channels * taps).into_iter().map(|q| q as i8).collect();
        let bias: Vec<i32> = (0..channels).map(|_| random.below(9000) as i32 - 4500).collect();
        // Now and then so large that results leave 32 bits.
        let size = random.pick(&[0.002, 0.002, 1e9]);
        let scale: Vec<f32> = (0..channels).map(|_| random.unit() * size).collect();
        let (x_zero, y_zero) = (random.byte(), random.byte());
        let (lo, hi) = (random.pick(&[0, y_zero]), 255);
        let weights =
            ConvWeights { weight: &weight, bias: &bias, scale: &scale, x_zero, y_zero, lo, hi };
        let residual = Residual {
            conv_ratio: random.unit(),
            ratio: random.unit(),
            zero: random.byte(),
            out_zero: random.byte(),
            lo: 1,
            hi: 254,
            stride: channels + random.below(3),
        };
        let bytes = random.bytes(spec.in_h * spec.in_w * spec.in_stride);
        let mut x = Buffer::zeroed(bytes.len());
        x[..bytes.len()].copy_from_slice(&bytes);
        let r = random.bytes(spec.out_pixels() * residual.stride);
        let pool = Pool::new(1 + seed as usize % 3);
        let mut floats = vec![0.0; channels * spec.out_pixels()];
        scalar::conv_f32(&spec, &weights, &x, &mut floats);
        for added in [false, true] {
            let addition = added.then_some(residual);
            let second = added.then_some(r.as_slice());
            let mut expected = vec![7; spec.out_pixels() * spec.out_stride];
            let both = addition.as_ref().zip(second);
            scalar::conv(&spec, &weights, &x, both, &mut expected);
            for isa in Isa::available() {
                let conv = Conv::pack(isa, &spec, weights, addition).unwrap();
                let mut scratch = Scratch::with_bytes(conv.scratch_bytes(pool.threads()));
                let mut y = vec![7; expected.len()];
                conv.run(&x, second, &mut y, &pool, &mut scratch);
                assert_eq!(y, expected, "{isa:?} {spec:?} added {added}");
                if !added {
                    let mut y = vec![0.0; floats.len()];
                    conv.run_f32(&x, &mut y, &pool, &mut scratch);
                    assert_eq!(y, floats, "{isa:?} {spec:?}");
                    conv.run_f32_by_pixel(&x, &mut y, &pool, &mut scratch);
                    for (at, expected) in floats.iter().enumerate() {
                        let (channel, pixel) = (at / spec.out_pixels(), at % spec.out_pixels());
                        assert_eq!(y[pixel * channels + channel], *expected, "{isa:?} {spec:?}");
                    }
                }
            }
        }
    }
}
