//! `runtime dicom ping`: does an archive answer, and what would it take from us.

use super::{
    scu::{Association, Peer, Proposal},
    services,
};
use crate::{
    Output,
    config::is_ae_title,
    print_json,
    tls::client::{ClientTls, client},
};
use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;
use std::{
    io::{self, Write},
    path::PathBuf,
    time::{Duration, Instant},
};

/// Asks a DICOM peer for an answer (C-ECHO), and what it would take from us
#[derive(Debug, Args)]
pub(crate) struct Ping {
    /// Whom to call: AE@HOST:PORT
    #[arg(value_name = "AE@HOST:PORT")]
    peer: String,
    /// Who we say we are
    #[arg(long, default_value = "CXR-EDGE", value_name = "AE")]
    calling: String,
    /// How long to wait for a connection and for each answer
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Call under TLS: authorities that sign the peer's certificate, PEM
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Our certificate for TLS, PEM
    #[arg(long, value_name = "FILE", requires_all = ["ca", "key"])]
    certificate: Option<PathBuf>,
    /// The key of our certificate, PEM
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
}

/// What a peer said.
#[derive(Debug, Serialize)]
pub(crate) struct Answer {
    pub(crate) ae_title: String,
    pub(crate) address: String,
    pub(crate) milliseconds: f64,
    /// Of "sr", "seg", "sc" and "commit" (storage commitment).
    pub(crate) takes: Vec<&'static str>,
}

impl Ping {
    pub(crate) fn run(&self, output: Output) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("no threads")?;
        let answer = runtime.block_on(self.ask()).with_context(|| self.peer.clone())?;
        if output.json {
            return print_json(&answer);
        }
        let takes = if answer.takes.is_empty() {
            "nothing of ours".to_owned()
        } else {
            answer.takes.join(", ")
        };
        let Answer { ae_title, address, milliseconds, .. } = answer;
        writeln!(
            io::stdout(),
            "{ae_title} at {address} answers in {milliseconds:.1} ms and takes: {takes}"
        )?;
        Ok(())
    }

    async fn ask(&self) -> Result<Answer> {
        let expected = "expected AE@HOST:PORT";
        let (called, address) = self.peer.split_once('@').context(expected)?;
        ensure!(is_ae_title(called) && address.contains(':'), expected);
        ensure!(
            is_ae_title(&self.calling),
            "{:?} is no AE title: expected 1 to 16 printable characters",
            self.calling
        );
        let tls = self.ca.clone().map(|ca| {
            let (certificate, key) = (self.certificate.clone(), self.key.clone());
            ClientTls { ca, certificate, key, name: None }
        });
        let peer = Peer {
            calling: self.calling.clone(),
            called: called.to_owned(),
            address: address.to_owned(),
            tls: tls.as_ref().map(client).transpose()?,
            timeout: self.timeout,
        };
        echo(peer).await
    }
}

/// Associates, asks for an answer, and says what the peer would take.
pub(crate) async fn echo(peer: Peer) -> Result<Answer> {
    let services = services::of_destination(true);
    let all = [services::ECHO].into_iter().chain(services.clone());
    let proposals: Vec<Proposal> = all.map(|service| service.proposal).collect();
    let mut association = Association::open(&peer, &proposals).await?;
    let began = Instant::now();
    let echoed = association.echo().await;
    let milliseconds = began.elapsed().as_secs_f64() * 1e3;
    let takes = services.iter().filter(|s| association.context(s.proposal.class).is_some());
    let takes = takes.map(|service| service.word).collect();
    association.release().await;
    let status = echoed?.status;
    ensure!(status == 0, "C-ECHO was answered with status {status:04X}, expected 0000");
    Ok(Answer { ae_title: peer.called, address: peer.address, milliseconds, takes })
}
