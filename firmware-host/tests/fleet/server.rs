//! gooseBit as a process, and its REST interface as an administrator uses it.

use crate::support::until;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

pub(crate) struct GooseBit {
    child: Child,
    pub(crate) url: String,
    token: String,
    folder: PathBuf,
}

impl GooseBit {
    /// None where it is not installed, which fails the test if `REQUIRE_ALL` says so.
    pub(crate) fn start(folder: &Path, poll: &str) -> Option<Self> {
        Self::start_with(folder, poll, &[])
    }

    /// With settings of gooseBit's, as environment.
    pub(crate) fn start_with(folder: &Path, poll: &str, settings: &[(&str, &str)]) -> Option<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let python = root.join(".venv/goosebit/bin/python");
        if !python.exists() {
            skip::because("no gooseBit in .venv/goosebit (`make setup judges`)");
            return None;
        }
        let folder = folder.join("goosebit");
        fs::create_dir(&folder).unwrap();
        let log = File::create(folder.join("log")).unwrap();
        let child = Command::new(python)
            .arg(root.join("firmware-host/tests/fleet/server.py"))
            .arg(&folder)
            .arg(poll)
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut server = Self { child, url: String::new(), token: String::new(), folder };
        let port = until("gooseBit listens", || {
            assert!(server.child.try_wait().unwrap().is_none(), "gooseBit ended: {}", server.log());
            fs::read_to_string(server.folder.join("port")).ok()
        });
        server.url = format!("http://127.0.0.1:{port}");
        let form = "username=admin%40example.org&password=secret";
        let setup = || {
            let request = ureq::post(format!("{}/setup", server.url));
            let request = request.content_type("application/x-www-form-urlencoded");
            let mut answer = request.send(form).ok()?;
            let text = answer.body_mut().read_to_string().ok()?;
            let answer: Value = serde_json::from_str(&text).ok()?;
            answer["access_token"].as_str().map(str::to_owned)
        };
        server.token = until("gooseBit answers", setup);
        Some(server)
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        let request = ureq::get(format!("{}/api/v1/{path}", self.url));
        let mut answer = request.header("Authorization", self.bearer()).call().unwrap();
        serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap()
    }

    fn send(&self, request: ureq::RequestBuilder<ureq::typestate::WithBody>, body: &[u8]) -> Value {
        let sent = request.header("Authorization", self.bearer()).send(body);
        let mut answer = sent.unwrap_or_else(|error| panic!("{error}: {}", self.log()));
        serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap()
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    /// Uploads an image; its number.
    pub(crate) fn upload(&self, name: &str, image: &[u8]) -> u64 {
        let mut body = format!(
            "--edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\nContent-Type: application/octet-stream\r\n\r\n"
        )
        .into_bytes();
        body.extend_from_slice(image);
        body.extend_from_slice(b"\r\n--edge--\r\n");
        let request = ureq::put(format!("{}/api/v1/software", self.url));
        let request = request.content_type("multipart/form-data; boundary=edge");
        self.send(request, &body)["id"].as_u64().unwrap()
    }

    /// Rolls an image out to the boxes of a feed; the rollout's number.
    pub(crate) fn roll_out(&self, feed: &str, software: u64) -> u64 {
        let document = json!({ "name": feed, "feed": feed, "software_id": software });
        self.put("rollouts", &document)["id"].as_u64().unwrap()
    }

    pub(crate) fn put(&self, path: &str, document: &Value) -> Value {
        let request = ureq::put(format!("{}/api/v1/{path}", self.url));
        self.send(request.content_type("application/json"), document.to_string().as_bytes())
    }

    pub(crate) fn rollout(&self, id: u64) -> Value {
        let all = self.get("rollouts")["rollouts"].clone();
        let found = all.as_array().unwrap().iter().find(|rollout| rollout["id"] == id);
        found.unwrap().clone()
    }

    pub(crate) fn device(&self, name: &str) -> Value {
        let all = self.get("devices")["devices"].clone();
        let found = all.as_array().unwrap().iter().find(|device| device["id"] == name);
        found.cloned().unwrap_or(Value::Null)
    }

    /// What a box reported.
    pub(crate) fn device_log(&self, name: &str) -> String {
        self.get(&format!("devices/{name}/log"))["log"].as_str().unwrap_or_default().to_owned()
    }
}

impl Drop for GooseBit {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
