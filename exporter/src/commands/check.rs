//! `exporter check`: is this bundle whole, and signed by whom?

use super::pack;
use anyhow::{Context, Result, bail};
use bundle::Bundle;
use clap::Args;
use engine::{Engine, Options};
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
        let mut engine = Engine::open(&bundle, &Options::threads(1))
            .with_context(|| format!("{name}: the engine refuses the network"))?;
        let tested = engine::selftest(&mut engine, &bundle).with_context(|| name.to_string())?;
        if let Some(mismatch) = tested.mismatch {
            bail!("{name}: {mismatch}");
        }
        let packs = pack::check_behind(&bundle).with_context(|| name.to_string())?;
        let key = bundle.signature().map(|signature| hex::encode(signature.key.as_bytes()));
        let document = json!({
            "bundle": self.bundle, "digest": bundle.digest(), "signed_by": key,
            "trusted": !self.key.is_empty(), "golden_vectors": tested.vectors,
            "unproven": tested.unproven,
            "packs": packs,
        });
        let signer = key.map_or("not signed".into(), |key| format!("signed by {key}"));
        let mut lines =
            vec![format!("{name}: whole, {signer}, {} golden vectors reproduced", tested.vectors)];
        if !tested.unproven.is_empty() {
            let names = tested.unproven.join(", ");
            lines.push(format!("no golden vector holds {names}: nothing proves them"));
        }
        lines.extend(bundle.packs().iter().map(pack::line));
        lines.push(format!("digest {}", bundle.digest()));
        terminal.print(&document, &lines.join("\n"))
    }
}
