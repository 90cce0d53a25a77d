//! A network small enough for tests: one convolution, global average, one linear layer; as a signed bundle. One of them
//! has language too.

use bundle::{
    Bundle, Golden, GoldenOutput, GoldenVector, Manifest, OperatingPoint, SigningKey, section,
};
use engine::{Engine, Options, ZeroShot};
use graph::{Backbone, Head, ModelConfig, Pool, Preprocess, Task};
use language::{Language, Space};
use prost::Message;
use std::path::{Path, PathBuf};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, attribute_proto::AttributeType,
    tensor_proto::DataType, tensor_shape_proto, type_proto,
};

pub(crate) const LABELS: [&str; 2] = ["Pneumonia", "Effusion"];
const SIDE: usize = 64;
const CHANNELS: usize = 8;
/// Width of the space of images and texts.
const JOINT: usize = 16;

/// The key that signs [`write`]'s bundles.
pub(crate) fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

/// Hexadecimal, as `trusted_keys` takes it.
pub(crate) fn public_key() -> String {
    key().verifying_key().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The lines of `[bundle]` for a bundle of [`key`].
pub(crate) fn trusted(path: &Path) -> String {
    format!("path = {:?}\ntrusted_keys = [\"{}\"]", path.to_str().unwrap(), public_key())
}

/// Writes `model-SEED.bundle` in `folder`, signed, with golden vectors.
pub(crate) fn write(folder: &Path, seed: u32) -> PathBuf {
    let path = folder.join(format!("model-{seed}.bundle"));
    std::fs::write(&path, seal(seed, true).to_bytes().unwrap()).unwrap();
    path
}

/// Writes `speaking.bundle` in `folder`: findings `Finding 1` to `Finding 3`, the first of them positive whatever is
/// shown, and four sentences.
pub(crate) fn write_speaking(folder: &Path) -> PathBuf {
    let path = folder.join("speaking.bundle");
    std::fs::write(&path, seal_with(9, true, Some(&language())).to_bytes().unwrap()).unwrap();
    path
}

pub(crate) fn language() -> Language {
    let space = Space { id: [1; 32], width: JOINT as u32, grid: [4, 4] };
    let mut language = Language::drawn(space, 3, 8, 41);
    for (prompt, threshold) in language.prompts.iter_mut().zip([0.0, 1.0, 1.0]) {
        prompt.threshold = threshold;
    }
    language
}

/// A bundle; with `honest` golden vectors, or with one bit wrong.
pub(crate) fn seal(seed: u32, honest: bool) -> Bundle {
    seal_with(seed, honest, None)
}

fn seal_with(seed: u32, honest: bool, language: Option<&Language>) -> Bundle {
    let onnx = onnx(seed, language.is_some()).encode_to_vec();
    let preprocess =
        Preprocess { height: SIDE, width: SIDE, mean: 0.5, std: 0.25, ..Preprocess::PRIOR };
    let mut vector = GoldenVector {
        height: SIDE as u32,
        width: SIDE as u32,
        grey: (0..SIDE * SIDE).map(|i| (i * 7 % 251) as u8).collect(),
        outputs: Vec::new(),
    };
    let mut engine = Engine::from_onnx(&onnx, &[], &Options::threads(1)).unwrap();
    let outputs = engine.run(&vector.input(&preprocess)).unwrap().outputs;
    vector.outputs.extend(outputs.into_iter().map(golden));
    let head = Head { task: Task::Classification, labels: LABELS.map(Into::into).to_vec() };
    let speaks = language.map(|_| Head { task: Task::Language, labels: Vec::new() });
    let heads = [head].into_iter().chain(speaks).collect();
    let model = ModelConfig { heads, ..ModelConfig::encoder(Backbone::Resnet18, Pool::Mean) };
    let manifest = Manifest {
        operating_points: vec![OperatingPoint {
            name: LABELS[0].into(),
            threshold: 0.3,
            chosen: "for tests".into(),
        }],
        ..Manifest::new(&format!("test-{seed}"), &format!("1.{seed}.0"), model, preprocess)
    };
    let mut sections = vec![(section::MODEL.to_owned(), onnx)];
    if let Some(language) = language {
        sections.push((section::LANGUAGE.to_owned(), language.to_bytes().unwrap()));
        let plain = Bundle::seal(manifest.clone(), sections.clone(), None).unwrap();
        let mut zero_shot = ZeroShot::open(&plain, &engine).unwrap().unwrap();
        let outputs = engine.run(&vector.input(&preprocess)).unwrap();
        vector.outputs.extend(zero_shot.derived(&outputs).unwrap().into_iter().map(golden));
    }
    if !honest {
        vector.outputs[0].bytes[0] ^= 1;
    }
    let vectors = Golden { vectors: vec![vector] }.to_bytes().unwrap();
    sections.push((section::GOLDEN.to_owned(), vectors));
    Bundle::seal(manifest, sections, Some(&key())).unwrap()
}

fn golden(output: engine::Output) -> GoldenOutput {
    let bytes = output.data.iter().flat_map(|x| x.to_le_bytes()).collect();
    GoldenOutput { name: output.name, bytes }
}

/// image → conv 3x3/2, ReLU → global average → embedding → linear → classification, in QDQ form.
///
/// With language: 1x1/8 of the ReLU → language.places, and linear of the embedding → language.global.
fn onnx(seed: u32, speaks: bool) -> ModelProto {
    let mut g = Builder {
        graph: GraphProto { name: "test".into(), ..GraphProto::default() },
        state: seed | 1,
    };
    let x = g.quantized("image", 0.02, 128);
    let weight = g.weights("conv.weight", &[CHANNELS, 1, 3, 3]);
    let bias = g.bias("conv.bias", CHANNELS, 0.02 * 0.01);
    let attributes =
        vec![ints("kernel_shape", &[3, 3]), ints("strides", &[2, 2]), ints("pads", &[1, 1, 1, 1])];
    let conv = g.node("Conv", &[&x, &weight, &bias], "conv", attributes);
    let relu = g.node("Relu", &[&conv], "relu", vec![]);
    let seen = g.quantized(&relu, 0.01, 0);
    let mean = g.node("GlobalAveragePool", &[&seen], "mean", vec![]);
    let flat = g.node("Flatten", &[&mean], "flat", vec![]);
    let x = g.quantized_as(&flat, 0.005, 0, "embedding");
    if speaks {
        speak(&mut g, &seen, &x);
    }
    let weight = g.weights("fc.weight", &[LABELS.len(), CHANNELS]);
    let bias = g.bias("fc.bias", LABELS.len(), 0.005 * 0.01);
    g.node("Gemm", &[&x, &weight, &bias], "classification", vec![int("transB", 1)]);
    g.graph.input = vec![info("image", &[1, 1, SIDE, SIDE])];
    g.graph.output =
        vec![info("embedding", &[1, CHANNELS]), info("classification", &[1, LABELS.len()])];
    if speaks {
        let places = info("language.places", &[1, JOINT, 4, 4]);
        g.graph.output.extend([info("language.global", &[1, JOINT]), places]);
    }
    ModelProto {
        ir_version: 8,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 13 }],
        graph: Some(g.graph),
        ..ModelProto::default()
    }
}

/// `language.places` of the feature map, `language.global` of the embedding.
fn speak(g: &mut Builder, map: &str, embedding: &str) {
    let weight = g.weights("places.weight", &[JOINT, CHANNELS, 1, 1]);
    let bias = g.bias("places.bias", JOINT, 0.01 * 0.01);
    let attributes = vec![ints("kernel_shape", &[1, 1]), ints("strides", &[8, 8])];
    let places = g.node("Conv", &[map, &weight, &bias], "places", attributes);
    g.quantized_as(&places, 0.03, 128, "language.places");
    let weight = g.weights("global.weight", &[JOINT, CHANNELS]);
    let bias = g.bias("global.bias", JOINT, 0.005 * 0.01);
    let inputs = [embedding, &weight, &bias];
    let global = g.node("Gemm", &inputs, "global", vec![int("transB", 1)]);
    g.quantized_as(&global, 0.02, 128, "language.global");
}

struct Builder {
    graph: GraphProto,
    state: u32,
}

impl Builder {
    fn node(
        &mut self,
        op: &str,
        inputs: &[&str],
        output: &str,
        attribute: Vec<AttributeProto>,
    ) -> String {
        self.graph.node.push(NodeProto {
            name: output.into(),
            op_type: op.into(),
            input: inputs.iter().map(|&i| i.into()).collect(),
            output: vec![output.into()],
            attribute,
            ..NodeProto::default()
        });
        output.into()
    }

    fn constant(&mut self, name: &str, dims: &[usize], kind: DataType, bytes: Vec<u8>) -> String {
        self.graph.initializer.push(TensorProto {
            name: name.into(),
            dims: dims.iter().map(|&d| d as i64).collect(),
            data_type: kind as i32,
            raw_data: bytes,
            ..TensorProto::default()
        });
        name.into()
    }

    fn quantized(&mut self, input: &str, scale: f32, zero: u8) -> String {
        let output = format!("{input}.dq");
        self.quantized_as(input, scale, zero, &output)
    }

    fn quantized_as(&mut self, input: &str, scale: f32, zero: u8, output: &str) -> String {
        let s = self.constant(
            &format!("{input}.scale"),
            &[],
            DataType::Float,
            scale.to_le_bytes().into(),
        );
        let z = self.constant(&format!("{input}.zero"), &[], DataType::Uint8, vec![zero]);
        let q = self.node("QuantizeLinear", &[input, &s, &z], &format!("{input}.q"), vec![]);
        self.node("DequantizeLinear", &[&q, &s, &z], output, vec![])
    }

    /// Int8 weights, scale 0.01, per tensor.
    fn weights(&mut self, name: &str, dims: &[usize]) -> String {
        let bytes = (0..dims.iter().product()).map(|_| (self.random() % 255) as u8).collect();
        let q = self.constant(&format!("{name}.q"), dims, DataType::Int8, bytes);
        let s = self.constant(
            &format!("{name}.scale"),
            &[],
            DataType::Float,
            0.01_f32.to_le_bytes().into(),
        );
        let z = self.constant(&format!("{name}.zero"), &[], DataType::Int8, vec![0]);
        self.node("DequantizeLinear", &[&q, &s, &z], name, vec![])
    }

    fn bias(&mut self, name: &str, length: usize, scale: f32) -> String {
        let bytes = (0..length).flat_map(|_| (self.random() as i32 % 1000).to_le_bytes()).collect();
        let q = self.constant(&format!("{name}.q"), &[length], DataType::Int32, bytes);
        let s = self.constant(
            &format!("{name}.scale"),
            &[],
            DataType::Float,
            scale.to_le_bytes().into(),
        );
        let z = self.constant(&format!("{name}.zero"), &[], DataType::Int32, vec![0; 4]);
        self.node("DequantizeLinear", &[&q, &s, &z], name, vec![])
    }

    fn random(&mut self) -> u32 {
        self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.state >> 8
    }
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        i: value,
        r#type: AttributeType::Int as i32,
        ..AttributeProto::default()
    }
}

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        ints: values.to_vec(),
        r#type: AttributeType::Ints as i32,
        ..AttributeProto::default()
    }
}

fn info(name: &str, dims: &[usize]) -> ValueInfoProto {
    use tensor_shape_proto::{Dimension, dimension::Value};
    let dim = dims
        .iter()
        .map(|&d| Dimension { value: Some(Value::DimValue(d as i64)), denotation: String::new() })
        .collect();
    let tensor = type_proto::Tensor {
        elem_type: DataType::Float as i32,
        shape: Some(TensorShapeProto { dim }),
    };
    let value = Some(type_proto::Value::TensorType(tensor));
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto { denotation: String::new(), value }),
        doc_string: String::new(),
    }
}
