//! Whole networks: the plan on every instruction set against the integer definition, bit for bit,
//! and against float arithmetic within the rounding of 8 bits.

#![expect(clippy::unwrap_used, reason = "a test may")]

mod attention;
mod attributes;
mod hostile;
mod images;
mod onnx_runtime;
mod others;
mod qdq;
mod qdq_images;
mod qdq_tokens;
mod tokens;

use engine::{Engine, EngineError, Intermediate, Options, Outputs, reference};
use proptest::prelude::*;
use qdq::{Layer, Qdq, Real, Rectify};
use std::collections::HashMap;
use tract_onnx::pb::tensor_proto::DataType;

/// Kernel sizes, strides, groups, odd channels, additions, concatenations, resizing, heads: what
/// comes is drawn from the seed.
fn draw(seed: u64, signed: bool) -> (Vec<u8>, [usize; 3]) {
    let mut shape = [1, 3, 9];
    let mut dice = Qdq::new(seed, signed, shape).0;
    shape = [[1, 3, 4][dice.below(3)], 6 + dice.below(15), 6 + dice.below(15)];
    let (mut net, mut x) = Qdq::new(seed.wrapping_mul(31), signed, shape);
    for _ in 0..3 + net.below(4) {
        x = match net.below(10) {
            0 => residual(&mut net, &x),
            1 => {
                let a = net.conv(&x, Layer::square(5, 1, 1, Rectify::Relu));
                let b = net.conv(&x, Layer::square(8, 3, 1, Rectify::None));
                net.concat(&[&a, &b, &x])
            }
            2 if x.shape[1] * x.shape[2] <= 200 => {
                let linear = net.below(2) == 0;
                net.upsample(&x, 2, linear)
            }
            3 => net.pool("MaxPool", &x, 3, 2),
            4 => net.pool("AveragePool", &x, 3, 1),
            5 => {
                let ops = ["Sigmoid", "HardSwish", "Tanh", "Relu", "LeakyRelu"];
                net.unary(ops[x.shape[1] % 5], &x)
            }
            6 => {
                // Depthwise.
                let layer = Layer::square(x.shape[0], 3, 1 + net.below(2), Rectify::Relu6);
                net.conv(&x, Layer { groups: x.shape[0], ..layer })
            }
            7 => net.conv(&x, Layer { pad: [0, 1, 1, 0], ..Layer::square(6, 2, 1, Rectify::None) }),
            _ => {
                let out = [1, 7, 16, 33, 64, 70][net.below(6)];
                let kernel = [1, 3, 5][net.below(3)];
                let layer = Layer::square(out, kernel, 1 + net.below(2), Rectify::Relu);
                net.conv(&x, layer)
            }
        };
    }
    net.output(&x);
    let logits = net.bare_conv(&x, Layer::square(3, 1, 1, Rectify::None));
    net.output(&Real { name: logits, ..x.clone() });
    let pooled = net.global_pool(&x);
    net.output(&pooled);
    for (from, transposed) in [(&pooled, true), (&x, false)] {
        let logits = net.linear(from, 5, transposed);
        net.output(&Real { name: logits, ..pooled.clone() });
    }
    (net.bytes(), shape)
}

fn residual(net: &mut Qdq, x: &Real) -> Real {
    let c = x.shape[0];
    let a = net.conv(x, Layer::square(c + 3, 3, 1, Rectify::Relu));
    let b = net.conv(&a, Layer::square(c, 1, 1, Rectify::None));
    net.add(&b, x, true)
}

fn image(seed: u64, shape: [usize; 3]) -> Vec<f32> {
    let mut dice = Qdq::new(seed ^ 0xabcd, false, [1, 1, 1]).0;
    (0..shape.iter().product()).map(|_| 4.0 * dice.unit() - 2.0).collect()
}

fn options(isa: &str, threads: usize, fuse: bool) -> Options {
    Options { threads, isa: Some(isa.into()), fuse }
}

fn bits(outputs: &Outputs) -> Vec<(String, Vec<usize>, Vec<u32>)> {
    let of = |data: &[f32]| data.iter().map(|x| x.to_bits()).collect();
    let all = outputs.outputs.iter();
    all.map(|o| (o.name.clone(), o.shape.clone(), of(&o.data))).collect()
}

fn by_name(values: Vec<Intermediate>) -> HashMap<String, Intermediate> {
    values.into_iter().map(|value| (value.name.clone(), value)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_plan_gives_the_bits_of_the_definition(seed: u64, signed: bool) {
        let (onnx, shape) = draw(seed, signed);
        as_defined(&onnx, &image(seed, shape))?;
    }
}

/// Every plan of the network against its definition: results, and each activation that is made.
fn as_defined(onnx: &[u8], x: &[f32]) -> Result<(), TestCaseError> {
    let (expected, activations) = reference(onnx, x).unwrap();
    let activations = by_name(activations);
    for isa in kernels::Isa::available() {
        for (threads, fuse) in [(1, true), (2, true), (1, false)] {
            let what = format!("{} threads {threads} fuse {fuse}", isa.name());
            let mut engine =
                Engine::from_onnx(onnx, &[], &options(isa.name(), threads, fuse)).unwrap();
            // Twice: the second run finds the first one's leavings in the arena.
            prop_assert_eq!(bits(&engine.run(x).unwrap()), bits(&expected), "{}", &what);
            let (again, seen) = engine.run_intermediates(x).unwrap();
            prop_assert_eq!(bits(&again), bits(&expected), "{}", &what);
            for value in seen {
                prop_assert_eq!(Some(&value), activations.get(&value.name), "{}", &what);
            }
        }
    }
    Ok(())
}

/// `q = clamp(round_ties_even(x / scale) + zero)` of `x` or a tenth of it, written out.
#[test]
fn a_leaky_relu_is_what_design_says_for_every_code() {
    for seed in 0..40 {
        let (mut net, x) = Qdq::new(seed, seed % 2 == 1, [1, 16, 32]);
        let y = net.unary("LeakyRelu", &x);
        net.output(&y);
        let pixels: Vec<f32> = (0..512).map(|i| (i as f32 / 256.0 - 1.0) * 4.0).collect();
        let mut engine = Engine::from_onnx(&net.bytes(), &[], &Options::threads(1)).unwrap();
        let (_, seen) = engine.run_intermediates(&pixels).unwrap();
        let [x, y] = &seen[..] else { panic!("{} activations", seen.len()) };
        // Signed codes lie between -128 and 127, unsigned ones between 0 and 255.
        let lowest = if seed % 2 == 1 { -128.0 } else { 0.0 };
        for (&from, &code) in x.values.iter().zip(&y.values) {
            let real = (i32::from(from) - x.zero) as f32 * x.scale;
            let leaked = if real < 0.0 { 0.1 * real } else { real };
            let steps = (leaked / y.scale).round_ties_even() + y.zero as f32;
            assert_eq!(f32::from(code), steps.clamp(lowest, lowest + 255.0), "seed {seed}: {real}");
        }
    }
}

#[test]
fn without_fusion_every_activation_is_seen() {
    let (mut net, x) = Qdq::new(5, false, [4, 8, 8]);
    let y = residual(&mut net, &x);
    net.output(&y);
    let onnx = net.bytes();
    let x = image(5, [4, 8, 8]);
    let seen = |fuse| {
        let mut engine = Engine::from_onnx(&onnx, &[], &options("scalar", 1, fuse)).unwrap();
        (engine.run_intermediates(&x).unwrap().1.len(), engine.layers().len())
    };
    assert_eq!(seen(false), (4, 4));
    assert_eq!(seen(true), (3, 3));
}

/// Convolutions of every form, with an addition, with a table; tables, pools; one part that others read, too.
#[test]
fn parts_of_a_concatenation_are_made_where_it_lies_with_the_same_bits() {
    for seed in 0..6 {
        let (mut net, x) = Qdq::new(seed, seed % 2 == 1, [4, 10, 13]);
        let conv = |net: &mut Qdq, x: &Real, out_c, kernel| {
            net.conv(x, Layer::square(out_c, kernel, 1, Rectify::Relu))
        };
        let plain = conv(&mut net, &x, 5, 1);
        let windows = conv(&mut net, &x, 70, 3);
        let depthwise = Layer { groups: 4, ..Layer::square(4, 3, 1, Rectify::Relu) };
        let depthwise = net.conv(&x, depthwise);
        let sum = residual(&mut net, &x);
        let before = conv(&mut net, &x, 33, 1);
        let table_behind = net.unary("Sigmoid", &before);
        let table = net.unary("HardSwish", &x);
        let of_pool = net.unary("Tanh", &x);
        let largest = net.pool("MaxPool", &of_pool, 3, 1);
        let mean = net.pool("AveragePool", &x, 3, 1);
        let parts = [&plain, &windows, &depthwise, &sum, &table_behind, &table, &largest, &mean];
        let whole = net.concat(&parts);
        net.alike(&[&parts[..], &[&of_pool]].concat(), &whole);
        let more = conv(&mut net, &whole, 16, 1);
        let again = net.concat(&[&more, &whole]);
        net.alike(&[&more], &again);
        let last = conv(&mut net, &again, 8, 3);
        net.output(&last);
        net.output(&again);
        let (onnx, x) = (net.bytes(), image(seed, [4, 10, 13]));
        let engine = Engine::from_onnx(&onnx, &[], &options("scalar", 1, true)).unwrap();
        let copies = engine.layers().into_iter().filter(|layer| layer.kind == "concat");
        assert_eq!(copies.count(), 1, "the whole is copied once, into the second one");
        as_defined(&onnx, &x).unwrap();
    }
}

/// Of `c` channels, by a Split or by two Slices.
fn halves(net: &mut Qdq, op: &str, x: &str, c: i64) -> (String, String) {
    if op == "Split" {
        let first = net.node("Split", &[x], vec![qdq::int("axis", 1)]);
        let second = format!("{first}.second");
        net.graph.node.last_mut().unwrap().output.push(second.clone());
        return (first, second);
    }
    let [from, end, axis] = [[0, c / 2], [c / 2, c], [1, 1]];
    let mut half = |at: usize| {
        let bounds = [from[at], end[at], axis[at]].map(|value: i64| {
            net.constant(qdq::raw(DataType::Int64, &[1], value.to_le_bytes().to_vec()))
        });
        let [start, end, axis] = &bounds;
        net.node("Slice", &[x, start, end, axis], vec![])
    };
    (half(0), half(1))
}

/// ShuffleNet's blocks: half of the shuffled channels goes on, the other is joined to what comes of it.
#[test]
fn halves_of_shuffled_channels_are_read_where_they_lie() {
    for (seed, groups, op) in [(0, 2, "Split"), (1, 2, "Slice"), (2, 3, "Split"), (3, 3, "Slice")] {
        let [c, h, w] = [4 * groups, 5, 7];
        let (mut net, x) = Qdq::new(seed, seed % 2 == 1, [3, h, w]);
        let x = net.conv(&x, Layer::square(c, 1, 1, Rectify::None));
        let sides = [groups, c / groups, h, w];
        let apart = net.reshaped(&x, &sides);
        let order = vec![qdq::ints("perm", &[0, 2, 1, 3, 4])];
        let turned = Real { name: net.node("Transpose", &[&apart.name], order), ..x };
        let shuffled = net.reshaped(&turned, &[c, h, w]);
        let (first, second) = halves(&mut net, op, &shuffled.name, c as i64);
        let half = |name: String| Real { name, shape: [c / 2, h, w], ..x.clone() };
        let (first, second) = (half(first), half(second));
        let made = net.conv(&second, Layer::square(c / 2, 3, 1, Rectify::Relu));
        let joined = net.concat(&[&first, &made]);
        net.output(&joined);
        let (onnx, x) = (net.bytes(), image(seed, [3, h, w]));
        let engine = Engine::from_onnx(&onnx, &[], &options("scalar", 1, true)).unwrap();
        let layers = engine.layers();
        let count = |kind| layers.iter().filter(|layer| layer.kind == kind).count();
        assert_eq!((count("copy"), count("append")), (1, 1), "{groups} groups");
        as_defined(&onnx, &x).unwrap();
    }
}

/// tract's own reading of the same file computes in float between Q and DQ: an independent oracle.
#[test]
fn integers_agree_with_float_within_the_rounding_of_8_bits() {
    let mut compared = 0;
    for seed in 0..12 {
        let (onnx, shape) = draw(seed, false);
        let x = image(seed, shape);
        let options = Options::threads(1);
        let int8 = Engine::from_onnx(&onnx, &[], &options).unwrap().run(&x).unwrap();
        let Ok(mut float) = Engine::open_float(&onnx, &options) else { continue };
        let float = float.run(&x).unwrap();
        for (a, b) in int8.outputs.iter().zip(&float.outputs) {
            assert_eq!((&a.name, &a.shape), (&b.name, &b.shape), "seed {seed}");
            let close = a.data.iter().zip(&b.data).filter(|(a, b)| {
                let scale = b.abs().max(1.0);
                (**a - **b).abs() <= 0.05 * scale
            });
            let share = close.count() as f64 / a.data.len() as f64;
            assert!(share > 0.97, "seed {seed}, {}: {share} agree", a.name);
            compared += 1;
        }
    }
    assert!(compared >= 30, "tract read too few of the models: {compared} outputs compared");
}

#[test]
fn a_float_convolution_is_refused_by_name_unless_declared() {
    let build = || {
        let (mut net, x) = Qdq::new(1, false, [3, 8, 8]);
        let y = net.conv(&x, Layer::square(4, 3, 1, Rectify::Relu));
        let real = net.float("Exp", &[&y.name], vec![]);
        let product = net.float("MatMul", &[&real, &real], vec![]);
        let back = net.quantized(&product, y.shape, 4.0);
        let z = net.add(&back, &y, false);
        net.output(&z);
        net.graph
            .node
            .iter_mut()
            .filter(|n| n.op_type == "MatMul")
            .for_each(|n| n.name = "attn/qk".into());
        net.bytes()
    };
    let refused = Engine::from_onnx(&build(), &[], &Options::threads(1)).err().unwrap();
    assert!(
        matches!(&refused, EngineError::Float { node, op } if node == "attn/qk" && op == "MatMul")
    );
    assert!(refused.to_string().contains("attn/qk"), "{refused}");

    let mut engine = Engine::from_onnx(&build(), &["attn".into()], &Options::threads(2)).unwrap();
    let share = engine.integer_share();
    assert_eq!(share.float_nodes, ["exp.19", "attn/qk"], "{share:?}");
    assert!(
        share.integer_macs == 8 * 8 * 4 * 3 * 9 && share.float_macs >= 8 * 8 * 8 * 4,
        "{share:?}"
    );
    let outputs = engine.run(&image(1, [3, 8, 8])).unwrap();
    assert_eq!(outputs.outputs[0].shape, [1, 4, 8, 8]);
    assert!(Engine::from_onnx(&build(), &["att".into()], &Options::threads(1)).is_err());
}

#[test]
fn layers_tell_what_they_cost() {
    let (mut net, x) = Qdq::new(9, false, [4, 8, 8]);
    let y = residual(&mut net, &x);
    let logits = net.linear(&y, 10, true);
    net.output(&Real { name: logits, ..y });
    let onnx = net.bytes();
    let mut engine = Engine::from_onnx(&onnx, &[], &Options::threads(1)).unwrap();
    let kinds: Vec<(String, u64)> = engine.layers().into_iter().map(|l| (l.kind, l.macs)).collect();
    let expected = [
        ("quantize", 0),
        ("conv 3x3/1", 64 * 7 * 4 * 9),
        ("conv+add 1x1/1", 64 * 4 * 7),
        ("conv 8x8/1 to float", 10 * 256),
    ];
    assert_eq!(kinds, expected.map(|(kind, macs)| (kind.to_owned(), macs)));
    let mut now = 0;
    let clock = move || {
        now += 1;
        std::time::Duration::from_millis(now)
    };
    let (_, times) = engine.run_timed(&image(9, [4, 8, 8]), clock).unwrap();
    assert_eq!(times, [std::time::Duration::from_millis(1); 4]);
}

#[test]
fn wrong_and_infinite_inputs_are_refused() {
    let (mut net, x) = Qdq::new(2, false, [1, 4, 4]);
    net.output(&x);
    let mut engine = Engine::from_onnx(&net.bytes(), &[], &Options::threads(1)).unwrap();
    let short = engine.run(&[0.0; 15]).unwrap_err().to_string();
    assert_eq!(short, "15 input values, expected 16 ([1, 1, 4, 4])");
    let mut x = [0.0; 16];
    x[3] = f32::NAN;
    assert_eq!(
        engine.run(&x).unwrap_err().to_string(),
        "input value 3 is NaN, expected a finite number"
    );
}

#[test]
fn an_unknown_instruction_set_is_refused_with_the_known_ones() {
    let (mut net, x) = Qdq::new(2, false, [1, 4, 4]);
    net.output(&x);
    let error = Engine::from_onnx(&net.bytes(), &[], &options("mmx", 1, true)).err().unwrap();
    let text = error.to_string();
    assert!(text.contains("mmx") && text.contains("scalar"), "{text}");
}

#[test]
fn an_engine_can_move_to_another_thread() {
    fn moves<T: Send>() {}
    moves::<Engine>();
    moves::<engine::Analyzer>();
}
