//! How far the second bundle agrees with the one that answers.

use super::{Shown, images::blocking, json_error};
use crate::{
    metrics::Labelled,
    shadow::{FindingSummary, Shadow, Summary},
};
use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

pub(super) async fn shadow(State(shown): State<Shown>) -> Response {
    let Some(shadow) = shown.parts.shadow.clone() else {
        return json_error(StatusCode::NOT_FOUND, "no second bundle looks on: see [shadow]");
    };
    match blocking(move || now(&shadow)).await {
        Some(now) => Json(now).into_response(),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

pub(super) fn now(shadow: &Shadow) -> Value {
    json!({ "status": shadow.status(), "agreement": shadow.summary() })
}

/// The calls of each finding by both bundles.
pub(super) fn metrics(summary: &Summary) -> Labelled {
    let calls = |row: &FindingSummary| {
        [
            ("positive", "positive", row.both_positive),
            ("positive", "negative", row.only_answer),
            ("negative", "positive", row.only_shadow),
            ("negative", "negative", row.both_negative),
        ]
        .map(|(answer, shadow, count)| {
            let calls = [("answer", answer.to_owned()), ("shadow", shadow.to_owned())];
            let labels = [("finding", row.name.clone())].into_iter().chain(calls).collect();
            (labels, i64::try_from(count).unwrap_or(i64::MAX))
        })
    };
    Labelled {
        name: "cxr_shadow_calls",
        help: "Images by what the bundle that answers and the one that looks on called a finding",
        rows: summary.findings.iter().flat_map(calls).collect(),
    }
}
