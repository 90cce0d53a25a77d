//! Deliveries: what waits, what failed, and what people decide about it.

use super::{Shown, doors::Who, images::blocking, json_error};
use crate::{
    audit::Event,
    outbox::{DatabaseError, Filter, Outbox, Row},
};
use axum::{
    Extension, Json,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listing {
    /// Also what is delivered or dropped.
    #[serde(default)]
    all: bool,
    /// Only those with a smaller number: the next page.
    before: Option<i64>,
    #[serde(default = "default_limit")]
    limit: usize,
}

fn default_limit() -> usize {
    100
}

const MOST: usize = 1000;

pub(super) async fn list(State(shown): State<Shown>, Query(listing): Query<Listing>) -> Response {
    let Listing { all, before, limit } = listing;
    let filter = Filter { open: !all, before, limit: limit.min(MOST), ..Filter::default() };
    match blocking(move || view(&shown.parts.outbox, &filter)).await {
        Some(Ok(view)) => Json(view).into_response(),
        Some(Err(error)) => failed(&error),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// What is open, the newest first, for the page.
pub(super) fn open(outbox: &Outbox) -> Result<Value, DatabaseError> {
    view(outbox, &Filter { open: true, limit: default_limit(), ..Filter::default() })
}

fn view(outbox: &Outbox, filter: &Filter) -> Result<Value, DatabaseError> {
    let links: Vec<Value> = outbox
        .links()?
        .into_iter()
        .map(|(name, link)| json!({ "destination": name, "link": link }))
        .collect();
    Ok(json!({
        "summary": outbox.summary()?,
        "destinations": links,
        "deliveries": outbox.list(filter)?,
    }))
}

pub(super) async fn retry(shown: State<Shown>, who: Extension<Who>, id: Path<i64>) -> Response {
    decide(shown, who, id, "retry", Outbox::retry).await
}

pub(super) async fn hold(shown: State<Shown>, who: Extension<Who>, id: Path<i64>) -> Response {
    decide(shown, who, id, "hold", Outbox::hold).await
}

pub(super) async fn release(shown: State<Shown>, who: Extension<Who>, id: Path<i64>) -> Response {
    decide(shown, who, id, "release", Outbox::release).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Why {
    reason: String,
}

pub(super) async fn drop(
    shown: State<Shown>,
    who: Extension<Who>,
    id: Path<i64>,
    Json(Why { reason }): Json<Why>,
) -> Response {
    decide(shown, who, id, "drop", move |outbox, id| outbox.drop_row(id, &reason)).await
}

async fn decide(
    State(shown): State<Shown>,
    Extension(who): Extension<Who>,
    Path(id): Path<i64>,
    decision: &'static str,
    act: impl FnOnce(&Outbox, i64) -> Result<Row, DatabaseError> + Send + 'static,
) -> Response {
    let (Who::Person { name, .. } | Who::Program { name, .. }) = who else {
        return json_error(StatusCode::UNAUTHORIZED, "log in first");
    };
    let outbox = shown.parts.outbox.clone();
    match blocking(move || act(&outbox, id)).await {
        Some(Ok(row)) => {
            log::info!("{name}: {decision} of delivery {id}");
            let decision = decision.into();
            shown.parts.audit.write(Event::Decision { who: name, decision, delivery: id });
            Json(row).into_response()
        }
        Some(Err(error)) => failed(&error),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn failed(error: &DatabaseError) -> Response {
    let code = match error {
        DatabaseError::NoRow { .. } => StatusCode::NOT_FOUND,
        DatabaseError::NoReason => StatusCode::UNPROCESSABLE_ENTITY,
        DatabaseError::Done { .. } => StatusCode::CONFLICT,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    json_error(code, &error.to_string())
}
