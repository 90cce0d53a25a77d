//! What places usually say to the global score: a network's own mean over images, which heat maps are told against.

use crate::{
    passes::interpreter::output,
    read::images::{ImageSet, Input},
    verify::Network,
};
use anyhow::{Context, Result};
use graph::LANGUAGE_GLOBAL_PLACES;
use indicatif::ProgressBar;
use language::{Space, Vector};

/// Mean over `images` of `G_p / |mean_p G_p|`, one vector a place; `None` of a network that has no such output.
pub(crate) fn usual(
    network: &Network,
    space: &Space,
    images: &ImageSet,
    preprocess: &graph::Preprocess,
    progress: &ProgressBar,
) -> Result<Option<Vec<Vector>>> {
    if network.rounding()?.maps.global_places.is_none() {
        return Ok(None);
    }
    progress.set_length(images.paths.len() as u64);
    let mut sums = vec![0.0; space.width as usize * space.places()];
    for path in &images.paths {
        let Input { pixels, .. } = Input::read(path, preprocess)?;
        let outputs =
            network.infer(&pixels).with_context(|| format!("image {}", path.display()))?;
        add(&mut sums, output(&outputs, LANGUAGE_GLOBAL_PLACES)?, space.places());
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(Some(vectors(&sums, space.places(), images.paths.len())))
}

/// Adds `G / |mean_p G_p|` of one image; both are `[D, P]`. One without a direction adds nothing.
fn add(sums: &mut [f64], map: &[f32], places: usize) {
    let mean = |row: &[f32]| row.iter().map(|&x| f64::from(x)).sum::<f64>() / places as f64;
    let length = map.chunks_exact(places).map(mean).map(|x| x * x).sum::<f64>().sqrt();
    if length > 0.0 {
        sums.iter_mut().zip(map).for_each(|(sum, &x)| *sum += f64::from(x) / length);
    }
}

/// `[D, P]` → one vector a place.
fn vectors(sums: &[f64], places: usize, count: usize) -> Vec<Vector> {
    let place = |at: usize| {
        let own = sums.iter().skip(at).step_by(places);
        let mean: Vec<f32> = own.map(|sum| (sum / count as f64) as f32).collect();
        Vector::quantize(&mean)
    };
    (0..places).map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_usual_is_the_mean_of_images_of_length_one() {
        // D = 2, P = 3; the mean over places is (3, 4) and (6, 8), of length 5 and 10.
        let mut sums = vec![0.0; 6];
        add(&mut sums, &[9.0, 0.0, 0.0, 4.0, 4.0, 4.0], 3);
        add(&mut sums, &[0.0, 18.0, 0.0, 8.0, 8.0, 8.0], 3);
        add(&mut sums, &[0.0; 6], 3);
        let found = vectors(&sums, 3, 2);
        let expected = [[0.9, 0.8], [0.9, 0.8], [0.0, 0.8]];
        for (found, expected) in found.iter().zip(expected) {
            for (found, expected) in found.dequantized().iter().zip(expected) {
                assert!((found - expected).abs() < 0.005, "{found} {expected}");
            }
        }
    }
}
