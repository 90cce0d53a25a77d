//! How the daemon is, for people, load balancers and Prometheus.

use super::{Shown, doors::Who, images::blocking};
use crate::health::{self, Word};
use axum::{
    Extension, Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

pub(super) async fn metrics(State(shown): State<Shown>) -> Response {
    let page = move || shown.parts.metrics.page(&health::gauges(&shown.parts.watched.facts()));
    let Some(page) = blocking(page).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], page).into_response()
}

/// Who is not logged in hears the status and nothing else.
pub(super) async fn health(State(shown): State<Shown>, Extension(who): Extension<Who>) -> Response {
    let Some((code, body)) = blocking(move || now(&shown)).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let body = if who == Who::Nobody { json!({ "status": body["status"] }) } else { body };
    (code, Json(body)).into_response()
}

/// Everything there is to say, and 200 or 503. Blocks: it asks the disk.
pub(super) fn now(shown: &Shown) -> (StatusCode, Value) {
    let parts = &shown.parts;
    let facts = parts.watched.facts();
    let code = match health::judge(&facts).word {
        Word::Ok => StatusCode::OK,
        Word::Failing | Word::NotReady => StatusCode::SERVICE_UNAVAILABLE,
    };
    let mut body = health::body(&facts);
    body["answered_since_start"] = parts.metrics.latency.count().into();
    body["ae_title"] = parts.ae_title.clone().into();
    body["uptime_seconds"] = parts.started.elapsed().as_secs().into();
    body["configuration"] = json!(parts.configuration.state());
    body["version"] = env!("CARGO_PKG_VERSION").into();
    (code, body)
}
