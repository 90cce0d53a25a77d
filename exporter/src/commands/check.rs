//! `exporter check`: is this bundle whole, and signed by whom?

use crate::verify::Network;
use anyhow::{Context, Result, ensure};
use bundle::{Bundle, section};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use terminal::Terminal;

/// Checks structure, digests, signature and golden vectors of a bundle
#[derive(Debug, Args)]
pub(crate) struct Check {
    bundle: PathBuf,
    /// Public key (PEM or 64 hexadecimal digits) that must have signed it; may be repeated
    #[arg(long, value_name = "PUB")]
    key: Vec<PathBuf>,
}

impl Check {
    pub(crate) fn run(self, terminal: Terminal) -> Result<()> {
        let name = self.bundle.display();
        let bundle = Bundle::open(&self.bundle)?;
        if !self.key.is_empty() {
            let trusted = self.key.iter().map(|path| keyring::read_public_key(path));
            let trusted = trusted.collect::<Result<Vec<_>, _>>()?;
            bundle.check_signature(&trusted).with_context(|| name.to_string())?;
        }
        let preprocess = bundle.manifest.preprocess;
        let network = Network::open(&bundle.manifest.float_nodes, bundle.require(section::MODEL)?)?;
        let golden = bundle.golden()?;
        for (at, vector) in golden.vectors.iter().enumerate() {
            let found = network.infer(&vector.input(&preprocess))?;
            for expected in &vector.outputs {
                let bytes = found
                    .iter()
                    .find(|(name, _)| *name == expected.name)
                    .map(|(_, values)| values.iter().flat_map(|x| x.to_le_bytes()).collect());
                ensure!(
                    bytes.as_ref() == Some(&expected.bytes),
                    "{name}: golden vector {at} gives other bytes for `{}` than the bundle promises",
                    expected.name
                );
            }
        }
        let key = bundle.signature().map(|signature| hex::encode(signature.key.as_bytes()));
        let document = json!({
            "bundle": self.bundle, "digest": bundle.digest(), "signed_by": key,
            "trusted": !self.key.is_empty(), "golden_vectors": golden.vectors.len(),
        });
        let signer = key.map_or("not signed".into(), |key| format!("signed by {key}"));
        let text = format!(
            "{name}: whole, {signer}, {} golden vectors reproduced\ndigest {}",
            golden.vectors.len(),
            bundle.digest()
        );
        terminal.print(&document, &text)
    }
}
