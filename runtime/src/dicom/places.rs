//! Bounds how many connections there are.
//!
//! Two bounds. *Associations*: in all and for each address; beyond it, a request is refused as transient
//! ("local limit exceeded"). *Pending* connections, which have not associated yet: beyond it, the oldest
//! one gives way, so that any number of half-open connections leaves room for a peer that speaks.

use crate::config::DicomConfig;
use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::oneshot;

/// Who is connected.
#[derive(Debug)]
pub(super) struct Places {
    max_pending: usize,
    max_associations: usize,
    max_per_peer: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    /// By age; dropping the sender displaces the connection.
    pending: BTreeMap<u64, oneshot::Sender<()>>,
    associations: usize,
    by_peer: HashMap<IpAddr, usize>,
}

impl Places {
    pub(super) fn new(config: &DicomConfig) -> Self {
        Self {
            max_pending: config.max_pending,
            max_associations: config.max_associations,
            max_per_peer: config.max_associations_per_peer,
            taken: Mutex::default(),
        }
    }

    /// A place for a new connection, at the cost of the oldest if there are too many.
    pub(super) fn pending(places: &Arc<Self>, address: IpAddr) -> Pending {
        let mut taken = places.lock();
        if taken.pending.len() >= places.max_pending {
            taken.pending.pop_first();
        }
        let number = taken.next;
        taken.next += 1;
        let (keep, displaced) = oneshot::channel();
        taken.pending.insert(number, keep);
        drop(taken);
        Pending { places: places.clone(), address, number, displaced }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a connection that has not associated yet.
#[derive(Debug)]
pub(crate) struct Pending {
    places: Arc<Places>,
    address: IpAddr,
    number: u64,
    displaced: oneshot::Receiver<()>,
}

impl Pending {
    /// Returns once a newer connection has taken this place.
    pub(crate) async fn displaced(&mut self) {
        let _ = (&mut self.displaced).await;
    }

    /// Changes this place for one among the associations; `None` if all are taken.
    pub(crate) fn associate(&self) -> Option<Place> {
        let mut taken = self.places.lock();
        let of_peer = taken.by_peer.get(&self.address).copied().unwrap_or(0);
        if taken.associations >= self.places.max_associations || of_peer >= self.places.max_per_peer
        {
            return None;
        }
        taken.pending.remove(&self.number);
        taken.associations += 1;
        taken.by_peer.insert(self.address, of_peer + 1);
        Some(Place { places: self.places.clone(), address: self.address })
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.places.lock().pending.remove(&self.number);
    }
}

/// The place of an association.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.associations -= 1;
        if let Some(count) = taken.by_peer.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                taken.by_peer.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn places(max_pending: usize, max_associations: usize, max_per_peer: usize) -> Arc<Places> {
        Arc::new(Places { max_pending, max_associations, max_per_peer, taken: Mutex::default() })
    }

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);

    #[tokio::test]
    async fn the_oldest_half_open_connection_gives_way() {
        let places = places(2, 9, 9);
        let mut first = Places::pending(&places, HERE);
        let mut second = Places::pending(&places, HERE);
        let _third = Places::pending(&places, HERE);
        first.displaced().await;
        let waits = tokio::time::timeout(Duration::from_millis(1), second.displaced()).await;
        assert!(waits.is_err());
    }

    #[test]
    fn associations_are_bounded_in_all_and_for_each_address() {
        let places = places(9, 3, 2);
        let associate = |address| Places::pending(&places, address).associate();
        let first = associate(HERE).unwrap();
        let _second = associate(HERE).unwrap();
        assert!(associate(HERE).is_none());
        let _third = associate(THERE).unwrap();
        assert!(associate(THERE).is_none());
        drop(first);
        let _fourth = associate(THERE).unwrap();
        assert!(associate(HERE).is_none());
        assert!(places.lock().pending.is_empty());
    }
}
