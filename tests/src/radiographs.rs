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

/// NEMA's chest, an eighth as wide and high; its UIDs end in eleven digits that every sender replaces.
pub fn small_chest(folder: &Path) -> Result<PathBuf> {
    let script = "import sys, pydicom\n\
        d = pydicom.dcmread(sys.argv[1]); p = d.pixel_array[::8, ::8].copy()\n\
        times = ('AcquisitionDateTime', 'AcquisitionDate', 'AcquisitionTime', 'ContentDate', 'ContentTime')\n\
        for name in times: d.pop(name, None)\n\
        d.Rows, d.Columns = p.shape; d.KVP = '70.77'; d.PixelData = p.tobytes()\n\
        d.StudyInstanceUID = '1.2.3.77.0.90000000000'; d.SOPInstanceUID = '1.2.3.77.1.90000000000'\n\
        d.file_meta.MediaStorageSOPInstanceUID = d.SOPInstanceUID\n\
        d.save_as(sys.argv[2])\n";
    let path = folder.join("chest.dcm");
    let made = python().args(["-c", script]).arg(nema("RG1_UNCR.dcm")?).arg(&path).output()?;
    ensure!(made.status.success(), "{}", text(&made.stderr));
    Ok(path)
}

/// The same at another tube voltage, below 100 kV.
pub fn at_kilovolts(chest: &[u8], kilovolts: f64) -> Vec<u8> {
    let mut bytes = chest.to_vec();
    let own = format!("{kilovolts:.2} ");
    if let Some(at) = bytes.windows(6).position(|text| text == b"70.77 ") {
        bytes[at..at + own.len()].copy_from_slice(own.as_bytes());
    }
    bytes
}

/// The SOP instance UID of [`study`] `number`.
pub fn study_uid(number: usize) -> String {
    format!("1.2.3.77.1.9{number:010}")
}

/// The chest as a study of its own.
pub fn study(chest: &[u8], number: usize) -> Vec<u8> {
    let mut bytes = chest.to_vec();
    for kind in [b"1.2.3.77.0.", b"1.2.3.77.1."] {
        let template = [&kind[..], b"90000000000"].concat();
        let own = [&kind[..], format!("9{number:010}").as_bytes()].concat();
        for at in 0..bytes.len() - template.len() {
            if bytes[at..].starts_with(&template) {
                bytes[at..at + own.len()].copy_from_slice(&own);
            }
        }
    }
    bytes
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
