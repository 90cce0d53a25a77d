//! The page's side of the daemon: who is answered, who may do what, and what a flood leaves of it.
#![expect(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{Daemon, PATIENCE, Settings, pki::Pki, scu::Scu, web::ask};
use rustix::process::{Resource, getrlimit, setrlimit};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{IpAddr, TcpStream, UdpSocket},
    path::Path,
    process::{Command, Output, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_rustls::rustls::{
    self, ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, pem::PemObject},
};

const JSON: &str = "Content-Type: application/json";
const PASSWORD: &str = "correct horse battery";

/// `runtime user …` with something on standard input.
fn user(file: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_runtime"))
        .args(["user", "--file"])
        .arg(file)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// A folder with ada, who may operate, lou, who may look, and a program that may look; and the program's token.
fn with_users() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users.toml");
    for (name, role) in [("ada", "operate"), ("lou", "look")] {
        let added = user(&file, &["add", name, "--role", role], &format!("{PASSWORD}\n"));
        assert!(added.status.success(), "{added:?}");
    }
    let token = user(&file, &["token", "prometheus", "--role", "look"], "");
    assert!(token.status.success(), "{token:?}");
    (folder, String::from_utf8(token.stdout).unwrap().trim().to_owned())
}

const CLOSED: &str = "users = \"users.toml\"\nopen_on_loopback = false";

/// Cookie and token against forgery, after logging in.
fn log_in(daemon: &Daemon, name: &str) -> (String, String) {
    let answer = daemon.ask(
        "POST /login",
        &[JSON, &csrf_header(daemon, "X: y")],
        &format!("{{\"name\":\"{name}\",\"password\":\"{PASSWORD}\"}}"),
    );
    assert_eq!(answer.status, 200, "{answer:?}");
    let cookie = answer.header("set-cookie").unwrap().split(';').next().unwrap();
    let cookie = format!("Cookie: {cookie}");
    let csrf = csrf_header(daemon, &cookie);
    (cookie, csrf)
}

fn csrf_header(daemon: &Daemon, cookie: &str) -> String {
    let session = daemon.ask("GET /session", &[cookie], "").json();
    format!("X-CSRF-Token: {}", session["csrf"].as_str().unwrap())
}

#[test]
fn idle_connections_leave_descriptors_for_dicom_and_answers_for_others() {
    let limit = getrlimit(Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
    setrlimit(Resource::Nofile, raised).unwrap();
    let settings =
        Settings { http: "header_seconds = 3", descriptors: Some(1024), ..Settings::default() };
    let daemon = Daemon::start(settings);
    let mut idle = Vec::new();
    for i in 0..1100 {
        let mut stream = TcpStream::connect(daemon.http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        if i % 2 == 0 {
            let _ = stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n");
        }
        idle.push(stream);
    }
    let mut scu = Scu::associate(daemon.dicom);
    assert_eq!(scu.echo(1), (0, 1));
    scu.release();
    assert_eq!(daemon.json("/health").1["status"], "not-ready");
    // Each gave way or was too slow; none is still open.
    for stream in &mut idle {
        let mut rest = Vec::new();
        match stream.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(e) => assert_eq!(e.kind(), std::io::ErrorKind::ConnectionReset, "{e}"),
        }
    }
    assert_eq!(daemon.json("/health").1["status"], "not-ready");
}

#[test]
fn a_slow_or_endless_request_is_given_up() {
    let daemon = Daemon::start(Settings {
        http: "header_seconds = 0.5\nanswer_seconds = 0.5",
        ..Settings::default()
    });
    let began = Instant::now();
    let mut stream = daemon.browser();
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: ").unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(began.elapsed() < Duration::from_secs(20));

    let mut stream = daemon.browser();
    let csrf = csrf_header(&daemon, "X: y");
    write!(
        stream,
        "POST /login HTTP/1.1\r\nHost: localhost\r\n{JSON}\r\n{csrf}\r\nContent-Length: 100\r\n\r\n{{"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");

    let long = format!("{{\"name\":\"{}\"}}", "x".repeat(20_000));
    assert_eq!(daemon.ask("POST /login", &[JSON, &csrf], &long).status, 413);
    let many = format!("X-A: {}", "x".repeat(20_000));
    assert_eq!(daemon.ask("GET /health", &[&many], "").status, 431);
}

#[test]
fn another_sites_name_reads_nothing() {
    let daemon =
        Daemon::start(Settings { http: "hosts = [\"box.example\"]", ..Settings::default() });
    for path in ["/", "/health", "/metrics", "/images", "/session", "/events", "/nothing"] {
        for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example"] {
            let answer = daemon.ask(&format!("GET {path}"), &[&format!("Host: {host}")], "");
            assert_eq!(answer.status, 421, "{path} {host}");
        }
    }
    for host in ["localhost:1", "127.0.0.1", "[::1]", "BOX.example:8080"] {
        assert_eq!(daemon.ask("GET /metrics", &[&format!("Host: {host}")], "").status, 200);
    }
    assert_eq!(daemon.ask("GET http://evil.example/metrics", &[], "").status, 421);
}

#[test]
fn every_answer_says_that_it_may_not_be_kept_framed_or_guessed_at() {
    let daemon = Daemon::start(Settings::default());
    for path in ["/", "/page.js", "/page.css", "/health", "/images", "/nothing", "/images/x"] {
        let answer = daemon.ask(&format!("GET {path}"), &[], "");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{path}");
    }
}

#[test]
fn people_log_in_and_do_what_their_role_allows() {
    let (folder, token) = with_users();
    let daemon = Daemon::start_in(folder, Settings { http: CLOSED, ..Settings::default() });
    for path in
        ["/images", "/images/1.2.3", "/images/1.2.3/overlay.png", "/metrics", "/events", "/queue"]
    {
        assert_eq!(daemon.ask(&format!("GET {path}"), &[], "").status, 401, "{path}");
    }
    assert_eq!(
        daemon.ask("GET /health", &[], "").json(),
        serde_json::json!({"status":"not-ready"})
    );
    assert_eq!(daemon.ask("GET /", &[], "").status, 200);

    let csrf = csrf_header(&daemon, "X: y");
    let ada = format!("{{\"name\":\"ada\",\"password\":\"{PASSWORD}\"}}");
    assert_eq!(daemon.ask("POST /login", &[JSON], &ada).status, 403, "no token");
    assert_eq!(daemon.ask("POST /login", &[&csrf], &ada).status, 415, "no JSON");
    let wrong = ada.replace("horse", "house");
    assert_eq!(daemon.ask("POST /login", &[JSON, &csrf], &wrong).status, 401);

    let (cookie, own) = log_in(&daemon, "ada");
    assert_ne!(own, csrf);
    assert_eq!(daemon.ask("GET /images", &[&cookie], "").status, 200);
    let session = daemon.ask("GET /session", &[&cookie], "").json();
    assert_eq!((&session["name"], &session["role"]), (&"ada".into(), &"operate".into()));
    assert_eq!(daemon.ask("GET /images", &["Cookie: cxr=guess"], "").status, 401);

    let bearer = format!("Authorization: Bearer {token}");
    assert_eq!(daemon.ask("GET /metrics", &[&bearer], "").status, 200);
    assert_eq!(daemon.ask("GET /metrics", &["Authorization: Bearer guess"], "").status, 401);

    let (looks, token_of_lou) = log_in(&daemon, "lou");
    let retry = |headers: &[&str]| daemon.ask("POST /queue/7/retry", headers, "").status;
    assert_eq!(retry(&[]), 401);
    assert_eq!(retry(&[&looks, &token_of_lou]), 403, "who may look does not decide");
    assert_eq!(retry(&[&bearer]), 403);
    assert_eq!(retry(&[&cookie]), 403, "no token");
    assert_eq!(retry(&[&cookie, &own]), 404, "no such delivery");
    assert_eq!(daemon.ask("GET /queue", &[&looks], "").status, 200);

    assert_eq!(daemon.ask("POST /logout", &[&cookie, &csrf], "").status, 403, "another's token");
    assert_eq!(daemon.ask("POST /logout", &[&cookie, &own], "").status, 200);
    assert_eq!(daemon.ask("GET /images", &[&cookie], "").status, 401);
    let log = daemon.log();
    assert!(log.contains("ada logged in") && log.contains("failed to log in as ada"), "{log}");
    assert!(!log.contains("horse") && !log.contains("house") && !log.contains(&token), "{log}");
    daemon.wait("the audit log's lines", |daemon| {
        let audit = std::fs::read_to_string(daemon.folder.path().join("spool/audit.log")).ok()?;
        let all = ["\"log-in\"", "\"refused\"", "\"ok\"", "\"log-out\"", "\"ada\""];
        all.iter().all(|word| audit.contains(word)).then_some(())
    });
}

#[test]
fn the_cookie_is_for_this_site_and_no_script() {
    let (folder, _) = with_users();
    let daemon = Daemon::start_in(folder, Settings { http: CLOSED, ..Settings::default() });
    let body = format!("{{\"name\":\"lou\",\"password\":\"{PASSWORD}\"}}");
    let answer = daemon.ask("POST /login", &[JSON, &csrf_header(&daemon, "X: y")], &body);
    let cookie = answer.header("set-cookie").unwrap();
    assert!(cookie.starts_with("cxr=") && cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict"));
}

#[test]
fn whoever_guesses_passwords_must_wait() {
    let (folder, _) = with_users();
    let daemon = Daemon::start_in(folder, Settings { http: CLOSED, ..Settings::default() });
    let csrf = csrf_header(&daemon, "X: y");
    let guess = |name: &str, password: &str| {
        let body = format!("{{\"name\":\"{name}\",\"password\":\"{password}\"}}");
        daemon.ask("POST /login", &[JSON, &csrf], &body)
    };
    let mut said: Vec<u16> = (0..6).map(|i| guess("ada", &format!("guess {i}")).status).collect();
    let refused = guess("ada", PASSWORD);
    said.push(refused.status);
    assert_eq!(&said[..3], [401, 401, 401]);
    assert_eq!(said.last(), Some(&429), "even with the right password: {said:?}");
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    // A name typed into the wrong field may be a password.
    assert!(!daemon.log().contains("guess"));
}

#[test]
fn under_tls_the_cookie_never_leaves_it() {
    let (folder, _) = with_users();
    let pki = Pki::new(&folder.path().join("pki"));
    let own = pki.issue("localhost");
    let http =
        format!("{CLOSED}\ntls = {{ certificate = {:?}, key = {:?} }}", own.certificate, own.key);
    let daemon = Daemon::start_in(folder, Settings { http: &http, ..Settings::default() });
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&pki.ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Arc::new(config);
    let browser = || {
        let name = "localhost".try_into().unwrap();
        let connection = ClientConnection::new(config.clone(), name).unwrap();
        StreamOwned::new(connection, daemon.browser())
    };
    let session = ask(&mut browser(), "GET /session", &[], "").json();
    let csrf = format!("X-CSRF-Token: {}", session["csrf"].as_str().unwrap());
    let body = format!("{{\"name\":\"ada\",\"password\":\"{PASSWORD}\"}}");
    let answer = ask(&mut browser(), "POST /login", &[JSON, &csrf], &body);
    let cookie = answer.header("set-cookie").unwrap();
    assert!(cookie.starts_with("__Host-cxr=") && cookie.contains("; Secure"), "{cookie}");
    let cookie = format!("Cookie: {}", cookie.split(';').next().unwrap());
    assert_eq!(ask(&mut browser(), "GET /images", &[&cookie], "").status, 200);
    assert_eq!(ask(&mut browser(), "GET /images", &[], "").status, 401);

    // Without TLS there is nothing to read here.
    let mut plain = daemon.browser();
    let _ = plain.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut rest = Vec::new();
    let _ = plain.read_to_end(&mut rest);
    assert!(!rest.starts_with(b"HTTP"), "{rest:?}");
}

/// Name and data of the next event.
fn next_event(
    lines: &mut impl Iterator<Item = std::io::Result<String>>,
) -> (String, serde_json::Value) {
    let mut name = None;
    for line in lines {
        let line = line.unwrap();
        if let Some(event) = line.strip_prefix("event: ") {
            name = Some(event.to_owned());
        }
        if let (Some(data), Some(name)) = (line.strip_prefix("data: "), &name) {
            return (name.clone(), serde_json::from_str(data).unwrap());
        }
    }
    panic!("the stream ended");
}

#[test]
fn a_page_hears_of_a_new_image_without_asking() {
    let daemon = Daemon::start(Settings::default());
    let mut stream = daemon.browser();
    stream.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines();
    let first = [next_event(&mut lines), next_event(&mut lines)];
    assert_eq!([first[0].0.as_str(), &first[1].0], ["health", "images"]);
    assert_eq!(first[1].1["images"].as_array().unwrap().len(), 0);
    assert_eq!(Scu::associate(daemon.dicom).store("1.2.3", 1), 0);
    loop {
        let (name, data) = next_event(&mut lines);
        if name == "images" {
            assert_eq!(data["images"][0]["sop_instance_uid"], "1.2.3");
            break;
        }
    }
}

#[test]
fn somebody_logged_out_hears_nothing_more() {
    let (folder, _) = with_users();
    let daemon = Daemon::start_in(folder, Settings { http: CLOSED, ..Settings::default() });
    let (cookie, csrf) = log_in(&daemon, "lou");
    let mut stream = daemon.browser();
    write!(stream, "GET /events HTTP/1.1\r\nHost: localhost\r\n{cookie}\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines();
    (0..2).for_each(|_| drop(next_event(&mut lines)));
    assert_eq!(daemon.ask("POST /logout", &[&cookie, &csrf], "").status, 200);
    assert_eq!(Scu::associate(daemon.dicom).store("1.2.3", 1), 0);
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    assert!(!rest.iter().any(|line| line.contains("1.2.3")), "{rest:?}");
}

/// An address of this machine that others reach.
fn outside() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?; // sends nothing: asks which way it would go
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

#[test]
fn whoever_comes_from_outside_is_nobody_until_told_otherwise() {
    let Some(outside) = outside() else {
        return skip::because("this machine has no address but loopback");
    };
    let (folder, token) = with_users();
    let daemon = Daemon::start_in(
        folder,
        Settings {
            http: "listen = \"0.0.0.0:0\"\nusers = \"users.toml\"\nallow_plain = true",
            dicom: "listen = \"0.0.0.0:0\"",
            ..Settings::default()
        },
    );
    let ask_outside = |header: &str| {
        let mut stream = TcpStream::connect((outside, daemon.http.port())).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        ask(&mut stream, "GET /images", &[&format!("Host: {outside}"), header], "").status
    };
    assert_eq!(ask_outside("X: y"), 401);
    assert_eq!(ask_outside(&format!("Authorization: Bearer {token}")), 200);
    for _ in 0..3 {
        Scu::connect((outside, daemon.dicom.port()).into()).expect_closed();
    }
    let here = ([127, 0, 0, 1], daemon.dicom.port()).into();
    Scu::associate(here).release();
    let told = daemon.log().matches("nobody stands under [[dicom.peers]]").count();
    assert_eq!(told, 2, "once at the start, once for all connections:\n{}", daemon.log());
}

#[test]
fn an_open_door_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users.toml");
    let start = |http: &str| {
        let config = format!(
            "[bundle]\npath = \"b\"\n[dicom]\nlisten = \"127.0.0.1:0\"\n[spool]\npath = \"spool\"\n[http]\n{http}\n"
        );
        let path = folder.path().join("runtime.toml");
        std::fs::write(&path, config).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_runtime"))
            .args(["serve", "--config"])
            .arg(&path)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let outside = "listen = \"0.0.0.0:0\"";
    assert!(start(outside).contains("needs `users`"));
    let users = format!("{outside}\nusers = \"users.toml\"");
    assert!(start(&users).contains("needs [http.tls]"));
    let plain = format!("{users}\nallow_plain = true");
    assert!(start(&plain).contains("cannot read users"));
    std::fs::write(&file, "").unwrap();
    assert!(start(&plain).contains("nobody may log in"));
    assert!(
        start("listen = \"127.0.0.1:0\"\nopen_on_loopback = false").contains("nobody may look")
    );
    assert!(!folder.path().join("spool").exists(), "nothing is touched before");
}

#[test]
fn the_users_file_is_made_by_command_and_mistakes_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users.toml");
    let said = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let short = user(&file, &["add", "ada", "--role", "look"], "short\n");
    assert!(!short.status.success() && said(&short).contains("has 5 characters"), "{short:?}");
    assert!(!file.exists());
    assert!(
        user(&file, &["add", "ada", "--role", "look"], "long enough for us\n").status.success()
    );
    assert!(user(&file, &["token", "p", "--role", "operate"], "").status.success());
    let list = user(&file, &["list"], "");
    assert_eq!(String::from_utf8_lossy(&list.stdout), "user  look       ada\ntoken operate    p\n");
    let king = user(&file, &["add", "bob", "--role", "king"], "long enough for us\n");
    assert_eq!(king.status.code(), Some(2));
    assert!(user(&file, &["remove", "ada"], "").status.success());
    let again = user(&file, &["remove", "ada"], "");
    assert!(said(&again).contains("there is no \"ada\""), "{again:?}");
}
