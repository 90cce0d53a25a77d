//! A loaded network: floats in, named floats out.

use crate::EngineError;
use crate::float_subgraph::{tract_error, typed};
use crate::int8_subgraph::{Int8Subgraph, LayerInfo};
use crate::onnx::Document;
use crate::operator::{Probe, Times};
use crate::plan::{self, Plan, Target};
use crate::qdq::{FloatValue, Flow, read};
use crate::quantized::{Activation, Source};
use graph::{LANGUAGE_GLOBAL, LANGUAGE_GLOBAL_PLACES, LANGUAGE_PLACES};
use kernels::{Isa, Pool};
use language::{Codes, MapCodes, Rounding};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::Cost;
use tract_onnx::tract_core::plan::SimpleState;

/// How to run a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Threads that work on one image, at least 1.
    pub threads: usize,
    /// Instruction set, `scalar`, …; otherwise `CXR_ISA`, otherwise the best this CPU has.
    pub isa: Option<String>,
    /// Whether additions go into the convolutions before them. Same results either way; without,
    /// [`Engine::run_intermediates`] sees every activation of the ONNX graph.
    pub fuse: bool,
}

impl Options {
    /// Fused, on the best instruction set.
    pub fn threads(threads: usize) -> Self {
        Self { threads, isa: None, fuse: true }
    }
}

/// Results of one image, in the graph's order.
#[derive(Clone, Debug, PartialEq)]
pub struct Outputs {
    pub outputs: Vec<Output>,
}

/// One named result.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    pub name: String,
    /// `[1, C, H, W]` or `[1, F]`
    pub shape: Vec<usize>,
    pub data: Vec<f32>,
}

/// A quantized activation of one run: `x = (q − zero)·scale`.
#[derive(Clone, Debug, PartialEq)]
pub struct Intermediate {
    /// Name of the ONNX tensor, the output of its QuantizeLinear.
    pub name: String,
    /// As ONNX has it.
    pub shape: Vec<usize>,
    pub scale: f32,
    pub zero: i32,
    /// Whether codes are −128 to 127, otherwise 0 to 255.
    pub signed: bool,
    /// ONNX order; int8 or uint8 values as the file has them.
    pub values: Vec<i16>,
}

/// How much of the network runs in integers.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct IntegerShare {
    pub integer_macs: u64,
    pub float_macs: u64,
    /// ONNX nodes that tract runs in float.
    pub float_nodes: Vec<String>,
}

/// A network ready to run. One at a time: running takes `&mut self`.
pub struct Engine {
    state: SimpleState<TypedFact, Box<dyn TypedOp>>,
    input: Vec<usize>,
    /// The last image, whose memory the next one takes.
    image: Arc<Tensor>,
    outputs: Vec<String>,
    /// Shapes and codes of the outputs that are dequantized activations, by name.
    dequantized: Vec<(String, Vec<usize>, Codes)>,
    subgraphs: Vec<Arc<Int8Subgraph>>,
    probe: Arc<Mutex<Probe>>,
    share: IntegerShare,
    isa: &'static str,
    threads: usize,
    /// Of the integer layers; none in a float network.
    pool: Option<Arc<Pool>>,
}

impl Engine {
    /// The network of a bundle. Float convolutions must be declared in its manifest.
    pub fn open(bundle: &bundle::Bundle, options: &Options) -> Result<Self, EngineError> {
        let model = bundle.require(bundle::section::MODEL)?;
        Self::from_onnx(model, &bundle.manifest.float_nodes, options)
    }

    /// An ONNX model in QDQ form. Float convolutions and matrix products are refused unless
    /// `declared_float` names the node, or a prefix of its name up to a `/` or `.`.
    pub fn from_onnx(
        bytes: &[u8],
        declared_float: &[String],
        options: &Options,
    ) -> Result<Self, EngineError> {
        let isa = isa(options)?;
        let document = Document::decode(bytes)?;
        let flow = read(&document, declared_float)?;
        let pool = Arc::new(Pool::new(options.threads.max(1)));
        let target = Target { isa, pool: pool.clone(), fuse: options.fuse };
        let image = document.input.1.clone();
        drop(document);
        kernels::release_freed_memory(); // packed weights do not go where it was
        let plan = plan::build(&flow, &image, &target)?;
        let mut share = IntegerShare { integer_macs: 0, float_macs: 0, float_nodes: Vec::new() };
        for value in &flow.floats {
            if let FloatValue::FloatSubgraph(subgraph) = value {
                share.float_macs += float_macs(&subgraph.model);
                share.float_nodes.extend(subgraph.nodes.iter().cloned());
            }
        }
        let outputs = flow.outputs.iter().map(|(name, _)| name.clone()).collect();
        let dequantized = dequantized(&flow);
        drop(flow);
        kernels::release_freed_memory();
        let engine = Self::start(plan, image, outputs, share, options, isa)?;
        Ok(Self { pool: Some(pool), dequantized, ..engine })
    }

    /// A float ONNX model on plain tract: the yardstick int8 is compared with, never for the box.
    pub fn open_float(bytes: &[u8], options: &Options) -> Result<Self, EngineError> {
        let isa = isa(options)?;
        let document = Document::decode(bytes)?;
        let graph = document.graph();
        let outputs = graph.output.iter().map(|output| output.name.clone()).collect();
        let float_nodes = graph.node.iter().map(|node| node.name.clone()).collect();
        let image = document.input.1.clone();
        let model = typed(&document.into_one_image())?;
        let share = IntegerShare { integer_macs: 0, float_macs: float_macs(&model), float_nodes };
        let probe = Arc::new(Mutex::new(Probe::Off));
        Self::start(
            Plan { model, subgraphs: Vec::new(), probe },
            image,
            outputs,
            share,
            options,
            isa,
        )
    }

    fn start(
        plan: Plan,
        input: Vec<usize>,
        outputs: Vec<String>,
        mut share: IntegerShare,
        options: &Options,
        isa: Isa,
    ) -> Result<Self, EngineError> {
        let Plan { model, subgraphs, probe } = plan;
        let runnable = model.into_runnable().map_err(tract_error)?;
        let state = runnable.spawn().map_err(tract_error)?;
        let layers = subgraphs.iter().flat_map(|subgraph| subgraph.layers());
        share.integer_macs = layers.map(|layer| layer.macs).sum();
        let threads = options.threads.max(1);
        let image = Arc::new(Tensor::zero::<f32>(&input).map_err(tract_error)?);
        Ok(Self {
            state,
            input,
            image,
            outputs,
            dequantized: Vec::new(),
            subgraphs,
            probe,
            share,
            isa: isa.name(),
            threads,
            pool: None,
        })
    }

    /// Shape of the input, `[1, C, H, W]`.
    pub fn input_shape(&self) -> &[usize] {
        &self.input
    }

    pub(crate) fn has_output(&self, name: &str) -> bool {
        self.outputs.iter().any(|output| output == name)
    }

    /// How the outputs of language were quantized; codes are 0 to 255, those of int8 128 higher.
    pub fn rounding(&self) -> Result<Rounding, EngineError> {
        let codes_of = |name| self.dequantized(name).map(|(_, codes)| codes);
        let has_shares = self.has_output(LANGUAGE_GLOBAL_PLACES);
        let global_places = has_shares.then(|| codes_of(LANGUAGE_GLOBAL_PLACES)).transpose()?;
        let maps = MapCodes { places: codes_of(LANGUAGE_PLACES)?, global_places };
        Ok(Rounding { global: codes_of(LANGUAGE_GLOBAL)?, maps })
    }

    /// Shape of an output that is a dequantized activation.
    pub(crate) fn shape_of(&self, name: &str) -> Result<Vec<usize>, EngineError> {
        self.dequantized(name).map(|(shape, _)| shape.to_vec())
    }

    fn dequantized(&self, name: &str) -> Result<(&[usize], Codes), EngineError> {
        let known = self.dequantized.iter().find(|(known, ..)| known == name);
        let known = known.map(|(_, shape, codes)| (&shape[..], *codes));
        known.ok_or_else(|| EngineError::NotQuantized { name: name.to_owned() })
    }

    /// Who works; nobody in a float network.
    pub(crate) fn pool(&self) -> Option<Arc<Pool>> {
        self.pool.clone()
    }

    /// Name of the instruction set in use.
    pub fn isa(&self) -> &'static str {
        self.isa
    }

    pub fn threads(&self) -> usize {
        self.threads
    }

    /// So many of [`Self::threads`] work from the next image on: fewer while the machine is too hot. The bits stay the
    /// same.
    pub fn use_threads(&self, threads: usize) {
        self.pool.iter().for_each(|pool| pool.limit(threads));
    }

    /// Every integer layer in execution order. [`Self::run_timed`] uses the same order.
    pub fn layers(&self) -> Vec<LayerInfo> {
        self.subgraphs.iter().flat_map(|subgraph| subgraph.layers()).cloned().collect()
    }

    pub fn integer_share(&self) -> &IntegerShare {
        &self.share
    }

    /// `input [C, H, W]`, normalised, finite.
    pub fn run(&mut self, input: &[f32]) -> Result<Outputs, EngineError> {
        let expected = self.input.iter().product();
        if input.len() != expected {
            let shape = self.input.clone();
            return Err(EngineError::Input { found: input.len(), expected, shape });
        }
        if let Some(at) = input.iter().position(|x| !x.is_finite()) {
            return Err(EngineError::NotFinite { at, found: input[at] });
        }
        self.keep(input).map_err(tract_error)?;
        let image = TValue::from_const(self.image.clone());
        let results = self.state.run(tvec![image]).map_err(tract_error)?;
        let output = |(name, value): (&String, &TValue)| {
            let data = value.try_as_plain_ram()?.as_slice::<f32>()?.to_vec();
            Ok(Output { name: name.clone(), shape: value.shape().to_vec(), data })
        };
        let outputs = self.outputs.iter().zip(results.iter()).map(output);
        Ok(Outputs { outputs: outputs.collect::<TractResult<_>>().map_err(tract_error)? })
    }

    /// Copies the image to where tract reads it.
    fn keep(&mut self, input: &[f32]) -> TractResult<()> {
        if let Some(image) = Arc::get_mut(&mut self.image) {
            image.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?.copy_from_slice(input);
        } else {
            // A result that is the image itself may still be about.
            self.image = Arc::new(Tensor::from_shape(&self.input, input)?);
        }
        Ok(())
    }

    /// As [`Self::run`], with every quantized activation the plan makes (see [`Options::fuse`]).
    pub fn run_intermediates(
        &mut self,
        input: &[f32],
    ) -> Result<(Outputs, Vec<Intermediate>), EngineError> {
        let (outputs, probe) = self.run_probed(input, Probe::Values(Vec::new()))?;
        let Probe::Values(values) = probe else { unreachable!("set above") };
        let made = values.into_iter().map(|(activation, q)| Intermediate::new(activation, &q));
        Ok((outputs, made.collect()))
    }

    /// As [`Self::run`], with the time each of [`Self::layers`] took on the caller's `clock`.
    pub fn run_timed(
        &mut self,
        input: &[f32],
        clock: impl FnMut() -> Duration + Send + 'static,
    ) -> Result<(Outputs, Vec<Duration>), EngineError> {
        let times = Times { clock: Box::new(clock), ends: Vec::new() };
        let (outputs, probe) = self.run_probed(input, Probe::Times(times))?;
        let Probe::Times(times) = probe else { unreachable!("set above") };
        let mut durations = vec![Duration::ZERO; self.layers().len()];
        for pair in times.ends.windows(2) {
            if let [(_, start), (Some(layer), end)] = pair {
                durations[*layer] = end.saturating_sub(*start);
            }
        }
        Ok((outputs, durations))
    }

    fn run_probed(&mut self, input: &[f32], probe: Probe) -> Result<(Outputs, Probe), EngineError> {
        *self.probe.lock().unwrap_or_else(PoisonError::into_inner) = probe;
        let outputs = self.run(input);
        let mut shared = self.probe.lock().unwrap_or_else(PoisonError::into_inner);
        let probe = std::mem::replace(&mut *shared, Probe::Off);
        Ok((outputs?, probe))
    }
}

impl Outputs {
    pub fn get(&self, name: &str) -> Option<&Output> {
        self.outputs.iter().find(|output| output.name == name)
    }

    /// The output the caller cannot do without.
    pub fn require(&self, name: &str) -> Result<&Output, EngineError> {
        self.get(name).ok_or_else(|| EngineError::Output {
            name: name.to_owned(),
            found: self.outputs.iter().map(|output| output.name.clone()).collect(),
        })
    }
}

impl Intermediate {
    /// Bytes of an activation, in the file's own integers and order.
    pub(crate) fn new(activation: Activation, q: &[u8]) -> Self {
        let signed = activation.quant.signed;
        let offset = if signed { 128 } else { 0 };
        let values = activation.layout.positions().map(|at| i16::from(q[at]) - offset).collect();
        Self {
            name: activation.name,
            shape: activation.layout.dims,
            scale: activation.quant.scale,
            zero: i32::from(i16::from(activation.quant.zero) - offset),
            signed,
            values,
        }
    }

    /// The real values.
    pub fn dequantized(&self) -> Vec<f32> {
        let zero = self.zero as f32;
        self.values.iter().map(|&q| (f32::from(q) - zero) * self.scale).collect()
    }
}

fn isa(options: &Options) -> Result<Isa, EngineError> {
    let found = match &options.isa {
        Some(name) => Isa::from_name(name),
        None => Isa::from_env(),
    };
    found.map_err(|unknown| EngineError::Isa { reason: unknown.to_string() })
}

/// Outputs that are activations behind a DequantizeLinear: their shape, and how they were quantized.
fn dequantized(flow: &Flow) -> Vec<(String, Vec<usize>, Codes)> {
    let output = |(name, id): &(String, usize)| match &flow.floats[*id] {
        FloatValue::Integers { dims, source: Source::Dequantize(at), .. } => {
            let quant = flow.activations[*at].quant;
            let codes = Codes { scale: quant.scale, zero: quant.zero };
            Some((name.clone(), dims.clone(), codes))
        }
        _ => None,
    };
    flow.outputs.iter().filter_map(output).collect()
}

/// Multiplications of a tract model, as far as its operators tell.
fn float_macs(model: &TypedModel) -> u64 {
    let of_node = |node: &TypedNode| -> TractResult<u64> {
        let facts = model.node_input_facts(node.id)?;
        let costs = node.op.cost(&facts)?;
        let macs = costs.iter().filter(|(cost, _)| matches!(cost, Cost::FMA(_)));
        Ok(macs.filter_map(|(_, count)| count.to_i64().ok()).sum::<i64>().max(0) as u64)
    };
    model.nodes().iter().filter_map(|node| of_node(node).ok()).sum()
}
