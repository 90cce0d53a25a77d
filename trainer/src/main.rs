//! Pre-training, fine-tuning, evaluation.

fn main() {}
