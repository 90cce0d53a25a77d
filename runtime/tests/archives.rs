//! Real archives as destinations; skipped with a line where they are not installed.
#![expect(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{
    Daemon, Settings, model,
    orthanc::Orthanc,
    peer::{lasting, python, start},
    pki::Pki,
    scu::Scu,
};
use std::{collections::BTreeSet, fs, path::Path, process::Command};

/// A daemon that delivers to `destination`, and the folder of its bundle.
fn daemon(destination: &str) -> (Daemon, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let bundle = model::trusted(&model::write(folder.path(), 1));
    let destination = format!("[[destinations]]\nname = \"pacs\"\n{destination}\n");
    let settings = Settings { bundle: &bundle, dicom: &destination, ..Settings::default() };
    (Daemon::start(settings), folder)
}

/// Two images in; the objects that have reached `state`, once there are SR and SC of both.
fn delivered(daemon: &Daemon, state: &str) -> BTreeSet<String> {
    delivered_with(daemon, state, 4)
}

/// The same where there are some from before.
fn delivered_with(daemon: &Daemon, state: &str, count: usize) -> BTreeSet<String> {
    let mut scu = Scu::associate(daemon.dicom);
    for seed in 1..=2 {
        assert_eq!(scu.store(&format!("1.2.{seed}"), seed), 0);
    }
    daemon.wait(&format!("{count} objects {state}"), |daemon| {
        let rows = queue(daemon, &["list", "--state", state]);
        let rows = rows.as_array().unwrap();
        let object = |row: &serde_json::Value| row["object"].as_str().unwrap().to_owned();
        (rows.len() == count).then(|| rows.iter().map(object).collect())
    })
}

fn queue(daemon: &Daemon, arguments: &[&str]) -> serde_json::Value {
    let config = daemon.folder.path().join("runtime.toml");
    let output = Command::new(env!("CARGO_BIN_EXE_runtime"))
        .args(["queue", "--json", "--config", config.to_str().unwrap()])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn dcmtks_storescp_receives_every_object() {
    let (address, folder) = (lasting(), tempfile::tempdir().unwrap());
    let mut command = Command::new("storescp");
    command.args(["-aet", "PACS", "-od"]).arg(folder.path()).arg(address.port().to_string());
    let Some(_peer) = start(command, address, "Debian package dcmtk") else { return };
    let (daemon, _bundle) = daemon(&format!("ae_title = \"PACS\"\naddress = \"{address}\""));
    let expected = delivered(&daemon, "sent");
    let mut found = BTreeSet::new();
    for file in fs::read_dir(folder.path()).unwrap() {
        let object = dicom_object::open_file(file.unwrap().path()).unwrap();
        let uid = object.meta().media_storage_sop_instance_uid().trim_end_matches('\0').to_owned();
        found.insert(uid);
    }
    assert_eq!(found, expected);
}

/// Why what waits has not been delivered, once that is known.
fn trouble(daemon: &Daemon) -> String {
    assert_eq!(Scu::associate(daemon.dicom).store("1.2.9", 9), 0);
    daemon.wait("a failed delivery", |daemon| {
        let rows = queue(daemon, &["list", "--state", "waiting"]);
        // Any of them: the destination is left alone after the first.
        rows.as_array()?.iter().find_map(|row| Some(row["reason"].as_str()?.to_owned()))
    })
}

#[test]
fn under_tls_objects_go_to_the_archive_that_we_trust_and_to_no_other() {
    let (address, folder) = (lasting(), tempfile::tempdir().unwrap());
    let pki = Pki::new(&folder.path().join("pki"));
    let (pacs, own) = (pki.issue("127.0.0.1"), pki.issue("box.example"));
    let kept = folder.path().join("kept");
    fs::create_dir(&kept).unwrap();
    let mut command = Command::new("storescp");
    command.args(["-aet", "PACS", "+tls"]).arg(&pacs.key).arg(&pacs.certificate);
    command.arg("+cf").arg(&pki.ca).arg("-od").arg(&kept).arg(address.port().to_string());
    let Some(_peer) = start(command, address, "Debian package dcmtk") else { return };
    let with =
        |tls: String| daemon(&format!("ae_title = \"PACS\"\naddress = \"{address}\"\n{tls}"));

    let stranger = Pki::new(&folder.path().join("strangers"));
    let (distrusts, _bundle) = with(format!("tls = {{ ca = {:?} }}", stranger.ca));
    assert!(trouble(&distrusts).contains("no TLS: invalid peer certificate"));
    let (plain, _bundle) = with(String::new());
    assert!(!trouble(&plain).is_empty());
    let (nameless, _bundle) = with(format!("tls = {{ ca = {:?} }}", pki.ca));
    assert!(!trouble(&nameless).is_empty(), "the archive asks for our certificate");
    assert_eq!(fs::read_dir(&kept).unwrap().count(), 0);

    let (daemon, _bundle) = with(format!(
        "tls = {{ ca = {:?}, certificate = {:?}, key = {:?} }}",
        pki.ca, own.certificate, own.key
    ));
    assert_eq!(delivered(&daemon, "sent").len(), 4);
    assert_eq!(fs::read_dir(&kept).unwrap().count(), 4);
    let ping = |arguments: &[&std::ffi::OsStr]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_runtime"));
        command.args(["dicom", "ping", &format!("PACS@{address}")]).args(arguments);
        command.output().unwrap().status.success()
    };
    let own = [own.certificate.as_os_str(), own.key.as_os_str(), pki.ca.as_os_str()];
    assert!(ping(&[
        "--certificate".as_ref(),
        own[0],
        "--key".as_ref(),
        own[1],
        "--ca".as_ref(),
        own[2]
    ]));
    assert!(!ping(&["--ca".as_ref(), own[2]]));
}

/// `report_on`: "same" or "new" association.
fn pynetdicom_commits(report_on: &str) {
    let address = lasting();
    let (daemon, _bundle) = daemon(&format!(
        "ae_title = \"PACS\"\naddress = \"{address}\"\ncommit = true\ncommit_seconds = 20"
    ));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/archive.py");
    let kept = daemon.folder.path().join("kept.txt");
    let mut command = Command::new(python());
    command.arg(script).arg(address.port().to_string()).arg(report_on);
    command.arg(daemon.dicom.port().to_string()).arg(&kept);
    let Some(_peer) = start(command, address, "pynetdicom from tests/requirements.txt") else {
        return;
    };
    let expected = delivered(&daemon, "committed");
    let kept = fs::read_to_string(kept).unwrap();
    let kept: BTreeSet<String> = kept.lines().map(str::to_owned).collect();
    assert_eq!(kept, expected);
}

#[test]
fn pynetdicom_commits_on_the_same_association() {
    pynetdicom_commits("same");
}

#[test]
fn pynetdicom_commits_on_an_association_of_its_own() {
    pynetdicom_commits("new");
}

#[test]
fn orthanc_receives_and_commits() {
    let (dicom, http) = (lasting(), lasting());
    let (daemon, _bundle) = daemon(&format!(
        "ae_title = \"PACS\"\naddress = \"{dicom}\"\ncommit = true\ncommit_seconds = 20"
    ));
    let Some(orthanc) = Orthanc::start(dicom, http, daemon.dicom.port()) else { return };
    let expected = delivered(&daemon, "committed");
    assert_eq!(orthanc.held(), expected);
}

#[test]
fn orthanc_receives_by_stow() {
    let (dicom, http) = (lasting(), lasting());
    let (daemon, _bundle) = daemon(&format!("url = \"http://{http}/dicom-web\""));
    let Some(orthanc) = Orthanc::start(dicom, http, daemon.dicom.port()) else { return };
    let expected = delivered(&daemon, "sent");
    assert_eq!(orthanc.held(), expected);
    // It has them: again is no failure.
    for row in queue(&daemon, &["list", "--all"]).as_array().unwrap() {
        queue(&daemon, &["retry", &row["id"].to_string()]);
    }
    daemon.wait("a second delivery", |daemon| {
        let open = queue(daemon, &["list"]);
        open.as_array().unwrap().is_empty().then_some(())
    });
    assert_eq!(queue(&daemon, &["list", "--state", "sent"]).as_array().unwrap().len(), 4);
    assert_eq!(orthanc.held(), expected);
}

/// Orthanc 1.10.1 of Debian 12 crashes at the first HTTPS request, see `runtime/docs/delivery.md`. So it stands where
/// archives stand: behind a front that speaks TLS and asks for a token.
#[test]
fn orthanc_receives_by_stow_over_https_from_who_has_the_token() {
    let (dicom, http, front) = (lasting(), lasting(), lasting());
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new(&folder.path().join("pki"));
    let identity = pki.issue("127.0.0.1");
    let secret = folder.path().join("token");
    fs::write(&secret, "not-this-one").unwrap();
    let (daemon, _bundle) = daemon(&format!(
        "url = \"https://{front}/dicom-web\"\ntls = {{ ca = {:?} }}\nbearer_file = {secret:?}",
        pki.ca
    ));
    let Some(orthanc) = Orthanc::start(dicom, http, daemon.dicom.port()) else { return };
    let mut command = Command::new(python());
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/tls_proxy.py"));
    command.arg(front.port().to_string()).arg(&identity.certificate).arg(&identity.key);
    command.arg("t0ken.of-the.box").arg(http.port().to_string());
    let Some(_front) = start(command, front, "a Python from make setup") else { return };
    assert_eq!(trouble(&daemon), "HTTP status 401");
    assert!(orthanc.held().is_empty());
    fs::write(&secret, "t0ken.of-the.box\n").unwrap();
    for row in queue(&daemon, &["list"]).as_array().unwrap() {
        queue(&daemon, &["retry", &row["id"].to_string()]);
    }
    let expected = delivered_with(&daemon, "sent", 6);
    assert_eq!(orthanc.held(), expected);
    for file in ["audit.log", "box.sqlite", "box.sqlite-wal"] {
        let bytes = fs::read(daemon.folder.path().join("spool").join(file)).unwrap_or_default();
        assert!(!bytes.windows(16).any(|window| window == b"t0ken.of-the.box"), "{file}");
    }
    assert!(!daemon.log().contains("t0ken"), "{}", daemon.log());
}

#[test]
fn python_receives_by_stow_over_https_if_we_trust_it() {
    let (address, folder) = (lasting(), tempfile::tempdir().unwrap());
    let pki = Pki::new(&folder.path().join("pki"));
    let stranger = Pki::new(&folder.path().join("strangers"));
    let identity = pki.issue("127.0.0.1");
    let kept = folder.path().join("kept.txt");
    let mut command = Command::new(python());
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/stow.py"));
    command.arg(address.port().to_string());
    command.arg(&identity.certificate).arg(&identity.key).arg(&kept);
    let Some(_peer) = start(command, address, "pydicom from tests/requirements.txt") else {
        return;
    };
    let url = |ca: &Path| format!("url = \"https://{address}/dicom-web\"\ntls = {{ ca = {ca:?} }}");
    let (distrusts, _bundle) = daemon(&url(&stranger.ca));
    assert!(trouble(&distrusts).contains("no TLS: invalid peer certificate"));
    assert!(!kept.exists());
    let (trusts, _bundle) = daemon(&url(&pki.ca));
    let expected = delivered(&trusts, "sent");
    let kept = fs::read_to_string(kept).unwrap();
    assert_eq!(kept.lines().map(str::to_owned).collect::<BTreeSet<_>>(), expected);
}
