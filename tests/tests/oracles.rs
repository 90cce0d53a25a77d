//! Independent oracles, in Python: ONNX Runtime for the int8 network, scikit-learn and pycocotools for metrics.

use anyhow::Result;
use e2e::pipeline::Work;
use e2e::radiographs;
use e2e::tool::{binaries, exporter, python, root};
use std::ffi::OsStr;

fn oracle(script: &str, args: &[&OsStr]) -> Result<()> {
    let output = python().arg(root().join("tests/oracles").join(script)).args(args).output()?;
    assert!(
        output.status.success(),
        "{script}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

#[test]
fn every_activation_equals_onnx_runtimes_within_one_step() -> Result<()> {
    let work = Work::for_tests()?;
    let folder = tempfile::tempdir()?;
    exporter()
        .arg("dump")
        .arg(work.bundle())
        .arg(radiographs::nema("RG1_UNCR.dcm")?)
        .arg("--out")
        .arg(folder.path())
        .run()?;
    oracle("onnx_qdq.py", &[folder.path().as_os_str()])
}

#[test]
fn metrics_equal_scikit_learns_and_pycocotools() -> Result<()> {
    oracle("metrics.py", &[binaries().join("trainer").as_os_str()])
}
