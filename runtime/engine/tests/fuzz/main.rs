//! Hostile files, one after the other: whatever they are, loading and running ends soon, without a panic and within
//! bounded memory.
//!
//! ```text
//! seed ─▶ a network or a bundle as our exporter writes it ─▶ mutations ─▶ load ─▶ run, if it loads
//! ```
//!
//! In `cargo test` a fixed number of seeds. `make fuzz` goes on for `FUZZ_SECONDS` from `FUZZ_SEED` on, on the same code;
//! `FUZZ_BUNDLE` names a bundle of yours to mutate too. The file being tried lies in the target's `tmp/fuzz-case`
//! when a run dies.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod bundles;
mod guard;
mod mutate;
#[path = "../int8/qdq.rs"]
#[expect(dead_code, reason = "not every layer is drawn here")]
mod qdq;
#[path = "../int8/qdq_images.rs"]
mod qdq_images;
#[path = "../int8/qdq_tokens.rs"]
mod qdq_tokens;

use engine::{Engine, Options};
use guard::Guard;
use mutate::Dice;
use prost::Message;
use qdq::{Layer, Qdq, Real, Rectify};
use qdq_tokens::{Sizes, Style};
use tract_onnx::pb::ModelProto;

/// A network with every kind of layer the engine fuses, and a float tail.
pub(crate) fn network(dice: &mut Dice, channels: usize) -> ModelProto {
    let shape = [channels, 6 + dice.below(10), 6 + dice.below(10)];
    let (mut net, x) = Qdq::new(dice.next(), dice.below(2) == 0, shape);
    let a = net.conv(&x, Layer::square(4, 3, 2, Rectify::Relu6));
    let b = net.conv(&a, Layer::square(4, 1, 1, Rectify::None));
    let sum = net.add(&a, &b, true);
    let depthwise = Layer { groups: 4, ..Layer::square(4, 3, 1, Rectify::Relu) };
    let c = net.conv(&sum, depthwise);
    let linear = dice.below(2) == 0;
    let up = net.upsample(&c, 2, linear);
    let y = net.unary(["Sigmoid", "HardSwish", "Tanh"][dice.below(3)], &up);
    let joined = net.concat(&[&y, &up]);
    let pooled = net.pool(["MaxPool", "AveragePool"][dice.below(2)], &joined, 3, 2);
    net.output(&pooled);
    let attended = net.attention_pool(&pooled, [1, 2, 4][dice.below(3)]);
    net.output(&attended);
    let mean = net.global_pool(&pooled);
    let logits = net.linear(&mean, 3, true);
    let probability = net.float("Softmax", &[&logits], vec![]);
    net.output(&Real { name: probability, ..mean });
    net.model()
}

/// Gates, normalisations, borders, other sizes, transposed convolutions.
pub(crate) fn image_operators(dice: &mut Dice) -> ModelProto {
    let shape = [[2, 4, 6][dice.below(3)], 5 + dice.below(6), 5 + dice.below(6)];
    let (mut net, x) = Qdq::new(dice.next(), dice.below(2) == 0, shape);
    let gated = net.gated(&x);
    let silu = net.silu(&gated);
    let norms = ["BatchNormalization", "InstanceNormalization", "GroupNormalization"];
    let normal = net.normalized(norms[dice.below(3)], &silu);
    let mode = ["constant", "edge", "reflect"][dice.below(3)];
    let padded = net.padded(&normal, mode, [0, 0, 1, 2, 0, 0, 2, 1]);
    let sizes = [4 + dice.below(9), 4 + dice.below(9)];
    let resized = net.resized(
        &padded,
        sizes,
        vec![
            qdq::text("mode", ["nearest", "linear"][dice.below(2)]),
            qdq::text("coordinate_transformation_mode", "align_corners"),
        ],
    );
    let up = net.conv_transpose(&resized, 4, [1, 2][dice.below(2)]);
    let pooled = net.window(
        ["MaxPool", "AveragePool"][dice.below(2)],
        &up,
        vec![
            qdq::ints("kernel_shape", &[3, 3]),
            qdq::ints("strides", &[2, 2]),
            qdq::int("ceil_mode", 1),
        ],
    );
    net.output(&Real { name: pooled, ..up.clone() });
    let mean = net.global_pool(&up);
    let difference = net.combine("Sub", &up, &mean);
    net.output(&difference);
    net.model()
}

/// A block of a transformer, as either of two tools writes it.
pub(crate) fn transformer(dice: &mut Dice) -> ModelProto {
    let style = [Style::Exporter, Style::Quantizer][dice.below(2)];
    let shape = [3, 4 * (1 + dice.below(3)), 4 * (1 + dice.below(3))];
    let (mut net, x) = Qdq::new(dice.next(), false, shape);
    let sizes = Sizes { tokens: 0, heads: 1 + dice.below(3), depth: [1, 4, 6][dice.below(3)] };
    let (x, tokens) = net.tokens_of(style, &x, sizes.width());
    let x = net.block(style, &x, Sizes { tokens, ..sizes });
    net.output(&x);
    net.model()
}

/// Loads, and runs what loads unless that is honest but long work. Says whether it ran.
fn survives(bytes: &[u8]) -> bool {
    let options = Options { threads: 1, isa: None, fuse: true };
    let Ok(mut engine) = Engine::from_onnx(bytes, &["conv".into()], &options) else { return false };
    if engine.integer_share().integer_macs >= 1 << 28 {
        return false;
    }
    let count = engine.input_shape().iter().product();
    engine.run(&vec![0.25; count]).is_ok()
}

#[test]
fn networks_unchanged_are_loaded_and_run() {
    let _alone = guard::alone();
    for seed in 0..20 {
        let mut dice = Dice::new(seed);
        let all = [network(&mut dice, 3), image_operators(&mut dice), transformer(&mut dice)];
        for model in all {
            let bytes = model.encode_to_vec();
            let mut engine = Engine::from_onnx(&bytes, &[], &Options::threads(1)).unwrap();
            let count = engine.input_shape().iter().product();
            engine.run(&vec![0.25; count]).unwrap();
        }
    }
}

/// Protobuf that still decodes: shapes, references, attributes, types and operators exchanged for others.
#[test]
fn well_formed_nonsense_ends_soon_in_bounded_memory() {
    let mut guard = Guard::new("onnx", 1500);
    while let Some(mut dice) = guard.next_seed() {
        let channels = dice.pick(&[1, 3, 4]);
        let mut model = match dice.below(3) {
            0 => image_operators(&mut dice),
            1 => transformer(&mut dice),
            _ => network(&mut dice, channels),
        };
        for _ in 0..1 + dice.below(4) {
            mutate::model(&mut model, &mut dice);
        }
        let bytes = model.encode_to_vec();
        guard.watch(&bytes, || survives(&bytes));
    }
    guard.finish();
}

/// Bits flipped, pieces cut out, doubled and moved.
#[test]
fn damaged_onnx_ends_soon_in_bounded_memory() {
    let mut guard = Guard::new("damaged-onnx", 1500);
    while let Some(mut dice) = guard.next_seed() {
        let mut bytes = network(&mut dice, 1).encode_to_vec();
        for _ in 0..1 + dice.below(6) {
            mutate::bytes(&mut bytes, &mut dice);
        }
        guard.watch(&bytes, || survives(&bytes));
    }
    guard.finish();
}
