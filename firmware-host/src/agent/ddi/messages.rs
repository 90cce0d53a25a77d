//! What server and box say to each other: JSON in, JSON out. No I/O.
//!
//! Only what the box acts upon is read. Fields that a server adds are passed over; one that is missing or of another
//! kind is an error that names it.

use super::clock;
use protocol::Digest;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// A server's limits: characters of a message, messages of a report, characters of an attribute.
const MESSAGE: usize = 500;
const MESSAGES: usize = 50;
const ATTRIBUTE: usize = 128;

/// The answer to a poll: when to come again, and where there is something to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Base {
    pub(super) sleep: Option<Duration>,
    pub(super) config_data: Option<String>,
    pub(super) deployment: Option<String>,
    pub(super) confirmation: Option<String>,
    pub(super) cancel: Option<String>,
}

#[derive(Deserialize)]
struct RawBase {
    config: Option<RawConfig>,
    #[serde(rename = "_links", default)]
    links: BTreeMap<String, Link>,
}

#[derive(Deserialize)]
struct RawConfig {
    polling: Option<RawPolling>,
}

#[derive(Deserialize)]
struct RawPolling {
    sleep: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Link {
    href: String,
}

impl Base {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let raw: RawBase = parse(bytes)?;
        let sleep = raw.config.and_then(|config| config.polling).and_then(|polling| polling.sleep);
        let mut links = raw.links;
        let mut link = |name| links.remove(name).map(|link: Link| link.href);
        Ok(Self {
            sleep: sleep.map(|text| clock::interval(&text)).transpose()?,
            config_data: link("configData"),
            deployment: link("deploymentBase"),
            confirmation: link("confirmationBase"),
            cancel: link("cancelAction"),
        })
    }
}

/// How urgently the server wants something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Handling {
    Skip,
    Attempt,
    Forced,
}

/// An order to install something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Deployment {
    pub(super) id: String,
    /// Whether it may be downloaded now.
    pub(super) download: bool,
    /// Whether it may be activated now; not outside of the maintenance window.
    pub(super) update: bool,
    pub(super) artifact: Artifact,
}

/// The file to install. Hexadecimal digests, as far as the server gives them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Artifact {
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) sha1: Option<[u8; 20]>,
    pub(super) sha256: Option<Digest>,
    pub(super) href: String,
}

#[derive(Deserialize)]
struct RawDeployment {
    id: String,
    deployment: RawOrder,
}

#[derive(Deserialize)]
struct RawOrder {
    download: Handling,
    update: Handling,
    #[serde(rename = "maintenanceWindow")]
    window: Option<Window>,
    chunks: Vec<RawChunk>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Window {
    Available,
    Unavailable,
}

#[derive(Deserialize)]
struct RawChunk {
    artifacts: Vec<RawArtifact>,
}

#[derive(Deserialize)]
struct RawArtifact {
    filename: String,
    size: u64,
    #[serde(default)]
    hashes: BTreeMap<String, String>,
    #[serde(rename = "_links")]
    links: BTreeMap<String, Link>,
}

/// Why an order cannot be carried out, and which one it is where that much was understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadOrder {
    pub(super) id: Option<String>,
    pub(super) reason: String,
}

impl Deployment {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, BadOrder> {
        let id = || parse::<Cancelable>(bytes).ok().map(|order| order.id);
        let raw: RawDeployment = parse(bytes).map_err(|reason| BadOrder { id: id(), reason })?;
        let RawDeployment { id, deployment: order } = raw;
        let mut all: Vec<_> = order.chunks.into_iter().flat_map(|chunk| chunk.artifacts).collect();
        let names: Vec<_> = all.iter().map(|artifact| artifact.filename.as_str()).collect();
        let wrong = format!("found {} files ({}), expected one", names.len(), names.join(", "));
        let only = all.pop().filter(|_| all.is_empty());
        let artifact = only.ok_or(wrong).and_then(Artifact::new);
        let artifact = artifact.map_err(|reason| BadOrder { id: Some(id.clone()), reason })?;
        let open = order.window != Some(Window::Unavailable);
        Ok(Self {
            id,
            download: order.download != Handling::Skip,
            update: order.update != Handling::Skip && open,
            artifact,
        })
    }
}

impl Artifact {
    fn new(raw: RawArtifact) -> Result<Self, String> {
        let RawArtifact { filename: name, size, hashes, mut links } = raw;
        let link = ["download", "download-http"].into_iter().find_map(|name| links.remove(name));
        let link = link.ok_or_else(|| format!("no link to download {name}"))?;
        Ok(Self {
            size,
            sha1: digest(&hashes, "sha1", &name)?,
            sha256: digest(&hashes, "sha256", &name)?.map(Digest),
            href: link.href,
            name,
        })
    }
}

fn digest<const N: usize>(
    hashes: &BTreeMap<String, String>,
    kind: &str,
    file: &str,
) -> Result<Option<[u8; N]>, String> {
    let Some(text) = hashes.get(kind) else { return Ok(None) };
    let bytes = hex::decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.map(Some).ok_or_else(|| format!("{kind} of {file} is {text:?}"))
}

#[derive(Deserialize)]
struct Cancelable {
    id: String,
    #[serde(rename = "cancelAction")]
    cancel: Option<RawCancel>,
}

#[derive(Deserialize)]
struct RawCancel {
    #[serde(rename = "stopId")]
    stop: String,
}

/// The action to stop, and the one that says so.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cancel {
    pub(super) id: String,
    pub(super) stop: String,
}

impl Cancel {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let Cancelable { id, cancel } = parse(bytes)?;
        let RawCancel { stop } = cancel.ok_or("no cancelAction in it")?;
        Ok(Self { id, stop })
    }
}

/// The action that waits for a consent.
pub(super) fn waiting_for_consent(bytes: &[u8]) -> Result<String, String> {
    parse::<Cancelable>(bytes).map(|action| action.id)
}

/// How far an action is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Execution {
    Proceeding,
    Downloaded,
    Rejected,
    Succeeded,
    Failed,
}

/// A report on an action, within the server's limits.
pub(super) fn feedback(id: &str, execution: Execution, details: &[String]) -> Value {
    let (execution, finished) = match execution {
        Execution::Proceeding => ("proceeding", "none"),
        Execution::Downloaded => ("downloaded", "none"),
        Execution::Rejected => ("rejected", "none"),
        Execution::Succeeded => ("closed", "success"),
        Execution::Failed => ("closed", "failure"),
    };
    // A long text in several messages.
    let pieces = |text: &String| {
        let characters: Vec<char> = text.chars().collect();
        characters.chunks(MESSAGE).map(String::from_iter).collect::<Vec<_>>()
    };
    let details: Vec<_> = details.iter().flat_map(pieces).take(MESSAGES).collect();
    json!({
        "id": id,
        "status": { "execution": execution, "result": { "finished": finished }, "details": details },
    })
}

pub(super) fn consent() -> Value {
    json!({ "confirmation": "confirmed", "details": ["given by the box's configuration"] })
}

/// What the box says of itself.
pub(super) fn attributes(values: &BTreeMap<&'static str, String>) -> Value {
    let shortened = values
        .iter()
        .map(|(name, value)| (*name, value.chars().take(ATTRIBUTE).collect::<String>()));
    let data: BTreeMap<_, _> = shortened.collect();
    json!({ "mode": "merge", "data": data })
}

fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As hawkBit's documentation shows it.
    const HAWKBIT: &str = r#"{"id":"8","deployment":{"download":"forced","update":"forced","maintenanceWindow":"available","chunks":[{"part":"bApp","version":"1.2.0","name":"chest","artifacts":[{"filename":"chest.swu","hashes":{"sha1":"1b32e2a0e5d1d6f8f0a3b9c4d7e6f5a4b3c2d1e0","md5":"0d1b08c34858921bc7c662b228acb7ba","sha256":"a03b221c6c6eae7122ca51695d456d5222e524889136394944b2f9763b483615"},"size":11,"_links":{"download":{"href":"https://x/dl"},"md5sum":{"href":"https://x/dl.MD5SUM"}}}],"metadata":[]}]},"actionHistory":{"status":"RUNNING","messages":[]}}"#;

    #[test]
    fn a_poll_tells_when_to_come_again_and_what_is_to_do() {
        let text = br#"{"config":{"polling":{"sleep":"00:05:30"}},"_links":{"deploymentBase":{"href":"https://x/8?c=1"},"cancelAction":{"href":"https://x/9"},"installedBase":{"href":"y"}}}"#;
        let base = Base::parse(text).unwrap();
        assert_eq!(base.sleep, Some(Duration::from_secs(330)));
        assert_eq!(base.deployment.as_deref(), Some("https://x/8?c=1"));
        assert_eq!(base.cancel.as_deref(), Some("https://x/9"));
        assert_eq!((base.config_data, base.confirmation), (None, None));
        assert_eq!(Base::parse(b"{}").unwrap(), Base::default());
        let wrong = Base::parse(br#"{"config":{"polling":{"sleep":"soon"}}}"#).unwrap_err();
        assert!(wrong.contains("soon"), "{wrong}");
    }

    #[test]
    fn an_order_is_read_as_hawkbit_writes_it() {
        let order = Deployment::parse(HAWKBIT.as_bytes()).unwrap();
        assert_eq!((order.id.as_str(), order.download, order.update), ("8", true, true));
        assert_eq!((order.artifact.size, order.artifact.href.as_str()), (11, "https://x/dl"));
        assert_eq!(order.artifact.sha1.unwrap()[0], 0x1b);
        assert_eq!(order.artifact.sha256.unwrap().0[31], 0x15);
    }

    #[test]
    fn nothing_is_activated_outside_of_the_maintenance_window() {
        let permits = |from: &str, to: &str| {
            let order = Deployment::parse(HAWKBIT.replace(from, to).as_bytes()).unwrap();
            (order.download, order.update)
        };
        assert_eq!(permits("\"available\"", "\"unavailable\""), (true, false));
        assert_eq!(permits("\"update\":\"forced\"", "\"update\":\"skip\""), (true, false));
        assert_eq!(permits("\"update\":\"forced\"", "\"update\":\"attempt\""), (true, true));
        assert_eq!(permits("\"download\":\"forced\"", "\"download\":\"skip\""), (false, true));
    }

    #[test]
    fn an_order_the_box_does_not_understand_is_refused_by_name() {
        for (from, to, expected) in [
            ("\"download\":{", "\"torrent\":{", "no link to download chest.swu"),
            ("\"1b32", "\"xyz", "sha1 of chest.swu"),
            ("\"update\":\"forced\"", "\"update\":\"soon\"", "unknown variant `soon`"),
            ("\"artifacts\":[", "\"artifacts\":[],\"more\":[", "found 0 files"),
            ("\"size\":11", "\"size\":-1", "-1"),
        ] {
            let error = Deployment::parse(HAWKBIT.replace(from, to).as_bytes()).unwrap_err();
            assert!(error.reason.contains(expected), "{}, expected {expected}", error.reason);
            assert_eq!(error.id.as_deref(), Some("8"));
        }
    }

    #[test]
    fn a_cancel_names_what_it_stops() {
        let text = br#"{"id":"11","cancelAction":{"stopId":"8"}}"#;
        assert_eq!(Cancel::parse(text), Ok(Cancel { id: "11".into(), stop: "8".into() }));
        assert!(Cancel::parse(HAWKBIT.as_bytes()).unwrap_err().contains("cancelAction"));
    }

    #[test]
    fn a_report_stays_within_the_servers_limits() {
        let details: Vec<String> = (0..60).map(|n| format!("{n} ").repeat(400)).collect();
        let report = feedback("8", Execution::Failed, &details);
        let details = report["status"]["details"].as_array().unwrap();
        assert_eq!(details.len(), 50);
        assert!(details.iter().all(|text| text.as_str().unwrap().chars().count() <= 512));
        assert_eq!(report["status"]["execution"], "closed");
        assert_eq!(report["status"]["result"]["finished"], "failure");
        let long = attributes(&BTreeMap::from([("board", "ö".repeat(300))]));
        assert_eq!(long["data"]["board"].as_str().unwrap().chars().count(), 128);
    }

    proptest! {
        #[test]
        fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..300), at in 0_usize..800) {
            let mut bytes = HAWKBIT.as_bytes().to_vec();
            let at = at.min(bytes.len());
            bytes.splice(at.., noise.iter().copied());
            for bytes in [&bytes, &noise] {
                let _ = Base::parse(bytes);
                let _ = Deployment::parse(bytes);
                let _ = Cancel::parse(bytes);
                let _ = waiting_for_consent(bytes);
            }
        }
    }
}
