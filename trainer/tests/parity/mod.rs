//! Weights, inputs and noise the vectors belong to. They are computed from names, here as in `regenerate.py`,
//! so that only what PyTorch makes of them has to be stored.

#![expect(clippy::unwrap_used, reason = "a test may")]

use sha2::{Digest, Sha256};
use std::collections::HashMap;
use tch::{Device, Kind, Tensor};

/// Sentences of each report; the last has more than there are queries.
pub(crate) const COUNTS: [i64; 4] = [5, 7, 4, 10];
const TOKENS: i64 = 48;
const VOCABULARY: u64 = 200;

/// SplitMix64 from the first eight bytes of the name's SHA-256.
fn draws(name: &str, n: i64) -> impl Iterator<Item = u64> {
    let digest = Sha256::digest(name.as_bytes());
    let seed = u64::from_le_bytes(digest[..8].try_into().unwrap());
    (1..=n as u64).map(move |at| {
        let mut z = seed.wrapping_add(at.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

/// Uniform numbers, rounded to f32 so that both precisions begin alike, as f64.
pub(crate) fn values(name: &str, shape: &[i64], low: f64, high: f64) -> Tensor {
    let unit = |z: u64| (z >> 11) as f64 * 2_f64.powi(-53);
    let all: Vec<f64> = draws(name, shape.iter().product())
        .map(|z| f64::from((low + (high - low) * unit(z)) as f32))
        .collect();
    Tensor::from_slice(&all).view(shape)
}

/// Where a parameter's numbers lie.
fn bounds(name: &str, shape: &[i64]) -> (f64, f64) {
    if name.ends_with("running_mean") {
        (0.0, 0.0)
    } else if name.ends_with("running_var") {
        (1.0, 1.0)
    } else if name.ends_with("logit_scale") {
        (3.0, 3.0)
    } else if name.ends_with("bias") {
        (-0.1, 0.1)
    } else if shape.len() == 1 {
        (0.8, 1.2)
    } else if name.contains("embed") {
        (-0.5, 0.5)
    } else if name == "prototype_queries" {
        (-1.0, 1.0)
    } else {
        let fan_in = shape[1..].iter().product::<i64>() as f64;
        let bound = (if shape.len() == 4 { 6.0 } else { 3.0 } / fan_in).sqrt();
        (-bound, bound)
    }
}

/// A parameter's numbers, by its name and shape.
pub(crate) fn weight(name: &str, shape: &[i64]) -> Tensor {
    let (low, high) = bounds(name, shape);
    values(name, shape, low, high)
}

/// Another draw, where no ReLU's input and no cost of a matching lies so near to another that f32 turns them over.
pub(crate) fn calm_weight(name: &str, shape: &[i64], of_batch_norm: bool) -> Tensor {
    let (low, high) = match name {
        "prototype_queries" => (-4.0, 4.0),
        "local_image_projection.weight" => {
            let (low, high) = bounds(name, shape);
            (low / 5.0, high / 5.0)
        }
        _ if of_batch_norm && name.ends_with("bias") => (1.0, 2.0),
        _ => bounds(name, shape),
    };
    values(&format!("calm {name}"), shape, low, high)
}

/// What the reference calls its inputs.
pub(crate) fn inputs() -> HashMap<String, Tensor> {
    let reports = COUNTS.len();
    let (b, width) = (reports as i64, TOKENS as usize);
    let words: Vec<i64> =
        draws("ids", b * TOKENS).map(|z| (z % (VOCABULARY - 5)) as i64 + 5).collect();
    let (mut ids, mut mask, mut index) =
        (vec![0; words.len()], vec![0; words.len()], vec![0; words.len()]);
    for (report, &count) in COUNTS.iter().enumerate() {
        let row = report * width;
        let mut at = 1;
        for sentence in 0..count as usize {
            let length = 2 + (report + sentence) % 3;
            index[row + at..row + at + length].fill(sentence as i64 + 1);
            at += length;
        }
        ids[row + 1..row + at].copy_from_slice(&words[row + 1..row + at]);
        (ids[row], ids[row + at]) = (2, 3);
        mask[row..=row + at].fill(1);
    }
    let table = |numbers: &[i64]| Tensor::from_slice(numbers).view([b, TOKENS]);
    let total = COUNTS.iter().sum();
    let keep: Vec<f64> = draws("channels", b * 64).map(|z| (z & 1) as f64 * 2.0).collect();
    HashMap::from(
        [
            ("image", values("image", &[b, 1, 64, 64], -2.0, 2.0)),
            ("ids", table(&ids)),
            ("mask", table(&mask)),
            ("sentence_index", table(&index)),
            ("n_sent", Tensor::from_slice(&COUNTS)),
            ("g1", values("prototypes", &[total, 32], -1.0, 4.0)),
            ("g2", values("foretold", &[total, 32], -1.0, 4.0)),
            ("drop", Tensor::from_slice(&keep).view([b, 64, 1, 1])),
        ]
        .map(|(name, tensor)| (name.to_owned(), tensor)),
    )
}

/// Numbers of float lists in the vectors' own files.
pub(crate) fn doubles(value: &serde_json::Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

/// For comparing on the CPU in f64.
pub(crate) fn wide(tensor: &Tensor) -> Tensor {
    tensor.detach().to_device(Device::Cpu).to_kind(Kind::Double)
}
