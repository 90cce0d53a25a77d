//! How a network is rounded, as flags of the verbs that round one.

use anyhow::{Result, bail, ensure};
use calibration::Method;
use clap::Args;

/// How a network is rounded.
#[derive(Debug, Args)]
pub(crate) struct RoundingOptions {
    /// How ranges are chosen: minmax, moving-average, percentile (or percentile:P), entropy, mse, image-mse or auto
    #[arg(long, value_name = "METHOD", default_value_t = Method::USUAL)]
    pub(super) observer: Method,
    /// Calibrate on at most this many images, spread evenly
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) images_limit: u64,
    /// Leave biases as they are instead of making up for the mean error of rounded weights
    #[arg(long)]
    pub(super) no_bias_correction: bool,
    /// Even out the ranges of channels between layers first
    #[arg(long)]
    pub(super) equalize: bool,
    /// Round weights by their effect on each layer's output instead of to the nearest (AdaRound)
    #[arg(long)]
    pub(super) adaround: bool,
    /// Signed activations around 0, as TensorRT wants them
    #[arg(long)]
    pub(crate) symmetric: bool,
    /// Leave this convolution or linear layer in float; may be repeated. The bundle says so
    #[arg(long, value_name = "NODE")]
    pub(super) float: Vec<String>,
    /// Leave the most sensitive layers in float until no task loses more than this share of its metric
    #[arg(long, value_name = "SHARE")]
    pub(super) max_drop: Option<f64>,
    /// Rank layers by the noise that rounding each alone brings
    #[arg(long)]
    pub(super) sensitivity: bool,
    /// Keep all of detection on integers: its coarsest level, and its last convolutions even where that costs more than 1 %
    #[arg(long)]
    pub(super) int8_detection: bool,
}

impl RoundingOptions {
    /// What clap cannot check.
    pub(super) fn check(&self) -> Result<()> {
        if let Some(share) = self.max_drop {
            ensure!(
                (0.0..1.0).contains(&share),
                "--max-drop is {share}, expected a share from 0 to 1"
            );
        }
        Ok(())
    }

    /// A network that came quantized is not rounded: what would round it otherwise is refused.
    pub(crate) fn refuse_for_quantized(&self) -> Result<()> {
        let asked = [
            ("--observer", self.observer != Method::USUAL),
            ("--no-bias-correction", self.no_bias_correction),
            ("--equalize", self.equalize),
            ("--adaround", self.adaround),
            ("--symmetric", self.symmetric),
            ("--max-drop", self.max_drop.is_some()),
            ("--sensitivity", self.sensitivity),
            ("--int8-detection", self.int8_detection),
        ];
        match asked.iter().find(|(_, asked)| *asked) {
            Some((flag, _)) => {
                bail!("it came quantized and is not rounded again: expected no {flag}")
            }
            None => Ok(()),
        }
    }

    /// Layers that may run in float.
    pub(crate) fn float(&self) -> &[String] {
        &self.float
    }

    pub(crate) fn images_limit(&self) -> usize {
        self.images_limit as usize
    }

    /// Whether candidates are compared on images, which must then be kept from calibration.
    pub(super) fn compares(&self, detects: bool) -> bool {
        self.observer == Method::Auto || self.ranks_layers() || (detects && !self.int8_detection)
    }

    pub(super) fn ranks_layers(&self) -> bool {
        self.sensitivity || self.max_drop.is_some()
    }
}
