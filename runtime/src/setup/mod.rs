//! `runtime setup`: from nothing to a box that has shown that it works.
//!
//! ```text
//! flags, questions ─▶ answers ─▶ document ─▶ check ─▶ runtime.toml ─▶ echo ─▶ chain
//!                       specs     comments    as `serve --check`        every peer, every archive
//!                       ask       kept                                  a test study: stored, analysed, delivered
//! ```
//!
//! A configuration with a mistake is never written. One that is written stays, whatever the tests say: the archive may
//! be off today, and `runtime setup --test-only` tests again. `steps` has what happened.

mod answers;
mod ask;
mod chain;
mod document;
mod echo;
mod phantom;
mod specs;
mod steps;

use crate::{
    Output, check,
    config::Config,
    print_json,
    user::password,
    users::{Role, Users},
};
use answers::Answers;
use anyhow::{Context, Result, bail, ensure};
use ask::Terminal;
use clap::{Args, ValueEnum};
use serde_json::json;
use specs::{PacsSpec, PeerSpec};
use std::{
    fs,
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};
use steps::Steps;

/// Writes a checked configuration, asks every peer for an answer, and sends a test study through the whole chain
///
/// At a terminal it asks for what the flags leave open. The test study is a drawn chest of a patient called TEST; its
/// results go to every archive that is named here, where somebody may delete them.
#[derive(Clone, Debug, Args)]
pub(crate) struct Setup {
    /// The configuration to write
    #[arg(long, value_name = "PATH", default_value = "/etc/cxr-edge/runtime.toml")]
    config: PathBuf,
    /// AE title of this box
    #[arg(long, value_name = "AE")]
    ae_title: Option<String>,
    /// Where senders reach this box [default: 127.0.0.1:11112, with a peer 0.0.0.0:11112]
    #[arg(long, value_name = "ADDRESS:PORT")]
    dicom: Option<SocketAddr>,
    /// Where the page is [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT")]
    http: Option<SocketAddr>,
    // As an attribute: rustdoc would take brackets for links.
    #[arg(
        long = "peer",
        value_name = "PEER",
        help = "Who may send; one with a port is asked for an answer: [NAME=]AE[@ADDRESS[:PORT]][,certificate=NAME]"
    )]
    peers: Vec<PeerSpec>,
    #[arg(
        long,
        value_name = "ARCHIVE",
        help = "Who gets results: NAME=AE@HOST:PORT[,commit][,sr][,seg][,sc][,heat][,positive][,fallback=NAME][,ca=FILE] \
                [,certificate=FILE][,key=FILE], or NAME=URL[,…][,bearer=FILE][,basic=FILE]"
    )]
    pacs: Vec<PacsSpec>,
    /// The bundle that answers
    #[arg(long, value_name = "FILE", conflicts_with = "slots")]
    bundle: Option<PathBuf>,
    /// Where `firmware-host agent` keeps its slots [default: slots beside the configuration, or the package's]
    #[arg(long, value_name = "DIR")]
    slots: Option<PathBuf>,
    /// Who may sign what runs here: a file with a public key, or its hexadecimal digits
    #[arg(long = "key", value_name = "KEY")]
    keys: Vec<String>,
    /// Run bundles that nobody signed, for development
    #[arg(long)]
    allow_unsigned: bool,
    /// Where images and results are kept [default: spool beside the configuration, or the package's]
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,
    /// DICOM under TLS: our certificate, PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// Its key, PEM
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Who signs the certificates of peers, PEM
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_client_ca: Option<PathBuf>,
    /// The page under TLS: our certificate, PEM
    #[arg(long, value_name = "FILE", requires = "http_key")]
    http_certificate: Option<PathBuf>,
    /// Its key, PEM
    #[arg(long, value_name = "FILE", requires = "http_certificate")]
    http_key: Option<PathBuf>,
    /// Who may log in to the page; the password is typed, or comes on standard input, a line for each user
    #[arg(long = "user", value_name = "NAME=ROLE", value_parser = user)]
    users: Vec<(String, Role)>,
    /// Ask nothing
    #[arg(long)]
    yes: bool,
    /// Write over a configuration that is there; it is kept beside, with `.before` at its end
    #[arg(long)]
    replace: bool,
    /// Write the configuration and test nothing
    #[arg(long, conflicts_with = "test_only")]
    no_test: bool,
    /// Test the configuration that is there and write nothing
    #[arg(long)]
    test_only: bool,
    /// How long an answer, and then the deliveries, may take
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = humantime::parse_duration)]
    wait: Duration,
}

impl Setup {
    /// Fails if any step did, with their names.
    pub(crate) fn run(mut self, output: Output) -> Result<()> {
        let mut steps = Steps::new(output);
        if !self.test_only {
            self.write(&mut steps)?;
        }
        if !self.no_test {
            self.test(&mut steps)?;
        }
        let failures = steps.failures().join(", ");
        if output.json {
            print_json(
                &json!({ "config": self.config, "ok": failures.is_empty(), "steps": steps.all }),
            )?;
        }
        ensure!(
            failures.is_empty(),
            "{} is written, and this failed: {failures}",
            self.config.display()
        );
        Ok(())
    }

    /// Asks, checks, and only then puts the configuration in its place.
    fn write(&mut self, steps: &mut Steps) -> Result<()> {
        let path = self.config.display().to_string();
        ensure!(
            self.replace || !self.config.exists(),
            "{path} is there already: --replace writes over it, --test-only tests it"
        );
        let mut terminal = if self.yes { None } else { Terminal::open() };
        match &mut terminal {
            Some(terminal) => self.ask(terminal)?,
            None => ensure!(self.yes, "nobody is at a terminal: give flags and --yes"),
        }
        let answers = Answers::of(self)?;
        let text = document::write(&answers)?;
        if let Some(terminal) = &mut terminal {
            for (what, value) in answers.summary() {
                terminal.say(&format!("{what:>16}  {value}"))?;
            }
            ensure!(terminal.yes(&format!("Write {path}?"))?, "nothing is written");
        }
        let users = self.users(answers.users.as_deref())?;
        let notes = self.put(&text, users.as_ref())?;
        for note in notes {
            log::warn!("{path}: {note}");
        }
        steps.done("configuration", format!("{path} is written, no mistakes"))
    }

    /// Everybody who may log in, with those who could before.
    fn users(&self, file: Option<&Path>) -> Result<Option<(PathBuf, Users)>> {
        let Some(file) = file else { return Ok(None) };
        let mut users = if file.exists() { Users::read(file)? } else { Users::default() };
        for (name, role) in &self.users {
            writeln!(io::stderr(), "{name}, who may {role}:")?;
            users.set(name, *role, &password()?)?;
        }
        Ok(Some((file.to_owned(), users)))
    }

    /// The checked file in its place; what is no mistake, but may not be meant. After a mistake all is as it was.
    fn put(&self, text: &str, users: Option<&(PathBuf, Users)>) -> Result<Vec<String>> {
        let candidate = self.config.with_added_extension("new");
        let write = |path: &Path| {
            durable::write(path, text.as_bytes())
                .with_context(|| format!("cannot write {}", path.display()))
        };
        write(&candidate)?;
        let before = users.map(|(file, _)| fs::read(file).ok());
        let written = users.map_or(Ok(()), |(file, users)| users.write(file));
        let found = written.map(|()| check::look(&candidate));
        let _ = fs::remove_file(&candidate);
        let found = found.and_then(|found| {
            // The file that was looked at has another name.
            let [there, here] = [&candidate, &self.config].map(|path| path.display().to_string());
            let mistakes = found.mistakes.join("; ").replace(&there, &here);
            ensure!(mistakes.is_empty(), "nothing is written: {mistakes}");
            Ok(found)
        });
        if let (Err(_), Some((file, _)), Some(before)) = (&found, users, before) {
            match before {
                Some(bytes) => durable::write(file, &bytes).context("cannot put the users back")?,
                None => drop(fs::remove_file(file)),
            }
        }
        let found = found?;
        if self.config.exists() {
            let kept = self.config.with_added_extension("before");
            fs::copy(&self.config, &kept)
                .with_context(|| format!("cannot keep {}", kept.display()))?;
        }
        write(&self.config)?;
        Ok(found.notes)
    }

    /// Every peer, then the whole chain.
    fn test(&self, steps: &mut Steps) -> Result<()> {
        let config = Config::read(&self.config)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("cannot start threads")?;
        let ports = self
            .peers
            .iter()
            .filter_map(|peer| Some((peer.ae_title.clone(), peer.address.clone()?, peer.port?)));
        let tested = runtime.block_on(async {
            echo::peers(&config, ports, steps).await?;
            echo::archives(&config, steps).await?;
            chain::send(&self.config, &config, self.wait, steps).await
        });
        runtime.shutdown_timeout(Duration::from_secs(5));
        tested
    }
}

/// `NAME=ROLE`
fn user(text: &str) -> Result<(String, Role)> {
    let expected = || format!("{text:?}: expected NAME=ROLE, the role look, operate or administer");
    let (name, role) = text.split_once('=').with_context(expected)?;
    match Role::from_str(role, false) {
        Ok(role) if !name.is_empty() => Ok((name.to_owned(), role)),
        _ => bail!(expected()),
    }
}
