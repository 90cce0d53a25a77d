//! What the daemon shows: findings, overlays, health, metrics, and one page for people.
//!
//! Read only. The page is a single file without outside resources, so it works in a closed network.

use crate::{
    health::{self, Watched, Word},
    metrics::Metrics,
    shutdown::Shutdown,
    spool::{Entry, Spool, State as ImageState},
    uid::Uid,
};
use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{HeaderName, StatusCode, header},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use results::Record;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    io,
    sync::Arc,
    time::{Instant, SystemTime},
};
use tokio::{net::TcpListener, task::spawn_blocking};

/// What the handlers look at.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) spool: Arc<Spool>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) watched: Arc<Watched>,
    pub(crate) ae_title: String,
    pub(crate) started: Instant,
}

/// Serves until shutdown.
pub(crate) async fn run(listener: TcpListener, shown: Shown, shutdown: Shutdown) -> io::Result<()> {
    let router = router(shown);
    axum::serve(listener, router)
        .with_graceful_shutdown(async move { shutdown.cancelled().await })
        .await
}

fn router(shown: Shown) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .route("/images", get(images))
        .route("/images/{uid}", get(image))
        .route("/images/{uid}/overlay.png", get(overlay))
        .with_state(shown)
}

/// Findings are personal data: nothing may be cached on the way, framed, or sent elsewhere by a script.
const HEADERS: [(HeaderName, &str); 4] = [
    (header::CACHE_CONTROL, "no-store"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src 'self'; connect-src 'self'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
];

async fn page() -> Response {
    (HEADERS, Html(include_str!("page.html"))).into_response()
}

async fn metrics(State(shown): State<Shown>) -> Response {
    let page = blocking(move || shown.metrics.page(&health::gauges(&shown.watched.facts()))).await;
    let Some(page) = page else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], page).into_response()
}

async fn health(State(shown): State<Shown>) -> Response {
    let watched = shown.watched.clone();
    let Some(facts) = blocking(move || watched.facts()).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let code = match health::judge(&facts).word {
        Word::Ok => StatusCode::OK,
        Word::Failing | Word::NotReady => StatusCode::SERVICE_UNAVAILABLE,
    };
    let mut body = health::body(&facts);
    body["answered_since_start"] = shown.metrics.latency.count().into();
    body["ae_title"] = shown.ae_title.into();
    body["uptime_seconds"] = shown.started.elapsed().as_secs().into();
    body["version"] = env!("CARGO_PKG_VERSION").into();
    (code, HEADERS, Json(body)).into_response()
}

#[derive(Debug, Deserialize)]
struct Listing {
    #[serde(default = "default_limit")]
    limit: usize,
}

fn default_limit() -> usize {
    50
}

/// One image in the list.
#[derive(Debug, Serialize)]
struct Listed {
    sop_instance_uid: Uid,
    received: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Record>,
}

async fn images(State(shown): State<Shown>, Query(listing): Query<Listing>) -> Response {
    let listed = blocking(move || {
        let entries = shown.spool.newest(listing.limit.min(1000));
        entries.iter().map(|entry| listed(&shown.spool, entry)).collect::<Vec<_>>()
    });
    match listed.await {
        Some(images) => (HEADERS, Json(json!({ "images": images }))).into_response(),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn listed(spool: &Spool, entry: &Entry) -> Listed {
    let bytes =
        (entry.state == ImageState::Answered).then(|| spool.result(&entry.key).ok()).flatten();
    Listed {
        sop_instance_uid: entry.key.uid.clone(),
        received: rfc3339(entry.received),
        state: state_name(entry.state),
        result: bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).map(Record::shown),
    }
}

#[derive(Debug, Deserialize)]
struct Which {
    /// 0 is the newest object received under the UID.
    #[serde(default)]
    revision: usize,
}

async fn image(
    State(shown): State<Shown>,
    Path(uid): Path<String>,
    Query(which): Query<Which>,
) -> Response {
    let entry = match find(&shown, &uid, which.revision) {
        Ok(entry) => entry,
        Err(response) => return response,
    };
    if entry.state != ImageState::Answered {
        let body = json!({ "sop_instance_uid": entry.key.uid, "status": state_name(entry.state) });
        return (StatusCode::ACCEPTED, HEADERS, Json(body)).into_response();
    }
    let read = move || -> io::Result<Record> {
        Ok(serde_json::from_slice(&shown.spool.result(&entry.key)?)?)
    };
    match blocking(read).await {
        Some(Ok(record)) => (HEADERS, Json(record.shown())).into_response(),
        _ => gone(),
    }
}

async fn overlay(
    State(shown): State<Shown>,
    Path(uid): Path<String>,
    Query(which): Query<Which>,
) -> Response {
    let entry = match find(&shown, &uid, which.revision) {
        Ok(entry) => entry,
        Err(response) => return response,
    };
    match blocking(move || shown.spool.overlay(&entry.key)).await {
        Some(Ok(bytes)) => (HEADERS, [(header::CONTENT_TYPE, "image/png")], bytes).into_response(),
        _ => missing("no overlay: the image was not analysed, or not yet"),
    }
}

#[expect(clippy::result_large_err, reason = "a response, made once per request")]
fn find(shown: &Shown, uid: &str, revision: usize) -> Result<Entry, Response> {
    let Ok(uid) = Uid::parse(uid) else {
        let body = json!({ "error": "no SOP instance UID: expected digits and dots" });
        return Err((StatusCode::BAD_REQUEST, Json(body)).into_response());
    };
    let mut revisions = shown.spool.revisions(&uid);
    if revision < revisions.len() {
        Ok(revisions.swap_remove(revision))
    } else {
        Err(missing("no such image"))
    }
}

fn missing(what: &str) -> Response {
    (StatusCode::NOT_FOUND, HEADERS, Json(json!({ "error": what }))).into_response()
}

/// Purged between look-up and reading.
fn gone() -> Response {
    (StatusCode::GONE, HEADERS, Json(json!({ "error": "the answer was removed" }))).into_response()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    spawn_blocking(work).await.ok()
}

fn state_name(state: ImageState) -> &'static str {
    match state {
        ImageState::Waiting => "waiting",
        ImageState::Running => "running",
        ImageState::Answered => "answered",
    }
}

pub(crate) fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}
