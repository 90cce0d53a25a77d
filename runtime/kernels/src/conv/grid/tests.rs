//! The loops and the layouts on any CPU: with products in plain loops for those of registers.

use std::cell::RefCell;

use crate::matrix::{Constants, Matrix, Product};
use crate::portable;
use crate::tile::Tile;
use crate::{Buffer, Conv, ConvSpec, ConvWeights, Isa, Pool, Residual, Scratch, scalar};

const ROWS: usize = 32;
const LANES: usize = portable::KERNEL.channels;
const DEPTH: usize = 64;

static PLAIN: Matrix = Matrix {
    rows: ROWS,
    channels: LANES,
    depth: DEPTH,
    pays: |_| true,
    runs: false,
    enter: || {},
    leave: || {},
    constants: |_, _| Constants::NONE,
    multiply,
    store,
    finish,
};

thread_local! {
    static REGISTERS: RefCell<Vec<i32>> = const { RefCell::new(Vec::new()) };
}

unsafe fn multiply(
    p: &Product<'_>,
    done: Option<(&Tile<'_>, *const i32)>,
    _: &Tile<'_>,
    _: &Constants,
) {
    if let Some((tile, sums)) = done {
        // SAFETY: as `Matrix::multiply` demands.
        unsafe { finish(tile, sums) };
    }
    let mut sums = Vec::new();
    for row in 0..if p.half { ROWS / 2 } else { ROWS } {
        for lane in 0..LANES {
            // SAFETY: as `Matrix::multiply` demands.
            let mut sum = unsafe { *p.bias.add(row % (ROWS / 2) * LANES + lane) };
            for (tap, offset) in p.taps.iter().enumerate() {
                for k in 0..p.steps * DEPTH {
                    let quad = tap * p.steps * DEPTH / 4 + k / 4;
                    // SAFETY: as `Matrix::multiply` demands.
                    let (x, w) = unsafe {
                        let w = p.weights.add((quad * LANES + lane) * 4 + k % 4);
                        (*p.x.add(offset + row * p.pitch + k), w.cast::<i8>().read())
                    };
                    sum = sum.wrapping_add(i32::from(x) * i32::from(w));
                }
            }
            sums.push(sum);
        }
    }
    REGISTERS.set(sums);
}

unsafe fn store(p: &Product<'_>) {
    let sums = REGISTERS.take();
    assert_eq!(sums.len(), if p.half { ROWS / 2 } else { ROWS } * LANES);
    // SAFETY: as `Matrix::store` demands.
    unsafe { std::ptr::copy_nonoverlapping(sums.as_ptr(), p.sums[0], sums.len()) };
}

unsafe fn finish(t: &Tile<'_>, sums: *const i32) {
    for pixel in 0..t.pixels {
        // SAFETY: as `Matrix::finish` demands.
        unsafe { t.finish_row(pixel, &*sums.cast::<[i32; LANES]>().add(pixel)) };
    }
}

/// Numbers without a pattern.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.next() % from.len()]
    }
}

fn any_spec(noise: &mut Noise) -> ConvSpec {
    let kernel =
        noise.pick(&[[1, 1], [1, 1], [3, 3], [3, 3], [5, 5], [7, 7], [1, 3], [2, 2], [9, 2]]);
    let dilation = noise.pick(&[[1, 1], [1, 1], [2, 2], [1, 3]]);
    let padding: [usize; 4] = std::array::from_fn(|side| noise.next() % (kernel[side % 2] + 1));
    let in_channels = noise.pick(&[1, 1, 3, 16, 31, 64, 65]);
    let out_channels = noise.pick(&[1, 5, 8, 17, 32]);
    let least = |axis: usize| {
        ((kernel[axis] - 1) * dilation[axis] + 1).saturating_sub(padding[axis]).max(1)
    };
    ConvSpec {
        in_channels,
        out_channels,
        groups: 1,
        kernel,
        stride: noise.pick(&[[1, 1], [1, 1], [2, 2], [1, 2], [3, 2]]),
        padding,
        dilation,
        in_h: least(0) + noise.next() % 9,
        in_w: least(1) + noise.next() % 20,
        in_stride: in_channels + noise.pick(&[0, 0, 1, 5]),
        out_stride: out_channels + noise.pick(&[0, 3]),
    }
}

#[test]
fn convolutions_as_products_of_matrices_equal_the_definition() {
    let pools = [Pool::new(1), Pool::new(3)];
    let mut taken = 0;
    for seed in 0..if cfg!(miri) { 4 } else { 200 } {
        let noise = &mut Noise(seed);
        let spec = any_spec(noise);
        let (n, pixels) = (spec.out_channels, spec.out_pixels());
        let weight: Vec<i8> =
            (0..n * spec.in_channels * spec.taps()).map(|_| noise.next() as i8).collect();
        let bias: Vec<i32> = (0..n).map(|_| noise.next() as i32 % 20_000).collect();
        let scale = vec![0.02 / (spec.in_channels * spec.taps()) as f32; n];
        let weights = ConvWeights {
            weight: &weight,
            bias: &bias,
            scale: &scale,
            x_zero: noise.next() as u8,
            y_zero: 100,
            lo: 3,
            hi: 250,
        };
        let len = (spec.in_h * spec.in_w - 1) * spec.in_stride + spec.in_channels;
        let mut x = Buffer::zeroed(len);
        x.iter_mut().for_each(|x| *x = noise.next() as u8);
        let add = Residual {
            conv_ratio: 0.7,
            ratio: 1.3,
            zero: 90,
            out_zero: 120,
            lo: 0,
            hi: 255,
            stride: n + 1,
        };
        let r: Vec<u8> = (0..pixels * (n + 1)).map(|_| noise.next() as u8).collect();
        let residual = (seed % 2 == 0).then_some((&add, &r[..]));
        let conv = Conv::pack_with(
            Isa::scalar(),
            Some(&PLAIN),
            &spec,
            weights,
            residual.map(|(add, _)| *add),
        )
        .expect("a valid convolution");
        taken += usize::from(conv.grid.is_some());
        let pool = &pools[seed as usize % 2];
        let mut scratch = Scratch::with_bytes(conv.scratch_bytes(pool.threads()));
        let (mut found, mut expected) =
            (vec![7; pixels * spec.out_stride], vec![7; pixels * spec.out_stride]);
        conv.run(&x, residual.map(|(_, r)| r), &mut found, pool, &mut scratch);
        scalar::conv(&spec, &weights, &x, residual, &mut expected);
        assert_eq!(found, expected, "{spec:?}");
        if residual.is_none() {
            let (mut found, mut expected) = (vec![0.0; pixels * n], vec![0.0; pixels * n]);
            conv.run_f32(&x, &mut found, pool, &mut scratch);
            scalar::conv_f32(&spec, &weights, &x, &mut expected);
            assert_eq!(found, expected, "{spec:?}");
        }
    }
    assert!(taken > 2 || !cfg!(miri), "{taken} took the form");
    assert!(taken > 100 || cfg!(miri), "{taken} took the form");
}
