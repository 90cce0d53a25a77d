//! The deployed network as an ONNX file, in float or quantized (QDQ).
//!
//! Both writers share [`operator::write`], the one place that maps an operation to ONNX.

mod attention;
mod builder;
mod float;
mod operator;
mod qdq;

pub(crate) use builder::Batch;
pub(crate) use float::float_model;
pub(crate) use qdq::quantized_model;

#[cfg(test)]
mod tests;
