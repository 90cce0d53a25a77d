//! Bytes through a table of 256, one at a time.

/// Pixels through a table: pixel `p` of `y` is that of pixel `p / repeat` of `x`. The two may be the same memory where
/// `repeat` is 1.
pub(crate) struct TableLookup<'a> {
    pub(crate) table: &'a [u8; 256],
    pub(crate) x: *const u8,
    pub(crate) x_stride: usize,
    pub(crate) y: *mut u8,
    pub(crate) y_stride: usize,
    pub(crate) channels: usize,
    /// Of `x`.
    pub(crate) pixels: usize,
    pub(crate) repeat: usize,
}

/// # Safety
/// `x` is readable and `y` writable as [`TableLookup`] says; any CPU will do.
pub(crate) unsafe fn look_up(s: &TableLookup<'_>) {
    for pixel in 0..s.pixels {
        // SAFETY: `pixel < pixels` and `copy < pixels · repeat`, the rows that the caller says can be read and
        // written.
        unsafe {
            let x = s.x.add(pixel * s.x_stride);
            for copy in pixel * s.repeat..(pixel + 1) * s.repeat {
                let y = s.y.add(copy * s.y_stride);
                for c in 0..s.channels {
                    y.add(c).write(s.table[usize::from(x.add(c).read())]);
                }
            }
        }
    }
}
