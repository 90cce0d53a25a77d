//! `replay`.

use crate::Target;
use crate::output::Output;
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use firmware_host::link::Tape;
use firmware_host::replay::{calls, replay};
use serde_json::json;
use std::fs;
use std::path::PathBuf;

/// Says again what `--record` recorded, and compares the answers
///
/// The box does what it is told, once more: changes are changes.
#[derive(Debug, Args)]
pub(crate) struct Replay {
    recording: PathBuf,
    #[command(flatten)]
    target: Target,
}

impl Replay {
    pub(crate) fn run(self, output: Output) -> Result<()> {
        let path = self.recording.display();
        let bytes = fs::read(&self.recording).with_context(|| format!("cannot read {path}"))?;
        let tape = Tape::read(&bytes).with_context(|| path.to_string())?;
        let (said, strange) = calls(&tape);
        ensure!(
            !said.is_empty(),
            "{path} has no call to say again, and {strange} frames that are none: was it recorded outside of TLS?"
        );
        let mut link = self.target.keys.connect(&self.target.device, self.target.timeout)?;
        let differences = replay(&mut *link, &said, self.target.timeout)?;
        let compared = said.iter().filter(|said| said.answer.is_some()).count();
        let list: Vec<_> = differences
            .iter()
            .map(|d| json!({ "call": d.call, "request": d.request, "recorded": d.recorded, "now": d.now }))
            .collect();
        let document = json!({
            "calls": said.len(), "compared": compared, "strange_frames": strange, "differences": list,
        });
        if let Some(first) = differences.first() {
            bail!(
                "{} of {compared} answers differ; call {} ({}) was answered {}, and now {}",
                differences.len(),
                first.call,
                first.request,
                first.recorded,
                first.now
            );
        }
        output.say(&format!("{} calls, {compared} answers are the same", said.len()), &document)
    }
}
