//! Accepts connections, as many as there are places for (`places.rs`).

use super::{association, ended::Ended, places::Places, scp::Scp};
use std::{sync::Arc, time::Duration};
use tokio::{net::TcpListener, task::JoinSet};

/// How long associations may go on after the daemon was told to stop.
const GRACE: Duration = Duration::from_secs(10);

/// Accepts until shutdown, then waits for objects on their way.
pub(crate) async fn run(listener: TcpListener, scp: Arc<Scp>) {
    let places = Arc::new(Places::new(&scp.config));
    let mut associations = JoinSet::new();
    let mut told = false;
    loop {
        let (stream, address) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, most likely: some association will end.
                    log::error!("cannot accept a connection: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            Some(_) = associations.join_next(), if !associations.is_empty() => continue,
            () = scp.shutdown.cancelled() => break,
        };
        scp.metrics.connections.add(1);
        let access = scp.access.get();
        if !access.address_known(address.ip()) {
            if !access.peers.is_empty() {
                log::warn!("{address}: no peer is configured there, connection cut");
            } else if !std::mem::replace(&mut told, true) {
                log::warn!(
                    "{address}: connection cut, and so is every one from another machine: \
                     nobody stands under [[dicom.peers]]"
                );
            }
            continue;
        }
        let pending = Places::pending(&places, address.ip());
        let scp = scp.clone();
        associations.spawn(async move {
            let _ = stream.set_nodelay(true);
            match association::serve(stream, address, &scp, pending).await {
                Ok(()) => log::debug!("{address}: released"),
                Err(ended) => {
                    scp.metrics.broken.add(1);
                    match ended {
                        Ended::Refused(_) | Ended::Closed | Ended::Stopping => {
                            log::debug!("{address}: {ended}")
                        }
                        _ => log::warn!("{address}: {ended}"),
                    }
                }
            }
        });
    }
    drop(listener);
    let finish = async { while associations.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, finish).await.is_err() {
        log::warn!("associations still open after {} s are cut", GRACE.as_secs());
    }
}
