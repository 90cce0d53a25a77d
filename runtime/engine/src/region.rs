//! Integer steps as kernels over one arena: everything is decided, packed and placed at load, so
//! that running allocates nothing.

use crate::EngineError;
use crate::arena::{self, Life};
use crate::fuse::{Fused, fuse, keep};
use crate::quantized::{Activation, Conv, Op, Quantized, Shape, Source, Step, Table, Window};
use kernels::{
    Add, AvgPool, Bilinear, Buffer, ConvSpec, ConvWeights, Isa, MaxPool, Nearest, Pool, PoolSpec,
    Residual, Rows, SLACK, Scratch, SpecError,
};
use std::ops::Range;

/// A compiled [`Quantized`].
#[derive(Debug)]
pub(crate) struct Region {
    layers: Vec<Layer>,
    slots: Vec<Slot>,
    arena_bytes: usize,
    scratch_bytes: usize,
    raw_inputs: Vec<usize>,
    raw_outputs: Vec<usize>,
    float_outputs: Vec<(FloatKernel, Vec<usize>)>,
}

/// One kernel call, and what `bench` says about it.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) info: LayerInfo,
    kernel: Kernel,
    inputs: Vec<usize>,
    output: usize,
}

/// What a layer is and costs.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LayerInfo {
    /// Name of the ONNX node, of both nodes where an addition was fused: `conv+add`.
    pub name: String,
    /// `conv 3x3/2`, `conv+add 1x1/1`, `max-pool`, …
    pub kind: String,
    /// `C x H x W` that comes out.
    pub output: [usize; 3],
    /// Multiplications by weights.
    pub macs: u64,
    /// Weights in memory, as packed for this CPU.
    pub packed_bytes: u64,
}

/// Where an activation lies.
#[derive(Clone, Debug)]
struct Slot {
    activation: Activation,
    place: Range<usize>,
}

#[derive(Debug)]
enum Kernel {
    Quantize(usize),
    Conv {
        conv: Box<kernels::Conv>,
        residual: bool,
    },
    Add(Add),
    /// Per input: first channel, table.
    Concat(Vec<(usize, Option<Table>)>),
    MaxPool(MaxPool, Option<Table>),
    AvgPool(AvgPool, Option<Table>),
    Nearest(Nearest, Option<Table>),
    Bilinear(Bilinear, Option<Table>),
    Table(Table),
}

#[derive(Debug)]
enum FloatKernel {
    Dequantize(usize),
    Accumulators { input: usize, conv: Box<kernels::Conv>, info: LayerInfo },
}

/// The memory one run works in.
#[derive(Debug)]
pub(crate) struct Workspace {
    arena: Buffer,
    scratch: Scratch,
    /// Accumulators in float before they go into ONNX order.
    floats: Vec<f32>,
}

/// What an observer sees after each layer.
pub(crate) struct Seen<'a> {
    pub(crate) layer: usize,
    /// What it made and its values, `H x W x C`; none for a layer that ends in float.
    pub(crate) made: Option<(&'a Activation, &'a [u8])>,
}

impl Region {
    /// Packs weights for `isa` and places every activation. With `fuse`, additions go into convolutions.
    pub(crate) fn compile(
        net: &Quantized,
        isa: Isa,
        threads: usize,
        fused: bool,
    ) -> Result<Self, EngineError> {
        net.check_work()?;
        let plan = if fused { fuse(net) } else { keep(net) };
        let layout = place(net, &plan)?;
        let slots: Vec<Slot> = net
            .activations
            .iter()
            .zip(layout.offsets)
            .map(|(activation, start)| Slot {
                place: start..start + slot_bytes(activation),
                activation: activation.clone(),
            })
            .collect();
        let layers: Vec<Layer> =
            plan.iter().map(|fused| layer(net, *fused, isa)).collect::<Result<_, _>>()?;
        let float_outputs = net
            .float_outputs
            .iter()
            .map(|output| Ok((float_kernel(net, &output.source, isa)?, output.dims.clone())))
            .collect::<Result<Vec<_>, EngineError>>()?;
        let tails = float_outputs.iter().filter_map(|(kernel, _)| match kernel {
            FloatKernel::Accumulators { conv, .. } => Some(&**conv),
            FloatKernel::Dequantize(_) => None,
        });
        let convs = layers.iter().filter_map(|layer| match &layer.kernel {
            Kernel::Conv { conv, .. } => Some(&**conv),
            _ => None,
        });
        let scratch_bytes = convs.chain(tails).map(|conv| conv.scratch_bytes(threads)).max();
        Ok(Self {
            layers,
            slots,
            arena_bytes: layout.bytes,
            scratch_bytes: scratch_bytes.unwrap_or(0),
            raw_inputs: net.raw_inputs.clone(),
            raw_outputs: net.raw_outputs.clone(),
            float_outputs,
        })
    }

    pub(crate) fn workspace(&self) -> Workspace {
        let floats = self.float_outputs.iter().map(|(kernel, dims)| match kernel {
            FloatKernel::Accumulators { .. } => dims.iter().product(),
            FloatKernel::Dequantize(_) => 0,
        });
        Workspace {
            arena: Buffer::zeroed(self.arena_bytes),
            scratch: Scratch::with_bytes(self.scratch_bytes),
            floats: vec![0.0; floats.max().unwrap_or(0)],
        }
    }

    /// Every layer, those that end in float last.
    pub(crate) fn layers(&self) -> impl Iterator<Item = &LayerInfo> {
        let tails = self.float_outputs.iter().filter_map(|(kernel, _)| match kernel {
            FloatKernel::Accumulators { info, .. } => Some(info),
            FloatKernel::Dequantize(_) => None,
        });
        self.layers.iter().map(|layer| &layer.info).chain(tails)
    }

    /// Shapes of the float outputs.
    pub(crate) fn float_dims(&self) -> impl Iterator<Item = &[usize]> {
        self.float_outputs.iter().map(|(_, dims)| dims.as_slice())
    }

    /// Activations handed to another region.
    pub(crate) fn raw_outputs(&self) -> impl Iterator<Item = &Activation> {
        self.raw_outputs.iter().map(|&at| &self.slots[at].activation)
    }

    /// From floats in ONNX order and raw activations to floats in ONNX order and raw activations.
    ///
    /// Allocates nothing. `see` is called after each layer.
    pub(crate) fn run(
        &self,
        workspace: &mut Workspace,
        pool: &Pool,
        inputs: Inputs<'_>,
        outputs: Outputs<'_, '_>,
        see: &mut dyn FnMut(Seen<'_>),
    ) {
        let Workspace { arena, scratch, floats } = workspace;
        for (&at, bytes) in self.raw_inputs.iter().zip(inputs.raw) {
            let slot = &self.slots[at];
            arena[slot.place.start..][..bytes.len()].copy_from_slice(bytes);
        }
        for (at, layer) in self.layers.iter().enumerate() {
            self.run_layer(layer, arena, scratch, pool, inputs.floats);
            let slot = &self.slots[layer.output];
            let values = &arena[slot.place.start..][..slot.activation.shape.len()];
            see(Seen { layer: at, made: Some((&slot.activation, values)) });
        }
        let mut tail = self.layers.len();
        for ((kernel, _), y) in self.float_outputs.iter().zip(outputs.floats) {
            match kernel {
                FloatKernel::Dequantize(at) => {
                    let Slot { activation, place } = &self.slots[*at];
                    let Shape { c, .. } = activation.shape;
                    let quant = activation.quant;
                    let x = &arena[place.clone()];
                    kernels::dequantize_to_nchw(x, c, c, quant.scale, quant.zero, y);
                }
                FloatKernel::Accumulators { input, conv, .. } => {
                    let place = &self.slots[*input].place;
                    let sums = &mut floats[..y.len()];
                    conv.run_f32(&arena[place.clone()], sums, pool, scratch);
                    planes(sums, conv.spec().out_channels, y);
                    see(Seen { layer: tail, made: None });
                    tail += 1;
                }
            }
        }
        for (&at, y) in self.raw_outputs.iter().zip(outputs.raw) {
            y.copy_from_slice(&arena[self.slots[at].place.start..][..y.len()]);
        }
    }

    fn run_layer(
        &self,
        layer: &Layer,
        arena: &mut Buffer,
        scratch: &mut Scratch,
        pool: &Pool,
        floats: &[&[f32]],
    ) {
        let place = &self.slots[layer.output].place;
        let Shape { h, w, c } = self.slots[layer.output].activation.shape;
        let quant = self.slots[layer.output].activation.quant;
        let (before, rest) = arena.split_at_mut(place.start);
        let (y, after) = rest.split_at_mut(place.len());
        // `y` is alive, so no input overlaps it: each lies before or behind.
        let x = |at: usize| -> &[u8] {
            let from = &self.slots[layer.inputs[at]].place;
            if from.end <= place.start {
                &before[from.clone()]
            } else {
                &after[from.start - place.end..from.end - place.end]
            }
        };
        let rows = Rows { pixels: h * w, channels: c, x_stride: c, y_stride: c };
        let table = match &layer.kernel {
            Kernel::Quantize(input) => {
                let image = floats[*input];
                let (scale, zero) = (quant.scale, quant.zero);
                kernels::quantize_from_nchw(image, c, scale, zero, y, c, pool);
                &None
            }
            Kernel::Conv { conv, residual } => {
                let r = residual.then(|| x(layer.inputs.len() - 1));
                conv.run(x(0), r, y, pool, scratch);
                &None
            }
            Kernel::Add(add) => {
                add.run(&rows, x(0), x(1), c, y, pool);
                &None
            }
            Kernel::Concat(parts) => {
                for (at, (first, table)) in parts.iter().enumerate() {
                    let channels = self.slots[layer.inputs[at]].activation.shape.c;
                    let rows = Rows { pixels: h * w, channels, x_stride: channels, y_stride: c };
                    match table {
                        None => kernels::copy(&rows, x(at), &mut y[*first..], pool),
                        Some(table) => kernels::lookup(&rows, table, x(at), &mut y[*first..], pool),
                    }
                }
                &None
            }
            Kernel::MaxPool(max, table) => {
                max.run(x(0), y, pool);
                table
            }
            Kernel::AvgPool(mean, table) => {
                mean.run(x(0), y, pool);
                table
            }
            Kernel::Nearest(nearest, table) => {
                nearest.run(x(0), y, pool);
                table
            }
            Kernel::Bilinear(bilinear, table) => {
                bilinear.run(x(0), y, pool);
                table
            }
            Kernel::Table(table) => {
                kernels::lookup(&rows, table, x(0), y, pool);
                &None
            }
        };
        if let Some(table) = table {
            y[..h * w * c].iter_mut().for_each(|q| *q = table[usize::from(*q)]);
        }
    }
}

/// What a region reads.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a> {
    /// In ONNX order.
    pub(crate) floats: &'a [&'a [f32]],
    pub(crate) raw: &'a [&'a [u8]],
}

/// What a region writes.
pub(crate) struct Outputs<'a, 'b> {
    /// In ONNX order.
    pub(crate) floats: &'a mut [&'b mut [f32]],
    pub(crate) raw: &'a mut [&'b mut [u8]],
}

fn slot_bytes(activation: &Activation) -> usize {
    (activation.shape.len() + SLACK).next_multiple_of(64)
}

/// Most memory the activations of a region may take together.
const MAX_ARENA: u64 = 1 << 30;

fn place(net: &Quantized, plan: &[Fused<'_>]) -> Result<arena::Layout, EngineError> {
    let end = plan.len();
    let mut lives: Vec<Life> = net
        .activations
        .iter()
        .map(|activation| Life { from: end, to: 0, bytes: slot_bytes(activation) })
        .collect();
    net.raw_inputs.iter().for_each(|&at| lives[at].from = 0);
    for (at, fused) in plan.iter().enumerate() {
        lives[fused.output()].from = at;
        lives[fused.output()].to = at;
        fused.inputs().for_each(|input| lives[input].to = at);
    }
    let outputs = net.float_outputs.iter().map(|output| match output.source {
        Source::Dequantize(at) | Source::Accumulators { input: at, .. } => at,
    });
    outputs.chain(net.raw_outputs.iter().copied()).for_each(|at| lives[at].to = end);
    // What fusion removed is never written.
    lives.iter_mut().filter(|life| life.from > life.to).for_each(|life| life.bytes = 0);
    let layout = arena::place(&lives);
    if layout.bytes as u64 > MAX_ARENA {
        let found = layout.bytes as u64;
        let what = "the activations' arena".into();
        return Err(EngineError::TooLarge { what, found, limit: MAX_ARENA });
    }
    Ok(layout)
}

fn layer(net: &Quantized, fused: Fused<'_>, isa: Isa) -> Result<Layer, EngineError> {
    let step = fused.step;
    let shape = net.activations[fused.output()].shape;
    let (kernel, kind) = kernel(net, fused, isa).map_err(|error| EngineError::Node {
        node: step.name.clone(),
        op: op_name(&step.op).to_owned(),
        reason: error.to_string(),
    })?;
    let packed_bytes = match &kernel {
        Kernel::Conv { conv, .. } => conv.packed_bytes() as u64,
        _ => 0,
    };
    let info = LayerInfo {
        name: match fused.add {
            Some((add, _)) => format!("{}+{}", step.name, add.name),
            None => step.name.clone(),
        },
        kind,
        output: [shape.c, shape.h, shape.w],
        macs: step.macs(&net.activations),
        packed_bytes,
    };
    Ok(Layer { info, kernel, inputs: fused.inputs().collect(), output: fused.output() })
}

fn kernel(net: &Quantized, fused: Fused<'_>, isa: Isa) -> Result<(Kernel, String), SpecError> {
    let step = fused.step;
    let activation = |at: usize| &net.activations[step.inputs[at]];
    let y = &net.activations[step.output];
    let (shape, quant) = (y.shape, y.quant);
    let zeros = |x: &Activation| [x.quant.zero, quant.zero];
    let clamp = || {
        let full = step.clamp == [0, 255];
        (!full).then(|| quant.table(quant, step.clamp, |x| x))
    };
    let mut kind = op_name(&step.op).to_owned();
    let kernel = match &step.op {
        Op::Quantize(input) => Kernel::Quantize(*input),
        Op::Conv(conv) => {
            let residual = fused.add.map(|(add, residual)| residual_of(net, step, add, residual));
            let x = activation(0);
            let scale = conv.multipliers(x.quant, quant);
            let weights = conv_weights(conv, &scale, x.quant.zero, quant.zero, step.clamp);
            let spec = conv_spec(conv, x.shape);
            let conv = kernels::Conv::pack(isa, &spec, weights, residual)?;
            kind = conv_kind(&spec, residual.is_some());
            Kernel::Conv { conv: Box::new(conv), residual: residual.is_some() }
        }
        Op::Add => {
            let (a, b) = (activation(0).quant, activation(1).quant);
            let ratios = [a.scale / quant.scale, b.scale / quant.scale];
            Kernel::Add(Add::new(ratios, [a.zero, b.zero, quant.zero], step.clamp)?)
        }
        Op::Concat(tables) => {
            let mut first = 0;
            let part = |(at, table): (usize, &Option<Table>)| {
                let part = (first, table.clone());
                first += activation(at).shape.c;
                part
            };
            Kernel::Concat(tables.iter().enumerate().map(part).collect())
        }
        Op::MaxPool { window, table } => {
            Kernel::MaxPool(MaxPool::new(pool_spec(window, activation(0).shape)?)?, table.clone())
        }
        Op::AvgPool { window, include_pad } => {
            let x = activation(0);
            let (spec, ratio) = (pool_spec(window, x.shape)?, x.quant.scale / quant.scale);
            Kernel::AvgPool(AvgPool::new(spec, ratio, zeros(x), *include_pad)?, clamp())
        }
        Op::Nearest { table } => {
            let x = activation(0).shape;
            let [from, to] = [x, shape].map(|shape| [shape.h, shape.w]);
            Kernel::Nearest(Nearest::new(from, to, x.c, [x.c, x.c])?, table.clone())
        }
        Op::Bilinear => {
            let x = activation(0);
            let [from, to] = [x.shape, shape].map(|shape| [shape.h, shape.w]);
            let (c, ratio) = (shape.c, x.quant.scale / quant.scale);
            Kernel::Bilinear(Bilinear::new(from, to, c, [c, c], ratio, zeros(x))?, clamp())
        }
        Op::Table(table) => Kernel::Table(table.clone()),
    };
    Ok((kernel, kind))
}

fn float_kernel(net: &Quantized, source: &Source, isa: Isa) -> Result<FloatKernel, EngineError> {
    let (input, conv) = match source {
        Source::Dequantize(at) => return Ok(FloatKernel::Dequantize(*at)),
        Source::Accumulators { input, conv } => (*input, conv),
    };
    let x = &net.activations[input];
    let scale = conv.scales(x.quant);
    let weights = conv_weights(conv, &scale, x.quant.zero, 0, [0, 255]);
    let spec = conv_spec(conv, x.shape);
    let packed = kernels::Conv::pack(isa, &spec, weights, None).map_err(|error| {
        EngineError::Node { node: conv.name.clone(), op: "Conv".into(), reason: error.to_string() }
    })?;
    let info = LayerInfo {
        name: conv.name.clone(),
        kind: format!("{} to float", conv_kind(&spec, false)),
        output: [spec.out_channels, spec.out_h(), spec.out_w()],
        macs: packed.macs(),
        packed_bytes: packed.packed_bytes() as u64,
    };
    Ok(FloatKernel::Accumulators { input, conv: Box::new(packed), info })
}

fn residual_of(net: &Quantized, conv: &Step, add: &Step, residual: usize) -> Residual {
    let (c, r) = (net.activations[conv.output].quant, net.activations[residual].quant);
    let y = &net.activations[add.output];
    Residual {
        conv_ratio: c.scale / y.quant.scale,
        ratio: r.scale / y.quant.scale,
        zero: r.zero,
        out_zero: y.quant.zero,
        lo: add.clamp[0],
        hi: add.clamp[1],
        stride: y.shape.c,
    }
}

fn conv_spec(conv: &Conv, x: Shape) -> ConvSpec {
    ConvSpec {
        in_channels: x.c,
        out_channels: conv.out_c,
        groups: conv.groups,
        kernel: conv.window.kernel,
        stride: conv.window.stride,
        padding: conv.window.pad,
        dilation: conv.window.dilation,
        in_h: x.h,
        in_w: x.w,
        in_stride: x.c,
        out_stride: conv.out_c,
    }
}

fn conv_weights<'a>(
    conv: &'a Conv,
    scale: &'a [f32],
    x_zero: u8,
    y_zero: u8,
    [lo, hi]: [u8; 2],
) -> ConvWeights<'a> {
    ConvWeights { weight: &conv.weights, bias: &conv.bias, scale, x_zero, y_zero, lo, hi }
}

fn pool_spec(window: &Window, x: Shape) -> Result<PoolSpec, SpecError> {
    if window.dilation != [1, 1] {
        return Err(SpecError::TooLarge { what: "pooling dilation" });
    }
    Ok(PoolSpec {
        channels: x.c,
        kernel: window.kernel,
        stride: window.stride,
        padding: window.pad,
        in_h: x.h,
        in_w: x.w,
        in_stride: x.c,
        out_stride: x.c,
    })
}

fn conv_kind(spec: &ConvSpec, residual: bool) -> String {
    let [h, w] = spec.kernel;
    let add = if residual { "+add" } else { "" };
    let groups = if spec.groups > 1 { format!(" g{}", spec.groups) } else { String::new() };
    format!("conv{add} {h}x{w}/{}{groups}", spec.stride[0])
}

fn op_name(op: &Op) -> &'static str {
    match op {
        Op::Quantize(_) => "quantize",
        Op::Conv(_) => "conv",
        Op::Add => "add",
        Op::Concat(_) => "concat",
        Op::MaxPool { .. } => "max-pool",
        Op::AvgPool { .. } => "avg-pool",
        Op::Nearest { .. } => "nearest",
        Op::Bilinear => "bilinear",
        Op::Table(_) => "table",
    }
}

/// `[pixels, channels]` → `[channels, pixels]`
fn planes(x: &[f32], channels: usize, y: &mut [f32]) {
    let pixels = x.len() / channels;
    for (c, plane) in y.chunks_exact_mut(pixels).enumerate() {
        for (y, x) in plane.iter_mut().zip(x[c..].iter().step_by(channels)) {
            *y = *x;
        }
    }
}
