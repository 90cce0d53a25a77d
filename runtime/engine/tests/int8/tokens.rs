//! Transformers: a network of two blocks as our exporter writes it and as ONNX Runtime's quantizer does, against the
//! definition; each operator against ONNX Runtime.

use crate::qdq::{Qdq, Real, floats, int, ints, raw, text};
use crate::qdq_tokens::{Sizes, Style};
use crate::{as_defined, image, options};
use engine::{Engine, EngineError};
use proptest::prelude::*;
use std::path::Path;
use std::process::Command;
use tract_onnx::pb::tensor_proto::DataType;

/// Two blocks between patches and five logits, of the class token or of the mean.
fn draw(seed: u64, style: Style) -> (Vec<u8>, [usize; 3]) {
    let mut dice = Qdq::new(seed, false, [1, 1, 1]).0;
    let shape = [[1, 3][dice.below(2)], 4 * (1 + dice.below(5)), 4 * (1 + dice.below(4))];
    let sizes = Sizes { tokens: 0, heads: 1 + dice.below(3), depth: [1, 4, 7, 16][dice.below(4)] };
    let (mut net, x) = Qdq::new(seed.wrapping_mul(31), false, shape);
    net.calm = true;
    let (mut x, tokens) = net.tokens_of(style, &x, sizes.width());
    let sizes = Sizes { tokens, ..sizes };
    for _ in 0..2 {
        x = net.block(style, &x, sizes);
    }
    let x = net.layer_norm(&x, sizes.width());
    let first = net.constant(raw(DataType::Int64, &[], 0_i64.to_le_bytes().to_vec()));
    let class = net.seen(style, "Gather", &x, Some(&first), &[1]);
    let mean = net.node("ReduceMean", &[&x.name], vec![ints("axes", &[1]), int("keepdims", 0)]);
    let mean = net.quantized(&mean, [sizes.width(), 1, 1], 100.0 * x.scale);
    for vector in [class, mean] {
        let (weights, scales) = net.weights(&[5, sizes.width()], 5, 0);
        let bias = net.bias(5, vector.scale, &scales);
        let logits = net.node("Gemm", &[&vector.name, &weights, &bias], vec![int("transB", 1)]);
        net.output(&Real { name: logits, ..vector });
    }
    net.output(&x);
    (net.bytes(), shape)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_transformer_gives_the_bits_of_the_definition(seed: u64, exporter: bool) {
        let style = if exporter { Style::Exporter } else { Style::Quantizer };
        let (onnx, shape) = draw(seed, style);
        as_defined(&onnx, &image(seed, shape))?;
    }
}

#[test]
fn nothing_of_a_transformer_is_in_float_and_views_cost_no_layers() {
    for style in [Style::Exporter, Style::Quantizer] {
        let (mut net, x) = Qdq::new(3, false, [3, 16, 16]);
        let sizes = Sizes { tokens: 17, heads: 4, depth: 8 };
        let (x, _) = net.tokens_of(style, &x, 32);
        let x = net.block(style, &x, sizes);
        net.output(&x);
        let engine = Engine::from_onnx(&net.bytes(), &[], &options("scalar", 1, true)).unwrap();
        let share = engine.integer_share();
        assert_eq!((share.float_macs, share.float_nodes.len()), (0, 0), "{share:?}");
        let linear = 17 * (3 + 1 + 2 + 2) * 32 * 32;
        assert_eq!(share.integer_macs, 16 * 48 * 32 + linear + 2 * 4 * 17 * 17 * 8);
        let layers = engine.layers();
        let count = |kind: &str| layers.iter().filter(|layer| layer.kind.starts_with(kind)).count();
        assert_eq!(
            (count("layer-norm"), count("matmul"), count("conv+table")),
            (2, 2, 1),
            "{layers:?}"
        );
        // The class token's, and that of queries and keys where each gets a scale of its own.
        let copies = if style == Style::Exporter { 0 } else { 2 };
        assert_eq!(
            (count("append"), count("constant"), count("copy")),
            (1, 1, copies),
            "{layers:?}"
        );
    }
}

/// What ONNX Runtime makes of a file, output by output.
fn onnx_runtime(onnx: &[u8], image: &[f32], [c, h, w]: [usize; 3]) -> Option<Vec<Vec<f32>>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let python = root.join(".venv/bin/python");
    if !python.is_file() {
        skip::because(format_args!("no {}: make setup", python.display()));
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let [model, input] = ["model.onnx", "input.npy"].map(|name| folder.path().join(name));
    std::fs::write(&model, onnx).unwrap();
    let header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': (1, {c}, {h}, {w}), }}");
    let header = format!("{header:<117}\n");
    let data: Vec<u8> = image.iter().flat_map(|x| x.to_le_bytes()).collect();
    let file = [b"\x93NUMPY\x01\x00\x76\x00", header.as_bytes(), &data].concat();
    std::fs::write(&input, file).unwrap();
    let script = root.join("tests/oracles/run_onnx.py");
    let out = Command::new(python).arg(script).arg(model).arg(input).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).unwrap();
    let lists = text.split('[').skip(1).map(|list| list.split(']').next().unwrap());
    Some(lists.map(|list| list.split(", ").map(|x| x.parse().unwrap()).collect()).collect())
}

/// One operator behind the image's codes, quantized again: a name, what it makes, its values about.
type Operator = fn(&mut Qdq, &Real) -> (String, f32);

const OPERATORS: &[(&str, Operator)] = &[
    ("linear on tokens", |net, x| {
        let rows = net.seen_as(Style::Exporter, x, &[1, 24, 8]);
        let (weights, scales) = net.weights(&[8, 11], 11, 1);
        let bias = net.bias(11, x.scale, &scales);
        let product = net.node("MatMul", &[&rows.name, &weights], vec![]);
        (net.node("Add", &[&bias, &product], vec![]), 3.0)
    }),
    ("product of heads", |net, x| {
        let a = net.seen_as(Style::Exporter, x, &[1, 3, 8, 8]);
        let b = net.seen(Style::Exporter, "Transpose", &a, None, &[0, 1, 3, 2]);
        (net.node("MatMul", &[&a.name, &b.name], vec![]), 60.0)
    }),
    ("product of columns", |net, x| {
        let a = net.seen_as(Style::Exporter, x, &[2, 12, 8]);
        let a = net.seen(Style::Exporter, "Transpose", &a, None, &[1, 0, 2]);
        let b = net.seen(Style::Exporter, "Transpose", &a, None, &[0, 2, 1]);
        (net.node("MatMul", &[&b.name, &a.name], vec![]), 20.0)
    }),
    ("shares of scaled scores", |net, x| {
        let a = net.seen_as(Style::Exporter, x, &[3, 8, 8]);
        let b = net.seen(Style::Exporter, "Transpose", &a, None, &[0, 2, 1]);
        let scores = net.node("MatMul", &[&a.name, &b.name], vec![]);
        let root = net.scalar(0.35);
        let scores = net.node("Mul", &[&scores, &root], vec![]);
        (net.node("Softmax", &[&scores], vec![int("axis", -1)]), 1.0)
    }),
    ("softmax of an inner axis", |net, x| {
        (net.node("Softmax", &[&x.name], vec![int("axis", 2)]), 1.0)
    }),
    ("layer normalisation", |net, x| {
        let rows = net.seen_as(Style::Exporter, x, &[6, 32]);
        let made = net.layer_norm(&rows, 32);
        let unrounded = net.graph.node.iter().rev().nth(1).unwrap().input[0].clone();
        let _ = made;
        (unrounded, 7.0)
    }),
    ("layer normalisation of channels", |net, x| {
        let rows = net.seen(Style::Exporter, "Transpose", x, None, &[0, 2, 3, 1]);
        (net.node("LayerNormalization", &[&rows.name, "g", "b"], vec![int("axis", -1)]), 5.0)
    }),
    ("GELU in five nodes", |net, x| {
        let made = net.gelu_written_out(false, x);
        let _ = made;
        (net.graph.node.iter().rev().nth(1).unwrap().input[0].clone(), 4.0)
    }),
    ("Gelu", |net, x| (net.node("Gelu", &[&x.name], vec![]), 4.0)),
    ("Gelu by tanh", |net, x| {
        (net.node("Gelu", &[&x.name], vec![text("approximate", "tanh")]), 4.0)
    }),
    ("a power", |net, x| {
        let two = net.scalar(2.0);
        (net.node("Pow", &[&x.name, &two], vec![]), 4.0)
    }),
    ("a class token", |net, x| {
        let rows = net.seen_as(Style::Exporter, x, &[1, 24, 8]);
        let codes = net.constant(raw(DataType::Uint8, &[1, 1, 8], (0..8).collect()));
        let scale = net.scalar(0.3);
        let zero = net.constant(raw(DataType::Uint8, &[], vec![3]));
        let class = net.node("DequantizeLinear", &[&codes, &scale, &zero], vec![]);
        (net.node("Concat", &[&class, &rows.name], vec![int("axis", 1)]), 5.0)
    }),
    ("windows, and a roll", |net, x| {
        let style = Style::Exporter;
        let apart = net.seen_as(style, x, &[1, 3, 2, 4, 2, 4]);
        let windows = net.seen(style, "Transpose", &apart, None, &[0, 2, 4, 3, 5, 1]);
        let windows = net.seen_as(style, &windows, &[4, 16, 3]);
        let mut part = |first: usize, last: usize| {
            let [first, last, axis] = [first, last, 1].map(|n| net.shape_constant(&[n]));
            net.node("Slice", &[&windows.name, &first, &last, &axis], vec![])
        };
        let parts = [part(5, 16), part(0, 5)];
        (net.node("Concat", &[&parts[0], &parts[1]], vec![int("axis", 1)]), 5.0)
    }),
    ("positions repeated", |net, x| {
        let rows = net.seen_as(Style::Exporter, x, &[4, 6, 8]);
        let codes = (0..48).map(|_| net.below(256) as u8).collect();
        let codes = net.constant(raw(DataType::Uint8, &[6, 8], codes));
        let scale = net.scalar(0.01);
        let zero = net.constant(raw(DataType::Uint8, &[], vec![100]));
        let table = net.node("DequantizeLinear", &[&codes, &scale, &zero], vec![]);
        (net.node("Add", &[&rows.name, &table], vec![]), 6.0)
    }),
    ("a mean over tokens", |net, x| {
        let rows = net.seen_as(Style::Exporter, x, &[1, 24, 8]);
        (net.node("ReduceMean", &[&rows.name], vec![ints("axes", &[1]), int("keepdims", 1)]), 3.0)
    }),
    ("the first tokens, and positions", |net, x| {
        let rows = net.seen_as(Style::Exporter, x, &[1, 24, 8]);
        let made = net.again(&rows.name, &x.name); // tokens of their own, that lie token by token
        let norm = net.layer_norm(&Real { name: made, ..x.clone() }, 8);
        let name = norm.name.clone();
        let [first, last, axis] = [0, 5, 1].map(|n| net.shape_constant(&[n]));
        let part = net.node("Slice", &[&name, &first, &last, &axis], vec![]);
        let codes = (0..40).map(|_| net.below(256) as u8).collect();
        let codes = net.constant(raw(DataType::Uint8, &[5, 8], codes));
        let scale = net.scalar(0.01);
        let zero = net.constant(raw(DataType::Uint8, &[], vec![100]));
        let table = net.node("DequantizeLinear", &[&codes, &scale, &zero], vec![]);
        (net.node("Add", &[&part, &table], vec![]), 8.0)
    }),
    ("one token of some", |net, x| {
        let rows = net.seen_as(Style::Exporter, x, &[1, 24, 8]);
        let at = net.constant(raw(DataType::Int64, &[], 5_i64.to_le_bytes().to_vec()));
        (net.node("Gather", &[&rows.name, &at], vec![int("axis", 1)]), 3.0)
    }),
];

#[test]
fn every_operator_of_tokens_is_onnx_runtimes_within_a_step() {
    let shape = [3, 8, 8];
    for (seed, (what, operator)) in OPERATORS.iter().enumerate() {
        let (mut net, x) = Qdq::new(seed as u64, false, shape);
        net.calm = true;
        for (name, from) in [("g", 0.5), ("b", -0.5)] {
            let values: Vec<f32> = (0..3).map(|_| from + net.unit()).collect();
            let tensor = floats(&[3], &values);
            net.graph.initializer.push(tract_onnx::pb::TensorProto { name: name.into(), ..tensor });
        }
        let (name, range) = operator(&mut net, &x);
        let made = net.quantized(&name, shape, range);
        net.output(&made);
        let (onnx, pixels) = (net.bytes(), image(seed as u64, shape));
        let mut engine = Engine::from_onnx(&onnx, &[], &options("scalar", 1, true)).unwrap();
        let floats = &engine.integer_share().float_nodes;
        assert!(floats.is_empty(), "{what}: {floats:?}");
        as_defined(&onnx, &pixels).unwrap();
        let ours = engine.run(&pixels).unwrap().outputs.remove(0).data;
        let Some(theirs) = onnx_runtime(&onnx, &pixels, shape) else { return };
        assert_eq!(ours.len(), theirs[0].len(), "{what}");
        let steps = ours.iter().zip(&theirs[0]).map(|(a, b)| ((a - b) / made.scale).abs());
        let steps: Vec<f32> = steps.collect();
        let apart = steps.iter().filter(|steps| **steps > 0.01).count();
        assert!(steps.iter().all(|steps| *steps < 1.01), "{what}: {steps:?}");
        assert!(apart * 50 <= steps.len(), "{what}: {apart} of {} a step apart", steps.len());
        let mut codes: Vec<u32> = ours.iter().map(|x| x.to_bits()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert!(codes.len() > 3, "{what}: {} values", codes.len());
    }
}

fn refusal(net: Qdq) -> EngineError {
    match Engine::from_onnx(&net.bytes(), &[], &options("scalar", 1, true)) {
        Ok(_) => panic!("it was loaded"),
        Err(error) => error,
    }
}

#[test]
fn shapes_that_fit_nothing_are_refused_by_name() {
    type Build = fn(&mut Qdq, &Real) -> String;
    let bad: [(&str, Build); 7] = [
        ("the new shape does not suit", |net, x| {
            let to = net.shape_constant(&[1, 7, 9]);
            net.node("Reshape", &[&x.name, &to], vec![])
        }),
        ("attribute `perm` does not order", |net, x| {
            net.node("Transpose", &[&x.name], vec![ints("perm", &[0, 1, 1, 2])])
        }),
        ("axis 9, expected one of 4", |net, x| {
            let at = net.constant(raw(DataType::Int64, &[], 0_i64.to_le_bytes().to_vec()));
            net.node("Gather", &[&x.name, &at], vec![int("axis", 9)])
        }),
        ("indices beyond the 8 values", |net, x| {
            let at = net.constant(raw(DataType::Int64, &[], 8_i64.to_le_bytes().to_vec()));
            net.node("Gather", &[&x.name, &at], vec![int("axis", 2)])
        }),
        ("weights [5, 4] over 8 features", |net, x| {
            let (weights, _) = net.weights(&[5, 4], 4, 1);
            net.node("MatMul", &[&x.name, &weights], vec![])
        }),
        ("is not 8 constant numbers", |net, x| {
            let gain = net.constant(floats(&[3], &[1.0; 3]));
            net.node("LayerNormalization", &[&x.name, &gain], vec![int("axis", -1)])
        }),
        ("they do not fit", |net, x| {
            let other = net.seen_as(Style::Exporter, x, &[1, 4, 6, 8]);
            net.node("MatMul", &[&x.name, &other.name], vec![])
        }),
    ];
    for (expected, operator) in bad {
        let (mut net, x) = Qdq::new(1, false, [3, 8, 8]);
        let name = operator(&mut net, &x);
        let made = net.quantized(&name, [3, 8, 8], 1.0);
        net.output(&made);
        let error = refusal(net).to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}
