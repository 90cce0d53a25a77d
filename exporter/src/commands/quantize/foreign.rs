//! A foreign file that somebody describes becomes a bundle.

use super::{Quantize, float_nodes};
use crate::{
    calibrate::{self, Sensitivity, Source},
    read::{
        described::{Described, Facts},
        foreign, origin, quantized,
    },
    verify::{Network, Shapes},
    write::{
        codes, manifest, observed,
        onnx::{Batch, quantized_model},
        package, provenance,
    },
};
use anyhow::{Context, Result, ensure};
use bundle::{Calibration, Manifest};
use prost::Message;
use std::{fs, path::Path};
use terminal::Terminal;
use toml::Table;
use tract_onnx::pb::ModelProto;

/// A foreign network in int8.
struct Rounded {
    described: Described,
    onnx: Vec<u8>,
    network: Network,
    calibration: Calibration,
    float_nodes: Vec<String>,
    sensitivities: Vec<Sensitivity>,
}

impl Quantize {
    pub(super) fn foreign(&self, path: &Path, terminal: Terminal) -> Result<()> {
        let key = self.sign.as_deref().map(keyring::read_private_key).transpose()?;
        ensure!(
            self.out.extension().is_none_or(|ending| ending != "onnx"),
            "{}: --manifest and --preset make a bundle, which is no ONNX file",
            self.out.display()
        );
        let file = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let digest = origin::digest_of_model(path)?;
        let name = || path.display().to_string();
        let came_quantized = quantized::is_quantized(&file).with_context(name)?;
        let rounded = if came_quantized {
            self.as_it_is(path, file, terminal)?
        } else {
            self.round(path, terminal)?
        };
        let Rounded { described, onnx, network, calibration, float_nodes, sensitivities } = rounded;
        let identity = self.identity.clone().or(&described);
        let origin = provenance::of_foreign(path, digest, came_quantized)?;
        let mut manifest =
            manifest::of_foreign(&described, calibration, float_nodes, origin, &identity);
        let codes = codes::of(&manifest.model, identity.codes.as_deref())?;
        let index = described.fit_on.as_deref().unwrap_or(&self.calibration);
        let (fitted, nothing) = (&described.operating_points, Table::new());
        let refits = self.refit(fitted, &nothing, index, &network, &mut manifest, terminal)?;
        let drift = self.reference(&network, &manifest, terminal)?;
        let bundle = package::seal(manifest, onnx, &network, &codes, (drift, None), key.as_ref())?;
        self.conclude(&bundle, &network, &sensitivities, (&refits, &[]), terminal)
    }

    /// Of a float file.
    fn round(&self, path: &Path, terminal: Terminal) -> Result<Rounded> {
        let foreign = foreign::open(path)?;
        let graph = &foreign.graph;
        let facts = Facts {
            name: graph.name.clone(),
            input: graph.input_shape,
            outputs: graph.outputs.iter().map(|output| output.name.clone()).collect(),
            quantized: false,
        };
        let described = self.describe(path, &facts)?;
        let meaning = meaning(&described);
        fits(&meaning, &Shapes::of(graph)?.zeros()).with_context(|| path.display().to_string())?;
        let source = Source {
            path,
            graph,
            weights: &foreign.weights,
            preprocess: described.preprocess,
            meaning: Some(meaning),
        };
        let outcome = calibrate::quantize(&self.rounding, &source, &self.calibration, terminal)?;
        let onnx = quantized_model(&outcome.model, Batch::One)?.encode_to_vec();
        let float_nodes = float_nodes(&outcome);
        Ok(Rounded {
            network: Network::open(&float_nodes, &onnx)?,
            calibration: manifest::calibration(&outcome),
            sensitivities: outcome.sensitivities,
            described,
            onnx,
            float_nodes,
        })
    }

    /// Of a file that came quantized: nothing of it changes.
    fn as_it_is(&self, path: &Path, onnx: Vec<u8>, terminal: Terminal) -> Result<Rounded> {
        let name = || path.display().to_string();
        self.rounding.refuse_for_quantized().with_context(name)?;
        let float_nodes = self.rounding.float().to_vec();
        let network = Network::open(&float_nodes, &onnx).with_context(name)?;
        let described = self.describe(path, &facts(&network, &onnx)?)?;
        let preprocess = &described.preprocess;
        let image = vec![0.0; preprocess.channels() * preprocess.height * preprocess.width];
        fits(&meaning(&described), &network.run(&image)?).with_context(name)?;
        let progress = terminal.progress(0).with_message("observing");
        let limit = self.rounding.images_limit();
        let calibration =
            observed::calibration(&network, &self.calibration, limit, preprocess, &progress)?;
        Ok(Rounded {
            described,
            onnx,
            network,
            calibration,
            float_nodes,
            sensitivities: Vec::new(),
        })
    }

    fn describe(&self, path: &Path, facts: &Facts) -> Result<Described> {
        let described = Described::of(self.manifest.as_deref(), self.preset, facts);
        described.with_context(|| format!("{} cannot be described", path.display()))
    }
}

/// A manifest that says no more than decoding needs.
fn meaning(described: &Described) -> Manifest {
    Manifest::foreign("", "", described.contract.clone(), described.preprocess)
}

/// Whether outputs of these shapes can mean what is said of them.
fn fits(meaning: &Manifest, outputs: &engine::Outputs) -> Result<()> {
    let size = [meaning.preprocess.height, meaning.preprocess.width];
    engine::interpret(outputs, meaning, size).context("an output is not what is said of it")?;
    Ok(())
}

/// What a loaded network says of itself.
fn facts(network: &Network, onnx: &[u8]) -> Result<Facts> {
    let graph = ModelProto::decode(onnx)?.graph.context("the ONNX file has no graph")?;
    Ok(Facts {
        name: graph.name,
        input: network.input_shape(),
        outputs: graph.output.into_iter().map(|output| output.name).collect(),
        quantized: true,
    })
}
