//! Logistic regression with an L2 penalty, as scikit-learn defines it: the classifier of a linear probe.
//!
//! `½‖w‖² + C·Σ ln(1 + exp(−y·(w·x + b)))` has one minimum. Newton's method finds it, each step solved by
//! conjugate gradients. Sums run over blocks of rows in a fixed order, so the number of threads changes no bit.

use anyhow::{Result, ensure};
use rayon::prelude::*;

/// Features, row after row: `[N, D]`.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    values: Vec<f64>,
    columns: usize,
}

/// Mean and deviation of each column of the rows a probe is fitted on.
#[derive(Clone, Debug)]
pub(crate) struct Scaler {
    mean: Vec<f64>,
    deviation: Vec<f64>,
}

/// A fitted classifier.
#[derive(Clone, Debug)]
pub(crate) struct Logistic {
    /// `[D]`, then the intercept, which is not penalised.
    weights: Vec<f64>,
}

impl Rows {
    /// Panics unless `values` are whole rows of `columns`.
    pub(crate) fn new(values: Vec<f64>, columns: usize) -> Self {
        assert!(columns > 0 && values.len().is_multiple_of(columns), "whole rows of {columns}");
        Self { values, columns }
    }

    pub(crate) fn count(&self) -> usize {
        self.values.len() / self.columns
    }

    pub(crate) fn row(&self, at: usize) -> &[f64] {
        &self.values[at * self.columns..][..self.columns]
    }

    /// Some of the rows, in the order of `numbers`.
    pub(crate) fn select(&self, numbers: &[usize]) -> Self {
        let values = numbers.iter().flat_map(|&at| self.row(at)).copied().collect();
        Self { values, columns: self.columns }
    }

    /// `w·x + b` of every row.
    fn margins(&self, weights: &[f64]) -> Vec<f64> {
        let (w, bias) = (&weights[..self.columns], weights[self.columns]);
        self.values.par_chunks_exact(self.columns).map(|row| dot(row, w) + bias).collect()
    }

    /// `Σ r·value(x)` and `Σ r`, with one `r` a row.
    fn weighted_sum(&self, r: &[f64], value: impl Fn(f64) -> f64 + Sync) -> Vec<f64> {
        let blocks: Vec<Vec<f64>> = self
            .values
            .par_chunks(self.columns * BLOCK)
            .zip(r.par_chunks(BLOCK))
            .map(|(rows, r)| {
                let mut sum = vec![0.0; self.columns + 1];
                for (row, &r) in rows.chunks_exact(self.columns).zip(r) {
                    sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += r * value(*x));
                    sum[self.columns] += r;
                }
                sum
            })
            .collect();
        let mut total = vec![0.0; self.columns + 1];
        blocks.iter().for_each(|block| add(&mut total, 1.0, block));
        total
    }
}

/// Rows summed by one thread.
const BLOCK: usize = 128;

impl Scaler {
    /// Deviations are of the whole (divided by N); a column that never changes keeps its unit.
    pub(crate) fn of(rows: &Rows) -> Self {
        let n = rows.count() as f64;
        let column = |value: &dyn Fn(usize, f64) -> f64| {
            let mut sum = vec![0.0; rows.columns];
            for row in rows.values.chunks_exact(rows.columns) {
                sum.iter_mut().enumerate().for_each(|(at, sum)| *sum += value(at, row[at]));
            }
            sum.into_iter().map(|sum| sum / n).collect::<Vec<f64>>()
        };
        let mean = column(&|_, x| x);
        let variance = column(&|at, x| (x - mean[at]) * (x - mean[at]));
        // Rounding alone moves the values of a column this little.
        let constant = |at: usize| variance[at] <= (n * f64::EPSILON * mean[at]).powi(2);
        let deviation =
            (0..rows.columns).map(|at| if constant(at) { 1.0 } else { variance[at].sqrt() });
        Self { deviation: deviation.collect(), mean }
    }

    pub(crate) fn scale(&self, rows: &Rows) -> Rows {
        let place = |(at, x): (usize, &f64)| {
            let column = at % rows.columns;
            (x - self.mean[column]) / self.deviation[column]
        };
        Rows { values: rows.values.iter().enumerate().map(place).collect(), columns: rows.columns }
    }
}

impl Logistic {
    /// Weights of nothing, to begin with.
    pub(crate) fn zero(columns: usize) -> Self {
        Self { weights: vec![0.0; columns + 1] }
    }

    /// The minimum for the inverse strength `c`, searched from `self`: one of a near `c` is a good beginning.
    ///
    /// An error where the search does not settle. Panics unless there is one truth a row.
    pub(crate) fn fit(&self, rows: &Rows, truth: &[bool], c: f64) -> Result<Self> {
        assert_eq!(rows.count(), truth.len(), "one truth a row");
        let problem = Problem { rows, truth, c };
        let mut weights = self.weights.clone();
        let scale = c * truth.len() as f64;
        let (mut value, mut gradient, mut curvature) = problem.at(&weights);
        for _ in 0..MOST_STEPS {
            if largest(&gradient) <= TOLERANCE * scale {
                return Ok(Self { weights });
            }
            let step = problem.newton_step(&gradient, &curvature);
            let slope = dot(&gradient, &step);
            let mut share = 1.0;
            loop {
                let mut next = weights.clone();
                add(&mut next, share, &step);
                let (lower, next_gradient, next_curvature) = problem.at(&next);
                // Near the minimum the value no longer tells steps apart, the gradient does.
                if lower <= value + 1e-4 * share * slope + 1e-13 * value.abs() {
                    (weights, value) = (next, lower);
                    (gradient, curvature) = (next_gradient, next_curvature);
                    break;
                }
                share /= 2.0;
                ensure!(share > 1e-12, "logistic regression with C = {c}: no step goes down");
            }
        }
        anyhow::bail!(
            "logistic regression with C = {c}: gradient {:e} after {MOST_STEPS} steps, expected at most {:e}",
            largest(&gradient),
            TOLERANCE * scale
        )
    }

    /// In `[0, 1]`, of every row.
    pub(crate) fn probabilities(&self, rows: &Rows) -> Vec<f32> {
        rows.margins(&self.weights).into_iter().map(|z| sigmoid(z) as f32).collect()
    }
}

/// Of the mean gradient's largest element.
const TOLERANCE: f64 = 1e-9;
const MOST_STEPS: usize = 100;
const MOST_CONJUGATE_STEPS: usize = 1000;

struct Problem<'a> {
    rows: &'a Rows,
    truth: &'a [bool],
    c: f64,
}

impl Problem<'_> {
    /// Value and gradient, and how strongly each row bends the value.
    fn at(&self, weights: &[f64]) -> (f64, Vec<f64>, Vec<f64>) {
        let margins = self.rows.margins(weights);
        let penalised = &weights[..self.rows.columns];
        let losses = margins.iter().zip(self.truth);
        let softplus = |z: f64| z.max(0.0) + libm::log1p(libm::exp(-z.abs())); // ln(1 + exp(z))
        let loss: f64 = losses.map(|(&z, &t)| softplus(if t { -z } else { z })).sum();
        let value = 0.5 * dot(penalised, penalised) + self.c * loss;
        let chances: Vec<f64> = margins.iter().map(|&z| sigmoid(z)).collect();
        let truth = self.truth.iter().map(|&t| f64::from(u8::from(t)));
        let excess: Vec<f64> = chances.iter().zip(truth).map(|(p, t)| self.c * (p - t)).collect();
        let mut gradient = self.rows.weighted_sum(&excess, |x| x);
        add(&mut gradient[..self.rows.columns], 1.0, penalised);
        let curvature = margins.iter().map(|&z| self.c * sigmoid(z) * sigmoid(-z)).collect();
        (value, gradient, curvature)
    }

    /// Conjugate gradients, preconditioned by the diagonal, until the step is as exact as the gradient is small.
    fn newton_step(&self, gradient: &[f64], curvature: &[f64]) -> Vec<f64> {
        let mut diagonal = self.rows.weighted_sum(curvature, |x| x * x);
        diagonal[..self.rows.columns].iter_mut().for_each(|x| *x += 1.0);
        // Saturated rows bend nothing; the intercept must still have a finite step.
        let intercept = &mut diagonal[self.rows.columns];
        *intercept = intercept.max(f64::MIN_POSITIVE.sqrt());
        let prepared =
            |r: &[f64]| -> Vec<f64> { r.iter().zip(&diagonal).map(|(r, d)| r / d).collect() };
        let mut step = vec![0.0; gradient.len()];
        let mut rest: Vec<f64> = gradient.iter().map(|g| -g).collect();
        let mut direction = prepared(&rest);
        let mut worth = dot(&rest, &direction);
        let enough = worth * 1e-8;
        for _ in 0..MOST_CONJUGATE_STEPS {
            if worth <= enough {
                break;
            }
            // The second derivative times the direction.
            let mut along = self.rows.margins(&direction);
            along.iter_mut().zip(curvature).for_each(|(a, s)| *a *= s);
            let mut bent = self.rows.weighted_sum(&along, |x| x);
            let penalised = ..self.rows.columns;
            add(&mut bent[penalised], 1.0, &direction[penalised]);
            let steepness = dot(&direction, &bent);
            if steepness <= 0.0 {
                break;
            }
            let share = worth / steepness;
            add(&mut step, share, &direction);
            add(&mut rest, -share, &bent);
            let next = prepared(&rest);
            let next_worth = dot(&rest, &next);
            let kept = next_worth / worth;
            direction.iter_mut().zip(&next).for_each(|(d, n)| *d = n + kept * *d);
            worth = next_worth;
        }
        step
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `to += share · from`
fn add(to: &mut [f64], share: f64, from: &[f64]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += share * from);
}

fn largest(of: &[f64]) -> f64 {
    of.iter().fold(0.0, |largest, x| x.abs().max(largest))
}

fn sigmoid(z: f64) -> f64 {
    if z >= 0.0 {
        1.0 / (1.0 + libm::exp(-z))
    } else {
        let odds = libm::exp(z);
        odds / (1.0 + odds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    fn cloud(n: usize, columns: usize, seed: u64) -> (Rows, Vec<bool>) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let truth: Vec<bool> = (0..n).map(|_| random.random_bool(0.4)).collect();
        let value =
            |at: usize| random.random_range(-1.0..1.0) + f64::from(u8::from(truth[at / columns]));
        let values = (0..n * columns).map(value).collect();
        (Rows::new(values, columns), truth)
    }

    #[test]
    fn one_column_without_strength_is_worked_by_hand() {
        // Of x = 0 one of four is true, of x = 1 three of four: odds 1/3 and 3, so b = −ln 3 and w = 2·ln 3.
        let rows = Rows::new(vec![0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0], 1);
        let truth = [true, false, false, false, true, true, true, false];
        let found = Logistic::zero(1).fit(&rows, &truth, 1e9).unwrap();
        let [w, b] = found.weights[..] else { panic!("one weight and the intercept") };
        assert!((w - 2.0 * 3.0f64.ln()).abs() < 1e-6 && (b + 3.0f64.ln()).abs() < 1e-6, "{w} {b}");
        let chances = found.probabilities(&rows);
        assert!((chances[0] - 0.25).abs() < 1e-6 && (chances[7] - 0.75).abs() < 1e-6);
    }

    #[test]
    fn with_all_strength_only_the_share_of_positives_is_left() {
        let (rows, truth) = cloud(50, 3, 1);
        let share = truth.iter().filter(|&&t| t).count() as f32 / 50.0;
        let found = Logistic::zero(3).fit(&rows, &truth, 1e-12).unwrap();
        assert!(found.probabilities(&rows).iter().all(|p| (p - share).abs() < 1e-6));
    }

    #[test]
    fn the_minimum_does_not_depend_on_where_the_search_begins() {
        let (rows, truth) = cloud(40, 60, 2); // separable: fewer rows than columns
        for c in [1e-3, 1.0, 1e3] {
            let cold = Logistic::zero(60).fit(&rows, &truth, c).unwrap();
            let start = Logistic::zero(60).fit(&rows, &truth, c / 10.0).unwrap();
            let warm = start.fit(&rows, &truth, c).unwrap();
            let far = cold.weights.iter().zip(&warm.weights).map(|(a, b)| (a - b).abs());
            assert!(far.fold(0.0, f64::max) < 1e-5 * largest(&cold.weights).max(1.0), "C {c}");
        }
    }

    #[test]
    fn threads_change_no_bit() {
        let (rows, truth) = cloud(700, 20, 3);
        let fit = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| Logistic::zero(20).fit(&rows, &truth, 0.3).unwrap().weights)
        };
        assert_eq!(fit(1), fit(3));
    }

    #[test]
    fn columns_are_scaled_and_dead_ones_left_alone() {
        let rows = Rows::new(vec![1.0, 7.1, 3.0, 7.1, 5.0, 7.1], 2);
        let scaled = Scaler::of(&rows).scale(&rows);
        let deviation = (8.0f64 / 3.0).sqrt();
        assert!((scaled.row(0)[0] + 2.0 / deviation).abs() < 1e-12);
        assert!((0..3).all(|at| scaled.row(at)[1].abs() < 1e-12));
    }
}
