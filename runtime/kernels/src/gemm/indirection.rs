//! Where the taps of a tile's pixels lie: pointers into the input (XNNPACK calls them an indirection buffer).

use super::run::ConvRun;

impl ConvRun<'_> {
    /// First pixel of a tile, and how many it has.
    pub(super) fn pixels_of(&self, tile: usize) -> (usize, usize) {
        let plan = &self.conv.plan;
        let first = tile * plan.least + tile.min(plan.longer);
        (first, (plan.least + usize::from(tile < plan.longer)).min(plan.out_pixels - first))
    }

    /// Fills `rows[tap][pixel]` for the pixels of a tile.
    ///
    /// # Safety
    /// `rows` has room for `taps · kernel.pixels` pointers.
    pub(super) unsafe fn find_rows(&self, group: usize, tile: usize, rows: *mut *const u8) {
        let (first, pixels) = self.pixels_of(tile);
        if self.conv.plan.pointwise {
            let x = self.group_start(group).wrapping_add(first * self.pitch);
            for pixel in 0..pixels {
                // SAFETY: entry `[0][pixel]`.
                unsafe { rows.add(pixel).write(x.wrapping_add(pixel * self.pitch)) };
            }
            return;
        }
        self.each_tap(group, first, pixels, |pixel, tap, x| {
            // SAFETY: entry `[tap][pixel]`.
            unsafe { rows.add(tap * self.conv.kernel.pixels + pixel).write(x) };
        });
    }

    fn group_start(&self, group: usize) -> *const u8 {
        let spec = &self.conv.spec;
        let channels = group * (spec.in_channels / spec.groups);
        self.x.wrapping_add(channels)
    }

    /// `visit(pixel, tap, activations under the tap)`, pixel by pixel.
    #[inline(always)]
    fn each_tap(
        &self,
        group: usize,
        first: usize,
        pixels: usize,
        mut visit: impl FnMut(usize, usize, *const u8),
    ) {
        // Copies of what the loops need: behind the visitor's writes through pointers, nothing borrowed stays
        // in registers.
        let ConvRun { conv, pitch, padded, .. } = *self;
        let ([down, right], [row_step, col_step]) = (conv.spec.stride, conv.spec.dilation);
        let ([taps_h, taps_w], out_w) = (conv.plan.taps, conv.plan.out_w);
        let [top, left] =
            if padded { [0, 0] } else { [conv.spec.padding[0], conv.spec.padding[1]] };
        let ((height, width), padding) = (conv.source_size(), conv.padding.as_ptr());
        let (base, row_bytes, offsets) =
            (self.group_start(group), width * pitch, conv.plan.offsets.as_slice());
        // Where the first tap may lie so that all are inside; where padding is written out, that is everywhere.
        let rows_inside = height.saturating_sub((taps_h - 1) * row_step);
        let cols_inside =
            if padded { width } else { width.saturating_sub((taps_w - 1) * col_step) };
        let (mut y_out, mut x_out) = (first / out_w, first % out_w);
        for pixel in 0..pixels {
            // Wrapped below zero is far above the size, too.
            let (row, col) = ((y_out * down).wrapping_sub(top), (x_out * right).wrapping_sub(left));
            let x = base
                .wrapping_add(row.wrapping_mul(row_bytes))
                .wrapping_add(col.wrapping_mul(pitch));
            if row < rows_inside && col < cols_inside {
                for (tap, offset) in offsets.iter().enumerate() {
                    visit(pixel, tap, x.wrapping_add(*offset));
                }
            } else {
                for (tap, offset) in offsets.iter().enumerate() {
                    let (row, col) = (tap / taps_w * row_step, tap % taps_w * col_step);
                    let (row, col) = (
                        (y_out * down + row).wrapping_sub(top),
                        (x_out * right + col).wrapping_sub(left),
                    );
                    let inside = row < height && col < width;
                    visit(pixel, tap, if inside { x.wrapping_add(*offset) } else { padding });
                }
            }
            x_out += 1;
            if x_out == out_w {
                (x_out, y_out) = (0, y_out + 1);
            }
        }
    }
}
