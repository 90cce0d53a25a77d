//! hawkBit's side of DDI for one box, as its `DdiRootController` behaves: what gooseBit has not, and faults.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

/// What the server wants, and what it was told.
#[derive(Default)]
pub(crate) struct Orders {
    pub(crate) file: Vec<u8>,
    pub(crate) file_name: String,
    /// Number of the action, its state, and permissions.
    pub(crate) action: Option<u64>,
    pub(crate) state: State,
    pub(crate) update: &'static str,
    pub(crate) window: Option<&'static str>,
    pub(crate) wrong_sha256: bool,
    /// Takes the next report that closes an action, and breaks off without an answer.
    pub(crate) swallow: bool,
    /// Takes no call.
    pub(crate) away: bool,
    /// Breaks the file off after so many bytes, once.
    pub(crate) cut: Option<usize>,
    /// Method and path with the body, oldest first.
    pub(crate) seen: Vec<(String, Value)>,
    /// `Authorization` and `Range` of every request.
    pub(crate) credentials: Vec<String>,
    pub(crate) ranges: Vec<String>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) enum State {
    #[default]
    Active,
    WaitsForConsent,
    Canceling,
    Canceled,
    Finished,
    Error,
}

#[derive(Clone)]
pub(crate) struct Hawkbit {
    pub(crate) url: String,
    orders: Arc<Mutex<Orders>>,
}

impl Hawkbit {
    pub(crate) fn start(file_name: &str, file: &[u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let orders = Orders {
            file: file.to_vec(),
            file_name: file_name.into(),
            update: "forced",
            ..Orders::default()
        };
        let server = Self { url, orders: Arc::new(Mutex::new(orders)) };
        let orders = Arc::clone(&server.orders);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let orders = Arc::clone(&orders);
                thread::spawn(move || serve(stream, &orders));
            }
        });
        server
    }

    pub(crate) fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap()
    }

    /// Reports about an action, as `execution/finished`.
    pub(crate) fn reports(&self, kind: &str) -> Vec<String> {
        let orders = self.orders();
        let ours =
            orders.seen.iter().filter(|(what, _)| what.starts_with("POST") && what.contains(kind));
        ours.map(|(_, body)| {
            let status = &body["status"];
            format!(
                "{}/{}",
                status["execution"].as_str().unwrap(),
                status["result"]["finished"].as_str().unwrap()
            )
        })
        .collect()
    }
}

fn serve(stream: TcpStream, orders: &Mutex<Orders>) -> Option<()> {
    if orders.lock().unwrap().away {
        return None;
    }
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut length, mut range, mut url) = (0, None, String::new());
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "range" => range = Some(value.to_owned()),
            // A server knows itself by the name it is asked under, and of no proxy in front of it.
            "host" => url = format!("http://{value}"),
            "authorization" => orders.lock().unwrap().credentials.push(value.to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let mut orders = orders.lock().unwrap();
    orders.seen.push((format!("{method} {path}"), body.clone()));
    if path == "/file" {
        let (file, cut) = (orders.file.clone(), orders.cut.take());
        orders.ranges.extend(range.clone());
        // The box reports how far it is while it reads.
        drop(orders);
        return send_file(stream, &file, cut, range);
    }
    let (status, answer) = orders.answer(&url, &path, &body);
    if orders.swallow && body["status"]["execution"] == "closed" {
        orders.swallow = false;
        return None;
    }
    let text = answer.to_string();
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status} x\r\nContent-Type: application/hal+json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    )
    .ok()
}

fn send_file(
    mut stream: TcpStream,
    file: &[u8],
    cut: Option<usize>,
    range: Option<String>,
) -> Option<()> {
    let from: usize = range.as_deref().map_or(0, |range| {
        range.strip_prefix("bytes=").unwrap().trim_end_matches('-').parse().unwrap()
    });
    let total = file.len();
    let status = if range.is_some() { "206 Partial" } else { "200 OK" };
    let content_range = match range {
        Some(_) => format!("Content-Range: bytes {from}-{}/{total}\r\n", total - 1),
        None => String::new(),
    };
    let length = total - from;
    write!(
        stream,
        "HTTP/1.1 {status}\r\n{content_range}Content-Length: {length}\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let end = cut.map_or(total, |cut| (from + cut).min(total));
    stream.write_all(&file[from..end]).ok()
}

impl Orders {
    fn answer(&mut self, url: &str, path: &str, body: &Value) -> (u16, Value) {
        let path = path.split('?').next().unwrap();
        let own = path.strip_prefix("/DEFAULT/controller/v1/room-3").unwrap_or("/elsewhere");
        let id = self.action.unwrap_or(0).to_string();
        let is = |kind: &str, rest: &str| own == format!("/{kind}/{id}{rest}");
        if own.is_empty() {
            return (200, self.base(url));
        }
        if own == "/configData" {
            return (200, json!({}));
        }
        if is("deploymentBase", "") && self.state == State::Active {
            return (200, self.deployment(url, &id));
        }
        if is("deploymentBase", "/feedback") {
            return (self.take_report(body), json!({}));
        }
        if is("confirmationBase", "") && self.state == State::WaitsForConsent {
            return (200, json!({ "id": id, "confirmation": {} }));
        }
        if is("confirmationBase", "/feedback") && body["confirmation"] == "confirmed" {
            self.state = State::Active;
            return (200, json!({}));
        }
        if is("cancelAction", "") && self.state == State::Canceling {
            return (200, json!({ "id": id, "cancelAction": { "stopId": id } }));
        }
        if is("cancelAction", "/feedback") && self.state == State::Canceling {
            let execution = body["status"]["execution"].as_str().unwrap();
            self.state = if execution == "rejected" { State::Active } else { State::Canceled };
            return (200, json!({}));
        }
        (404, json!({}))
    }

    fn base(&self, url: &str) -> Value {
        let mut links = json!({});
        let kind = match self.state {
            State::Active => Some("deploymentBase"),
            State::WaitsForConsent => Some("confirmationBase"),
            State::Canceling => Some("cancelAction"),
            State::Canceled | State::Finished | State::Error => None,
        };
        if let (Some(kind), Some(id)) = (kind, self.action) {
            let href = format!("{url}/DEFAULT/controller/v1/room-3/{kind}/{id}?c=7");
            links[kind] = json!({ "href": href });
        }
        json!({ "config": { "polling": { "sleep": "00:00:01" } }, "_links": links })
    }

    fn deployment(&self, url: &str, id: &str) -> Value {
        let mut sha256 = hex::encode(Sha256::digest(&self.file));
        if self.wrong_sha256 {
            sha256.replace_range(..2, "00");
        }
        let artifact = json!({
            "filename": self.file_name, "size": self.file.len(), "hashes": { "sha256": sha256 },
            "_links": { "download-http": { "href": format!("{url}/file") } },
        });
        let mut order = json!({
            "id": id,
            "deployment": {
                "download": "forced", "update": self.update,
                "chunks": [{ "part": "bApp", "version": "1", "name": "chest", "artifacts": [artifact] }],
            },
        });
        if let Some(window) = self.window {
            order["deployment"]["maintenanceWindow"] = window.into();
        }
        order
    }

    fn take_report(&mut self, body: &Value) -> u16 {
        if self.state == State::WaitsForConsent {
            return 404;
        }
        if [State::Canceled, State::Finished, State::Error].contains(&self.state) {
            return 410;
        }
        let status = &body["status"];
        if status["execution"] == "closed" {
            let failed = status["result"]["finished"] == "failure";
            self.state = if failed { State::Error } else { State::Finished };
        }
        200
    }
}
