//! The memory of sentences: a sentence becomes a mixture of the ones the bank has seen most.

use crate::init;
use tch::{Tensor, nn};

#[derive(Debug)]
pub(super) struct Bank {
    /// `[K, D]`
    embed: Tensor,
}

impl Bank {
    pub(super) fn new(p: &nn::Path<'_>, prototypes: i64, d: i64) -> Self {
        Self { embed: (p / "embed").var("weight", &[prototypes, d], init::normal(1.0)) }
    }

    /// Similarity to each prototype, `[N, D]` → `[N, K]`.
    pub(super) fn logits(&self, x: &Tensor) -> Tensor {
        x.matmul(&self.embed.transpose(0, 1))
    }

    /// Mixture of prototypes for these logits: Gumbel-softmax with noise `[N, K]`, plain softmax without.
    pub(super) fn mix(&self, logits: &Tensor, tau: f64, noise: Option<&Tensor>) -> Tensor {
        let shares = match noise {
            Some(noise) => ((logits + noise) / tau).softmax(-1, None),
            None => (logits / tau).softmax(-1, None),
        };
        shares.matmul(&self.embed)
    }
}

/// Gumbel noise from the process's generator.
pub(super) fn gumbel(like: &Tensor) -> Tensor {
    let wide = like.detach().zeros_like().to_kind(match like.kind() {
        tch::Kind::Double => tch::Kind::Double,
        _ => tch::Kind::Float,
    });
    -wide.exponential(1.0).log()
}
