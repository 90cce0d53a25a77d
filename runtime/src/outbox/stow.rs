//! STOW-RS (PS3.18 10.5): one object in one POST.

use crate::dicomweb::{Server, WebAnswer, WebError};
use hyper::{
    Request,
    body::Bytes,
    header::{ACCEPT, CONTENT_TYPE, LOCATION, RETRY_AFTER},
};
use serde_json::Value;
use std::time::{Duration, SystemTime};

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

const MOST_ANSWER_BYTES: usize = 1 << 20;
/// The object is binary and begins with 128 zeros; this cannot be in it by accident.
const BOUNDARY: &str = "cxr-edge-7c0e4a52c1d84a0f9e6b";

/// Sends `object`, a Part 10 file, to the studies of `server`.
pub(super) async fn store(server: Server<'_>, object: &[u8]) -> Result<StowAnswer, WebError> {
    let content_type =
        format!("multipart/related; type=\"application/dicom\"; boundary={BOUNDARY}");
    let request = Request::builder()
        .method("POST")
        .header(CONTENT_TYPE, content_type)
        .header(ACCEPT, "application/dicom+json");
    let path = server.url.path_and_query().map_or("/", |path| path.as_str());
    let answer = server.exchange(path, request, body(object), MOST_ANSWER_BYTES).await?;
    let WebAnswer { status, headers, body } = &answer;
    let location = headers.get(LOCATION);
    let location = location.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let retry_after = wait(answer.header(RETRY_AFTER), SystemTime::now());
    Ok(StowAnswer { status: *status, said: read(body), location, retry_after })
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
