//! The page's files. They hold no data: what the page shows it asks for, and that needs a role.

use axum::{
    http::header,
    response::{IntoResponse, Response},
};

pub(super) async fn page() -> Response {
    file("text/html; charset=utf-8", include_str!("page.html"))
}

pub(super) async fn style() -> Response {
    file("text/css; charset=utf-8", include_str!("page.css"))
}

pub(super) async fn script() -> Response {
    file("text/javascript; charset=utf-8", include_str!("page.js"))
}

pub(super) async fn interface() -> Response {
    file("application/json", OPENAPI)
}

/// Written by hand; a test holds it to [`super::routes`].
pub(super) const OPENAPI: &str = include_str!("openapi.json");

fn file(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}
