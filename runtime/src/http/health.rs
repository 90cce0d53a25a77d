//! How the daemon is, for people, load balancers and Prometheus.

use super::{Shown, doors::Who, images::blocking, shadow};
use crate::health::{self, Word};
use axum::{
    Extension, Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use std::{fs, path::Path};

pub(super) async fn metrics(State(shown): State<Shown>) -> Response {
    let page = move || {
        let facts = shown.parts.watched.facts();
        let mut labelled = health::labelled(&facts);
        let summary = shown.parts.shadow.as_ref().and_then(|shadow| shadow.summary());
        labelled.extend(summary.as_ref().map(shadow::metrics));
        shown.parts.metrics.page(&health::gauges(&facts), &labelled)
    };
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
    if let Some(celsius) = temperature(Path::new("/sys/class/thermal")) {
        body["temperature_celsius"] = celsius.into();
    }
    body["version"] = env!("CARGO_PKG_VERSION").into();
    (code, body)
}

/// The warmest zone, where the machine says; each in thousandths of a degree.
fn temperature(zones: &Path) -> Option<f64> {
    let zones = fs::read_dir(zones).ok()?.filter_map(Result::ok);
    let read = |zone: fs::DirEntry| -> Option<i32> {
        fs::read_to_string(zone.path().join("temp")).ok()?.trim().parse().ok()
    };
    zones.filter_map(read).max().map(|thousandths| f64::from(thousandths) / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warmest_zone_that_can_be_read_counts() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(temperature(folder.path()), None);
        for (zone, text) in [("0", "41500\n"), ("1", "63250\n"), ("2", "nonsense"), ("3", "")] {
            fs::create_dir(folder.path().join(zone)).unwrap();
            fs::write(folder.path().join(zone).join("temp"), text).unwrap();
        }
        fs::create_dir(folder.path().join("4")).unwrap();
        assert_eq!(temperature(folder.path()), Some(63.25));
        assert_eq!(temperature(Path::new("/nonexistent")), None);
    }
}
