//! What the maker of a bundle says of a network of another tool: `model.toml` and presets, held to the network.
//!
//! ```text
//! file      the text, key by key; a key that nobody knows is refused
//! presets   what is known of published networks
//! input     → graph::Preprocess
//! outputs   → bundle::Contract
//! boxes     → bundle::Boxes
//! ```
//!
//! `exporter/docs/foreign.md` has every key. Start at [`Described::of`].

mod boxes;
mod file;
mod input;
mod names;
mod outputs;
mod presets;
#[cfg(test)]
mod tests;

pub(crate) use presets::Preset;

use anyhow::{Context, Result, ensure};
use bundle::Contract;
use file::ModelFile;
use graph::{Fit, Preprocess};
use metrics::operating::OperatingPoint;
use std::path::{Path, PathBuf};

/// What the network itself says.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// What its file calls it.
    pub(crate) name: String,
    /// `[C, H, W]`
    pub(crate) input: [usize; 3],
    pub(crate) outputs: Vec<String>,
    /// Whether it came quantized.
    pub(crate) quantized: bool,
}

/// A network of another tool, understood.
#[derive(Clone, Debug)]
pub(crate) struct Described {
    pub(crate) preprocess: Preprocess,
    pub(crate) contract: Contract,
    /// Thresholds that a person gives.
    pub(crate) operating_points: Vec<OperatingPoint>,
    /// Index to fit the others on, where it is not the calibration's.
    pub(crate) fit_on: Option<PathBuf>,
    /// File of codes for labels.
    pub(crate) codes: Option<PathBuf>,
    pub(crate) name: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) licence: Option<String>,
    pub(crate) intended_use: Option<String>,
}

impl Described {
    /// By a file, a preset, or both: the file's keys replace the preset's. Errors name the file.
    pub(crate) fn of(file: Option<&Path>, preset: Option<Preset>, facts: &Facts) -> Result<Self> {
        let read = file.map(ModelFile::read).transpose()?.unwrap_or_default();
        let beside = file.and_then(Path::parent).unwrap_or(Path::new(""));
        let described = Self::held(read, preset, facts, beside);
        match (file, preset) {
            (Some(file), _) => described.with_context(|| file.display().to_string()),
            (None, Some(preset)) => described.with_context(|| format!("--preset {preset}")),
            (None, None) => described,
        }
    }

    fn held(file: ModelFile, preset: Option<Preset>, facts: &Facts, beside: &Path) -> Result<Self> {
        let preprocess = input::preprocess(&file.input, preset, facts.input)?;
        let contract = Contract {
            architecture: file.architecture.unwrap_or_else(|| facts.name.clone()),
            came_quantized: facts.quantized,
            outputs: outputs::meanings(file.outputs, preset, &facts.outputs)?,
        };
        contract.check().map_err(anyhow::Error::msg)?;
        let points = file.operating_points.unwrap_or_default();
        Ok(Self {
            preprocess,
            operating_points: outputs::thresholds(points.thresholds, &contract)?,
            contract,
            fit_on: points.index.map(|path| beside.join(path)),
            codes: file.codes.map(|path| beside.join(path)),
            name: file.name,
            version: file.version,
            licence: file.licence,
            intended_use: file.intended_use,
        })
    }
}

/// The input of a network that nobody describes: mean and deviation of pixels in `[0, 1]`.
pub(crate) fn undescribed(
    [channels, height, width]: [usize; 3],
    (mean, std): (f32, f32),
    fit: Fit,
) -> Result<Preprocess> {
    ensure!(channels == 1 || channels == 3, "{channels} channels, expected 1 or 3");
    let others = (channels == 3).then_some([graph::Normalisation { mean, std }; 2]);
    Ok(Preprocess { height, width, mean, std, fit, others, ..Preprocess::PRIOR })
}
