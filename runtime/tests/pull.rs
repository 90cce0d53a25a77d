//! `runtime acceptance` on studies out of an archive; skipped with a line where that archive is not installed.
#![expect(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{
    browser,
    orthanc::Orthanc,
    peer::{Peer, lasting, python, start},
    pki::{Identity, Pki},
    site::{IMAGES, Site, accession, runtime, said, study},
};
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::tags;
use serde_json::{Value as Json, json};
use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    path::Path,
    process::{Command, Output},
};

const MET: &str = "minimum_sensitivity = 0.4\nminimum_specificity = 0.4";
/// A study that no archive has.
const UNKNOWN: &str = "1.2.999.1,Infiltrate,1\n";

/// What a report says of images, apart from when, how fast, and by which way they came.
fn findings(report: &Json) -> Json {
    let cases = report["cases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|case| json!([case["truths"], case["findings"], case["digest"], case["refused"]]));
    let mut cases: Vec<String> = cases.map(|case| case.to_string()).collect();
    cases.sort(); // studies come in the order of the labels, files in that of their names
    let figures = &report["findings"][0];
    json!([
        cases,
        figures["sensitivity"],
        figures["specificity"],
        figures["auroc"],
        figures["counts"]
    ])
}

/// The same site tested from its folder.
fn from_folder(site: &Site) -> Json {
    let labels = fs::read(site.path("labels.csv")).unwrap();
    site.label(&site.truth);
    let (output, report) = site.accept(&site.plan(&site.bundle_of_the_plan(), MET));
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    fs::write(site.path("labels.csv"), labels).unwrap();
    findings(&report)
}

/// An image of the site's with other attributes; its file.
fn changed(site: &Site, name: &str, attributes: &[(dicom_core::Tag, VR, &str)]) -> Vec<u8> {
    let mut object = dicom_object::open_file(site.path("studies").join("image-00.dcm")).unwrap();
    for (tag, vr, value) in attributes {
        object.put(DataElement::new(*tag, *vr, PrimitiveValue::from(*value)));
    }
    object.update_meta(|meta| meta.media_storage_sop_instance_uid = name.into());
    let mut bytes = Vec::new();
    object.write_all(&mut bytes).unwrap();
    bytes
}

/// Orthanc with the site's studies, a CT series in the first one, and a study that nobody asks for. It sends to `listen`.
fn orthanc(site: &Site, listen: SocketAddr) -> Option<(Orthanc, SocketAddr, SocketAddr)> {
    let (dicom, http) = (lasting(), lasting());
    let orthanc = Orthanc::start(dicom, http, listen.port())?;
    for entry in fs::read_dir(site.path("studies")).unwrap() {
        orthanc.put(&fs::read(entry.unwrap().path()).unwrap());
    }
    let ct = [
        (tags::SOP_INSTANCE_UID, VR::UI, "1.2.500"),
        (tags::SERIES_INSTANCE_UID, VR::UI, "1.2.500.2"),
        (tags::MODALITY, VR::CS, "CT"),
    ];
    orthanc.put(&changed(site, "1.2.500", &ct));
    let stranger = [
        (tags::SOP_INSTANCE_UID, VR::UI, "1.2.600"),
        (tags::STUDY_INSTANCE_UID, VR::UI, "1.2.600.1"),
        (tags::SERIES_INSTANCE_UID, VR::UI, "1.2.600.2"),
        (tags::ACCESSION_NUMBER, VR::SH, "A600"),
        (tags::PATIENT_ID, VR::LO, "P-600"),
    ];
    orthanc.put(&changed(site, "1.2.600", &stranger));
    Some((orthanc, dicom, http))
}

fn by_move(address: SocketAddr, listen: SocketAddr) -> String {
    format!(
        "ae_title = \"PACS\"\naddress = \"{address}\"\ncalling = \"CXR-EDGE\"\nlisten = \"{listen}\"\n\
         timeout_seconds = 30\n"
    )
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    entries.map(|name| name.into_string().unwrap()).collect()
}

#[test]
fn what_orthanc_sends_by_c_move_gives_the_same_figures_as_the_folder() {
    let (site, listen) = (Site::new(), lasting());
    let Some((_orthanc, dicom, _)) = orthanc(&site, listen) else { return };
    site.label_studies("study_instance_uid", study, UNKNOWN);
    let plan = site.plan_pulled(&by_move(dicom, listen), MET);
    // A study that does not come is no negative: it is named, and nothing is accepted without it.
    let (output, report) = site.accept(&plan);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(
        said(&output).contains("labels, line 22, study 1.2.999.1: the archive knows no such study")
    );
    let pulled = &report["studies"]["pulled"];
    let missing =
        json!([{ "line": 22, "came": 0, "of": null, "why": "the archive knows no such study" }]);
    assert_eq!(
        *pulled,
        json!({ "by": "C-FIND and C-MOVE", "studies": 21, "missing": missing, "images": 20,
                "left_out": { "CT": 1 }, "unasked": 0 })
    );
    browser::read_report(&site.path("out.html"), "pulled");
    let list = fs::read_to_string(site.path("cases.csv")).unwrap();
    assert!(list.contains("1,1,\"\",1.2.1,1.2.1.1\n"), "{list}");
    assert_eq!(findings(&report), from_folder(&site));
    let reasons = report["reasons"].as_array().unwrap();
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    assert!(reasons[0].as_str().unwrap().starts_with("share of studies that were asked for"));
    assert!(!report.to_string().contains("1.2.999"), "patients are numbers in all that is filed");

    // With leave to miss one, and what was pulled is kept: it can be tested again as a folder.
    let plan = site.plan_pulled(&by_move(dicom, listen), MET);
    let text = fs::read_to_string(&plan).unwrap();
    fs::write(&plan, text.replace("[report]", "[limits]\nnot_pulled = 0.05\n[report]")).unwrap();
    let kept = site.path("kept");
    let keep =
        ["acceptance", "--config", &plan, "--replace", "--keep-pulled", kept.to_str().unwrap()];
    let output = runtime(&keep);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("1 of 21 studies did not come whole from the archive"), "{told}");
    assert_eq!(names(&kept), (0..IMAGES).map(|at| format!("1.2.{}.dcm", at + 1)).collect());
    let again = runtime(&keep);
    assert_eq!(again.status.code(), Some(1));
    assert!(said(&again).contains("is not empty"), "{}", said(&again));
}

#[test]
fn what_orthanc_gives_by_dicomweb_gives_the_same_figures_as_the_folder() {
    let site = Site::new();
    let Some((_orthanc, _, http)) = orthanc(&site, lasting()) else { return };
    site.label_studies("accession_number", accession, "A600-B,Infiltrate,0\n");
    let url = format!("url = \"http://{http}/dicom-web\"\n");
    let (output, report) = site.accept(&site.plan_pulled(&url, MET));
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    let pulled = &report["studies"]["pulled"];
    let found = ["by", "studies", "images", "left_out", "unasked"].map(|what| &pulled[what]);
    assert_eq!(
        found,
        [&json!("QIDO-RS and WADO-RS"), &json!(21), &json!(20), &json!({ "CT": 1 }), &json!(0)]
    );
    assert_eq!(pulled["missing"][0]["line"], 22);
    assert_eq!(findings(&report), from_folder(&site));
    // Of all studies that are labelled, none is there.
    fs::write(site.path("labels.csv"), "accession_number,finding,truth\nA600-B,Infiltrate,1\n")
        .unwrap();
    fs::remove_file(site.path("out.json")).unwrap();
    let (output, report) = site.accept(&site.plan_pulled(&url, MET));
    assert_eq!(output.status.code(), Some(1));
    let why = "no image can be sent: line 2: the archive knows no such study";
    assert!(said(&output).contains(why) && report == Json::Null, "{}", said(&output));
}

/// DCMTK's image archive with the site's studies; `None` where it is not installed.
fn dcmqrscp(site: &Site, listen: SocketAddr) -> Option<(Peer, SocketAddr)> {
    let address = lasting();
    let held = site.path("held");
    fs::create_dir(&held).unwrap();
    let config = format!(
        "NetworkTCPPort = {}\nMaxPDUSize = 16384\nMaxAssociations = 16\nHostTable BEGIN\n\
         us = (CXR-EDGE, 127.0.0.1, {})\nHostTable END\nVendorTable BEGIN\nVendorTable END\n\
         AETable BEGIN\nPACS {} RW (200, 1024mb) ANY\nAETable END\n",
        address.port(),
        listen.port(),
        held.display()
    );
    fs::write(site.path("dcmqrscp.cfg"), config).unwrap();
    let mut command = Command::new("dcmqrscp");
    command.arg("-c").arg(site.path("dcmqrscp.cfg"));
    let peer = start(command, address, "Debian package dcmtk")?;
    let stored = Command::new("storescu")
        .args(["-aet", "CXR-EDGE", "-aec", "PACS", "+sd", "127.0.0.1", &address.port().to_string()])
        .arg(site.path("studies"))
        .output()
        .unwrap();
    assert!(stored.status.success(), "{stored:?}");
    Some((peer, address))
}

#[test]
fn dcmtks_archive_sends_what_is_asked_and_says_so_where_it_does_not_know_us() {
    let (site, listen) = (Site::new(), lasting());
    let Some((_peer, address)) = dcmqrscp(&site, listen) else { return };
    site.label_studies("accession_number", accession, "");
    let pacs = by_move(address, listen);
    let (output, report) = site.accept(&site.plan_pulled(&pacs, MET));
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(report["studies"]["pulled"]["images"], 20);
    assert_eq!(findings(&report), from_folder(&site));
    fs::remove_file(site.path("out.json")).unwrap();
    let stranger = pacs.replace("CXR-EDGE", "STRANGER");
    let (output, report) = site.accept(&site.plan_pulled(&stranger, MET));
    assert_eq!(output.status.code(), Some(1));
    let why = "C-MOVE: status A801, it does not know our AE title as a destination";
    assert!(said(&output).contains(why) && report == Json::Null, "{}", said(&output));
    assert!(said(&output).contains("we are STRANGER, and listen at"), "{}", said(&output));
}

/// An archive of pynetdicom with the site's studies.
fn pynetdicom(
    site: &Site,
    listen: SocketAddr,
    mode: &str,
    tls: Option<(&Identity, &Path)>,
) -> Option<(Peer, SocketAddr)> {
    let address = lasting();
    let mut command = Command::new(python());
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/query.py"));
    command.arg(address.port().to_string()).arg(site.path("studies"));
    command.args(["CXR-EDGE", &listen.port().to_string(), mode]);
    if let Some((identity, ca)) = tls {
        command.args([&identity.certificate, &identity.key]).arg(ca);
    }
    start(command, address, "make setup").map(|peer| (peer, address))
}

#[test]
fn under_tls_both_ways_studies_come_from_the_archive_that_we_trust_and_from_no_other() {
    let (site, listen) = (Site::new(), lasting());
    let pki = Pki::new(&site.path("pki"));
    let (pacs, own) = (pki.issue("127.0.0.1"), pki.issue("localhost"));
    let Some((_peer, address)) = pynetdicom(&site, listen, "good", Some((&pacs, &pki.ca))) else {
        return;
    };
    site.label_studies("study_instance_uid", study, "");
    let with = |ca: &Path| {
        let tls = format!(
            "tls = {{ ca = {ca:?}, certificate = {:?}, key = {:?} }}\n\
             listen_tls = {{ certificate = {:?}, key = {:?}, client_ca = {ca:?} }}\n",
            own.certificate, own.key, pacs.certificate, pacs.key
        );
        site.accept(&site.plan_pulled(&(by_move(address, listen) + &tls), MET))
    };
    let (output, report) = with(&Pki::new(&site.path("strangers")).ca);
    assert_eq!((output.status.code(), report), (Some(1), Json::Null));
    assert!(said(&output).contains("no TLS: invalid peer certificate"), "{}", said(&output));
    let (output, report) = with(&pki.ca);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(findings(&report), from_folder(&site));
}

/// One study, of an archive that behaves in another way; what is missing, and what else is told.
fn from_archive(mode: &str, timeout: &str) -> Option<(Output, Json)> {
    let (site, listen) = (Site::new(), lasting());
    // A second image in the first study.
    let second = [(tags::SOP_INSTANCE_UID, VR::UI, "1.2.700")];
    fs::write(site.path("studies/second.dcm"), changed(&site, "1.2.700", &second)).unwrap();
    let (_peer, address) = pynetdicom(&site, listen, mode, None)?;
    let truth = u8::from(site.truth["image-00.dcm"]);
    let row = format!("study_instance_uid,finding,truth\n1.2.1.1,Infiltrate,{truth}\n");
    fs::write(site.path("labels.csv"), row).unwrap();
    let pacs = by_move(address, listen).replace("timeout_seconds = 30", timeout);
    Some(site.accept(&site.plan_pulled(&pacs, MET)))
}

#[test]
fn an_archive_that_ignores_its_keys_gives_only_what_the_labels_name() {
    let Some((output, report)) = from_archive("all", "timeout_seconds = 30") else { return };
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    let pulled = &report["studies"]["pulled"];
    assert_eq!((&pulled["images"], &pulled["missing"]), (&json!(2), &json!([])));
    assert_eq!(report["studies"]["images"], 2, "what came unasked is not tested");
    assert!(pulled["unasked"].as_u64() > Some(0), "{pulled}");
}

#[test]
fn what_an_archive_sends_unasked_is_dropped_and_counted() {
    let Some((output, report)) = from_archive("more", "timeout_seconds = 30") else { return };
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    let pulled = &report["studies"]["pulled"];
    assert_eq!((&pulled["images"], &pulled["unasked"]), (&json!(2), &json!(1)));
    assert_eq!(report["studies"]["images"], 2);
}

#[test]
fn images_that_an_archive_keeps_back_are_missed_whatever_it_says() {
    for (mode, why) in [
        ("less", "C-MOVE: status B000, some operations failed or had warnings"),
        ("hides", "the archive said it was done"),
    ] {
        let Some((output, report)) = from_archive(mode, "timeout_seconds = 30") else { return };
        assert_eq!(output.status.code(), Some(3), "{}", said(&output));
        let missing = &report["studies"]["pulled"]["missing"][0];
        assert_eq!((&missing["came"], &missing["of"]), (&json!(1), &json!(2)), "{mode}");
        assert!(missing["why"].as_str().unwrap().starts_with(why), "{mode}: {missing}");
        let reasons = report["reasons"].to_string();
        assert!(reasons.contains("asked for and did not come whole: failed"), "{reasons}");
    }
}

#[test]
fn an_archive_that_never_answers_or_answers_with_a_path_is_given_up_by_name() {
    for (mode, timeout, why) in [
        ("silent", "timeout_seconds = 2", "association: no answer in time"),
        ("path", "timeout_seconds = 30", "association: an answer breaks the protocol"),
    ] {
        let Some((output, report)) = from_archive(mode, timeout) else { return };
        assert_eq!((output.status.code(), report), (Some(1), Json::Null), "{}", said(&output));
        let expected = format!("no image can be sent: line 2: {why}");
        assert!(said(&output).contains(&expected), "{mode}: {}", said(&output));
    }
    assert!(!Path::new("/tmp/evil").exists() && !Path::new("/tmp/evil.dcm").exists());
}

#[test]
fn a_plan_whose_archive_cannot_be_asked_ends_before_anything_is_asked() {
    let site = Site::new();
    site.label_studies("study_instance_uid", study, "");
    let refused = |pacs: &str, expected: &str| {
        let (output, report) = site.accept(&site.plan_pulled(pacs, MET));
        assert_eq!((output.status.code(), report), (Some(1), Json::Null), "{}", said(&output));
        assert!(said(&output).contains(expected), "{}, expected {expected}", said(&output));
    };
    let (nobody, listen) = (lasting(), lasting());
    refused(&by_move(nobody, listen), &format!("cannot reach {nobody}"));
    refused(&format!("url = \"http://{nobody}/dicom-web\""), &format!("cannot reach {nobody}"));
    refused("ae_title = \"PACS\"", "acceptance.toml: [pacs]: expected `address`");
    refused(&by_move(nobody, "192.0.2.1:104".parse().unwrap()), "cannot listen at 192.0.2.1:104");
    site.label(&site.truth);
    refused(&by_move(nobody, listen), "labels.csv: the labels name images by `file`");
    let plan = site.plan(&site.bundle_of_the_plan(), MET);
    let output = runtime(&["acceptance", "--config", &plan, "--keep-pulled", "kept"]);
    assert!(said(&output).contains("the plan has no [pacs], so nothing is pulled"));
    assert!(!site.path("kept").exists());
}
