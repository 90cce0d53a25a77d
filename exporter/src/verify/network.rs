//! The bundle's network as the box runs it, seen with the exporter's names.

use crate::passes::interpreter::{Outputs, output};
use anyhow::{Context, Result};
use bundle::Manifest;
use engine::{Engine, IntegerShare, Intermediate, Options, ZeroShot};
use language::{Embedded, Language, Rounding, Space};
use std::cell::RefCell;

/// A quantized network, loaded into the engine.
pub(crate) struct Network {
    /// Running needs `&mut`, asking does not.
    engine: RefCell<Engine>,
}

/// One quantized tensor of one inference.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Activation {
    /// Name of the node whose value it is.
    pub(crate) tensor: String,
    /// Name of its codes in the ONNX file; of ours `{tensor}.q`.
    pub(crate) name: String,
    /// `[1, C, H, W]` or `[1, C]`.
    pub(crate) dims: Vec<usize>,
    pub(crate) codes: Vec<i16>,
    pub(crate) scale: f32,
    pub(crate) zero: i32,
    pub(crate) signed: bool,
    /// What the codes stand for.
    pub(crate) values: Vec<f32>,
}

impl Network {
    /// With the nodes that may run in float.
    pub(crate) fn open(float_nodes: &[String], onnx: &[u8]) -> Result<Self> {
        // Unfused, every activation of the graph can be seen; the results are the same.
        let options = Options { fuse: false, ..Options::threads(1) };
        let engine = Engine::from_onnx(onnx, float_nodes, &options)
            .context("the engine refuses the network")?;
        Ok(Self { engine: RefCell::new(engine) })
    }

    /// `[C, H, W]`
    pub(crate) fn input_shape(&self) -> [usize; 3] {
        let engine = self.engine.borrow();
        let [_, c, h, w] = engine.input_shape() else { unreachable!("the engine takes images") };
        [*c, *h, *w]
    }

    pub(crate) fn integer_share(&self) -> IntegerShare {
        self.engine.borrow().integer_share().clone()
    }

    /// How it rounds images in the joint space.
    pub(crate) fn rounding(&self) -> Result<Rounding> {
        Ok(self.engine.borrow().rounding()?)
    }

    /// An image in the joint space, in the integers that a box scores findings in words on.
    pub(crate) fn embedded(&self, outputs: &Outputs, space: &Space) -> Result<Embedded> {
        self.rounding()?.embedded(space, |name| output(outputs, name))
    }

    /// Findings in words as a box answers them.
    pub(crate) fn zero_shot(&self, language: &Language, manifest: &Manifest) -> Result<ZeroShot> {
        let engine = self.engine.borrow();
        ZeroShot::new(language.clone(), Vec::new(), manifest, &engine)
            .context("no box would take these findings in words")
    }

    /// Outputs for one input `[C, H, W]`.
    pub(crate) fn run(&self, input: &[f32]) -> Result<engine::Outputs> {
        Ok(self.engine.borrow_mut().run(input)?)
    }

    /// [`Self::run`], by name.
    pub(crate) fn infer(&self, input: &[f32]) -> Result<Outputs> {
        Ok(named(self.run(input)?))
    }

    /// [`Self::infer`], with every quantized activation.
    pub(crate) fn infer_all(&self, input: &[f32]) -> Result<(Outputs, Vec<Activation>)> {
        let (outputs, activations) = self.engine.borrow_mut().run_intermediates(input)?;
        Ok((named(outputs), activations.into_iter().map(Activation::from).collect()))
    }
}

fn named(outputs: engine::Outputs) -> Outputs {
    outputs.outputs.into_iter().map(|output| (output.name, output.data)).collect()
}

impl From<Intermediate> for Activation {
    fn from(seen: Intermediate) -> Self {
        let values = seen.dequantized();
        let tensor = seen.name.strip_suffix(".q").unwrap_or(&seen.name).to_owned();
        let Intermediate { name, shape: dims, values: codes, scale, zero, signed } = seen;
        Self { tensor, name, dims, codes, scale, zero, signed, values }
    }
}
