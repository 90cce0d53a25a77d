//! `exporter check`: is this bundle whole, and signed by whom?

use super::pack;
use crate::verify::Network;
use anyhow::{Context, Result, ensure};
use bundle::{Bundle, section};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use terminal::Terminal;

/// Checks structure, digests, signature and golden vectors of a bundle with its packs, or of a pack
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// A bundle, or a pack
    bundle: PathBuf,
    /// Public key (PEM or 64 hexadecimal digits) that must have signed it; may be repeated
    #[arg(long, value_name = "PUB")]
    key: Vec<PathBuf>,
}

impl Check {
    pub(crate) fn run(self, terminal: Terminal) -> Result<()> {
        let name = self.bundle.display();
        let trusted = self.key.iter().map(|path| keyring::read_public_key(path));
        let trusted = trusted.collect::<Result<Vec<_>, _>>()?;
        if pack::is_one(&self.bundle)? {
            return pack::check(&self.bundle, &trusted, terminal);
        }
        let bundle = Bundle::open(&self.bundle)?;
        if !self.key.is_empty() {
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
        let packs = pack::check_behind(&bundle).with_context(|| name.to_string())?;
        let key = bundle.signature().map(|signature| hex::encode(signature.key.as_bytes()));
        let document = json!({
            "bundle": self.bundle, "digest": bundle.digest(), "signed_by": key,
            "trusted": !self.key.is_empty(), "golden_vectors": golden.vectors.len(),
            "packs": packs,
        });
        let signer = key.map_or("not signed".into(), |key| format!("signed by {key}"));
        let mut lines = vec![format!(
            "{name}: whole, {signer}, {} golden vectors reproduced",
            golden.vectors.len()
        )];
        lines.extend(bundle.packs().iter().map(pack::line));
        lines.push(format!("digest {}", bundle.digest()));
        terminal.print(&document, &lines.join("\n"))
    }
}
