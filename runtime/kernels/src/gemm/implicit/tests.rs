//! The loops and the layouts on any CPU: with products in plain loops for those of registers.

use std::cell::RefCell;

use crate::arch::generic;
use crate::case::{Case, random_spec};
use crate::conv::Form;
use crate::gemm::strided::{EpilogueConstants, Product, StridedKernel};
use crate::gemm::tile::Tile;
use crate::random::Random;
use crate::{Conv, Isa, Pool, scalar};

const ROWS: usize = 32;
const LANES: usize = generic::gemm::KERNEL.channels;
const DEPTH: usize = 64;

static PLAIN: [StridedKernel; 1] = [StridedKernel {
    rows: ROWS,
    channels: LANES,
    depth: DEPTH,
    least_steps: 1,
    arrange: None,
    pays: |_| true,
    runs: false,
    enter: || {},
    leave: || {},
    constants: |_, _| EpilogueConstants::NONE,
    multiply,
    store,
    finish,
}];

thread_local! {
    static REGISTERS: RefCell<Vec<i32>> = const { RefCell::new(Vec::new()) };
}

unsafe fn multiply(
    p: &Product<'_>,
    done: Option<(&Tile<'_>, *const i32)>,
    _: &Tile<'_>,
    _: &EpilogueConstants,
) {
    if let Some((tile, sums)) = done {
        // SAFETY: `StridedKernel::multiply` promises.
        unsafe { finish(tile, sums) };
    }
    let mut sums = Vec::new();
    for row in 0..if p.half { ROWS / 2 } else { ROWS } {
        for lane in 0..LANES {
            // SAFETY: `StridedKernel::multiply` promises.
            let mut sum = unsafe { *p.bias.add(row % (ROWS / 2) * LANES + lane) };
            for (tap, offset) in p.taps.iter().enumerate() {
                for k in 0..p.steps * DEPTH {
                    let quad = tap * p.steps * DEPTH / 4 + k / 4;
                    // SAFETY: `StridedKernel::multiply` promises.
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
    // SAFETY: `StridedKernel::store` promises.
    unsafe { std::ptr::copy_nonoverlapping(sums.as_ptr(), p.sums[0], sums.len()) };
}

unsafe fn finish(t: &Tile<'_>, sums: *const i32) {
    for pixel in 0..t.pixels {
        // SAFETY: `StridedKernel::finish` promises.
        unsafe { t.finish_row(pixel, &*sums.cast::<[i32; LANES]>().add(pixel)) };
    }
}

#[test]
fn convolutions_as_products_of_matrices_equal_the_definition() {
    let pools = [Pool::new(1), Pool::new(3)];
    let mut taken = 0;
    let cases = if cfg!(miri) { 12 } else { 400 };
    for seed in 0..cases {
        let random = &mut Random::new(7000 + seed);
        let mut spec = random_spec(random);
        if spec.groups == 1 && random.below(4) == 0 {
            // Where a window of one channel is one run.
            spec.in_stride -= spec.in_channels - 1;
            spec.in_channels = 1;
        }
        let with_residual = random.below(2) == 0;
        let case = Case::new(random, spec, with_residual);
        let conv = Conv::pack_with(
            Isa::scalar(),
            (&PLAIN, None),
            &case.spec,
            case.weights(),
            case.residual,
        )
        .expect("a valid convolution");
        taken += u64::from(matches!(conv.form, Form::Implicit(_)));
        let pool = &pools[seed as usize % 2];
        case.check_packed(&conv, "products", pool);
        if !with_residual {
            let mut expected = vec![-7.0; case.spec.out_channels * case.spec.out_pixels() + 3];
            scalar::conv_f32(&case.spec, &case.weights(), &case.x, &mut expected);
            assert_eq!(case.run_f32(&conv, pool), expected, "{:?}", case.spec);
        }
    }
    assert!(taken > cases / 4, "{taken} of {cases} took the form");
}
