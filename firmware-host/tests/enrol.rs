//! A box and a workstation that never met, and whoever stands between them.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use firmware_host::enrolment::Code;
use firmware_host::link::tls::{Admission, Client, Identity, Records, Server};
use firmware_host::link::{Link, connect_tcp};
use keyring::VerifyingKey;
use protocol::{Answer, Call, Decoder, Digest, Hello, Reply, Request, Response, Role, Version};
use serde_json::Value;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use support::{Agent, run};

const TIME: Duration = Duration::from_secs(20);

/// A box that nobody uses yet.
fn fresh(folder: &Path) -> Agent {
    fs::create_dir_all(folder.join("keys")).unwrap();
    Agent::start(folder, "")
}

/// A person with a key and a list of boxes.
struct Workstation(PathBuf);

impl Workstation {
    fn new(folder: &Path, name: &str) -> Self {
        let this = Self(folder.join(name));
        let made = run(&["keygen", "--out", this.0.join("link").to_str().unwrap(), "--json"]);
        assert!(made.status.success(), "{made:?}");
        this
    }

    fn verb(&self, address: &str, arguments: &[&str]) -> Output {
        let path = |name| self.0.join(name).to_str().unwrap().to_owned();
        let (key, list) = (path("link.key"), path("known_boxes"));
        let way = ["--device", address, "--key", &key, "--known-boxes", &list, "--json"];
        run(&[arguments, &way].concat())
    }

    fn enrol(&self, address: &str, code: &str) -> Result<Value, String> {
        document(&self.verb(address, &["enrol", "--code", code, "--name", "the workshop's"]))
    }

    fn knows_any_box(&self) -> bool {
        self.0.join("known_boxes").exists()
    }
}

fn document(output: &Output) -> Result<Value, String> {
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    if output.status.success() {
        Ok(document)
    } else {
        Err(document["error"].as_str().unwrap().to_owned())
    }
}

/// What stands in the box's file; a person reads it there.
fn code_in(folder: &Path) -> String {
    let text = fs::read_to_string(folder.join("keys/enrol.toml")).unwrap();
    let table: toml::Table = text.parse().unwrap();
    table["code"].as_str().unwrap().to_owned()
}

fn draw(folder: &Path, role: &str) -> String {
    let config = folder.join("agent.toml");
    let drawn = run(&["code", "--config", config.to_str().unwrap(), "--role", role, "--json"]);
    document(&drawn).unwrap()["code"].as_str().unwrap().to_owned()
}

#[test]
fn a_new_box_gives_itself_to_whoever_knows_its_code_and_to_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let agent = fresh(folder.path());
    let (first, second) =
        (Workstation::new(folder.path(), "first"), Workstation::new(folder.path(), "second"));
    let slots = document(&first.verb(&agent.address, &["slots"])).unwrap_err();
    assert!(slots.contains("enrol"), "{slots}");

    let wrong = Code::draw().unwrap().to_string();
    let refused = first.enrol(&agent.address, &wrong).unwrap_err();
    assert!(refused.contains("the code is wrong; 4 tries left"), "{refused}");
    assert!(!first.knows_any_box());

    let code = code_in(folder.path());
    let enrolled = first.enrol(&agent.address, &code).unwrap();
    assert_eq!(enrolled["role"], "administer");
    document(&first.verb(&agent.address, &["slots"])).unwrap();
    let keys = document(&first.verb(&agent.address, &["keyring", "show"])).unwrap();
    assert_eq!(keys["enrolled"][0]["name"], "the workshop's");
    // An answer that got lost may be asked for again, by nobody else.
    first.enrol(&agent.address, &code).unwrap();
    let late = second.enrol(&agent.address, &code).unwrap_err();
    assert!(late.contains("does not know our key"), "{late}");
    assert!(!second.knows_any_box());

    // It lasts; and the code, drawn for looking, gives no more than that.
    agent.kill();
    let agent = fresh(folder.path());
    let address = &agent.address;
    first.enrol(address, &code).unwrap(); // the new port is a new address
    let code = draw(folder.path(), "look");
    assert_eq!(second.enrol(address, &code).unwrap()["role"], "look");
    document(&second.verb(address, &["slots"])).unwrap();
    let refused = document(&second.verb(address, &["rollback"])).unwrap_err();
    assert!(refused.contains("the role look, which may not rollback"), "{refused}");
    assert!(!agent.log().contains(&code));
}

/// Lets anybody in, and reads what they say.
#[derive(Debug)]
struct Everybody;

impl Admission for Everybody {
    fn admits(&self, _: &VerifyingKey) -> bool {
        true
    }
}

/// Somebody with keys of his own between workstation and box, who passes on what each says.
fn in_between(there: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let key = Identity::new(&keyring::generate().unwrap());
    let server = Server::new(&key, Arc::new(Everybody), Records::Long);
    thread::spawn(move || {
        let mut here = server.accept(listener.accept().unwrap().0, TIME).unwrap();
        let client = Client::new(&key, None, Records::Long);
        let mut there = client.connect(connect_tcp(&there).unwrap(), TIME).unwrap();
        let (mut bytes, glance) = (vec![0; 64 << 10], Duration::from_millis(5));
        loop {
            match here.receive(&mut bytes, glance) {
                Ok(0) => return,
                Ok(length) => there.send(&bytes[..length], TIME).unwrap(),
                Err(_) => {}
            }
            match there.receive(&mut bytes, glance) {
                Ok(0) => return,
                Ok(length) => here.send(&bytes[..length], TIME).unwrap(),
                Err(_) => {}
            }
        }
    });
    format!("tcp://{address}")
}

#[test]
fn somebody_in_between_gets_neither_side_to_trust_him() {
    let folder = tempfile::tempdir().unwrap();
    let agent = fresh(folder.path());
    let workstation = Workstation::new(folder.path(), "ours");
    let between = in_between(agent.address.strip_prefix("tcp://").unwrap().to_owned());
    let refused = workstation.enrol(&between, &code_in(folder.path())).unwrap_err();
    // The right code, passed on in another session, is a wrong proof.
    assert!(refused.contains("the code is wrong; 4 tries left"), "{refused}");
    assert!(!workstation.knows_any_box());
    assert!(!folder.path().join("keys/admitted.toml").exists());
    workstation.enrol(&agent.address, &code_in(folder.path())).unwrap();
}

/// Answers a hello, and an enrolment with a proof that is none.
fn false_box() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let key = Identity::new(&keyring::generate().unwrap());
    let server = Server::new(&key, Arc::new(Everybody), Records::Long);
    thread::spawn(move || {
        let mut link = server.accept(listener.accept().unwrap().0, TIME).unwrap();
        let (mut decoder, mut bytes) = (Decoder::new(1 << 20), vec![0; 4096]);
        while let Ok(length @ 1..) = link.receive(&mut bytes, TIME) {
            let mut rest = &bytes[..length];
            while let Some(payload) = decoder.next(&mut rest) {
                let call = Call::from_bytes(&payload).unwrap();
                let version = Version::CURRENT;
                let response = match call.request {
                    Request::Enrol { proof, .. } => {
                        Response::Enrolled { role: Role::Administer, proof: Digest(proof.0) }
                    }
                    _ => Response::Hello(Hello {
                        version,
                        oldest: version,
                        features: 0,
                        max_frame: 4096,
                        device: "a box, believe me".into(),
                        boot: [0; 16],
                    }),
                };
                let reply = Reply { number: call.number, outcome: Ok(response) };
                let frame = protocol::encode_frame(&Answer::Reply(reply).to_bytes());
                link.send(&frame, TIME).unwrap();
            }
        }
    });
    format!("tcp://{address}")
}

#[test]
fn a_false_box_that_does_not_know_the_code_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    let workstation = Workstation::new(folder.path(), "ours");
    let code = Code::draw().unwrap().to_string();
    let refused = workstation.enrol(&false_box(), &code).unwrap_err();
    assert!(refused.contains("does not know the code"), "{refused}");
    assert!(!workstation.knows_any_box());
}
