//! What happens to a network between its float form and its eight-bit form, and the two ways to run it here.
//!
//! ```text
//! interpreter  the float meaning of a graph, on candle
//! fold         batch normalisation into convolutions; written out as convolutions: pool (attention pools), transposed
//!              (transposed convolutions), affine (gains and shifts of channels)
//! shares       what each place adds to an attention pool
//! equalize     ranges of channels evened out between layers
//! smooth       large channels of normalised tokens moved into the layers that read them
//! quantized    Plan: which tensors carry codes; Quantized: every code
//! adaround     weights rounded by their effect; bias: biases make up for the mean error
//! simulate     Quantized in float: close enough to choose by
//! noise        random numbers from a seed
//! ```

pub(crate) mod adaround;
mod affine;
pub(crate) mod bias;
pub(crate) mod equalize;
pub(crate) mod fold;
pub(crate) mod interpreter;
pub(crate) mod noise;
mod pool;
pub(crate) mod quantized;
mod rows;
pub(crate) mod shares;
pub(crate) mod simulate;
pub(crate) mod smooth;
mod transposed;

/// Lets whatever reads or is the tensor `old` read or be `new`.
fn replace(graph: &mut graph::Graph, old: &str, new: &str) {
    let inputs = graph.nodes.iter_mut().flat_map(|node| &mut node.inputs);
    let outputs = graph.outputs.iter_mut().map(|output| &mut output.node);
    inputs.chain(outputs).filter(|name| *name == old).for_each(|name| *name = new.to_owned());
}
