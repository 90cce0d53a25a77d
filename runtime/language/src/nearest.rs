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
use crate::products::Products;
use crate::section::{Bank, Space, Vector};
use crate::similar::{Numbers, Similarities};
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
    /// Of each prototype, what similarities need beside products.
    numbers: Numbers,
    /// Columns: look of each, high of each, low of each, values.
    products: Products,
    isa: Isa,
    places: usize,
}

struct Prototype {
    number: usize,
    sentence: String,
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
        let kept = sentences.filter_map(|(number, sentence)| {
            Some(Prototype { number, sentence: sentence.clone()? })
        });
        let kept: Vec<Prototype> = kept.collect();
        if kept.is_empty() {
            return Ok(None);
        }
        let numbers = || kept.iter().map(|prototype| prototype.number);
        let value: Vec<Vec<f32>> = bank.value.iter().map(Vector::dequantized).collect();
        let folded: Vec<Wide> =
            numbers().map(|number| Wide::of(&fold(&value, &bank.prototypes[number]))).collect();

        let looks = || numbers().map(|number| &bank.look[number]);
        let mut weights: Vec<i8> = looks().flat_map(|look| &look.values).copied().collect();
        weights.extend(folded.iter().flat_map(|wide| &wide.high));
        weights.extend(folded.iter().flat_map(|wide| &wide.low));
        weights.extend(bank.value.iter().flat_map(|row| &row.values));
        let mut scales: Vec<f32> = looks().map(|look| look.scale).collect();
        scales.extend(folded.iter().map(|wide| wide.scale * HIGH));
        scales.extend(folded.iter().map(|wide| wide.scale));
        scales.extend(bank.value.iter().map(|row| row.scale));
        let products = Products::pack_rows(&weights, &scales, space, codes, isa, pool)?;
        let numbers = Numbers::of(bank, numbers());
        Ok(Some(Self { kept, numbers, products, isa, places: space.places() }))
    }

    /// The nearest first; of prototypes with one sentence, the nearest.
    pub(crate) fn nearest(&mut self, places: &[u8], count: usize, pool: &Pool) -> Vec<Near> {
        let (kept, sites, stride) = (&self.kept, self.places, self.numbers.stride());
        let products = self.products.run_by_place(places, pool);
        let mut weights = vec![0.0; sites * stride];
        let mut similarities = vec![0.0; stride];
        self.isa.vectorize(Similarities {
            numbers: &self.numbers,
            products,
            weights: &mut weights,
            similarities: &mut similarities,
        });
        let mut order: Vec<usize> = (0..kept.len()).collect();
        order
            .sort_unstable_by(|&a, &b| similarities[b].total_cmp(&similarities[a]).then(a.cmp(&b)));
        let mut nearest: Vec<Near> = Vec::new();
        for k in order {
            if nearest.len() == count {
                break;
            }
            let Prototype { number, sentence } = &kept[k];
            if nearest.iter().all(|near| near.sentence != *sentence) {
                nearest.push(Near {
                    prototype: *number,
                    sentence: sentence.clone(),
                    similarity: similarities[k],
                    weights: weights[k..].iter().step_by(stride).copied().collect(),
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
