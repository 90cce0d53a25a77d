//! Any function of one quantized value, as 256 answers: sigmoid, hard-swish, another scale and zero point.

use std::fmt;

use crate::arch::generic::lookup::TableLookup;
use crate::eltwise::Rows;
use crate::isa::Isa;
use crate::memory::Pool;

/// `y = table[x]`, by the fastest way an instruction set has.
#[derive(Clone)]
pub struct Lookup {
    table: Box<[u8; 256]>,
    kernel: unsafe fn(&TableLookup<'_>),
}

impl Lookup {
    pub fn new(isa: Isa, table: [u8; 256]) -> Self {
        Self { table: Box::new(table), kernel: isa.table_lookup() }
    }

    /// Every row through the table.
    pub fn run(&self, rows: &Rows, x: &[u8], y: &mut [u8], pool: &Pool) {
        let x = &x[..rows.bytes(rows.x_stride)];
        let y = &mut y[..rows.bytes(rows.y_stride)];
        pool.split_rows(y, rows.pixels, rows.y_stride, |pixels, y| {
            let x = &x[pixels.start * rows.x_stride..];
            self.pixels(&Rows { pixels: pixels.len(), ..*rows }, 1, x, y);
        });
    }

    pub(crate) fn of(&self, q: u8) -> u8 {
        self.table[usize::from(q)]
    }

    /// Every row through the table, over the pool's threads; rows of `x` are those of `y`.
    pub fn in_place(&self, rows: &Rows, y: &mut [u8], pool: &Pool) {
        assert_eq!(rows.x_stride, rows.y_stride, "strides");
        let y = &mut y[..rows.bytes(rows.y_stride)];
        pool.split_rows(y, rows.pixels, rows.y_stride, |pixels, y| {
            self.rows(&Rows { pixels: pixels.len(), ..*rows }, y);
        });
    }

    /// Every byte through the table.
    pub(crate) fn bytes(&self, y: &mut [u8]) {
        let channels = y.len();
        self.rows(&Rows { pixels: 1, channels, x_stride: channels, y_stride: channels }, y);
    }

    fn rows(&self, rows: &Rows, y: &mut [u8]) {
        let y = &mut y[..rows.bytes(rows.y_stride)];
        let to = y.as_mut_ptr();
        let x = to.cast_const();
        let dense = rows.y_stride == rows.channels;
        let (channels, pixels) = if dense { (y.len(), 1) } else { (rows.channels, rows.pixels) };
        let (x_stride, y_stride, table) = (rows.x_stride, rows.y_stride, &*self.table);
        let lookup =
            TableLookup { table, x, x_stride, y: to, y_stride, channels, pixels, repeat: 1 };
        // SAFETY: the function came from an `Isa`, which proves the CPU has it; it reads and writes this slice, each
        // byte before it writes it.
        unsafe { (self.kernel)(&lookup) }
    }

    /// Pixels of `x` through the table, each to `repeat` pixels of `y`.
    pub(crate) fn pixels(&self, rows: &Rows, repeat: usize, x: &[u8], y: &mut [u8]) {
        let written = Rows { pixels: rows.pixels * repeat, ..*rows };
        let (x, y) = (&x[..rows.bytes(rows.x_stride)], &mut y[..written.bytes(rows.y_stride)]);
        let one = rows.x_stride == rows.channels && rows.y_stride == rows.channels && repeat == 1;
        let (channels, pixels) =
            if one { (rows.pixels * rows.channels, 1) } else { (rows.channels, rows.pixels) };
        let lookup = TableLookup {
            table: &self.table,
            x: x.as_ptr(),
            x_stride: rows.x_stride,
            y: y.as_mut_ptr(),
            y_stride: rows.y_stride,
            channels,
            pixels,
            repeat,
        };
        // SAFETY: the function came from an `Isa`, which proves the CPU has it; both slices were cut to what it
        // touches.
        unsafe { (self.kernel)(&lookup) }
    }
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lookup").field(&self.table).finish()
    }
}
