//! What was answered and delivered, day by day.

use super::{Shown, images::blocking, json_error};
use axum::{
    Json,
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::json;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Span {
    #[serde(default = "default_days")]
    days: u32,
}

fn default_days() -> u32 {
    30
}

const MOST_DAYS: u32 = 366;

pub(super) async fn trends(State(shown): State<Shown>, Query(span): Query<Span>) -> Response {
    if !(1..=MOST_DAYS).contains(&span.days) {
        let what = format!("days is {}, expected 1 to {MOST_DAYS}", span.days);
        return json_error(StatusCode::BAD_REQUEST, &what);
    }
    match blocking(move || shown.parts.outbox.history(span.days)).await {
        Some(Ok(days)) => Json(json!({ "days": days })).into_response(),
        Some(Err(error)) => json_error(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
