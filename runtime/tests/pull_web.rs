//! `runtime acceptance` asks a DICOMweb server that answers however it likes.
#![expect(clippy::unwrap_used, reason = "a test")]

mod common;

use common::site::{Site, said};
use serde_json::{Value as Json, json};
use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    process::Output,
    thread,
};

const MET: &str = "minimum_sensitivity = 0.4\nminimum_specificity = 0.4";
const DICOM_JSON: &str = "application/dicom+json";

/// Status, content type and body.
type Answer = (u16, &'static str, Vec<u8>);

/// A web server that answers every request for a path as it is told to, as long as the test runs.
fn server(answer: impl Fn(&str) -> Answer + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut heard, mut byte) = (Vec::new(), [0]);
            while !heard.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n > 0) {
                heard.push(byte[0]);
            }
            let heard = String::from_utf8(heard).unwrap();
            let path = heard.split(' ').nth(1).unwrap_or_default();
            let (status, content_type, body) = answer(path);
            let head = format!(
                "HTTP/1.1 {status} x\r\nContent-Type: {content_type}\r\nLocation: http://evil.example/\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(&[head.as_bytes(), &body].concat());
        }
    });
    address
}

/// What a good archive says of the site's first study, but for what `other` has for a path.
fn archive(site: &Site, other: impl Fn(&str) -> Option<Answer> + Send + 'static) -> SocketAddr {
    let object = fs::read(site.path("studies/image-00.dcm")).unwrap();
    let listed = |tags: &[(&str, &str)]| {
        let value = |(tag, text): &(&str, &str)| {
            ((*tag).to_owned(), json!({ "vr": "UI", "Value": [text] }))
        };
        let set: serde_json::Map<String, Json> = tags.iter().map(value).collect();
        (200, DICOM_JSON, serde_json::to_vec(&[set]).unwrap())
    };
    let study = listed(&[("0020000D", "1.2.1.1")]);
    let series = listed(&[("0020000E", "1.2.1.2"), ("00080060", "CR")]);
    let images = listed(&[("00080018", "1.2.1")]);
    server(move |path| {
        let usual = match path.rsplit('/').next().unwrap_or_default() {
            "studies?StudyInstanceUID=1.2.1.1" => study.clone(),
            "series" => series.clone(),
            "instances" => images.clone(),
            "1.2.1" => (200, "application/dicom", object.clone()),
            _ => (404, "text/plain", Vec::new()),
        };
        other(path).unwrap_or(usual)
    })
}

/// The first study, from such an archive.
fn pulled(site: &Site, other: impl Fn(&str) -> Option<Answer> + Send + 'static) -> (Output, Json) {
    let address = archive(site, other);
    let truth = u8::from(site.truth["image-00.dcm"]);
    let row = format!("study_instance_uid,finding,truth\n1.2.1.1,Infiltrate,{truth}\n");
    fs::write(site.path("labels.csv"), row).unwrap();
    site.accept(&site.plan_pulled(&format!("url = \"http://{address}/dicom-web\"\n"), MET))
}

#[test]
fn an_image_that_comes_alone_in_a_body_is_taken() {
    let (output, report) = pulled(&Site::new(), |_| None);
    assert_eq!(output.status.code(), Some(3), "one image is not enough: {}", said(&output));
    let pulled = &report["studies"]["pulled"];
    assert_eq!((&pulled["images"], &pulled["missing"]), (&json!(1), &json!([])));
}

#[test]
fn a_server_that_answers_otherwise_than_asked_is_told_by_name_and_nothing_of_it_is_taken() {
    let site = Site::new();
    let other = fs::read(site.path("studies/image-01.dcm")).unwrap();
    let part =
        |body: &[u8]| [b"--b\r\nContent-Type: application/dicom\r\n\r\n", body, b"\r\n"].concat();
    let (one, end) = (part(&other), b"--b--\r\n".to_vec());
    let multipart = "multipart/related; type=\"application/dicom\"; boundary=b";
    let escape = br#"[{"00080018":{"vr":"UI","Value":["../../1.2.1"]}}]"#.to_vec();
    let cases: [(&'static str, Answer, &str); 9] = [
        (
            "1.2.1.1",
            (302, "text/plain", vec![]),
            "HTTP status 302, a redirect, which is not followed",
        ),
        ("1.2.1.1", (401, "text/plain", vec![]), "QIDO-RS: HTTP status 401: not allowed"),
        ("1.2.1.1", (500, "text/plain", vec![]), "line 2: QIDO-RS: HTTP status 500"),
        (
            "1.2.1.1",
            (200, "text/html", b"<html>".into()),
            "line 2: QIDO-RS: its answer cannot be read",
        ),
        ("1.2.1.1", (204, DICOM_JSON, vec![]), "line 2: the archive knows no such study"),
        ("instances", (200, DICOM_JSON, escape), "line 2: QIDO-RS: its answer cannot be read"),
        (
            "1.2.1",
            (200, "application/dicom", other.clone()),
            "line 2: WADO-RS: another object came",
        ),
        ("1.2.1", (200, multipart, one.clone()), "line 2: WADO-RS: its answer holds no object"),
        (
            "1.2.1",
            (200, multipart, [one.clone(), one, end].concat()),
            "WADO-RS: its answer holds no object",
        ),
    ];
    for (at, answer, expected) in cases {
        let told = answer.clone();
        let (output, report) = pulled(&site, move |path| {
            let last = path.rsplit(['/', '=']).next();
            (last == Some(at)).then(|| told.clone())
        });
        assert_eq!((output.status.code(), report), (Some(1), Json::Null), "{}", said(&output));
        assert!(said(&output).contains(expected), "{}, expected {expected}", said(&output));
    }
}
