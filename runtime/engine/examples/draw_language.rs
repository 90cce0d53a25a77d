//! Draws ResNet-50 with the outputs of language and seals it as a bundle: `draw_language OUT.bundle FINDINGS PROTOTYPES
//! [SIDE]`. Weights, phrases and sentences are of a seed and mean nothing; it is for measuring what language takes
//! (`runtime bench`) before there is a checkpoint.
#![expect(clippy::print_stdout, reason = "a program")]

#[path = "../tests/int8/qdq.rs"]
#[expect(dead_code, reason = "not every layer is drawn here")]
mod qdq;

use bundle::{Bundle, Golden, GoldenOutput, GoldenVector, Manifest, section};
use engine::{Engine, Options, Output, ZeroShot};
use graph::{Backbone, Head, ModelConfig, Pool, Preprocess, Task};
use language::{Language, Space};
use prost::Message;
use qdq::{Layer, Qdq, Real, Rectify};
use std::{env, error::Error, fs};
use tract_onnx::pb::tensor_proto::DataType;

const USAGE: &str = "expected OUT.bundle FINDINGS PROTOTYPES [SIDE]";
/// `D` of the released PRIOR.
const WIDTH: usize = 768;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let ([out, findings, prototypes], side) = arguments.split_first_chunk().ok_or(USAGE)?;
    let side: usize = side.first().map_or(Ok(224), |side| side.parse())?;
    let grid = [(side / 32) as u32; 2];
    let space = Space { id: [0; 32], width: WIDTH as u32, grid };
    let language = Language::drawn(space, findings.parse()?, prototypes.parse()?, 1).with_usual(2);

    let preprocess = Preprocess { height: side, width: side, ..Preprocess::PRIOR };
    let head = Head { task: Task::Language, labels: Vec::new() };
    let model =
        ModelConfig { heads: vec![head], ..ModelConfig::encoder(Backbone::Resnet50, Pool::Mean) };
    let manifest = Manifest::new("drawn-resnet50-language", "1.0.0", model, preprocess);
    let mut sections = vec![
        (section::MODEL.to_owned(), resnet_50(side)),
        (section::LANGUAGE.to_owned(), language.to_bytes()?),
    ];
    let plain = Bundle::seal(manifest.clone(), sections.clone(), None)?;
    let mut engine = Engine::open(&plain, &Options::threads(1))?;
    let mut zero_shot = ZeroShot::open(&plain, &engine)?.ok_or("it has language")?;
    let grey = (0..side * side).map(|at| (at * 7 % 251) as u8).collect();
    let (height, width) = (side as u32, side as u32);
    let mut vector = GoldenVector { height, width, grey, outputs: Vec::new() };
    let mut outputs = engine.run(&vector.input(&preprocess))?;
    let derived = zero_shot.derived(&outputs)?;
    outputs.outputs.extend(derived);
    vector.outputs = outputs.outputs.into_iter().map(golden).collect();
    sections.push((section::GOLDEN.to_owned(), Golden { vectors: vec![vector] }.to_bytes()?));
    let sealed = Bundle::seal(manifest, sections, None)?.to_bytes()?;
    fs::write(out, &sealed)?;
    println!("{out}: {} bytes, {} of them language", sealed.len(), language.to_bytes()?.len());
    Ok(())
}

fn golden(output: Output) -> GoldenOutput {
    let bytes = output.data.iter().flat_map(|x| x.to_le_bytes()).collect();
    GoldenOutput { name: output.name, bytes }
}

fn resnet_50(side: usize) -> Vec<u8> {
    let (mut net, x) = Qdq::new(50, false, [1, side, side]);
    net.calm = true;
    let stem = net.conv(&x, Layer::square(64, 7, 2, Rectify::Relu));
    let mut y = net.pool("MaxPool", &stem, 3, 2);
    for (stage, blocks) in [3, 4, 6, 3].into_iter().enumerate() {
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            y = bottleneck(&mut net, &y, 64 << stage, stride);
        }
    }
    let mean = net.global_pool(&y);
    let flat = net.node("Flatten", &[&mean.name], vec![qdq::int("axis", 1)]);
    let global = head(&mut net, "Gemm", &flat, &mean, &[]);
    let places = head(&mut net, "Conv", &y.name, &y, &[1, 1]);
    let global_places = head(&mut net, "Conv", &y.name, &y, &[1, 1]);
    let named = [
        (flat, "embedding"),
        (global, "language.global"),
        (places, "language.places"),
        (global_places, "language.global_places"),
    ];
    for (made, _) in &named {
        net.output(&Real { name: made.clone(), shape: [1; 3], scale: 1.0 });
    }
    let mut model = net.model();
    if let Some(graph) = &mut model.graph {
        for (made, name) in named {
            let tensors =
                graph.node.iter_mut().flat_map(|n| n.input.iter_mut().chain(&mut n.output));
            let outputs = graph.output.iter_mut().map(|output| &mut output.name);
            tensors.chain(outputs).filter(|n| **n == made).for_each(|n| *n = name.into());
        }
    }
    model.encode_to_vec()
}

/// A Conv or Gemm to [`WIDTH`] channels whose results are about ±3 whatever the scale of its input, which grows from
/// layer to layer of a drawn network.
fn head(net: &mut Qdq, op: &str, input: &str, x: &Real, more: &[usize]) -> String {
    let features = x.shape[0];
    let shape = [&[WIDTH, features], more].concat();
    let codes = (0..WIDTH * features).map(|_| (net.below(256) as u8).max(1)).collect();
    let codes = net.constant(qdq::raw(DataType::Int8, &shape, codes));
    let scale = 1.0 / (x.scale * 40.0 * 74.0 * (features as f32).sqrt());
    let scales = net.constant(qdq::floats(&[WIDTH], &[scale; WIDTH]));
    let zeros = net.constant(qdq::raw(DataType::Int8, &[WIDTH], vec![0; WIDTH]));
    let axis = vec![qdq::int("axis", 0)];
    let weights = net.node("DequantizeLinear", &[&codes, &scales, &zeros], axis);
    let bias = net.bias(WIDTH, x.scale, &[scale; WIDTH]);
    let attributes = match op {
        "Gemm" => vec![qdq::int("transB", 1)],
        _ => vec![qdq::ints("kernel_shape", &[1, 1])],
    };
    let made = net.node(op, &[input, &weights, &bias], attributes);
    net.quantized(&made, [WIDTH, x.shape[1], x.shape[2]], 6.0).name
}

fn bottleneck(net: &mut Qdq, x: &Real, width: usize, stride: usize) -> Real {
    let narrow = net.conv(x, Layer::square(width, 1, 1, Rectify::Relu));
    let seen = net.conv(&narrow, Layer::square(width, 3, stride, Rectify::Relu));
    let inner = net.conv(&seen, Layer::square(4 * width, 1, 1, Rectify::None));
    let shortcut = match x.shape == inner.shape {
        true => x.clone(),
        false => net.conv(x, Layer::square(4 * width, 1, stride, Rectify::None)),
    };
    net.add(&inner, &shortcut, true)
}
