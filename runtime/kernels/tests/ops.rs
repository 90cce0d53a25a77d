//! Tables, copies and resizing equal their definitions for any shape, stride and number of threads.

#[path = "support/random.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod random;

use kernels::{Between, Bilinear, Isa, Lookup, Nearest, Pool, Rows, copy};
use random::Random;

#[test]
fn concatenation_is_copies_and_tables_into_slices_of_a_wider_tensor() {
    let pool = Pool::new(2);
    let (a, b) = ([1, 2, 3, 4, 5, 6], [10, 20]);
    let mut y = [0; 8];
    copy(&Rows { pixels: 2, channels: 3, x_stride: 3, y_stride: 4 }, &a, &mut y, &pool);
    let table = std::array::from_fn(|q| (q as u8).wrapping_add(1));
    let rows = Rows { pixels: 2, channels: 1, x_stride: 1, y_stride: 4 };
    Lookup::new(Isa::best(), table).run(&rows, &b, &mut y[3..], &pool);
    assert_eq!(y, [1, 2, 3, 11, 4, 5, 6, 21]);
}

#[test]
fn a_table_answers_for_every_byte_and_leaves_other_channels_alone_on_every_instruction_set() {
    for seed in 0..if cfg!(miri) { 3 } else { 100 } {
        let random = &mut Random::new(seed);
        let (pixels, channels) = (1 + random.below(300), 1 + random.below(150));
        let dense = random.below(3) == 0;
        let mut stride = || channels + if dense { 0 } else { random.below(70) };
        let rows = Rows { pixels, channels, x_stride: stride(), y_stride: stride() };
        let table: [u8; 256] = random.bytes(256).try_into().unwrap();
        let x = random.bytes(pixels * rows.x_stride);
        for isa in Isa::available() {
            let mut y = vec![7; pixels * rows.y_stride];
            Lookup::new(isa, table).run(&rows, &x, &mut y, &Pool::new(1 + seed as usize % 3));
            for (i, found) in y.iter().enumerate() {
                let (pixel, c) = (i / rows.y_stride, i % rows.y_stride);
                let x = x.get(pixel * rows.x_stride + c);
                let expected = if c < channels { table[usize::from(*x.unwrap())] } else { 7 };
                assert_eq!(*found, expected, "{isa:?} {rows:?} at {i}");
            }
        }
    }
}

#[test]
fn nearest_neighbours_equal_the_definition_through_a_table_or_not() {
    for seed in 0..if cfg!(miri) { 3 } else { 100 } {
        let random = &mut Random::new(seed);
        let mut side = || 1 + random.below(9);
        let (input, output) = ([side(), side()], [side() * 2, side() * 2]);
        let whole = random.below(2) == 0;
        let output = if whole { [input[0] * 2, input[1] * 3] } else { output };
        let channels = 1 + random.below(130);
        let strides = [channels + random.below(3), channels + random.below(90)];
        let table: [u8; 256] = random.bytes(256).try_into().unwrap();
        let x = random.bytes(input[0] * input[1] * strides[0]);
        let nearest = Nearest::new(input, output, channels, strides).unwrap();
        for isa in Isa::available() {
            for lookup in [None, Some(&Lookup::new(isa, table))] {
                let mut y = vec![7; output[0] * output[1] * strides[1]];
                nearest.run(lookup, &x, &mut y, &Pool::new(1 + seed as usize % 3));
                for (i, found) in y.iter().enumerate() {
                    let (pixel, c) = (i / strides[1], i % strides[1]);
                    let (row, col) = (pixel / output[1], pixel % output[1]);
                    let from = row * input[0] / output[0] * input[1] + col * input[1] / output[1];
                    let q = x.get(from * strides[0] + c);
                    let expected = match lookup {
                        _ if c >= channels => 7,
                        Some(_) => table[usize::from(*q.unwrap())],
                        None => *q.unwrap(),
                    };
                    assert_eq!(*found, expected, "{isa:?} {nearest:?} at {i}");
                }
            }
        }
    }
}

#[test]
fn threads_do_not_change_an_upsampled_image() {
    let random = &mut Random::new(5);
    let x = random.bytes(9 * 11 * 40);
    let run = |threads: usize| {
        let pool = Pool::new(threads);
        let (mut a, mut b) = (vec![0; 27 * 31 * 40], vec![0; 27 * 31 * 40]);
        Nearest::new([9, 11], [27, 31], 40, [40, 40]).unwrap().run(None, &x, &mut a, &pool);
        let between = [Between::centres(9, 27), Between::centres(11, 31)];
        let (isa, strides) = (Isa::best(), [40, 40]);
        let up = Bilinear::new(isa, [9, 11], between, 40, strides, 0.9, [3, 4]).unwrap();
        up.run(&x, &mut b, &pool);
        (a, b)
    };
    assert_eq!(run(1), run(3));
}
