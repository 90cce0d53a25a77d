//! What a network gives.

use crate::data::pictures::Pictures;
use anyhow::Result;
use std::collections::HashMap;
use tch::Tensor;

/// What the network gave, by output name.
pub type Outputs = HashMap<String, Tensor>;

/// What the network's output `name` is for all pictures, one row each, on the CPU.
pub fn rows(
    pictures: &Pictures,
    batch: usize,
    name: &str,
    forward: &dyn Fn(&Tensor) -> Outputs,
) -> Result<Tensor> {
    let all: Vec<usize> = (0..pictures.len()).collect();
    let parts: Result<Vec<Tensor>> = all
        .chunks(batch)
        .map(|numbers| {
            let outputs = forward(&pictures.batch(numbers)?);
            Ok(outputs[name].to_device(tch::Device::Cpu))
        })
        .collect();
    Ok(Tensor::cat(&parts?, 0))
}
