//! STOW-RS (PS3.18 10.5): one object in one POST.

use crate::{
    dial::{Unreachable, dial},
    tls::{Connection, client::Connector},
};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, Uri,
    body::{Bytes, Incoming},
    client::conn::http1::handshake,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, LOCATION, RETRY_AFTER},
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::time::{Duration, SystemTime};
use thiserror::Error;

/// What the server says about the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StowAnswer {
    /// Of HTTP.
    pub(super) status: u16,
    pub(super) said: Said,
    /// Where it sends us, if it does.
    pub(super) location: Option<String>,
    /// When it wants to be asked again.
    pub(super) retry_after: Option<Duration>,
}

/// What its answer's body says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Nothing that we can read.
    Nothing,
    /// A store response without failures.
    Stored,
    /// Failure Reason, where there is one.
    Failed(Option<u16>),
}

#[derive(Debug, Error)]
pub(super) enum StowError {
    #[error("{0}")]
    Unreachable(#[from] Unreachable),
    #[error("no answer in {limit:?}")]
    Silent { limit: Duration },
    #[error("{0}")]
    Broken(String),
}

const MOST_ANSWER_BYTES: usize = 1 << 20;
/// The object is binary and begins with 128 zeros; this cannot be in it by accident.
const BOUNDARY: &str = "cxr-edge-7c0e4a52c1d84a0f9e6b";

/// Sends `object`, a Part 10 file, to `url`. `timeout`: connecting, and the whole exchange after that.
pub(super) async fn store(
    url: &Uri,
    object: &[u8],
    tls: Option<&Connector>,
    authorization: Option<&HeaderValue>,
    timeout: Duration,
) -> Result<StowAnswer, StowError> {
    let host = url.host().unwrap_or_default();
    let port = url.port_u16().unwrap_or(if url.scheme_str() == Some("https") { 443 } else { 80 });
    let address = format!("{host}:{port}");
    let stream = dial(&address, tls, timeout).await?;
    let exchange = exchange(url, object, authorization, stream);
    tokio::time::timeout(timeout, exchange)
        .await
        .unwrap_or(Err(StowError::Silent { limit: timeout }))
}

async fn exchange(
    url: &Uri,
    object: &[u8],
    authorization: Option<&HeaderValue>,
    stream: Connection,
) -> Result<StowAnswer, StowError> {
    let broken = |error: hyper::Error| StowError::Broken(chain(&error));
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::post(path);
    let request = match authorization {
        Some(value) => request.header(AUTHORIZATION, value),
        None => request,
    };
    let request = request
        .header(HOST, url.authority().map_or("", |authority| authority.as_str()))
        .header(
            CONTENT_TYPE,
            format!("multipart/related; type=\"application/dicom\"; boundary={BOUNDARY}"),
        )
        .header(ACCEPT, "application/dicom+json")
        .body(Full::new(body(object)))
        .map_err(|error| StowError::Broken(error.to_string()))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status().as_u16();
        let location = response.headers().get(LOCATION);
        let location = location.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|text| wait(text, SystemTime::now()));
        let said = said(response.into_body()).await?;
        Ok(StowAnswer { status, said, location, retry_after })
    };
    tokio::pin!(answer, connection);
    let ended = tokio::select! {
        answer = &mut answer => return answer,
        ended = &mut connection => ended,
    };
    // The server has closed; what it said before is there.
    answer.await.map_err(|error| ended.map_or_else(broken, |()| error))
}

/// How long a `Retry-After` means: seconds, or a date.
fn wait(text: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(text.trim()).ok()?;
    Some(until.duration_since(now).unwrap_or_default())
}

/// The one part, and the lines around it.
fn body(object: &[u8]) -> Bytes {
    let mut body = Vec::with_capacity(object.len() + 200);
    body.extend_from_slice(
        format!("--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n").as_bytes(),
    );
    body.extend_from_slice(object);
    body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
    body.into()
}

async fn said(body: Incoming) -> Result<Said, StowError> {
    let body = Limited::new(body, MOST_ANSWER_BYTES).collect().await;
    let body = body.map_err(|error| StowError::Broken(format!("its answer: {error}")))?;
    Ok(read(&body.to_bytes()))
}

/// Reads a store response (PS3.18 I.2) in DICOM JSON.
fn read(body: &[u8]) -> Said {
    let Ok(response) = serde_json::from_slice::<Value>(body) else { return Said::Nothing };
    // Some servers wrap the one response in a list.
    let response = response.get(0).unwrap_or(&response);
    if !response.is_object() {
        return Said::Nothing;
    }
    let failed = &response["00081198"]["Value"][0];
    if failed.is_object() {
        let reason = failed["00081197"]["Value"][0].as_u64();
        return Said::Failed(reason.and_then(|reason| u16::try_from(reason).ok()));
    }
    if response["00081199"]["Value"][0].is_object() { Said::Stored } else { Said::Nothing }
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes: Vec<_> =
        std::iter::successors(Some(error), |e| e.source()).map(ToString::to_string).collect();
    causes.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_body_says_what_failed_and_why() {
        let failed =
            br#"{"00081198":{"vr":"SQ","Value":[{"00081197":{"vr":"US","Value":[42752]}}]}}"#;
        assert_eq!(read(failed), Said::Failed(Some(0xa700)));
        let silent =
            br#"{"00081198":{"vr":"SQ","Value":[{"00081155":{"vr":"UI","Value":["1.2"]}}]}}"#;
        assert_eq!(read(silent), Said::Failed(None));
        let stored =
            br#"[{"00081199":{"vr":"SQ","Value":[{"00081155":{"vr":"UI","Value":["1.2"]}}]}}]"#;
        assert_eq!(read(stored), Said::Stored);
        for nothing in [&b""[..], b"{}", b"<NativeDicomModel/>", b"[]", b"7", b"{\"00081198\":7}"] {
            assert_eq!(read(nothing), Said::Nothing, "{}", String::from_utf8_lossy(nothing));
        }
    }

    #[test]
    fn retry_after_is_a_number_of_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Mon, 30 Nov 2026 10:00:00 GMT").unwrap();
        let seconds = |text| wait(text, now).map(|wait| wait.as_secs());
        assert_eq!(seconds("120"), Some(120));
        assert_eq!(seconds("Mon, 30 Nov 2026 10:02:00 GMT"), Some(120));
        assert_eq!(seconds("Mon, 30 Nov 2026 09:00:00 GMT"), Some(0), "it is over");
        for nonsense in ["", "soon", "-1", "1.5", "99999999999999999999999"] {
            assert_eq!(seconds(nonsense), None, "{nonsense}");
        }
    }

    proptest! {
        #[test]
        fn no_retry_after_panics(text in "[ -~]{0,40}") {
            let _ = wait(&text, SystemTime::UNIX_EPOCH);
        }

        #[test]
        fn noise_never_panics(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&body);
        }

        #[test]
        fn json_never_panics(body in "[\\[\\]{}:,\"0-9a-f]{0,200}") {
            let _ = read(body.as_bytes());
        }
    }
}
