//! Operations on images equal their definitions on every instruction set, for any shape, stride and number of threads.

#[path = "support/random.rs"]
mod random;

use kernels::{
    Add, Affine, AvgPool, Beside, Between, Bilinear, Gather, GroupNorm, Isa, Lookup, MaxPool, Mul,
    Pool, PoolSpec, Product, Residual, Rows, Scratch, scalar,
};
use random::Random;

/// Fewer cases where an interpreter runs them.
fn cases(count: u64) -> std::ops::Range<u64> {
    0..if cfg!(miri) { 3 } else { count }
}

fn random_pool_spec(random: &mut Random) -> PoolSpec {
    let channels = random.pick(&[1, 3, 16, 63, 64, 65, 130]);
    let kernel = random.pick(&[[1, 1], [2, 2], [3, 3], [3, 2], [7, 7]]);
    let dilation = random.pick(&[[1, 1], [1, 1], [2, 1], [3, 2]]);
    let mut pad = |axis: usize| random.below(kernel[axis].min(3));
    let padding = [pad(0), pad(1), pad(0), pad(1)];
    let span = |axis: usize| (kernel[axis] - 1) * dilation[axis] + 1;
    PoolSpec {
        channels,
        kernel,
        stride: random.pick(&[[1, 1], [2, 2], [1, 3]]),
        dilation,
        padding,
        in_h: span(0) + random.below(9),
        in_w: span(1) + random.below(9),
        in_stride: channels + random.below(3),
        out_stride: channels + random.below(3),
    }
}

#[test]
fn pooling_equals_the_definition_on_every_instruction_set() {
    let pools = [Pool::new(1), Pool::new(3)];
    for seed in cases(200) {
        let random = &mut Random::new(seed);
        let spec = random_pool_spec(random);
        let pool = &pools[seed as usize % 2];
        let x = random.bytes(spec.in_h * spec.in_w * spec.in_stride);
        let outputs = spec.out_h() * spec.out_w() * spec.out_stride;
        let (ratio, zeros) = (random.unit() * 2.0, [random.byte(), random.byte()]);
        // As much as is there, or less where the last window reaches beyond what counts.
        let less = spec.padding.map(|pad| pad - random.below(pad + 1));
        let counted = random.pick(&[None, Some(spec.padding), Some(less)]);
        let (mut largest, mut mean) = (vec![7; outputs], vec![7; outputs]);
        scalar::max_pool(&spec, &x, &mut largest);
        scalar::avg_pool(&spec, ratio, zeros, counted, &x, &mut mean);
        for isa in Isa::available() {
            let mut found = vec![7; outputs];
            MaxPool::new(isa, spec.clone()).unwrap().run(&x, &mut found, pool);
            assert_eq!(found, largest, "{isa:?} max {spec:?}");
            let average = AvgPool::new(isa, spec.clone(), ratio, zeros, counted).unwrap();
            average.run(&x, &mut found, pool);
            assert_eq!(found, mean, "{isa:?} average {spec:?} {counted:?}");
        }
    }
}

#[test]
fn a_window_outside_the_image_is_refused() {
    let spec = PoolSpec {
        channels: 1,
        kernel: [2, 2],
        stride: [1, 1],
        dilation: [3, 3],
        padding: [1, 1, 1, 1],
        in_h: 2,
        in_w: 2,
        in_stride: 1,
        out_stride: 1,
    };
    assert!(MaxPool::new(Isa::scalar(), spec.clone()).is_err()); // its taps are before and behind the image
    assert!(MaxPool::new(Isa::scalar(), PoolSpec { dilation: [2, 2], ..spec }).is_ok());
}

#[test]
fn a_global_average_is_the_mean_of_all_pixels() {
    let x: Vec<u8> = (0..49u8).flat_map(|i| [i, 200]).collect();
    let spec = PoolSpec {
        channels: 2,
        kernel: [7, 7],
        stride: [1, 1],
        dilation: [1, 1],
        padding: [0; 4],
        in_h: 7,
        in_w: 7,
        in_stride: 2,
        out_stride: 2,
    };
    let mut y = [0; 2];
    let mean = AvgPool::new(Isa::best(), spec, 1.0, [0, 10], None).unwrap();
    mean.run(&x, &mut y, &Pool::new(1));
    assert_eq!(y, [34, 210]);
}

#[test]
fn a_large_window_of_the_largest_values_has_the_right_mean() {
    let side = if cfg!(miri) { 17 } else { 300 };
    for (kernel, expected) in [([16, 16], 255), ([17, 17], 255), ([side, side], 255)] {
        let [in_h, in_w] = kernel;
        let spec = PoolSpec {
            channels: 1,
            kernel,
            stride: [1, 1],
            dilation: [1, 1],
            padding: [0; 4],
            in_h,
            in_w,
            in_stride: 1,
            out_stride: 1,
        };
        let (x, mut y) = (vec![255; in_h * in_w], [0]);
        let mean = AvgPool::new(Isa::best(), spec, 1.0, [0, 0], None).unwrap();
        mean.run(&x, &mut y, &Pool::new(1));
        assert_eq!(y, [expected], "{kernel:?}");
    }
}

#[test]
fn two_tensors_are_added_subtracted_and_multiplied_as_defined_however_the_second_lies() {
    for seed in cases(150) {
        let random = &mut Random::new(seed);
        let (pixels, channels) = (1 + random.below(400), 1 + random.below(70));
        let dense = random.below(2) == 0;
        let mut stride = || channels + if dense { 0 } else { random.below(3) };
        let rows = Rows { pixels, channels, x_stride: stride(), y_stride: stride() };
        let b_stride = stride();
        let beside =
            [Beside::Each(b_stride), Beside::Channels, Beside::Pixels(b_stride)][seed as usize % 3];
        let (a, b) = (random.bytes(pixels * rows.x_stride), random.bytes(pixels * b_stride));
        let sign = random.pick(&[1.0, -1.0]);
        let (ratios, zeros) = (
            [random.unit() * 2.0, sign * random.unit() * 2.0],
            [random.byte(), random.byte(), random.byte()],
        );
        let sum = Residual {
            conv_ratio: ratios[0],
            ratio: ratios[1],
            zero: zeros[1],
            out_zero: zeros[2],
            lo: 3,
            hi: 250,
            stride: 0,
        };
        let product = Product { ratio: ratios[0] / 64.0, zeros, lo: 3, hi: 250 };
        let pool = &Pool::new(1 + seed as usize % 3);
        for isa in Isa::available() {
            let mut found = [vec![7; pixels * rows.y_stride], vec![7; pixels * rows.y_stride]];
            let add = Add::new(isa, ratios, zeros, [3, 250]).unwrap();
            add.run(&rows, &a, &b, beside, &mut found[0], pool);
            let mul = Mul::new(isa, product.ratio, zeros, [3, 250]).unwrap();
            mul.run(&rows, &a, &b, beside, &mut found[1], pool);
            for i in 0..pixels * rows.y_stride {
                let (pixel, c) = (i / rows.y_stride, i % rows.y_stride);
                let found = [found[0][i], found[1][i]];
                if c >= channels {
                    assert_eq!(found, [7; 2], "other channels are left alone");
                    continue;
                }
                let a = a[pixel * rows.x_stride + c];
                let b = match beside {
                    Beside::Each(stride) => b[pixel * stride + c],
                    Beside::Channels => b[c],
                    Beside::Pixels(stride) => b[pixel * stride],
                };
                let expected =
                    [scalar::add_one(&sum, zeros[0], a, b), scalar::multiply_one(&product, a, b)];
                assert_eq!(found, expected, "{isa:?} {rows:?} {beside:?} at {i}");
            }
        }
    }
}

#[test]
fn every_product_of_two_codes_is_the_nearest_to_the_real_one() {
    let product = Product { ratio: 1.0 / 200.0, zeros: [120, 17, 99], lo: 0, hi: 255 };
    for a in 0..=255_u8 {
        for b in 0..=255_u8 {
            let real = (f64::from(a) - 120.0) * (f64::from(b) - 17.0) / 200.0 + 99.0;
            let found = scalar::multiply_one(&product, a, b);
            assert!((real.clamp(0.0, 255.0) - f64::from(found)).abs() < 0.50001, "{a} {b}");
        }
    }
}

/// Positions of an axis: a step through it, any of them, or the inside of a border.
fn positions(random: &mut Random, size: usize) -> Vec<Option<usize>> {
    let count = 1 + random.below(2 * size);
    match random.below(4) {
        0 => (0..size).map(Some).collect(),
        1 => (0..size).step_by(1 + random.below(3)).map(Some).collect(),
        2 => (0..count).map(|_| Some(random.below(size))).collect(),
        _ => (0..count + 2).map(|at| at.checked_sub(1).filter(|at| *at < size)).collect(),
    }
}

#[test]
fn gathered_rows_columns_and_channels_are_those_asked_for_on_every_instruction_set() {
    for seed in cases(200) {
        let random = &mut Random::new(seed);
        let [h, w, c] =
            [1 + random.below(6), 1 + random.below(6), random.pick(&[1, 6, 60, 64, 116])];
        let (rows, columns) = (positions(random, h), positions(random, w));
        let channels: Vec<Option<usize>> = match random.below(3) {
            0 if c % 2 == 0 => (0..c).map(|at| Some(at % 2 * (c / 2) + at / 2)).collect(),
            1 if c % 3 == 0 => (0..c).map(|at| Some(at % 3 * (c / 3) + at / 3)).collect(),
            _ => positions(random, c),
        };
        let out_stride = channels.len() + random.pick(&[0, 3]);
        let (x, fill) = (random.bytes(h * w * c), random.byte());
        let table: [u8; 256] = random.bytes(256).try_into().unwrap();
        for isa in Isa::available() {
            let gather =
                Gather::new(isa, [h, w, c], [&rows, &columns, &channels], out_stride, fill);
            let gather = gather.unwrap();
            for lookup in [None, Some(&Lookup::new(isa, table))] {
                let mut y = vec![7; rows.len() * columns.len() * out_stride];
                gather.run(lookup, &x, &mut y, &Pool::new(1 + seed as usize % 3));
                for (i, found) in y.iter().enumerate() {
                    let (pixel, channel) = (i / out_stride, i % out_stride);
                    let (row, column) = (pixel / columns.len(), pixel % columns.len());
                    let expected = if channel >= channels.len() {
                        7
                    } else if let (Some(row), Some(column), Some(channel)) =
                        (rows[row], columns[column], channels[channel])
                    {
                        let q = x[(row * w + column) * c + channel];
                        lookup.map_or(q, |_| table[usize::from(q)])
                    } else {
                        fill
                    };
                    assert_eq!(*found, expected, "{isa:?} {gather:?} at {i}");
                }
            }
        }
        let far = [Some(h)];
        assert!(
            Gather::new(Isa::scalar(), [h, w, c], [&far, &columns, &channels], out_stride, 0)
                .is_err()
        );
    }
}

#[test]
fn bilinear_pixels_equal_the_definition_on_every_instruction_set() {
    for seed in cases(100) {
        let random = &mut Random::new(seed);
        let input = [1 + random.below(6), 1 + random.below(6)];
        let channels = random.pick(&[1, 3, 16, 65]);
        let mut between = |size: usize| -> Vec<Between> {
            let mut any = || Between {
                lower: random.below(size),
                upper: random.below(size),
                fraction: random.pick(&[0.0, 1.0, 0.25, 0.3, 2.0 / 3.0]),
            };
            (0..7).map(|_| any()).collect()
        };
        let between = [between(input[0]), between(input[1])];
        let x = random.bytes(input[0] * input[1] * channels);
        let (ratio, zeros) = (random.unit() * 2.0, [random.byte(), random.byte()]);
        for isa in Isa::available() {
            let strides = [channels; 2];
            let resize =
                Bilinear::new(isa, input, between.clone(), channels, strides, ratio, zeros);
            let mut y = vec![7; 49 * channels];
            resize.unwrap().run(&x, &mut y, &Pool::new(1));
            for (i, found) in y.iter().enumerate() {
                let (row, col, c) =
                    (between[0][i / channels / 7], between[1][i / channels % 7], i % channels);
                let real = |row: usize, col: usize| {
                    f32::from(
                        i16::from(x[(row * input[1] + col) * channels + c]) - i16::from(zeros[0]),
                    )
                };
                let along = |at: usize| {
                    real(at, col.lower) * (1.0 - col.fraction) + real(at, col.upper) * col.fraction
                };
                let v = along(row.lower) * (1.0 - row.fraction) + along(row.upper) * row.fraction;
                let expected = scalar::requantize(v * ratio, zeros[1], 0, 255);
                assert_eq!(*found, expected, "{isa:?} {row:?} {col:?}");
            }
        }
    }
}

#[test]
fn factors_and_addends_of_channels_equal_the_definition_on_every_instruction_set() {
    for seed in cases(100) {
        let random = &mut Random::new(seed);
        let (pixels, channels) = (1 + random.below(300), 1 + random.below(70));
        let rows = Rows {
            pixels,
            channels,
            x_stride: channels + random.below(3),
            y_stride: channels + random.below(3),
        };
        let x = random.bytes(pixels * rows.x_stride);
        let zeros = [random.byte(), random.byte()];
        let numbers = |random: &mut Random, size: f32| -> Vec<f32> {
            (0..channels).map(|_| (random.unit() - 0.5) * size).collect()
        };
        let (factor, addend) = (numbers(random, 2.0), numbers(random, 200.0));
        for isa in Isa::available() {
            let mut y = vec![7; pixels * rows.y_stride];
            let affine = Affine::new(isa, factor.clone(), addend.clone(), zeros, [2, 251]).unwrap();
            affine.run(&rows, &x, &mut y, &Pool::new(1 + seed as usize % 3));
            for (i, found) in y.iter().enumerate() {
                let (pixel, c) = (i / rows.y_stride, i % rows.y_stride);
                let expected = if c < channels {
                    let q = x[pixel * rows.x_stride + c];
                    scalar::affine_one(q, zeros[0], factor[c], addend[c], zeros[1], [2, 251])
                } else {
                    7
                };
                assert_eq!(*found, expected, "{isa:?} {rows:?} at {i}");
            }
        }
    }
}

#[test]
fn normalised_groups_have_the_mean_and_deviation_that_were_asked_for() {
    for seed in cases(60) {
        let random = &mut Random::new(seed);
        let (groups, each) = (1 + random.below(5), 1 + random.below(9));
        let (channels, pixels) =
            (groups * each, 2 + random.below(if cfg!(miri) { 9 } else { 700 }));
        let rows =
            Rows { pixels, channels, x_stride: channels + random.below(3), y_stride: channels };
        let x = random.bytes(pixels * rows.x_stride);
        let zeros = [random.byte(), random.byte()];
        let scales = [0.01 + random.unit(), 0.01 + random.unit() * 0.1];
        let gain: Vec<f32> = (0..channels).map(|_| random.unit() * 2.0 - 1.0).collect();
        let bias: Vec<f32> = (0..channels).map(|_| random.unit() * 2.0 - 1.0).collect();
        let mut answers = Vec::new();
        for isa in Isa::available() {
            let norm = GroupNorm::new(
                isa,
                groups,
                1e-5,
                gain.clone(),
                bias.clone(),
                scales,
                zeros,
                [0, 255],
            );
            let norm = norm.unwrap();
            let mut scratch = Scratch::with_bytes(norm.scratch_bytes());
            let mut y = vec![7; pixels * channels];
            norm.run(&rows, &x, &mut y, &Pool::new(1 + seed as usize % 2), &mut scratch);
            answers.push(y);
        }
        assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "instruction sets differ");
        for c in 0..channels {
            let group = c / each * each..(c / each + 1) * each;
            let real = |pixel: usize, c: usize| {
                (f64::from(x[pixel * rows.x_stride + c]) - f64::from(zeros[0]))
                    * f64::from(scales[0])
            };
            let all: Vec<f64> =
                (0..pixels).flat_map(|p| group.clone().map(move |c| real(p, c))).collect();
            let n = all.len() as f64;
            let mean = all.iter().sum::<f64>() / n;
            let variance = all.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
            for pixel in 0..pixels {
                let normal = (real(pixel, c) - mean) / (variance + 1e-5).sqrt();
                let y = normal * f64::from(gain[c]) + f64::from(bias[c]);
                let steps = (y / f64::from(scales[1]) + f64::from(zeros[1])).clamp(0.0, 255.0);
                let off = (steps - f64::from(answers[0][pixel * channels + c])).abs();
                assert!(off < 0.501, "seed {seed} channel {c}: {off}");
            }
        }
    }
}
