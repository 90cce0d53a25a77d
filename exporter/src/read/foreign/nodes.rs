//! One ONNX node at a time to nodes of ours.

use super::attributes::{check, float, int, ints, one, repeats, text};
use crate::read::weights::{Array, Weights};
use anyhow::{Context, Result, bail, ensure};
use engine::onnx::constants;
use graph::{Node, Op};
use std::collections::{HashMap, HashSet};
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto, tensor_proto::DataType};

/// What has been read so far.
pub(super) struct Reader<'a> {
    constants: HashMap<&'a str, &'a TensorProto>,
    nodes: Vec<Node>,
    weights: Weights,
    /// Their tensors → the node of ours that makes it.
    names: HashMap<String, String>,
    /// Tensors `[1, C, 1, 1]` that are `[C]` to us.
    pooled: Vec<String>,
    /// Names that several nodes have, which ONNX allows: these are called by their outputs.
    shared_names: HashSet<&'a str>,
}

impl<'a> Reader<'a> {
    /// `given`: constants that are no tensors in the file, see [`given_constants`].
    pub(super) fn new(
        onnx: &'a GraphProto,
        given: &'a [(&'a str, TensorProto)],
        input: String,
    ) -> Result<Self> {
        let mut constants: HashMap<&str, &TensorProto> =
            onnx.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
        constants.extend(given.iter().map(|(name, tensor)| (*name, tensor)));
        for node in onnx.node.iter().filter(|node| node.op_type == "Constant") {
            let value = node.attribute.iter().find_map(|attribute| attribute.t.as_ref());
            let output = node.output.first().context("a Constant without output")?;
            constants.extend(value.map(|tensor| (output.as_str(), tensor)));
        }
        let mut seen = HashSet::new();
        let names = onnx.node.iter().map(|node| node.name.as_str());
        Ok(Self {
            constants,
            nodes: Vec::new(),
            weights: Weights::new(),
            names: HashMap::from([(input.clone(), input)]),
            pooled: Vec::new(),
            shared_names: names.filter(|name| !seen.insert(*name)).collect(),
        })
    }

    pub(super) fn finish(self) -> (Vec<Node>, Weights, HashMap<String, String>) {
        (self.nodes, self.weights, self.names)
    }

    /// Reads one node; the error names it.
    pub(super) fn node(&mut self, node: &'a NodeProto) -> Result<()> {
        self.read(node).with_context(|| {
            format!("node `{}` ({}) cannot be quantized", self.name_of(node), node.op_type)
        })
    }

    fn read(&mut self, node: &'a NodeProto) -> Result<()> {
        ensure!(
            matches!(node.domain.as_str(), "" | "ai.onnx"),
            "operator domain `{}`, expected ONNX's own",
            node.domain
        );
        check(node)?;
        match node.op_type.as_str() {
            "Constant" => Ok(()),
            "Conv" => self.conv(node),
            "BatchNormalization" => self.norm(node),
            "Relu" => self.push(node, Op::Relu, 1),
            "LeakyRelu" => {
                let slope = float(node, "alpha", 0.01);
                ensure!((0.0..=1.0).contains(&slope), "alpha {slope}, expected 0 to 1");
                self.push(node, Op::LeakyRelu { slope }, 1)
            }
            "Clip" => {
                ensure!(self.clip(node)? == [0.0, 6.0], "bounds other than 0 and 6");
                self.push(node, Op::Relu6, 1)
            }
            "Add" if self.constant(node, 1).is_some() => self.bias(node),
            "Add" => self.push(node, Op::Add, 2),
            "Concat" => {
                ensure!([1, -3].contains(&int(node, "axis", 1)), "an axis other than the channels");
                self.push(node, Op::Concat { axis: 0 }, node.input.len())
            }
            "MaxPool" => self.max_pool(node),
            "GlobalAveragePool" => self.pool(node),
            "ReduceMean" => {
                let mut axes = match self.constant(node, 1) {
                    Some(axes) => constants::read::<i64>(axes)?,
                    None => ints(node, "axes").to_vec(),
                };
                axes.iter_mut().filter(|axis| **axis < 0).for_each(|axis| *axis += 4);
                axes.sort_unstable();
                ensure!(axes == [2, 3], "means over axes {axes:?}, expected rows and columns");
                self.pool(node)
            }
            "Flatten" | "Reshape" | "Squeeze" => {
                let input = self.input(node, 0)?;
                ensure!(
                    self.pooled.contains(&input),
                    "only what follows a global pooling can change its shape"
                );
                self.same(node)
            }
            // PyTorch shares equal constants so.
            "Identity" if self.constant(node, 0).is_some() => {
                let output = node.output.first().context("it has no output")?;
                self.constants.extend(self.constant(node, 0).map(|same| (output.as_str(), same)));
                Ok(())
            }
            "Identity" | "Dropout" => self.same(node),
            "Gemm" | "MatMul" => self.linear(node),
            "Resize" | "Upsample" => self.resize(node),
            _ => bail!("the operator is not among those we have"),
        }
    }

    fn conv(&mut self, node: &NodeProto) -> Result<()> {
        let weight = self.constant(node, 1).context("its weights are not constant")?;
        let [out_channels, per_group, h, w] = shape(weight)[..] else {
            bail!("weights of shape {:?}, expected [O, I, H, W]", weight.dims)
        };
        let given = ints(node, "kernel_shape");
        ensure!(
            given.is_empty() || *given == weight.dims[2..],
            "attribute `kernel_shape` is {given:?}, its weights are {h}x{w}"
        );
        let groups = usize::try_from(int(node, "group", 1)).unwrap_or(0).max(1);
        let (stride, padding) = (one(node, "strides", 1)?, one(node, "pads", 0)?);
        let bias = self.constant(node, 2);
        ensure!(bias.is_some() || node.input.len() < 3, "its bias is not constant");
        let op = Op::Conv2d {
            in_channels: per_group * groups,
            out_channels,
            kernel: [h, w],
            stride: [stride; 2],
            padding: [padding; 4],
            dilation: [1; 2],
            groups,
            bias: bias.is_some(),
        };
        self.params(node, &[("weight", Some(weight)), ("bias", bias)])?;
        self.push(node, op, 1)
    }

    fn norm(&mut self, node: &NodeProto) -> Result<()> {
        let names = ["weight", "bias", "running_mean", "running_var"];
        let params = names.iter().enumerate().map(|(at, name)| {
            Ok((
                *name,
                Some(self.constant(node, at + 1).context("its statistics are not constant")?),
            ))
        });
        let params = params.collect::<Result<Vec<_>>>()?;
        let channels = params[0].1.map_or(0, |tensor| shape(tensor).iter().product());
        self.params(node, &params)?;
        let eps = f64::from(float(node, "epsilon", 1e-5));
        self.push(node, Op::BatchNorm2d { channels, eps }, 1)
    }

    fn max_pool(&mut self, node: &NodeProto) -> Result<()> {
        let [kernel, same] = ints(node, "kernel_shape")[..] else {
            bail!("no square kernel_shape")
        };
        ensure!(kernel == same, "a kernel of {kernel}x{same}, expected a square");
        let (stride, padding) = (one(node, "strides", 1)?, one(node, "pads", 0)?);
        let kernel = usize::try_from(kernel)?;
        self.push(node, Op::max_pool2d(kernel, stride, padding), 1)
    }

    fn pool(&mut self, node: &NodeProto) -> Result<()> {
        self.push(node, Op::GlobalAvgPool, 1)?;
        self.pooled.push(self.name_of(node));
        Ok(())
    }

    fn linear(&mut self, node: &NodeProto) -> Result<()> {
        let weight = self.constant(node, 1).context("its weights are not constant")?;
        let [a, b] = shape(weight)[..] else {
            bail!("weights of shape {:?}, expected two axes", weight.dims)
        };
        let gemm = node.op_type == "Gemm";
        let transposed = gemm && int(node, "transB", 0) == 1;
        let (out_features, in_features) = if transposed { (a, b) } else { (b, a) };
        let mut values = constants::read::<f32>(weight)?;
        if !transposed {
            values = (0..a * b).map(|at| values[at % a * b + at / a]).collect();
        }
        let bias = match self.constant(node, 2) {
            Some(bias) => constants::read::<f32>(bias)?,
            None if node.input.get(2).is_none_or(String::is_empty) => vec![0.0; out_features],
            None => bail!("its bias is not constant"),
        };
        ensure!(bias.len() == out_features, "a bias of {} values", bias.len());
        let name = self.name_of(node);
        let array = |shape, values| Array { shape, values };
        self.weights
            .insert(format!("{name}.weight"), array(vec![out_features, in_features], values));
        self.weights.insert(format!("{name}.bias"), array(vec![out_features], bias));
        self.push(node, Op::Linear { in_features, out_features }, 1)
    }

    /// A constant added to a MatMul is its bias.
    fn bias(&mut self, node: &NodeProto) -> Result<()> {
        let layer = self.input(node, 0)?;
        let own = self.nodes.iter().find(|own| own.name == layer);
        ensure!(
            own.is_some_and(|own| matches!(own.op, Op::Linear { .. })),
            "a constant is added to what is no linear layer"
        );
        let constant =
            constants::read::<f32>(self.constant(node, 1).context("checked by the caller")?)?;
        let bias =
            self.weights.get_mut(&format!("{layer}.bias")).context("every linear layer has one")?;
        ensure!(bias.values.len() == constant.len(), "a bias of {} values", constant.len());
        bias.values.iter_mut().zip(constant).for_each(|(bias, more)| *bias += more);
        self.same(node)
    }

    fn resize(&mut self, node: &NodeProto) -> Result<()> {
        let at = if node.op_type == "Upsample" { 1 } else { 2 };
        let scales = constants::read::<f32>(
            self.constant(node, at).context("its scales are not constant")?,
        )?;
        let [1.0, 1.0, y, x] = scales[..] else {
            bail!("scales {scales:?}, expected [1, 1, n, n]")
        };
        ensure!(
            y == x && y.fract() == 0.0 && y >= 1.0,
            "scales {y} and {x}, expected one whole factor"
        );
        let factor = y as usize;
        ensure!(
            node.op_type == "Upsample" || repeats(node, factor),
            "attributes `coordinate_transformation_mode` {:?} and `nearest_mode` {:?} place samples otherwise than by \
             repeating each {factor} times",
            text(node, "coordinate_transformation_mode").unwrap_or("half_pixel"),
            text(node, "nearest_mode").unwrap_or("round_prefer_floor"),
        );
        self.push(node, Op::UpsampleNearest { factor }, 1)
    }

    fn clip(&self, node: &NodeProto) -> Result<[f32; 2]> {
        let bound = |at: usize, name: &str, otherwise: f32| -> Result<f32> {
            match self.constant(node, at) {
                Some(tensor) => {
                    constants::read::<f32>(tensor)?.first().copied().context("an empty bound")
                }
                None => Ok(float(node, name, otherwise)),
            }
        };
        Ok([bound(1, "min", f32::NEG_INFINITY)?, bound(2, "max", f32::INFINITY)?])
    }

    fn params(&mut self, node: &NodeProto, params: &[(&str, Option<&TensorProto>)]) -> Result<()> {
        for (param, tensor) in params {
            let Some(tensor) = tensor else { continue };
            let array = Array { shape: shape(tensor), values: constants::read::<f32>(tensor)? };
            self.weights.insert(format!("{}.{param}", self.name_of(node)), array);
        }
        Ok(())
    }

    fn push(&mut self, node: &NodeProto, op: Op, inputs: usize) -> Result<()> {
        let inputs = (0..inputs).map(|at| self.input(node, at)).collect::<Result<_>>()?;
        let name = self.name_of(node);
        ensure!(self.nodes.iter().all(|own| own.name != name), "a second node of this name");
        self.nodes.push(Node { name: name.clone(), op, inputs });
        let output = node.output.first().context("it has no output")?;
        self.names.insert(output.clone(), name);
        Ok(())
    }

    /// The output is the input, to us.
    fn same(&mut self, node: &NodeProto) -> Result<()> {
        let input = self.input(node, 0)?;
        let output = node.output.first().context("it has no output")?;
        self.names.insert(output.clone(), input);
        Ok(())
    }

    /// Our node behind their input.
    fn input(&self, node: &NodeProto, at: usize) -> Result<String> {
        let name = node.input.get(at).with_context(|| format!("input {at} is missing"))?;
        self.names.get(name).cloned().with_context(|| format!("no node makes its input `{name}`"))
    }

    /// The node's name, or its output's where it has none of its own.
    fn name_of(&self, node: &NodeProto) -> String {
        let own = Some(&node.name);
        let own = own.filter(|name| !name.is_empty() && !self.shared_names.contains(name.as_str()));
        own.or(node.output.first()).cloned().unwrap_or_default()
    }

    fn constant(&self, node: &NodeProto, at: usize) -> Option<&'a TensorProto> {
        self.constants.get(node.input.get(at)?.as_str()).copied()
    }
}

fn shape(tensor: &TensorProto) -> Vec<usize> {
    tensor.dims.iter().map(|&side| usize::try_from(side).unwrap_or(0)).collect()
}

/// Constants that a node holds as numbers, by the tensor they make.
pub(super) fn given_constants(onnx: &GraphProto) -> Vec<(&str, TensorProto)> {
    let nodes = onnx.node.iter().filter(|node| node.op_type == "Constant");
    let given = nodes.filter_map(|node| {
        let [attribute] = &node.attribute[..] else { return None };
        let integers = |values: &[i64], dims: Vec<i64>| TensorProto {
            data_type: DataType::Int64 as i32,
            int64_data: values.to_vec(),
            dims,
            ..TensorProto::default()
        };
        let floats = |values: &[f32], dims: Vec<i64>| TensorProto {
            data_type: DataType::Float as i32,
            float_data: values.to_vec(),
            dims,
            ..TensorProto::default()
        };
        let tensor = match attribute.name.as_str() {
            "value_int" => integers(&[attribute.i], Vec::new()),
            "value_ints" => integers(&attribute.ints, vec![attribute.ints.len() as i64]),
            "value_float" => floats(&[attribute.f], Vec::new()),
            "value_floats" => floats(&attribute.floats, vec![attribute.floats.len() as i64]),
            _ => return None,
        };
        Some((node.output.first()?.as_str(), tensor))
    });
    given.collect()
}
