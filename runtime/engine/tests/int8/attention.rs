//! Attention pools: products of two activations, softmax, and views of matrices.

use crate::qdq::{Layer, Qdq, Real, Rectify, ints};
use crate::{as_defined, image, options};
use engine::{Engine, EngineError, reference};
use proptest::prelude::*;

/// A convolution, an attention pool of drawn size, its embedding and three logits.
fn draw(seed: u64, signed: bool) -> (Vec<u8>, [usize; 3]) {
    let mut dice = Qdq::new(seed, signed, [1, 1, 1]).0;
    let shape = [1 + dice.below(3), 1 + dice.below(9), 1 + dice.below(9)];
    let heads = [1, 2, 4, 8][dice.below(4)];
    let channels = heads * [1, 3, 8, 9][dice.below(4)];
    let (mut net, x) = Qdq::new(seed.wrapping_mul(31), signed, shape);
    net.calm = seed.is_multiple_of(2);
    let x = net.conv(&x, Layer::square(channels, 3, 1, Rectify::Relu));
    let pooled = net.attention_pool(&x, heads);
    net.output(&pooled);
    let logits = net.linear(&pooled, 3, true);
    net.output(&Real { name: logits, ..pooled });
    (net.bytes(), shape)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_attention_pool_gives_the_bits_of_the_definition(seed: u64, signed: bool) {
        let (onnx, shape) = draw(seed, signed);
        as_defined(&onnx, &image(seed, shape))?;
    }
}

/// Softmax and products of activations by f64 arithmetic on what the codes stand for: within half a step and its rounding.
#[test]
fn scores_shares_and_answers_are_what_float_arithmetic_says_within_half_a_step() {
    for seed in 0..40 {
        let (onnx, shape) = draw(seed, seed % 2 == 1);
        let (_, seen) = reference(&onnx, &image(seed, shape)).unwrap();
        let matrices: Vec<_> = seen.iter().filter(|seen| seen.shape.len() == 3).collect();
        // Query token, patch tokens, all tokens, scores if they are rounded, shares, answers.
        let (tokens, scores, [shares, answers]) = match matrices[..] {
            [_, _, tokens, scores, shares, answers] => (tokens, Some(scores), [shares, answers]),
            [_, _, tokens, shares, answers] => (tokens, None, [shares, answers]),
            _ => panic!("{} matrices", matrices.len()),
        };
        let real = |x: &engine::Intermediate| -> Vec<f64> {
            let value = |&q: &i16| f64::from(i32::from(q) - x.zero) * f64::from(x.scale);
            x.values.iter().map(value).collect()
        };
        let near = |found: &engine::Intermediate, expected: &[f64], what: &str| {
            assert_eq!(found.values.len(), expected.len(), "{what}");
            let lowest = if seed % 2 == 1 { -128.0 } else { 0.0 };
            for (&q, x) in found.values.iter().zip(expected) {
                let steps = x / f64::from(found.scale) + f64::from(found.zero);
                let off = (f64::from(q) - steps.clamp(lowest, lowest + 255.0)).abs();
                assert!(off < 0.501, "seed {seed}: {what} {q} instead of {steps}");
            }
        };
        let [heads, count] = [shares.shape[1], shares.shape[2]];
        let channels = tokens.shape[1];
        let (a, x) = (real(shares), real(tokens));
        let scores = scores.map_or_else(
            || {
                // Before the last projection.
                let images = seen.iter().filter(|seen| seen.shape.len() == 4);
                let asks = images.rev().nth(1).unwrap();
                let u = real(asks);
                let score = |at: usize| -> f64 {
                    let (head, t) = (at / count, at % count);
                    (0..channels).map(|c| u[head * channels + c] * x[c * count + t]).sum()
                };
                (0..heads * count).map(score).collect()
            },
            real,
        );
        assert_eq!((tokens.shape[2], scores.len()), (count, heads * count));
        let row = |head: usize| {
            let largest =
                scores[head * count..][..count].iter().fold(f64::MIN, |most, x| most.max(*x));
            let e: Vec<f64> =
                scores[head * count..][..count].iter().map(|x| (x - largest).exp()).collect();
            let sum: f64 = e.iter().sum();
            e.into_iter().map(move |e| e / sum)
        };
        near(shares, &(0..heads).flat_map(row).collect::<Vec<_>>(), "share");
        let answer = |at: usize| -> f64 {
            let (head, c) = (at / channels, at % channels);
            (0..count).map(|t| a[head * count + t] * x[c * count + t]).sum()
        };
        near(answers, &(0..heads * channels).map(answer).collect::<Vec<_>>(), "answer");
    }
}

#[test]
fn nothing_of_a_pool_is_in_float_and_its_layers_say_what_they_are() {
    let (mut net, x) = Qdq::new(5, false, [16, 7, 7]);
    let pooled = net.attention_pool(&x, 8);
    net.output(&pooled);
    let engine = Engine::from_onnx(&net.bytes(), &[], &options("scalar", 1, true)).unwrap();
    let share = engine.integer_share();
    assert_eq!((share.float_macs, share.float_nodes.len()), (0, 0));
    // Three projections, each of 16 x 16 (the last is a linear layer that was not drawn), and two products over 50 tokens in 8 heads.
    assert_eq!(share.integer_macs, 3 * 16 * 16 + 2 * 8 * 16 * 50);
    let layers = engine.layers();
    let kinds: Vec<&str> = layers.iter().map(|layer| layer.kind.as_str()).collect();
    for kind in ["append", "matmul 8x50x16", "conv 1x1/1 g8"] {
        assert!(kinds.contains(&kind), "{kind}: {kinds:?}");
    }
    let apart = kinds.contains(&"matmul 8x16x50") && kinds.contains(&"softmax");
    assert!(apart || kinds.contains(&"matmul+softmax 8x16x50"), "{kinds:?}");
    assert_eq!(kinds.iter().filter(|kind| **kind == "add-constant").count(), 2);
}

fn refusal(net: Qdq) -> EngineError {
    match Engine::from_onnx(&net.bytes(), &[], &options("scalar", 1, true)) {
        Ok(_) => panic!("it was loaded"),
        Err(error) => error,
    }
}

#[test]
fn products_that_stay_float_or_do_not_fit_are_refused_by_name() {
    // A product nobody quantizes.
    let (mut net, x) = Qdq::new(5, false, [4, 2, 2]);
    let square = net.reshaped(&x, &[4, 4]);
    let rows = net.float("Transpose", &[&square.name], vec![ints("perm", &[0, 2, 1])]);
    let product = net.float("MatMul", &[&rows, &square.name], vec![]);
    net.output(&Real { name: product, ..x });
    assert!(matches!(refusal(net), EngineError::Float { op, .. } if op == "MatMul"));

    // Sums beyond 32 bits, and matrices that do not fit.
    for (c, pixels) in [(40_000, 1), (4, 6)] {
        let (mut net, x) = Qdq::new(5, false, [c, 1, pixels]);
        let square = net.reshaped(&x, &[c, pixels]);
        let rows = net.float("Transpose", &[&square.name], vec![ints("perm", &[0, 2, 1])]);
        let right = if pixels == 1 { &square.name } else { &rows };
        let product = net.float("MatMul", &[&rows, right], vec![]);
        let made = net.quantized(&product, [1, 1, 1], 9.0);
        net.output(&made);
        let error = refusal(net).to_string();
        assert!(error.contains("at most 33025 deep"), "{error}");
    }
}

/// Columns on the left, an image seen as another, a matrix turned: what an operator cannot read is copied before it.
#[test]
fn whatever_order_values_lie_in_operators_read_the_ones_they_should() {
    let (mut net, x) = Qdq::new(5, false, [4, 2, 2]);
    let square = net.reshaped(&x, &[4, 4]);
    let product = net.float("MatMul", &[&square.name, &square.name], vec![]);
    let made = net.quantized(&product, [4, 1, 4], 9.0);
    net.output(&made);
    as_defined(&net.bytes(), &image(1, [4, 2, 2])).unwrap();

    let (mut net, x) = Qdq::new(5, false, [4, 2, 3]);
    let row = net.reshaped(&x, &[4, 6, 1]);
    let y = net.conv(&Real { shape: [4, 6, 1], ..row }, Layer::square(8, 3, 1, Rectify::None));
    net.output(&y);
    as_defined(&net.bytes(), &image(2, [4, 2, 3])).unwrap();

    let (mut net, x) = Qdq::new(5, false, [4, 2, 3]);
    let rows = net.reshaped(&x, &[4, 6]);
    let rows = net.float("Transpose", &[&rows.name], vec![ints("perm", &[0, 2, 1])]);
    let again = net.quantized(&rows, [6, 1, 4], 2.0);
    net.output(&again);
    as_defined(&net.bytes(), &image(3, [4, 2, 3])).unwrap();
}
