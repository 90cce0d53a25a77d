//! The bank: which reviewed sentences an image is nearest to.
//!
//! What a prototype attends to is a sum over places, `a = Σ_p w_p A_p` with `A_p = W_v V_p + b_v`, so neither `a` nor a
//! product with it is ever made:
//!
//! ```text
//! a · proto = Σ_p w_p (m · V_p) + (Σ_p w_p)(b_v · proto)      m = W_vᵀ proto, folded once, in 15 bits: 128·high + low
//! |a|²      = Σ_pq w_p w_q (A_p · A_q)                        the same products for all prototypes
//! ```

use crate::LanguageError;
use crate::image::Codes;
use crate::numbers::{dot, sigmoids};
use crate::products::Products;
use crate::section::{Bank, Space, Vector};
use kernels::{Isa, Pool};

/// A sentence that an image is near to.
#[derive(Clone, Debug, PartialEq)]
pub struct Near {
    /// Number of its prototype in the bank.
    pub prototype: usize,
    pub sentence: String,
    /// Cosine, −1 to 1.
    pub similarity: f32,
    /// How much it looks at each place, `[h, w]`, in `[0, 1]`.
    pub weights: Vec<f32>,
}

/// Prototypes that have a sentence, packed.
pub(crate) struct Prototypes {
    kept: Vec<Prototype>,
    /// Rows: look of each, high of each, low of each, values.
    products: Products,
    value_bias: Vec<f32>,
    places: usize,
}

struct Prototype {
    number: usize,
    sentence: String,
    look_bias: f32,
    /// `b_v · proto`
    bias: f32,
    /// `|proto|`
    length: f32,
}

/// How much `high` counts.
const HIGH: f32 = 128.0;

impl Prototypes {
    /// `None` where no prototype has a sentence.
    pub(crate) fn pack(
        bank: &Bank,
        space: &Space,
        codes: Codes,
        isa: Isa,
        pool: &Pool,
    ) -> Result<Option<Self>, LanguageError> {
        let sentences = bank.sentences.iter().enumerate();
        let numbers: Vec<(usize, &String)> =
            sentences.filter_map(|(number, sentence)| Some((number, sentence.as_ref()?))).collect();
        if numbers.is_empty() {
            return Ok(None);
        }
        let kept: Vec<Prototype> = numbers
            .iter()
            .map(|&(number, sentence)| {
                let prototype = bank.prototypes[number].dequantized();
                Prototype {
                    number,
                    sentence: sentence.clone(),
                    look_bias: bank.look_bias[number],
                    bias: dot(&bank.value_bias, &prototype),
                    length: dot(&prototype, &prototype).sqrt(),
                }
            })
            .collect();
        let value: Vec<Vec<f32>> = bank.value.iter().map(Vector::dequantized).collect();
        let folded: Vec<Wide> = numbers
            .iter()
            .map(|&(number, _)| Wide::of(&fold(&value, &bank.prototypes[number])))
            .collect();

        let looks = || numbers.iter().map(|&(number, _)| &bank.look[number]);
        let mut weights: Vec<i8> = looks().flat_map(|look| &look.values).copied().collect();
        weights.extend(folded.iter().flat_map(|wide| &wide.high));
        weights.extend(folded.iter().flat_map(|wide| &wide.low));
        weights.extend(bank.value.iter().flat_map(|row| &row.values));
        let mut scales: Vec<f32> = looks().map(|look| look.scale).collect();
        scales.extend(folded.iter().map(|wide| wide.scale * HIGH));
        scales.extend(folded.iter().map(|wide| wide.scale));
        scales.extend(bank.value.iter().map(|row| row.scale));
        let products = Products::pack_rows(&weights, &scales, space, codes, isa, pool)?;
        let (value_bias, places) = (bank.value_bias.clone(), space.places());
        Ok(Some(Self { kept, products, value_bias, places }))
    }

    /// The nearest first; of prototypes with one sentence, the nearest.
    pub(crate) fn nearest(&mut self, places: &[u8], count: usize, pool: &Pool) -> Vec<Near> {
        let (kept, sites) = (&self.kept, self.places);
        let products = self.products.run(places, pool);
        let (looks, rest) = products.split_at(kept.len() * sites);
        let (high, rest) = rest.split_at(kept.len() * sites);
        let (low, values) = rest.split_at(kept.len() * sites);

        let attention = |(look, prototype): (&[f32], &Prototype)| -> Vec<f32> {
            look.iter().map(|x| x + prototype.look_bias).collect()
        };
        let mut attention: Vec<f32> =
            looks.chunks_exact(sites).zip(kept).flat_map(attention).collect();
        sigmoids(&mut attention);
        // By places, so that one place of all prototypes lies together.
        let mut weights = vec![0.0; attention.len()];
        for (k, attention) in attention.chunks_exact(sites).enumerate() {
            for (p, weight) in attention.iter().enumerate() {
                weights[p * kept.len() + k] = *weight;
            }
        }
        let squares = squared_lengths(&weights, &gram(values, &self.value_bias, sites), kept.len());
        let similarity = |(k, prototype): (usize, &Prototype)| {
            let (mut product, mut total) = (0.0, 0.0);
            for (p, weight) in attention[k * sites..][..sites].iter().enumerate() {
                product += weight * (high[k * sites + p] + low[k * sites + p]);
                total += weight;
            }
            let lengths = squares[k].max(0.0).sqrt() * prototype.length;
            let product = product + total * prototype.bias;
            // What attends to nothing is near to nothing.
            if lengths > 0.0 { (product / lengths).clamp(-1.0, 1.0) } else { 0.0 }
        };
        let similarities: Vec<f32> = kept.iter().enumerate().map(similarity).collect();
        let mut order: Vec<usize> = (0..kept.len()).collect();
        order.sort_by(|&a, &b| similarities[b].total_cmp(&similarities[a]).then(a.cmp(&b)));
        let mut nearest: Vec<Near> = Vec::new();
        for k in order {
            if nearest.len() == count {
                break;
            }
            let Prototype { number, sentence, .. } = &kept[k];
            if nearest.iter().all(|near| near.sentence != *sentence) {
                nearest.push(Near {
                    prototype: *number,
                    sentence: sentence.clone(),
                    similarity: similarities[k],
                    weights: attention[k * sites..][..sites].to_vec(),
                });
            }
        }
        nearest
    }
}

/// `W_vᵀ proto [D]`
fn fold(value: &[Vec<f32>], prototype: &Vector) -> Vec<f32> {
    let mut folded = vec![0.0; value.len()];
    for (row, x) in value.iter().zip(prototype.dequantized()) {
        folded.iter_mut().zip(row).for_each(|(sum, value)| *sum += value * x);
    }
    folded
}

/// Products `A_p · A_q` for `q ≤ p`, `[P][p + 1]`, of `values [D, P]`.
fn gram(values: &[f32], bias: &[f32], sites: usize) -> Vec<Vec<f32>> {
    let mut said = vec![vec![0.0; bias.len()]; sites];
    for (d, (row, bias)) in values.chunks_exact(sites).zip(bias).enumerate() {
        for (said, x) in said.iter_mut().zip(row) {
            said[d] = x + bias;
        }
    }
    (0..sites).map(|p| said[..=p].iter().map(|q| dot(&said[p], q)).collect()).collect()
}

/// `Σ_pq w_p w_q gram_pq` for each of `count` columns of `weights [P, count]`.
fn squared_lengths(weights: &[f32], gram: &[Vec<f32>], count: usize) -> Vec<f32> {
    let row = |p: usize| &weights[p * count..][..count];
    let (mut squares, mut sums) = (vec![0.0; count], vec![0.0_f32; count]);
    for (p, products) in gram.iter().enumerate() {
        sums.iter_mut().zip(row(p)).for_each(|(sum, w)| *sum = products[p] * w);
        for (q, product) in products[..p].iter().enumerate() {
            let twice = 2.0 * product;
            sums.iter_mut().zip(row(q)).for_each(|(sum, w)| *sum += twice * w);
        }
        let parts = squares.iter_mut().zip(&sums).zip(row(p));
        parts.for_each(|((square, sum), w)| *square += w * sum);
    }
    squares
}

/// `(128·high + low) · scale`
struct Wide {
    high: Vec<i8>,
    low: Vec<i8>,
    scale: f32,
}

impl Wide {
    fn of(values: &[f32]) -> Self {
        let most = values.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        let steps = HIGH * 127.0;
        if most < f32::MIN_POSITIVE * steps {
            let zeros = vec![0; values.len()];
            return Self { high: zeros.clone(), low: zeros, scale: 1.0 };
        }
        let scale = most / steps;
        let code = |x: &f32| (x / scale).round_ties_even().clamp(-steps, steps);
        let high = |x: &f32| (code(x) / HIGH).round_ties_even();
        Self {
            high: values.iter().map(|x| high(x) as i8).collect(),
            low: values.iter().map(|x| (code(x) - HIGH * high(x)) as i8).collect(),
            scale,
        }
    }
}
