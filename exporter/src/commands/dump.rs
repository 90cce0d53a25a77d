//! `exporter dump` and `exporter inputs` (hidden): what goes in and through, as NumPy files.
//!
//! `tests/oracles/onnx_qdq.py` runs the dumped `model.onnx` in ONNX Runtime and compares every
//! activation; `tests/oracles/ptq_compare.py` quantizes with other tools on the same inputs.

use crate::{
    read::{
        checkpoint::Checkpoint,
        images::{ImageSet, Input},
    },
    verify::{Activation, Network},
    write::{self, npy},
};
use anyhow::{Context, Result, ensure};
use bundle::{Bundle, section};
use clap::Args;
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
};
use terminal::Terminal;

/// Writes model.onnx and, for each picture, input, activations and outputs as .npy
#[derive(Debug, Args)]
pub(crate) struct Dump {
    /// Bundle, or a quantized network (*.onnx)
    file: PathBuf,
    /// Pictures besides the bundle's golden vectors; of a network its inputs, raw little-endian f32
    images: Vec<PathBuf>,
    /// Folder to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Writes the network inputs of a folder or index as one .npy, [N, 1, H, W]
#[derive(Debug, Args)]
pub(crate) struct Inputs {
    /// Folder of images, or an index (its test split is never used)
    images: PathBuf,
    /// Checkpoint whose preprocessing to use
    #[arg(long, value_name = "DIR")]
    checkpoint: PathBuf,
    /// At most this many, spread evenly
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// File to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Inputs {
    pub(crate) fn run(self, terminal: Terminal) -> Result<()> {
        let preprocess = Checkpoint::open(&self.checkpoint)?.config.preprocess;
        let paths = ImageSet::find(&self.images, self.limit)?.paths;
        let mut pixels = Vec::new();
        for path in &paths {
            pixels.extend(Input::read(path, &preprocess)?.pixels);
        }
        let shape = [paths.len(), 1, preprocess.height, preprocess.width];
        write::file(&self.out, &npy::f32(&shape, &pixels))?;
        let document = json!({ "file": self.out, "images": paths.len() });
        terminal.print(&document, &format!("{}: {} images", self.out.display(), paths.len()))
    }
}

impl Dump {
    pub(crate) fn run(self, terminal: Terminal) -> Result<()> {
        let onnx = self.file.extension().is_some_and(|extension| extension == "onnx");
        let count = if onnx { self.network() } else { self.bundle() }?;
        let document = json!({ "folder": self.out, "pictures": count });
        terminal.print(&document, &format!("{}: {count} pictures", self.out.display()))
    }

    /// Returns the number of pictures.
    fn bundle(&self) -> Result<usize> {
        let bundle = Bundle::open(&self.file)?;
        let preprocess = bundle.manifest.preprocess;
        let golden = bundle.golden()?;
        let mut inputs: Vec<Vec<f32>> =
            golden.vectors.iter().map(|vector| vector.input(&preprocess)).collect();
        for path in &self.images {
            let radiograph = radiograph::read_file(path)?;
            inputs.push(radiograph::network_input(&radiograph.image, &preprocess));
        }
        let onnx = bundle.require(section::MODEL)?;
        self.all(&Network::open(&bundle.manifest.float_nodes, onnx)?, onnx, &inputs)
    }

    fn network(&self) -> Result<usize> {
        ensure!(!self.images.is_empty(), "a network has no pictures of its own: name its inputs");
        let onnx = fs::read(&self.file).with_context(|| self.file.display().to_string())?;
        let network = Network::open(&[], &onnx)?;
        let expected = 4 * network.input_shape().iter().product::<usize>();
        let read = |path: &PathBuf| -> Result<Vec<f32>> {
            let bytes = fs::read(path).with_context(|| path.display().to_string())?;
            let (path, found) = (path.display(), bytes.len());
            ensure!(found == expected, "{path}: {found} bytes, expected {expected}");
            Ok(bytes.as_chunks::<4>().0.iter().map(|x| f32::from_le_bytes(*x)).collect())
        };
        let inputs = self.images.iter().map(read).collect::<Result<Vec<_>>>()?;
        self.all(&network, &onnx, &inputs)
    }

    fn all(&self, network: &Network, onnx: &[u8], inputs: &[Vec<f32>]) -> Result<usize> {
        write::file(&self.out.join(section::MODEL), onnx)?;
        let [c, h, w] = network.input_shape();
        for (at, input) in inputs.iter().enumerate() {
            dump(network, &[1, c, h, w], input, &self.out.join(at.to_string()))?;
        }
        Ok(inputs.len())
    }
}

/// One run: the input `shape`, every activation and every output.
pub(crate) fn dump(network: &Network, shape: &[usize], input: &[f32], folder: &Path) -> Result<()> {
    let (outputs, activations) = network.infer_all(input)?;
    write::file(&folder.join("input.npy"), &npy::f32(shape, input))?;
    for Activation { name, dims, codes, .. } in &activations {
        let path = npy_path(&folder.join("activations"), name);
        write::file(&path, &npy::i16(dims, codes))?;
    }
    for (name, values) in &outputs {
        let path = npy_path(&folder.join("outputs"), name);
        write::file(&path, &npy::f32(&[values.len()], values))?;
    }
    Ok(())
}

/// A file in `folder` whatever a tensor is called: names of other tools begin with a slash, and may hold `..`.
fn npy_path(folder: &Path, name: &str) -> PathBuf {
    let name = name.replace('%', "%25").replace('/', "%2F");
    folder.join(format!("{name}.npy"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_of_any_name_stays_in_its_folder() {
        for (name, file) in [
            ("layer1.0.conv1.q", "layer1.0.conv1.q.npy"),
            ("/encoder/conv.q", "%2Fencoder%2Fconv.q.npy"),
            ("../../etc/passwd", "..%2F..%2Fetc%2Fpasswd.npy"),
            ("a%2Fb", "a%252Fb.npy"),
        ] {
            assert_eq!(npy_path(Path::new("out/0"), name), Path::new("out/0").join(file));
        }
    }
}
