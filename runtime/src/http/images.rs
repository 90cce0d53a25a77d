//! Images, their findings and overlays.

use super::{Shown, json_error};
use crate::{
    spool::{Entry, Spool, State as ImageState},
    uid::Uid,
};
use axum::{
    Json,
    extract::{FromRequestParts, Path, Query, State},
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use results::Record;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{io, time::SystemTime};
use tokio::task::spawn_blocking;

#[derive(Debug, Deserialize)]
pub(super) struct Listing {
    #[serde(default = "default_limit")]
    limit: usize,
}

fn default_limit() -> usize {
    50
}

/// One image in the list.
#[derive(Debug, Serialize)]
pub(super) struct Listed {
    sop_instance_uid: Uid,
    received: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Record>,
}

pub(super) async fn images(State(shown): State<Shown>, Query(listing): Query<Listing>) -> Response {
    match blocking(move || newest(&shown.parts.spool, listing.limit)).await {
        Some(images) => Json(json!({ "images": images })).into_response(),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The newest images with their findings. Reads files.
pub(super) fn newest(spool: &Spool, limit: usize) -> Vec<Listed> {
    let listed = |entry: Entry| {
        let answered = entry.state == ImageState::Answered;
        let bytes = answered.then(|| spool.result(&entry.key).ok()).flatten();
        Listed {
            sop_instance_uid: entry.key.uid,
            received: rfc3339(entry.received),
            state: state_name(entry.state),
            result: bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).map(Record::shown),
        }
    };
    spool.newest(limit.min(1000)).into_iter().map(listed).collect()
}

#[derive(Debug, Deserialize)]
pub(super) struct Which {
    /// 0 is the newest object received under the UID.
    #[serde(default)]
    revision: usize,
}

/// The image that the path and the query name.
pub(super) struct Found(Entry);

impl FromRequestParts<Shown> for Found {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, shown: &Shown) -> Result<Self, Response> {
        let named = <(Path<String>, Query<Which>)>::from_request_parts(parts, shown).await?;
        let (Path(uid), Query(Which { revision })) = named;
        let Ok(uid) = Uid::parse(&uid) else {
            let what = "no SOP instance UID: expected digits and dots";
            return Err(json_error(StatusCode::BAD_REQUEST, what));
        };
        let mut revisions = shown.parts.spool.revisions(&uid);
        if revision >= revisions.len() {
            return Err(missing("no such image"));
        }
        Ok(Self(revisions.swap_remove(revision)))
    }
}

pub(super) async fn image(State(shown): State<Shown>, Found(entry): Found) -> Response {
    if entry.state != ImageState::Answered {
        let body = json!({ "sop_instance_uid": entry.key.uid, "status": state_name(entry.state) });
        return (StatusCode::ACCEPTED, Json(body)).into_response();
    }
    let read = move || -> io::Result<Record> {
        Ok(serde_json::from_slice(&shown.parts.spool.result(&entry.key)?)?)
    };
    match blocking(read).await {
        Some(Ok(record)) => Json(record.shown()).into_response(),
        // Purged between look-up and reading.
        _ => json_error(StatusCode::GONE, "the answer was removed"),
    }
}

/// What an overlay shows beside what all show.
#[derive(Debug, Deserialize)]
pub(super) struct Look {
    /// Of heat maps, that of this finding alone.
    finding: Option<String>,
}

pub(super) async fn overlay(
    State(shown): State<Shown>,
    Found(entry): Found,
    Query(Look { finding }): Query<Look>,
) -> Response {
    if entry.state != ImageState::Answered {
        return missing("no overlay: the image is not analysed yet");
    }
    match shown.parts.pictures.png(&entry.key, finding).await {
        Ok(bytes) => ([(header::CONTENT_TYPE, "image/png")], bytes).into_response(),
        Err(error) => missing(&format!("no overlay: {error}")),
    }
}

fn missing(what: &str) -> Response {
    json_error(StatusCode::NOT_FOUND, what)
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
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
