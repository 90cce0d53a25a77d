//! Changes that an attacker or a broken exporter would make.

use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    tensor_shape_proto::dimension::Value, type_proto,
};

/// SplitMix64.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0xd134_2543_de82_ef95))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A whole number below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// Numbers at which arithmetic goes wrong, and any other.
    pub(crate) fn number(&mut self) -> i64 {
        let any = self.next() as i64;
        let odd = [0, -1, 1, 2, 3, 7, 255, 1 << 12, 1 << 16, 1 << 20, 1 << 31, (1 << 31) - 1];
        let far = [1 << 32, 1 << 40, i64::MAX, i64::MIN, i64::MAX - 1, any, any % 64, any % 5000];
        if self.below(2) == 0 { self.pick(&odd) } else { self.pick(&far) }
    }

    pub(crate) fn float(&mut self) -> f32 {
        let any = f32::from_bits(self.next() as u32);
        let odd = [0.0, -0.0, 1.0, -1.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        let small = [f32::MIN_POSITIVE, 1e-45, f32::MAX, f32::MIN, 1e30, 1e-30, any];
        if self.below(2) == 0 { self.pick(&odd) } else { self.pick(&small) }
    }
}

/// One change to any bytes.
pub(crate) fn bytes(bytes: &mut Vec<u8>, dice: &mut Dice) {
    if bytes.is_empty() {
        return bytes.push(dice.next() as u8);
    }
    let (at, other) = (dice.below(bytes.len()), dice.below(bytes.len()));
    let (from, to) = (at.min(other), at.max(other));
    let piece = from..to.min(from + 64);
    match dice.below(8) {
        0 => bytes[at] = dice.next() as u8,
        1 => bytes[at] ^= 1 << dice.below(8),
        2 => bytes[at] = dice.pick(&[0, 1, 0x7f, 0x80, 0xff]),
        3 => bytes.truncate(at),
        4 => drop(bytes.drain(piece)),
        5 => {
            let copy = bytes[piece].to_vec();
            bytes.splice(other..other, copy);
        }
        6 => {
            // A length or a number of nine bytes, as protobuf and postcard write them.
            let end = (at + 9).min(bytes.len());
            bytes[at..end].fill(0xff);
        }
        _ => drop(bytes.splice(at..at, [dice.next() as u8])),
    }
}

/// One change that leaves the model's protobuf valid.
pub(crate) fn model(model: &mut ModelProto, dice: &mut Dice) {
    let number = dice.number();
    match dice.below(20) {
        0 => model.ir_version = number,
        1 => {
            let version = dice.pick(&[number, 1, 9, 10, 13, 19, 21, 25]);
            let domain = dice.pick(&["", "ai.onnx", "com.microsoft", "ai.onnx.ml"]).into();
            model.opset_import.push(OperatorSetIdProto { domain, version });
            let last = model.opset_import.len() - 1;
            model.opset_import.swap(0, last);
        }
        2 => model.graph = None,
        _ => {
            if let Some(graph) = &mut model.graph {
                change_graph(graph, dice);
            }
        }
    }
}

fn change_graph(graph: &mut GraphProto, dice: &mut Dice) {
    match dice.below(12) {
        0 | 1 => change_interface(graph, dice),
        2..=5 => {
            if let Some(at) = graph.initializer.len().checked_sub(1) {
                change_tensor(&mut graph.initializer[dice.below(at + 1)], dice);
            }
        }
        6..=9 => {
            if !graph.node.is_empty() {
                let at = dice.below(graph.node.len());
                let other = graph.node[dice.below(graph.node.len())].clone();
                change_node(&mut graph.node[at], &other, dice);
            }
        }
        10 => move_nodes(graph, dice),
        _ => {
            // Two tensors under one name, or none under a name that is used.
            if !graph.initializer.is_empty() {
                let from = graph.initializer[dice.below(graph.initializer.len())].clone();
                let at = dice.below(graph.initializer.len());
                match dice.below(3) {
                    0 => graph.initializer.push(from),
                    1 => graph.initializer[at] = TensorProto { name: from.name.clone(), ..from },
                    _ => drop(graph.initializer.remove(at)),
                }
            }
        }
    }
}

/// Inputs and outputs: their shapes, types, names and number.
fn change_interface(graph: &mut GraphProto, dice: &mut Dice) {
    let number = dice.number();
    let input = graph.input.first_mut();
    match dice.below(7) {
        0..=2 => {
            let kind = input.and_then(|input| input.r#type.as_mut()?.value.as_mut());
            let Some(type_proto::Value::TensorType(tensor)) = kind else { return };
            if dice.below(8) == 0 {
                tensor.elem_type = dice.below(20) as i32;
            }
            let Some(shape) = &mut tensor.shape else { return };
            if let Some(dim) = shape.dim.get_mut(dice.below(4)) {
                let sizes = [number, 1, 224, 4096, 30_000];
                dim.value = match dice.below(5) {
                    0 => None,
                    1 => Some(Value::DimParam("N".into())),
                    _ => Some(Value::DimValue(dice.pick(&sizes))),
                };
            }
        }
        3 => graph.input.clear(),
        4 => graph.input.extend(graph.input.clone()),
        5 => graph.output.extend(graph.output.clone()),
        _ => {
            let name = graph.node.first().and_then(|node| node.output.first().cloned());
            if let (Some(output), Some(name)) = (graph.output.first_mut(), name) {
                output.name = name;
            }
        }
    }
}

fn change_tensor(tensor: &mut TensorProto, dice: &mut Dice) {
    let number = dice.number();
    match dice.below(10) {
        0 => tensor.dims.push(number),
        1 => tensor.dims.iter_mut().for_each(|dim| *dim = number),
        2 => drop(tensor.dims.pop()),
        3 => tensor.data_type = dice.below(24) as i32,
        4 => tensor.raw_data.truncate(dice.below(5)),
        5 => {
            let value = dice.float().to_le_bytes();
            tensor.raw_data.chunks_exact_mut(4).for_each(|word| word.copy_from_slice(&value));
        }
        6 => tensor.raw_data.fill(dice.pick(&[0, 1, 127, 128, 255])),
        7 => {
            tensor.raw_data.clear();
            tensor.float_data = vec![dice.float(); dice.below(9)];
            tensor.int32_data = vec![number as i32; dice.below(9)];
        }
        8 => tensor.data_location = Some(1),
        _ => {
            // One value becomes many: a scale per channel, of any number of channels.
            let count = 1 + dice.below(70);
            tensor.raw_data = tensor.raw_data.repeat(count);
            tensor.dims = vec![count as i64];
        }
    }
}

const OPERATORS: &[&str] = &[
    "Conv",
    "Gemm",
    "MatMul",
    "Add",
    "Mul",
    "Concat",
    "MaxPool",
    "AveragePool",
    "Resize",
    "Clip",
    "GlobalAveragePool",
    "Flatten",
    "Reshape",
    "Transpose",
    "Slice",
    "Gather",
    "Split",
    "Softmax",
    "QuantizeLinear",
    "DequantizeLinear",
    "Relu",
    "Sigmoid",
    "HardSwish",
    "Pow",
    "Squeeze",
    "Unsqueeze",
    "ReduceMean",
    "Cast",
    "Constant",
    "Expand",
    "Tile",
    "Pad",
    "Loop",
    "If",
    "Upsample",
    "ConvTranspose",
    "LayerNormalization",
    "BatchNormalization",
    "Identity",
    "Erf",
    "Gelu",
    "Sub",
    "Div",
    "HardSigmoid",
    "Elu",
    "InstanceNormalization",
    "GroupNormalization",
    "",
];

fn change_node(node: &mut NodeProto, other: &NodeProto, dice: &mut Dice) {
    let number = dice.number();
    match dice.below(12) {
        0 | 1 => node.op_type = dice.pick(OPERATORS).into(),
        2 => node.input.truncate(dice.below(4)),
        3 => node.input.extend(other.input.iter().cloned()),
        4 => {
            let from = other.output.first().or(other.input.first()).cloned();
            let at = dice.below(node.input.len().max(1));
            if let (Some(input), Some(from)) = (node.input.get_mut(at), from) {
                *input = from;
            }
        }
        5 => node.output.clone_from(&other.output),
        6 => node.output.extend(other.output.iter().cloned()),
        7 => node.domain = dice.pick(&["", "com.microsoft", "x"]).into(),
        8 => node.attribute.clone_from(&other.attribute),
        _ => {
            let names = [
                "axis",
                "group",
                "pads",
                "strides",
                "dilations",
                "kernel_shape",
                "mode",
                "ceil_mode",
                "count_include_pad",
                "output_padding",
                "num_groups",
                "epsilon",
                "auto_pad",
            ];
            if node.attribute.is_empty() || dice.below(4) == 0 {
                let name = dice.pick(&names).into();
                let r#type = dice.pick(&[1, 2, 3, 7]);
                node.attribute.push(AttributeProto {
                    name,
                    i: number,
                    ints: vec![number; 4],
                    r#type,
                    ..AttributeProto::default()
                });
            } else {
                let at = dice.below(node.attribute.len());
                change_attribute(&mut node.attribute[at], number, dice);
            }
        }
    }
}

fn change_attribute(attribute: &mut AttributeProto, number: i64, dice: &mut Dice) {
    match dice.below(7) {
        0 => attribute.i = number,
        1 => attribute.ints.iter_mut().for_each(|i| *i = number),
        2 => {
            let at = dice.below(attribute.ints.len().max(1));
            if let Some(i) = attribute.ints.get_mut(at) {
                *i = number;
            }
        }
        3 => attribute.ints.truncate(dice.below(4)),
        4 => attribute.ints.resize(dice.pick(&[0, 1, 3, 8, 1000]), number),
        5 => attribute.r#type = dice.below(15) as i32,
        _ => {
            attribute.s =
                dice.pick(&["linear", "cubic", "floor", "SAME_UPPER", "NOTSET", "\u{fffd}"]).into()
        }
    }
}

/// Order and number of the nodes.
fn move_nodes(graph: &mut GraphProto, dice: &mut Dice) {
    if graph.node.is_empty() {
        return;
    }
    let (at, other) = (dice.below(graph.node.len()), dice.below(graph.node.len()));
    match dice.below(5) {
        0 => graph.node.swap(at, other),
        1 => drop(graph.node.remove(at)),
        2 => {
            let node = graph.node[at].clone();
            graph.node.insert(other, node);
        }
        3 => {
            // Many of one, each under names of its own.
            let node = graph.node[at].clone();
            for copy in 0..300 {
                let output = node.output.iter().map(|name| format!("{name}.{copy}")).collect();
                graph.node.push(NodeProto { output, ..node.clone() });
            }
        }
        _ => graph.node.reverse(),
    }
}
