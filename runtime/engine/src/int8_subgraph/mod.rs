//! An int8 subgraph: integer steps as kernels over one block of memory. Everything is decided, packed and placed at
//! load, so that running allocates nothing.

mod images;
mod layers;
mod run;

use crate::EngineError;
use crate::collapse::collapse;
use crate::fuse::{fuse, keep};
use crate::memory_plan::{self, slot_bytes};
use crate::quantized::{Activation, Quantized};
use images::ImageKernel;
use kernels::{
    Add, AvgPool, Bilinear, Buffer, Isa, LayerNorm, Lookup, MatMul, MaxPool, Nearest, Pool,
    Rearrange, Scratch, Softmax,
};
use layers::{float_kernel, layer};
use std::ops::Range;
use std::sync::Arc;

/// A compiled [`Quantized`].
#[derive(Debug)]
pub(crate) struct Int8Subgraph {
    layers: Vec<Layer>,
    slots: Vec<ActivationSlot>,
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
    kernel: LayerKernel,
    inputs: Vec<usize>,
    output: usize,
}

/// What a layer is and costs.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LayerInfo {
    /// Name of the ONNX node, of all where some were fused: `conv+add`.
    pub name: String,
    /// `conv 3x3/2`, `conv+add 1x1/1`, `max-pool`, …
    pub kind: String,
    /// `C x H x W` that comes out.
    pub output: [usize; 3],
    /// Multiplications by weights, and in products of two activations.
    pub macs: u64,
    /// Weights in memory, as packed for this CPU.
    pub packed_bytes: u64,
}

/// Where an activation lies.
#[derive(Clone, Debug)]
struct ActivationSlot {
    activation: Activation,
    place: Range<usize>,
    /// Bytes from one pixel to the next: more than there are channels where it is a part of another activation.
    stride: usize,
}

#[derive(Debug)]
enum LayerKernel {
    /// From planes of `channels` floats.
    Quantize {
        input: usize,
        channels: usize,
        isa: Isa,
    },
    Conv {
        conv: Box<kernels::Conv>,
        residual: bool,
        table: Option<Lookup>,
    },
    Add(Add),
    Concat(Vec<ConcatInput>),
    MaxPool(MaxPool, Option<Lookup>),
    AvgPool(AvgPool, Option<Lookup>),
    Nearest(Nearest, Option<Lookup>),
    Bilinear(Bilinear, Option<Lookup>),
    Table(Lookup),
    Image(ImageKernel),
    AddConstant(Add, Arc<[u8]>),
    Copy(Vec<Rearrange>),
    Constant(Arc<[u8]>),
    LayerNorm(LayerNorm),
    /// Requantized, or their shares.
    MatMul(MatMul, Option<Lookup>),
    Softmax(Softmax, Option<Lookup>),
}

/// One input of a concatenation.
#[derive(Debug)]
struct ConcatInput {
    /// Where its channels begin.
    first: usize,
    nearest: Option<Nearest>,
    table: Option<Lookup>,
}

#[derive(Debug)]
enum FloatKernel {
    /// To planes of `channels` floats.
    Dequantize {
        at: usize,
        channels: usize,
    },
    Accumulators {
        input: usize,
        conv: Box<kernels::Conv>,
        info: LayerInfo,
    },
}

/// The memory one run works in.
#[derive(Debug)]
pub(crate) struct Workspace {
    arena: Buffer,
    scratch: Scratch,
}

/// What an observer sees after each layer.
pub(crate) struct LayerSeen<'a> {
    pub(crate) layer: usize,
    /// What it made and its values, `H x W x C`; none for a layer that ends in float or makes a part of an activation.
    pub(crate) made: Option<(&'a Activation, &'a [u8])>,
}

impl Int8Subgraph {
    /// Packs weights for `isa` and places every activation. With `fused`, some steps go into others: see [`fuse`].
    pub(crate) fn compile(
        net: &Quantized,
        isa: Isa,
        threads: usize,
        fused: bool,
    ) -> Result<Self, EngineError> {
        net.check_work()?;
        let collapsed = fused.then(|| collapse(net));
        let net = collapsed.as_ref().unwrap_or(net);
        let steps = if fused { fuse(net) } else { keep(net) };
        let plan = memory_plan::plan(net, &steps)?;
        let mut slots: Vec<ActivationSlot> = net
            .activations
            .iter()
            .zip(plan.offsets)
            .map(|(activation, start)| ActivationSlot {
                place: start..start + slot_bytes(activation),
                stride: activation.shape.c,
                activation: activation.clone(),
            })
            .collect();
        for fused in &steps {
            if let Some((whole, _)) = fused.part_of {
                let (end, stride) = (slots[whole].place.end, slots[whole].stride);
                let part = &mut slots[fused.output()];
                (part.place.end, part.stride) = (end, stride);
            }
        }
        let layers: Vec<Layer> =
            steps.iter().map(|fused| layer(net, fused, isa)).collect::<Result<_, _>>()?;
        let float_outputs = net
            .float_outputs
            .iter()
            .map(|output| Ok((float_kernel(net, &output.source, isa)?, output.dims.clone())))
            .collect::<Result<Vec<_>, EngineError>>()?;
        let tails = float_outputs.iter().filter_map(|(kernel, _)| match kernel {
            FloatKernel::Accumulators { conv, .. } => Some(&**conv),
            FloatKernel::Dequantize { .. } => None,
        });
        let of_layers = layers.iter().map(|layer| match &layer.kernel {
            LayerKernel::Conv { conv, .. } => conv.scratch_bytes(threads),
            LayerKernel::MatMul(product, _) => product.scratch_bytes(threads),
            LayerKernel::Image(image) => image.scratch_bytes(threads),
            _ => 0,
        });
        let scratch_bytes = of_layers.chain(tails.map(|conv| conv.scratch_bytes(threads))).max();
        Ok(Self {
            layers,
            slots,
            arena_bytes: plan.bytes,
            scratch_bytes: scratch_bytes.unwrap_or(0),
            raw_inputs: net.raw_inputs.clone(),
            raw_outputs: net.raw_outputs.clone(),
            float_outputs,
        })
    }

    pub(crate) fn workspace(&self) -> Workspace {
        Workspace {
            arena: Buffer::zeroed(self.arena_bytes),
            scratch: Scratch::with_bytes(self.scratch_bytes),
        }
    }

    /// Every layer, those that end in float last.
    pub(crate) fn layers(&self) -> impl Iterator<Item = &LayerInfo> {
        let tails = self.float_outputs.iter().filter_map(|(kernel, _)| match kernel {
            FloatKernel::Accumulators { info, .. } => Some(info),
            FloatKernel::Dequantize { .. } => None,
        });
        self.layers.iter().map(|layer| &layer.info).chain(tails)
    }

    /// Shapes of the float outputs.
    pub(crate) fn float_dims(&self) -> impl Iterator<Item = &[usize]> {
        self.float_outputs.iter().map(|(_, dims)| dims.as_slice())
    }

    /// Activations handed to another subgraph.
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
        inputs: SubgraphInputs<'_>,
        outputs: SubgraphOutputs<'_, '_>,
        see: &mut dyn FnMut(LayerSeen<'_>),
    ) {
        let Workspace { arena, scratch } = workspace;
        for (&at, bytes) in self.raw_inputs.iter().zip(inputs.raw) {
            let slot = &self.slots[at];
            arena[slot.place.start..][..bytes.len()].copy_from_slice(bytes);
        }
        for (at, layer) in self.layers.iter().enumerate() {
            self.run_layer(layer, arena, scratch, pool, inputs.floats);
            let slot = &self.slots[layer.output];
            let values = &arena[slot.place.start..];
            let whole = slot.stride == slot.activation.shape.c;
            let made = whole.then(|| (&slot.activation, &values[..slot.activation.shape.len()]));
            see(LayerSeen { layer: at, made });
        }
        let mut tail = self.layers.len();
        for ((kernel, _), y) in self.float_outputs.iter().zip(outputs.floats) {
            match kernel {
                &FloatKernel::Dequantize { at, channels: c } => {
                    let ActivationSlot { activation, place, .. } = &self.slots[at];
                    let quant = activation.quant;
                    let x = &arena[place.clone()];
                    kernels::dequantize_to_nchw(x, c, c, quant.scale, quant.zero, y);
                }
                FloatKernel::Accumulators { input, conv, .. } => {
                    let place = &self.slots[*input].place;
                    conv.run_f32(&arena[place.clone()], y, pool, scratch);
                    see(LayerSeen { layer: tail, made: None });
                    tail += 1;
                }
            }
        }
        for (&at, y) in self.raw_outputs.iter().zip(outputs.raw) {
            y.copy_from_slice(&arena[self.slots[at].place.start..][..y.len()]);
        }
    }
}

/// What a subgraph reads.
#[derive(Clone, Copy)]
pub(crate) struct SubgraphInputs<'a> {
    /// In ONNX order.
    pub(crate) floats: &'a [&'a [f32]],
    pub(crate) raw: &'a [&'a [u8]],
}

/// What a subgraph writes.
pub(crate) struct SubgraphOutputs<'a, 'b> {
    /// In ONNX order.
    pub(crate) floats: &'a mut [&'b mut [f32]],
    pub(crate) raw: &'a mut [&'b mut [u8]],
}
