//! `serve --check` and SIGHUP: what is wrong is said before and after the start, and nobody is cut off.
#![expect(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{Daemon, Settings, pki::Pki, scu::Scu, scu::request};
use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

fn check(config: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_runtime"))
        .args(["serve", "--check", "--json", "--config"])
        .arg(config)
        .output()
        .unwrap()
}

fn listed(output: &Output, what: &str) -> Vec<String> {
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    json[what].as_array().unwrap().iter().map(|line| line.as_str().unwrap().into()).collect()
}

#[test]
fn every_mistake_is_listed_at_once_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new(&folder.path().join("pki"));
    let (good, expired) = (pki.issue("box"), pki.issue_until("box", 2021));
    let config = folder.path().join("runtime.toml");
    let text = format!(
        "[bundle]\npath = \"missing.bundle\"\n\
         [dicom]\nlisten = \"127.0.0.1:0\"\nmax_pdu_bytes = 1\nae_title = \"MUCH TOO LONG A TITLE\"\n\
         tls = {{ certificate = {:?}, key = {:?} }}\n\
         [http]\nlisten = \"192.0.2.1:80\"\nusers = \"missing.toml\"\nhosts = [\"a b\"]\n\
         tls = {{ certificate = {:?}, key = {:?} }}\n\
         [spool]\npath = \"runtime.toml/spool\"\n[worker]\nthreads = 0\n",
        good.certificate, expired.key, expired.certificate, expired.key
    );
    fs::write(&config, text).unwrap();
    let before = fs::read_dir(folder.path()).unwrap().count();
    let output = check(&config);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let mistakes = listed(&output, "mistakes");
    for expected in [
        "worker.threads is 0",
        "AE title \"MUCH TOO LONG A TITLE\"",
        "dicom.max_pdu_bytes is 1",
        "\"a b\" is no name",
        "do not go together",
        "cannot read users from",
        "missing.bundle",
        "runtime.toml is no folder",
        "cannot listen on 192.0.2.1:80",
        "has expired",
    ] {
        let said = mistakes.iter().filter(|mistake| mistake.contains(expected)).count();
        assert_eq!(said, 1, "{expected} in {mistakes:#?}");
    }
    assert_eq!(mistakes.len(), 10, "{mistakes:#?}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), before);
    assert!(String::from_utf8_lossy(&output.stderr).contains("10 mistakes"));
}

#[test]
fn a_configuration_that_serves_has_no_mistakes_even_while_it_does() {
    let daemon = Daemon::start(Settings::default());
    let config = daemon.folder.path().join("runtime.toml");
    let text = fs::read_to_string(&config).unwrap();
    let busy = daemon.dicom.to_string();
    fs::write(&config, text.replacen("127.0.0.1:0", &busy, 2)).unwrap();
    let output = check(&config);
    assert!(output.status.success(), "{output:?}");
    let notes = listed(&output, "notes");
    assert!(notes.iter().any(|note| note.contains("in use now")), "{notes:?}");
    assert!(notes.iter().any(|note| note.contains("no bundle was activated")), "{notes:?}");
}

/// Changes the daemon's configuration and waits until it was read.
fn reconfigure(daemon: &Daemon, change: impl Fn(String) -> String) -> serde_json::Value {
    let config = daemon.folder.path().join("runtime.toml");
    let read = |daemon: &Daemon| daemon.log().matches("configuration").count();
    let before = (read(daemon), daemon.log().matches("read again").count());
    fs::write(&config, change(fs::read_to_string(&config).unwrap())).unwrap();
    daemon.signal("HUP");
    daemon.wait("the configuration's reading", |daemon| {
        let now = (read(daemon), daemon.log().matches("read again").count());
        (now != before).then_some(())
    });
    daemon.json("/health").1["configuration"].clone()
}

fn associates(daemon: &Daemon, title: &str) -> bool {
    Scu::connect(daemon.dicom).negotiate(&request(title, "CXR-EDGE")).is_ok()
}

#[test]
fn sighup_changes_who_is_let_in_and_drops_no_association() {
    let peers = "[[dicom.peers]]\nae_title = \"XRAY1\"";
    let daemon = Daemon::start(Settings { dicom: peers, ..Settings::default() });
    let mut open = Scu::associate(daemon.dicom);
    assert!(!associates(&daemon, "XRAY2"));

    let state = reconfigure(&daemon, |text| text.replace("\"XRAY1\"", "\"XRAY2\""));
    assert!(state["refused"].is_null() && state["restart"] == serde_json::json!([]), "{state}");
    assert!(associates(&daemon, "XRAY2") && !associates(&daemon, "XRAY1"));
    assert_eq!(open.echo(3), (0, 3), "the association from before goes on");

    let state = reconfigure(&daemon, |text| text.replace("\"XRAY2\"", "\"NO SUCH TITLE CAN BE\""));
    assert!(state["refused"].as_str().unwrap().contains("NO SUCH TITLE CAN BE"), "{state}");
    assert!(associates(&daemon, "XRAY2"), "the old configuration stays");

    let state = reconfigure(&daemon, |text| {
        text.replace("\"NO SUCH TITLE CAN BE\"", "\"XRAY3\"")
            .replace("[worker]", "[worker]\nthreads = 2")
    });
    assert_eq!((&state["refused"], &state["restart"][0]), (&().into(), &"[worker]".into()));
    assert!(associates(&daemon, "XRAY3"));
    let state = reconfigure(&daemon, |text| {
        text.replace("\nthreads = 2", "")
            + "[[destinations]]\nname = \"pacs\"\nae_title = \"PACS\"\naddress = \"127.0.0.1:9\"\n"
    });
    assert_eq!((&state["refused"], &state["restart"]), (&().into(), &serde_json::json!([])));
    assert_eq!(daemon.json("/queue").1["destinations"][0]["destination"], "pacs");
    assert_eq!(open.echo(4), (0, 4));
    open.release();
}

#[test]
fn sighup_takes_a_renewed_certificate_and_other_names() {
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new(&folder.path().join("pki"));
    let (old, new) = (pki.issue("localhost"), pki.issue_until("localhost", 2080));
    let tls = format!("tls = {{ certificate = {:?}, key = {:?} }}", old.certificate, old.key);
    let daemon = Daemon::start_in(folder, Settings { dicom: &tls, ..Settings::default() });
    let shown = || {
        let port = daemon.dicom.port();
        let script = format!(
            "openssl s_client -connect 127.0.0.1:{port} </dev/null 2>/dev/null | openssl x509 -noout -enddate"
        );
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    if Command::new("openssl").arg("version").output().is_err() {
        return skip::because("openssl is not installed");
    }
    assert!(shown().contains("2090"), "{}", shown());
    // The same names in the configuration, other contents.
    fs::copy(&new.certificate, &old.certificate).unwrap();
    let state = reconfigure(&daemon, |text| text);
    assert!(state["refused"].as_str().unwrap().contains("do not go together"), "{state}");
    assert!(shown().contains("2090"), "half a pair changes nothing: {}", shown());
    fs::copy(&new.key, &old.key).unwrap();
    assert_eq!(daemon.ask("GET /health", &["Host: box.example"], "").status, 421);
    let state =
        reconfigure(&daemon, |text| text.replace("[http]", "[http]\nhosts = [\"box.example\"]"));
    assert!(state["refused"].is_null(), "{state}");
    assert!(shown().contains("2080"), "{}", shown());
    assert_eq!(daemon.ask("GET /metrics", &["Host: box.example"], "").status, 200);
}
