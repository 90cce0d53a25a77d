//! From sums to outputs, for forms that multiply in their own way, and by the scalar definition.

use super::plan::Block;
use super::run::{ConvRun, FloatOrder, OutputTarget};
use super::tile::{Output, Tile};
use crate::scalar;

impl ConvRun<'_> {
    /// The output of neighbouring pixels from `first` on, for forms that multiply in their own way: rows and
    /// weights of the tile are not set. Floats have to go through sums.
    pub(crate) fn outputs(&self, block: usize, first: usize, pixels: usize) -> Tile<'_> {
        let conv = self.conv;
        let Block { channel, channels, .. } = conv.plan.blocks[block];
        let output = match self.target {
            OutputTarget::Floats { .. } => Output::Sums(std::ptr::null_mut()),
            OutputTarget::Bytes { y, residual } => Output::Bytes {
                y: y.wrapping_add(first * conv.spec.out_stride + channel),
                stride: conv.spec.out_stride,
                requant: &conv.requant,
                residual: residual
                    .map(|(r, add)| (r.wrapping_add(first * add.stride + channel), add)),
            },
        };
        Tile {
            rows: std::ptr::null(),
            offset: 0,
            taps: 0,
            steps: 0,
            weights: std::ptr::null(),
            bias: std::ptr::null(),
            scale: conv.scale[block * conv.kernel.channels..].as_ptr(),
            pixels,
            channels,
            output,
            prefetch: (std::ptr::null(), 0),
        }
    }

    /// Brings sums in memory to the outputs of neighbouring pixels from `first` on, by an instruction set's
    /// own way where they become bytes.
    ///
    /// # Safety
    /// As `write` and [`ConvRun::finish`]; there are sums for the pixels.
    pub(crate) unsafe fn write_sums(
        &self,
        write: unsafe fn(&Tile<'_>, *const i32),
        block: usize,
        first: usize,
        pixels: usize,
        sums: *const i32,
    ) {
        let tile = self.outputs(block, first, pixels);
        // SAFETY: the caller vouches for the sums of the pixels, `lanes` each, and for what `write` asks of CPU and
        // alignment.
        unsafe {
            if let Output::Sums(_) = tile.output {
                let lanes = self.conv.kernel.channels;
                self.finish(block, first, std::slice::from_raw_parts(sums, pixels * lanes));
            } else {
                write(&tile, sums);
            }
        }
    }

    /// Requantizes the sums of neighbouring pixels by the scalar definition, or multiplies only.
    ///
    /// # Safety
    /// The block and the pixels from `first` on exist, and no other thread writes them.
    pub(crate) unsafe fn finish(&self, block: usize, first: usize, sums: &[i32]) {
        let (conv, lanes) = (self.conv, self.conv.kernel.channels);
        let Block { channel, channels, .. } = conv.plan.blocks[block];
        let scale = &conv.scale[block * lanes..][..channels];
        match self.target {
            OutputTarget::Floats { y, order: FloatOrder::ByPixel } => {
                for (pixel, sums) in sums.chunks_exact(lanes).enumerate() {
                    let at = (first + pixel) * conv.spec.out_channels + channel;
                    // SAFETY: pixel and channels exist, says the caller, and no other thread has them; `Conv::run_f32_by_pixel`
                    // checked the length.
                    let row = unsafe { std::slice::from_raw_parts_mut(y.add(at), channels) };
                    let products = sums.iter().zip(scale).map(|(sum, scale)| *sum as f32 * scale);
                    row.iter_mut().zip(products).for_each(|(y, product)| *y = product);
                }
            }
            OutputTarget::Floats { y, order: FloatOrder::ByChannel } => {
                for (n, scale) in scale.iter().enumerate() {
                    let plane = y.wrapping_add((channel + n) * conv.spec.out_pixels() + first);
                    for (pixel, sum) in sums[n..].iter().step_by(lanes).enumerate() {
                        // SAFETY: plane and pixel exist, says the caller, and `Conv::run_f32` checked the length.
                        unsafe { plane.add(pixel).write(*sum as f32 * scale) };
                    }
                }
            }
            OutputTarget::Bytes { y, residual } => {
                let requant = &conv.requant;
                for (pixel, sums) in sums.chunks_exact(lanes).enumerate() {
                    let pixel = first + pixel;
                    let y = y.wrapping_add(pixel * conv.spec.out_stride + channel);
                    for (n, (sum, scale)) in sums.iter().zip(scale).enumerate() {
                        let v = *sum as f32 * scale;
                        let c = scalar::requantize(v, requant.zero, requant.lo, requant.hi);
                        let q = residual.map_or(c, |(r, add)| {
                            // SAFETY: the residual was checked for length in `run`.
                            let r = unsafe { *r.add(pixel * add.stride + channel + n) };
                            scalar::add_one(add, requant.zero, c, r)
                        });
                        // SAFETY: block and pixel exist, says the caller, and `Conv::run` checked the length.
                        unsafe { y.add(n).write(q) };
                    }
                }
            }
        }
    }
}
