//! Logging in and out.

use super::{
    Shown,
    doors::{Who, cookie, cookie_name},
    json_error,
    server::Visitor,
    session::Failures,
};
use crate::audit::Event;
use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::json;
use std::{
    net::IpAddr,
    time::{Duration, Instant},
};
use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};

/// Checking a password takes memory and a core: one at a time.
#[derive(Debug)]
pub(super) struct LogIns {
    one: Semaphore,
    failures: Failures,
}

impl LogIns {
    pub(super) fn new() -> Self {
        Self { one: Semaphore::new(1), failures: Failures::default() }
    }
}

/// How long somebody waits for those who log in before him.
const TURN: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Credentials {
    name: String,
    password: String,
}

/// Who one is, and what every POST must show.
pub(super) async fn session(
    State(shown): State<Shown>,
    Extension(who): Extension<Who>,
) -> Response {
    let (name, csrf) = match &who {
        Who::Person { name, csrf, .. } => (Some(name), Some(csrf)),
        Who::Program { name, .. } => (Some(name), None),
        Who::Here | Who::Nobody => (None, Some(&shown.sessions.anonymous_csrf)),
    };
    let users = !shown.parts.doors.get().users.is_empty();
    Json(json!({ "name": name, "role": who.role(), "csrf": csrf, "log_in": users })).into_response()
}

pub(super) async fn log_in(
    State(shown): State<Shown>,
    Extension(visitor): Extension<Visitor>,
    headers: HeaderMap,
    Json(credentials): Json<Credentials>,
) -> Response {
    let Ok(Ok(_turn)) = timeout(TURN, shown.log_ins.one.acquire()).await else {
        return json_error(StatusCode::SERVICE_UNAVAILABLE, "too many log in at the same time");
    };
    let doors = shown.parts.doors.get();
    // An unknown name may be a password in the wrong field: it is not written down.
    let known = doors.users.user(&credentials.name).map(|user| user.name.clone());
    let known = known.unwrap_or_default();
    let audit = |outcome| {
        let (who, from) = (known.clone(), visitor.address.to_string());
        shown.parts.audit.write(Event::LogIn { who, from, outcome });
    };
    let failures = &shown.log_ins.failures;
    if let Some(wait) = failures.wait(visitor.address, Instant::now()) {
        audit("too early");
        return too_early(visitor.address, wait);
    }
    let verify = move || {
        let Credentials { name, password } = credentials;
        doors.users.log_in(&name, &password).map(|user| (user.name.clone(), user.stamp()))
    };
    let Some((name, stamp)) = spawn_blocking(verify).await.ok().flatten() else {
        failures.failed(visitor.address, Instant::now());
        audit("refused");
        let name = if known.is_empty() { "an unknown name" } else { &known };
        log::warn!("{}: failed to log in as {name}", visitor.address);
        return json_error(StatusCode::UNAUTHORIZED, "name or password is wrong");
    };
    failures.succeeded(visitor.address);
    if let Some(before) = cookie(&headers, visitor.encrypted) {
        shown.sessions.end(before);
    }
    match shown.sessions.begin(&name, stamp, Instant::now()) {
        Ok(value) => {
            audit("ok");
            log::info!("{}: {name} logged in", visitor.address);
            ([(header::SET_COOKIE, set_cookie(&value, "", visitor.encrypted))], Json(json!({})))
                .into_response()
        }
        Err(error) => {
            log::error!("cannot begin a session: {error}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

pub(super) async fn log_out(
    State(shown): State<Shown>,
    Extension(visitor): Extension<Visitor>,
    Extension(who): Extension<Who>,
    headers: HeaderMap,
) -> Response {
    if let Who::Person { name: who, .. } = who {
        shown.parts.audit.write(Event::LogOut { who, from: visitor.address.to_string() });
    }
    if let Some(value) = cookie(&headers, visitor.encrypted) {
        shown.sessions.end(value);
    }
    let forget = set_cookie("", "; Max-Age=0", visitor.encrypted);
    ([(header::SET_COOKIE, forget)], Json(json!({}))).into_response()
}

fn set_cookie(value: &str, age: &str, encrypted: bool) -> String {
    let secure = if encrypted { "; Secure" } else { "" };
    format!("{}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{age}", cookie_name(encrypted))
}

fn too_early(address: IpAddr, wait: Duration) -> Response {
    let seconds = wait.as_secs_f64().ceil();
    log::warn!("{address}: must wait {seconds} s before the next try to log in");
    let what = format!("too many failures: try again in {seconds} s");
    let mut response = json_error(StatusCode::TOO_MANY_REQUESTS, &what);
    response.headers_mut().insert(header::RETRY_AFTER, (seconds as u64).into());
    response
}
