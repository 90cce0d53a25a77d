//! The formulas in plain `f64` loops, for real vectors: what [`crate::Scorer`] is held to, and what a float network is
//! scored by.
//!
//! ```text
//! g      = σ(scale · (cos⁺ − cos⁻))                     cos± = unit(v) · text±
//! l±     = ½ (mean_p σ(look±·V_p + b) + mean_p σ(listen±·V_p + b))
//! raw    = (g + ½ σ(l⁺ − l⁻)) / 1.5                     PRIOR's zero-shot score of two classes
//! heat_p = ½ (σ(look⁺·V_p + b) + σ(listen⁺·V_p + b))      without `usual`
//! heat_p = ½ (1 + x / (1 + |x|))                            with it, of
//! x      = scale/49 · (text⁺ − text⁻)·(G_p / |mean G| − usual_p)
//! ```

use crate::section::{Bank, Prompt, Side, Vector};

/// What the phrases of one finding say of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// Between 0 and 1.
    pub raw: f64,
    /// `[P]`, between 0 and 1.
    pub heat: Vec<f64>,
}

/// `global [D]`, `places [P, D]`, one place after the other; `scale` of [`crate::Language`].
///
/// # Panics
/// If sizes do not agree.
pub fn score(prompt: &Prompt, scale: f32, global: &[f64], places: &[f64]) -> Scored {
    let length = global.iter().map(|x| x * x).sum::<f64>().sqrt();
    // Of an image without a direction, neither side is nearer.
    let cosine = |side: &Side| if length > 0.0 { dot(&side.text, global) / length } else { 0.0 };
    let difference = cosine(&prompt.positive) - cosine(&prompt.negative);
    let global_score = sigmoid(f64::from(scale) * difference);
    let (positive, negative) = (heat(&prompt.positive, places), heat(&prompt.negative, places));
    let mean = |heat: &[f64]| heat.iter().sum::<f64>() / heat.len() as f64;
    let local = sigmoid(mean(&positive) - mean(&negative));
    Scored { raw: (global_score + 0.5 * local) / 1.5, heat: positive }
}

/// What each place adds to the score: `[P]`, between 0 and 1. `places [P, D]` are of `language.global_places`.
///
/// # Panics
/// If sizes do not agree.
pub fn shares(prompt: &Prompt, scale: f32, usual: &[Vector], places: &[f64]) -> Vec<f64> {
    let width = places.len() / usual.len();
    let mean = |at: usize| places.iter().skip(at).step_by(width).sum::<f64>() / usual.len() as f64;
    let length = (0..width).map(|at| mean(at) * mean(at)).sum::<f64>().sqrt();
    let difference = |of: &[f64]| dot(&prompt.positive.text, of) - dot(&prompt.negative.text, of);
    let place = |(place, usual): (&[f64], &Vector)| {
        let share = if length > 0.0 { difference(place) / length } else { 0.0 };
        let x = f64::from(scale) / 49.0 * (share - difference(&reals(usual)));
        (1.0 + x / (1.0 + x.abs())) / 2.0
    };
    places.chunks_exact(width).zip(usual).map(place).collect()
}

/// The similarity of each prototype with what it attends to, `[K]`; 0 where that is nothing.
///
/// ```text
/// w_p = σ(look_k·V_p + b)      a = Σ_p w_p (W_v V_p + b_v)      cos(a, proto_k)
/// ```
///
/// # Panics
/// If sizes do not agree.
pub fn similarities(bank: &Bank, places: &[f64]) -> Vec<f64> {
    let width = bank.value.len();
    let said: Vec<Vec<f64>> = places
        .chunks_exact(width)
        .map(|place| {
            let rows = bank.value.iter().zip(&bank.value_bias);
            rows.map(|(row, bias)| dot(row, place) + f64::from(*bias)).collect()
        })
        .collect();
    (0..bank.prototypes.len())
        .map(|k| {
            let mut attended = vec![0.0; width];
            for (weight, said) in attention(bank, k, places).iter().zip(&said) {
                attended.iter_mut().zip(said).for_each(|(sum, x)| *sum += weight * x);
            }
            let prototype = reals(&bank.prototypes[k]);
            let length = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
            let lengths = length(&attended) * length(&prototype);
            let product: f64 = attended.iter().zip(&prototype).map(|(a, b)| a * b).sum();
            if lengths > 0.0 { product / lengths } else { 0.0 }
        })
        .collect()
}

/// How much prototype `k` looks at each place, `[P]`.
///
/// # Panics
/// If there is no such prototype, or sizes do not agree.
pub fn attention(bank: &Bank, k: usize, places: &[f64]) -> Vec<f64> {
    let look = &bank.look[k];
    let place = |place: &[f64]| sigmoid(dot(look, place) + f64::from(bank.look_bias[k]));
    places.chunks_exact(look.values.len()).map(place).collect()
}

/// `[P]`: the mean of both attentions.
fn heat(side: &Side, places: &[f64]) -> Vec<f64> {
    let place = |place: &[f64]| {
        let look = sigmoid(dot(&side.look, place) + f64::from(side.look_bias));
        let listen = sigmoid(dot(&side.listen, place) + f64::from(side.listen_bias));
        (look + listen) / 2.0
    };
    places.chunks_exact(side.look.values.len()).map(place).collect()
}

fn dot(vector: &Vector, real: &[f64]) -> f64 {
    assert_eq!(vector.values.len(), real.len(), "width");
    reals(vector).iter().zip(real).map(|(a, b)| a * b).sum()
}

fn reals(vector: &Vector) -> Vec<f64> {
    vector.values.iter().map(|&q| f64::from(q) * f64::from(vector.scale)).collect()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-x))
}
