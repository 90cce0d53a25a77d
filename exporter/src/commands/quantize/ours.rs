//! A checkpoint becomes a bundle.

use super::Quantize;
use crate::{
    calibrate::{self, Source},
    read::checkpoint::Checkpoint,
    verify::Network,
    write::{
        codes,
        language::Wording,
        manifest,
        onnx::{Batch, quantized_model},
        package,
    },
};
use anyhow::Result;
use prost::Message;
use std::path::Path;
use terminal::Terminal;

impl Quantize {
    pub(super) fn ours(&self, folder: &Path, terminal: Terminal) -> Result<()> {
        let key = self.sign.as_deref().map(keyring::read_private_key).transpose()?;
        let mut checkpoint = Checkpoint::open(folder)?;
        let mut wording = match (self.prompts.as_deref(), self.bank.as_deref()) {
            (None, None) => None,
            (prompts, bank) => Some(Wording::of(folder, &mut checkpoint, prompts, bank)?),
        };
        let codes = codes::of(&checkpoint.config.model, self.identity.codes.as_deref())?;
        let source = Source::of(&checkpoint, folder);
        let outcome = calibrate::quantize(&self.rounding, &source, &self.calibration, terminal)?;
        let onnx = quantized_model(&outcome.model, Batch::One)?.encode_to_vec();
        let mut manifest = manifest::of(&checkpoint, &outcome, &self.identity)?;
        let network = Network::open(&manifest.float_nodes, &onnx)?;
        let (fitted, training) = (&checkpoint.operating_points, &checkpoint.document);
        let index = &self.calibration;
        let refits = self.refit(fitted, training, index, &network, &mut manifest, terminal)?;
        if let Some(wording) = &mut wording {
            self.look(wording, &network, &manifest, terminal)?;
        }
        let fit = |wording| self.fit(wording, training, &network, &mut manifest, terminal);
        let fitted = wording.as_mut().map(fit).transpose()?.unwrap_or_default();
        let language = wording.as_ref().map(Wording::language);
        let drift = self.reference(&network, &manifest, terminal)?;
        let bundle = package::seal(
            manifest,
            onnx,
            &network,
            &codes,
            (drift, language.as_ref()),
            key.as_ref(),
        )?;
        let thresholds = (&refits[..], &fitted[..]);
        self.conclude(&bundle, &network, &outcome.sensitivities, thresholds, terminal)
    }
}
