//! Writes every quantized activation of one run, for oracles in other languages.
//!
//! `intermediates MODEL.onnx INPUT.f32 OUT`: `INPUT.f32` holds the input's floats, little endian. `OUT.tsv`
//! gets one line a tensor (kind, name, shape, scale, zero, first value, values) and `OUT.bin` the values:
//! i16 for activations (`q`), f32 for outputs (`y`), little endian.

use engine::{Engine, Options};
use std::error::Error;
use std::fmt::Write;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [model, input, out] = &arguments[..] else {
        return Err("expected MODEL.onnx INPUT.f32 OUT".into());
    };
    let options = Options { threads: 1, isa: None, fuse: false };
    let mut engine = Engine::from_onnx(&fs::read(model)?, &[], &options)?;
    let bytes = fs::read(input)?;
    let image: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
    let (outputs, activations) = engine.run_intermediates(&image)?;

    let (mut table, mut values) = (String::new(), Vec::new());
    for a in &activations {
        let shape = a.shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("x");
        let (at, count) = (values.len(), a.values.len());
        writeln!(table, "q\t{}\t{shape}\t{}\t{}\t{at}\t{count}", a.name, a.scale, a.zero)?;
        values.extend(a.values.iter().flat_map(|q| q.to_le_bytes()));
    }
    for y in &outputs.outputs {
        let shape = y.shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("x");
        let (at, count) = (values.len(), y.data.len());
        writeln!(table, "y\t{}\t{shape}\t1\t0\t{at}\t{count}", y.name)?;
        values.extend(y.data.iter().flat_map(|x| x.to_le_bytes()));
    }
    fs::write(format!("{out}.tsv"), table)?;
    fs::write(format!("{out}.bin"), values)?;
    Ok(())
}
