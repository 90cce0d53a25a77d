//! Accepts connections and bounds them: how many there are, how long one may be silent, what it may send.
//!
//! When all places are taken, a connection that is not being answered gives way to the new one, the oldest
//! of the address that holds most. So a flood of idle connections costs its senders, and nobody else.

use crate::{
    config::HttpConfig,
    shutdown::Shutdown,
    tls::{Acceptor, Connection},
};
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::IpAddr,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinSet,
    time::timeout,
};

/// Who is at the other end; handlers find it among the request's extensions.
#[derive(Clone, Debug)]
pub(super) struct Visitor {
    pub(super) address: IpAddr,
    /// Our own address, as it was reached.
    pub(super) local: IpAddr,
    pub(super) encrypted: bool,
    busy: Arc<AtomicBool>,
}

impl Visitor {
    pub(super) fn new(address: IpAddr, local: IpAddr, encrypted: bool) -> Self {
        Self {
            address: address.to_canonical(),
            local: local.to_canonical(),
            encrypted,
            busy: Arc::default(),
        }
    }

    /// While it lasts, the connection does not give way.
    pub(super) fn busy(&self) -> Busy {
        self.busy.store(true, Relaxed);
        Busy(self.busy.clone())
    }
}

#[derive(Debug)]
pub(super) struct Busy(Arc<AtomicBool>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(false, Relaxed);
    }
}

/// Answers under way when the daemon stops have so long.
const GRACE: Duration = Duration::from_secs(2);
/// Bytes of a request's head.
const HEAD_BYTES: usize = 16 << 10;

/// Serves until shutdown.
pub(super) async fn run(
    listener: TcpListener,
    router: Router,
    tls: impl Fn() -> Option<Acceptor>,
    config: HttpConfig,
    shutdown: Shutdown,
) {
    let places = Arc::new(Places { most: config.max_connections, taken: Mutex::default() });
    let mut connections = JoinSet::new();
    loop {
        let (tcp, address) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    log::error!("cannot accept an HTTP connection: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            () = shutdown.cancelled() => break,
        };
        let Ok(local) = tcp.local_addr() else { continue };
        let tls = tls();
        let visitor = Visitor::new(address.ip(), local.ip(), tls.is_some());
        let Some(place) = Places::take(&places, &visitor) else { continue };
        let router = router.clone().layer(Extension(visitor));
        connections.spawn(serve(tcp, tls, router, config.header_seconds, place, shutdown.clone()));
    }
    drop(listener);
    let finish = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(GRACE, finish).await;
}

/// One connection, until it ends, gives way, or the daemon stops.
async fn serve(
    tcp: TcpStream,
    tls: Option<Acceptor>,
    router: Router,
    header_limit: Duration,
    mut place: Place,
    shutdown: Shutdown,
) {
    let _ = tcp.set_nodelay(true);
    let open = tokio::select! {
        open = timeout(header_limit, open(tcp, tls)) => open,
        () = place.displaced() => return,
    };
    let Ok(Ok(stream)) = open else { return };
    // The limit is for the head of a request; it also ends a connection that waits for none.
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_limit)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = place.displaced() => return,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        log::debug!("HTTP connection: {error}");
    }
}

async fn open(tcp: TcpStream, tls: Option<Acceptor>) -> io::Result<Connection> {
    match tls {
        None => Ok(Box::new(tcp)),
        Some(tls) => Ok(tls.accept(tcp).await?.0),
    }
}

/// Who is connected.
#[derive(Debug)]
struct Places {
    most: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    /// By age.
    open: BTreeMap<u64, Open>,
}

#[derive(Debug)]
struct Open {
    address: IpAddr,
    busy: Arc<AtomicBool>,
    /// Dropped to displace the connection.
    _keep: oneshot::Sender<()>,
}

impl Places {
    /// A place, at the cost of an idle connection if all are taken; `None` if none is idle.
    fn take(places: &Arc<Self>, visitor: &Visitor) -> Option<Place> {
        let mut taken = places.lock();
        if taken.open.len() >= places.most {
            // The oldest idle connection of the address that has most of them.
            let idle = || taken.open.iter().filter(|(_, open)| !open.busy.load(Relaxed));
            let mut held: HashMap<IpAddr, usize> = HashMap::new();
            for (_, open) in idle() {
                *held.entry(open.address).or_default() += 1;
            }
            let most = held.values().max()?;
            let victim = idle().find(|(_, open)| held[&open.address] == *most);
            let victim = *victim?.0;
            taken.open.remove(&victim);
        }
        let number = taken.next;
        taken.next += 1;
        let (keep, displaced) = oneshot::channel();
        let open = Open { address: visitor.address, busy: visitor.busy.clone(), _keep: keep };
        taken.open.insert(number, open);
        drop(taken);
        Some(Place { places: places.clone(), number, displaced })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a connection.
#[derive(Debug)]
struct Place {
    places: Arc<Places>,
    number: u64,
    displaced: oneshot::Receiver<()>,
}

impl Place {
    /// Returns once a newer connection has taken this place.
    async fn displaced(&mut self) {
        let _ = (&mut self.displaced).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().open.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn visitor(last: u8) -> Visitor {
        let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, last));
        Visitor::new(address, IpAddr::V4(Ipv4Addr::LOCALHOST), false)
    }

    fn gone(place: &mut Place) -> bool {
        !matches!(place.displaced.try_recv(), Err(oneshot::error::TryRecvError::Empty))
    }

    #[test]
    fn the_oldest_idle_connection_of_whoever_holds_most_gives_way() {
        let places = Arc::new(Places { most: 4, taken: Mutex::default() });
        let take = |visitor: &Visitor| Places::take(&places, visitor);
        let mut quiet = take(&visitor(1)).unwrap();
        let (first, second, third) = (visitor(2), visitor(2), visitor(2));
        let mut held = [&first, &second, &third].map(|visitor| take(visitor).unwrap());
        let answering = first.busy();
        let mut new = take(&visitor(3)).unwrap();
        assert!(gone(&mut held[1]) && !gone(&mut held[0]) && !gone(&mut held[2]));
        assert!(!gone(&mut quiet) && !gone(&mut new));
        drop(answering);
        let _newer = take(&visitor(3)).unwrap();
        assert!(gone(&mut held[0]) && !gone(&mut quiet));
    }

    #[test]
    fn when_all_are_being_answered_nobody_is_cut_and_the_new_one_is_refused() {
        let places = Arc::new(Places { most: 1, taken: Mutex::default() });
        let first = visitor(1);
        let place = Places::take(&places, &first).unwrap();
        let answering = first.busy();
        assert!(Places::take(&places, &visitor(2)).is_none());
        drop(answering);
        let second = Places::take(&places, &visitor(2)).unwrap();
        drop(place); // displaced already: takes nobody else's place with it
        assert_eq!(places.lock().open.len(), 1);
        drop(second);
        assert!(places.lock().open.is_empty());
    }
}
