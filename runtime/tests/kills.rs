//! The whole daemon between a real sender and a real archive, and somebody who kills it: at random, and at every
//! call that changes a file or says something on a socket. Each acknowledged image ends with one committed set of
//! results in Orthanc; none is lost, none is doubled.
//!
//! ```sh
//! CXR_KILLS=1000 cargo test -p runtime --test kills random -- --nocapture
//! CXR_EVERY_CALL=1 cargo test -p runtime --test kills call -- --nocapture
//! ```
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that tells what it did")]

mod common;

use common::{
    Daemon, PATIENCE, Settings, faults::Faults, fixtures, orthanc::Orthanc, peer::lasting,
};
use dicom_core::{PrimitiveValue, Tag, VR};
use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// An Orthanc, and how a daemon is set up that delivers to it.
struct Ward {
    orthanc: Orthanc,
    /// The same after each start, since Orthanc calls back.
    dicom: SocketAddr,
    bundle: String,
    tables: String,
}

impl Ward {
    /// `None`, and the test is skipped, where Orthanc or DCMTK's `storescu` is not installed.
    fn open() -> Option<Self> {
        if Command::new("storescu").arg("--version").stdout(Stdio::null()).status().is_err() {
            skip::because("storescu is not installed (Debian package dcmtk)");
            return None;
        }
        let (archive, http, dicom) = (lasting(), lasting(), lasting());
        let orthanc = Orthanc::start(archive, http, dicom.port())?;
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
        let (bundle, key) = (examples.join("chest-lungs.bundle"), examples.join("chest-lungs.pub"));
        Some(Self {
            orthanc,
            dicom,
            bundle: format!("path = {bundle:?}\ntrusted_keys = [{key:?}]"),
            tables: format!(
                "listen = \"{dicom}\"\n[[destinations]]\nname = \"pacs\"\nae_title = \"PACS\"\n\
                 address = \"{archive}\"\ncommit = true\ncommit_seconds = 2"
            ),
        })
    }

    fn settings(&self) -> Settings<'_> {
        Settings {
            bundle: &self.bundle,
            dicom: &self.tables,
            spool: "keep_answered = 1000000",
            worker: "overlay_pixels = 256",
            ..Settings::default()
        }
    }

    /// Waits until the daemon's deliveries of these images are committed.
    fn commits(&self, daemon: &Daemon, images: &[u32], patience: Duration) {
        let objects: usize = images.iter().map(|&number| results(number).len()).sum();
        let deadline = Instant::now() + patience;
        while committed(daemon).is_none_or(|count| count < objects) {
            let late = || format!("open: {:?}\n{}", queue(daemon, &["list"]), daemon.log());
            assert!(Instant::now() < deadline, "{}", late());
            thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(committed(daemon), Some(objects), "a row for each object");
    }

    /// Orthanc has one set for each of these images, and nothing else.
    fn holds(&self, images: &[u32]) {
        let set = |&number: &u32| (format!("{}.1", uid(number)), results(number));
        assert_eq!(self.orthanc.studies(), images.iter().map(set).collect());
    }
}

/// How many deliveries are committed; `None` while others are open.
fn committed(daemon: &Daemon) -> Option<usize> {
    let open = queue(daemon, &["list"]);
    let committed = queue(daemon, &["list", "--state", "committed", "--limit", "1000000"]);
    open.is_empty().then_some(committed.len())
}

fn uid(number: u32) -> String {
    format!("1.2.826.0.1.{number}")
}

/// Every fifth picture has another view than the network knows: it is answered, and not analysed.
fn is_lateral(number: u32) -> bool {
    number % 5 == 4
}

/// What becomes of an image: modality → objects.
fn results(number: u32) -> BTreeMap<String, usize> {
    let made: &[&str] = if is_lateral(number) { &["SR"] } else { &["SR", "SEG", "OT"] };
    made.iter().map(|modality| ((*modality).to_owned(), 1)).collect()
}

fn image(number: u32) -> dicom_object::InMemDicomObject {
    let mut object = fixtures::chest(&uid(number), 160, number);
    if is_lateral(number) {
        let view =
            dicom_core::DataElement::new(Tag(0x0018, 0x5101), VR::CS, PrimitiveValue::from("LL"));
        object.put(view);
    }
    object
}

fn queue(daemon: &Daemon, arguments: &[&str]) -> Vec<serde_json::Value> {
    let config = daemon.folder.path().join("runtime.toml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_runtime"));
    command.args(["queue", "--json", "--config"]).arg(config).args(arguments);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A Part 10 file for `storescu`.
fn file(folder: &Path, number: u32) -> PathBuf {
    let path = folder.join(format!("{number}.dcm"));
    let meta = dicom_object::FileMetaTableBuilder::new().transfer_syntax(fixtures::EXPLICIT);
    image(number).with_meta(meta).unwrap().write_to_file(&path).unwrap();
    path
}

/// Sends files in this order with DCMTK; how many of them were acknowledged.
fn storescu(address: SocketAddr, files: &[PathBuf]) -> usize {
    let mut command = Command::new("storescu");
    command.args(["-v", "-aet", "XRAY1", "-aec", "CXR-EDGE", "127.0.0.1"]);
    command.arg(address.port().to_string()).args(files).stdin(Stdio::null());
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).matches("Received Store Response (Success)").count()
}

/// `CXR_KILLS` kills (default 15) at random moments, while images are received, analysed, delivered and committed.
#[test]
fn kills_at_random_lose_and_double_no_committed_set() {
    let kills: u32 = std::env::var("CXR_KILLS").map_or(15, |text| text.parse().unwrap());
    let Some(ward) = Ward::open() else { return };
    let files = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(ward.settings());
    let (mut next, mut broken, mut open_rows) = (0, 0, 0);
    let mut unacknowledged: Vec<u32> = Vec::new();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let began = Instant::now();
    for _ in 0..kills {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        for _ in 0..random % 3 {
            unacknowledged.push(next);
            next += 1;
        }
        let paths: Vec<PathBuf> = unacknowledged.iter().map(|&n| file(files.path(), n)).collect();
        let address = daemon.dicom;
        let sender = thread::spawn(move || storescu(address, &paths));
        // Every other time while it still receives.
        let longest = if random & 1 << 32 == 0 { 80 } else { 600 };
        thread::sleep(Duration::from_millis((random >> 8) % longest));
        let folder = daemon.kill();
        unacknowledged.drain(..sender.join().unwrap());
        broken += u32::from(!unacknowledged.is_empty());
        daemon = Daemon::start_in(folder, ward.settings());
        open_rows += u32::from(!queue(&daemon, &["list"]).is_empty());
    }
    let paths: Vec<PathBuf> = unacknowledged.iter().map(|&n| file(files.path(), n)).collect();
    assert_eq!(storescu(daemon.dicom, &paths), paths.len());
    let images: Vec<u32> = (0..next).collect();
    ward.commits(&daemon, &images, PATIENCE + kills * Duration::from_millis(500));
    ward.holds(&images);
    println!(
        "{kills} kills in {:.0} s: {next} images acknowledged, each with one committed set in Orthanc; {broken} kills \
         before an acknowledgement, {open_rows} with deliveries open",
        began.elapsed().as_secs_f64(),
    );
}

/// One image on its way through a new daemon that is killed at call `number` (0: never) of a kind, and through the one
/// that is started after it. Whether the first was killed.
fn killed_at(ward: &Ward, faults: &Faults, (kind, number): (&str, u64), image: &Path) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().join("spool");
    fs::create_dir(&spool).unwrap();
    let environment = faults.kill_at(&spool, kind, number);
    let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
    let settings = Settings { environment: &environment, ..ward.settings() };
    let image = [image.to_owned()];
    let (folder, acknowledged, killed) = match Daemon::try_start_in(folder, settings) {
        Err((status, folder)) => {
            let log = || fs::read_to_string(folder.path().join("log")).unwrap();
            assert_eq!(status.signal(), Some(9), "before it was ready:\n{}", log());
            (folder, false, true)
        }
        Ok(mut daemon) => {
            let acknowledged = storescu(ward.dicom, &image) == 1;
            let killed = is_killed(&mut daemon);
            (daemon.kill(), acknowledged, killed)
        }
    };
    let daemon = Daemon::start_in(folder, ward.settings());
    // Whoever got no answer sends again.
    assert!(acknowledged || storescu(ward.dicom, &image) == 1, "{}", daemon.log());
    ward.commits(&daemon, &[0], PATIENCE); // as many rows as image 0 has results
    killed
}

/// Waits until the daemon has ended (true), or lives on although everything is committed (false).
fn is_killed(daemon: &mut Daemon) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while !matches!(committed(daemon), Some(1..)) {
        if daemon.has_ended() {
            return true;
        }
        assert!(Instant::now() < deadline, "{}", daemon.log());
        thread::sleep(Duration::from_millis(50));
    }
    // What it does each second belongs to it, too.
    let deadline = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < deadline && !daemon.has_ended() {
        thread::sleep(Duration::from_millis(50));
    }
    daemon.has_ended()
}

/// Calls without which no image is stored, answered and delivered.
const SURELY: [&str; 7] = [
    "write /incoming/NAME.part",
    "fsync /incoming/NAME.part",
    "rename /images/NAME.dcm",
    "fsync /images",
    "rename /results/NAME.json",
    "write /box.sqlite-wal",
    "send tcp",
];

/// Every call if `CXR_EVERY_CALL=1`, else the first of each kind.
#[test]
fn a_kill_at_any_call_loses_and_doubles_no_committed_set() {
    let Some(ward) = Ward::open() else { return };
    let (faults, files) = (Faults::new(), tempfile::tempdir().unwrap());
    let began = Instant::now();
    // Images of the kind that becomes a whole set.
    let image = |run: usize| (run / 4 * 5 + run % 4) as u32;
    let mut sent = vec![image(0)];
    assert!(!killed_at(&ward, &faults, ("", 0), &file(files.path(), image(0))));
    let calls = faults.calls();
    let every = std::env::var("CXR_EVERY_CALL").is_ok_and(|value| value == "1");
    let mut kills = BTreeMap::<&str, u64>::new();
    for (kind, &count) in &calls {
        for number in 1..=if every { count } else { 1 } {
            let image = image(sent.len());
            sent.push(image);
            let killed = killed_at(&ward, &faults, (kind, number), &file(files.path(), image));
            ward.holds(&sent);
            *kills.entry(kind).or_default() += u64::from(killed);
        }
    }
    println!(
        "{} kills, {} calls of {} kinds, {:.0} s; each of {} images has one committed set in Orthanc: {kills:#?}",
        kills.values().sum::<u64>(),
        calls.values().sum::<u64>(),
        calls.len(),
        began.elapsed().as_secs_f64(),
        sent.len()
    );
    // A timer's call may come too late, and how many there are of a kind differs a little.
    assert!(SURELY.iter().all(|kind| kills.get(kind).is_some_and(|&kills| kills > 0)));
    assert!(10 * kills.values().sum::<u64>() > 9 * (sent.len() as u64 - 1));
}
