//! Directions in which embeddings of the reference vary most, and where an image stands along them.

use crate::DriftError;
use serde::{Deserialize, Serialize};

/// Principal axes of the reference's embeddings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Axes {
    mean: Vec<f32>,
    /// Orthonormal, of the length of the embedding.
    axes: Vec<Vec<f32>>,
}

/// Axes that are kept.
const MOST: usize = 8;
/// Rounds of the power method. The axes need not be exact, only fixed.
const ROUNDS: usize = 30;

impl Axes {
    /// By the power method, each axis orthogonal to those before. Nothing here depends on chance or on the processor.
    pub(crate) fn of(embeddings: &[&[f32]]) -> Result<Self, DriftError> {
        let length = embeddings.first().map_or(0, |first| first.len());
        if let Some(other) = embeddings.iter().find(|other| other.len() != length) {
            let what = "an embedding";
            return Err(DriftError::Length { what, found: other.len(), expected: length });
        }
        let mut mean = vec![0.0_f64; length];
        for embedding in embeddings {
            mean.iter_mut().zip(*embedding).for_each(|(sum, x)| *sum += f64::from(*x));
        }
        mean.iter_mut().for_each(|sum| *sum /= embeddings.len().max(1) as f64);
        let centred: Vec<Vec<f64>> = embeddings
            .iter()
            .map(|one| one.iter().zip(&mean).map(|(x, mean)| f64::from(*x) - mean).collect())
            .collect();
        let mut axes: Vec<Vec<f64>> = Vec::new();
        while axes.len() < MOST.min(length) {
            let Some(axis) = next(&centred, &axes, length) else { break };
            axes.push(axis);
        }
        let narrow = |row: &Vec<f64>| row.iter().map(|x| *x as f32).collect();
        Ok(Self { mean: narrow(&mean), axes: axes.iter().map(narrow).collect() })
    }

    /// Names of what [`Self::place`] gives.
    pub(crate) fn names(&self) -> Vec<String> {
        if self.mean.is_empty() {
            return Vec::new();
        }
        let along = (1..=self.axes.len()).map(|axis| format!("embedding/axis {axis}"));
        let all = along.chain(["embedding/length".to_owned()]);
        let rest = self.has_rest().then(|| "embedding/rest".to_owned());
        all.chain(rest).collect()
    }

    /// Where an embedding stands: along each axis, how long it is, and how far from all axes.
    pub(crate) fn place(&self, embedding: &[f32]) -> Result<Vec<f32>, DriftError> {
        if embedding.len() != self.mean.len() {
            let (found, expected) = (embedding.len(), self.mean.len());
            return Err(DriftError::Length { what: "an embedding", found, expected });
        }
        if embedding.is_empty() {
            return Ok(Vec::new());
        }
        let mut rest: Vec<f64> =
            embedding.iter().zip(&self.mean).map(|(x, mean)| f64::from(x - mean)).collect();
        let mut places = Vec::with_capacity(self.axes.len() + 2);
        for axis in &self.axes {
            let along: f64 = rest.iter().zip(axis).map(|(x, axis)| x * f64::from(*axis)).sum();
            rest.iter_mut().zip(axis).for_each(|(x, axis)| *x -= along * f64::from(*axis));
            places.push(along as f32);
        }
        let length = |squares: f64| squares.sqrt() as f32;
        places.push(length(embedding.iter().map(|x| f64::from(*x) * f64::from(*x)).sum()));
        if self.has_rest() {
            places.push(length(rest.iter().map(|x| x * x).sum()));
        }
        Ok(places)
    }

    fn has_rest(&self) -> bool {
        self.axes.len() == MOST && self.mean.len() > MOST
    }

    /// Whether it is what [`Self::of`] can make.
    pub(crate) fn is_whole(&self) -> bool {
        let finite = |row: &Vec<f32>| row.iter().all(|x| x.is_finite());
        self.axes.len() <= MOST
            && self.axes.iter().all(|axis| axis.len() == self.mean.len() && finite(axis))
            && finite(&self.mean)
    }
}

/// The direction of most variance that is orthogonal to `known`; none if there is no variance left.
fn next(centred: &[Vec<f64>], known: &[Vec<f64>], length: usize) -> Option<Vec<f64>> {
    // Any start with a part along the axis will do.
    let mut axis: Vec<f64> = (0..length).map(|at| 1.0 + (at % 7) as f64 * 0.37).collect();
    for _ in 0..ROUNDS {
        let mut sum = vec![0.0; length];
        for row in centred {
            let along = dot(row, &axis);
            sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += along * x);
        }
        // Twice: once leaves what rounding brought back.
        for _ in 0..2 {
            for other in known {
                let along = dot(&sum, other);
                sum.iter_mut().zip(other).for_each(|(sum, x)| *sum -= along * x);
            }
        }
        let size = dot(&sum, &sum).sqrt();
        if !(size.is_finite() && size > 1e-9) {
            return None;
        }
        axis = sum.into_iter().map(|x| x / size).collect();
    }
    Some(axis)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_axis_is_where_embeddings_vary_most_and_axes_stand_at_right_angles() {
        let rows: Vec<Vec<f32>> = (0..40)
            .map(|at| {
                let (wide, narrow) = ((at % 8) as f32 - 3.5, (at % 5) as f32 - 2.0);
                (0..12)
                    .map(|k| [10.0 * wide, narrow, 0.1 * wide * narrow][k % 3] + k as f32)
                    .collect()
            })
            .collect();
        let rows: Vec<&[f32]> = rows.iter().map(|row| &row[..]).collect();
        let axes = Axes::of(&rows).unwrap();
        let share: f32 = axes.axes[0].iter().step_by(3).map(|x| x * x).sum();
        assert!(share > 0.999, "{share}");
        for (at, a) in axes.axes.iter().enumerate() {
            for b in &axes.axes[..at] {
                let product: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
                assert!(product.abs() < 1e-5, "{product}");
            }
        }
        assert!(axes.is_whole());
        assert_eq!(axes.names().len(), axes.place(rows[0]).unwrap().len());
    }

    #[test]
    fn embeddings_that_do_not_vary_have_a_length_and_no_axis() {
        let axes = Axes::of(&[&[3.0, 4.0], &[3.0, 4.0]]).unwrap();
        assert_eq!(axes.place(&[3.0, 4.0]).unwrap(), [5.0]);
        assert_eq!(axes.names(), ["embedding/length"]);
        assert_eq!(Axes::of(&[&[], &[]]).unwrap().place(&[]).unwrap(), [0.0; 0]);
        assert!(axes.place(&[1.0]).is_err());
        assert!(Axes::of(&[&[1.0], &[1.0, 2.0]]).is_err());
    }
}
