//! Similarities of all prototypes with one image, in loops that compilers make vectors of: prototypes side by side, each in
//! an order of its own, so that vectors of any width give the same bits.

use crate::numbers::{dot, dots, sigmoid_of_finite};
use crate::section::Bank;
use kernels::Loop;

/// Prototypes whose sums are kept in registers together.
const TOGETHER: usize = 32;

/// Of each prototype, by columns: what products do not have.
pub(crate) struct Numbers {
    /// Prototypes; columns have room for a multiple of [`TOGETHER`].
    count: usize,
    look_bias: Vec<f32>,
    /// `b_v · proto`
    bias: Vec<f32>,
    /// `|proto|`
    length: Vec<f32>,
    /// `b_v [D]`
    value_bias: Vec<f32>,
}

/// What becomes of the products with the bank's vectors.
pub(crate) struct Similarities<'a> {
    pub(crate) numbers: &'a Numbers,
    /// `[P, 3K + D]`: look, high and low of each prototype, values.
    pub(crate) products: &'a [f32],
    /// `[P, stride]`: how much each prototype looks at a place.
    pub(crate) weights: &'a mut [f32],
    /// `[stride]`: cosines.
    pub(crate) similarities: &'a mut [f32],
}

impl Numbers {
    /// Of the prototypes of these numbers.
    pub(crate) fn of(bank: &Bank, numbers: impl Iterator<Item = usize>) -> Self {
        let (mut look_bias, mut bias, mut length) = (Vec::new(), Vec::new(), Vec::new());
        for number in numbers {
            let prototype = bank.prototypes[number].dequantized();
            look_bias.push(bank.look_bias[number]);
            bias.push(dot(&bank.value_bias, &prototype));
            length.push(dot(&prototype, &prototype).sqrt());
        }
        Self { count: length.len(), look_bias, bias, length, value_bias: bank.value_bias.clone() }
    }

    /// Columns, those without a prototype too.
    pub(crate) fn stride(&self) -> usize {
        self.count.next_multiple_of(TOGETHER)
    }
}

impl Loop for Similarities<'_> {
    #[inline(always)]
    fn run(self) {
        let Self { numbers, products, weights, similarities } = self;
        let (count, stride) = (numbers.count, numbers.stride());
        let wide = 3 * count + numbers.value_bias.len();
        let (mut sums, mut totals) = (vec![0.0; count], vec![0.0; count]);
        for (products, weights) in products.chunks_exact(wide).zip(weights.chunks_exact_mut(stride))
        {
            let (look, rest) = products.split_at(count);
            let (high, low) = rest[..2 * count].split_at(count);
            for (weight, (look, bias)) in
                weights.iter_mut().zip(look.iter().zip(&numbers.look_bias))
            {
                *weight = sigmoid_of_finite(look + bias);
            }
            for (sum, (weight, (high, low))) in
                sums.iter_mut().zip(weights.iter().zip(high.iter().zip(low)))
            {
                *sum += weight * (high + low);
            }
            totals.iter_mut().zip(&*weights).for_each(|(total, weight)| *total += weight);
        }
        let values = products.chunks_exact(wide).map(|products| &products[3 * count..]);
        squared_lengths(weights, stride, &gram(values, &numbers.value_bias), similarities);
        for (k, similarity) in similarities[..count].iter_mut().enumerate() {
            let lengths = similarity.max(0.0).sqrt() * numbers.length[k];
            let product = sums[k] + totals[k] * numbers.bias[k];
            // What attends to nothing is near to nothing.
            *similarity = if lengths > 0.0 { (product / lengths).clamp(-1.0, 1.0) } else { 0.0 };
        }
    }
}

/// Products `A_p · A_q` for `q ≤ p`, `[P][p + 1]`, of `values`, `[D]` for each of P.
#[inline(always)]
fn gram<'a>(values: impl Iterator<Item = &'a [f32]>, bias: &[f32]) -> Vec<Vec<f32>> {
    let said = |values: &[f32]| -> Vec<f32> {
        values.iter().zip(bias).map(|(x, bias)| x + bias).collect()
    };
    let said: Vec<Vec<f32>> = values.map(said).collect();
    let mut gram = Vec::with_capacity(said.len());
    for (p, own) in said.iter().enumerate() {
        let mut products = Vec::with_capacity(p + 1);
        let (fours, rest) = said[..=p].as_chunks::<4>();
        for four in fours {
            products.extend(dots(own, four.each_ref().map(Vec::as_slice)));
        }
        products.extend(rest.iter().map(|other| dots(own, [other])[0]));
        gram.push(products);
    }
    gram
}

/// `Σ_pq w_p w_q gram_pq` for each of `stride` columns of `weights [P, stride]`.
#[inline(always)]
fn squared_lengths(weights: &[f32], stride: usize, gram: &[Vec<f32>], squares: &mut [f32]) {
    let (blocks, _) = squares.as_chunks_mut::<TOGETHER>();
    for (block, squares) in blocks.iter_mut().enumerate() {
        let row = |p: usize| -> &[f32; TOGETHER] {
            let row = weights[p * stride + block * TOGETHER..].first_chunk();
            row.expect("columns are a multiple")
        };
        let mut all = [0.0_f32; TOGETHER];
        for (p, products) in gram.iter().enumerate() {
            let own = row(p);
            let mut sums = [0.0_f32; TOGETHER];
            sums.iter_mut().zip(own).for_each(|(sum, w)| *sum = products[p] * w);
            for (q, product) in products[..p].iter().enumerate() {
                let (twice, other) = (2.0 * product, row(q));
                for (sum, w) in sums.iter_mut().zip(other) {
                    *sum += twice * w;
                }
            }
            for (square, (sum, w)) in all.iter_mut().zip(sums.iter().zip(own)) {
                *square += w * sum;
            }
        }
        *squares = all;
    }
}
