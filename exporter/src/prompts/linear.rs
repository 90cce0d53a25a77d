//! Layers of the text side in double precision, and what is made of their numbers.

use crate::read::weights::Weights;
use anyhow::{Context, Result, ensure};

/// `y = W x + b`
pub(crate) struct Linear<'a> {
    /// `[outputs, inputs]`
    weight: &'a [f32],
    bias: &'a [f32],
}

impl<'a> Linear<'a> {
    pub(crate) fn of(weights: &'a Weights, name: &str) -> Result<Self> {
        let of = |what: &str| {
            let name = format!("{name}.{what}");
            weights.get(&name).with_context(|| format!("`{name}` is missing"))
        };
        let (weight, bias) = (of("weight")?, of("bias")?);
        ensure!(
            weight.shape.len() == 2 && weight.shape[0] == bias.values.len(),
            "`{name}` has weights {:?} and {} biases",
            weight.shape,
            bias.values.len()
        );
        Ok(Self { weight: &weight.values, bias: &bias.values })
    }

    pub(crate) fn bias(&self) -> &'a [f32] {
        self.bias
    }

    /// Of the weights, one an output.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &'a [f32]> {
        self.weight.chunks_exact(self.weight.len() / self.bias.len())
    }

    /// `[inputs]` → `[outputs]`
    pub(crate) fn apply(&self, x: &[f64]) -> Vec<f64> {
        let row = |(row, &bias): (&[f32], &f32)| f64::from(bias) + dot(row, x);
        self.rows().zip(self.bias).map(row).collect()
    }

    /// `x · (W v + b)` as a function of `v`: its factors `Wᵀ x` and its constant `b · x`.
    pub(crate) fn seen_by(&self, x: &[f64]) -> (Vec<f64>, f64) {
        let mut factors = vec![0.0; self.weight.len() / self.bias.len()];
        for (row, &x) in self.rows().zip(x) {
            factors.iter_mut().zip(row).for_each(|(to, &w)| *to += f64::from(w) * x);
        }
        (factors, dot(self.bias, x))
    }
}

/// Of length 1.
pub(crate) fn unit(x: &[f64]) -> Vec<f64> {
    let length = x.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-12);
    x.iter().map(|x| x / length).collect()
}

pub(crate) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

pub(crate) fn dot(a: &[f32], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(&a, b)| f64::from(a) * b).sum()
}
