//! `runtime device`: what this machine would compute with, and why.

use super::Compute;
use crate::{
    Output,
    config::{Config, WorkerConfig},
    print_json,
};
use anyhow::Result;
use clap::Args;
use machine::Board;
use serde_json::json;
use std::{
    io::{self, Write},
    path::PathBuf,
};

/// Shows what this machine computes with: cores, threads, power mode, heat
#[derive(Debug, Args)]
pub(crate) struct Device {
    /// With what `[worker]` of this configuration says
    #[arg(long, value_name = "PATH")]
    config: Option<PathBuf>,
    /// Take it for this machine, instead of the one it says it is
    #[arg(long, value_name = "NAME")]
    profile: Option<Board>,
    /// Read /sys, /proc and /etc in this folder
    #[arg(long, value_name = "DIR")]
    sysroot: Option<PathBuf>,
}

impl Device {
    pub(crate) fn run(self, output: Output) -> Result<()> {
        let mut worker = match &self.config {
            Some(path) => Config::read(path)?.worker,
            None => WorkerConfig::default(),
        };
        worker.profile = self.profile.or(worker.profile);
        worker.sysroot = self.sysroot.unwrap_or(worker.sysroot);
        let compute = Compute::new(&worker);
        let status = compute.status();
        if output.json {
            let profile = &compute.profile;
            return print_json(&json!({ "profile": profile, "status": status }));
        }
        let mut out = io::stdout();
        for line in machine::describe(&compute.profile) {
            writeln!(out, "{line}")?;
        }
        let bound = match &status.cores[..] {
            [] => "wherever the system likes".to_owned(),
            cores => format!("on cores {cores:?}"),
        };
        writeln!(out, "`runtime serve` uses {} threads, {bound}", status.threads)?;
        Ok(())
    }
}
