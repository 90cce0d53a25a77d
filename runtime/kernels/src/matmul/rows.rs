//! From a row of exact sums to bytes: requantized, or each one's share by softmax.

use std::sync::Arc;

use crate::arch::generic::rows::{RowKernels, ShareQuant};
use crate::softmax::Exponentials;

/// What becomes of the sums of a product.
#[derive(Debug, Clone)]
pub(crate) enum SumsToBytes {
    Requantized { ratio: f32, zero: u8 },
    Shared { exponentials: Arc<Exponentials>, quant: ShareQuant },
}

impl SumsToBytes {
    /// Writes a row of results, `stride` bytes apart. `numbers` has as many entries as there are sums.
    ///
    /// # Safety
    /// `y` can be written for as many results as there are sums.
    pub(crate) unsafe fn row(
        &self,
        kernels: &RowKernels,
        sums: &[i32],
        numbers: &mut [u32],
        y: *mut u8,
        stride: usize,
    ) {
        let total = match self {
            Self::Requantized { .. } => 0.0,
            Self::Shared { exponentials, .. } => exponentials.of_row(sums, numbers) as f32,
        };
        let mut piece = [0; PIECE];
        for first in (0..sums.len()).step_by(PIECE) {
            let last = (first + PIECE).min(sums.len());
            let piece = &mut piece[..last - first];
            // SAFETY: the functions came from an `Isa`, which proves the CPU has it, and ask for nothing else; so
            // many results can be written, says the caller.
            unsafe {
                match self {
                    Self::Requantized { ratio, zero } => {
                        (kernels.requantize)(&sums[first..last], *ratio, *zero, piece);
                    }
                    Self::Shared { quant, .. } => {
                        (kernels.share)(&numbers[first..last], total, *quant, piece);
                    }
                }
                put(piece, y.wrapping_add(first * stride), stride);
            }
        }
    }
}

/// Results that are made together.
const PIECE: usize = 256;

/// # Safety
/// `y` can be written for all of `piece`, `stride` bytes apart.
unsafe fn put(piece: &[u8], y: *mut u8, stride: usize) {
    if stride == 1 {
        // SAFETY: says the caller.
        return unsafe { std::ptr::copy_nonoverlapping(piece.as_ptr(), y, piece.len()) };
    }
    for (at, q) in piece.iter().enumerate() {
        // SAFETY: says the caller.
        unsafe { y.add(at * stride).write(*q) };
    }
}
