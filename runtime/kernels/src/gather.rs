//! Rows, columns and channels of an image in another order, or left out, or put around it: slices, padding, nearest
//! neighbours, channel shuffles. No value changes, except through a table.

use std::ops::Range;

use crate::arch::generic::Loop;
use crate::eltwise::Rows;
use crate::isa::Isa;
use crate::lookup::Lookup;
use crate::memory::Pool;
use crate::spec::{SpecError, sizes, stride};

/// `y[row, column, channel] = x[rows[row], columns[column], channels[channel]]`; where one of the three is `None`,
/// the fill. With a table, what it answers for `x`; the fill is as it is.
#[derive(Debug, Clone)]
pub struct Gather {
    isa: Isa,
    /// Columns and channels of the input.
    width: usize,
    depth: usize,
    rows: Vec<Option<usize>>,
    columns: Vec<Run>,
    out_w: usize,
    channels: Channels,
    out_stride: usize,
    fill: u8,
}

/// Neighbouring columns of the output that are neighbours in the input, or all fill.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    from: Option<usize>,
    count: usize,
}

/// Channels of a pixel.
#[derive(Debug, Clone)]
enum Channels {
    /// Neighbours in the input.
    Run(Range<usize>),
    /// A matrix of so many rows, its columns one after the other: a channel shuffle.
    Shuffled {
        rows: usize,
        count: usize,
    },
    Any(Vec<Option<usize>>),
}

impl Gather {
    /// From an image of `[rows, columns, channels]`, dense, to pixels `out_stride` apart.
    pub fn new(
        isa: Isa,
        [height, width, depth]: [usize; 3],
        [rows, columns, channels]: [&[Option<usize>]; 3],
        out_stride: usize,
        fill: u8,
    ) -> Result<Self, SpecError> {
        sizes("image", &[height, width, rows.len(), columns.len()])?;
        sizes("channels", &[depth, channels.len()])?;
        stride("output", out_stride, channels.len())?;
        let inside = |from: &[Option<usize>], size| from.iter().flatten().all(|at| *at < size);
        if !inside(rows, height) || !inside(columns, width) || !inside(channels, depth) {
            return Err(SpecError::TooLarge { what: "position" });
        }
        let (rows, out_w) = (rows.to_vec(), columns.len());
        let (columns, channels) = (runs(columns), Channels::of(channels));
        Ok(Self { isa, width, depth, rows, columns, out_w, channels, out_stride, fill })
    }

    fn out_channels(&self) -> usize {
        match &self.channels {
            Channels::Run(run) => run.len(),
            Channels::Shuffled { count, .. } => *count,
            Channels::Any(from) => from.len(),
        }
    }

    pub fn run(&self, table: Option<&Lookup>, x: &[u8], y: &mut [u8], pool: &Pool) {
        let (pitch, channels) = (self.out_w * self.out_stride, self.out_channels());
        let y = &mut y[..(self.rows.len() * self.out_w - 1) * self.out_stride + channels];
        pool.split_rows(y, self.rows.len(), pitch, |rows, y| {
            for (y, row) in y.chunks_mut(pitch).zip(&self.rows[rows]) {
                let bytes = self.width * self.depth;
                self.row(table, row.map(|row| &x[row * bytes..][..bytes]), y);
            }
        });
    }

    fn row(&self, table: Option<&Lookup>, x: Option<&[u8]>, y: &mut [u8]) {
        let (channels, y_stride) = (self.out_channels(), self.out_stride);
        let mut rest = y;
        for run in &self.columns {
            let bytes = (run.count * y_stride).min(rest.len());
            let (y, behind) = rest.split_at_mut(bytes);
            rest = behind;
            match (x, run.from) {
                (Some(x), Some(from)) => {
                    let rows = Rows { pixels: run.count, channels, x_stride: self.depth, y_stride };
                    self.pixels(table, &rows, &x[from * self.depth..], y);
                }
                _ => y.chunks_mut(y_stride).for_each(|y| y[..channels].fill(self.fill)),
            }
        }
    }

    fn pixels(&self, table: Option<&Lookup>, rows: &Rows, x: &[u8], y: &mut [u8]) {
        match (&self.channels, table) {
            (Channels::Run(run), Some(table)) => table.pixels(rows, 1, &x[run.start..], y),
            (Channels::Run(run), None) => {
                let dense = [rows.x_stride, rows.y_stride] == [rows.channels; 2];
                if dense {
                    return y.copy_from_slice(&x[..y.len()]);
                }
                for (x, y) in x.chunks(rows.x_stride).zip(y.chunks_mut(rows.y_stride)) {
                    y[..rows.channels].copy_from_slice(&x[run.clone()]);
                }
            }
            (Channels::Shuffled { rows: groups, .. }, _) => {
                self.isa.vectorize(Shuffle { groups: *groups, rows, x, y: &mut *y });
                if let Some(table) = table {
                    y.chunks_mut(rows.y_stride).for_each(|y| table.bytes(&mut y[..rows.channels]));
                }
            }
            (Channels::Any(from), _) => {
                for (x, y) in x.chunks(rows.x_stride).zip(y.chunks_mut(rows.y_stride)) {
                    for (y, from) in y.iter_mut().zip(from) {
                        let answer = |q: u8| table.map_or(q, |table| table.of(q));
                        *y = from.map_or(self.fill, |from| answer(x[from]));
                    }
                }
            }
        }
    }
}

impl Channels {
    fn of(from: &[Option<usize>]) -> Self {
        let count = from.len();
        if let Some(first) = from[0]
            && from.iter().enumerate().all(|(at, from)| *from == Some(first + at))
        {
            return Self::Run(first..first + count);
        }
        let shuffled = |rows: &usize| {
            let columns = count / rows;
            let of = |at: usize| at % rows * columns + at / rows;
            from.iter().enumerate().all(|(at, from)| *from == Some(of(at)))
        };
        let mut rows = (2..count).filter(|rows| count.is_multiple_of(*rows));
        match rows.find(shuffled) {
            Some(rows) => Self::Shuffled { rows, count },
            None => Self::Any(from.to_vec()),
        }
    }
}

fn runs(columns: &[Option<usize>]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for &from in columns {
        match runs.last_mut() {
            Some(run) if from == run.from.map(|first| first + run.count) => run.count += 1,
            _ => runs.push(Run { from, count: 1 }),
        }
    }
    runs
}

/// Channels as a matrix of `groups` rows, column by column.
struct Shuffle<'a> {
    groups: usize,
    rows: &'a Rows,
    x: &'a [u8],
    y: &'a mut [u8],
}

impl Loop for Shuffle<'_> {
    #[inline(always)]
    fn run(self) {
        let Self { groups, rows, x, y } = self;
        let columns = rows.channels / groups;
        for (x, y) in x.chunks(rows.x_stride).zip(y.chunks_mut(rows.y_stride)) {
            let (x, y) = (&x[..rows.channels], &mut y[..rows.channels]);
            if groups == 2 {
                let (a, b) = x.split_at(columns);
                let (y, _) = y.as_chunks_mut::<2>();
                y.iter_mut().zip(a).zip(b).for_each(|((y, a), b)| *y = [*a, *b]);
                continue;
            }
            for (group, x) in x.chunks_exact(columns).enumerate() {
                let y = y[group..].iter_mut().step_by(groups);
                y.zip(x).for_each(|(y, x)| *y = *x);
            }
        }
    }
}
