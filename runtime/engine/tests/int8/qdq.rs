//! Draws small ONNX models in QDQ form, as an exporter would write them.

use prost::Message;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, attribute_proto::AttributeType,
    tensor_proto::DataType, tensor_shape_proto, type_proto,
};

/// A tensor between DequantizeLinear and the next operator.
#[derive(Clone, Debug)]
pub(crate) struct Real {
    pub(crate) name: String,
    /// `[C, H, W]`
    pub(crate) shape: [usize; 3],
    pub(crate) scale: f32,
}

/// A model being written. Every activation gets a scale and zero point drawn from the seed.
pub(crate) struct Qdq {
    pub(crate) graph: GraphProto,
    random: u64,
    /// Activations are int8 instead of uint8.
    pub(crate) signed: bool,
    /// Zero points are near the middle, so that a value survives many layers.
    pub(crate) calm: bool,
    count: usize,
}

#[derive(Clone, Copy)]
pub(crate) struct Layer {
    pub(crate) out_c: usize,
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: usize,
    pub(crate) pad: [i64; 4],
    pub(crate) groups: usize,
    pub(crate) relu: Rectify,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rectify {
    None,
    Relu,
    Relu6,
}

impl Layer {
    pub(crate) fn square(out_c: usize, kernel: usize, stride: usize, relu: Rectify) -> Self {
        let pad = [kernel as i64 / 2; 4];
        Self { out_c, kernel: [kernel; 2], stride, pad, groups: 1, relu }
    }
}

impl Qdq {
    pub(crate) fn new(seed: u64, signed: bool, [c, h, w]: [usize; 3]) -> (Self, Real) {
        let mut model =
            Self { graph: GraphProto::default(), random: seed, signed, calm: false, count: 0 };
        model.graph.name = "drawn".into();
        model.graph.input.push(info("image", &[1, c, h, w]));
        let image = model.quantized("image", [c, h, w], 4.0);
        (model, image)
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        self.model().encode_to_vec()
    }

    pub(crate) fn model(self) -> ModelProto {
        let gelu = self.graph.node.iter().any(|node| node.op_type == "Gelu");
        let version = if gelu { 20 } else { 17 };
        let set = OperatorSetIdProto { domain: String::new(), version };
        ModelProto {
            ir_version: 8,
            opset_import: vec![set],
            graph: Some(self.graph),
            ..ModelProto::default()
        }
    }

    /// A whole number below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        // SplitMix64
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }

    pub(crate) fn unit(&mut self) -> f32 {
        self.below(1 << 20) as f32 / (1 << 20) as f32
    }

    pub(crate) fn output(&mut self, real: &Real) {
        self.graph.output.push(info(&real.name, &[]));
    }

    /// Adds `node` behind which nothing is quantized: its result leaves the network as it is.
    pub(crate) fn float(
        &mut self,
        op: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
    ) -> String {
        self.node(op, inputs, attributes)
    }

    pub(crate) fn conv(&mut self, x: &Real, layer: Layer) -> Real {
        let made = self.bare_conv(x, layer);
        let [_, h, w] = x.shape;
        let side = |length: usize, axis: usize| {
            let padded = length + (layer.pad[axis] + layer.pad[axis + 2]) as usize;
            (padded - layer.kernel[axis]) / layer.stride + 1
        };
        let shape = [layer.out_c, side(h, 0), side(w, 1)];
        let name = match layer.relu {
            Rectify::None => made,
            Rectify::Relu => self.node("Relu", &[&made], vec![]),
            Rectify::Relu6 => {
                let lo = self.constant(floats(&[], &[0.0]));
                let hi = self.constant(floats(&[], &[6.0]));
                self.node("Clip", &[&made, &lo, &hi], vec![])
            }
        };
        // About three standard deviations of what comes out.
        let fan = x.shape[0] / layer.groups * layer.kernel[0] * layer.kernel[1];
        let range = 3.0 * 64.0 * x.scale * 40.0 * WEIGHT_SCALE * (fan as f32).sqrt();
        self.quantized(&name, shape, range)
    }

    /// A convolution without QuantizeLinear behind it.
    pub(crate) fn bare_conv(&mut self, x: &Real, layer: Layer) -> String {
        let [kh, kw] = layer.kernel;
        let per_group = x.shape[0] / layer.groups;
        let shape = [layer.out_c, per_group, kh, kw];
        let (weights, scales) = self.weights(&shape, layer.out_c, 0);
        let bias = self.bias(layer.out_c, x.scale, &scales);
        let attributes = vec![
            ints("kernel_shape", &[kh as i64, kw as i64]),
            ints("strides", &[layer.stride as i64; 2]),
            ints("pads", &layer.pad),
            int("group", layer.groups as i64),
        ];
        self.node("Conv", &[&x.name, &weights, &bias], attributes)
    }

    /// `transposed`: weights are `[out, in]`.
    pub(crate) fn linear(&mut self, x: &Real, out: usize, transposed: bool) -> String {
        let features: usize = x.shape.iter().product();
        let flat = self.node("Flatten", &[&x.name], vec![int("axis", 1)]);
        let shape = if transposed { [out, features] } else { [features, out] };
        let (weights, scales) = self.weights(&shape, out, usize::from(!transposed));
        let bias = self.bias(out, x.scale, &scales);
        let attributes = vec![int("transB", i64::from(transposed))];
        self.node("Gemm", &[&flat, &weights, &bias], attributes)
    }

    pub(crate) fn add(&mut self, a: &Real, b: &Real, relu: bool) -> Real {
        let mut name = self.node("Add", &[&a.name, &b.name], vec![]);
        if relu {
            name = self.node("Relu", &[&name], vec![]);
        }
        self.quantized(&name, a.shape, 128.0 * (a.scale + b.scale))
    }

    pub(crate) fn concat(&mut self, parts: &[&Real]) -> Real {
        let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
        let name = self.node("Concat", &names, vec![int("axis", 1)]);
        let [_, h, w] = parts[0].shape;
        let c = parts.iter().map(|part| part.shape[0]).sum();
        let range = parts.iter().map(|part| 150.0 * part.scale).fold(0.0, f32::max);
        self.quantized(&name, [c, h, w], range)
    }

    /// Gives `reals` the scale and the zero point of `of`. Nothing that was drawn from a scale of theirs may read them.
    pub(crate) fn alike(&mut self, reals: &[&Real], of: &Real) {
        let nodes = &mut self.graph.node;
        let maker = |nodes: &[NodeProto], name: &str| {
            let found = nodes.iter().position(|node| node.output[0] == name);
            found.expect("a tensor of this network")
        };
        let parameters = nodes[maker(nodes, &of.name)].input[1..].to_vec();
        for real in reals {
            let dequantize = maker(nodes, &real.name);
            let quantize = maker(nodes, &nodes[dequantize].input[0]);
            for node in [dequantize, quantize] {
                nodes[node].input[1..].clone_from_slice(&parameters);
            }
        }
    }

    pub(crate) fn upsample(&mut self, x: &Real, factor: usize, linear: bool) -> Real {
        let empty = self.constant(floats(&[0], &[]));
        let factors = floats(&[4], &[1.0, 1.0, factor as f32, factor as f32]);
        let factors = self.constant(factors);
        let attributes = match linear {
            true => {
                vec![text("mode", "linear"), text("coordinate_transformation_mode", "half_pixel")]
            }
            false => vec![
                text("mode", "nearest"),
                text("coordinate_transformation_mode", "asymmetric"),
                text("nearest_mode", "floor"),
            ],
        };
        let name = self.node("Resize", &[&x.name, &empty, &factors], attributes);
        let [c, h, w] = x.shape;
        self.quantized(&name, [c, h * factor, w * factor], 128.0 * x.scale)
    }

    /// `op` is `MaxPool` or `AveragePool`.
    pub(crate) fn pool(&mut self, op: &str, x: &Real, kernel: usize, stride: usize) -> Real {
        let pad = (kernel / 2) as i64;
        let attributes = vec![
            ints("kernel_shape", &[kernel as i64; 2]),
            ints("strides", &[stride as i64; 2]),
            ints("pads", &[pad; 4]),
        ];
        let name = self.node(op, &[&x.name], attributes);
        let [c, h, w] = x.shape;
        let side = |length: usize| (length + 2 * pad as usize - kernel) / stride + 1;
        self.quantized(&name, [c, side(h), side(w)], 128.0 * x.scale)
    }

    pub(crate) fn global_pool(&mut self, x: &Real) -> Real {
        let name = self.node("GlobalAveragePool", &[&x.name], vec![]);
        self.quantized(&name, [x.shape[0], 1, 1], 128.0 * x.scale)
    }

    /// CLIP's attention pool as the exporter writes it (`exporter/src/passes/pool.rs`): `[C, H, W]` → `[C, 1, 1]`.
    pub(crate) fn attention_pool(&mut self, x: &Real, heads: usize) -> Real {
        let [c, h, w] = x.shape;
        let tokens = h * w;
        let pixel = |out_c: usize, groups: usize| Layer {
            groups,
            ..Layer::square(out_c, 1, 1, Rectify::None)
        };
        let mean = self.global_pool(x);
        let mean = self.reshaped(&mean, &[c, 1]);
        let query = self.add_constant(&mean, &[c, 1]);
        let patches = self.reshaped(x, &[c, tokens]);
        let patches = self.add_constant(&patches, &[c, tokens]);
        let all = self.node("Concat", &[&query.name, &patches.name], vec![int("axis", 2)]);
        let all = self.quantized(&all, [c, 1, tokens + 1], 150.0 * patches.scale);

        let query = Real { shape: [c, 1, 1], ..self.reshaped(&query, &[c, 1, 1]) };
        let q = self.conv(&query, pixel(c, 1));
        let u = self.conv(&q, pixel(heads * c, heads));
        let u = self.reshaped(&u, &[heads, c]);
        let scores = self.node("MatMul", &[&u.name, &all.name], vec![]);
        // The exporter leaves scores as sums; others round them.
        let rounded = self.below(3) == 0;
        let scores = if rounded {
            self.quantized(&scores, [heads, 1, tokens + 1], 6.0).name
        } else {
            scores
        };
        let shares = self.node("Softmax", &[&scores], vec![int("axis", -1)]);
        let shares = self.quantized(&shares, [heads, 1, tokens + 1], 1.0);
        let rows = self.node("Transpose", &[&all.name], vec![ints("perm", &[0, 2, 1])]);
        let answers = self.node("MatMul", &[&shares.name, &rows], vec![]);
        let answers = self.quantized(&answers, [heads, 1, c], 150.0 * all.scale);
        let answers = self.reshaped(&answers, &[heads * c, 1, 1]);
        self.conv(&Real { shape: [heads * c, 1, 1], ..answers }, pixel(c, heads))
    }

    /// The same values as `[1, …]`; `shape` stays what it was.
    pub(crate) fn reshaped(&mut self, x: &Real, sides: &[usize]) -> Real {
        let to = [0].iter().chain(sides).flat_map(|&n| (n as i64).to_le_bytes()).collect();
        let to = self.constant(raw(DataType::Int64, &[1 + sides.len()], to));
        Real { name: self.node("Reshape", &[&x.name, &to], vec![]), ..x.clone() }
    }

    /// The sum of `x` and drawn codes of the ONNX shape `[1, …]`.
    pub(crate) fn add_constant(&mut self, x: &Real, sides: &[usize]) -> Real {
        let values = (0..sides.iter().product()).map(|_| self.below(256) as u8).collect();
        let kind = if self.signed { DataType::Int8 } else { DataType::Uint8 };
        let values = self.constant(raw(kind, &[&[1], sides].concat(), values));
        let scale = self.constant(floats(&[], &[0.5 * x.scale]));
        let zero = self.below(256) as u8;
        let zero = self.constant(raw(kind, &[], vec![zero]));
        let constant = self.node("DequantizeLinear", &[&values, &scale, &zero], vec![]);
        let sum = self.node("Add", &[&x.name, &constant], vec![]);
        self.quantized(&sum, x.shape, 200.0 * x.scale)
    }

    /// `Sigmoid`, `HardSwish`, …; a `LeakyRelu` has slope 0.1.
    pub(crate) fn unary(&mut self, op: &str, x: &Real) -> Real {
        let slope = (op == "LeakyRelu").then(|| float("alpha", 0.1));
        let name = self.node(op, &[&x.name], slope.into_iter().collect());
        self.quantized(&name, x.shape, 2.0)
    }

    /// QuantizeLinear and DequantizeLinear behind `name`, over about `range` in all.
    pub(crate) fn quantized(&mut self, name: &str, shape: [usize; 3], range: f32) -> Real {
        let scale = range / 255.0 * (0.8 + 0.4 * self.unit());
        let zero = if self.calm {
            96 + self.below(64)
        } else {
            [0, 255, 128, self.below(256), 64 + self.below(128)][self.below(5)]
        };
        let kind = if self.signed { DataType::Int8 } else { DataType::Uint8 };
        let zero = if self.signed { (zero as u8).wrapping_sub(128) } else { zero as u8 };
        let zero = self.constant(raw(kind, &[], vec![zero]));
        let scale_name = self.constant(floats(&[], &[scale]));
        let q = self.node("QuantizeLinear", &[name, &scale_name, &zero], vec![]);
        let name = self.node("DequantizeLinear", &[&q, &scale_name, &zero], vec![]);
        Real { name, shape, scale }
    }

    pub(crate) fn weights(
        &mut self,
        shape: &[usize],
        out: usize,
        axis: usize,
    ) -> (String, Vec<f32>) {
        let count = shape.iter().product();
        let values = (0..count).map(|_| (self.below(256) as u8).max(1)).collect();
        let values = self.constant(raw(DataType::Int8, shape, values));
        let scales: Vec<f32> = (0..out).map(|_| WEIGHT_SCALE * (0.5 + self.unit())).collect();
        let scale = self.constant(floats(&[out], &scales));
        let zero = self.constant(raw(DataType::Int8, &[out], vec![0; out]));
        let axis = vec![int("axis", axis as i64)];
        (self.node("DequantizeLinear", &[&values, &scale, &zero], axis), scales)
    }

    pub(crate) fn bias(&mut self, out: usize, x: f32, scales: &[f32]) -> String {
        let values: Vec<u8> =
            (0..out).flat_map(|_| (self.below(4001) as i32 - 2000).to_le_bytes()).collect();
        let values = self.constant(raw(DataType::Int32, &[out], values));
        let scales: Vec<f32> = scales.iter().map(|scale| x * scale).collect();
        let scale = self.constant(floats(&[out], &scales));
        let zero = self.constant(raw(DataType::Int32, &[out], vec![0; 4 * out]));
        self.node("DequantizeLinear", &[&values, &scale, &zero], vec![int("axis", 0)])
    }

    pub(crate) fn constant(&mut self, tensor: TensorProto) -> String {
        self.count += 1;
        let name = format!("c{}", self.count);
        self.graph.initializer.push(TensorProto { name: name.clone(), ..tensor });
        name
    }

    pub(crate) fn node(
        &mut self,
        op: &str,
        inputs: &[&str],
        attribute: Vec<AttributeProto>,
    ) -> String {
        self.count += 1;
        let output = format!("t{}", self.count);
        self.graph.node.push(NodeProto {
            name: format!("{}.{}", op.to_lowercase(), self.count),
            op_type: op.into(),
            input: inputs.iter().map(|&input| input.into()).collect(),
            output: vec![output.clone()],
            attribute,
            ..NodeProto::default()
        });
        output
    }
}

const WEIGHT_SCALE: f32 = 0.002;

pub(crate) fn int(name: &str, i: i64) -> AttributeProto {
    let r#type = AttributeType::Int as i32;
    AttributeProto { name: name.into(), i, r#type, ..AttributeProto::default() }
}

pub(crate) fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    let r#type = AttributeType::Ints as i32;
    AttributeProto { name: name.into(), ints: ints.to_vec(), r#type, ..AttributeProto::default() }
}

pub(crate) fn float(name: &str, f: f32) -> AttributeProto {
    let r#type = AttributeType::Float as i32;
    AttributeProto { name: name.into(), f, r#type, ..AttributeProto::default() }
}

pub(crate) fn text(name: &str, s: &str) -> AttributeProto {
    let r#type = AttributeType::String as i32;
    AttributeProto { name: name.into(), s: s.into(), r#type, ..AttributeProto::default() }
}

pub(crate) fn floats(dims: &[usize], values: &[f32]) -> TensorProto {
    raw(DataType::Float, dims, values.iter().flat_map(|x| x.to_le_bytes()).collect())
}

pub(crate) fn raw(kind: DataType, dims: &[usize], raw_data: Vec<u8>) -> TensorProto {
    let dims = dims.iter().map(|&dim| dim as i64).collect();
    TensorProto { dims, data_type: kind as i32, raw_data, ..TensorProto::default() }
}

fn info(name: &str, dims: &[usize]) -> ValueInfoProto {
    let dim = |&length: &usize| tensor_shape_proto::Dimension {
        value: Some(tensor_shape_proto::dimension::Value::DimValue(length as i64)),
        ..Default::default()
    };
    let shape = TensorShapeProto { dim: dims.iter().map(dim).collect() };
    let shape = (!dims.is_empty()).then_some(shape);
    let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape };
    let kind =
        TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() };
    ValueInfoProto { name: name.into(), r#type: Some(kind), ..ValueInfoProto::default() }
}
