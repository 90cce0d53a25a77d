//! Whether images look as they did when the network was calibrated.

use super::{Shown, images::blocking};
use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;

pub(super) async fn drift(State(shown): State<Shown>) -> Response {
    let drift = shown.parts.drift.clone();
    let now = move || json!({ "status": drift.status(), "summary": drift.summary() });
    match blocking(now).await {
        Some(now) => Json(now).into_response(),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
