//! SWU images, with SWUpdate's own tools as judges.

use crate::support::{bundle, key, run};
use firmware_host::swu::{self, Description, Swu};
use std::fs::{self, File};
use std::io::{BufWriter, Read};
use std::path::Path;
use std::process::{Command, Output};

/// head -c 314572800 /dev/zero | sha256sum
const ZEROS: &str = "17a88af83717f68b8bd97873ffcf022c8aed703416fe9b08e0fa9e3287692bf0";

fn has(program: &str) -> bool {
    Command::new(program).arg("--help").output().is_ok()
}

/// A certificate and its key, for SWUpdate, whose Debian package takes signed images alone.
fn certificate(folder: &Path) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem"])
        .args(["-out", "site.pem", "-days", "3650", "-subj", "/CN=site"])
        .args(["-addext", "extendedKeyUsage=emailProtection,codeSigning"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
}

/// Packs `name` in `folder` as `chest.swu`.
fn make(folder: &Path, name: &str, more: &[&str]) -> Output {
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (bundle, out) = (path(name), path("chest.swu"));
    run(&[&["swu", "make", &bundle, "--out", &out, "--json"], more].concat())
}

#[test]
fn swupdate_accepts_what_we_make_and_refuses_it_once_a_bit_is_flipped() {
    if !has("swupdate") || !has("openssl") {
        return skip::because("no swupdate or no openssl (`make setup judges`)");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    certificate(folder.path());
    fs::write(path("bundle"), bundle("1.2.0", 300_000, Some(&key()))).unwrap();
    let sign = format!(
        "openssl cms -sign -signer {} -inkey {} -outform DER -nosmimecap -binary",
        path("site.pem"),
        path("key.pem")
    );
    let made = make(folder.path(), "bundle", &["--sign-command", &sign]);
    assert!(made.status.success(), "{made:?}");
    let check = |image: &str, hardware: &str| {
        let mut command = Command::new("swupdate");
        let certificate = path("site.pem");
        command.args(["-H", hardware, "-k", &certificate, "-c", "-i", image]);
        command.current_dir(folder.path()).output().unwrap()
    };
    let image = path("chest.swu");
    let accepted = check(&image, "default:1.0");
    assert!(accepted.status.success(), "{accepted:?}");
    assert!(!check(&image, "default:2.0").status.success(), "another revision of hardware");
    let mut bytes = fs::read(&image).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(path("flipped.swu"), bytes).unwrap();
    assert!(!check(&path("flipped.swu"), "default:1.0").status.success());
    let inspected = run(&["swu", "inspect", &path("flipped.swu")]);
    assert_eq!(inspected.status.code(), Some(1));
}

#[test]
fn an_image_holds_the_bundle_byte_for_byte_and_says_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = bundle("1.2.0", 100_001, Some(&key()));
    fs::write(folder.path().join("bundle"), &bytes).unwrap();
    let made = make(folder.path(), "bundle", &["--hardware", "1.0", "--hardware", "2.0"]);
    assert!(made.status.success(), "{made:?}");
    let image = folder.path().join("chest.swu");
    let mut swu = Swu::open(File::open(&image).unwrap()).unwrap();
    let mut held = vec![0; bytes.len()];
    let mut filled = 0;
    while filled < held.len() {
        filled += swu.read(&mut held[filled..]).unwrap();
    }
    assert_eq!(held, bytes);
    swu.finish().unwrap();
    let inspected = run(&["swu", "inspect", image.to_str().unwrap(), "--json"]);
    let document: serde_json::Value = serde_json::from_slice(&inspected.stdout).unwrap();
    assert_eq!(document["version"], "1.2.0");
    assert_eq!(document["hardware"], serde_json::json!(["1.0", "2.0"]));
    assert_eq!(document["bundle_bytes"], bytes.len());
    assert!(!folder.path().join("chest.swu.part").exists());
}

#[test]
fn only_a_bundle_is_packed_and_nothing_is_left_of_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("noise"), [7; 999]).unwrap();
    fs::write(folder.path().join("bundle"), bundle("1.2.0", 999, None)).unwrap();
    for (name, more, expected) in [
        ("noise", &[][..], "noise is not a usable bundle"),
        ("bundle", &["--sign-command", "exit 3"], "ended with exit status: 3"),
        ("bundle", &["--sign-command", "cat > /dev/null"], "wrote no signature"),
    ] {
        let made = make(folder.path(), name, more);
        let error = String::from_utf8(made.stderr).unwrap();
        assert!(!made.status.success(), "{error}");
        assert!(error.contains(expected), "{error}");
    }
    let left = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 2, "the two files from before");
}

#[test]
fn an_image_is_read_in_less_memory_than_it_has_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("large.swu");
    let size = 300 << 20;
    let description = Description {
        version: "1.2.0".into(),
        text: "zeros".into(),
        hardware: Vec::new(),
        file: swu::IMAGE.into(),
        sha256: protocol::Digest(hex::decode(ZEROS).unwrap().try_into().unwrap()),
    };
    let mut out = BufWriter::new(File::create(&image).unwrap());
    let zeros = &mut std::io::repeat(0).take(size);
    swu::write(&mut out, &description.to_text(), None, swu::IMAGE, zeros, (size, 0)).unwrap();
    drop(out);
    // 100 MiB for everything, the program's own text included.
    let program = env!("CARGO_BIN_EXE_firmware-host");
    let script = format!("ulimit -v 102400; exec {program} swu inspect {}", image.display());
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn an_image_is_made_in_less_memory_than_its_bundle_has_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("bundle"), bundle("1.2.0", 130 << 20, Some(&key()))).unwrap();
    let program = env!("CARGO_BIN_EXE_firmware-host");
    let (bundle, out) = (path("bundle"), path("chest.swu"));
    let script = format!("ulimit -v 102400; exec {program} swu make {bundle} --out {out}");
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(run(&["swu", "inspect", &out]).status.success());
}
