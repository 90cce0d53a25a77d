//! Real DICOM radiographs, and dcmtk's `storescu` to send them as an X-ray machine would.

use crate::tool::{python, text};
use anyhow::{Context, Result, bail, ensure};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Files of PyPI's `pydicom-data`: NEMA's WG-04 radiographs RG1 (a chest) and RG3 (an ankle).
pub fn nema(name: &str) -> Result<PathBuf> {
    let output = python()
        .args(["-c", "import data_store, os; print(os.path.dirname(data_store.__file__))"])
        .output()
        .context("cannot start .venv/bin/python: run `make setup`")?;
    ensure!(output.status.success(), "pydicom-data is missing: {}", text(&output.stderr));
    let path = Path::new(&text(&output.stdout)).join("data").join(name);
    ensure!(path.is_file(), "pydicom-data has no {}", path.display());
    Ok(path)
}

/// The same pixels under another transfer syntax and a new SOP instance UID, by dcmtk.
///
/// `tool` is `dcmcrle` (RLE) or `dcmcjpeg` (JPEG lossless).
pub fn transcode(tool: &str, from: &Path, to: &Path) -> Result<()> {
    peer(Command::new(tool).args(["+ua"]).args([from, to]))
}

/// Transfer syntaxes as `storescu` proposes them; it never converts.
#[derive(Clone, Copy, Debug)]
pub enum Syntax {
    Uncompressed,
    JpegLossless,
    Rle,
}

/// Sends a file with C-STORE; an error names what dcmtk said.
pub fn send(to: SocketAddr, file: &Path, syntax: Syntax) -> Result<()> {
    let propose = match syntax {
        Syntax::Uncompressed => "-x=",
        Syntax::JpegLossless => "-xs",
        Syntax::Rle => "-xr",
    };
    let (host, port) = (to.ip().to_string(), to.port().to_string());
    let command = &mut Command::new("storescu");
    peer(command.args(["-aec", "CXR-EDGE", propose, &host, &port]).arg(file))
}

/// C-ECHO.
pub fn echo(to: SocketAddr) -> Result<()> {
    peer(Command::new("echoscu").args([
        "-aec",
        "CXR-EDGE",
        &to.ip().to_string(),
        &to.port().to_string(),
    ]))
}

/// The SOP instance UID of a file, as pydicom reads it.
pub fn sop_instance_uid(file: &Path) -> Result<String> {
    attribute(file, "SOPInstanceUID")
}

/// An attribute of a file by its keyword, as pydicom reads it.
pub fn attribute(file: &Path, keyword: &str) -> Result<String> {
    let script = "import sys, pydicom; print(pydicom.dcmread(sys.argv[1], stop_before_pixels=True)[sys.argv[2]].value)";
    let output = python().args(["-c", script]).arg(file).arg(keyword).output()?;
    ensure!(output.status.success(), "{}: {}", file.display(), text(&output.stderr));
    Ok(text(&output.stdout))
}

fn peer(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot start {name}: install dcmtk"))?;
    if !output.status.success() {
        bail!(
            "{name} ended with {}: {}{}",
            output.status,
            text(&output.stdout),
            text(&output.stderr)
        );
    }
    Ok(())
}
