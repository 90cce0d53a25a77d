//! Products of two activations, softmax and copies equal their definitions for any shape, place and number of threads.

#[path = "support/random.rs"]
mod random;

use kernels::{
    CopyAxis, Isa, LayerNorm, LayerNormSpec, Lookup, MatMul, MatMulSpec, MatrixPlace, Pool,
    Rearrange, Scratch, Softmax, scalar,
};
use random::Random;

/// Random bytes, or the extremes of bytes only.
fn bytes(random: &mut Random, count: usize, extreme: bool) -> Vec<u8> {
    let bytes = random.bytes(count);
    if extreme { bytes.into_iter().map(|q| if q < 128 { 0 } else { 255 }).collect() } else { bytes }
}

/// A stack of matrices whose four axes follow each other in a drawn order, with gaps; and the bytes it takes.
fn place(
    random: &mut Random,
    batch: [usize; 2],
    rows: usize,
    columns: usize,
) -> (MatrixPlace, usize) {
    let mut place = MatrixPlace { first: random.below(4), batch: [0; 2], row: 0, column: 0 };
    let mut order = [0, 1, 2, 3];
    for at in (1..4).rev() {
        order.swap(at, random.below(at + 1));
    }
    if random.below(2) == 0 {
        order = [3, 2, 1, 0]; // without transposition, which is what most have
    }
    let mut next = 1;
    for axis in order {
        let (count, step) = match axis {
            0 => (batch[0], &mut place.batch[0]),
            1 => (batch[1], &mut place.batch[1]),
            2 => (rows, &mut place.row),
            _ => (columns, &mut place.column),
        };
        *step = next;
        next = next * count + random.below(2);
    }
    (place, next + place.first)
}

struct Case {
    spec: MatMulSpec,
    a: Vec<u8>,
    b: Vec<u8>,
    results: usize,
}

fn case(random: &mut Random) -> Case {
    let batch = random.pick(&[[1, 1], [1, 3], [2, 2]]);
    let (rows, depth) = (1 + random.below(40), random.pick(&[1, 2, 7, 31, 50, 64, 65, 129, 257]));
    let columns = random.pick(&[1, 3, 49, 63, 64, 65, 130]);
    let (a, a_bytes) = place(random, batch, rows, depth);
    let (b, b_bytes) = place(random, batch, depth, columns);
    let (y, results) = place(random, batch, rows, columns);
    let extreme = random.below(4) == 0;
    Case {
        spec: MatMulSpec { batch, rows, depth, columns, a, b, y },
        a: bytes(random, a_bytes, extreme),
        b: bytes(random, b_bytes, extreme),
        results,
    }
}

fn run(product: &MatMul, case: &Case, threads: usize) -> Vec<u8> {
    let mut scratch = Scratch::with_bytes(product.scratch_bytes(threads));
    let mut found = vec![7; case.results];
    product.run(&case.a, &case.b, &mut found, &Pool::new(threads), &mut scratch);
    found
}

#[test]
fn products_of_two_activations_equal_the_definition_on_every_instruction_set() {
    for seed in 0..if cfg!(miri) { 4 } else { 200 } {
        let random = &mut Random::new(seed);
        let case = case(random);
        let zeros = [random.pick(&[0, 255, 128, 7]), random.pick(&[0, 255, 131]), random.byte()];
        let ratio = random.unit() / (case.spec.depth as f32 * 200.0);
        let mut expected = vec![7; case.results];
        scalar::matmul(&case.spec, ratio, zeros, &case.a, &case.b, &mut expected);
        for isa in Isa::available() {
            let product = MatMul::new(isa, case.spec, ratio, zeros).unwrap();
            let found = run(&product, &case, 1 + seed as usize % 3);
            assert_eq!(found, expected, "{isa:?} {:?} {zeros:?}", case.spec);
        }
    }
}

#[test]
fn the_deepest_product_is_exact_and_a_deeper_one_is_refused() {
    let depth = MatMulSpec::MAX_DEPTH;
    let spec = MatMulSpec::one(1, depth, 1, true);
    let ones = Case { spec, a: vec![255; depth], b: vec![255; depth], results: 1 };
    for isa in Isa::available() {
        for (zeros, expected) in [([0, 0, 0], 200), ([255, 0, 0], 0), ([0, 0, 55], 255)] {
            let ratio = 200.0 / (depth as f32 * 65025.0);
            let product = MatMul::new(isa, spec, ratio, zeros).unwrap();
            assert_eq!(run(&product, &ones, 1), [expected], "{isa:?} {zeros:?}");
        }
        let deeper = MatMulSpec::one(1, depth + 1, 1, true);
        let error = MatMul::new(isa, deeper, 1.0, [0; 3]).unwrap_err().to_string();
        assert_eq!(error, "sums of 33026 products of bytes, expected at most 33025");
    }
}

#[test]
fn results_in_one_place_and_places_beyond_memory_are_refused() {
    let dense = MatMulSpec { batch: [2, 3], ..MatMulSpec::one(4, 5, 6, false) };
    assert!(MatMul::new(Isa::scalar(), dense, 1.0, [0; 3]).is_err(), "outer products overlap");
    for (row, column) in [(0, 1), (6, 0), (5, 1), (1, 1)] {
        let mut spec = MatMulSpec::one(4, 5, 6, false);
        (spec.y.row, spec.y.column) = (row, column);
        let error = MatMul::new(Isa::scalar(), spec, 1.0, [0; 3]).unwrap_err().to_string();
        assert_eq!(error, "values of products lie in one place", "{row} {column}");
    }
    let mut far = MatMulSpec::one(4, 5, 6, false);
    far.b.row = usize::MAX / 2;
    assert!(MatMul::new(Isa::scalar(), far, 1.0, [0; 3]).is_err());
}

#[test]
fn shares_equal_softmax_in_double_precision_within_half_a_step() {
    for seed in 0..if cfg!(miri) { 3 } else { 100 } {
        let random = &mut Random::new(seed);
        let (rows, columns) = (1 + random.below(9), random.pick(&[1, 2, 49, 50, 197, 1000]));
        let x_scale: f32 = random.pick(&[0.004, 0.05, 0.3, 4.0]);
        let extreme = random.below(4) == 0;
        let x = bytes(random, rows * columns, extreme);
        for isa in Isa::available() {
            let softmax = Softmax::new(isa, columns, x_scale, f64::exp, 1.0 / 255.0, 3).unwrap();
            let mut y = vec![7; x.len()];
            softmax.run(&x, &mut y, &Pool::new(1 + seed as usize % 3));
            for (x, y) in x.chunks(columns).zip(y.chunks(columns)) {
                let sums: Vec<i32> = x.iter().map(|&q| i32::from(q)).collect();
                let mut expected = vec![0; columns];
                scalar::softmax(&sums, x_scale, f64::exp, 1.0 / 255.0, 3, &mut expected);
                assert_eq!(y, expected, "{isa:?}");
                let largest = x.iter().copied().max().unwrap();
                let below = |&q: &u8| (-f64::from(largest - q) * f64::from(x_scale)).exp();
                let e: Vec<f64> = x.iter().map(below).collect();
                let sum: f64 = e.iter().sum();
                for (e, &y) in e.iter().zip(y) {
                    let expected = 255.0 * e / sum + 3.0;
                    let off = (expected.min(255.0) - f64::from(y)).abs();
                    assert!(off < 0.5001, "{expected} {y}, {columns} columns of scale {x_scale}");
                }
            }
        }
    }
}

#[test]
fn shares_of_products_equal_the_definition_on_every_instruction_set() {
    for seed in 0..if cfg!(miri) { 3 } else { 100 } {
        let random = &mut Random::new(seed);
        let case = case(random);
        let zeros = [random.byte(), random.byte(), 9];
        let scale = random.pick(&[1e-6, 1e-4, 0.01]);
        let mut sums = Vec::new();
        let (spec, a, b) = (&case.spec, &case.a, &case.b);
        scalar::matmul_sums(spec, [zeros[0], zeros[1]], a, b, |at, sum| sums.push((at, sum)));
        let mut expected = vec![7; case.results];
        for row in sums.chunks(spec.columns) {
            let mut y = vec![0; row.len()];
            let sums: Vec<i32> = row.iter().map(|(_, sum)| *sum).collect();
            scalar::softmax(&sums, scale, f64::exp, 1.0 / 200.0, 9, &mut y);
            row.iter().zip(y).for_each(|((at, _), y)| expected[*at] = y);
        }
        for isa in Isa::available() {
            let product =
                MatMul::shares(isa, case.spec, scale, f64::exp, 1.0 / 200.0, zeros).unwrap();
            let found = run(&product, &case, 1 + seed as usize % 3);
            assert_eq!(found, expected, "{isa:?} {:?}", case.spec);
        }
    }
}

#[test]
fn equal_scores_share_alike_and_one_score_takes_all() {
    let softmax = |columns: usize, x: &[u8]| {
        let mut y = vec![0; x.len()];
        let shares = Softmax::new(Isa::best(), columns, 0.5, f64::exp, 1.0 / 255.0, 0).unwrap();
        shares.run(x, &mut y, &Pool::new(1));
        y
    };
    for q in [0, 1, 255] {
        assert_eq!(softmax(3, &[q; 3]), [85; 3]);
        assert_eq!(softmax(1, &[q; 2]), [255; 2]);
    }
    assert_eq!(softmax(2, &[255, 0, 0, 255]), [255, 0, 0, 255]);
    let (isa, spec) = (Isa::scalar(), MatMulSpec::one(1, 1, 2, true));
    for bad in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        for (scale, y_scale) in [(0.5, bad), (bad, 0.5)] {
            assert!(Softmax::new(isa, 2, scale, f64::exp, y_scale, 0).is_err(), "{bad}");
            assert!(MatMul::shares(isa, spec, scale, f64::exp, y_scale, [0; 3]).is_err(), "{bad}");
        }
    }
    assert!(Softmax::new(isa, 0, 0.5, f64::exp, 1.0, 0).is_err());
}

#[test]
fn copies_take_every_value_to_its_place_and_leave_the_others_alone() {
    for seed in 0..if cfg!(miri) { 6 } else { 300 } {
        let random = &mut Random::new(seed);
        let mut axes: Vec<CopyAxis> = (0..random.below(5))
            .map(|_| CopyAxis { len: random.pick(&[1, 2, 3, 5, 17, 70]), x: 0, y: 0 })
            .collect();
        // Places in `y` without overlap, axis by axis; in `x` in another order, or repeated.
        let mut next = 1;
        for axis in &mut axes {
            axis.y = next;
            next = next * axis.len + random.below(3);
        }
        let rank = axes.len();
        let turned = random.below(2) * random.below(rank.max(1));
        let mut reach = 1;
        for at in 0..axes.len() {
            let axis = &mut axes[(at + turned) % rank];
            axis.x = if random.below(9) == 0 { 0 } else { reach };
            reach *= axis.len;
        }
        let first = [random.below(3), random.below(3)];
        let x = random.bytes(reach + 3);
        let table: Option<[u8; 256]> =
            (random.below(2) == 0).then(|| std::array::from_fn(|_| random.byte()));
        let mut found = vec![7; next + 3];
        let mut expected = found.clone();
        let count: usize = axes.iter().map(|axis| axis.len).product();
        for mut at in 0..count {
            let [mut from, mut to] = first;
            for axis in &axes {
                (from, to) = (from + at % axis.len * axis.x, to + at % axis.len * axis.y);
                at /= axis.len;
            }
            expected[to] = table.map_or(x[from], |table| table[usize::from(x[from])]);
        }
        let lookup = table.map(|table| Lookup::new(Isa::best(), table));
        let copy = Rearrange::new(&axes, first, lookup).unwrap();
        copy.run(&x, &mut found, &Pool::new(1 + seed as usize % 3));
        assert_eq!(found, expected, "{axes:?} {first:?}");
    }
    let twice = [CopyAxis { len: 2, x: 1, y: 0 }];
    let error = Rearrange::new(&twice, [0; 2], None).unwrap_err().to_string();
    assert_eq!(error, "values of a copy lie in one place");
}

#[test]
fn layer_normalisation_equals_the_definition_on_every_instruction_set() {
    for seed in 0..if cfg!(miri) { 3 } else { 100 } {
        let random = &mut Random::new(seed);
        let (rows, columns) = (1 + random.below(20), random.pick(&[1, 2, 63, 64, 384, 768, 1000]));
        let extreme = random.below(3) == 0;
        let x = bytes(random, rows * columns, extreme);
        let mut reals = |range: f32| -> Vec<f32> {
            (0..columns).map(|_| (random.unit() - 0.5) * range).collect()
        };
        let (gain, bias) = (reals(200.0), reals(100.0));
        let epsilon = random.pick(&[0.0, 1e-3, 400.0, 1e9]);
        let spec = LayerNormSpec { gain, bias, epsilon, y_zero: random.byte(), clamp: [3, 250] };
        let mut expected = vec![0; x.len()];
        for (x, y) in x.chunks(columns).zip(expected.chunks_mut(columns)) {
            scalar::layer_norm(&spec, x, y);
        }
        for isa in Isa::available() {
            let mut found = vec![7; x.len()];
            let norm = LayerNorm::new(isa, spec.clone()).unwrap();
            norm.run(&x, &mut found, &Pool::new(1 + seed as usize % 3));
            assert_eq!(found, expected, "{isa:?} {rows} {columns}");
        }
    }
}

#[test]
fn a_normalised_row_has_mean_and_variance_as_double_precision_says() {
    let x: Vec<u8> = (0..384_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let (scale, epsilon, step) = (0.02_f64, 1e-6, 0.03_f64);
    let n = x.len() as f64;
    let spec = LayerNormSpec {
        gain: vec![(1.5 / step) as f32; x.len()],
        bias: vec![(0.25 / step) as f32; x.len()],
        epsilon: epsilon * n * n / (scale * scale),
        y_zero: 128,
        clamp: [0, 255],
    };
    let mut y = vec![0; x.len()];
    scalar::layer_norm(&spec, &x, &mut y);
    let real: Vec<f64> = x.iter().map(|&q| f64::from(q) * scale).collect();
    let mean = real.iter().sum::<f64>() / n;
    let variance = real.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
    for (x, y) in real.iter().zip(y) {
        let expected = ((x - mean) / (variance + epsilon).sqrt() * 1.5 + 0.25) / step + 128.0;
        let off = (f64::from(y) - expected.clamp(0.0, 255.0)).abs();
        assert!(off < 0.5001, "{y} instead of {expected}");
    }
}
