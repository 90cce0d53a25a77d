//! Heat maps by what each place adds to the global score: its logit is a sum over places, exactly (class activation maps,
//! Zhou 2016; of an attention pool, with the attention of the image taken as it is).
//!
//! ```text
//! v = mean_p G_p      logit = scale · (cos(v, text⁺) − cos(v, text⁻)) = mean_p s_p
//! s_p = scale · (text⁺ − text⁻)·G_p / |v|                of this image
//! u_p = scale · (text⁺ − text⁻)·usual_p                  of images as they come
//! heat_p = squash((s_p − u_p) / 49)
//! ```
//!
//! A map's border is high or low in every image, as convolutions see zeros beyond it: that is what `u_p` takes away.

use crate::LanguageError;
use crate::image::Codes;
use crate::numbers::squash;
use crate::products::Products;
use crate::section::{Prompt, Space, Vector};
use kernels::{Isa, Pool};

/// Texts of all findings, packed for one network.
pub(crate) struct Shares {
    /// With text⁺ and text⁻ of each finding.
    products: Products,
    /// What codes of `G` are steps of, and from where.
    codes: Codes,
    places: usize,
    /// Of each finding.
    scales: Vec<f32>,
    /// `u_p / scale` of each finding, `[findings, P]`.
    usual: Vec<f32>,
}

/// Products for each finding: text of either side.
const CHANNELS: usize = 2;

/// A share is told as that of a 49th of the image, whatever the grid: the published networks have 7x7 places.
pub(crate) const AREA: f32 = 49.0;

impl Shares {
    /// `usual` is that of [`crate::Language::usual`].
    pub(crate) fn pack(
        prompts: &[(f32, &Prompt)],
        usual: &[Vector],
        space: &Space,
        codes: Codes,
        isa: Isa,
        pool: &Pool,
    ) -> Result<Self, LanguageError> {
        let vectors: Vec<&Vector> = prompts.iter().flat_map(|(_, prompt)| texts(prompt)).collect();
        let usually = |(_, prompt): &(f32, &Prompt)| {
            let [positive, negative] = texts(prompt);
            usual.iter().map(|place| dot(positive, place) - dot(negative, place)).collect()
        };
        Ok(Self {
            products: Products::pack(&vectors, space, codes, isa, pool)?,
            codes,
            places: space.places(),
            scales: prompts.iter().map(|(scale, _)| *scale).collect(),
            usual: prompts.iter().flat_map::<Vec<f32>, _>(usually).collect(),
        })
    }

    /// Why a language with shares cannot be scored.
    pub(crate) fn no_codes() -> LanguageError {
        LanguageError::invalid("the network's `language.global_places`", "missing", "an output")
    }

    /// `map [P, D]` → a heat map for each finding, `[P]`.
    pub(crate) fn heat(&mut self, map: &[u8], pool: &Pool) -> Vec<Vec<f32>> {
        let length = self.length(map);
        let products = self.products.run(map, pool).chunks_exact(CHANNELS * self.places);
        let findings = products.zip(self.usual.chunks_exact(self.places)).zip(&self.scales);
        let of = |((products, usual), scale): ((&[f32], &[f32]), &f32)| {
            let (positive, negative) = products.split_at(self.places);
            let place = |((positive, negative), usual): ((&f32, &f32), &f32)| {
                // Of an image without a direction, no place has a share.
                let share = if length > 0.0 { (positive - negative) / length } else { 0.0 };
                squash(scale * (share - usual) / AREA)
            };
            positive.iter().zip(negative).zip(usual).map(place).collect()
        };
        findings.map(of).collect()
    }

    /// `|mean_p G_p|`: sums of integers, then one square root.
    fn length(&self, map: &[u8]) -> f32 {
        let width = map.len() / self.places;
        let mut sums = vec![-i64::from(self.codes.zero) * self.places as i64; width];
        for place in map.chunks_exact(width) {
            sums.iter_mut().zip(place).for_each(|(sum, &q)| *sum += i64::from(q));
        }
        let squares: i64 = sums.iter().map(|sum| sum * sum).sum();
        (squares as f32).sqrt() * self.codes.scale / self.places as f32
    }
}

fn texts(Prompt { positive, negative, .. }: &Prompt) -> [&Vector; 2] {
    [&positive.text, &negative.text]
}

/// The exact sum of the codes' products, then both scales.
fn dot(a: &Vector, b: &Vector) -> f32 {
    let products = a.values.iter().zip(&b.values).map(|(&a, &b)| i64::from(a) * i64::from(b));
    products.sum::<i64>() as f32 * a.scale * b.scale
}
