//! Image operators beside ONNX Runtime: `tests/oracles/image_operators.py` draws them and has it run them in float
//! between DequantizeLinear and QuantizeLinear.

use engine::{Engine, Options};
use std::path::Path;
use std::process::Command;

#[test]
fn every_code_of_an_image_operator_is_onnx_runtimes_within_one_step() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let python = root.join(".venv/bin/python");
    let ready = Command::new(&python).args(["-c", "import onnx, onnxruntime"]).output();
    if !ready.is_ok_and(|output| output.status.success()) {
        return skip::because(format_args!("{} has no onnxruntime: make setup", python.display()));
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("image-operators");
    std::fs::create_dir_all(&folder).unwrap();
    let script = root.join("tests/oracles/image_operators.py");
    let output = Command::new(&python).arg(script).arg(&folder).args(["7", "30"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let cases = std::fs::read_to_string(folder.join("cases.txt")).unwrap();
    assert!(cases.lines().count() > 500, "{} cases", cases.lines().count());
    let (mut values, mut apart, mut wrong) = (0, 0, Vec::new());
    for case in cases.lines() {
        let number = case.split(' ').next().unwrap();
        let read = |kind: &str| std::fs::read(folder.join(format!("{number}.{kind}"))).unwrap();
        let image: Vec<f32> =
            read("f32").as_chunks::<4>().0.iter().map(|x| f32::from_le_bytes(*x)).collect();
        let mut engine = match Engine::from_onnx(&read("onnx"), &[], &Options::threads(1)) {
            Ok(engine) => engine,
            Err(error) => {
                wrong.push(format!("{case}: {error}"));
                continue;
            }
        };
        let float = &engine.integer_share().float_nodes;
        if !float.is_empty() {
            wrong.push(format!("{case}: in float {float:?}"));
            continue;
        }
        let (_, seen) = engine.run_intermediates(&image).unwrap();
        let (ours, theirs) = (&seen.last().unwrap().values, read("codes"));
        assert_eq!(ours.len(), theirs.len(), "{case}");
        let steps = ours.iter().zip(&theirs).map(|(a, b)| a.abs_diff(i16::from(*b)));
        let most = steps.clone().max().unwrap();
        if most > 1 {
            wrong.push(format!("{case}: {most} steps"));
        }
        values += ours.len();
        apart += steps.filter(|steps| *steps == 1).count();
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    // Ties, and what f32 does in another order: few.
    assert!(apart * 50 < values, "{apart} of {values} codes are one step apart");
}
