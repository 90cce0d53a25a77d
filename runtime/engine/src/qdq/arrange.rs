//! Puts tensors in the order that an operator needs: a step that copies them, where they lie otherwise.
//!
//! ```text
//! convolutions, pooling, resizing, what is not listed      plain: channels innermost
//! linear layers on tokens                                  ONNX's order: features innermost
//! softmax, layer normalisation                             the axis they go along innermost
//! products of two activations                              any order with two axes of products at most
//! element by element                                       any order without gaps, the same for both
//! ```

use super::dequantized::{Dequantized, View};
use super::flow::Flow;
use super::operations::UNARY;
use super::walk::{Value, Walk};
use crate::EngineError;
use crate::layout::{Axis, Layout, pairs};
use crate::onnx::attributes::NodeReader;
use crate::quantized::{Activation, Op, Piece, Step};

impl<'a> Walk<'a> {
    /// Copies the inputs of a node that lie otherwise than its operator needs them.
    pub(super) fn arrange_inputs(&mut self, reader: &NodeReader<'a>) -> Result<(), EngineError> {
        let op = reader.node.op_type.as_str();
        if op == "Concat" {
            self.lay_constants(reader)?;
        }
        for at in 0..reader.node.input.len() {
            let Some(name) = reader.input(at) else { continue };
            let Some(Value::Dequantized(view)) = self.values.get(name) else { continue };
            let view = view.clone();
            let weights = (1..3).any(|at| self.weights(reader, at).is_some());
            let wanted = match op {
                "InstanceNormalization" if self.is_grouped_image(&view) => continue,
                "Concat" | "Split" | "Reshape" | "Flatten" | "Identity" | "Dropout" | "Squeeze"
                | "Unsqueeze" => continue,
                "Pad" if reader.pads_nothing() => continue,
                "Slice" if reader.slice(&view.layout)?.is_some() => continue,
                "Transpose" | "Slice" | "Gather" => aligned(&view.layout),
                "MatMul" | "Gemm" if weights => {
                    if self.is_flat_image(&view) {
                        continue;
                    } else {
                        Layout::dense(&view.layout.dims)
                    }
                }
                "MatMul" => aligned(&view.layout),
                "Softmax" | "LayerNormalization" => {
                    let (rank, last) = (view.layout.dims.len(), -1);
                    innermost(&view.layout, reader.axis(reader.int("axis", last), rank)?)
                }
                "ReduceMean" if view.layout.dims.len() == 3 => Layout::dense(&view.layout.dims),
                "Add" | "Mul" | "Sub" if at == 1 => self.like_first(reader, &view),
                op if ELEMENTWISE.contains(&op) || UNARY.contains(&op) => view.layout.compact(),
                _ => Layout::plain(&view.layout.dims),
            };
            let arranged = match op {
                op if SEES_SHAPES.contains(&op) => self.reshaped(&view, &wanted),
                // These read a part of an activation where it lies.
                "Transpose" | "Slice" | "Gather" | "MatMul" | "Gemm" => {
                    self.arranged(&view, &wanted)
                }
                _ => self.alone(&view, &wanted),
            };
            self.values.insert(name, Value::Dequantized(arranged));
        }
        Ok(())
    }

    /// Whether it is an image whose channels were reshaped into groups.
    fn is_grouped_image(&self, view: &View) -> bool {
        let activation = &self.flow.activations[view.at];
        Dequantized { activation, view: view.clone() }.lies_as_image()
    }

    /// Whether a linear layer may read it as an image that was flattened.
    fn is_flat_image(&self, view: &View) -> bool {
        let shape = self.flow.activations[view.at].shape;
        let image = Layout::plain(&[1, shape.c, shape.h, shape.w]);
        view.layout.dims == [1, shape.len()]
            && view.layout.lies_as(&image)
            && view.layout.axes().is_none()
    }

    /// As [`Self::arranged`], for operators that take the activation's own shape for the tensor's.
    fn reshaped(&mut self, view: &View, wanted: &Layout) -> View {
        let arranged = self.arranged(view, wanted);
        let same = self.flow.activations[arranged.at].shape == wanted.shape();
        if same { arranged } else { self.copied(&arranged, wanted) }
    }

    /// As [`Self::arranged`], for operators that take the whole activation for the tensor: the first of its values may be
    /// all of a slice.
    pub(super) fn alone(&mut self, view: &View, wanted: &Layout) -> View {
        let whole = view.layout.len() == self.flow.activations[view.at].shape.len();
        if whole { self.arranged(view, wanted) } else { self.moved(view, wanted) }
    }

    /// The order of the first operand, where it has the same dimensions.
    fn like_first(&self, reader: &NodeReader<'a>, second: &View) -> Layout {
        match reader.input(0).and_then(|name| self.values.get(name)) {
            Some(Value::Dequantized(first)) if first.layout.dims == second.layout.dims => {
                first.layout.clone()
            }
            _ => second.layout.compact(),
        }
    }

    /// The same values where `wanted` has them.
    pub(super) fn arranged(&mut self, view: &View, wanted: &Layout) -> View {
        if view.layout == *wanted || view.layout.dims == wanted.dims && view.layout.lies_as(wanted)
        {
            return view.clone();
        }
        self.moved(view, wanted)
    }

    fn moved(&mut self, view: &View, wanted: &Layout) -> View {
        if pairs(&view.layout, wanted).is_none() {
            // By way of ONNX's own order, which any other can be read from.
            let dense = self.copied(view, &Layout::dense(&wanted.dims));
            return self.copied(&dense, wanted);
        }
        self.copied(view, wanted)
    }

    pub(super) fn copied(&mut self, view: &View, wanted: &Layout) -> View {
        let output = self.flow.activations.len();
        let Activation { name, quant, .. } = &self.flow.activations[view.at];
        let (name, quant) = (format!("{name}.copy{output}"), *quant);
        let piece = Piece { from: view.layout.clone(), to: wanted.clone(), table: None };
        let step = Step {
            name: name.clone(),
            op: Op::Copy(vec![piece]),
            inputs: vec![view.at],
            output,
            clamp: [0, 255],
        };
        let Flow { activations, steps, .. } = &mut self.flow;
        activations.push(Activation { name, shape: wanted.shape(), quant, layout: wanted.clone() });
        steps.push((self.levels[view.at], step));
        self.levels.push(self.levels[view.at]);
        View { at: output, layout: wanted.clone() }
    }
}

/// Operators that take every value for itself, beside [`UNARY`].
const ELEMENTWISE: &[&str] = &["Add", "Clip", "Div", "Mul", "Relu", "Sub"];

/// Operators over images whose steps look at the shapes of their inputs.
const SEES_SHAPES: &[&str] = &[
    "AveragePool",
    "BatchNormalization",
    "ConvTranspose",
    "GlobalAveragePool",
    "GroupNormalization",
    "InstanceNormalization",
    "MaxPool",
    "Pad",
    "ReduceMean",
    "Resize",
];

/// Lies as it does, if its axes are those of its dimensions.
fn aligned(layout: &Layout) -> Layout {
    if layout.axes().is_some() { layout.clone() } else { Layout::dense(&layout.dims) }
}

/// An order without gaps whose innermost axis is `axis`: as it lies, or ONNX's with that axis moved.
fn innermost(layout: &Layout, axis: usize) -> Layout {
    let next = |axes: &[Axis]| axes[axis].len == 1 || axes[axis].stride == 1;
    if layout.is_whole() && layout.axes().is_some_and(next) {
        return layout.clone();
    }
    let others = (0..layout.dims.len()).filter(|other| *other != axis);
    Layout::ordered(&layout.dims, &others.chain([axis]).collect::<Vec<_>>())
}
