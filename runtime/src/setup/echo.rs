//! C-ECHO to everybody whom the configuration names and who can be called.

use super::steps::Steps;
use crate::{
    config::{Config, Destination, Target},
    dicom::{ping, scu::Peer},
    tls::client::{ClientTls, Connector, client},
};
use anyhow::Result;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(10);

/// Who may send, where a port to call is known: title, address, port.
pub(super) async fn peers(
    config: &Config,
    known: impl Iterator<Item = (String, String, u16)>,
    steps: &mut Steps,
) -> Result<()> {
    // As they show themselves to us, we show ourselves to them.
    let tls = config.dicom.tls.as_ref().and_then(|tls| {
        let ca = tls.client_ca.clone()?;
        Some(ClientTls {
            ca,
            certificate: Some(tls.certificate.clone()),
            key: Some(tls.key.clone()),
            name: None,
        })
    });
    let tls = tls.as_ref().map(client).transpose()?;
    for (title, address, port) in known {
        let address = if address.contains(':') {
            format!("[{address}]:{port}")
        } else {
            format!("{address}:{port}")
        };
        let step = format!("echo {title}");
        let advice = "is it on, does it listen there, does it know our AE title? One that only sends needs no port in --peer";
        ask(config, &step, &title, &address, (tls.clone(), TIMEOUT), advice, steps).await?;
    }
    Ok(())
}

/// Who gets results.
pub(super) async fn archives(config: &Config, steps: &mut Steps) -> Result<()> {
    for destination in &config.destinations {
        let Destination { name, target, timeout, .. } = destination;
        let step = format!("echo {name}");
        match target {
            Target::Dicom { ae_title, address, .. } => {
                let tls = destination.connector()?;
                let advice =
                    "is it on, is the address right, does it know our AE title and address?";
                ask(config, &step, ae_title, address, (tls, *timeout), advice, steps).await?;
            }
            Target::Stow { .. } => {
                steps.skipped(&step, "a web server knows no C-ECHO; its delivery will tell")?
            }
        }
    }
    Ok(())
}

async fn ask(
    config: &Config,
    step: &str,
    title: &str,
    address: &str,
    (tls, timeout): (Option<Connector>, Duration),
    advice: &str,
    steps: &mut Steps,
) -> Result<()> {
    let peer = Peer {
        calling: config.dicom.ae_title.clone(),
        called: title.to_owned(),
        address: address.to_owned(),
        tls,
        timeout,
    };
    match ping::echo(peer).await {
        Ok(answer) => {
            let takes = if answer.takes.is_empty() {
                "nothing of ours".into()
            } else {
                answer.takes.join(", ")
            };
            steps.done(
                step,
                format!(
                    "{title} at {address} answers in {:.1} ms and takes: {takes}",
                    answer.milliseconds
                ),
            )
        }
        Err(error) => steps.failed(step, format!("{title} at {address}: {error}"), advice),
    }
}
