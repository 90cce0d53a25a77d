//! What the page shows, as it changes: server-sent events `health`, `images`, `queue` and `shadow`, each a whole JSON document.
//!
//! One task looks once a second, and only while somebody watches; a watcher gets what is new to him.

use super::{Shown, doors::Who, health, images, json_error, queue, server::Visitor, shadow};
use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::stream;
use serde_json::json;
use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// Pages that watch at a time.
const MOST: usize = 32;
const EVERY: Duration = Duration::from_secs(1);
/// Images on the page.
const IMAGES: usize = 60;

/// The parts of the page by name, each as JSON.
type View = Vec<(&'static str, Arc<str>)>;

#[derive(Debug, Default)]
pub(super) struct Feed(watch::Sender<View>);

/// Looks while somebody watches, until it is stopped.
pub(super) async fn watch(shown: Shown) {
    loop {
        tokio::time::sleep(EVERY).await;
        if shown.feed.0.receiver_count() == 0 {
            continue;
        }
        let Some(view) = look(&shown).await else { continue };
        shown.feed.0.send_if_modified(|before| {
            let changed = *before != view;
            *before = view;
            changed
        });
    }
}

async fn look(shown: &Shown) -> Option<View> {
    let shown = shown.clone();
    let look = move || {
        let (_, mut health) = health::now(&shown);
        // Changes every second, and nobody watches it.
        health.as_object_mut().and_then(|health| health.remove("uptime_seconds"));
        let images = json!({ "images": images::newest(&shown.parts.spool, IMAGES) });
        let mut view: View =
            vec![("health", health.to_string().into()), ("images", images.to_string().into())];
        match queue::open(&shown.parts.outbox) {
            Ok(queue) => view.push(("queue", queue.to_string().into())),
            Err(error) => log::warn!("the page sees no deliveries: {error}"),
        }
        if let Some(second) = &shown.parts.shadow {
            view.push(("shadow", shadow::now(second).to_string().into()));
        }
        view
    };
    images::blocking(look).await
}

pub(super) async fn events(
    State(shown): State<Shown>,
    Extension(visitor): Extension<Visitor>,
    headers: HeaderMap,
) -> Response {
    let receiver = shown.feed.0.subscribe();
    if shown.feed.0.receiver_count() > MOST {
        return json_error(StatusCode::SERVICE_UNAVAILABLE, "too many pages watch");
    }
    let watcher = Watcher { shown, visitor, headers, receiver, sent: None, pending: Vec::new() };
    let events = stream::unfold(watcher, |mut watcher| async {
        let event = watcher.next().await?;
        Some((Ok::<_, Infallible>(event), watcher))
    });
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}

struct Watcher {
    shown: Shown,
    visitor: Visitor,
    headers: HeaderMap,
    receiver: watch::Receiver<View>,
    /// What he has; `None` at first.
    sent: Option<View>,
    pending: Vec<(&'static str, Arc<str>)>,
}

impl Watcher {
    /// What is new; `None` when he may no longer look, or the daemon stops.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((name, data)) = self.pending.pop() {
                return Some(Event::default().event(name).data(&*data));
            }
            let view = match &self.sent {
                None => look(&self.shown).await?,
                Some(_) => {
                    tokio::select! {
                        changed = self.receiver.changed() => changed.ok()?,
                        () = self.shown.parts.shutdown.cancelled() => return None,
                    }
                    self.receiver.borrow_and_update().clone()
                }
            };
            // He may have been logged out since, or removed.
            let (doors, now) = (self.shown.parts.doors.get(), Instant::now());
            let who = doors.who(&self.headers, &self.visitor, &self.shown.sessions, now);
            if who == Who::Nobody {
                return None;
            }
            let has = self.sent.replace(view.clone()).unwrap_or_default();
            self.pending = view.into_iter().filter(|part| !has.contains(part)).rev().collect();
        }
    }
}
