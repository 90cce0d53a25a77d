//! What the daemon shows and lets people do: findings, overlays, health, metrics, and a page.
//!
//! ```text
//! server     connections: bounds, deadlines, TLS                   TcpStream → requests
//! doors      whose requests are answered                           request → Who, or a refusal
//! session    who is logged in; who guesses passwords               cookie → Session
//! login      logging in and out
//! images     images, findings, overlays
//! queue      deliveries, and what people decide about them
//! health     health and metrics
//! drift      whether images look as they did at calibration
//! shadow     how far the second bundle agrees
//! trends     what was answered and delivered, day by day
//! events     what changed, as it changes                           → server-sent events
//! assets     the page, without outside resources: it works in a closed network
//! ```
//!
//! [`routes`] lists everything that can be asked for, with the role it needs; start there.

mod assets;
mod doors;
mod drift;
mod events;
mod health;
mod images;
mod login;
mod queue;
mod server;
mod session;
mod shadow;
mod trends;

pub(crate) use doors::Doors;
pub(crate) use images::rfc3339;

use crate::{
    audit::Audit, config::HttpConfig, configuration::Configuration, current::Current, drift::Drift,
    health::Watched, metrics::Metrics, outbox::Outbox, pictures::Pictures, shadow::Shadow,
    shutdown::Shutdown, spool::Spool, users::Role,
};
use axum::{
    Extension, Json, Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use doors::Refused;
use login::LogIns;
use serde_json::json;
use server::Visitor;
use session::Sessions;
use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{net::TcpListener, time::timeout};

/// What the daemon is made of, as far as it can be shown.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) spool: Arc<Spool>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) watched: Arc<Watched>,
    pub(crate) pictures: Arc<Pictures>,
    pub(crate) audit: Arc<Audit>,
    pub(crate) ae_title: String,
    pub(crate) started: Instant,
    pub(crate) doors: Arc<Current<Doors>>,
    pub(crate) configuration: Arc<Configuration>,
    pub(crate) outbox: Arc<Outbox>,
    /// If a second bundle looks on.
    pub(crate) shadow: Option<Arc<Shadow>>,
    pub(crate) drift: Arc<Drift>,
    pub(crate) shutdown: Shutdown,
}

/// What the handlers look at.
#[derive(Clone, Debug)]
struct Shown {
    parts: Parts,
    sessions: Arc<Sessions>,
    log_ins: Arc<LogIns>,
    feed: Arc<events::Feed>,
    answer_limit: Duration,
}

/// Serves until shutdown.
pub(crate) async fn run(listener: TcpListener, parts: Parts, config: HttpConfig) -> io::Result<()> {
    let (doors, shutdown) = (parts.doors.clone(), parts.shutdown.clone());
    let shown = Shown {
        parts,
        sessions: Arc::new(Sessions::new()?),
        log_ins: Arc::new(LogIns::new()),
        feed: Arc::default(),
        answer_limit: config.answer_seconds,
    };
    let feed = tokio::spawn(events::watch(shown.clone()));
    let tls = move || doors.get().tls.clone();
    server::run(listener, router(&shown), tls, config, shutdown).await;
    feed.abort();
    Ok(())
}

/// Something that can be asked for.
struct Route {
    method: Method,
    path: &'static str,
    /// `None`: anybody may ask.
    needs: Option<Role>,
    answer: MethodRouter<Shown>,
}

fn routes() -> Vec<Route> {
    let reads = |path, needs, answer| Route { method: Method::GET, path, needs, answer };
    let acts = |path, needs, answer| Route { method: Method::POST, path, needs, answer };
    let (look, operate) = (Some(Role::Look), Some(Role::Operate));
    vec![
        reads("/", None, get(assets::page)),
        reads("/page.css", None, get(assets::style)),
        reads("/page.js", None, get(assets::script)),
        reads("/openapi.json", None, get(assets::interface)),
        reads("/session", None, get(login::session)),
        acts("/login", None, post(login::log_in)),
        acts("/logout", None, post(login::log_out)),
        reads("/health", None, get(health::health)),
        reads("/metrics", look, get(health::metrics)),
        reads("/events", look, get(events::events)),
        reads("/queue", look, get(queue::list)),
        acts("/queue/{id}/retry", operate, post(queue::retry)),
        acts("/queue/{id}/hold", operate, post(queue::hold)),
        acts("/queue/{id}/release", operate, post(queue::release)),
        acts("/queue/{id}/drop", operate, post(queue::drop)),
        reads("/shadow", look, get(shadow::shadow)),
        reads("/drift", look, get(drift::drift)),
        reads("/trends", look, get(trends::trends)),
        reads("/images", look, get(images::images)),
        reads("/images/{uid}", look, get(images::image)),
        reads("/images/{uid}/overlay.png", look, get(images::overlay)),
    ]
}

/// Bytes of a request's body.
const BODY_BYTES: usize = 16 << 10;

fn router(shown: &Shown) -> Router {
    let guarded = |route: Route| {
        let changes = route.method != Method::GET;
        let guard = from_fn_with_state((shown.clone(), route.needs, changes), authorize);
        (route.path, route.answer.layer(guard))
    };
    let router = routes()
        .into_iter()
        .map(guarded)
        .fold(Router::new(), |router, (path, answer)| router.route(path, answer));
    router
        .fallback(async || json_error(StatusCode::NOT_FOUND, "no such page"))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(from_fn_with_state(shown.clone(), enter))
        .with_state(shown.clone())
}

/// Findings are personal data: nothing may be cached on the way, framed, or sent elsewhere by a script.
const HEADERS: [(HeaderName, HeaderValue); 5] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
             connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
];

/// First of all: the name that was asked for, the deadline, and the headers of every answer.
async fn enter(
    State(shown): State<Shown>,
    Extension(visitor): Extension<Visitor>,
    request: Request,
    next: Next,
) -> Response {
    let _busy = visitor.busy();
    let ours =
        shown.parts.doors.get().host_is_ours(request.uri(), request.headers(), visitor.local);
    let mut response = if !ours {
        let what = "not a name of this box: it stands under [http] hosts, or nobody asks for it";
        json_error(StatusCode::MISDIRECTED_REQUEST, what)
    } else if let Ok(response) = timeout(shown.answer_limit, next.run(request)).await {
        response
    } else {
        json_error(StatusCode::REQUEST_TIMEOUT, "took too long")
    };
    response.headers_mut().extend(HEADERS);
    response
}

/// Then: who asks, and whether he may.
async fn authorize(
    State((shown, needs, changes)): State<(Shown, Option<Role>, bool)>,
    Extension(visitor): Extension<Visitor>,
    mut request: Request,
    next: Next,
) -> Response {
    let doors = shown.parts.doors.get();
    let who = doors.who(request.headers(), &visitor, &shown.sessions, Instant::now());
    let csrf = &shown.sessions.anonymous_csrf;
    let refused = match Doors::allow(&who, needs, changes, request.headers(), csrf) {
        Ok(()) => {
            request.extensions_mut().insert(who);
            return next.run(request).await;
        }
        Err(refused) => refused,
    };
    match refused {
        Refused::LogIn => {
            let mut response = json_error(StatusCode::UNAUTHORIZED, "log in first");
            let challenge = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            response
        }
        Refused::Role(needed) => {
            json_error(StatusCode::FORBIDDEN, &format!("only who may {needed} may do this"))
        }
        Refused::Forged => {
            json_error(StatusCode::FORBIDDEN, "no X-CSRF-Token, or not the one of /session")
        }
    }
}

fn json_error(code: StatusCode, what: &str) -> Response {
    (code, Json(json!({ "error": what }))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn the_interface_is_described_as_it_is() {
        let document: Value = serde_json::from_str(assets::OPENAPI).unwrap();
        let described = document["paths"].as_object().unwrap();
        let mut found: Vec<_> = described
            .iter()
            .flat_map(|(path, methods)| {
                methods.as_object().unwrap().iter().map(move |(method, operation)| {
                    let role = operation["x-role"].as_str().map(str::to_owned);
                    (path.clone(), method.to_uppercase(), role)
                })
            })
            .collect();
        let mut expected: Vec<_> = routes()
            .iter()
            .map(|route| {
                let role = route.needs.map(|role| role.to_string());
                (route.path.to_owned(), route.method.to_string(), role)
            })
            .collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn whatever_changes_something_needs_more_than_looking() {
        let free = ["/login", "/logout"];
        for route in routes().iter().filter(|route| route.method == Method::POST) {
            let enough = route.needs >= Some(Role::Operate);
            assert!(enough || free.contains(&route.path), "{}", route.path);
        }
    }
}
