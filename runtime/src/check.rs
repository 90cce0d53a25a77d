//! `runtime serve --check`: would the daemon start, and what is wrong?
//!
//! Reads what `serve` reads and loads the bundle as it would. Writes nothing; ports are bound for a moment.

use crate::{
    Output, config::Config, dicom::access::Access, http::Doors, model, print_json,
    profile::Compute, shadow, tls::expiry::Expiry,
};
use anyhow::{Result, bail};
use rustix::fs::{Access as Permission, access};
use serde_json::json;
use std::{
    io::{self, ErrorKind, Write},
    net::{SocketAddr, TcpListener},
    path::Path,
};

/// Prints every mistake; fails if there is one.
pub(crate) fn run(path: &Path, output: Output) -> Result<()> {
    let Found { mistakes, notes } = look(path);
    let name = path.display();
    if output.json {
        print_json(&json!({ "file": path, "mistakes": mistakes, "notes": notes }))?;
    } else {
        let mut out = io::stdout();
        for note in &notes {
            writeln!(out, "{name}: note: {note}")?;
        }
        for mistake in &mistakes {
            writeln!(out, "{name}: {mistake}")?;
        }
        if mistakes.is_empty() {
            writeln!(out, "{name}: no mistakes")?;
        }
    }
    match mistakes.len() {
        0 => Ok(()),
        1 => bail!("{name}: one mistake"),
        many => bail!("{name}: {many} mistakes"),
    }
}

/// What is wrong with a configuration.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) mistakes: Vec<String>,
    /// What is no mistake, but may not be meant.
    pub(crate) notes: Vec<String>,
}

impl Found {
    /// What came of something; its failure is a mistake.
    fn took<T>(&mut self, result: Result<T>) -> Option<T> {
        result.inspect_err(|error| self.mistakes.push(format!("{error:#}"))).ok()
    }
}

/// Everything that would keep the daemon from starting on it, or that may not be meant.
pub(crate) fn look(path: &Path) -> Found {
    let mut found = Found::default();
    let Some(config) = found.took(Config::parse(path)) else { return found };
    found.mistakes.extend(config.mistakes());
    found.took(Access::new(&config.dicom));
    found.took(Doors::new(&config.http));
    for destination in &config.destinations {
        found.took(destination.connector());
    }
    let threads = Compute::new(&config.worker).threads;
    if let Some((told, is)) = Compute::contradiction(&config.worker) {
        found.notes.push(format!("worker.profile is {told}, and this machine looks like {is}"));
    }
    if let Some(None) = found.took(model::check(&config.bundle, &threads)) {
        found.notes.push("no bundle was activated yet: images will wait".into());
    }
    if let Some(shadow) = &config.shadow {
        // Answers do not depend on it.
        if let Err(error) = shadow::check(shadow, &config.bundle) {
            found.notes.push(format!("no bundle would look on: {error:#}"));
        }
    }
    writable("spool.path", &config.spool.path, &mut found);
    if let Some(exposures) = &config.exposures {
        writable("exposures.folder", &exposures.folder, &mut found);
    }
    bindable("dicom.listen", config.dicom.listen, &mut found);
    bindable("http.listen", config.http.listen, &mut found);
    if config.dicom.peers.is_empty() && !config.dicom.listen.ip().is_loopback() {
        let listen = config.dicom.listen;
        found.notes.push(format!(
            "others reach {listen}, and nobody stands under [[dicom.peers]]: they will be cut off"
        ));
    }
    for expiry in config.certificates().iter().map(Expiry::of) {
        // Whether the files can be used was asked above.
        match expiry.warning() {
            Some((what, true)) if expiry.trouble.is_none() => found.mistakes.push(what),
            Some((what, false)) => found.notes.push(what),
            _ => {}
        }
    }
    found
}

/// The folder, or the nearest one above it that is there, must be ours to write in.
fn writable(what: &str, folder: &Path, found: &mut Found) {
    let there = folder.ancestors().find(|folder| folder.exists());
    let there = there.filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !there.is_dir() {
        found.mistakes.push(format!("{what}: {} is no folder", there.display()));
    } else if let Err(error) = access(there, Permission::WRITE_OK | Permission::EXEC_OK) {
        found.mistakes.push(format!("{what}: cannot write in {}: {error}", there.display()));
    }
}

/// In use may be by the daemon that is to read this configuration.
fn bindable(what: &str, address: SocketAddr, found: &mut Found) {
    match TcpListener::bind(address) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            found.notes.push(format!("{what}: {address} is in use now"));
        }
        Err(error) => found.mistakes.push(format!("{what}: cannot listen on {address}: {error}")),
    }
}
