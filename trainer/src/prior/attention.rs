//! Attention both ways between the places of an image and the sentences of its report.

use crate::init;
use tch::{Tensor, nn};

/// Sigmoid, not softmax: a sentence may speak of many places, or of none.
#[derive(Debug)]
pub(super) struct LocalAttention {
    image: Projections,
    text: Projections,
    scale: f64,
}

#[derive(Debug)]
struct Projections {
    query: nn::Linear,
    key: nn::Linear,
    value: nn::Linear,
}

/// What one side says of the other.
pub(super) struct Attended {
    /// Text per place, `[B, P, D]`.
    pub(super) places: Tensor,
    /// Image per sentence, `[B, S, D]`.
    pub(super) sentences: Tensor,
    /// How much each place listened to each sentence, `[B, P, S]`.
    pub(super) place_map: Tensor,
    /// How much each sentence looked at each place, `[B, S, P]`.
    pub(super) sentence_map: Tensor,
}

impl LocalAttention {
    pub(super) fn new(p: &nn::Path<'_>, d: i64) -> Self {
        let side = |n: u8| {
            let linear = |name: &str| init::linear(&(p / format!("{name}{n}")), d, d);
            Projections { query: linear("query"), key: linear("key"), value: linear("value") }
        };
        Self { image: side(1), text: side(2), scale: (d as f64).sqrt() }
    }

    /// `image [B, P, D]`, `text [B, S, D]`, `present [B, S]` (1 = sentence, 0 = padding)
    pub(super) fn forward(&self, image: &Tensor, text: &Tensor, present: &Tensor) -> Attended {
        let [sentence_map, place_map] = self.logits(image, text).map(|logits| logits.sigmoid());
        let heard = &place_map * present.unsqueeze(1);
        Attended {
            places: heard.matmul(&text.apply(&self.text.value)),
            sentences: sentence_map.matmul(&image.apply(&self.image.value)),
            place_map: heard,
            sentence_map,
        }
    }

    /// Of both maps, how much each sentence looks at each place `[B, S, P]` and each place listens to each sentence
    /// `[B, P, S]`, before the sigmoid.
    pub(super) fn logits(&self, image: &Tensor, text: &Tensor) -> [Tensor; 2] {
        let product = |q: Tensor, k: Tensor| q.matmul(&k.transpose(-1, -2)) / self.scale;
        [
            product(text.apply(&self.text.query), image.apply(&self.image.key)),
            product(image.apply(&self.image.query), text.apply(&self.text.key)),
        ]
    }
}
