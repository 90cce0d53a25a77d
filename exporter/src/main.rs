//! Distillation, calibration, quantization, bundles.

fn main() {}
