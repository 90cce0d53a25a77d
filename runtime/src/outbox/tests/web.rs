//! STOW-RS against a server of ten lines.

use super::*;
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    sync::mpsc,
    thread,
};

/// Answers each request in turn; what it was asked comes out of the channel.
fn server(answers: Vec<&'static str>) -> (SocketAddr, mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (asked, requests) = mpsc::channel();
    thread::spawn(move || {
        for answer in answers {
            let mut stream = listener.accept().unwrap().0;
            let (mut request, mut bytes) = (Vec::new(), [0; 4096]);
            let whole = |request: &[u8]| {
                let text = String::from_utf8_lossy(request).to_lowercase();
                let Some(head) = text.find("\r\n\r\n") else { return false };
                let length = text.split("content-length: ").nth(1).unwrap();
                let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
                let end = request.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
                assert!(head >= end);
                request.len() >= end + 4 + length
            };
            while !whole(&request) {
                let n = stream.read(&mut bytes).unwrap();
                request.extend_from_slice(&bytes[..n]);
            }
            asked.send(request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    (address, requests)
}

fn web(address: SocketAddr) -> String {
    format!(
        "[[destinations]]\nname = \"web\"\nurl = \"http://{address}/dicom-web\"\n{SR_ONLY}\n\
         timeout_seconds = 2\n"
    )
}

const FAILED: &str = "HTTP/1.1 409 Conflict\r\nContent-Length: 65\r\n\r\n\
    {\"00081198\":{\"Value\":[{\"00081197\":{\"vr\":\"US\",\"Value\":[49152]}}]}}";

#[tokio::test]
async fn objects_go_by_stow_and_answers_mean_what_they_say() {
    let (address, requests) = server(vec![
        "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\n\r\n",
        FAILED,
        "HTTP/1.1 301 Moved\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n",
    ]);
    let bench = Bench::new(&web(address));
    for n in 1..=4 {
        bench.answer(n, false);
    }
    bench.round("web").await;
    assert_eq!(bench.reason(0), "HTTP status 503");
    bench.pass(2_000);
    bench.round("web").await;
    use State::{Dead, Sent};
    assert_eq!(bench.states(), [Sent, Sent, Dead, Dead]);
    assert_eq!(bench.reason(2), "status C000: HTTP status 409");
    let redirect = "HTTP status 301, a redirect, which is not followed: to http://elsewhere/";
    assert_eq!(bench.reason(3), redirect);

    let first = requests.recv().unwrap();
    let text = String::from_utf8_lossy(&first);
    assert!(text.starts_with("POST /dicom-web/studies HTTP/1.1\r\n"), "{text}");
    assert!(text.to_lowercase().contains(&format!("host: {address}\r\n")));
    assert!(text.contains("multipart/related; type=\"application/dicom\"; boundary="));
    let object = bench.source.make(&bench.rows()[0]).unwrap().unwrap();
    assert!(first.windows(object.len()).any(|window| window == object), "the file, unchanged");
    assert_eq!(first, requests.recv().unwrap(), "sent again, it is the same");
}

#[tokio::test]
async fn a_server_that_says_nothing_or_nonsense_gets_it_later() {
    let (address, _requests) =
        server(vec!["SSH-2.0-OpenSSH_9.2\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"]);
    let bench = Bench::new(&web(address));
    bench.answer(1, false);
    for _ in 0..3 {
        bench.round("web").await;
        assert_eq!(bench.states(), [State::Waiting], "{}", bench.reason(0));
        bench.pass(60_000);
    }
    assert!(bench.reason(0).starts_with("cannot reach 127.0.0.1:"), "{}", bench.reason(0));
}

#[tokio::test]
async fn a_server_that_says_when_to_come_back_is_left_alone_until_then() {
    let (address, requests) = server(vec![
        "HTTP/1.1 503 Busy\r\nRetry-After: 300\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 429 Slowly\r\nRetry-After: 999999\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    ]);
    let bench = Bench::new(&web(address));
    bench.answer(1, false);
    for (early, late) in [(299_000, 2_000), (3_599_000, 2_000)] {
        bench.round("web").await;
        requests.recv().unwrap();
        bench.pass(early);
        bench.round("web").await;
        assert!(requests.try_recv().is_err(), "too early");
        bench.pass(late);
    }
    bench.round("web").await;
    assert_eq!(bench.states(), [State::Sent]);
}

#[tokio::test]
async fn a_secret_is_sent_is_read_anew_each_time_and_stands_nowhere_else() {
    let (address, requests) = server(vec![
        "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    ]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let toml = format!("{}bearer_file = {:?}\n", web(address), file.to_str().unwrap());
    let bench = Bench::new(&toml);
    bench.answer(1, false);
    bench.round("web").await;
    assert!(bench.reason(0).starts_with("cannot read "), "nothing is sent without it");
    assert!(requests.try_recv().is_err());
    for (token, state) in [("0ld-token", State::Waiting), ("n3w-token", State::Sent)] {
        std::fs::write(&file, token).unwrap();
        bench.pass(60_000);
        bench.round("web").await;
        let request = String::from_utf8_lossy(&requests.recv().unwrap()).to_lowercase();
        assert!(request.contains(&format!("authorization: bearer {token}\r\n")));
        assert_eq!(bench.states(), [state]);
        assert!(!format!("{:?}", bench.rows()).contains(token));
    }
}

/// The place that it names may be anybody's.
#[tokio::test]
async fn no_redirect_is_followed_and_each_is_told_by_name() {
    for status in ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"] {
        let (other, asked) = server(vec!["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"]);
        let answer =
            format!("HTTP/1.1 {status}\r\nLocation: http://{other}/x\r\nContent-Length: 0\r\n\r\n");
        let (address, _requests) = server(vec![answer.leak()]);
        let bench = Bench::new(&web(address));
        bench.answer(1, false);
        bench.round("web").await;
        assert_eq!(bench.states(), [State::Dead]);
        let code = &status[..3];
        let told =
            format!("HTTP status {code}, a redirect, which is not followed: to http://{other}/x");
        assert_eq!(bench.reason(0), told);
        assert!(asked.try_recv().is_err());
    }
}
