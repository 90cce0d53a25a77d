//! Operators over images: gates, normalisations, padding, resizing, transposed convolutions, every rule of pooling.

use crate::qdq::{Qdq, Real, floats, int, ints, text};
use crate::{as_defined, image};
use engine::{Engine, Options};
use proptest::prelude::*;

/// A chain of operators drawn from the seed.
fn draw(seed: u64, signed: bool) -> (Vec<u8>, [usize; 3]) {
    let mut dice = Qdq::new(seed, signed, [1, 1, 1]).0;
    let shape = [[2, 4, 6][dice.below(3)], 4 + dice.below(9), 4 + dice.below(9)];
    let (mut net, mut x) = Qdq::new(seed.wrapping_mul(31), signed, shape);
    net.calm = true;
    for _ in 0..2 + net.below(4) {
        x = match net.below(11) {
            0 => net.gated(&x),
            1 => net.silu(&x),
            2 => {
                let op = ["BatchNormalization", "InstanceNormalization", "GroupNormalization"]
                    [net.below(3)];
                net.normalized(op, &x)
            }
            3 => {
                // A reflection needs something to reflect, of channels, too.
                let small = x.shape[0] < 2 || x.shape[1].min(x.shape[2]) < 3;
                let mode = ["constant", "edge", "reflect"][net.below(if small { 2 } else { 3 })];
                let mut pads = [0, 0, 1, 2, 0, 0, 2, 1];
                pads[5] = if net.below(3) == 0 { 1 } else { 0 };
                net.padded(&x, mode, pads)
            }
            4 => {
                let sizes = [1 + net.below(14), 1 + net.below(14)];
                let modes = vec![
                    text("mode", ["nearest", "linear"][net.below(2)]),
                    text("coordinate_transformation_mode", COORDINATES[net.below(5)]),
                    text("nearest_mode", NEAREST[net.below(4)]),
                ];
                net.resized(&x, sizes, modes)
            }
            5 => {
                let groups = if x.shape[0] % 2 == 0 { 1 + net.below(2) } else { 1 };
                let out = groups * (1 + net.below(4));
                if x.shape[1] * x.shape[2] < 300 { net.conv_transpose(&x, out, groups) } else { x }
            }
            6 => {
                let b = net.silu(&x);
                let op = ["Mul", "Sub", "Add"][net.below(3)];
                net.combine(op, &x, &b)
            }
            7 => {
                let op = ["Mul", "Sub", "Add"][net.below(3)];
                let b = if net.below(2) == 0 {
                    net.global_pool(&x)
                } else {
                    net.conv(&x, crate::Layer::square(1, 1, 1, crate::Rectify::None))
                };
                if net.below(2) == 0 { net.combine(op, &x, &b) } else { net.combine(op, &b, &x) }
            }
            8 => {
                let op = ["Elu", "Softplus", "Softsign", "Abs", "Mish", "Neg"][net.below(6)];
                net.unary(op, &x)
            }
            _ => {
                let op = ["MaxPool", "AveragePool"][net.below(2)];
                let (name, [h, w]) = pooled(&mut net, op, &x);
                let [c, ..] = x.shape;
                net.quantized(&name, [c, h, w], 128.0 * x.scale)
            }
        };
    }
    net.output(&x);
    (net.bytes(), shape)
}

const COORDINATES: [&str; 5] =
    ["half_pixel", "pytorch_half_pixel", "half_pixel_symmetric", "align_corners", "asymmetric"];
const NEAREST: [&str; 4] = ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"];

/// A pooling by any rule, and the rows and columns that come out.
fn pooled(net: &mut Qdq, op: &str, x: &Real) -> (String, [usize; 2]) {
    let [_, h, w] = x.shape;
    let (kernel, stride) = (1 + net.below(3.min(h).min(w)), 1 + net.below(3));
    let pads = [0; 4].map(|_: usize| net.below(kernel) as i64);
    let ceil = net.below(2);
    let attributes = vec![
        ints("kernel_shape", &[kernel as i64; 2]),
        ints("strides", &[stride as i64; 2]),
        ints("pads", &pads),
        int("ceil_mode", ceil as i64),
    ];
    let side = |size: usize, before: i64, after: i64| {
        let padded = size + (before + after) as usize - kernel;
        let mut outputs = (if ceil == 1 { padded.div_ceil(stride) } else { padded / stride }) + 1;
        if ceil == 1 && (outputs - 1) * stride >= size + before as usize {
            outputs -= 1;
        }
        outputs
    };
    let sides = [side(h, pads[0], pads[2]), side(w, pads[1], pads[3])];
    let include = (op == "AveragePool" && net.below(2) == 0).then(|| int("count_include_pad", 1));
    (net.window(op, x, attributes.into_iter().chain(include).collect()), sides)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_plan_of_image_operators_gives_the_bits_of_the_definition(seed: u64, signed: bool) {
        let (onnx, shape) = draw(seed, signed);
        as_defined(&onnx, &image(seed, shape))?;
    }
}

/// Loads a network of one node and says what is wrong with it.
fn refusal(build: impl FnOnce(&mut Qdq, &Real) -> Real) -> String {
    let (mut net, x) = Qdq::new(1, false, [4, 6, 6]);
    let y = build(&mut net, &x);
    net.output(&y);
    let loaded = Engine::from_onnx(&net.bytes(), &[], &Options::threads(1));
    loaded.err().expect("it was read").to_string()
}

#[test]
fn attributes_of_image_operators_that_mean_something_else_are_refused_by_name() {
    let modes = |name: &str, value: &str| vec![text("mode", "linear"), text(name, value)];
    let text = refusal(|net, x| {
        net.resized(x, [9, 9], modes("coordinate_transformation_mode", "tf_crop_and_resize"))
    });
    assert!(text.contains("tf_crop_and_resize"), "{text}");
    let text = refusal(|net, x| net.resized(x, [9, 9], vec![super::qdq::text("mode", "cubic")]));
    assert!(text.contains("cubic"), "{text}");
    let text =
        refusal(|net, x| net.resized(x, [9, 9], vec![super::qdq::text("nearest_mode", "up")]));
    assert!(text.contains("`nearest_mode`") || text.contains("nearest_mode \"up\""), "{text}");
    let text = refusal(|net, x| net.padded(x, "mirror", [0, 0, 1, 1, 0, 0, 1, 1]));
    assert!(text.contains("`mode` is \"mirror\""), "{text}");
    let text = refusal(|net, x| net.padded(x, "reflect", [0, 0, 6, 0, 0, 0, 0, 0]));
    assert!(text.contains("\"reflect\" with pads 6"), "{text}");
    let text = refusal(|net, x| net.padded(x, "constant", [1, 0, 0, 0, 0, 0, 0, 0]));
    assert!(text.contains("batch axis"), "{text}");
    for attribute in [super::qdq::text("auto_pad", "SAME_UPPER"), ints("output_shape", &[12, 12])] {
        let name = attribute.name.clone();
        let text = refusal(|net, x| {
            let y = net.conv_transpose(x, 2, 1);
            let node = net.graph.node.iter_mut().find(|node| node.op_type == "ConvTranspose");
            node.unwrap().attribute.push(attribute);
            y
        });
        assert!(text.contains(&name), "{text}");
    }
}

/// Taps before and behind the image, none on it.
#[test]
fn a_pooling_window_that_sees_no_pixel_is_refused_by_the_nodes_name() {
    let text = refusal(|net, x| {
        let small = net.resized(x, [2, 2], vec![]);
        let window = vec![
            ints("kernel_shape", &[2, 2]),
            ints("dilations", &[3, 3]),
            ints("pads", &[1, 1, 1, 1]),
        ];
        let name = net.window("MaxPool", &small, window);
        net.quantized(&name, [4, 1, 1], 1.0)
    });
    assert!(text.contains("maxpool") && text.contains("padding"), "{text}");
}

/// What PyTorch calls LayerScale and GroupNorm's own gain: constants behind what has channels become a part of it.
#[test]
fn a_gain_and_a_bias_a_channel_are_one_step_with_the_normalisation_before_them() {
    let (mut net, x) = Qdq::new(3, false, [4, 5, 6]);
    let ones = net.constant(floats(&[4], &[1.0; 4]));
    let zeros = net.constant(floats(&[4], &[0.0; 4]));
    let bare = net.float("InstanceNormalization", &[&x.name, &ones, &zeros], vec![]);
    let gain = net.constant(floats(&[4, 1, 1], &[0.5, -1.0, 2.0, 0.1]));
    let bias = net.constant(floats(&[4, 1, 1], &[0.0, 0.3, -0.2, 1.0]));
    let scaled = net.float("Mul", &[&bare, &gain], vec![]);
    let moved = net.float("Add", &[&scaled, &bias], vec![]);
    let y = net.quantized(&moved, x.shape, 6.0);
    net.output(&y);
    let onnx = net.bytes();
    as_defined(&onnx, &image(3, [4, 5, 6])).unwrap();
    let engine = Engine::from_onnx(&onnx, &[], &Options::threads(1)).unwrap();
    let kinds: Vec<String> = engine.layers().into_iter().map(|layer| layer.kind).collect();
    assert_eq!(kinds, ["quantize", "group-norm"]);
}

/// PyTorch's GroupNorm up to operator set 20, every node of it quantized as ONNX Runtime's quantizer does.
#[test]
fn a_group_normalisation_written_as_an_instance_normalisation_moves_nothing() {
    let (mut net, x) = Qdq::new(5, false, [6, 5, 4]);
    let ones = net.constant(floats(&[3], &[1.0; 3]));
    let zeros = net.constant(floats(&[3], &[0.0; 3]));
    let grouped = net.reshaped(&x, &[3, 40]);
    let normal = net.float("InstanceNormalization", &[&grouped.name, &ones, &zeros], vec![]);
    let normal = net.quantized(&normal, x.shape, 6.0);
    let image = net.reshaped(&normal, &[6, 5, 4]);
    let gain = net.constant(floats(&[6, 1, 1], &[0.5, -1.0, 2.0, 0.1, 1.0, 1.5]));
    let scaled = net.float("Mul", &[&image.name, &gain], vec![]);
    let y = net.quantized(&scaled, x.shape, 6.0);
    net.output(&y);
    let onnx = net.bytes();
    as_defined(&onnx, &crate::image(5, [6, 5, 4])).unwrap();
    let engine = Engine::from_onnx(&onnx, &[], &Options::threads(1)).unwrap();
    let kinds: Vec<String> = engine.layers().into_iter().map(|layer| layer.kind).collect();
    assert_eq!(kinds, ["quantize", "group-norm", "affine"]);
    assert!(engine.integer_share().float_nodes.is_empty());
}
