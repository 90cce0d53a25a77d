//! `keygen`, `code`, `enrol`.

use crate::Target;
use crate::output::Output;
use anyhow::{Context, Result, ensure};
use clap::Args;
use firmware_host::agent::{self, Config};
use firmware_host::enrolment::{Code, End};
use firmware_host::{Device, known_boxes};
use keyring::fingerprint;
use protocol::{Digest, Role};
use serde_json::json;
use std::path::PathBuf;

/// Makes a key pair: NAME.key (private, readable by you alone) and NAME.pub
#[derive(Debug, Args)]
pub(crate) struct Keygen {
    /// Where to write, without ending; where the other verbs look for our key if absent
    #[arg(long, value_name = "NAME")]
    out: Option<PathBuf>,
}

impl Keygen {
    pub(crate) fn run(self, output: Output) -> Result<()> {
        let out = self.out.map_or_else(|| crate::keys::configured("link"), Ok)?;
        let key = keyring::generate()?;
        let (private, public) = keyring::write_pair(&out, &key)?;
        let digits = fingerprint(&key.verifying_key());
        let text = format!("{}\n{}\nkey {digits}", private.display(), public.display());
        output.say(&text, &json!({ "private": private, "public": public, "key": digits }))
    }
}

/// Draws a one-time code at the box, for `enrol` at a workstation within 15 minutes
#[derive(Debug, Args)]
pub(crate) struct DrawCode {
    /// Of the agent
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// What whoever uses the code may do: report, look, operate or administer
    #[arg(long, default_value_t = Role::Administer)]
    role: Role,
}

impl DrawCode {
    pub(crate) fn run(self, output: Output) -> Result<()> {
        let config = Config::read(&self.config)?;
        let code = agent::draw_code(&config.keys, self.role, &config.sysroot)?.to_string();
        output.say(&code, &json!({ "code": code, "role": self.role }))
    }
}

/// Makes our key known to a box, and its key to us, by a one-time code that the box drew
#[derive(Debug, Args)]
pub(crate) struct Enrol {
    #[command(flatten)]
    target: Target,
    /// As the box shows it: ABCD-EFGH-IJKL-MNOP
    #[arg(long, env = "CXR_CODE", hide_env_values = true)]
    code: Code,
    /// By which the box lists our key
    #[arg(long, default_value = "workstation")]
    name: String,
}

impl Enrol {
    pub(crate) fn run(self, output: Output) -> Result<()> {
        let Self { target, code, name } = self;
        let list = target.keys.known_boxes()?;
        let way = target.keys.meet(&target.device, target.timeout)?;
        let binding = way.proven.context("the line has no TLS")?;
        let mut device = Device::open(way.link, target.patience())?;
        let ours = Digest(code.proof(End::Workstation, &binding));
        let enrolled = device.enrol(ours, &name);
        let (role, theirs) = enrolled.with_context(|| target.device.to_string())?;
        ensure!(
            code.is_proven(&theirs.0, End::Box, &binding),
            "{}: whoever answers does not know the code: another box, or somebody in between; its key is not kept",
            target.device
        );
        let address = target.device.to_string();
        known_boxes::pin(&list, &address, &binding.of_box)?;
        let key = fingerprint(&binding.of_box);
        let text = format!("{address}: key {key} is in {}; we may {role}", list.display());
        output.say(&text, &json!({ "device": address, "key": key, "role": role }))
    }
}
