//! What one image looks like to the network, as a short list of numbers. Sums go in a fixed order in f64, roots are
//! IEEE's: the same bits on every processor.

use crate::{
    DriftError,
    directions::{COARSE, QUANTILES, SIDE},
};
use serde::{Deserialize, Serialize};

/// How the network's input is read: the first channel counts, grey is all there is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Frame {
    pub height: u32,
    pub width: u32,
    /// What a black pixel is in the input.
    pub black: f32,
    /// What a white one is.
    pub white: f32,
}

/// Names of the numbers that `pixels` gives, in its order. Append only: version 1 of a reference has the first 16.
pub const PIXELS: [&str; 17] = [
    "pixels/mean",
    "pixels/deviation",
    "pixels/5 %",
    "pixels/25 %",
    "pixels/median",
    "pixels/75 %",
    "pixels/95 %",
    "pixels/black",
    "pixels/white",
    "pixels/noise",
    "pixels/detail",
    "pixels/local contrast",
    "pixels/border",
    "pixels/centre less frame",
    "pixels/upper less lower",
    "pixels/left less right",
    "pixels/lines",
];

/// Numbers that version 1 of a reference has.
pub(crate) const FIRST: usize = 16;

/// Bins of the histogram of grey levels, equally wide from black to white.
pub const GREYS: usize = 10;

/// What is measured of one image.
#[derive(Debug, PartialEq)]
pub(crate) struct Measured {
    pub(crate) numbers: [f32; PIXELS.len()],
    /// Histogram of grey levels, as shares of the pixels.
    pub(crate) greys: [f32; GREYS],
    /// What [`Directions`](crate::directions::Directions) weighs.
    pub(crate) coarse: Vec<f32>,
}

pub(crate) fn pixels(input: &[f32], frame: &Frame) -> Result<Measured, DriftError> {
    let picture = Picture::new(input, frame)?;
    let mut sorted = picture.grey.clone();
    sorted.sort_unstable_by(f32::total_cmp);
    let last = sorted.len() - 1;
    let quantile = |percent: usize| sorted[last * percent / 100];
    let share = |is: fn(&f32) -> bool| {
        picture.grey.iter().filter(|grey| is(grey)).count() as f32 / sorted.len() as f32
    };
    let (rows, columns) = (picture.rows, picture.columns);
    let (noise, detail) = picture.noise();
    let numbers = [
        picture.mean(0..rows, 0..columns),
        deviation(&picture.grey),
        quantile(5),
        quantile(25),
        quantile(50),
        quantile(75),
        quantile(95),
        share(|grey| *grey <= STEP),
        share(|grey| *grey >= 1.0 - STEP),
        noise,
        detail,
        picture.local_contrast(),
        picture.border(),
        picture.centre_less_frame(),
        picture.mean(0..rows / 2, 0..columns) - picture.mean(rows / 2..rows, 0..columns),
        picture.mean(0..rows, 0..columns / 2) - picture.mean(0..rows, columns / 2..columns),
        picture.lines(),
    ];
    if let Some(at) = numbers.iter().position(|x| !x.is_finite()) {
        return Err(DriftError::NotFinite { what: PIXELS[at].into() });
    }
    let mut coarse = Vec::with_capacity(COARSE);
    for row in 0..SIDE {
        let side = |at: usize, of: usize| at * of / SIDE..(at + 1) * of / SIDE;
        coarse.extend((0..SIDE).map(|column| picture.mean(side(row, rows), side(column, columns))));
    }
    coarse.extend(QUANTILES.map(quantile));
    Ok(Measured { numbers, greys: picture.greys(), coarse })
}

/// Half a step of 8 bits, in which greys are told from black and white.
const STEP: f32 = 0.5 / 255.0;
/// A row or column whose greys lie closer together shows nothing of a patient.
const FLAT: f32 = 0.05;
/// Side of the squares of local contrast.
const SQUARE: usize = 8;

/// The first channel, 0 is black and 1 is white.
struct Picture {
    rows: usize,
    columns: usize,
    grey: Vec<f32>,
}

impl Picture {
    fn new(input: &[f32], frame: &Frame) -> Result<Self, DriftError> {
        let (rows, columns) = (frame.height as usize, frame.width as usize);
        let expected = rows * columns;
        if input.len() < expected || expected == 0 || !input.len().is_multiple_of(expected) {
            return Err(DriftError::Length { what: "the input", found: input.len(), expected });
        }
        let span = frame.white - frame.black;
        let grey: Vec<f32> =
            input[..expected].iter().map(|x| ((x - frame.black) / span).clamp(0.0, 1.0)).collect();
        if grey.iter().any(|x| !x.is_finite()) {
            return Err(DriftError::NotFinite { what: "the input".into() });
        }
        Ok(Self { rows, columns, grey })
    }

    fn at(&self, row: usize, column: usize) -> f32 {
        self.grey[row * self.columns + column]
    }

    fn mean(&self, rows: std::ops::Range<usize>, columns: std::ops::Range<usize>) -> f32 {
        let mut sum = 0.0_f64;
        for row in rows.clone() {
            for column in columns.clone() {
                sum += f64::from(self.at(row, column));
            }
        }
        let count = rows.len() * columns.len();
        if count == 0 { 0.0 } else { (sum / count as f64) as f32 }
    }

    /// Noise: median of the absolute second difference in both directions, which edges hardly move (Immerkær's mask).
    /// Detail: its mean beside that of a difference over twice the distance.
    fn noise(&self) -> (f32, f32) {
        let differences = |step: usize| {
            let mut all = Vec::new();
            for row in step..self.rows.saturating_sub(step) {
                for column in step..self.columns.saturating_sub(step) {
                    let line = |row| {
                        self.at(row, column - step) - 2.0 * self.at(row, column)
                            + self.at(row, column + step)
                    };
                    all.push((line(row - step) - 2.0 * line(row) + line(row + step)).abs());
                }
            }
            all
        };
        let mut near = differences(1);
        let far = mean_of(&differences(2));
        let detail = if far > 0.0 { mean_of(&near) / far } else { 0.0 };
        near.sort_unstable_by(f32::total_cmp);
        (near.get(near.len() / 2).copied().unwrap_or_default(), detail)
    }

    /// Mean deviation within small squares.
    fn local_contrast(&self) -> f32 {
        let (mut sum, mut squares) = (0.0_f64, 0_usize);
        for top in (0..self.rows / SQUARE * SQUARE).step_by(SQUARE) {
            for left in (0..self.columns / SQUARE * SQUARE).step_by(SQUARE) {
                let square: Vec<f32> = (top..top + SQUARE)
                    .flat_map(|row| (left..left + SQUARE).map(move |column| (row, column)))
                    .map(|(row, column)| self.at(row, column))
                    .collect();
                sum += f64::from(deviation(&square));
                squares += 1;
            }
        }
        if squares == 0 { 0.0 } else { (sum / squares as f64) as f32 }
    }

    /// Share of rows and columns, counted from each edge, that show nothing: what a collimator or a padded frame leaves.
    fn border(&self) -> f32 {
        let flat = |greys: &mut dyn Iterator<Item = f32>| {
            let (mut least, mut most) = (1.0_f32, 0.0_f32);
            for grey in greys {
                (least, most) = (least.min(grey), most.max(grey));
            }
            most - least < FLAT
        };
        let row = |row: &usize| flat(&mut (0..self.columns).map(|column| self.at(*row, column)));
        let column = |column: &usize| flat(&mut (0..self.rows).map(|row| self.at(row, *column)));
        let rows =
            (0..self.rows).take_while(row).count() + (0..self.rows).rev().take_while(row).count();
        let columns = (0..self.columns).take_while(column).count()
            + (0..self.columns).rev().take_while(column).count();
        (rows + columns) as f32 / (self.rows + self.columns) as f32
    }

    /// Mean of the middle half less that of the outer tenth: its sign turns where black and white change places.
    fn centre_less_frame(&self) -> f32 {
        let (rows, columns) = (self.rows, self.columns);
        let centre = self.mean(rows / 4..rows - rows / 4, columns / 4..columns - columns / 4);
        let (thick, wide) = (rows / 10, columns / 10);
        let frame = [
            self.mean(0..thick, 0..columns),
            self.mean(rows - thick..rows, 0..columns),
            self.mean(0..rows, 0..wide),
            self.mean(0..rows, columns - wide..columns),
        ];
        centre - mean_of(&frame)
    }

    /// How far a whole row or column is brighter than both its neighbours, or darker: a line of the detector that is dead
    /// or has another gain. An edge, however straight, has neighbours on both sides of it. The outer twentieth, where
    /// frames and letters are, does not count.
    fn lines(&self) -> f32 {
        let (rows, columns) = (self.rows, self.columns);
        let sharpest = |means: Vec<f32>| {
            let skipped = means.len() / 20;
            let inner = &means[skipped..means.len() - skipped];
            let peak = |three: &[f32]| {
                let (before, after) = (three[1] - three[0], three[1] - three[2]);
                if before * after > 0.0 { before.abs().min(after.abs()) } else { 0.0 }
            };
            inner.windows(3).map(peak).fold(0.0, f32::max)
        };
        let along = sharpest((0..rows).map(|row| self.mean(row..row + 1, 0..columns)).collect());
        let down = (0..columns).map(|column| self.mean(0..rows, column..column + 1)).collect();
        along.max(sharpest(down))
    }

    fn greys(&self) -> [f32; GREYS] {
        let mut counts = [0_u32; GREYS];
        for grey in &self.grey {
            counts[((grey * GREYS as f32) as usize).min(GREYS - 1)] += 1;
        }
        counts.map(|count| count as f32 / self.grey.len() as f32)
    }
}

fn mean_of(numbers: &[f32]) -> f32 {
    let sum: f64 = numbers.iter().map(|x| f64::from(*x)).sum();
    if numbers.is_empty() { 0.0 } else { (sum / numbers.len() as f64) as f32 }
}

fn deviation(numbers: &[f32]) -> f32 {
    let mean = f64::from(mean_of(numbers));
    let square = |x: &f32| (f64::from(*x) - mean) * (f64::from(*x) - mean);
    let sum: f64 = numbers.iter().map(square).sum();
    if numbers.is_empty() { 0.0 } else { (sum / numbers.len() as f64).sqrt() as f32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Frame = Frame { height: 40, width: 60, black: -2.0, white: 2.0 };

    /// Bright in the middle, darker below, in the units of the input.
    fn picture() -> Vec<f32> {
        let grey = |at: usize| {
            let (row, column) = ((at / 60) as f32, (at % 60) as f32);
            let distance = ((row - 20.0).abs() / 20.0).max((column - 30.0).abs() / 30.0);
            0.8 - 0.6 * distance - row * 0.002
        };
        (0..2400).map(|at| grey(at) * 4.0 - 2.0).collect()
    }

    fn named(input: &[f32], name: &str) -> f32 {
        let at = PIXELS.iter().position(|known| known.ends_with(name)).unwrap();
        pixels(input, &FRAME).unwrap().numbers[at]
    }

    #[test]
    fn each_change_of_the_detector_moves_the_number_that_is_meant_for_it() {
        let plain = picture();
        let of = |change: &dyn Fn(usize, f32) -> f32| -> Vec<f32> {
            plain.iter().enumerate().map(|(at, x)| change(at, *x)).collect()
        };
        let inverted = of(&|_, x| -x);
        assert!(named(&plain, "frame") > 0.2 && named(&inverted, "frame") < -0.2);
        let noisy = of(&|at, x| x + [0.1, -0.1, 0.05][at * 7 % 11 % 3]);
        assert!(named(&noisy, "noise") > named(&plain, "noise") + 0.01);
        assert!(named(&noisy, "detail") > named(&plain, "detail"));
        let collimated = of(&|at, x| if at % 60 < 12 { -2.0 } else { x });
        assert_eq!((named(&plain, "border"), named(&collimated, "border")), (0.03, 0.12));
        assert!(named(&collimated, "black") > 0.19);
        let mirrored: Vec<f32> =
            (0..2400).map(|at| collimated[at / 60 * 60 + 59 - at % 60]).collect();
        assert!(named(&collimated, "left less right") < named(&mirrored, "left less right") - 0.1);
        let turned: Vec<f32> = plain.iter().rev().copied().collect();
        assert!(named(&turned, "upper less lower") < named(&plain, "upper less lower"));
        let brighter = of(&|_, x| x + 0.4);
        assert!((named(&brighter, "median") - named(&plain, "median") - 0.1).abs() < 1e-3);
    }

    #[test]
    fn a_dead_line_stands_out_and_an_edge_does_not() {
        let plain = picture();
        let of = |change: &dyn Fn(usize, usize, f32) -> f32| -> Vec<f32> {
            plain.iter().enumerate().map(|(at, x)| change(at / 60, at % 60, *x)).collect()
        };
        let usual = named(&plain, "lines");
        assert!(usual < 0.02, "{usual}");
        for dead in [-2.0, 2.0] {
            assert!(named(&of(&|_, column, x| if column == 17 { dead } else { x }), "lines") > 0.2);
            assert!(named(&of(&|row, _, x| if row == 21 { dead } else { x }), "lines") > 0.2);
        }
        let collimated = of(&|_, column, x| if column < 17 { -2.0 } else { x });
        let framed = of(&|row, _, x| if row < 2 { 2.0 } else { x });
        assert!(named(&collimated, "lines") < 0.04 && named(&framed, "lines") < 0.04);
        assert_eq!(Picture { rows: 1, columns: 2, grey: vec![0.0, 1.0] }.lines(), 0.0);
    }

    #[test]
    fn squares_and_quantiles_are_greys_in_their_order() {
        let coarse = pixels(&picture(), &FRAME).unwrap().coarse;
        assert_eq!(coarse.len(), COARSE);
        let (squares, quantiles) = coarse.split_at(SIDE * SIDE);
        assert!(quantiles.is_sorted());
        assert!(squares[27] > squares[24] + 0.2, "the middle is brighter than the left edge");
        assert!(squares[0] > squares[56], "and what is above than what is below");
    }

    #[test]
    fn the_histogram_is_of_all_pixels_and_channels_beyond_the_first_change_nothing() {
        let plain = picture();
        let measured = pixels(&plain, &FRAME).unwrap();
        assert!((measured.greys.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        let three = [&plain[..], &[7.0; 2400], &[-7.0; 2400]].concat();
        assert_eq!(pixels(&three, &FRAME).unwrap(), measured);
    }

    #[test]
    fn what_is_no_picture_is_refused_by_name() {
        let said = |input: &[f32]| pixels(input, &FRAME).unwrap_err().to_string();
        assert_eq!(said(&[0.0; 7]), "the input is 7 numbers, expected 2400");
        let mut broken = picture();
        broken[77] = f32::NAN;
        assert_eq!(said(&broken), "the input has a number that is not finite");
    }
}
