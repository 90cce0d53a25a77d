//! Findings in words in float: what the int8 form is rounded from, and held against.

use super::{
    linear::{Linear, dot, sigmoid},
    text::{Phrase, TextEncoder},
};
use crate::read::prior::Prior;
use anyhow::{Result, ensure};
use language::Vector;

/// What an image is compared with for one side of a finding: the mean of its phrases.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FloatSide {
    /// Mean of the phrases' `t` of length 1, so that its product with an image is the mean of their cosines: `[D]`.
    pub(crate) text: Vec<f64>,
    /// Logit of how much the side looks at a place `V_p`: `look · V_p + look_bias`.
    pub(crate) look: Vec<f64>,
    pub(crate) look_bias: f64,
    /// Logit of how much a place listens to the side.
    pub(crate) listen: Vec<f64>,
    pub(crate) listen_bias: f64,
}

/// A finding's two sides.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FloatPrompt {
    pub(crate) positive: FloatSide,
    pub(crate) negative: FloatSide,
}

/// What float says of one image.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FloatScore {
    /// In `[0, 1]`, before any calibration.
    pub(crate) raw: f64,
    /// Where: `[P]`, in `[0, 1]`.
    pub(crate) heat: Vec<f64>,
}

impl FloatSide {
    /// Folds the local attention of `prior` into what these phrases see: with text fixed, both its maps are linear in the
    /// places before the sigmoid.
    pub(crate) fn of(prior: &Prior, phrases: &[Phrase]) -> Result<Self> {
        ensure!(!phrases.is_empty(), "no phrases");
        let part =
            |name: &str| Linear::of(&prior.weights, &format!("local_cross_attention.{name}"));
        let (asks, shows) = (part("query2")?, part("key1")?);
        let (says, hears) = (part("key2")?, part("query1")?);
        let width = prior.width();
        let mut side = Self {
            text: vec![0.0; width],
            look: vec![0.0; width],
            look_bias: 0.0,
            listen: vec![0.0; width],
            listen_bias: 0.0,
        };
        let share = 1.0 / phrases.len() as f64;
        let scale = share / (width as f64).sqrt();
        for Phrase { sentence, text, .. } in phrases {
            add(&mut side.text, text, share);
            let (look, bias) = shows.seen_by(&asks.apply(sentence));
            add(&mut side.look, &look, scale);
            side.look_bias += bias * scale;
            let (listen, bias) = hears.seen_by(&says.apply(sentence));
            add(&mut side.listen, &listen, scale);
            side.listen_bias += bias * scale;
        }
        Ok(side)
    }

    /// Sigmoids of both logits at every place, looked at and listening: `places [D, P]`.
    fn maps(&self, places: &[f32]) -> [Vec<f64>; 2] {
        let count = places.len() / self.look.len();
        let map = |factors: &[f64], bias: f64| {
            let mut logits = vec![bias; count];
            for (row, factor) in places.chunks_exact(count).zip(factors) {
                logits.iter_mut().zip(row).for_each(|(to, &x)| *to += factor * f64::from(x));
            }
            logits.into_iter().map(sigmoid).collect()
        };
        [map(&self.look, self.look_bias), map(&self.listen, self.listen_bias)]
    }
}

impl FloatPrompt {
    /// Reads the phrases of both sides.
    pub(crate) fn read(
        prior: &Prior,
        encoder: &TextEncoder<'_>,
        positive: &[String],
        negative: &[String],
    ) -> Result<Self> {
        let side = |phrases: &[String]| -> Result<FloatSide> {
            let read = phrases.iter().map(|phrase| encoder.read(phrase));
            FloatSide::of(prior, &read.collect::<Result<Vec<_>>>()?)
        };
        Ok(Self { positive: side(positive)?, negative: side(negative)? })
    }

    /// PRIOR's zero-shot formula of two classes, the finding and its absence: `global [D]`, `places [D, P]`, `scale` the
    /// factor of the global similarities.
    pub(crate) fn score(&self, global: &[f32], places: &[f32], scale: f64) -> FloatScore {
        let length = global.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
        let cosine = |side: &FloatSide| dot(global, &side.text) / length.max(1e-12);
        let whole = sigmoid(scale * (cosine(&self.positive) - cosine(&self.negative)));
        let (here, absent) = (self.positive.maps(places), self.negative.maps(places));
        let mean = |map: &[f64]| map.iter().sum::<f64>() / map.len() as f64;
        let both = |maps: &[Vec<f64>; 2]| 0.5 * (mean(&maps[0]) + mean(&maps[1]));
        let local = sigmoid(both(&here) - both(&absent));
        let [look, listen] = here;
        FloatScore {
            raw: (whole + 0.5 * local) / 1.5,
            heat: look.iter().zip(&listen).map(|(a, b)| 0.5 * (a + b)).collect(),
        }
    }

    /// What each place adds to the score, as the scorer computes it: `map [D, P]` of `language.global_places`, `usual [P]` of
    /// `[D]`.
    pub(crate) fn shares(&self, map: &[f32], usual: &[Vector], scale: f64) -> Vec<f64> {
        let places = usual.len();
        let mean = |row: &[f32]| row.iter().map(|&x| f64::from(x)).sum::<f64>() / places as f64;
        let length = map.chunks_exact(places).map(mean).map(|x| x * x).sum::<f64>().sqrt();
        let factors = self.positive.text.iter().zip(&self.negative.text).map(|(a, b)| a - b);
        let mut shares = vec![0.0; places];
        for ((at, factor), row) in factors.enumerate().zip(map.chunks_exact(places)) {
            for ((share, &x), usual) in shares.iter_mut().zip(row).zip(usual) {
                let usual = f64::from(usual.values[at]) * f64::from(usual.scale);
                *share += factor * (f64::from(x) / length.max(1e-12) - usual);
            }
        }
        let squashed = |share: &f64| {
            let x = scale / 49.0 * share;
            (1.0 + x / (1.0 + x.abs())) / 2.0
        };
        shares.iter().map(squashed).collect()
    }
}

fn add(to: &mut [f64], x: &[f64], factor: f64) {
    to.iter_mut().zip(x).for_each(|(to, x)| *to += factor * x);
}
