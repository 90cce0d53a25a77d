//! What no single number shows: many that each move a little, together, in a way that is known beforehand.
//!
//! Patients differ more in how bright their mid-tones are than a gamma of 1.3 makes, and a heart may lie in the middle.
//! But the reference knows how its images vary, and what the change would do to each of them. Fisher's linear
//! discriminant weighs the numbers so that the change stands out of that variation.

use crate::DriftError;
use serde::{Deserialize, Serialize};

/// Names of the directions.
pub(crate) const DIRECTIONS: [&str; 2] = ["pixels/mid-tones", "pixels/mirrored"];

/// A side of the grid of squares that a picture is cut into.
pub(crate) const SIDE: usize = 8;
/// Its quantiles in percent: how much of it is how bright, wherever that is.
pub(crate) const QUANTILES: [usize; 13] = [1, 2, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95];
/// Numbers a direction weighs: mean grey of each square, row by row, then the quantiles.
pub(crate) const COARSE: usize = SIDE * SIDE + QUANTILES.len();

/// Added to the variance of each number, which is 1: what few images say of many numbers is not to be trusted.
const RIDGE: f64 = 0.2;
/// Parts of the reference, each of which is placed by what the others say.
const PARTS: usize = 10;

/// How far an image lies in each direction.
pub(crate) type Places = [f32; DIRECTIONS.len()];

/// For each of [`DIRECTIONS`] how much each number counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Directions {
    mean: Vec<f32>,
    weights: [Vec<f32>; DIRECTIONS.len()],
}

impl Directions {
    /// Learnt of the numbers of a reference's images, and where these stand: each as if it had taught nothing, so that
    /// the images to come stand alike. Nothing here depends on chance or on the processor.
    pub(crate) fn of(images: &[&[f32]]) -> Result<(Self, Vec<Places>), DriftError> {
        if let Some(other) = images.iter().find(|image| image.len() != COARSE) {
            let (what, found) = ("a coarse picture", other.len());
            return Err(DriftError::Length { what, found, expected: COARSE });
        }
        let parts: Vec<Moments> = (0..PARTS)
            .map(|part| {
                let at = |part: usize| part * images.len() / PARTS;
                Moments::of(&images[at(part)..at(part + 1)])
            })
            .collect();
        let without = |left_out: Option<usize>| {
            let kept = parts.iter().enumerate().filter(|(part, _)| Some(*part) != left_out);
            kept.fold(Moments::of(&[]), |sum, (_, part)| sum.plus(part)).directions()
        };
        let mut places = Vec::with_capacity(images.len());
        for (part, moments) in parts.iter().enumerate() {
            let directions = without(Some(part));
            let those = images.iter().skip(places.len()).take(moments.images);
            let those: Vec<_> = those.map(|image| directions.place(image)).collect();
            places.extend(those);
        }
        Ok((without(None), places))
    }

    pub(crate) fn place(&self, image: &[f32]) -> Places {
        self.weights.each_ref().map(|weights| {
            let off =
                image.iter().zip(&self.mean).map(|(x, mean)| f64::from(*x) - f64::from(*mean));
            off.zip(weights).map(|(x, weight)| x * f64::from(*weight)).sum::<f64>() as f32
        })
    }

    /// Whether it is what [`Self::of`] can make.
    pub(crate) fn is_whole(&self) -> bool {
        let mut rows = [&self.mean].into_iter().chain(&self.weights);
        rows.all(|row| row.len() == COARSE && row.iter().all(|x| x.is_finite()))
    }
}

/// Sums over images.
struct Moments {
    images: usize,
    sum: Vec<f64>,
    /// Of the products of two numbers, row by row; what is right of the diagonal stays 0.
    products: Vec<f64>,
    /// Of what each change does to each number.
    changes: [Vec<f64>; DIRECTIONS.len()],
}

impl Moments {
    fn of(images: &[&[f32]]) -> Self {
        let zeros = || vec![0.0; COARSE];
        let mut moments = Self {
            images: images.len(),
            sum: zeros(),
            products: vec![0.0; COARSE * COARSE],
            changes: [zeros(), zeros()],
        };
        for image in images {
            let image: Vec<f64> = image.iter().map(|x| f64::from(*x)).collect();
            for (row, x) in image.iter().enumerate() {
                moments.sum[row] += x;
                let products = &mut moments.products[row * COARSE..][..=row];
                products.iter_mut().zip(&image).for_each(|(sum, y)| *sum += x * y);
                for (sums, change) in
                    moments.changes.iter_mut().zip([brighter(*x), mirrored(&image, row)])
                {
                    sums[row] += change;
                }
            }
        }
        moments
    }

    fn plus(mut self, other: &Self) -> Self {
        let add = |a: &mut Vec<f64>, b: &Vec<f64>| a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
        self.images += other.images;
        add(&mut self.sum, &other.sum);
        add(&mut self.products, &other.products);
        self.changes.iter_mut().zip(&other.changes).for_each(|(a, b)| add(a, b));
        self
    }

    fn directions(&self) -> Directions {
        let n = self.images as f64;
        let mean: Vec<f64> = self.sum.iter().map(|sum| sum / n).collect();
        let covariance = |a: usize, b: usize| self.products[a * COARSE + b] / n - mean[a] * mean[b];
        // A number that does not vary says nothing: no scale, no weight.
        let scale: Vec<f64> = (0..COARSE)
            .map(|at| covariance(at, at).max(0.0).sqrt())
            .map(|deviation| if deviation > 1e-6 { 1.0 / deviation } else { 0.0 })
            .collect();
        let mut matrix = vec![0.0; COARSE * COARSE];
        for a in 0..COARSE {
            for b in 0..=a {
                let ridge = if a == b { RIDGE } else { 0.0 };
                matrix[a * COARSE + b] = covariance(a, b) * scale[a] * scale[b] + ridge;
            }
        }
        factor(&mut matrix);
        let weights = self.changes.each_ref().map(|change| {
            let change = change.iter().zip(&scale).map(|(sum, scale)| sum / n * scale).collect();
            let solved = solve(&matrix, change);
            solved.iter().zip(&scale).map(|(x, scale)| (x * scale) as f32).collect()
        });
        Directions { mean: mean.iter().map(|x| *x as f32).collect(), weights }
    }
}

/// What a smaller gamma begins to do to a grey level: −d/dγ x^γ at γ = 1.
fn brighter(x: f64) -> f64 {
    if x > 0.0 { -x * libm::log(x) } else { 0.0 }
}

/// What mirroring does to a number.
fn mirrored(image: &[f64], at: usize) -> f64 {
    let (row, column) = (at / SIDE, at % SIDE);
    if row < SIDE { image[row * SIDE + SIDE - 1 - column] - image[at] } else { 0.0 }
}

/// Cholesky's factor of a symmetric positive definite matrix, of which the lower half is read and replaced.
fn factor(matrix: &mut [f64]) {
    for a in 0..COARSE {
        for b in 0..=a {
            let known: f64 = (0..b).map(|k| matrix[a * COARSE + k] * matrix[b * COARSE + k]).sum();
            let rest = matrix[a * COARSE + b] - known;
            // The ridge keeps it above 0 by far.
            matrix[a * COARSE + b] =
                if a == b { rest.max(RIDGE / 2.0).sqrt() } else { rest / matrix[b * COARSE + b] };
        }
    }
}

/// x of M x = b, by the factor of M.
fn solve(factor: &[f64], mut b: Vec<f64>) -> Vec<f64> {
    for a in 0..COARSE {
        let known: f64 = (0..a).map(|k| factor[a * COARSE + k] * b[k]).sum();
        b[a] = (b[a] - known) / factor[a * COARSE + a];
    }
    for a in (0..COARSE).rev() {
        let known: f64 = (a + 1..COARSE).map(|k| factor[k * COARSE + a] * b[k]).sum();
        b[a] = (b[a] - known) / factor[a * COARSE + a];
    }
    b
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::{
        ChaCha8Rng,
        rand_core::{RngCore, SeedableRng},
    };

    /// Greys that vary from image to image, each in its own way and all together, with a heart on the right.
    fn images(count: usize) -> Vec<Vec<f32>> {
        let mut random = ChaCha8Rng::seed_from_u64(4);
        let mut uniform = || random.next_u32() as f32 / u32::MAX as f32;
        (0..count)
            .map(|_| {
                let light = 0.6 + 0.4 * uniform();
                let grey = |at: usize| {
                    let heart = if at < 64 && (3..6).contains(&(at / 8)) && at % 8 > 4 {
                        0.15
                    } else {
                        0.0
                    };
                    (0.2 + (at % 7) as f32 / 20.0 + heart + 0.25 * uniform()) * light
                };
                (0..COARSE).map(grey).collect()
            })
            .collect()
    }

    fn rows(images: &[Vec<f32>]) -> Vec<&[f32]> {
        images.iter().map(|image| &image[..]).collect()
    }

    fn mirror(image: &[f32]) -> Vec<f32> {
        let at = |at: usize| if at < 64 { at / 8 * 8 + 7 - at % 8 } else { at };
        (0..COARSE).map(|k| image[at(k)]).collect()
    }

    #[test]
    fn a_direction_tells_its_change_in_images_that_taught_nothing() {
        let all = images(400);
        let (directions, _) = Directions::of(&rows(&all[..300])).unwrap();
        assert!(directions.is_whole());
        let mut told = [0; 2];
        for image in &all[300..] {
            let [tone, side] = directions.place(image);
            let brighter: Vec<f32> = image.iter().map(|x| libm::powf(*x, 0.8)).collect();
            told[0] += usize::from(directions.place(&brighter)[0] > tone);
            told[1] += usize::from(directions.place(&mirror(image))[1] > side);
        }
        assert_eq!(told, [100, 100]);
    }

    /// Against the definition: (S + ridge) w = d, in numbers of deviation 1.
    #[test]
    fn weights_are_fishers() {
        let all = images(150);
        let moments = Moments::of(&rows(&all));
        let weights = &moments.directions().weights[0];
        let n = all.len() as f64;
        let column = |at: usize| all.iter().map(move |image| f64::from(image[at]));
        let mean: Vec<f64> = (0..COARSE).map(|at| column(at).sum::<f64>() / n).collect();
        let covariance = |a: usize, b: usize| {
            column(a).zip(column(b)).map(|(x, y)| (x - mean[a]) * (y - mean[b])).sum::<f64>() / n
        };
        for a in [0, 9, 63, 64, COARSE - 1] {
            let along: f64 = (0..COARSE).map(|b| covariance(a, b) * f64::from(weights[b])).sum();
            let ridge = RIDGE * covariance(a, a) * f64::from(weights[a]);
            let change = column(a).map(|x| -x * x.ln()).sum::<f64>() / n;
            assert!((along + ridge - change).abs() < 1e-4, "{a}: {along} {ridge} {change}");
        }
    }

    #[test]
    fn the_reference_stands_as_images_to_come_stand() {
        let all = images(600);
        let (directions, own) = Directions::of(&rows(&all[..120])).unwrap();
        let spread = |places: &[f32]| {
            let mean = places.iter().sum::<f32>() / places.len() as f32;
            places.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / places.len() as f32
        };
        for at in 0..DIRECTIONS.len() {
            let own: Vec<f32> = own.iter().map(|place| place[at]).collect();
            let others: Vec<f32> = all[120..].iter().map(|x| directions.place(x)[at]).collect();
            let taught: Vec<f32> = all[..120].iter().map(|x| directions.place(x)[at]).collect();
            let ratio = spread(&own) / spread(&others);
            assert!((0.7..1.4).contains(&ratio), "{ratio}");
            assert!(spread(&taught) < spread(&own), "what it learnt of lies too close");
        }
    }

    #[test]
    fn numbers_that_never_vary_weigh_nothing() {
        let same = vec![vec![0.0_f32; COARSE]; 100];
        let (directions, places) = Directions::of(&rows(&same)).unwrap();
        assert!(directions.is_whole());
        assert_eq!(places, [[0.0; 2]; 100]);
        assert_eq!(directions.place(&[0.5; COARSE]), [0.0; 2]);
    }
}
