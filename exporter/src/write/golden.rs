//! Golden vectors: phantom pictures drawn from a seed, and the bytes the network makes of them.

use crate::passes::{interpreter::Outputs, noise::Noise};
use anyhow::Result;
use bundle::{Golden, GoldenOutput, GoldenVector};
use graph::Preprocess;

/// A phantom, a picture of noise, and a bright one: different ranges, different codes.
const SEEDS: [u64; 3] = [1, 2, 3];

/// Draws the pictures and lets `infer` (network input → outputs) fill in the answers.
pub(crate) fn vectors(
    preprocess: &Preprocess,
    mut infer: impl FnMut(&[f32]) -> Result<Outputs>,
) -> Result<Golden> {
    let vectors = SEEDS
        .iter()
        .map(|&seed| {
            let mut vector = GoldenVector {
                height: preprocess.height as u32,
                width: preprocess.width as u32,
                grey: phantom(seed, preprocess.height, preprocess.width),
                outputs: Vec::new(),
            };
            vector.outputs = infer(&vector.input(preprocess))?
                .into_iter()
                .map(|(name, values)| GoldenOutput {
                    name,
                    bytes: values.iter().flat_map(|x| x.to_le_bytes()).collect(),
                })
                .collect();
            Ok(vector)
        })
        .collect::<Result<_>>()?;
    Ok(Golden { vectors })
}

/// Two dark lungs in a grey body, ribs across, noise over all. Integers only: the same everywhere.
fn phantom(seed: u64, height: usize, width: usize) -> Vec<u8> {
    let mut noise = Noise(seed);
    let shift = noise.below(40) as i64 - 20;
    let grain = 4 + noise.below(12);
    let mut grey = Vec::with_capacity(height * width);
    for row in 0..height {
        for column in 0..width {
            // A square of 1024x1024 whatever the size.
            let (y, x) = ((row * 1024 / height) as i64, (column * 1024 / width) as i64);
            let inside = |cx: i64, cy: i64, rx: i64, ry: i64| {
                let (dx, dy) = ((x - cx) * 1024 / rx, (y - cy) * 1024 / ry);
                dx * dx + dy * dy < 1024 * 1024
            };
            let mut level = if inside(512, 560, 480, 640) { 150 } else { 20 };
            if inside(310, 500, 150, 300) || inside(714, 500, 150, 300) {
                level = if (y + (x - 512).abs() / 3) % 120 < 30 { 95 } else { 60 };
            }
            if inside(580, 650, 130, 170) {
                level = 190;
            }
            let speckle = noise.below(2 * grain) as i64 - grain as i64;
            grey.push((level + shift + speckle).clamp(0, 255) as u8);
        }
    }
    grey
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_drawn_again_from_their_seed_and_differ_between_seeds() {
        assert_eq!(phantom(1, 96, 64), phantom(1, 96, 64));
        assert_ne!(phantom(1, 96, 64), phantom(2, 96, 64));
        let dark = phantom(1, 224, 224).iter().filter(|&&x| x < 80).count();
        assert!((5_000..40_000).contains(&dark), "{dark}");
    }
}
